//! The writes that bring one environment from nothing to Ready, written down before the clock starts.
//!
//! They are not a copy of what the operator does: the plan itself is played against a world that grants every wish.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use environment_manager::{
    api::{
        EnvironmentRevision, EnvironmentRevisionSpec, FIELD_MANAGER, FINALIZER, LABEL_ENVIRONMENT,
        LABEL_ENVIRONMENT_UID, LABEL_PROJECT, PlatformEnvironment, PlatformEnvironmentStatus,
    },
    controller::world,
    domain::{
        environment::{
            children::{ChildKind, Intent},
            events,
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
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Resource as _,
    api::{Patch, PatchParams, PostParams},
    core::{DynamicObject, Request as Requests},
};
use serde_json::json;

use crate::report::Result;

/// As the operator: an object that is there is not adopted.
const NEVER: &str = "1";

/// Requests, stage by stage; those of one stage may be sent at once.
pub type Script = Vec<Vec<Request<Vec<u8>>>>;

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
                let status = played.status(&rest.status)?;
                played.script.push(vec![status]);
                return Ok(played.script);
            }
            Step::Read(read) => return Err(format!("a new environment needs no reads, yet: {read:?}").into()),
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
            asked: BTreeSet::new(),
            auto: None,
            revisions: &BTreeMap::new(),
            children: self.children.clone(),
            namespace: None,
            failures: &[],
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

    fn uid(&self) -> &str {
        self.environment.metadata.uid.as_deref().unwrap_or_default()
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
        let mut body = intent.body.clone();
        body["metadata"]["resourceVersion"] = json!(NEVER);
        let namespace = naming::namespace(self.project(), self.name())?;
        let namespace = (intent.id.kind != ChildKind::Namespace).then_some(namespace.as_str());
        let requests = Requests::new(DynamicObject::url_path(&world::resource(intent.id.kind), namespace));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        Ok(requests.patch_metadata(&intent.id.name, &params, &Patch::Apply(body))?)
    }

    fn create_revision(&mut self, record: &EnvironmentRevisionSpec) -> Result<Request<Vec<u8>>> {
        self.latest = Some(Arc::new(RevisionRecord::from(record)));
        let name = naming::revision(self.name(), record.revision);
        self.event = Some(self.event_about(record, &name)?);
        let mut revision = EnvironmentRevision::new(&name, record.clone());
        let labels =
            [(LABEL_PROJECT, self.project()), (LABEL_ENVIRONMENT, self.name()), (LABEL_ENVIRONMENT_UID, self.uid())];
        revision.metadata.labels = Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let owner = self.environment.controller_owner_ref(&());
        revision.metadata.owner_references =
            owner.map(|owner| vec![OwnerReference { block_owner_deletion: None, ..owner }]);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let requests = Requests::new(EnvironmentRevision::url_path(&(), Some(self.project())));
        Ok(requests.create(&params, serde_json::to_vec(&revision)?)?)
    }

    fn event_about(&self, record: &EnvironmentRevisionSpec, revision: &str) -> Result<Request<Vec<u8>>> {
        let event = events::of_revision(record);
        let body = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": format!("{}.{:x}", self.name(), Timestamp::now().as_nanosecond())},
            "eventTime": format!("{:.6}", Timestamp::now()),
            "type": "Normal", "reason": event.reason, "action": event.action, "note": event.note,
            "regarding": self.environment.object_ref(&()),
            "related": {"kind": "EnvironmentRevision", "name": revision},
            "reportingController": "environment-manager", "reportingInstance": "environment-manager",
        });
        let requests = Requests::new(format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.project()));
        Ok(requests.create(&PostParams::default(), serde_json::to_vec(&body)?)?)
    }

    fn status(&self, status: &PlatformEnvironmentStatus) -> Result<Request<Vec<u8>>> {
        let body = json!({
            "apiVersion": "platform.puraify.app/v1alpha1",
            "kind": "PlatformEnvironment",
            "metadata": {"name": self.name()},
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        Ok(self.environments().patch_subresource("status", self.name(), &params, &Patch::Apply(body))?)
    }
}
