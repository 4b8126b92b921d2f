//! The keeper against a Vault that does what a test says.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse as _};
use serde_json::{Value, json};

use super::{looks::MOUNTS, *};
use crate::{
    api::Digest,
    domain::vault::{Change, Query, SecretsOperator, Trouble},
    vault::{Access, Login},
};

/// What becomes of a request: by method and path.
type Answer = Box<dyn Fn(&str, &str) -> StatusCode + Send>;

/// A keeper, and the Vault that it asks.
pub(in crate::controller::environment) struct World {
    pub keeper: Keeper,
    asked: Arc<Mutex<Vec<String>>>,
    /// How long each answer takes, in milliseconds.
    takes: Arc<AtomicU64>,
    answer: Arc<Mutex<Answer>>,
    known: Known,
    token: tempfile::NamedTempFile,
}

impl World {
    pub async fn new(answer: impl Fn(&str, &str) -> StatusCode + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (asked, takes) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicU64>::default());
        let answer = Arc::new(Mutex::new(Box::new(answer) as Answer));
        let (log, pause, script) = (asked.clone(), takes.clone(), answer.clone());
        let app = Router::new().fallback(move |request: Request| {
            let (log, pause, script) = (log.clone(), pause.clone(), script.clone());
            async move {
                let path = request.uri().path().trim_start_matches("/v1/").to_owned();
                log.lock().unwrap().push(format!("{} {path}", request.method()));
                tokio::time::sleep(Duration::from_millis(pause.load(Ordering::SeqCst))).await;
                if path == "sys/leader" {
                    return json!({"ha_enabled": false}).to_string().into_response();
                }
                let status = script.lock().unwrap()(request.method().as_str(), &path);
                (status, body(&path).to_string()).into_response()
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&token, "token").unwrap();
        let login = Login::Token(token.path().to_owned());
        let access = Access { address, namespace: String::new(), ca: None, login, mount: "kv".to_owned() };
        let settings =
            VaultSettings { secrets_operator: SecretsOperator::None, ..crate::domain::vault::tests::settings() };
        let limits = Limits { timeout: Duration::from_millis(600), ..Limits::default() };
        let keeper = Keeper::new(
            Arc::new(Vault::new(&access, Arc::default()).unwrap()),
            settings,
            ("operator".to_owned(), "operator".to_owned()),
            Trigger::new(&limits),
            limits,
        );
        Self { keeper, asked, takes, answer, known: Known::default(), token }
    }

    /// The keeper, and what it logs in with for as long as that value lives.
    pub fn apart(self) -> (Keeper, tempfile::NamedTempFile) {
        (self.keeper, self.token)
    }

    fn answer(&self, answer: impl Fn(&str, &str) -> StatusCode + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    async fn look(&mut self, paths: impl IntoIterator<Item = String>) -> Option<Trouble> {
        let query = Query {
            config: Digest::of(b"config"),
            references: vec![],
            paths: paths.into_iter().collect(),
            secrets_only: false,
        };
        self.keeper.look(&key(), &place(), query, None, Instant::now(), &mut self.known).await
    }

    async fn make(&mut self, paths: &[&str]) -> Option<Trouble> {
        let make = |path: &&str| Change::Make {
            path: (*path).to_owned(),
            generate: ["k".to_owned()].into(),
            copy: BTreeSet::new(),
            from: None,
        };
        let changes: Vec<Change> = paths.iter().map(make).collect();
        self.keeper.change(&key(), &place(), &changes, Instant::now(), &mut self.known).await
    }

    fn asked(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.contains(what)).count()
    }
}

/// What stands at a path.
fn body(path: &str) -> Value {
    match path {
        "sys/internal/ui/mounts/kv" => json!({"data": {"type": "kv", "options": {"version": "2"}}}),
        "sys/internal/ui/mounts/auth/kubernetes" => json!({"data": {"type": "kubernetes"}}),
        path if path.contains("/generate") => json!({"data": {"password": "new"}}),
        path if path.starts_with("kv/metadata/") => json!({"data": {"keys": ["one", "two"]}}),
        _ => json!({"data": {"subkeys": {"k": null}}}),
    }
}

fn key() -> ObjectKey {
    ObjectKey::new("pf-872", "dev")
}

fn place() -> Place {
    Place::of("pf-872", "dev", "11111111-2222")
}

#[tokio::test]
async fn a_secret_that_cannot_be_looked_at_is_named_and_keeps_no_other_one_from_that() {
    let mut world =
        World::new(|_, path| if path.contains("hidden") { StatusCode::FORBIDDEN } else { StatusCode::OK }).await;
    assert_eq!(world.look(["hidden".to_owned(), "shown".to_owned()]).await, None);
    let found = world.known.found.clone().unwrap();
    assert_eq!(found.unread, ["hidden".to_owned()].into());
    assert_eq!(found.secrets["shown"], Some(["k".to_owned()].into()));
    let trouble = found.trouble.clone().unwrap();
    assert!(trouble.refused && trouble.message.contains("look at the secret hidden"), "{}", trouble.message);
    world.keeper.all_is_well(&key(), &place().uid, &mut world.known);
    world.look(["hidden".to_owned()]).await;
    assert_eq!(
        world.known.found.clone().unwrap().trouble.clone().unwrap().since,
        trouble.since,
        "it is the same trouble still"
    );
}

#[tokio::test]
async fn what_cannot_be_made_fails_since_it_first_did_although_looks_succeed() {
    let mut world = World::new(|method, path| match (method, path.contains("/data/")) {
        ("POST", true) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    })
    .await;
    world.look(["a".to_owned()]).await;
    let first = world.make(&["a"]).await.unwrap();
    world.look(["a".to_owned()]).await;
    let second = world.make(&["a"]).await.unwrap();
    assert_eq!(second.since, first.since);
    world.answer(|_, _| StatusCode::OK);
    assert_eq!(world.make(&["a"]).await, None);
    world.keeper.all_is_well(&key(), &place().uid, &mut world.known);
    assert_eq!((world.known.failing, world.known.refused), (None, None));
}

#[tokio::test]
async fn a_secret_that_cannot_be_made_keeps_no_later_one_from_being_made() {
    let mut world = World::new(|_, path| match path {
        "kv/data/a" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    })
    .await;
    let trouble = world.make(&["a", "b"]).await.unwrap();
    assert!(trouble.message.contains("make the secret a") && trouble.passes(), "{}", trouble.message);
    assert_eq!(world.asked("POST kv/data/b"), 1);
}

#[tokio::test]
async fn a_look_that_takes_too_long_is_broken_off_and_goes_on_where_it_was() {
    let mut world = World::new(|_, _| StatusCode::OK).await;
    world.look([]).await;
    world.takes.store(30, Ordering::SeqCst);
    let paths = || (0..60).map(|number| format!("path-{number:02}"));
    let mut looks = 1;
    while let Some(trouble) = world.look(paths()).await {
        assert!(trouble.passes() && trouble.message.contains("It goes on where it was"), "{}", trouble.message);
        looks += 1;
        assert!(looks < 20, "it does not come to an end");
    }
    assert!(looks > 1);
    assert_eq!(world.known.found.clone().unwrap().secrets.len(), 60);
    let asked = world.asked("subkeys");
    assert!(asked < 60 + 4 * looks, "only what was under way is asked for again: {asked} in {looks} looks");
}

#[tokio::test]
async fn where_all_is_gone_the_mount_is_looked_for() {
    let mut world = World::new(|_, _| StatusCode::OK).await;
    assert_eq!(world.look(["a".to_owned()]).await, None);
    world.answer(|_, _| StatusCode::NOT_FOUND);
    *world.keeper.mounts_seen() = Instant::now().checked_sub(MOUNTS * 2);
    let trouble = world.look(["a".to_owned()]).await.unwrap();
    assert!(trouble.message.contains("has no KV engine of version 2 at kv"), "{}", trouble.message);
}

#[tokio::test]
async fn a_role_at_a_mount_that_is_not_there_is_not_taken_for_removed_and_the_policy_goes_all_the_same() {
    let mut world = World::new(|_, path| {
        let wrong = path.starts_with("auth/kubernetes") || path.ends_with("auth/kubernetes");
        if wrong { StatusCode::NOT_FOUND } else { StatusCode::OK }
    })
    .await;
    let changes = [Change::RemoveRole, Change::RemovePolicy];
    let trouble = world.keeper.change(&key(), &place(), &changes, Instant::now(), &mut world.known).await.unwrap();
    assert!(trouble.message.contains("has no Kubernetes auth method at auth/kubernetes"), "{}", trouble.message);
    assert_eq!(world.known.gone, Gone { role: false, policy: true, secrets: false });
}

#[tokio::test]
async fn where_a_right_is_missing_not_every_secret_is_tried() {
    let mut world = World::new(|_, path| {
        let refused = path.contains("subkeys") || path.contains("/data/");
        if refused { StatusCode::FORBIDDEN } else { StatusCode::OK }
    })
    .await;
    let paths: BTreeSet<String> = (0..100).map(|number| format!("path-{number}")).collect();
    assert_eq!(world.look(paths.clone()).await, None);
    assert!(world.asked("subkeys") < 2 * MOST_FAILURES);
    assert_eq!(world.known.found.clone().unwrap().unread, paths, "nothing is known of any");
    let said = world.known.found.clone().unwrap().trouble.clone();
    world.look(paths.clone()).await;
    assert_eq!(world.known.found.clone().unwrap().trouble.clone(), said, "the same trouble says the same");
    let asked: BTreeSet<String> =
        world.asked.lock().unwrap().iter().filter(|one| one.contains("subkeys")).cloned().collect();
    assert!(asked.len() >= 2 * MOST_FAILURES, "those that were passed over are first: {asked:?}");
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let trouble = world.make(&paths).await.unwrap();
    assert!(trouble.refused && trouble.message.contains("make the environment's secrets"), "{}", trouble.message);
    assert_eq!(world.asked("POST kv/data"), MOST_FAILURES);
    assert_eq!(world.make(&paths).await, Some(trouble));
}

#[tokio::test]
async fn a_refusal_begins_when_it_begins_however_long_something_else_failed_before() {
    let mut world = World::new(|_, _| StatusCode::INTERNAL_SERVER_ERROR).await;
    let failed = world.look(["a".to_owned()]).await.unwrap();
    assert!(!failed.refused);
    world.answer(|_, path| if path.contains("subkeys") { StatusCode::FORBIDDEN } else { StatusCode::OK });
    world.look(["a".to_owned()]).await;
    let refused = world.known.found.clone().unwrap().trouble.clone().unwrap();
    assert!(refused.refused && refused.since > failed.since);
}

#[tokio::test]
async fn one_kind_of_failure_does_not_begin_anew_with_another_one_beside_it() {
    let mut world = World::new(|_, path| match path {
        "kv/subkeys/a" => StatusCode::INTERNAL_SERVER_ERROR,
        "kv/subkeys/b" => StatusCode::FORBIDDEN,
        _ => StatusCode::OK,
    })
    .await;
    let paths = || ["a".to_owned(), "b".to_owned()];
    world.look(paths()).await;
    let first = world.known.found.clone().unwrap().trouble.clone().unwrap();
    assert!(first.message.contains("look at the secret a"), "{}", first.message);
    world.look(paths()).await;
    assert_eq!(world.known.found.clone().unwrap().trouble.clone().unwrap(), first);
}

#[tokio::test]
async fn what_is_removed_goes_on_however_slow_vault_is() {
    let world = World::new(|_, path| {
        if path.starts_with("kv/metadata/") && path.ends_with('/') { StatusCode::OK } else { StatusCode::NO_CONTENT }
    })
    .await;
    // Each turn is over before the first deletion.
    let long_ago = Instant::now().checked_sub(Duration::from_mins(1)).unwrap();
    let place = place();
    let error = world.keeper.remove_secrets(&place.prefix(), long_ago).await.unwrap_err();
    assert!(matches!(error, VaultError::Late(_)), "{error}");
    assert!(world.asked("DELETE kv/metadata") >= 1, "one goes each time");
}
