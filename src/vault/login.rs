//! The operator's own login: one token for all requests, renewed before it ends, and made anew when it is refused.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::Method;
use zeroize::Zeroizing;

use super::{
    VaultError,
    http::Connection,
    value::{SecretBody, SecretValue},
};

/// How the operator logs in. Files are read at each login: whoever mounts them renews them.
#[derive(Clone, Debug)]
pub enum Login {
    /// With a token of its own `ServiceAccount`.
    Kubernetes {
        /// The mount of the auth method.
        path: String,
        /// The role.
        role: String,
        /// The file with the projected token.
        token: PathBuf,
    },
    /// With an `AppRole`.
    AppRole {
        /// The mount of the auth method.
        path: String,
        /// The file with the role's id.
        role_id: PathBuf,
        /// The file with the secret id.
        secret_id: PathBuf,
    },
    /// With a token that somebody else renews.
    Token(PathBuf),
}

/// A token of Vault.
pub(super) struct Token {
    pub value: SecretValue,
    /// When it was made or renewed.
    pub issued: Instant,
    /// When to renew it: after two thirds of its time.
    renew_at: Option<Instant>,
    /// When it ends.
    ends: Option<Instant>,
}

impl Token {
    fn is_good(&self) -> bool {
        self.ends.is_none_or(|ends| Instant::now() < ends)
    }

    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|due| due <= Instant::now())
    }
}

/// The operator's session.
pub(super) struct Session {
    login: Login,
    held: Mutex<Held>,
    /// One at a time renews or logs in.
    turn: tokio::sync::Mutex<()>,
}

/// What the last login came to.
#[derive(Default)]
struct Held {
    token: Option<Arc<Token>>,
    failed: Option<(Instant, VaultError)>,
    /// When a refused token was last replaced.
    refused: Option<Instant>,
}

/// For how long a login that failed is not tried again: those who waited for it have its answer.
const FAILED_LOGIN: Duration = Duration::from_secs(1);

/// For how long a new token that is refused as well is not replaced.
const REFUSED: Duration = Duration::from_secs(10);

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("login", &self.login).finish_non_exhaustive()
    }
}

impl Session {
    pub fn new(login: Login) -> Self {
        Self { login, held: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that is good. One asks for it; those who have none wait for that one, and nobody else does.
    pub async fn token(&self, connection: &Connection) -> Result<Arc<Token>, VaultError> {
        let good = || self.held().token.clone().filter(|token| token.is_good());
        let turn = match good() {
            Some(token) if !token.is_due() => return Ok(token),
            Some(token) => match self.turn.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(token),
            },
            None => self.turn.lock().await,
        };
        let before = good();
        let failed = self.held().failed.clone().filter(|(at, _)| at.elapsed() < FAILED_LOGIN);
        match (&before, failed) {
            (Some(token), failed) if !token.is_due() || failed.is_some() => return Ok(token.clone()),
            (None, Some((_, error))) => return Err(error),
            _ => {}
        }
        let renewed = match &before {
            Some(token) => renew(connection, token).await,
            None => None,
        };
        let made = match renewed {
            Some(token) => Ok(token),
            None => self.log_in(connection).await,
        };
        let kept = self.keep(made);
        drop(turn);
        // One that is good still is good for as long as it lasts.
        match (kept, before) {
            (Err(_), Some(token)) => Ok(token),
            (made, _) => made,
        }
    }

    /// This token was refused. Gives another one, if there is one by now or one is due: what has no right stays without it, however
    /// often it asks.
    pub async fn after_refusal(
        &self,
        connection: &Connection,
        refused: &Arc<Token>,
    ) -> Result<Option<Arc<Token>>, VaultError> {
        let _turn = self.turn.lock().await;
        {
            let held = self.held();
            if let Some(other) = held.token.clone().filter(|token| !Arc::ptr_eq(token, refused)) {
                return Ok(Some(other));
            }
            if held.refused.is_some_and(|at| at.elapsed() < REFUSED) {
                // One that failed is what has to be mended.
                return held.failed.clone().map_or(Ok(None), |(_, error)| Err(error));
            }
        }
        let made = self.log_in(connection).await;
        // Not before: who asked may have been given up meanwhile.
        self.held().refused = Some(Instant::now());
        let made = self.keep(made)?;
        if !matches!(self.login, Login::Token(_)) {
            // Nobody needs it any more. Where that is refused it ends by itself.
            let path = "auth/token/revoke-self";
            drop(connection.send(Method::POST, path, Some(&refused.value), SecretBody::empty()).await);
        }
        Ok(Some(made))
    }

    /// Keeps a new token. A login that failed takes nothing away.
    fn keep(&self, made: Result<Token, VaultError>) -> Result<Arc<Token>, VaultError> {
        let made = made.map(Arc::new);
        let mut held = self.held();
        match &made {
            Ok(token) => (held.token, held.failed) = (Some(token.clone()), None),
            Err(error) => held.failed = Some((Instant::now(), error.clone())),
        }
        made
    }

    async fn log_in(&self, connection: &Connection) -> Result<Token, VaultError> {
        match &self.login {
            Login::Kubernetes { path, role, token } => {
                let jwt = read(token)?;
                log_in(connection, path, &[("role", role), ("jwt", &jwt)]).await
            }
            Login::AppRole { path, role_id, secret_id } => {
                let (role_id, secret_id) = (read(role_id)?, read(secret_id)?);
                log_in(connection, path, &[("role_id", &role_id), ("secret_id", &secret_id)]).await
            }
            Login::Token(file) => {
                let value = SecretValue::new(read(file)?.to_string());
                // The file is read again now and then, since somebody else renews what is in it.
                let ends = Some(Instant::now() + Duration::from_mins(1));
                Ok(Token { value, issued: Instant::now(), renew_at: None, ends })
            }
        }
    }

    /// A token of another role, for the operator's own `ServiceAccount`.
    pub async fn log_in_as(&self, connection: &Connection, path: &str, role: &str) -> Result<SecretValue, VaultError> {
        let Login::Kubernetes { token, .. } = &self.login else {
            return Err(VaultError::Credentials("that takes the method kubernetes".to_owned()));
        };
        let jwt = read(token)?;
        log_in(connection, path, &[("role", role), ("jwt", &jwt)]).await.map(|token| token.value)
    }
}

async fn log_in(connection: &Connection, path: &str, fields: &[(&str, &str)]) -> Result<Token, VaultError> {
    let answer = connection.send(Method::POST, &format!("auth/{path}/login"), None, SecretBody::fields(fields)).await?;
    let status = answer.status();
    match answer.check() {
        Ok(Some(answer)) => answer.login().map(issued).ok_or(VaultError::Login(status)),
        Ok(None) | Err(VaultError::Denied | VaultError::Invalid(_)) => Err(VaultError::Login(status)),
        Err(error) => Err(error),
    }
}

/// `None` where that does not work: then a new login does, or says why not.
async fn renew(connection: &Connection, token: &Token) -> Option<Token> {
    let answer = connection.send(Method::POST, "auth/token/renew-self", Some(&token.value), SecretBody::empty()).await;
    let renewed = answer.ok()?.check().ok()??.login()?;
    // At the end of its time less than a second is left, which is no token without an end.
    (renewed.1 > 0).then(|| issued(renewed))
}

fn issued((value, seconds): (SecretValue, u64)) -> Token {
    let now = Instant::now();
    let after = |time: Duration| now.checked_add(time);
    let life = Duration::from_secs(seconds);
    // A token without an end has 0.
    let (renew_at, ends) = if seconds == 0 { (None, None) } else { (after(life / 3 * 2), after(life)) };
    Token { value, issued: now, renew_at, ends }
}

fn read(file: &Path) -> Result<Zeroizing<String>, VaultError> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    let text = text.map_err(|error| VaultError::Credentials(format!("cannot read {}: {error}", file.display())))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}
