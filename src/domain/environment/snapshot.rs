//! What is known about an environment at one moment: the only thing that a plan is made of.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    children::{ChildId, ChildKind, Intent},
    intents::Memo,
    ownership::{OtherManager, OwnedFields},
};
use crate::{
    api::{EnvironmentRevision, PlatformEnvironment, condition::Reason, revision::VersionReference},
    domain::{
        promotion::{auto, snapshot::Rival},
        revision::{History, RevisionRecord},
        settings::Settings,
        uid::Uid,
        vault::{Found, Gone, Trouble, secrets::BaseSecrets},
    },
};

/// Everything that a plan looks at.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The environment.
    pub environment: &'a PlatformEnvironment,
    /// The project's id, if a platform administrator gave its namespace one (label `platform.puraify.app/project-id`).
    pub project_id: Option<Arc<str>>,
    /// The platform team's decisions.
    pub settings: &'a Settings,
    /// The environment's kept revisions.
    pub history: History,
    /// The name of a revision that is newer than these and cannot be read.
    pub unreadable: Option<String>,
    /// Revisions of a former environment of the same name are still there.
    pub former_history: bool,
    /// What `spec.baseFrom` names, as long as there is no revision yet.
    pub base: Base,
    /// The promotions into it that have not ended.
    pub on_their_way: Vec<Rival>,
    /// What a promotion could be made of that is due by itself; only where the rules ask for such.
    pub auto: Option<auto::Inputs>,
    /// Revisions with their whole configuration, by name, as far as the plan asked for them; `None` if there is none
    /// of that name.
    pub revisions: &'a BTreeMap<String, Option<EnvironmentRevision>>,
    /// The children that carry the environment's UID.
    pub children: Vec<Child>,
    /// The namespace's own words about its deletion, if the plan asked for them.
    pub namespace: Option<&'a NamespaceReport>,
    /// What went wrong with the steps before this one.
    pub failures: &'a [Failure],
    /// What is known of the environment's place in Vault; `None` where Vault is not used.
    pub vault: Option<VaultView<'a>>,
    /// What plans for this environment worked out before. A plan is the same with an empty one, only slower.
    pub memo: &'a Memo,
    /// The moment of planning.
    pub now: Timestamp,
}

impl Snapshot<'_> {
    /// The project: the namespace of the custom resource.
    #[must_use]
    pub fn project(&self) -> &str {
        self.environment.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The environment's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.environment.metadata.name.as_deref().unwrap_or_default()
    }

    /// The environment's newest revision.
    #[must_use]
    pub fn latest(&self) -> Option<&RevisionRecord> {
        self.history.newest().map(AsRef::as_ref)
    }

    /// The environment's UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.environment.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The URL at which the environment can be visited.
    #[must_use]
    pub fn url(&self) -> String {
        let project_id = self.project_id.as_deref().unwrap_or(self.project());
        self.settings.url_template.render(project_id, self.project(), self.name())
    }

    /// The child with this identity, if it is there.
    #[must_use]
    pub fn child(&self, id: &ChildId) -> Option<&Child> {
        self.children.iter().find(|child| child.id == *id)
    }

    /// How a child differs from what it should be; `None` if it does not.
    #[must_use]
    pub fn difference(&self, intent: &Intent) -> Option<Difference> {
        let Some(child) = self.child(&intent.id) else { return Some(Difference::Missing) };
        match child.mark {
            Some(mark) if mark != intent.mark.hash() => Some(Difference::Outdated { uid: child.uid.clone() }),
            Some(_) if child.owned == Some(intent.owned) => None,
            _ => {
                let atomic = intent.id.kind.atomic_fields();
                let mut others = child.others.iter().rev();
                let by = others.find(|other| other.took_from(&intent.body, atomic)).map(|other| other.name.clone());
                Some(Difference::Changed { uid: child.uid.clone(), by })
            }
        }
    }
}

/// What is known of an environment's place in Vault.
#[derive(Clone, Debug, Default)]
pub struct VaultView<'a> {
    /// What was found there.
    pub found: Option<&'a Found>,
    /// What is gone of it already.
    pub gone: Gone,
    /// What went wrong with the steps before this one.
    pub trouble: Option<&'a Trouble>,
    /// So many others are at Vault that this environment stands in line. It is told when its turn comes.
    pub in_line: bool,
    /// What the environment was cloned from, while that exists.
    pub base: Option<BaseSecrets>,
}

/// What an environment starts from, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// The spec names nothing, or the base was taken already.
    Nothing,
    /// Another environment.
    Environment(BaseEnvironment),
    /// A version: its name, and its digest if it exists.
    Version(String, Option<VersionReference>),
}

/// The environment that another one is cloned from.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseEnvironment {
    /// Its name.
    pub name: String,
    /// Whether it exists.
    pub exists: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Its newest revision.
    pub latest: Option<Arc<RevisionRecord>>,
    /// The circle that it is part of, if environments that wait for each other form one.
    pub circle: Option<Vec<String>>,
}

/// A child as its metadata shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Kind and name.
    pub id: ChildId,
    /// Its UID.
    pub uid: Uid,
    /// The hash of the intent annotation, if that is still ours.
    pub mark: Option<u64>,
    /// The fields that are ours.
    pub owned: Option<OwnedFields>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Who else owns fields of it, the last one at the end.
    pub others: Vec<OtherManager>,
}

/// How a child differs from its intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is not there.
    Missing,
    /// It is as an earlier intent said.
    Outdated {
        /// The child's UID.
        uid: Uid,
    },
    /// Somebody changed what is ours.
    Changed {
        /// The child's UID.
        uid: Uid,
        /// Who, as far as `managedFields` tells: a field that was taken out is nobody's.
        by: Option<Box<str>>,
    },
}

/// What a namespace that is being deleted says about what holds it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NamespaceReport {
    /// When the deletion began.
    pub since: Option<Timestamp>,
    /// The messages of its conditions that say what remains.
    pub remaining: Vec<String>,
    /// Finalizers on the namespace object itself.
    pub finalizers: Vec<String>,
}

/// A write that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was to be written.
    pub target: String,
    /// The concern that it belongs to.
    pub kind: Option<ChildKind>,
    /// [`Reason::NotOurs`] or [`Reason::WriteFailed`].
    pub reason: Reason,
    /// What happened, for people.
    pub message: String,
}

impl Failure {
    /// An object with the name that we need is not ours, and is never adopted.
    #[must_use]
    pub fn not_ours(id: &ChildId, environment: &str) -> Self {
        let kind = id.kind.as_str();
        let message = format!(
            "{id} exists already and does not belong to this environment; it was left as it is. Delete or rename that \
             {kind}, or give this environment another name than {environment}"
        );
        Self { target: id.to_string(), kind: Some(id.kind), reason: Reason::NotOurs, message }
    }

    /// A revision with the name that we need is a former environment's.
    #[must_use]
    pub fn former_history(revision: &str, environment: &str) -> Self {
        let message = former_history(environment);
        Self { target: revision.to_owned(), kind: None, reason: Reason::FormerHistory, message }
    }
}

/// What is said of an environment whose name has the history of another one.
#[must_use]
pub fn former_history(environment: &str) -> String {
    format!(
        "The history of a former environment named {environment} is still there; this one starts when it is gone. If it \
         does not go, delete its EnvironmentRevisions, or look at their finalizers"
    )
}
