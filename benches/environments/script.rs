//! The writes that bring one environment from nothing to Ready, written down before the clock starts.
//!
//! They are not a copy of what the operator does: the plan itself is played against a world that grants every wish.

use std::{collections::BTreeMap, sync::Arc};

use environment_manager::{
    api::{EnvironmentRevisionSpec, FIELD_MANAGER, FINALIZER, PlatformEnvironment},
    domain::{
        environment::{
            children::Intent,
            intents::Memo,
            naming,
            plan::{Action, Step, plan},
            snapshot::{Base, Child, Snapshot},
        },
        revision::{History, RevisionRecord},
        settings::Settings,
    },
};
use http::Request;
use jiff::Timestamp;
use kube::{
    Resource as _,
    api::{Patch, PatchParams},
    core::Request as Requests,
};
use serde_json::json;

use crate::support::{
    Result,
    requests::{self, Script},
};

/// As the operator: an object that is there is not adopted.
const NEVER: &str = "1";

/// What the world has granted so far.
struct Played {
    environment: PlatformEnvironment,
    children: Vec<Child>,
    latest: Option<Arc<RevisionRecord>>,
    script: Script,
    /// The event about the revision, to be told with the stage after it.
    event: Option<Request<Vec<u8>>>,
}

/// The script for an environment that was created and that nobody has touched.
pub fn of(environment: PlatformEnvironment, settings: &Settings) -> Result<Script> {
    let mut played = Played { environment, children: vec![], latest: None, script: vec![], event: None };
    loop {
        match played.next(settings) {
            Step::Act(actions) => played.grant(&actions)?,
            Step::Rest(rest) => {
                played.script.push(vec![requests::apply_status(&played.environment, &rest.status)?]);
                return Ok(played.script);
            }
            step @ (Step::Read(_) | Step::LookIntoVault(_) | Step::ChangeVault(_)) => {
                return Err(format!("a new environment needs no reads and no Vault, yet it wants to {step}").into());
            }
        }
    }
}

impl Played {
    fn next(&self, settings: &Settings) -> Step {
        plan(&Snapshot {
            environment: &self.environment,
            project_id: None,
            settings,
            history: History::new(self.latest.clone().into_iter().collect()),
            unreadable: None,
            former_history: false,
            base: Base::Nothing,
            on_their_way: vec![],
            auto: None,
            revisions: &BTreeMap::new(),
            children: self.children.clone(),
            namespace: None,
            failures: &[],
            vault: None,
            memo: &Memo::default(),
            now: Timestamp::now(),
        })
    }

    fn grant(&mut self, actions: &[Action]) -> Result<()> {
        let mut stage: Vec<_> = self.event.take().into_iter().collect();
        for action in actions {
            stage.push(match action {
                Action::AddFinalizer => self.add_finalizer()?,
                Action::Apply(intent, _) => self.apply(intent)?,
                Action::CreateRevision(record) => self.create_revision(record)?,
                other => return Err(format!("a new environment needs no {other:?}").into()),
            });
        }
        self.script.push(stage);
        Ok(())
    }

    fn project(&self) -> &str {
        self.environment.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.environment.metadata.name.as_deref().unwrap_or_default()
    }

    fn environments(&self) -> Requests {
        Requests::new(PlatformEnvironment::url_path(&(), Some(self.project())))
    }

    fn add_finalizer(&mut self) -> Result<Request<Vec<u8>>> {
        let version = &self.environment.metadata.resource_version;
        let patch = Patch::Merge(json!({"metadata": {"finalizers": [FINALIZER], "resourceVersion": version}}));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request = self.environments().patch(self.name(), &params, &patch)?;
        self.environment.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        Ok(request)
    }

    fn apply(&mut self, intent: &Intent) -> Result<Request<Vec<u8>>> {
        self.children.push(Child {
            id: intent.id.clone(),
            uid: "".into(),
            mark: Some(intent.mark.hash()),
            owned: Some(intent.owned),
            terminating: false,
            others: vec![],
        });
        requests::apply_child(&naming::namespace(self.project(), self.name())?, intent, Some(NEVER))
    }

    fn create_revision(&mut self, record: &EnvironmentRevisionSpec) -> Result<Request<Vec<u8>>> {
        self.latest = Some(Arc::new(RevisionRecord::from(record)));
        self.event = Some(requests::event_about(&self.environment, record)?);
        requests::create_revision(&self.environment, record)
    }
}
