//! A small world for tests: a project's environments, versions and promotions, as an API server would hold them, and a
//! planner that reports. It does what plans ask for, and keeps a journal of it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    plan::{Action, Rest, Step, plan},
    proposal::Needed,
    snapshot::{ContentDiff, EnvironmentView, Rival, Snapshot, VersionView, requirements},
};
use crate::{
    api::{
        ANNOTATION_ENDED, Digest, EnvironmentRevision, EnvironmentRevisionSpec, Gate, PlatformEnvironment,
        PlatformVersion, Promotion, PromotionPhase, PromotionStatus, RevisionNumber,
        revision::{EnvironmentRevisionStatus, VersionReference},
    },
    domain::{
        environment::{config, naming},
        revision::{History, RevisionRecord, chain, outcome, retention},
        version::{self, diff},
    },
};

/// What is kept of everything.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) environments: BTreeMap<String, PlatformEnvironment>,
    pub(crate) revisions: BTreeMap<(String, RevisionNumber), EnvironmentRevision>,
    pub(crate) versions: BTreeMap<String, PlatformVersion>,
    pub(crate) promotions: BTreeMap<String, Promotion>,
    /// By environment, a revision that is newer than those and cannot be read.
    pub(crate) unreadable: BTreeMap<String, String>,
    pub(crate) now: Timestamp,
    /// Every write, in order.
    pub(crate) journal: Vec<String>,
}

pub(crate) fn number(number: u32) -> RevisionNumber {
    RevisionNumber::new(number).unwrap()
}

impl World {
    /// dev with v1.1.0, staging and production with v1.0.0, all deployed; v2.0.0 is published.
    pub(crate) fn shop() -> Self {
        let mut world = Self {
            environments: BTreeMap::new(),
            revisions: BTreeMap::new(),
            versions: BTreeMap::new(),
            promotions: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            now: Timestamp::from_second(1_000_000).unwrap(),
            journal: vec![],
        };
        world.publish("v1.0.0", &json!({"flows": ["Checkout"]}));
        world.publish("v1.1.0", &json!({"flows": ["Checkout", "Signup"]}));
        world.publish("v2.0.0", &json!({"flows": ["Checkout", "Signup"], "entities": ["Notification"]}));
        for (name, class, released) in
            [("dev", "Development", "v1.1.0"), ("staging", "Staging", "v1.0.0"), ("production", "Production", "v1.0.0")]
        {
            world.environment(name, &json!({"class": class}));
            world.release(name, released);
            world.deployed(name);
        }
        world
    }

    /// Publishes a version with these parts, by category.
    pub(crate) fn publish(&mut self, name: &str, parts: &Value) {
        let mut content = json!({});
        for (category, names) in parts.as_object().unwrap() {
            for part in names.as_array().unwrap() {
                let part = part.as_str().unwrap();
                content[category][part] = json!(Digest::of(format!("{name}/{part}").as_bytes()));
            }
        }
        let version = json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformVersion",
            "metadata": {"name": name, "namespace": "pf-872", "uid": format!("u-{name}"), "generation": 1},
            "spec": {"version": name, "content": content},
        });
        self.versions.insert(name.to_owned(), serde_json::from_value(version).unwrap());
    }

    /// Changes a version's spec or status.
    pub(crate) fn version(&mut self, name: &str) -> &mut PlatformVersion {
        self.versions.get_mut(name).unwrap()
    }

    /// Creates an environment.
    pub(crate) fn environment(&mut self, name: &str, spec: &Value) {
        let environment = json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
            "metadata": {"name": name, "namespace": "pf-872", "uid": format!("u-{name}"), "generation": 1},
            "spec": spec,
        });
        self.environments.insert(name.to_owned(), serde_json::from_value(environment).unwrap());
    }

    /// Gives an environment rules.
    pub(crate) fn rules(&mut self, environment: &str, rules: &Value) {
        self.env(environment).spec.promotion = Some(serde_json::from_value(rules.clone()).unwrap());
    }

    pub(crate) fn env(&mut self, name: &str) -> &mut PlatformEnvironment {
        self.environments.get_mut(name).unwrap()
    }

    /// Edits `spec.config` of an environment, and releases that, as the environment controller does.
    pub(crate) fn configure(&mut self, environment: &str, edited: &Value) {
        self.edit(environment, edited);
        let newest = self.newest(environment).clone();
        let spec = self.env(environment).spec.config.clone();
        let merged = config::merge(&spec, &newest.spec.declared, &newest.spec.config, newest.spec.revision.next());
        let limit = self.env(environment).spec.revision_history_limit;
        let record = EnvironmentRevisionSpec {
            retained_from: retention::retained_from(&self.history(environment), limit),
            revision: newest.spec.revision.next(),
            cause: crate::api::Cause::ConfigChanged,
            config_digest: config::digest(&merged),
            declared: config::declared(&spec),
            changes: config::changes(&newest.spec.config, &merged),
            config: merged,
            timestamp: self.now,
            previous: Some(newest.spec.digest),
            promotion: None,
            restores: None,
            vetoes: None,
            ..newest.spec
        };
        self.put(chain::sealed(record));
    }

    /// Edits `spec.config` of an environment, and nothing comes of it yet.
    pub(crate) fn edit(&mut self, environment: &str, edited: &Value) {
        let environment = self.env(environment);
        environment.spec.config = serde_json::from_value(edited.clone()).unwrap();
        environment.metadata.generation = environment.metadata.generation.map(|generation| generation + 1);
    }

    /// A version is there without a promotion.
    pub(crate) fn release(&mut self, environment: &str, name: &str) {
        let digest = version::digest(&self.versions[name].spec);
        let newest = self.revisions.values().rfind(|revision| revision.spec.environment == environment).cloned();
        let config = newest.as_ref().map(|newest| newest.spec.config.clone()).unwrap_or_default();
        let record = json!({
            "environment": environment, "environmentUid": format!("u-{environment}"),
            "revision": newest.as_ref().map_or(RevisionNumber::FIRST, |newest| newest.spec.revision.next()),
            "generation": 1, "cause": "Created", "version": VersionReference { name: name.to_owned(), digest },
            "config": config, "configDigest": config::digest(&config), "declared": {}, "changes": {}, "actor": "ana",
            "timestamp": self.now, "previous": newest.map(|newest| newest.spec.digest), "digest": digest,
        });
        self.put(chain::sealed(serde_json::from_value(record).unwrap()));
    }

    fn put(&mut self, record: EnvironmentRevisionSpec) {
        let name = naming::revision(&record.environment, record.revision);
        let at = (record.environment.clone(), record.revision);
        assert!(!self.revisions.contains_key(&at), "{name}: one release for each number");
        self.revisions.insert(at, EnvironmentRevision::new(&name, record));
        self.publish_releases();
    }

    /// What the environment controller does after a commit.
    pub(crate) fn publish_releases(&mut self) {
        for name in self.environments.keys().cloned().collect::<Vec<_>>() {
            let Some(newest) = self.revisions.values().rfind(|revision| revision.spec.environment == name) else {
                continue;
            };
            let release = RevisionRecord::from(newest).release();
            self.env(&name).status.get_or_insert_default().release = Some(release);
        }
    }

    pub(crate) fn newest(&self, environment: &str) -> &EnvironmentRevision {
        self.revisions.values().rfind(|revision| revision.spec.environment == environment).unwrap()
    }

    /// The planner deployed the newest revision well.
    pub(crate) fn deployed(&mut self, environment: &str) {
        let revision = self.newest(environment).spec.revision;
        self.report(environment, revision, "Succeeded");
    }

    /// The planner reports, and the environment controller writes it down.
    pub(crate) fn report(&mut self, environment: &str, revision: RevisionNumber, state: &str) {
        let report = json!({"revision": revision, "state": state, "reportedBy": "argocd", "at": self.now});
        let report = serde_json::from_value(report).unwrap();
        self.env(environment).status.get_or_insert_default().deployment = Some(report);
        let (now, newest) = (self.now, self.newest(environment).spec.revision);
        let report = self.environments[environment].status.as_ref().and_then(|status| status.deployment.clone());
        let revision = self.revisions.get_mut(&(environment.to_owned(), newest)).unwrap();
        let known = revision.status.as_ref().and_then(|status| status.deployment.as_ref());
        if let Some(outcome) = outcome::after(newest, known, report.as_ref(), now) {
            revision.status = Some(EnvironmentRevisionStatus { deployment: Some(outcome) });
        }
        self.publish_releases();
    }

    /// Reports a validation of a version, bound to its digest.
    pub(crate) fn validated(&mut self, name: &str, validation: &str, result: &str) {
        let digest = version::digest(&self.versions[name].spec);
        let at = self.now;
        let result = json!({"name": validation, "result": result, "digest": digest, "reporter": "ci", "at": at});
        let status = self.version(name).status.get_or_insert_default();
        status.validations.retain(|other| other.name != validation);
        status.validations.push(serde_json::from_value(result).unwrap());
    }

    /// Ana asks for a promotion.
    pub(crate) fn promote(&mut self, name: &str, spec: &Value) {
        let uid = format!("u-{name}-{}", self.journal.len());
        self.promote_as(name, &uid, spec);
    }

    pub(crate) fn promote_as(&mut self, name: &str, uid: &str, spec: &Value) {
        let promotion = json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "Promotion",
            "metadata": {"name": name, "namespace": "pf-872", "uid": uid, "generation": 1, "creationTimestamp": self.now,
                         "annotations": {"platform.puraify.app/created-by": "ana"}},
            "spec": spec,
        });
        self.promotions.insert(name.to_owned(), serde_json::from_value(promotion).unwrap());
    }

    /// Somebody confirms the plan as it is shown.
    pub(crate) fn confirm(&mut self, promotion: &str, user: &str) {
        let digest = self.status(promotion).plan.as_ref().unwrap().digest;
        let confirmation = serde_json::from_value(json!({"user": user, "digest": digest})).unwrap();
        self.promotions.get_mut(promotion).unwrap().spec.confirmations.push(confirmation);
    }

    pub(crate) fn status(&self, promotion: &str) -> &PromotionStatus {
        self.promotions[promotion].status.as_ref().unwrap()
    }

    pub(crate) fn phase(&self, promotion: &str) -> PromotionPhase {
        self.status(promotion).phase.unwrap()
    }

    pub(crate) fn gate(&self, promotion: &str, gate: &str) -> &Gate {
        let gates = &self.status(promotion).gates;
        gates
            .iter()
            .find(|found| found.name == gate)
            .unwrap_or_else(|| panic!("{promotion} has no gate {gate}: {gates:#?}"))
    }

    pub(crate) fn wait(&mut self, minutes: i64) {
        self.now += SignedDuration::from_mins(minutes);
    }

    /// The history of an environment.
    pub(crate) fn history(&self, environment: &str) -> History {
        let own = self.revisions.values().filter(|revision| revision.spec.environment == environment);
        History::new(own.map(|revision| Arc::new(RevisionRecord::from(revision))).collect())
    }

    /// The version that an environment has.
    pub(crate) fn has(&self, environment: &str) -> &str {
        &self.newest(environment).spec.version.as_ref().unwrap().name
    }

    /// What is known of a promotion, with these reads.
    pub(crate) fn snapshot<'a>(&'a self, promotion: &'a Promotion, reads: &'a Reads) -> Snapshot<'a> {
        let environments = self.environments.iter().map(|(name, environment)| {
            let view = EnvironmentView {
                environment: Arc::new(environment.clone()),
                history: self.history(name),
                unreadable: self.unreadable.get(name).cloned(),
            };
            (name.clone(), view)
        });
        let versions = self.versions.iter().map(|(name, version)| {
            let reference = VersionReference { name: name.clone(), digest: version::digest(&version.spec) };
            let validations = version.status.clone().unwrap_or_default().validations;
            let terminating = version.metadata.deletion_timestamp.is_some();
            let requires = version.spec.requires.clone();
            (name.clone(), VersionView { reference, requires, validations, terminating })
        });
        let rivals = self.promotions.values().filter(|other| other.spec.target == promotion.spec.target);
        Snapshot {
            promotion,
            environments: environments.collect(),
            requirements: requirements(&promotion.spec.target, |name| {
                self.environments.get(name)?.spec.promotion.clone()
            }),
            undecodable: std::collections::BTreeSet::new(),
            versions: versions.collect(),
            rivals: rivals.filter_map(Rival::of).collect(),
            revisions: &reads.revisions,
            diffs: &reads.diffs,
            fresh: reads.fresh,
            refusal: None,
            now: self.now,
        }
    }

    /// Grants a read.
    pub(crate) fn grant(&self, reads: &mut Reads, needed: Needed) {
        match needed {
            Needed::Revision(name) => {
                let found = self.revisions.values().find(|revision| revision.metadata.name.as_ref() == Some(&name));
                reads.revisions.insert(name, found.cloned());
            }
            Needed::Diff(from, to) => {
                let content = |reference: &VersionReference| {
                    self.versions.get(&reference.name).map(|version| version.spec.content.clone()).unwrap_or_default()
                };
                let diff = diff::between(&from.as_ref().map(content).unwrap_or_default(), &content(&to));
                reads.diffs.insert((from.map(|from| from.digest), to.digest), diff);
            }
        }
    }

    /// Reconciles a promotion until its plan rests. Gives back how it rested; `None` if it is gone.
    pub(crate) fn settle(&mut self, name: &str) -> Option<Rest> {
        let mut reads = Reads::default();
        for _ in 0..32 {
            let promotion = self.promotions.get(name)?.clone();
            match plan(&self.snapshot(&promotion, &reads)) {
                Step::Read(needed) => self.grant(&mut reads, needed),
                Step::Refresh => reads.fresh = true,
                Step::Act(action) => self.perform(name, action),
                Step::Rest(rest) => {
                    assert!(rest.wake.is_none_or(|wake| wake > self.now), "it wakes itself at once, again and again");
                    let status = &mut self.promotions.get_mut(name)?.status;
                    if status.as_ref() != Some(&rest.status) {
                        self.journal.push(format!("status {name}"));
                        *status = Some((*rest.status).clone());
                    }
                    return Some(rest);
                }
            }
        }
        panic!("the plan does not come to rest: {:#?}", self.journal);
    }

    /// Reconciles all promotions until nothing changes any more.
    pub(crate) fn settle_all(&mut self) {
        for _ in 0..32 {
            let writes = self.journal.len();
            for name in self.promotions.keys().cloned().collect::<Vec<_>>() {
                self.settle(&name);
            }
            if self.journal.len() == writes {
                return;
            }
        }
        panic!("the promotions do not come to rest: {:#?}", self.journal);
    }

    pub(crate) fn perform(&mut self, name: &str, action: Action) {
        match action {
            Action::Show(status) => {
                self.journal.push(format!("show {name}"));
                self.promotions.get_mut(name).unwrap().status = Some(*status);
            }
            Action::Commit(record) => {
                self.journal.push(format!("commit {}-{}", record.environment, record.revision));
                if !self.revisions.contains_key(&(record.environment.clone(), record.revision)) {
                    self.put(*record);
                }
            }
            Action::MarkEnd(phase) => {
                self.journal.push(format!("mark {name}"));
                let annotations = &mut self.promotions.get_mut(name).unwrap().metadata.annotations;
                annotations.get_or_insert_default().insert(ANNOTATION_ENDED.to_owned(), phase.as_str().to_owned());
            }
            Action::Delete => {
                self.journal.push(format!("delete {name}"));
                self.promotions.remove(name);
            }
        }
    }
}

/// What a reconcile has read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    pub(crate) revisions: BTreeMap<String, Option<EnvironmentRevision>>,
    pub(crate) diffs: BTreeMap<(Option<Digest>, Digest), ContentDiff>,
    pub(crate) fresh: bool,
}
