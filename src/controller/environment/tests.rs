//! The controller against an API server that is reduced to what the controller sees of it: what it asks for, and what it
//! makes of the answers. Nothing listens, so that refusals and other people's deeds come at an exact request.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::body::Body as Answer;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use kube::{client::Body, runtime::watcher};
use serde_json::{Map, Value, json};
use tokio::time;
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::*;
use crate::{
    api::{
        Condition, ConditionStatus, FIELD_MANAGER,
        condition::{ISOLATED, READY, STALLED},
    },
    controller::run_loop::{self, Limits},
    metrics::Metrics,
};

/// One request.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    body: Value,
}

/// The code, message and kind of a refusal; `None` to let the request through.
type Refuse = Box<dyn FnMut(&Asked) -> Option<(u16, String, &'static str)> + Send>;

/// Where the environment of these tests is.
const ENVIRONMENT: &str = "/apis/platform.puraify.app/v1alpha1/namespaces/pf-872/platformenvironments/staging";

/// More requests than any of these tests needs. A controller that spins gets no answer any more, so that its test ends.
const PATIENCE: usize = 2000;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    asked: Vec<Asked>,
    refuse: Option<Refuse>,
    /// What somebody does to the environment within each of our own writes of it.
    meddle: Option<fn(&mut Value)>,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

impl Server {
    fn client(&self) -> Client {
        let state = self.0.clone();
        let service = service_fn(move |request: Request<Body>| {
            let state = state.clone();
            async move {
                let applies =
                    request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/apply-patch+yaml");
                let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
                let body = request.into_body().collect_bytes().await.unwrap();
                let asked = Asked { method, path, body: serde_json::from_slice(&body).unwrap_or_default() };
                if state.lock().unwrap().asked.len() > PATIENCE {
                    std::future::pending::<()>().await;
                }
                let (code, answer) = state.lock().unwrap().answer(&asked, applies);
                Ok::<_, Infallible>(Response::builder().status(code).body(Answer::from(answer.to_string())).unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn refuse(&self, refuse: impl FnMut(&Asked) -> Option<(u16, String, &'static str)> + Send + 'static) {
        self.0.lock().unwrap().refuse = Some(Box::new(refuse));
    }

    fn meddle(&self, meddle: fn(&mut Value)) {
        self.0.lock().unwrap().meddle = Some(meddle);
    }

    /// The bodies of the writes whose path ends like this.
    fn writes(&self, end: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        let writes = state.asked.iter().filter(|asked| asked.method != "GET" && asked.path.ends_with(end));
        writes.map(|asked| asked.body.clone()).collect()
    }

    /// What the events say.
    fn told(&self) -> Vec<String> {
        let note = |event: Value| event["note"].as_str().unwrap_or_default().to_owned();
        self.writes("/events").into_iter().map(note).collect()
    }
}

impl State {
    fn answer(&mut self, asked: &Asked, applies: bool) -> (u16, Value) {
        self.asked.push(asked.clone());
        if let Some((code, message, kind)) = self.refuse.as_mut().and_then(|refuse| refuse(asked)) {
            return refusal(code, &message, kind);
        }
        let (path, of_status) = match asked.path.strip_suffix("/status") {
            Some(path) => (path, true),
            None => (asked.path.as_str(), false),
        };
        let there = self.objects.get(path).cloned();
        match (asked.method.as_str(), there) {
            ("GET", Some(object)) => (200, object),
            ("DELETE", Some(_)) => {
                self.objects.remove(path);
                (200, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
            }
            ("GET" | "DELETE", None) => refusal(404, "not found", "other"),
            ("POST", _) => {
                let path = format!("{path}/{}", asked.body["metadata"]["name"].as_str().unwrap());
                let mut object = asked.body.clone();
                object["metadata"]["namespace"] = json!("pf-872");
                self.store(&path, object)
            }
            (_, there) => self.patch(path, there.unwrap_or_else(|| json!({})), &asked.body, (applies, of_status)),
        }
    }

    fn patch(&mut self, path: &str, mut object: Value, body: &Value, how: (bool, bool)) -> (u16, Value) {
        match how {
            (true, true) => object["status"] = body["status"].clone(),
            (false, _) => merge(&mut object, body),
            (true, false) if body["metadata"]["resourceVersion"] == "1" && !object["metadata"].is_null() => {
                return refusal(409, "it is there", "other");
            }
            (true, false) => {
                merge(&mut object, body);
                object["metadata"]["managedFields"] = json!([{
                    "manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
                    "fieldsV1": fields(body), "time": "2026-01-01T00:00:00Z",
                }]);
            }
        }
        if path == ENVIRONMENT
            && !how.1
            && let Some(meddle) = self.meddle
        {
            meddle(&mut object);
        }
        self.store(path, object)
    }

    fn store(&mut self, path: &str, mut object: Value) -> (u16, Value) {
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("u-{}", self.version));
        }
        self.objects.insert(path.to_owned(), object.clone());
        (200, object)
    }
}

fn refusal(code: u16, message: &str, kind: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                        "reason": "Refused", "code": code, "details": {"kind": kind}});
    (code, status)
}

/// RFC 7386.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut object[name], value);
        }
    }
}

/// The `fieldsV1` of what was applied.
fn fields(body: &Value) -> Value {
    const IDENTITY: [&str; 6] = ["apiVersion", "kind", "name", "namespace", "uid", "resourceVersion"];
    let own = body.as_object().into_iter().flatten().filter(|(name, _)| !IDENTITY.contains(&name.as_str()));
    Value::Object(own.map(|(name, value)| (format!("f:{name}"), fields(value))).collect::<Map<_, _>>())
}

/// An environment of the project `pf-872` in front of the curtain, the controller behind it.
struct Stage {
    server: Server,
    world: Arc<World>,
    key: ObjectKey,
    trigger: Trigger,
}

impl Stage {
    fn with(spec: &Value) -> Self {
        let server = Server::default();
        let environment = json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
            "metadata": {"name": "staging", "namespace": "pf-872", "uid": "u-env", "generation": 1,
                         "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec,
        });
        let (_, stored) = server.0.lock().unwrap().store(ENVIRONMENT, environment);
        let world = Arc::new(World::new(&[]));
        world.environments.written_object(serde_json::from_value(stored).unwrap());
        Self { server, world, key: ObjectKey::new("pf-872", "staging"), trigger: Trigger::new(&Limits::default()) }
    }

    fn new() -> Self {
        Self::with(&json!({"class": "Staging"}))
    }

    fn controller(&self, settings: Settings) -> EnvironmentController {
        self.with_keeper(settings, None)
    }

    fn with_keeper(&self, settings: Settings, keeper: Option<Keeper>) -> EnvironmentController {
        let client = self.server.client();
        let (events, publisher) = EventSink::new(client.clone());
        tokio::spawn(publisher);
        EnvironmentController::new(client, self.world.clone(), settings, keeper, events, &self.trigger)
    }

    /// Reconciles once, with these settings and a controller that knows nothing from before.
    async fn reconcile(&self, settings: Settings) -> Result<Next, ReconcileError> {
        let next = self.controller(settings).reconcile(&self.key).await;
        // The clock of these tests runs on when everything is done, events included.
        time::sleep(Duration::from_secs(1)).await;
        next
    }

    /// Lets one controller run.
    fn run(&self) {
        let (controller, limits) = (Arc::new(self.controller(Settings::default())), Limits::default());
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        tokio::spawn(run_loop::run(controller, self.trigger.clone(), limits, metrics, stop));
        self.trigger.now(self.key.clone());
    }

    async fn ready(self) -> Self {
        self.reconcile(Settings::default()).await.unwrap();
        assert_eq!(self.condition(READY).unwrap().status, ConditionStatus::True);
        self
    }

    fn condition(&self, name: &str) -> Option<Condition> {
        let status = self.world.environments.valid(&self.key)?.status.clone()?;
        status.conditions.into_iter().find(|condition| condition.r#type == name)
    }

    /// Somebody deletes a network policy, and the watch has told of it.
    fn lose_policy(&self, name: &str) {
        let cache = self.world.children(ChildKind::NetworkPolicy);
        let key = ObjectKey::new("pf-872--staging", name);
        cache.remove_written(&key, &cache.held(&key).unwrap().stamp.uid);
        let end = format!("/networkpolicies/{name}");
        self.server.0.lock().unwrap().objects.retain(|path, _| !path.ends_with(&end));
    }
}

#[tokio::test(start_paused = true)]
async fn edits_that_come_faster_than_steps_are_followed_soon_and_are_no_defect() {
    let stage = Stage::new();
    stage.server.meddle(|environment| {
        environment["metadata"]["finalizers"] = json!([]);
        let generation = environment["metadata"]["generation"].as_i64().unwrap();
        environment["metadata"]["generation"] = json!(generation + 1);
    });
    let next = stage.reconcile(Settings::default()).await.unwrap();
    assert!(matches!(next, Next::After(delay) if delay <= Duration::from_secs(1)), "{next:?}");
    assert!(stage.condition(STALLED).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_does_not_come_to_rest_is_told_in_the_status_as_a_defect() {
    let stage = Stage::new();
    stage.server.meddle(|environment| environment["metadata"]["finalizers"] = json!([]));
    let next = stage.reconcile(Settings::default()).await.unwrap();
    assert!(matches!(next, Next::Retry(_)), "{next:?}");
    let stalled = stage.condition(STALLED).unwrap();
    assert_eq!(stalled.reason, "OperatorDefect");
    assert!(stalled.message.contains("defect of the operator"), "{}", stalled.message);
    assert!(stalled.message.contains("add the finalizer"), "it says what it still wants: {}", stalled.message);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_ever_other_words_is_tried_again_ever_more_slowly() {
    let stage = Stage::new();
    let mut refusals = 0;
    stage.server.refuse(move |asked| {
        let refused = asked.path.starts_with("/api/v1/namespaces/") && asked.method == "PATCH";
        refused.then(|| {
            refusals += 1;
            (422, format!("the policy says no for the {refusals}. time"), "namespaces")
        })
    });
    stage.run();
    time::sleep(Duration::from_secs(61)).await;
    let attempts = stage.server.writes("/pf-872--staging").len();
    assert!((5..15).contains(&attempts), "{attempts} attempts in a minute");
    let said = stage.condition(READY).unwrap().message;
    assert!(said.contains(&format!("for the {attempts}. time")), "what is said is what came last: {said}");
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_comes_with_the_answer_to_our_own_status_write_is_followed_at_once() {
    let stage = Stage::new();
    stage.run();
    time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.condition(READY).unwrap().status, ConditionStatus::True);
    // Both edits are at the API server. The watch has told of the first one only, which concerns no child. The answer to
    // our status write brings the second, and what the watch tells after that is old.
    let first = {
        let mut server = stage.server.0.lock().unwrap();
        let mut environment = server.objects[ENVIRONMENT].clone();
        environment["metadata"]["generation"] = json!(2);
        environment["spec"]["deletionPolicy"] = json!("Retain");
        let (_, first) = server.store(ENVIRONMENT, environment.clone());
        environment["metadata"]["generation"] = json!(3);
        environment["spec"]["isolation"] = json!({"quota": {"pods": 3}});
        server.store(ENVIRONMENT, environment);
        first
    };
    stage.world.environments.written_object(serde_json::from_value(first).unwrap());
    time::sleep(Duration::from_secs(1)).await;
    let quotas = stage.server.writes("/resourcequotas/environment");
    assert_eq!(quotas.last().unwrap()["spec"]["hard"]["pods"], "3");
}

#[tokio::test(start_paused = true)]
async fn a_repair_is_told_although_another_write_of_the_same_step_had_no_answer() {
    let stage = Stage::new().ready().await;
    stage.lose_policy("default-deny");
    stage.lose_policy("allow-dns");
    stage.server.refuse(|asked| asked.path.ends_with("/allow-dns").then(|| (503, "busy".to_owned(), "other")));
    stage.reconcile(Settings::default()).await.unwrap_err();
    let told = stage.server.told();
    assert!(told.iter().any(|note| note.contains("default-deny was missing")), "{told:#?}");
    assert!(!told.iter().any(|note| note.contains("allow-dns")), "it was not put right: {told:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_deleted_is_drift_and_what_new_settings_bring_is_none() {
    let stage = Stage::new().ready().await;
    stage.lose_policy("default-deny");
    let gateways = [("public".to_owned(), "gateway-system".to_owned())].into();
    stage.reconcile(Settings { gateways, ..Settings::default() }).await.unwrap();
    assert_eq!(stage.server.writes("/networkpolicies/allow-gateways").len(), 1);
    let told = stage.server.told();
    assert!(told.iter().any(|note| note.contains("default-deny was missing")), "{told:#?}");
    assert!(!told.iter().any(|note| note.contains("allow-gateways")), "nobody removed it: {told:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_applied_in_our_name_is_applied_once_more() {
    let stage = Stage::new().ready().await;
    let end = "/networkpolicies/default-deny";
    let path = format!("/apis/networking.k8s.io/v1/namespaces/pf-872--staging{end}");
    let forged = {
        let mut server = stage.server.0.lock().unwrap();
        let mut forged = server.objects[&path].clone();
        forged["spec"]["ingress"] = json!([{}]);
        forged["metadata"]["managedFields"][0]["time"] = json!("2026-01-01T00:00:07Z");
        server.store(&path, forged).1
    };
    let policies = stage.world.children(ChildKind::NetworkPolicy);
    policies.apply(watcher::Event::Apply(serde_json::from_value(forged).unwrap()));
    for _ in 0..2 {
        stage.reconcile(Settings::default()).await.unwrap();
        let applied = stage.server.writes(end);
        assert_eq!(applied.len(), 2, "once to make it, once to put it right");
        assert_eq!(applied[1]["spec"]["ingress"], json!([]));
    }
    assert!(stage.server.told().iter().any(|note| note.contains("default-deny was changed and was put right")));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_not_there_is_told_in_the_words_of_the_api_server() {
    let access = json!([{"role": "ghost", "users": ["ana"]}]);
    let stage = Stage::with(&json!({"class": "Staging", "isolation": {"access": access}}));
    stage.server.refuse(|asked| {
        let said = "clusterroles.rbac.authorization.k8s.io \"ghost\" not found";
        asked.path.ends_with("/access-ghost").then(|| (404, said.to_owned(), "clusterroles"))
    });
    let settings = Settings { allowed_cluster_roles: ["ghost".to_owned()].into(), ..Settings::default() };
    let next = stage.reconcile(settings).await.unwrap();
    assert!(matches!(next, Next::Retry(_)), "{next:?}");
    let isolated = stage.condition(ISOLATED).unwrap();
    assert_eq!(isolated.reason, "WriteFailed");
    assert!(isolated.message.contains("\"ghost\" not found"), "{}", isolated.message);
    assert!(stage.server.writes("/access-ghost").len() < 5);
}

/// Somebody takes the finalizer off by hand and makes the environment anew, while what the old one had in Vault is removed.
#[tokio::test]
async fn what_was_learned_of_an_environment_says_nothing_of_another_one_of_its_name() {
    let stage = Stage::with(&json!({"class": "Staging"}));
    let change = |metadata: Value| {
        let (server, cache) = (stage.server.clone(), stage.world.clone());
        move || {
            let mut all = server.0.lock().unwrap();
            let mut object = all.objects[ENVIRONMENT].clone();
            merge(&mut object, &json!({"metadata": metadata, "status": null}));
            let (_, stored) = all.store(ENVIRONMENT, object);
            cache.environments.written_object(serde_json::from_value(stored).unwrap());
        }
    };
    change(json!({"deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": [crate::api::FINALIZER]}))();
    let renew = change(json!({"uid": "u-new", "deletionTimestamp": null, "finalizers": null}));
    let vault = keeper::tests::World::new(move |_, path| {
        if path.starts_with("kv/metadata/pf/pf-872/staging-u-env") {
            renew();
            return StatusCode::NOT_FOUND;
        }
        StatusCode::OK
    });
    let settings = Settings { vault: Some(crate::domain::vault::tests::settings()), ..Settings::default() };
    let (keeper, _token) = vault.await.apart();
    let controller = stage.with_keeper(settings, Some(keeper));
    controller.reconcile(&stage.key).await.unwrap();
    let keeper = controller.vault.as_ref().unwrap();
    assert!(keeper.known(&stage.key, "u-new").found.is_some(), "it went on with the new one");
    assert_eq!(keeper.known(&stage.key, "u-new").gone, crate::domain::vault::Gone::default());
}

#[tokio::test]
async fn a_turn_at_vault_that_is_kept_for_an_environment_that_is_gone_goes_on_to_the_next_one() {
    let stage = Stage::with(&json!({"class": "Staging"}));
    let (keeper, _token) = keeper::tests::World::new(|_, _| StatusCode::OK).await.apart();
    let settings = Settings { vault: Some(crate::domain::vault::tests::settings()), ..Settings::default() };
    let controller = stage.with_keeper(settings, Some(keeper));
    let keeper = controller.vault.as_ref().unwrap();
    let visit = |name: String| {
        let mut visit = keeper.visit(&ObjectKey::new("pf-872", name));
        visit.turn().map(|_| visit)
    };
    let mut others: Vec<_> = (0..).map_while(|number| visit(format!("other-{number}"))).collect();
    assert!(!others.is_empty());
    controller.reconcile(&stage.key).await.unwrap();
    let said = stage.condition(crate::api::condition::SECRETS_READY).unwrap().message;
    assert!(said.contains("turn comes soon"), "{said}");
    // The one after the last stood in line before it.
    others.pop();
    assert!(visit(format!("other-{}", others.len() + 1)).is_some());
    stage.world.environments.remove_written(&stage.key, &"u-env".into());
    assert!(visit("next".to_owned()).is_none(), "it is kept for the one that is gone");
    controller.reconcile(&stage.key).await.unwrap();
    assert!(visit("next".to_owned()).is_some());
}
