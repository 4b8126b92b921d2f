//! The client for Vault and OpenBao, as much of it as the operator needs.
//!
//! Our own, and small: a value that passes through here has a type of its own ([`value::SecretValue`]) that cannot be printed and is
//! wiped, and what Vault says about an error is never passed on, since it may repeat what was sent (docs/decisions/0023).

mod breaker;
mod http;
mod login;
pub mod value;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ::http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time;

use self::{
    breaker::Breaker,
    http::{Answer, Connection},
    login::Session,
    value::{SecretBody, SecretJson, SecretValue},
};
pub use self::{breaker::Waiting, http::SetupError, login::Login};
use crate::{
    domain::vault::{CopyLogin, VaultSettings},
    kube_ext::key::ObjectKey,
    metrics::Metrics,
};

/// How long the login lives at most with which a secret is copied. Clocks may differ by some minutes.
const COPY_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// The pauses before what Vault has no time for is asked again.
const THROTTLED: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];

/// How the operator reaches Vault.
#[derive(Clone, Debug)]
pub struct Access {
    /// `https://vault.example.com:8200`.
    pub address: String,
    /// Its namespace; empty for none.
    pub namespace: String,
    /// The certificate authority of its server, in PEM; without one, the host's own.
    pub ca: Option<PathBuf>,
    /// How the operator logs in.
    pub login: Login,
    /// The mount of the KV engine.
    pub mount: String,
}

/// Why Vault did not do what it was asked. It never holds a word of Vault's answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VaultError {
    /// It cannot be reached, or ends in the middle of an answer.
    #[error("does not answer: {0}")]
    Unreachable(String),
    /// It is sealed, or in standby.
    #[error("is sealed or in standby (503)")]
    Sealed,
    /// It asks to be asked less.
    #[error("is asked too much (429)")]
    Throttled,
    /// It fails.
    #[error("fails ({0})")]
    Server(u16),
    /// It refuses the operator's own login.
    #[error("refuses the operator's login ({0})")]
    Login(u16),
    /// What the operator logs in with cannot be read, or not be sent.
    #[error("cannot be logged in to: {0}")]
    Credentials(String),
    /// The operator has no right to it.
    #[error("refuses it (403)")]
    Denied,
    /// It takes the request for a wrong one.
    #[error("does not take the request ({0})")]
    Invalid(u16),
    /// Its answer is larger than anything that is asked for.
    #[error("answers with more than the operator reads")]
    TooLarge,
    /// There is no KV engine, version 2, at the mount.
    #[error("has no KV engine of version 2 at {0}, or lets the operator see none")]
    Mount(String),
    /// There is no Kubernetes auth method at the mount.
    #[error("has no Kubernetes auth method at auth/{0}, or lets the operator see none")]
    AuthMount(String),
    /// A secret cannot be made although there is none.
    #[error("refuses to make it (403)")]
    NotMade,
    /// It answers, and so slowly that others would have to wait.
    #[error("has not answered all within {} s", .0.as_secs())]
    Late(Duration),
    /// There are folders in folders without end.
    #[error("has more than {0} folders in each other there")]
    TooDeep(usize),
    /// Nobody is asked at present: it was down a moment ago.
    #[error("{why}")]
    Down {
        /// What was said last.
        why: String,
        /// It answers, and refuses everything.
        refused: bool,
    },
}

impl VaultError {
    /// Whether only a person can mend it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Denied
                | Self::Invalid(_)
                | Self::TooDeep(_)
                | Self::TooLarge
                | Self::NotMade
                | Self::Mount(_)
                | Self::AuthMount(_)
                | Self::Login(_)
                | Self::Down { refused: true, .. }
        )
    }

    /// Whether that may be Vault as a whole.
    fn may_be_all(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Sealed | Self::Throttled | Self::Server(_))
    }
}

/// A Vault or an OpenBao. Shared by all reconciles.
#[derive(Debug)]
pub struct Vault {
    connection: Connection,
    /// The mount of the KV engine.
    mount: String,
    session: Session,
    breaker: Breaker,
    metrics: Arc<Metrics>,
}

impl Vault {
    /// Does not connect yet.
    ///
    /// # Errors
    ///
    /// When address or certificate authority cannot be used.
    pub fn new(access: &Access, metrics: Arc<Metrics>) -> Result<Self, SetupError> {
        let connection = Connection::new(&access.address, &access.namespace, access.ca.as_deref())?;
        let mount = access.mount.clone();
        Ok(Self {
            connection,
            mount,
            session: Session::new(access.login.clone()),
            breaker: Breaker::default(),
            metrics,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &str {
        self.connection.address()
    }

    /// What is there: `None` if nothing is. Never used for values.
    pub async fn read(&self, path: &str) -> Result<Option<Value>, VaultError> {
        let answer = self.call("read", Method::GET, path, SecretBody::empty()).await?;
        Ok(answer.map(|answer| answer.json()).transpose()?.map(|mut whole| whole["data"].take()))
    }

    /// The names below a path.
    pub async fn list(&self, path: &str) -> Result<Vec<String>, VaultError> {
        let listed = self.read(&format!("{path}?list=true")).await?.unwrap_or_default();
        let names = listed["keys"].as_array().into_iter().flatten();
        Ok(names.filter_map(|name| name.as_str().map(str::to_owned)).collect())
    }

    /// Writes what holds no value.
    pub async fn write(&self, path: &str, body: &Value) -> Result<(), VaultError> {
        written(self.call("write", Method::POST, path, SecretBody::plain(body)).await)
    }

    /// Deletes what is there; nothing there is as well. Whether there is anything at the path that takes it.
    pub async fn delete(&self, path: &str) -> Result<bool, VaultError> {
        Ok(self.call("delete", Method::DELETE, path, SecretBody::empty()).await?.is_some())
    }

    /// The keys of a secret, without their values; none of one whose newest version was deleted. `None` if there is no secret.
    pub async fn subkeys(&self, mount: &str, path: &str) -> Result<Option<BTreeSet<String>>, VaultError> {
        let found = self.read(&format!("{mount}/subkeys/{path}?depth=1")).await?;
        let keys =
            |found: Value| found["subkeys"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        Ok(found.map(keys))
    }

    /// A new value by a password policy (<https://openbao.org/api-docs/system/policies-password/>).
    pub async fn generate(&self, policy: &str) -> Result<SecretValue, VaultError> {
        let path = format!("sys/policies/password/{policy}/generate");
        let answer = self.call("generate", Method::GET, &path, SecretBody::empty()).await?;
        answer.and_then(|answer| answer.password()).ok_or(VaultError::Invalid(404))
    }

    /// Makes a secret that is not there; never changes one that is.
    pub async fn create(&self, mount: &str, path: &str, values: Vec<(String, SecretJson)>) -> Result<(), VaultError> {
        let body = SecretBody::first_version(&values);
        written(self.call("create", Method::POST, &format!("{mount}/data/{path}"), body).await)
    }

    /// Whether the KV engine, version 2, is at this mount: anybody is told who has some right below it
    /// (<https://openbao.org/api-docs/system/internal-ui-mounts/>).
    ///
    /// # Errors
    ///
    /// [`VaultError::Mount`] if it is not, or that cannot be seen.
    pub async fn look_for_kv(&self, mount: &str) -> Result<(), VaultError> {
        let found = self.mount(mount).await?;
        let is_kv = |found: &Value| found["type"] == "kv" && found["options"]["version"] == "2";
        if found.is_some_and(|found| is_kv(&found)) { Ok(()) } else { Err(VaultError::Mount(mount.to_owned())) }
    }

    /// Whether the Kubernetes auth method is at this mount.
    ///
    /// # Errors
    ///
    /// [`VaultError::AuthMount`] if it is not, or that cannot be seen.
    pub async fn look_for_kubernetes(&self, mount: &str) -> Result<(), VaultError> {
        let found = self.mount(&format!("auth/{mount}")).await?;
        let is_kubernetes = |found: &Value| found["type"] == "kubernetes";
        if found.is_some_and(|found| is_kubernetes(&found)) {
            Ok(())
        } else {
            Err(VaultError::AuthMount(mount.to_owned()))
        }
    }

    /// What is mounted there, if that can be seen. A refusal of everything says nothing about a mount.
    async fn mount(&self, path: &str) -> Result<Option<Value>, VaultError> {
        match self.read(&format!("sys/internal/ui/mounts/{path}")).await {
            Err(VaultError::Denied) if !self.may_anything().await => Err(VaultError::Denied),
            Err(VaultError::Denied | VaultError::Invalid(_)) => Ok(None),
            found => found,
        }
    }

    /// The values of some keys of a secret, read with a login of its own that may read this one secret and lives for a minute.
    ///
    /// Needs a Kubernetes login: the role is bound to the operator's own `ServiceAccount`.
    pub async fn values(
        &self,
        settings: &VaultSettings,
        login: &CopyLogin,
        path: &str,
        keys: &BTreeSet<String>,
    ) -> Result<Vec<(String, SecretJson)>, VaultError> {
        let policy_path = format!("sys/policies/acl/{}", login.name);
        let role_path = format!("auth/{}/role/{}", settings.auth_path, login.name);
        // OpenBao ends it by itself, should nobody else.
        let expiration = Timestamp::now().checked_add(COPY_LIFE).unwrap_or(Timestamp::MAX).to_string();
        self.write(&policy_path, &json!({"policy": login.policy, "expiration": expiration})).await?;
        let read = async {
            self.write(&role_path, &login.role).await?;
            let answered = self.patiently("copy", || self.read_as(settings, login, path)).await;
            answered?.map_or(Ok(vec![]), |answer| answer.values(keys))
        };
        let read = read.await;
        // In any case nobody can read with it any more.
        let removed = self.delete(&role_path).await.and(self.delete(&policy_path).await);
        read.and_then(|values| removed.map(|_| values))
    }

    async fn read_as(
        &self,
        settings: &VaultSettings,
        login: &CopyLogin,
        path: &str,
    ) -> Result<Option<Answer>, VaultError> {
        let token = self.session.log_in_as(&self.connection, &settings.auth_path, &login.name).await?;
        let path = format!("{}/data/{path}", settings.mount);
        self.connection.send(Method::GET, &path, Some(&token), SecretBody::empty()).await?.check()
    }

    /// Whoever was told that Vault is down is put here, to be told when it is back.
    pub fn wait(&self, key: ObjectKey) -> Waiting {
        self.breaker.wait(key)
    }

    /// Asks a Vault that is down whether it is back, once every few seconds for all, and tells those who wait. Runs for ever.
    pub async fn watch(&self, wake: impl Fn(ObjectKey, Duration)) {
        self.breaker.watch(self, wake).await;
    }

    /// One request: not at all while Vault is down, with a token that is good, and again with a new one where the token was not.
    async fn call(
        &self,
        what: &'static str,
        method: Method,
        path: &str,
        body: SecretBody,
    ) -> Result<Option<Answer>, VaultError> {
        self.breaker.allows()?;
        let answered = self.patiently(what, || self.attempt(method.clone(), path, body.clone())).await;
        match &answered {
            Ok(_) => self.breaker.succeeded(),
            Err(error) => {
                // Whether it is this one path or Vault as a whole is found out by one, for all.
                let why = format!("Vault at {} {error}", self.address());
                self.breaker.failed(error, why, self).await?;
            }
        }
        answered
    }

    /// Counts what is asked, and asks again what Vault has no time for.
    async fn patiently<F>(&self, what: &'static str, attempt: impl Fn() -> F) -> Result<Option<Answer>, VaultError>
    where
        F: Future<Output = Result<Option<Answer>, VaultError>>,
    {
        let mut pauses = THROTTLED.into_iter();
        loop {
            let answered = attempt().await;
            self.metrics.vault_request(what, outcome(&answered));
            match (&answered, pauses.next()) {
                (Err(VaultError::Throttled), Some(pause)) => time::sleep(pause).await,
                _ => return answered,
            }
        }
    }

    /// Whether it is well; thoroughly: and lets the operator do what has nothing to do with any one environment.
    async fn is_well(&self, thoroughly: bool) -> bool {
        let well = self.connection.is_well().await;
        if !well || !thoroughly {
            return well;
        }
        self.may_anything().await
    }

    /// Whether it has some right that it has everywhere. One of them may be missing, and only some environments miss it.
    async fn may_anything(&self) -> bool {
        for path in ["sys/policies/acl?list=true", &format!("sys/internal/ui/mounts/{}", self.mount)] {
            if self.attempt(Method::GET, path, SecretBody::empty()).await.is_ok_and(|found| found.is_some()) {
                return true;
            }
        }
        false
    }

    async fn attempt(&self, method: Method, path: &str, body: SecretBody) -> Result<Option<Answer>, VaultError> {
        let began = Instant::now();
        let token = self.session.token(&self.connection).await?;
        let answer = self.connection.send(method.clone(), path, Some(&token.value), body.clone()).await?;
        match answer.check() {
            // A token may have been revoked, or made before its role got the right policy. A new one is refused for another reason.
            Err(VaultError::Denied) if token.issued < began => {
                match self.session.after_refusal(&self.connection, &token).await? {
                    Some(token) => self.connection.send(method, path, Some(&token.value), body).await?.check(),
                    None => Err(VaultError::Denied),
                }
            }
            checked => checked,
        }
    }
}

/// Who writes where nothing takes it has written nothing.
fn written(answered: Result<Option<Answer>, VaultError>) -> Result<(), VaultError> {
    match answered? {
        Some(_) => Ok(()),
        None => Err(VaultError::Invalid(404)),
    }
}

fn outcome(answered: &Result<Option<Answer>, VaultError>) -> &'static str {
    match answered {
        Ok(Some(_)) => "ok",
        Ok(None) => "not_found",
        // Who is told that it is down already does not ask.
        Err(VaultError::Unreachable(_) | VaultError::Down { .. }) => "unreachable",
        Err(VaultError::Sealed) => "sealed",
        Err(VaultError::Throttled) => "throttled",
        Err(VaultError::Server(_)) => "server_error",
        Err(VaultError::Login(_) | VaultError::Credentials(_)) => "login",
        Err(VaultError::Denied | VaultError::NotMade) => "denied",
        Err(
            VaultError::Invalid(_)
            | VaultError::TooDeep(_)
            | VaultError::TooLarge
            | VaultError::Mount(_)
            | VaultError::AuthMount(_),
        ) => "invalid",
        // Nobody is told of it by a request.
        Err(VaultError::Late(_)) => "late",
    }
}

#[cfg(test)]
mod tests;
