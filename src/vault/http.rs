//! Requests to Vault over HTTP. TLS is kube's, so that there is one of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use kube::{Config, client::ConfigExt as _};
use serde_json::{Value, value::RawValue};
use thiserror::Error;
use tokio::time;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use super::{
    VaultError,
    value::{SecretBody, SecretJson, SecretValue},
};
use crate::kube_ext::{client, errors::with_causes};

/// For a whole request. A healthy Vault answers within milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Far more than anything that is read here: the names of 10,000 policies take less than one.
const LARGEST_ANSWER: usize = 16 << 20;
const IDLE_CONNECTION_LIFE: Duration = Duration::from_secs(30);

/// Why Vault cannot be used at all.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The address is none.
    #[error("the address of Vault, {0:?}, is not an address such as https://vault.example.com:8200")]
    Address(String),
    /// Its namespace has no name that can be sent.
    #[error(
        "the namespace of Vault, {0:?} (--vault-namespace, vault.namespace), holds a character that cannot be sent"
    )]
    Namespace(String),
    /// What is asked for does not go with the way the operator logs in.
    #[error(
        "--vault-allow-copy (vault.allowCopy) needs --vault-login-method=kubernetes (vault.login.method): a secret is copied with a login of \
         its own, of the operator's ServiceAccount"
    )]
    Copy,
    /// TLS cannot be set up, the certificate authority's file cannot be read for example.
    #[error("cannot set up the connection to Vault: {0}")]
    Tls(String),
}

type Service = tower::util::BoxCloneSyncService<Request<Full<Bytes>>, http::Response<Incoming>, legacy::Error>;

/// A connection to one Vault.
pub(super) struct Connection {
    http: Service,
    address: String,
    namespace: Option<HeaderValue>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Connection {
    pub fn new(address: &str, namespace: &str, ca: Option<&Path>) -> Result<Self, SetupError> {
        let address = address.trim_end_matches('/').to_owned();
        let wrong = || SetupError::Address(address.clone());
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) || uri.path() != "/" {
            return Err(wrong());
        }
        let mut config = Config::new(uri);
        if let Some(ca) = ca {
            std::fs::metadata(ca).map_err(|error| SetupError::Tls(format!("{}: {error}", ca.display())))?;
            // The file is what counts, and is read again when it changes; the list only keeps the host's own roots out.
            (config.root_cert_file, config.root_cert) = (Some(ca.to_owned()), Some(vec![]));
        }
        let connector = config
            .rustls_https_connector_with_connector(client::tcp())
            .map_err(|error| SetupError::Tls(with_causes(&error)))?;
        let http: legacy::Client<_, Full<Bytes>> = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_LIFE)
            .build::<_, Full<Bytes>>(connector);
        let namespace = match namespace {
            "" => None,
            // Without it everything would be done in the root namespace.
            name => Some(HeaderValue::from_str(name).map_err(|_| SetupError::Namespace(name.to_owned()))?),
        };
        Ok(Self { http: Service::new(http), address, namespace })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends one request and reads the whole answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretValue>,
        body: SecretBody,
    ) -> Result<Answer, VaultError> {
        self.send_in(self.namespace.as_ref(), method, path, token, body).await
    }

    async fn send_in(
        &self,
        namespace: Option<&HeaderValue>,
        method: Method,
        path: &str,
        token: Option<&SecretValue>,
        body: SecretBody,
    ) -> Result<Answer, VaultError> {
        let unreachable = |error: &dyn std::error::Error| {
            // Libraries explain themselves to programmers, with addresses.
            let why = with_causes(error);
            VaultError::Unreachable(why.split(": https://").next().unwrap_or(&why).to_owned())
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.address))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-vault-request", "true");
        if let Some(token) = token {
            let unfit = |_| VaultError::Credentials("the token holds a character that cannot be sent".to_owned());
            let mut value = HeaderValue::from_str(token.expose()).map_err(unfit)?;
            value.set_sensitive(true);
            request = request.header("x-vault-token", value);
        }
        if let Some(namespace) = namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let request = request.body(Full::new(body.bytes())).map_err(|error| unreachable(&error))?;
        let exchange = async {
            let response = self.http.clone().oneshot(request).await.map_err(|error| unreachable(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
            let bytes = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => VaultError::TooLarge,
                None => unreachable(error.as_ref()),
            });
            Ok(Answer { status, body: Zeroizing::new(Vec::from(bytes?.to_bytes())) })
        };
        let late = |_| VaultError::Unreachable(format!("nothing came within {} s", TIMEOUT.as_secs()));
        time::timeout(TIMEOUT, exchange).await.map_err(late)?
    }

    /// Whether it answers, is unsealed, and has a leader that can do what is asked. Needs no login, and is asked by one for all. Outside
    /// of any namespace, where servers do not answer it (<https://openbao.org/api-docs/system/leader/>).
    pub async fn is_well(&self) -> bool {
        let answered = self.send_in(None, Method::GET, "sys/leader", None, SecretBody::empty()).await;
        let Ok(Some(answer)) = answered.and_then(Answer::check) else { return false };
        answer.json().is_ok_and(|leader| {
            leader["ha_enabled"] == false
                || leader["leader_address"].as_str().is_some_and(|address| !address.is_empty())
        })
    }
}

/// What Vault answered. What is in it is wiped when it is dropped.
pub(super) struct Answer {
    status: StatusCode,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// `None` for what is not there. Of an error only the status is taken.
    ///
    /// A secret whose newest version was deleted is there: its answer is a 404 with metadata
    /// (<https://openbao.org/api-docs/secret/kv/kv-v2/#read-secret-version>).
    pub fn check(self) -> Result<Option<Self>, VaultError> {
        match self.status.as_u16() {
            200..300 => Ok(Some(self)),
            404 => Ok(self.has_metadata().then_some(self)),
            403 => Err(VaultError::Denied),
            429 => Err(VaultError::Throttled),
            // One that is in standby sends to its leader, and the operator follows nobody.
            307 | 503 => Err(VaultError::Sealed),
            code @ 500.. => Err(VaultError::Server(code)),
            code => Err(VaultError::Invalid(code)),
        }
    }

    fn has_metadata(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Whole {
            data: Option<Data>,
        }
        #[derive(serde::Deserialize)]
        struct Data {
            metadata: Option<serde::de::IgnoredAny>,
        }
        let whole = serde_json::from_slice(&self.body).ok();
        whole.and_then(|whole: Whole| whole.data?.metadata).is_some()
    }

    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The answer to a question that is not about values.
    pub fn json(&self) -> Result<Value, VaultError> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(|_| VaultError::Unreachable("the answer is no JSON".to_owned()))
    }

    /// `data.password`, read where it stands.
    pub fn password(&self) -> Option<SecretValue> {
        #[derive(serde::Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            data: Data<'a>,
        }
        #[derive(serde::Deserialize)]
        struct Data<'a> {
            #[serde(borrow)]
            password: std::borrow::Cow<'a, str>,
        }
        let whole: Whole<'_> = serde_json::from_slice(&self.body).ok()?;
        Some(SecretValue::new(whole.data.password.into_owned()))
    }

    /// `data.data` of a secret, these keys alone, each as it stands there.
    pub fn values(&self, keys: &BTreeSet<String>) -> Result<Vec<(String, SecretJson)>, VaultError> {
        #[derive(serde::Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            data: Data<'a>,
        }
        #[derive(serde::Deserialize)]
        struct Data<'a> {
            #[serde(borrow)]
            data: Option<BTreeMap<String, &'a RawValue>>,
        }
        let whole: Whole<'_> = serde_json::from_slice(&self.body).map_err(|_| VaultError::Invalid(200))?;
        let asked = whole.data.data.into_iter().flatten().filter(|(key, _)| keys.contains(key));
        Ok(asked.map(|(key, value)| (key, SecretJson::raw(value))).collect())
    }

    /// `auth.client_token` and for how many seconds it is good.
    pub fn login(&self) -> Option<(SecretValue, u64)> {
        #[derive(serde::Deserialize)]
        struct Whole {
            auth: Auth,
        }
        #[derive(serde::Deserialize)]
        struct Auth {
            client_token: String,
            lease_duration: u64,
        }
        let whole: Whole = serde_json::from_slice(&self.body).ok()?;
        Some((SecretValue::new(whole.auth.client_token), whole.auth.lease_duration))
    }
}
