//! The client against servers that fail: what it says, whom it asks, and when it stops asking.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

const SECRET: &str = "a-value-that-vault-repeats";

/// How the server answers.
#[derive(Clone)]
struct Script {
    /// The status for everything but that, logins and their ends.
    status: Arc<AtomicUsize>,
    /// The status of `sys/leader`.
    health: Arc<AtomicUsize>,
    /// What was asked, logins included.
    asked: Arc<AtomicUsize>,
    probes: Arc<AtomicUsize>,
    logins: Arc<AtomicUsize>,
    revoked: Arc<AtomicUsize>,
    /// Instead of an answer.
    fault: Option<Fault>,
    /// What it answers, instead of an error and nothing.
    body: Option<&'static str>,
    /// How often it says 429 first.
    throttles: Arc<AtomicUsize>,
    /// What is refused, and nothing else.
    fails_at: Option<&'static str>,
    /// Tokens of this many logins are good for nothing any more.
    dead_logins: Arc<AtomicUsize>,
    /// The status of logins.
    login: Arc<AtomicUsize>,
    /// For how long the tokens are good, in seconds.
    lease: u64,
    /// The address of the leader.
    leader: &'static str,
    /// How long the question about it takes.
    slow: Option<Duration>,
    namespace: &'static str,
}

#[derive(Clone, Copy)]
enum Fault {
    Cut,
    Garbage,
    Silence,
}

impl Script {
    fn new(status: usize, health: usize) -> Self {
        let number = |value| Arc::new(AtomicUsize::new(value));
        Self {
            status: number(status),
            health: number(health),
            asked: number(0),
            probes: number(0),
            logins: number(0),
            revoked: number(0),
            fault: None,
            body: None,
            throttles: number(0),
            fails_at: None,
            dead_logins: number(0),
            login: number(200),
            lease: 600,
            leader: "https://vault:8201",
            slow: None,
            namespace: "",
        }
    }

    fn with(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::new(200, 200) }
    }

    async fn serve(self) -> io::Result<(Arc<Vault>, tempfile::NamedTempFile)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, namespace) = (format!("http://{}", listener.local_addr()?), self.namespace.to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().answer(stream));
            }
        });
        let jwt = tempfile::NamedTempFile::new()?;
        std::fs::write(&jwt, "jwt")?;
        let login = Login::Kubernetes {
            path: "kubernetes".to_owned(),
            role: "environment-manager".to_owned(),
            token: jwt.path().to_owned(),
        };
        let access = Access { address, namespace, ca: None, login, mount: "kv".to_owned() };
        Ok((Arc::new(Vault::new(&access, Arc::default()).unwrap()), jwt))
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut request = vec![0; 8192];
        while let Ok(read) = stream.read(&mut request).await {
            if read == 0 {
                return;
            }
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
            let get = |number: &AtomicUsize| number.load(Ordering::SeqCst);
            let (status, body) = if path.contains("sys/leader") {
                self.probes.fetch_add(1, Ordering::SeqCst);
                if let Some(pause) = self.slow {
                    time::sleep(pause).await;
                }
                let in_namespace = text.to_lowercase().contains("x-vault-namespace");
                let leader = format!(r#"{{"ha_enabled": true, "leader_address": "{}"}}"#, self.leader);
                if in_namespace { (400, "{}".to_owned()) } else { (get(&self.health), leader) }
            } else if path.contains("/login") {
                self.logins.fetch_add(1, Ordering::SeqCst);
                (
                    get(&self.login),
                    format!(
                        r#"{{"auth": {{"client_token": "{}", "lease_duration": {}}}}}"#,
                        get(&self.logins),
                        self.lease
                    ),
                )
            } else if is_dead(&text, get(&self.dead_logins)) {
                (403, "{}".to_owned())
            } else if path.contains("revoke-self") {
                self.revoked.fetch_add(1, Ordering::SeqCst);
                (204, String::new())
            } else {
                self.asked.fetch_add(1, Ordering::SeqCst);
                match self.fault {
                    Some(Fault::Cut) => {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"da").await;
                        return;
                    }
                    Some(Fault::Garbage) => {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<ht>!").await;
                        continue;
                    }
                    Some(Fault::Silence) => std::future::pending().await,
                    None if self.throttles.load(Ordering::SeqCst) > 0 => {
                        self.throttles.fetch_sub(1, Ordering::SeqCst);
                        (429, "{}".to_owned())
                    }
                    None if self.fails_at.is_some_and(|word| path.contains(word)) => (403, "{}".to_owned()),
                    None if self.body.is_some() => (get(&self.status), self.body.unwrap_or_default().to_owned()),
                    None => (get(&self.status), format!(r#"{{"errors": ["{SECRET} is not good"], "data": {{}}}}"#)),
                }
            };
            let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(head.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Whether the token of a request comes from one of the first logins.
fn is_dead(request: &str, logins: usize) -> bool {
    let token = request.lines().find_map(|line| line.strip_prefix("x-vault-token: "));
    token.is_some_and(|token| token.trim().parse::<usize>().is_ok_and(|number| number <= logins))
}

#[tokio::test]
async fn an_error_is_told_in_our_words_and_never_in_vaults() {
    for (status, expected) in [
        (400, VaultError::Invalid(400)),
        (403, VaultError::Denied),
        (429, VaultError::Throttled),
        (500, VaultError::Server(500)),
    ] {
        let script = Script::new(status, 200);
        let (vault, _jwt) = script.serve().await.unwrap();
        let error = vault.read("kv/subkeys/pf/x").await.unwrap_err();
        assert_eq!(error, expected);
        assert!(!format!("{error} {error:?}").contains(SECRET));
    }
}

#[tokio::test]
async fn a_secret_whose_newest_version_was_deleted_is_there_and_has_no_keys() {
    let deleted = r#"{"data": {"metadata": {"deletion_time": "2026-11-26T00:00:00Z", "version": 1}, "subkeys": null}}"#;
    for (body, expected) in [(deleted, Some(BTreeSet::new())), (r#"{"errors": []}"#, None), ("", None)] {
        let script = Script { body: Some(body), ..Script::new(404, 200) };
        let (vault, _jwt) = script.serve().await.unwrap();
        assert_eq!(vault.subkeys("kv", "pf/x").await.unwrap(), expected, "{body}");
    }
}

#[tokio::test]
async fn what_is_copied_is_what_stands_there_whatever_it_is() {
    let body = r#"{"data": {"data": {"a": "1", "b": "2", "n": 5432, "o": {"x": ["y", 1.50]}, "e": "\u00fc\n"}}}"#;
    let script = Script { body: Some(body), ..Script::new(200, 200) };
    let (vault, _jwt) = script.serve().await.unwrap();
    let answer = vault.call("read", Method::GET, "kv/data/pf/x", SecretBody::empty()).await.unwrap().unwrap();
    let keys = ["a", "n", "o", "e", "missing"].map(str::to_owned).into();
    let values = answer.values(&keys).unwrap();
    let found: Vec<(&str, &str)> = values.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
    assert_eq!(found, [("a", r#""1""#), ("e", r#""\u00fc\n""#), ("n", "5432"), ("o", r#"{"x": ["y", 1.50]}"#)]);
}

#[tokio::test]
async fn a_write_that_nothing_takes_is_an_error() {
    let (vault, _jwt) = Script::new(404, 200).serve().await.unwrap();
    assert_eq!(vault.write("auth/typo/role/x", &json!({})).await, Err(VaultError::Invalid(404)));
    assert_eq!(vault.create("typo", "x", vec![]).await, Err(VaultError::Invalid(404)));
    assert_eq!(vault.delete("auth/typo/role/x").await, Ok(false), "what is not there is gone");
}

#[tokio::test]
async fn a_mount_that_is_no_kv_of_version_2_is_said() {
    let two = r#"{"data": {"type": "kv", "options": {"version": "2"}}}"#;
    let one = r#"{"data": {"type": "kv", "options": {"version": "1"}}}"#;
    for (status, body, fits) in [(200, two, true), (200, one, false), (404, "{}", false)] {
        let script = Script { body: Some(body), ..Script::new(status, 200) };
        let (vault, _jwt) = script.serve().await.unwrap();
        let expected = if fits { Ok(()) } else { Err(VaultError::Mount("kv".to_owned())) };
        assert_eq!(vault.look_for_kv("kv").await, expected, "{status} {body}");
        let expected = Err(VaultError::AuthMount("kv".to_owned()));
        assert_eq!(vault.look_for_kubernetes("kv").await, expected, "{status} {body}");
    }
    // Where nothing is allowed it is not the mount. Where only that is refused, it is.
    let (vault, _jwt) = Script::new(403, 200).serve().await.unwrap();
    assert_eq!(vault.look_for_kv("kv").await, Err(VaultError::Denied));
    let script = Script { fails_at: Some("ui/mounts"), ..Script::new(200, 200) };
    let (vault, _jwt) = script.serve().await.unwrap();
    assert_eq!(vault.look_for_kv("kv").await, Err(VaultError::Mount("kv".to_owned())));
}

#[tokio::test]
async fn what_vault_has_no_time_for_is_asked_again_after_a_while() {
    let script = Script { throttles: Arc::new(AtomicUsize::new(2)), ..Script::new(200, 200) };
    let (vault, _jwt) = script.clone().serve().await.unwrap();
    assert!(vault.read("x").await.is_ok());
    assert_eq!(script.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn one_right_that_is_missing_for_all_is_not_all_that_is_refused() {
    let script = Script { fails_at: Some("acl"), ..Script::new(200, 200) };
    let (vault, _jwt) = script.serve().await.unwrap();
    for _ in 0..50 {
        assert_eq!(vault.list("sys/policies/acl").await, Err(VaultError::Denied));
    }
    assert!(vault.read("well").await.is_ok());
}

#[tokio::test]
async fn many_paths_that_fail_close_vault_to_nobody_as_long_as_it_is_well() {
    let script = Script { fails_at: Some("broken"), ..Script::new(200, 200) };
    let (vault, _jwt) = script.serve().await.unwrap();
    for number in 0..100 {
        assert_eq!(vault.read(&format!("broken/{number}")).await, Err(VaultError::Denied));
    }
    assert!(vault.read("well").await.is_ok());
}

#[tokio::test]
async fn one_path_that_fails_is_no_reason_to_stop_asking_for_others() {
    let script = Script::new(500, 200);
    let (vault, _jwt) = script.clone().serve().await.unwrap();
    assert_eq!(vault.read("broken").await.unwrap_err(), VaultError::Server(500));
    script.status.store(200, Ordering::SeqCst);
    assert!(vault.read("well").await.is_ok());
}

#[tokio::test]
async fn a_vault_that_is_down_is_asked_by_one_for_all() {
    for script in [Script::new(503, 503), Script::with(Fault::Cut)] {
        script.health.store(503, Ordering::SeqCst);
        let (vault, _jwt) = script.clone().serve().await.unwrap();
        let all = (0..200).map(|number| {
            let vault = vault.clone();
            async move { vault.read(&format!("path-{number}")).await }
        });
        // Sixteen at a time, as environments are.
        let answers: Vec<_> =
            futures::StreamExt::collect(futures::StreamExt::buffered(futures::stream::iter(all), 16)).await;
        assert!(answers.iter().all(Result::is_err));
        assert!(matches!(answers.last().unwrap(), Err(VaultError::Down { refused: false, .. })));
        let asked = script.asked.load(Ordering::SeqCst) + script.probes.load(Ordering::SeqCst);
        assert!(asked <= 20, "{asked} requests of 200");
    }
}

#[tokio::test]
async fn refusals_in_a_row_stop_the_asking_too_and_one_tries_first_when_it_is_over() {
    let script = Script::new(403, 200);
    let (vault, _jwt) = script.clone().serve().await.unwrap();
    for _ in 0..200 {
        let _ = vault.read("path").await;
    }
    let asked = script.asked.load(Ordering::SeqCst);
    assert!(asked <= 40, "{asked} requests of 200");
    let (logins, revoked) = (script.logins.load(Ordering::SeqCst), script.revoked.load(Ordering::SeqCst));
    assert_eq!((logins, revoked), (2, 1), "one new login for all, and the old one ends");
    assert!(vault.read("path").await.unwrap_err().is_refusal(), "it is said that Vault refuses, not that it is away");
    let keys: Vec<ObjectKey> = (0..30).map(|number| ObjectKey::new("p", format!("e-{number}"))).collect();
    assert!(keys.iter().all(|key| vault.wait(key.clone()) == Waiting::Registered));
    script.status.store(200, Ordering::SeqCst);
    let (woken, mut told) = tokio::sync::mpsc::unbounded_channel();
    let watched = vault.clone();
    let watch = tokio::spawn(async move {
        watched.watch(move |key, after| drop(woken.send((key, after)))).await;
    });
    let mut all = vec![];
    while all.len() < keys.len() {
        all.push(told.recv().await.unwrap());
    }
    watch.abort();
    assert_eq!(all[0].1, Duration::ZERO);
    assert!(all.iter().all(|(_, after)| *after <= Duration::from_secs(10)));
    assert!(vault.read("path").await.is_ok());
    assert_eq!(vault.wait(keys[0].clone()), Waiting::IsBack);
}

#[tokio::test]
async fn a_garbled_a_cut_and_no_answer_are_no_answers() {
    let (vault, _jwt) = Script::with(Fault::Garbage).serve().await.unwrap();
    assert!(matches!(vault.read("x").await, Err(VaultError::Unreachable(_))));
    let (vault, _jwt) = Script::with(Fault::Cut).serve().await.unwrap();
    assert!(matches!(vault.read("x").await, Err(VaultError::Unreachable(_))));
    let (vault, _jwt) = Script::with(Fault::Silence).serve().await.unwrap();
    let error = vault.read("x").await.unwrap_err();
    assert!(error.to_string().contains("nothing came within 5 s"), "{error}");
}

#[tokio::test]
async fn all_share_one_login() {
    let script = Script::new(200, 200);
    let (vault, _jwt) = script.clone().serve().await.unwrap();
    let all = (0..50).map(|_| vault.read("x"));
    assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(script.logins.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn those_who_wait_for_a_login_that_fails_have_its_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let jwt = tempfile::NamedTempFile::new().unwrap();
    let login = Login::Kubernetes { path: "k".to_owned(), role: "x".to_owned(), token: jwt.path().to_owned() };
    // It accepts and never answers.
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = accepted.clone();
    let server = tokio::spawn(async move {
        let mut kept = vec![];
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            kept.push(stream);
        }
    });
    let vault = Vault::new(
        &Access { address, namespace: String::new(), ca: None, login, mount: "kv".to_owned() },
        Arc::default(),
    )
    .unwrap();
    let answers = futures::future::join_all((0..16).map(|_| vault.read("x"))).await;
    assert!(answers.iter().all(Result::is_err));
    server.abort();
    assert!(accepted.load(Ordering::SeqCst) <= 3, "a login, and a look whether it is well; not one for each who waits");
}

#[tokio::test]
async fn nobody_there_and_no_file_to_log_in_with_are_said() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (token, said) in [(PathBuf::from("/no/such/token"), "/no/such/token"), (file.path().to_owned(), "refused")] {
        let login = Login::Kubernetes { path: "kubernetes".to_owned(), role: "x".to_owned(), token };
        let access = Access {
            address: "http://127.0.0.1:1".to_owned(),
            namespace: String::new(),
            ca: None,
            login,
            mount: "kv".to_owned(),
        };
        let vault = Vault::new(&access, Arc::default()).unwrap();
        let error = vault.read("x").await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// The question whether it is well is no question to a namespace: servers refuse it there.
#[tokio::test]
async fn one_failure_in_a_namespace_closes_vault_to_nobody() {
    let script = Script { namespace: "team", ..Script::new(500, 200) };
    let (vault, _jwt) = script.clone().serve().await.unwrap();
    assert_eq!(vault.read("broken").await.unwrap_err(), VaultError::Server(500));
    script.status.store(200, Ordering::SeqCst);
    assert!(vault.read("well").await.is_ok());
    let access = |namespace: &str| {
        let (namespace, login) = (namespace.to_owned(), Login::Token(PathBuf::from("/x")));
        Access { address: "http://vault".to_owned(), namespace, ca: None, login, mount: "kv".to_owned() }
    };
    let error = Vault::new(&access("team\n"), Arc::default()).unwrap_err().to_string();
    assert!(error.contains("--vault-namespace"), "never the root namespace instead: {error}");
}

#[tokio::test]
async fn servers_without_a_leader_are_down() {
    let script = Script { leader: "", ..Script::new(500, 200) };
    let (vault, _jwt) = script.serve().await.unwrap();
    assert!(matches!(vault.read("x").await, Err(VaultError::Down { refused: false, .. })));
}

#[tokio::test]
async fn a_login_that_fails_takes_no_token_away_that_is_good() {
    // It is due at once, and cannot be renewed.
    let script = Script { lease: 3, fails_at: Some("renew-self"), ..Script::new(200, 200) };
    let (vault, _jwt) = script.clone().serve().await.unwrap();
    assert!(vault.read("x").await.is_ok());
    script.login.store(403, Ordering::SeqCst);
    while script.logins.load(Ordering::SeqCst) < 2 {
        assert!(vault.read("x").await.is_ok(), "a third of its time is left");
    }
    // Nor does one that a refusal brought about.
    script.status.store(403, Ordering::SeqCst);
    assert_eq!(vault.read("x").await, Err(VaultError::Login(403)));
    script.status.store(200, Ordering::SeqCst);
    assert!(vault.read("x").await.is_ok());
}

/// Several requests of one look are given up as soon as one of them fails.
#[tokio::test]
async fn a_token_that_was_revoked_is_replaced_for_all_who_ask_at_once() {
    let script = Script::new(200, 200);
    let (vault, _jwt) = script.clone().serve().await.unwrap();
    assert!(vault.read("x").await.is_ok());
    script.dead_logins.store(1, Ordering::SeqCst);
    assert!(futures::try_join!(vault.read("a"), vault.read("b"), vault.read("c")).is_ok());
    assert_eq!(script.logins.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn one_asks_for_all_also_where_the_answer_takes_long() {
    let script = Script { slow: Some(Duration::from_millis(1200)), ..Script::new(500, 200) };
    let (vault, _jwt) = script.clone().serve().await.unwrap();
    let all = (0..8).map(|number| vault.read(if number % 2 == 0 { "a" } else { "b" }));
    assert!(futures::future::join_all(all).await.iter().all(Result::is_err));
    assert_eq!(script.probes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn while_all_is_refused_or_fails_nobody_is_woken() {
    futures::join!(nobody_is_woken_while_all_answers_are(403), nobody_is_woken_while_all_answers_are(500));
}

/// Although it says of itself that it is well.
async fn nobody_is_woken_while_all_answers_are(status: usize) {
    let script = Script::new(status, 200);
    let (vault, _jwt) = script.clone().serve().await.unwrap();
    while !matches!(vault.read("x").await, Err(VaultError::Down { .. })) {}
    let key = ObjectKey::new("p", "e");
    assert_eq!(vault.wait(key.clone()), Waiting::Registered);
    let (woken, mut told) = tokio::sync::mpsc::unbounded_channel();
    let watched = vault.clone();
    let watch = tokio::spawn(async move { watched.watch(move |key, _| drop(woken.send(key))).await });
    let probes = || script.probes.load(Ordering::SeqCst);
    let before = probes();
    while probes() < before + 2 {
        assert!(told.try_recv().is_err(), "{status} as before");
        time::sleep(Duration::from_millis(20)).await;
    }
    script.status.store(200, Ordering::SeqCst);
    assert_eq!(told.recv().await, Some(key));
    watch.abort();
}
