use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use tokio::task::JoinHandle;

use super::*;

/// What a scripted reconcile does.
#[derive(Clone, Copy)]
enum Act {
    Succeed,
    SucceedAndComeBack(Duration),
    Take(Duration),
    Fail,
    Panic,
    Hang,
}

/// Does for each object what its script says (and then succeeds), and remembers when it was called.
#[derive(Default)]
struct Script {
    acts: Mutex<HashMap<ObjectKey, Vec<Act>>>,
    calls: Mutex<Vec<(ObjectKey, Duration)>>,
    began: Option<Instant>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    completed: AtomicUsize,
    generation: AtomicI64,
}

impl Reconciler for Script {
    const KIND: &'static str = "Script";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let since = self.began.map(|began| now() - began).unwrap_or_default();
        self.calls.lock().unwrap().push((key.clone(), since));
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let _running = Running(&self.running);
        let act = self.acts.lock().unwrap().get_mut(key).filter(|acts| !acts.is_empty()).map(|acts| acts.remove(0));
        let result = match act.unwrap_or(Act::Succeed) {
            Act::Succeed => Ok(Next::AwaitChange),
            Act::SucceedAndComeBack(delay) => Ok(Next::After(delay)),
            Act::Take(duration) => {
                time::sleep(duration).await;
                Ok(Next::AwaitChange)
            }
            Act::Fail => {
                let refused = std::io::Error::other("connection refused");
                Err(ReconcileError::kubernetes("list namespaces")(kube::Error::Service(refused.into())))
            }
            Act::Panic => panic!("out of luck"),
            Act::Hang => std::future::pending().await,
        };
        self.completed.fetch_add(1, Ordering::SeqCst);
        result
    }

    fn generation(&self, _key: &ObjectKey) -> Option<i64> {
        Some(self.generation.load(Ordering::SeqCst))
    }
}

/// Counts down however the reconcile ends.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct World {
    script: Arc<Script>,
    trigger: Trigger,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    run_loop: JoinHandle<()>,
}

impl World {
    fn start(limits: Limits, acts: impl IntoIterator<Item = (ObjectKey, Vec<Act>)>) -> Self {
        let acts = Mutex::new(acts.into_iter().collect());
        let script = Arc::new(Script { acts, began: Some(now()), ..Script::default() });
        let trigger = Trigger::new(&limits);
        let metrics = Arc::new(Metrics::new());
        let shutdown = CancellationToken::new();
        let run_loop = run(script.clone(), trigger.clone(), limits, metrics.clone(), shutdown.clone());
        Self { script, trigger, metrics, shutdown, run_loop: tokio::spawn(run_loop) }
    }

    fn with(acts: impl IntoIterator<Item = (ObjectKey, Vec<Act>)>) -> Self {
        Self::start(Limits::default(), acts)
    }

    /// Tokio's stopped clock runs on as fast as everything has nothing to do.
    async fn pass(&self, seconds: u64) {
        time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Seconds from the start at which the object was reconciled.
    fn calls_of(&self, key: &ObjectKey) -> Vec<f64> {
        let calls = self.script.calls.lock().unwrap();
        calls.iter().filter(|(called, _)| called == key).map(|(_, at)| at.as_secs_f64()).collect()
    }

    fn counted(&self, outcome: &str) -> bool {
        let line = format!(r#"reconciles_total{{kind="Script",outcome="{outcome}"}}"#);
        self.metrics.encode().unwrap().contains(&line)
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

#[tokio::test(start_paused = true)]
async fn a_triggered_object_is_reconciled_once() {
    let world = World::with([]);
    world.trigger.now(key("a"));
    world.trigger.now(key("a"));
    world.pass(600).await;
    assert_eq!(world.calls_of(&key("a")), [0.0]);
    assert!(world.counted("success"));
}

#[tokio::test(start_paused = true)]
async fn what_was_triggered_before_the_loop_began_is_reconciled() {
    let limits = Limits::default();
    let trigger = Trigger::new(&limits);
    trigger.now(key("a"));
    let script = Arc::new(Script::default());
    tokio::spawn(run(script.clone(), trigger, limits, Arc::new(Metrics::new()), CancellationToken::new()));
    time::sleep(Duration::from_secs(1)).await;
    assert_eq!(script.completed.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_comes_back_when_it_asked_to_and_not_before() {
    let world = World::with([(key("a"), vec![Act::SucceedAndComeBack(Duration::from_secs(90))])]);
    world.trigger.now(key("a"));
    world.pass(600).await;
    assert_eq!(world.calls_of(&key("a")), [0.0, 90.0]);
}

#[tokio::test(start_paused = true)]
async fn a_timer_far_away_becomes_a_day() {
    let world = World::with([(key("a"), vec![Act::SucceedAndComeBack(Duration::MAX)])]);
    world.trigger.now(key("a"));
    world.pass(25 * 3600).await;
    assert_eq!(world.calls_of(&key("a")), [0.0, 86400.0]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_changes_while_it_is_reconciled_is_reconciled_again_and_never_twice_at_once() {
    let world = World::with([(key("a"), vec![Act::Take(Duration::from_secs(10))])]);
    world.trigger.now(key("a"));
    world.pass(3).await;
    world.trigger.now(key("a"));
    world.pass(60).await;
    assert_eq!(world.calls_of(&key("a")), [0.0, 10.0]);
    assert_eq!(world.script.most_running.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_object_is_retried_later_each_time() {
    let world = World::with([(key("a"), vec![Act::Fail; 4])]);
    world.trigger.now(key("a"));
    world.pass(60).await;
    let calls = world.calls_of(&key("a"));
    let waits: Vec<_> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits.len(), 4, "{calls:?}");
    for (wait, full) in waits.iter().zip([0.2, 1.0, 2.0, 4.0]) {
        assert!((0.8 * full..=full + 0.002).contains(wait), "{wait} instead of about {full}");
    }
    assert!(world.counted("connection"));
}

#[tokio::test(start_paused = true)]
async fn a_new_generation_starts_the_retries_anew() {
    let world = World::with([(key("a"), vec![Act::Fail; 10])]);
    world.trigger.now(key("a"));
    world.pass(20).await;
    let before = world.calls_of(&key("a")).len();
    world.script.generation.store(2, Ordering::SeqCst);
    world.trigger.now(key("a"));
    world.pass(2).await;
    assert_eq!(world.calls_of(&key("a")).len(), before + 3, "at once, after 0.2 s and after another 1 s");
}

#[tokio::test(start_paused = true)]
async fn a_panic_harms_only_its_object_which_is_retried() {
    let world = World::with([(key("a"), vec![Act::Panic])]);
    world.trigger.now(key("a"));
    world.trigger.now(key("b"));
    world.pass(60).await;
    assert_eq!(world.calls_of(&key("a")).len(), 2);
    assert_eq!(world.calls_of(&key("b")).len(), 1);
    assert!(world.counted("panic"));
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_hangs_is_given_up_and_retried() {
    let world = World::with([(key("a"), vec![Act::Hang])]);
    world.trigger.now(key("a"));
    world.pass(120).await;
    let calls = world.calls_of(&key("a"));
    assert!(calls.len() == 2 && (60.0..61.0).contains(&calls[1]), "{calls:?}");
    assert!(world.counted("timeout"));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_limit_run_at_a_time() {
    let acts = (0..20).map(|number| (ObjectKey::new(format!("ns{number}"), "a"), vec![Act::Take(SECOND)]));
    let keys: Vec<_> = acts.clone().map(|(key, _)| key).collect();
    let world = World::start(Limits { concurrency: 5, ..Limits::default() }, acts);
    for key in keys {
        world.trigger.now(key);
    }
    world.pass(3).await;
    assert_eq!(world.script.most_running.load(Ordering::SeqCst), 5);
    world.pass(2).await;
    assert_eq!(world.script.completed.load(Ordering::SeqCst), 20);
}

#[tokio::test(start_paused = true)]
async fn a_project_whose_reconciles_all_hang_does_not_delay_another() {
    let hanging = (0..500).map(|number| (ObjectKey::new("busy", format!("{number}")), vec![Act::Hang; 5]));
    let keys: Vec<_> = hanging.clone().map(|(key, _)| key).collect();
    let world = World::with(hanging);
    for key in keys {
        world.trigger.now(key);
    }
    world.pass(5).await;
    let other = ObjectKey::new("quiet", "a");
    world.trigger.now(other.clone());
    world.pass(1).await;
    assert_eq!(world.calls_of(&other), [5.0]);
}

#[tokio::test(start_paused = true)]
async fn after_the_stop_nothing_begins_and_what_runs_may_end() {
    let world = World::with([(key("a"), vec![Act::Take(Duration::from_secs(10))])]);
    world.trigger.now(key("a"));
    world.pass(1).await;
    world.shutdown.cancel();
    world.pass(1).await;
    world.trigger.now(key("b"));
    world.pass(1).await;
    assert!(!world.run_loop.is_finished());
    world.run_loop.await.unwrap();
    assert_eq!(world.script.completed.load(Ordering::SeqCst), 1);
    assert_eq!(world.script.began.map(|began| (now() - began).as_secs()), Some(10));
}

#[tokio::test(start_paused = true)]
async fn the_state_of_the_queue_tells_of_progress() {
    let limits = Limits { concurrency: 1, ..Limits::default() };
    assert_eq!(Trigger::new(&limits).state(), QueueState::default());
    let world = World::start(limits, [(key("a"), vec![Act::Take(Duration::from_secs(30))])]);
    for name in ["a", "b"] {
        world.trigger.now(key(name));
    }
    world.trigger.after(key("c"), Duration::from_mins(5));
    world.pass(10).await;
    let ten = Some(Duration::from_secs(10));
    let expected = QueueState { ready: 1, waiting: 1, in_flight: 1, oldest_ready: ten, since_progress: ten };
    let state = world.trigger.state();
    // Tokio's timers are exact to the millisecond only.
    let rounded = |duration: Option<Duration>| duration.map(|duration| Duration::from_secs(duration.as_secs()));
    let state = QueueState {
        oldest_ready: rounded(state.oldest_ready),
        since_progress: rounded(state.since_progress),
        ..state
    };
    assert_eq!(state, expected);
}
