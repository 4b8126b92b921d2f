//! The writes that carry one promotion out, written down before the clock starts.
//!
//! They are not a copy of what the operator does: the plan itself is played against a world that grants every wish.
//! What the environment writes, the pointer and its status, is made with the operator's own functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use environment_manager::{
    api::{
        Digest, EnvironmentRevision, EnvironmentRevisionSpec, PlatformEnvironment, PlatformVersion, Promotion,
        PromotionStatus, condition::READY,
    },
    domain::{
        environment::{
            children::{self, Owner},
            naming, status,
        },
        promotion::{
            plan::{Action, Step, plan},
            proposal::Needed,
            snapshot::{ContentDiff, EnvironmentView, Snapshot, VersionView},
        },
        revision::{History, RevisionRecord},
        version::diff,
    },
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, Client, ResourceExt as _, api::ListParams};

use crate::{
    fleet,
    support::{
        Result,
        requests::{self, Script},
    },
};

/// More steps than any promotion takes.
const MOST_STEPS: usize = 32;

/// What is there, by project.
#[derive(Default)]
pub struct Known(BTreeMap<String, Project>);

struct Project {
    environments: BTreeMap<String, PlatformEnvironment>,
    versions: BTreeMap<String, PlatformVersion>,
    /// By environment.
    revisions: BTreeMap<String, Vec<EnvironmentRevision>>,
}

impl Known {
    /// Reads all of a project, unless it was read before.
    pub async fn learn(&mut self, client: &Client, project: &str) -> Result<()> {
        if self.0.contains_key(project) {
            return Ok(());
        }
        let environments: Api<PlatformEnvironment> = Api::namespaced(client.clone(), project);
        let versions: Api<PlatformVersion> = Api::namespaced(client.clone(), project);
        let all: Api<EnvironmentRevision> = Api::namespaced(client.clone(), project);
        let mut revisions: BTreeMap<String, Vec<EnvironmentRevision>> = BTreeMap::new();
        for revision in all.list(&ListParams::default()).await?.items {
            revisions.entry(revision.spec.environment.clone()).or_default().push(revision);
        }
        let environments = environments.list(&ListParams::default()).await?.items;
        let versions = versions.list(&ListParams::default()).await?.items;
        let known = Project {
            environments: environments.into_iter().map(|found| (found.name_any(), found)).collect(),
            versions: versions.into_iter().map(|found| (found.name_any(), found)).collect(),
            revisions,
        };
        self.0.insert(project.to_owned(), known);
        Ok(())
    }
}

/// The script for a promotion that nobody has created yet. Its UID is made up: nobody knows it before.
pub fn of(known: &Known, promotion: &Promotion) -> Result<Script> {
    let project = promotion.namespace().and_then(|project| known.0.get(&project)).ok_or("the project is not known")?;
    let mut promotion = promotion.clone();
    promotion.metadata.uid = Some(fleet::uid_of(&promotion.name_any()));
    promotion.metadata.creation_timestamp = Some(Time(Timestamp::now()));
    promotion.metadata.generation = Some(1);
    let target = project.environments.get(&promotion.spec.target).ok_or("the target is not known")?.clone();
    let mut played = Played {
        project,
        promotion,
        target,
        made: None,
        revisions: BTreeMap::new(),
        diffs: BTreeMap::new(),
        fresh: false,
        script: vec![],
    };
    for _ in 0..MOST_STEPS {
        match played.next() {
            Step::Read(Needed::Revision(name)) => played.read(&name),
            Step::Read(Needed::Diff(from, to)) => {
                let content = |name: &str| project.versions.get(name).map(|version| &version.spec.content);
                let to_content = content(&to.name).ok_or("the version is not known")?;
                let nothing = BTreeMap::new();
                let from_content = from.as_ref().and_then(|from| content(&from.name)).unwrap_or(&nothing);
                let key = (from.map(|from| from.digest), to.digest);
                played.diffs.insert(key, diff::between(from_content, to_content));
            }
            Step::Refresh => played.fresh = true,
            Step::Act(Action::Show(status)) => played.say(*status)?,
            Step::Act(Action::Commit(record)) => played.commit(&record)?,
            Step::Act(Action::Delete | Action::MarkEnd(_)) => return Err("a new promotion is not deleted".into()),
            Step::Rest(rest) => {
                played.say(*rest.status)?;
                return Ok(played.script);
            }
        }
    }
    Err("the plan does not come to rest".into())
}

/// What the world has granted so far.
struct Played<'a> {
    project: &'a Project,
    promotion: Promotion,
    target: PlatformEnvironment,
    made: Option<EnvironmentRevision>,
    revisions: BTreeMap<String, Option<EnvironmentRevision>>,
    diffs: BTreeMap<(Option<Digest>, Digest), ContentDiff>,
    fresh: bool,
    script: Script,
}

impl Played<'_> {
    fn next(&self) -> Step {
        plan(&Snapshot {
            promotion: &self.promotion,
            environments: self.environments(),
            requirements: BTreeMap::new(),
            undecodable: BTreeSet::new(),
            versions: self.versions(),
            rivals: vec![],
            revisions: &self.revisions,
            diffs: &self.diffs,
            fresh: self.fresh,
            refusal: None,
            now: Timestamp::now(),
        })
    }

    fn environments(&self) -> BTreeMap<String, EnvironmentView> {
        let source =
            self.promotion.spec.source.environment.iter().filter_map(|name| self.project.environments.get(name));
        source.chain([&self.target]).map(|environment| (environment.name_any(), self.view(environment))).collect()
    }

    fn view(&self, environment: &PlatformEnvironment) -> EnvironmentView {
        let name = environment.name_any();
        let made = self.made.iter().filter(|made| made.spec.environment == name);
        let kept = self.project.revisions.get(&name).into_iter().flatten().chain(made);
        EnvironmentView {
            environment: Arc::new(environment.clone()),
            history: History::new(kept.map(|revision| Arc::new(RevisionRecord::from(revision))).collect()),
            unreadable: None,
        }
    }

    fn versions(&self) -> BTreeMap<String, VersionView> {
        let view = |version: &PlatformVersion| VersionView {
            reference: fleet::reference(version),
            requires: version.spec.requires.clone(),
            validations: vec![],
            terminating: false,
        };
        self.project.versions.iter().map(|(name, version)| (name.clone(), view(version))).collect()
    }

    fn read(&mut self, name: &str) {
        let all = self.project.revisions.values().flatten().chain(&self.made);
        let found = all.into_iter().find(|revision| revision.name_any() == name).cloned();
        self.revisions.insert(name.to_owned(), found);
    }

    fn say(&mut self, status: PromotionStatus) -> Result<()> {
        self.script.push(vec![requests::apply_status(&self.promotion, &status)?]);
        self.promotion.status = Some(status);
        Ok(())
    }

    /// The revision; then, at once, the pointer to the release and the event; then the environment's status.
    fn commit(&mut self, record: &EnvironmentRevisionSpec) -> Result<()> {
        let release = RevisionRecord::from(record).release();
        let (project, name) = (self.target.namespace().unwrap_or_default(), self.target.name_any());
        let namespace = naming::namespace(&project, &name)?;
        let uid = self.target.uid().unwrap_or_default();
        let owner = Owner {
            project: &project,
            environment: &name,
            uid: &uid,
            namespace: &namespace,
            class: self.target.spec.class,
        };
        let pointer = children::release_pointer(owner, &release);
        self.script.push(vec![requests::create_revision(&self.target, record)?]);
        self.script.push(vec![
            requests::apply_child(&namespace, &pointer, None)?,
            requests::event_about(&self.target, record)?,
        ]);
        let mut status = self.target.status.clone().map(status::ours).unwrap_or_default();
        let version = release.version.clone().unwrap_or_default();
        if let Some(ready) = status.conditions.iter_mut().find(|condition| condition.r#type == READY) {
            ready.message = format!("{version} is released in {namespace}");
        }
        status.release = Some(release);
        self.script.push(vec![requests::apply_status(&self.target, &status)?]);
        self.target.status = Some(status);
        self.made = Some(requests::revision(&self.target, record));
        self.fresh = false;
        Ok(())
    }
}
