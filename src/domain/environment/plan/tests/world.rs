//! A small world for the plan: an API server reduced to what the plan sees of it. It can stop at any write, do the writes of a step
//! in any order, and be tampered with.

use super::{vault::Vault, *};

pub(super) const START: Timestamp = Timestamp::UNIX_EPOCH;

/// A child, with what tells whether it is as we made it.
pub(super) type AsMade = (ChildId, Option<u64>, Option<OwnedFields>);

pub(super) struct World {
    pub(super) environment: Option<PlatformEnvironment>,
    pub(super) base: Base,
    pub(super) base_revision: Option<EnvironmentRevision>,
    pub(super) revisions: BTreeMap<RevisionNumber, EnvironmentRevision>,
    pub(super) children: BTreeMap<ChildId, Child>,
    pub(super) settings: Settings,
    /// What there is in Vault.
    pub(super) vault: Vault,
    /// What a promotion could be made of that is due by itself.
    pub(super) auto: Option<auto::Inputs>,
    /// What the next plan is told of the step before.
    pub(super) failures: Vec<Failure>,
    pub(super) now: Timestamp,
    pub(super) uids: u32,
    /// Every write, in order.
    pub(super) journal: Vec<String>,
}

impl World {
    pub(super) fn new(spec: &serde_json::Value) -> Self {
        let environment = serde_json::from_value(json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
            "metadata": {"name": "staging", "namespace": "pf-872", "uid": "u-env", "generation": 1,
                         "creationTimestamp": START.to_string()},
            "spec": spec,
        }));
        Self {
            environment: Some(environment.unwrap()),
            base: Base::Nothing,
            base_revision: None,
            revisions: BTreeMap::new(),
            children: BTreeMap::new(),
            settings: Settings {
                allowed_cluster_roles: ["view".to_owned()].into(),
                gateways: [("public".to_owned(), "gateway-system".to_owned())].into(),
                ..Settings::default()
            },
            vault: Vault::default(),
            auto: None,
            failures: vec![],
            now: START,
            uids: 0,
            journal: vec![],
        }
    }

    pub(super) fn from_nothing() -> Self {
        Self::new(&json!({"class": "Staging", "config": {"flags": [{"name": "BETA", "enabled": true}]},
            "isolation": {"access": [{"role": "view", "users": ["ana"]}]}}))
    }

    /// A clone of `dev`, which has v1.4.3 and the flag BETA.
    pub(super) fn clone_of_dev() -> Self {
        let mut dev = Self::from_nothing();
        dev.settle();
        let mut record = dev.revisions[&RevisionNumber::FIRST].spec.clone();
        record.environment = "dev".to_owned();
        record.version = Some(VersionReference { name: "v1.4.3".to_owned(), digest: Digest::of(b"v1.4.3") });
        let revision = EnvironmentRevision::new("dev-1", chain::sealed(record));
        let mut world = Self::new(&json!({"class": "Staging", "baseFrom": {"environment": "dev"},
            "config": {"flags": [{"name": "OWN", "enabled": true}]}}));
        world.base = Base::Environment(BaseEnvironment {
            name: "dev".to_owned(),
            exists: true,
            terminating: false,
            latest: Some(Arc::new(RevisionRecord::from(&revision))),
            circle: None,
        });
        world.base_revision = Some(revision);
        world
    }

    pub(super) fn environment(&mut self) -> &mut PlatformEnvironment {
        self.environment.as_mut().unwrap()
    }

    /// What a reconcile would decide, all reads granted.
    pub(super) fn next(&self) -> Option<Step> {
        let environment = self.environment.as_ref()?;
        let mut read = BTreeMap::new();
        let mut report = None;
        let mut found = self.vault.found.clone();
        for _ in 0..5 {
            let records = self.revisions.values().map(|revision| Arc::new(RevisionRecord::from(revision)));
            let history = History::new(records.collect());
            let snapshot = Snapshot {
                environment,
                project_id: Some("pf_872".into()),
                settings: &self.settings,
                unreadable: None,
                former_history: false,
                base: if history.newest().is_some() { Base::Nothing } else { self.base.clone() },
                history,
                on_their_way: vec![],
                auto: self.auto.clone(),
                revisions: &read,
                children: self.children.values().cloned().collect(),
                namespace: report.as_ref(),
                failures: &self.failures,
                vault: self.settings.vault.is_some().then(|| self.vault.view(found.as_ref())),
                memo: &Memo::default(),
                now: self.now,
            };
            match plan(&snapshot) {
                Step::Read(Read::Revision(name)) => {
                    let all = self.revisions.values().chain(&self.base_revision);
                    let found = all.into_iter().find(|revision| revision.metadata.name.as_ref() == Some(&name));
                    let found = found.cloned();
                    read.insert(name, found);
                }
                Step::Read(Read::Namespace) => report = Some(NamespaceReport::default()),
                Step::LookIntoVault(query) => {
                    found = Some(self.vault.look(*query, found.as_ref(), environment, self.now));
                }
                step => return Some(step),
            }
        }
        panic!("the plan does nothing but read");
    }

    pub(super) fn perform(&mut self, action: &Action) {
        self.journal.push(match action {
            Action::Apply(intent, _) => format!("apply {}", intent.id),
            Action::Delete(id, _) => format!("delete {id}"),
            Action::CreateRevision(record) => format!("create revision {}", record.revision),
            other => format!("{other:?}"),
        });
        match action {
            Action::AddFinalizer => self.environment().metadata.finalizers = Some(vec![FINALIZER.to_owned()]),
            Action::RemoveFinalizer => self.environment = None,
            Action::DeleteEnvironment => self.delete(),
            Action::Apply(intent, difference) => self.apply(intent, difference),
            Action::Delete(id, uid) => self.remove(id, uid),
            Action::RetainNamespace(uid) => self.children.retain(|_, child| child.uid != *uid),
            Action::CreateRevision(record) => {
                let name = naming::revision(&record.environment, record.revision);
                // The API server lets one creation win.
                self.revisions
                    .entry(record.revision)
                    .or_insert_with(|| EnvironmentRevision::new(&name, (**record).clone()));
            }
            Action::DeleteRevisions => self.revisions.clear(),
            Action::PruneRevisions(numbers) => self.revisions.retain(|number, _| !numbers.contains(number)),
            Action::RecordOutcome(number, outcome) => {
                let status = EnvironmentRevisionStatus { deployment: Some(outcome.clone()) };
                self.revisions.get_mut(number).unwrap().status = Some(status);
            }
            Action::CreatePromotion(promotion) => {
                let name = promotion.metadata.name.clone().unwrap();
                self.auto.as_mut().unwrap().promotions.insert(name);
            }
        }
    }

    pub(super) fn change_vault(&mut self, change: &Change) {
        self.journal.push(format!("vault: {change}"));
        self.vault.change(change);
    }

    pub(super) fn apply(&mut self, intent: &Intent, difference: &Difference) {
        let there = self.children.get(&intent.id);
        assert_eq!(there.is_none(), *difference == Difference::Missing, "{}: the plan knows what is there", intent.id);
        assert!(there.is_none_or(|child| child.owned.is_some()), "{}: what is not ours is never applied", intent.id);
        let namespace = self.children.keys().any(|id| id.kind == ChildKind::Namespace);
        assert!(namespace || intent.id.kind == ChildKind::Namespace, "{}: the namespace comes first", intent.id);
        self.uids += 1;
        let uid = there.map_or_else(|| format!("u-{}", self.uids).as_str().into(), |child| child.uid.clone());
        let child = Child {
            id: intent.id.clone(),
            uid,
            mark: Some(intent.mark.hash()),
            owned: Some(intent.owned),
            terminating: false,
            others: vec![],
        };
        self.children.insert(intent.id.clone(), child);
    }

    pub(super) fn remove(&mut self, id: &ChildId, uid: &Uid) {
        let child = self.children.get(id).expect("only what is there is deleted");
        assert_eq!(child.uid, *uid);
        assert!(child.owned.is_some(), "{id}: what is not ours is never deleted");
        if id.kind == ChildKind::Namespace {
            // All that lies in it goes with it.
            self.children.clear();
        } else {
            self.children.remove(id);
        }
    }

    pub(super) fn delete(&mut self) {
        let now = self.now;
        let metadata = &mut self.environment().metadata;
        metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        if metadata.finalizers.is_none() {
            self.environment = None;
        }
    }

    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut PlatformEnvironment)) {
        edit(self.environment());
        let generation = &mut self.environment().metadata.generation;
        *generation = generation.map(|generation| generation + 1);
    }

    /// Reconciles until the plan rests, and reports. Gives back how it rested.
    pub(super) fn settle(&mut self) -> Option<Rest> {
        for _ in 0..20 {
            match self.next()? {
                Step::Act(actions) => actions.iter().for_each(|action| self.perform(action)),
                Step::ChangeVault(changes) => changes.iter().for_each(|change| self.change_vault(change)),
                Step::Rest(rest) => {
                    // The planner's field is not ours to write.
                    let deployment = self.environment().status.take().and_then(|status| status.deployment);
                    self.environment().status = Some(PlatformEnvironmentStatus { deployment, ..rest.status.clone() });
                    return Some(*rest);
                }
                Step::Read(_) | Step::LookIntoVault(_) => unreachable!("reads are granted"),
            }
        }
        panic!("the plan does not come to rest: {:#?}", self.journal);
    }

    /// Reconciles, but stops for good after some of the writes of a step, done in any order.
    pub(super) fn settle_until_killed(&mut self, order: &[Index], writes: usize) {
        let mut done = 0;
        let mut order = order.iter().cycle();
        while let Some(Step::Act(mut actions)) = self.next() {
            while !actions.is_empty() {
                if done == writes {
                    return;
                }
                let Some(index) = order.next() else { return };
                let action = actions.remove(index.index(actions.len()));
                self.perform(&action);
                done += 1;
            }
        }
    }

    pub(super) fn assert_whole(&self) {
        let stored: Vec<_> = self.revisions.values().map(|revision| json!(revision.spec)).collect();
        assert_eq!(chain::verify(&stored), Ok(()));
    }

    /// All children as we made them, and all revisions.
    pub(super) fn everything(&self) -> (Vec<AsMade>, Vec<(RevisionNumber, Digest)>) {
        let revisions = self.revisions.values().map(|revision| (revision.spec.revision, revision.spec.digest));
        let children = self.children.values().map(|child| (child.id.clone(), child.mark, child.owned));
        (children.collect(), revisions.collect())
    }

    pub(super) fn condition(&self, name: &str) -> Option<ConditionStatus> {
        let status = self.environment.as_ref()?.status.as_ref()?;
        status.conditions.iter().find(|condition| condition.r#type == name).map(|condition| condition.status)
    }
}

pub(super) fn assert_ready(world: &World) {
    for name in [READY, NAMESPACE_READY, ISOLATED, CONFIG_READY] {
        assert_eq!(world.condition(name), Some(ConditionStatus::True), "{name}");
    }
    for name in [RECONCILING, STALLED] {
        assert_eq!(world.condition(name), None, "{name} is there only while it is true");
    }
}
