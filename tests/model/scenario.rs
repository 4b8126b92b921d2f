//! A scenario: a small project, what people and the planner may do in it, and how far it is explored.

use environment_manager::{
    api::{
        DeploymentReport, DeploymentState, Digest, EnvironmentRevision, EnvironmentRevisionSpec, PlatformEnvironment,
        PlatformVersion, Promotion, RevisionNumber,
        revision::{DeploymentOutcome, EffectiveConfiguration, EnvironmentRevisionStatus, VersionReference},
    },
    domain::{
        environment::config,
        revision::{RevisionRecord, chain},
        version,
    },
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// The versions, the oldest first.
pub const VERSIONS: [&str; 3] = ["v1.0.0", "v1.1.0", "v2.0.0"];
/// How long one step of the clock is.
const TICK: SignedDuration = SignedDuration::from_mins(10);
/// As many steps of the clock are a day.
const DAY: u8 = 6 * 24;

/// A fault in how the model carries plans out: the checker has to find what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// A commit is made on what the caches say.
    CommitWithoutRefresh,
    /// The creation of a revision replaces the one of that number.
    OverwriteRevision,
    /// Before a commit only the target's history is read live: the gates are those of the first look.
    GatesOfFirstLook,
    /// Live reads count as fresh although the history has gone on since.
    FreshForEver,
    /// After live reads nothing is read live that only these reads named.
    NamesOfFirstLook,
    /// The status of a promotion is written whatever has become of it since it was looked at.
    StatusUnconditional,
    /// A release is published whatever has become of the environment since it was looked at.
    ReleaseUnconditional,
    /// A status is never the same twice.
    Restless,
    /// What is due by itself is asked for whatever was asked for before.
    AskedForgotten,
    /// What is due by itself is asked for under a name that is made of more than target and version.
    NameByTheWay,
}

/// What people, Git, validators and the planner do.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Asks for a promotion.
    Create(Box<Promotion>),
    /// Says yes to the plan that is shown.
    Confirm(&'static str, &'static str),
    Cancel(&'static str),
    Delete(&'static str),
    Publish(&'static str),
    /// Reports a validation: version, name, result.
    Validate(&'static str, &'static str, &'static str),
    /// Edits `spec.config`: environment, whether its flag is on.
    Configure(&'static str, bool),
    /// Changes an environment's rules.
    Rules(&'static str, Value),
    /// The planner reports on a revision.
    Report(&'static str, u32, DeploymentState),
    /// Time goes by.
    Tick,
    /// A day goes by.
    Day,
}

impl Deed {
    /// How far the clock goes on.
    pub fn takes(&self) -> u8 {
        match self {
            Self::Tick => 1,
            Self::Day => DAY,
            _ => 0,
        }
    }
}

/// A deed, and those that come before it.
#[derive(Clone, Debug)]
pub struct Act {
    pub deed: Deed,
    pub after: u32,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Environments with the index of the version that each has.
    pub environments: Vec<(&'static str, PlatformEnvironment, usize)>,
    /// Which versions are published.
    pub published: [bool; 3],
    /// Validations that were reported before: version, name, result.
    pub validated: Vec<(&'static str, &'static str, &'static str)>,
    pub promotions: Vec<&'static str>,
    /// Those that may be made by themselves, and into which environment.
    pub automatic: Vec<(&'static str, &'static str)>,
    /// Promotions that are there from the start.
    pub asked: Vec<Promotion>,
    /// What was done before, one after the other, each followed by all that comes of it.
    pub before: Vec<Deed>,
    /// Each is done at most once.
    pub acts: Vec<Act>,
    /// How often the answer to a write is lost: it was made, and the operator does not know. Killed it may be at any time.
    pub losses: u8,
    /// Whether the environment controller is an actor of each replica. Otherwise what it does is done at once.
    pub environment_controller: bool,
    /// Room for so many revisions of each environment; more is an error of the scenario.
    pub most_revisions: usize,
    /// More states than this are too many for a test.
    pub most_states: usize,
    pub seed: Option<Seed>,
}

impl Scenario {
    /// dev with v1.1.0, staging and production with v1.0.0, all deployed well; all versions are published.
    pub fn new(name: &'static str) -> Self {
        let mut scenario = Self {
            name,
            environments: vec![],
            published: [true; 3],
            validated: vec![],
            promotions: vec![],
            automatic: vec![],
            asked: vec![],
            before: vec![],
            acts: vec![],
            losses: 0,
            environment_controller: false,
            most_revisions: 5,
            most_states: 250_000,
            seed: None,
        };
        for (name, class, has) in
            [("dev", "Development", 1), ("staging", "Staging", 0), ("production", "Production", 0)]
        {
            let environment = json!({
                "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
                "metadata": {"name": name, "namespace": "pf-872", "uid": format!("u-{name}"), "generation": 1},
                "spec": {"class": class},
            });
            scenario.environments.push((name, serde_json::from_value(environment).unwrap(), has));
        }
        scenario
    }

    pub fn rules(mut self, environment: &str, rules: &Value) -> Self {
        let found = self.environments.iter_mut().find(|(name, ..)| *name == environment).unwrap();
        found.1.spec.promotion = Some(serde_json::from_value(rules.clone()).unwrap());
        self
    }

    /// The environment asks for promotions by itself, and can come to ask for these versions.
    pub fn follows(mut self, environment: &'static str, versions: &[&str], rules: &Value) -> Self {
        let mut rules = rules.clone();
        rules["auto"] = json!(true);
        self = self.rules(environment, &rules);
        for version in versions {
            self = self.may_ask(environment, format!("{environment}-auto-{version}"));
        }
        self
    }

    fn may_ask(mut self, environment: &'static str, name: String) -> Self {
        let name: &'static str = name.leak();
        self.promotions.push(name);
        self.automatic.push((name, environment));
        self
    }

    /// A promotion that is there from the start.
    pub fn asked(mut self, name: &'static str, spec: &Value) -> Self {
        self.asked.push(promotion(name, "1", spec));
        self.promotions.push(name);
        self
    }

    /// Somebody asks for a promotion in the course of things.
    pub fn asks(self, name: &'static str, spec: &Value) -> Self {
        self.asks_as(name, "1", spec, &[])
    }

    /// The same for another life of a promotion, and after these deeds.
    pub fn asks_as(mut self, name: &'static str, life: &str, spec: &Value, after: &[usize]) -> Self {
        if !self.promotions.contains(&name) {
            self.promotions.push(name);
        }
        let deed = Deed::Create(Box::new(promotion(name, life, spec)));
        self.acts.push(Act { deed, after: after.iter().map(|index| 1 << index).sum() });
        self
    }

    /// This was done before.
    pub fn after(mut self, deed: Deed) -> Self {
        if let Deed::Create(promotion) = &deed {
            let name: &'static str = promotion.metadata.name.clone().unwrap().leak();
            if !self.promotions.contains(&name) {
                self.promotions.push(name);
            }
        }
        self.before.push(deed);
        self
    }

    pub fn may(self, deed: Deed) -> Self {
        self.may_after(deed, &[])
    }

    /// This may be done once all of these deeds, by their index, were done.
    pub fn may_after(mut self, deed: Deed, after: &[usize]) -> Self {
        self.acts.push(Act { deed, after: after.iter().map(|index| 1 << index).sum() });
        self
    }

    pub fn seeded(mut self, seed: Seed) -> Self {
        self.seed = Some(seed);
        for (name, environment) in if seed == Seed::NameByTheWay { self.automatic.clone() } else { vec![] } {
            self = (0..2).fold(self, |scenario, asked| scenario.may_ask(environment, by_the_way(name, asked)));
        }
        self
    }
}

/// The name, made of how many are known as well: of none or of some.
pub fn by_the_way(name: &str, asked: usize) -> String {
    format!("{name}-{}", asked.min(1))
}

/// The moment at which the clock shows this.
pub fn moment(clock: u8) -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap() + TICK * i32::from(clock)
}

/// Ana asks for it. All promotions are of the same second: their UIDs decide about their order, and one that is created
/// later may come first.
pub fn promotion(name: &str, life: &str, spec: &Value) -> Promotion {
    let promotion = json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "Promotion",
        "metadata": {"name": name, "namespace": "pf-872", "uid": format!("u-{name}-{life}"), "generation": 1,
                     "creationTimestamp": moment(0), "annotations": {"platform.puraify.app/created-by": "ana"}},
        "spec": spec,
    });
    serde_json::from_value(promotion).unwrap()
}

/// A version; its content is its name.
pub fn version(name: &str) -> PlatformVersion {
    let version = json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformVersion",
        "metadata": {"name": name, "namespace": "pf-872", "uid": format!("u-{name}"), "generation": 1},
        "spec": {"version": name, "content": {"flows": {"Checkout": Digest::of(name.as_bytes())}}},
    });
    serde_json::from_value(version).unwrap()
}

pub fn reference(name: &str) -> VersionReference {
    VersionReference { name: name.to_owned(), digest: version::digest(&version(name).spec) }
}

/// The version with one more result of a validation.
pub fn validated(mut version: PlatformVersion, name: &str, result: &str) -> PlatformVersion {
    let digest = version::digest(&version.spec);
    let result = json!({"name": name, "result": result, "digest": digest, "reporter": "ci", "at": moment(0)});
    let status = version.status.get_or_insert_default();
    status.validations.retain(|other| other.name != name);
    status.validations.push(serde_json::from_value(result).unwrap());
    version
}

/// The first revision of an environment: deployed well.
pub fn first_revision(environment: &str, version: &str) -> EnvironmentRevision {
    let record = json!({
        "environment": environment, "environmentUid": format!("u-{environment}"), "revision": 1, "generation": 1,
        "cause": "Created", "version": reference(version), "config": {},
        "configDigest": config::digest(&EffectiveConfiguration::default()), "declared": {}, "changes": {}, "actor": "ana",
        "timestamp": moment(0), "digest": Digest::of(b""),
    });
    let record: EnvironmentRevisionSpec = chain::sealed(serde_json::from_value(record).unwrap());
    let mut revision = revision(record);
    let outcome = DeploymentOutcome {
        state: DeploymentState::Succeeded,
        message: None,
        reported_by: Some("argocd".to_owned()),
        at: Some(moment(0)),
        healthy_since: Some(moment(0)),
        longest_healthy_seconds: None,
        healthy_until: None,
    };
    revision.status = Some(EnvironmentRevisionStatus { deployment: Some(outcome) });
    revision
}

pub fn revision(record: EnvironmentRevisionSpec) -> EnvironmentRevision {
    let name = environment_manager::domain::environment::naming::revision(&record.environment, record.revision);
    EnvironmentRevision::new(&name, record)
}

/// The environment as it is once its revision is published and deployed.
pub fn published(mut environment: PlatformEnvironment, revision: &EnvironmentRevision) -> PlatformEnvironment {
    let status = environment.status.get_or_insert_default();
    status.release = Some(RevisionRecord::from(revision).release());
    status.deployment = Some(report(1, DeploymentState::Succeeded, 0));
    environment
}

/// The planner's report; of two the `nth` is the later one.
pub fn report(number: u32, state: DeploymentState, nth: usize) -> DeploymentReport {
    let nth = i64::try_from(nth).unwrap();
    DeploymentReport {
        revision: RevisionNumber::new(number).unwrap(),
        state,
        message: None,
        reported_by: Some("argocd".to_owned()),
        at: Some(moment(0) + SignedDuration::from_secs(nth)),
    }
}
