//! What is known about a promotion at one moment: the only thing that a plan is made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    api::{
        ANNOTATION_AUTO, Digest, EnvironmentRevision, PlatformEnvironment, Promotion, PromotionPhase, RevisionNumber,
        revision::{CategoryChanges, VersionReference},
        rules::PromotionRules,
        version::{Requires, ValidationResult},
    },
    domain::{
        revision::{History, RevisionRecord},
        version::order,
    },
};

/// Environments that require others, by name.
pub type Requirements = BTreeMap<String, Vec<String>>;

/// Follows what environments require of each other, from one of them on.
#[must_use]
pub fn requirements(from: &str, rules: impl Fn(&str) -> Option<PromotionRules>) -> Requirements {
    let mut found = Requirements::new();
    let mut next = vec![from.to_owned()];
    while let Some(name) = next.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let required: Vec<String> =
            rules(&name).into_iter().flat_map(|rules| rules.requires).map(|required| required.environment).collect();
        next.extend(required.iter().cloned());
        found.insert(name, required);
    }
    found
}

/// What changes between the contents of two versions.
pub type ContentDiff = BTreeMap<String, CategoryChanges>;

/// Everything that a plan looks at.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The promotion.
    pub promotion: &'a Promotion,
    /// The environments that it may look at, by name: target, source, and those that the target's rules name.
    pub environments: BTreeMap<String, EnvironmentView>,
    /// Which environments require which, as far as that can be followed from the target.
    pub requirements: Requirements,
    /// Those of them that are stored and cannot be read.
    pub undecodable: BTreeSet<String>,
    /// The versions that it may look at, by name.
    pub versions: BTreeMap<String, VersionView>,
    /// The other promotions into the same target that may be on their way.
    pub rivals: Vec<Rival>,
    /// Revisions with their whole configuration, by name, as far as the plan asked for them; `None` if there is none
    /// of that name.
    pub revisions: &'a BTreeMap<String, Option<EnvironmentRevision>>,
    /// What changes from one version's content to another's, as far as the plan asked for it.
    pub diffs: &'a BTreeMap<(Option<Digest>, Digest), ContentDiff>,
    /// All of this was read live since the reconcile began, and is good enough to commit
    /// ([`LiveLook`](super::live::LiveLook)).
    pub fresh: bool,
    /// What the API server refused, if it refused the last write.
    pub refusal: Option<&'a str>,
    /// The moment of planning.
    pub now: Timestamp,
}

impl Snapshot<'_> {
    /// The promotion's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.promotion.metadata.name.as_deref().unwrap_or_default()
    }

    /// The promotion's UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.promotion.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The target, if it is there.
    #[must_use]
    pub fn target(&self) -> Option<&EnvironmentView> {
        self.environments.get(&self.promotion.spec.target)
    }

    /// Where the promotion stands in the order of creation.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::of(self.promotion)
    }
}

/// An environment, as a promotion sees it.
#[derive(Clone, Debug)]
pub struct EnvironmentView {
    /// The custom resource.
    pub environment: Arc<PlatformEnvironment>,
    /// Its history.
    pub history: History,
    /// The name of a revision that is newer than these and cannot be read.
    pub unreadable: Option<String>,
}

impl EnvironmentView {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.environment.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.environment.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Its newest revision; none where that one cannot be read. To go by the one before it would be to guess: what cannot be
    /// read may be what took that one back.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<RevisionRecord>> {
        self.history.newest().filter(|_| self.unreadable.is_none())
    }

    /// Whether it is being deleted.
    #[must_use]
    pub fn terminating(&self) -> bool {
        self.environment.metadata.deletion_timestamp.is_some()
    }

    /// Whether this revision is one to go back to. One whose version is newer than the one that is there now is none: whoever
    /// restores it brings something in.
    #[must_use]
    pub fn goes_back_to(&self, number: RevisionNumber) -> bool {
        let ends = self.newest().zip(self.history.get(number));
        ends.is_some_and(|(newest, to)| !to.version.as_ref().is_some_and(|version| newest.is_older_than(version)))
    }

    /// Its rules for what may come in.
    #[must_use]
    pub fn rules(&self) -> Option<&PromotionRules> {
        self.environment.spec.promotion.as_ref()
    }
}

/// A version, as a promotion sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionView {
    /// Name and digest.
    pub reference: VersionReference,
    /// What it needs.
    pub requires: Option<Requires>,
    /// How its validations went.
    pub validations: Vec<ValidationResult>,
    /// Whether somebody is deleting it.
    pub terminating: bool,
}

/// Where a promotion stands in the order of creation. Kubernetes counts whole seconds; within one, the name decides, so that
/// whoever creates several at once can say in which order they go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    created: Timestamp,
    name: String,
    uid: String,
}

impl Place {
    /// The place of this promotion.
    #[must_use]
    pub fn of(promotion: &Promotion) -> Self {
        let created = promotion.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Self { created, name: text(&promotion.metadata.name), uid: text(&promotion.metadata.uid) }
    }
}

/// The version that a promotion names.
#[must_use]
pub fn version_of(promotion: &Promotion) -> Option<semver::Version> {
    order::parse(promotion.spec.source.version.as_deref()?)
}

/// Whether the operator made this promotion by itself.
#[must_use]
pub fn is_auto(promotion: &Promotion) -> bool {
    promotion.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(ANNOTATION_AUTO))
}

/// Another promotion into the same target, on its way or waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Where it stands in the order of creation.
    pub place: Place,
    /// An emergency: it goes first where it goes back.
    pub emergency: bool,
    /// The operator made it by itself, for this version: one for a newer version takes its place.
    pub auto: Option<semver::Version>,
    /// It has a plan.
    pub promising: bool,
    /// It says that it ended without having moved anything, or that something that it names is not there, which could take
    /// for ever. It is a rival only where the history says that it moved something after all.
    pub idle: bool,
    /// The revision that it would roll back to.
    pub asks: Option<RevisionNumber>,
}

impl Rival {
    /// This promotion, as its rivals see it; `None` if it is no rival: what it moved has ended, it is being deleted, or it
    /// only works something out.
    #[must_use]
    pub fn of(promotion: &Promotion) -> Option<Self> {
        let status = promotion.status.as_ref();
        let phase = status.and_then(|status| status.phase);
        let ended = phase.is_some_and(PromotionPhase::is_terminal);
        let moved = status.is_some_and(|status| status.revision.is_some());
        let going = promotion.metadata.deletion_timestamp.is_some();
        if (ended && moved) || going || promotion.spec.dry_run {
            return None;
        }
        let idle = ended || phase == Some(PromotionPhase::Pending);
        Some(Self {
            name: promotion.metadata.name.clone()?,
            uid: promotion.metadata.uid.clone()?,
            place: Place::of(promotion),
            emergency: promotion.spec.emergency,
            auto: if is_auto(promotion) { version_of(promotion) } else { None },
            promising: status.is_some_and(|status| status.plan.is_some()),
            idle,
            asks: promotion.spec.source.revision.filter(|_| !ended),
        })
    }
}
