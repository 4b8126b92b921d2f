use std::{collections::VecDeque, convert::Infallible, sync::Mutex};

use axum::body::Body as AnswerBody;
use futures::{future, stream};
use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, client::Body, core::DeserializeGuard};
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::kube_ext::{cache::Decoded, key::ObjectKey};

/// How an API server answers one request.
enum Answer {
    /// With these events, and then the watch ends.
    Events(Vec<Value>),
    /// With these events, and then with silence: the connection is dead, but nobody says so.
    EventsThenSilence(Vec<Value>),
    List(Vec<Value>),
    Refusal(u16, &'static str),
    /// As API servers answer for a path that they do not serve.
    NotServed,
}

/// An API server that gives its answers in turn, and then only silence.
struct World {
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
    cache: Cache<Decoded<ConfigMap>>,
    metrics: Arc<Metrics>,
    began: Instant,
    shutdown: CancellationToken,
}

impl World {
    fn with(answers: impl IntoIterator<Item = Answer>) -> (Self, Api<DeserializeGuard<ConfigMap>>) {
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asks = asked.clone();
        let server = service_fn(move |request: Request<Body>| {
            asks.lock().unwrap().push((Instant::now(), request.uri().to_string()));
            let answer = answers.lock().unwrap().pop_front();
            async { Ok::<_, Infallible>(answer.unwrap_or(Answer::EventsThenSilence(Vec::new())).response()) }
        });
        let world = Self {
            asked,
            cache: Cache::new(),
            metrics: Arc::new(Metrics::new()),
            began: Instant::now(),
            shutdown: CancellationToken::new(),
        };
        (world, Api::all(Client::new(server, "default")))
    }

    fn watching(answers: impl IntoIterator<Item = Answer>) -> Self {
        let (world, api) = Self::with(answers);
        let (cache, metrics, stop) = (world.cache.clone(), world.metrics.clone(), world.shutdown.clone());
        tokio::spawn(watch_into_cache(api, watcher::Config::default(), cache, "configmaps", metrics, stop));
        world
    }

    fn watching_custom(answers: impl IntoIterator<Item = Answer>) -> Self {
        let (world, api) = Self::with(answers);
        let (cache, metrics, stop) = (world.cache.clone(), world.metrics.clone(), world.shutdown.clone());
        tokio::spawn(watch_custom_into_cache(api, watcher::Config::default(), cache, "configmaps", metrics, stop));
        world
    }

    async fn pass(&self, seconds: f64) {
        time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// When each request came, in seconds, and which.
    fn asked(&self) -> Vec<(u64, String)> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(at, request)| ((*at - self.began).as_secs(), request.clone())).collect()
    }

    fn names(&self) -> Vec<String> {
        let mut names = vec![];
        self.cache.for_each(|key, _| names.push(key.name.to_string()));
        names
    }

    fn errors(&self) -> u64 {
        let text = self.metrics.encode().unwrap();
        let errors = text.lines().find_map(|line| line.split_once(r#"watch_errors_total{resource="configmaps"} "#));
        errors.map_or(0, |(_, count)| count.parse().unwrap())
    }
}

impl Answer {
    fn response(self) -> Response<AnswerBody> {
        let (code, body) = match self {
            Self::Events(events) => (200, AnswerBody::from(lines(&events))),
            Self::EventsThenSilence(events) => {
                let silence = stream::once(future::pending::<Result<String, Infallible>>());
                (200, AnswerBody::from_stream(stream::iter([Ok(lines(&events))]).chain(silence)))
            }
            Self::List(items) => {
                let list = json!({"metadata": {"resourceVersion": "20"}, "items": items});
                (200, AnswerBody::from(list.to_string()))
            }
            Self::Refusal(code, reason) => {
                let status = json!({"status": "Failure", "code": code, "reason": reason, "message": "no"});
                (code, AnswerBody::from(status.to_string()))
            }
            Self::NotServed => (404, AnswerBody::from("404 page not found\n")),
        };
        Response::builder().status(code).body(body).unwrap()
    }
}

fn lines(events: &[Value]) -> String {
    events.iter().flat_map(|event| [event.to_string(), "\n".into()]).collect()
}

fn object(name: &str, version: u64) -> Value {
    let metadata = json!({"namespace": "ns", "name": name, "uid": name, "resourceVersion": version.to_string()});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
}

fn added(name: &str, version: u64) -> Value {
    json!({"type": "ADDED", "object": object(name, version)})
}

fn deleted(name: &str, version: u64) -> Value {
    json!({"type": "DELETED", "object": object(name, version)})
}

fn bookmark(version: u64, annotations: &Value) -> Value {
    let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
    json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}})
}

fn end_of_list(version: u64) -> Value {
    bookmark(version, &json!({"k8s.io/initial-events-end": "true"}))
}

fn gone() -> Value {
    json!({"type": "ERROR", "object": {"status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}})
}

#[tokio::test(start_paused = true)]
async fn a_list_and_the_changes_after_it_fill_the_cache() {
    let events = vec![added("a", 3), added("b", 2), end_of_list(5), added("c", 6), deleted("a", 7)];
    let world = World::watching([Answer::EventsThenSilence(events)]);
    world.cache.wait_until_ready().await;
    world.pass(1.0).await;
    assert_eq!(world.names(), ["b", "c"]);
    assert!(world.asked()[0].1.contains("sendInitialEvents=true") && world.errors() == 0);
    assert!(world.metrics.encode().unwrap().contains(r#"cached_objects{resource="configmaps"} 2"#));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_resumes_where_it_was() {
    let world = World::watching([
        Answer::Events(vec![added("a", 3), end_of_list(5), bookmark(9, &json!({}))]),
        Answer::EventsThenSilence(vec![added("b", 10)]),
    ]);
    world.pass(1.0).await;
    assert_eq!(world.names(), ["a", "b"]);
    let (_, second) = &world.asked()[1];
    assert!(second.contains("resourceVersion=9") && !second.contains("sendInitialEvents"), "{second}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_watch_is_noticed_within_thirty_seconds() {
    let world = World::watching([Answer::EventsThenSilence(vec![end_of_list(5)])]);
    world.pass(31.0).await;
    let times: Vec<_> = world.asked().into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0, 30]);
}

#[tokio::test(start_paused = true)]
async fn errors_are_counted_and_survived_and_what_is_cached_stays() {
    let world = World::watching([
        Answer::Events(vec![added("a", 3), end_of_list(5)]),
        Answer::Refusal(403, "Forbidden"),
        Answer::Refusal(500, "InternalError"),
        Answer::EventsThenSilence(vec![added("b", 6)]),
    ]);
    world.pass(0.1).await;
    assert_eq!(world.names(), ["a"]);
    world.pass(2.0).await;
    assert_eq!((world.names(), world.errors()), (vec!["a".into(), "b".into()], 2));
}

#[tokio::test(start_paused = true)]
async fn a_lasting_error_is_retried_every_ten_seconds() {
    let world = World::watching((0..1000).map(|_| Answer::Refusal(403, "Forbidden")));
    world.pass(60.0).await;
    let before = world.errors();
    world.pass(100.0).await;
    assert!((10..=13).contains(&(world.errors() - before)));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_too_far_back_lists_anew_and_drops_what_is_gone() {
    let world = World::watching([
        Answer::Events(vec![added("a", 3), added("b", 4), end_of_list(5), gone()]),
        Answer::EventsThenSilence(vec![added("b", 4), end_of_list(90)]),
    ]);
    world.pass(2.0).await;
    assert_eq!(world.names(), ["b"]);
    assert!(world.asked()[1].1.contains("sendInitialEvents=true"));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_cut_short_gets_more_time() {
    let world = World::watching([
        Answer::Events(vec![added("a", 3)]),
        Answer::Events(vec![added("a", 3)]),
        Answer::EventsThenSilence(vec![added("a", 3), added("b", 4), end_of_list(5)]),
    ]);
    world.cache.wait_until_ready().await;
    assert_eq!(world.names(), ["a", "b"]);
    let asked = world.asked();
    let (first, last) = (&asked[0].1, &asked.last().unwrap().1);
    assert!(first.contains("timeoutSeconds=25") && !last.contains("timeoutSeconds=25"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_without_streaming_lists_is_listed_in_pages() {
    let world = World::watching([
        Answer::Refusal(422, "Invalid"),
        Answer::List(vec![object("a", 3)]),
        Answer::EventsThenSilence(vec![added("b", 21)]),
    ]);
    world.pass(1.0).await;
    assert_eq!(world.names(), ["a", "b"]);
    assert!(world.asked()[1].1.contains("limit=500"));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_installed_is_waited_for() {
    let mut answers: Vec<_> = (0..4).map(|_| Answer::NotServed).collect();
    answers.push(Answer::List(Vec::new()));
    answers.push(Answer::EventsThenSilence(vec![added("a", 3), end_of_list(5)]));
    let world = World::watching_custom(answers);
    world.cache.wait_until_ready().await;
    assert_eq!(world.names(), ["a"]);
    let asked = world.asked();
    assert!(asked[..5].iter().all(|(_, request)| request.contains("limit=1")));
    assert_eq!((asked[5].0, world.errors()), (8, 0));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_decode_hides_no_other() {
    let mut broken = added("a", 3);
    broken["object"]["data"] = json!(7);
    let world = World::watching([Answer::EventsThenSilence(vec![broken, added("b", 4), end_of_list(5)])]);
    world.cache.wait_until_ready().await;
    assert!(matches!(world.cache.get(&ObjectKey::new("ns", "a")), Some(Decoded::Invalid(_))));
    assert!(world.cache.valid(&ObjectKey::new("ns", "b")).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_stop_ends_the_watch() {
    let world = World::watching([Answer::EventsThenSilence(vec![end_of_list(5)])]);
    world.cache.wait_until_ready().await;
    world.shutdown.cancel();
    world.pass(120.0).await;
    assert_eq!(world.asked().len(), 1);
}
