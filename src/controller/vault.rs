//! What is found out about Vault and secrets operators before the controllers begin.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use kube::Client;
use tracing::{info, warn};

use super::process::{Process, RunError};
use crate::{
    config::vault::{LoginMethod, SecretsOperatorKind, VaultConfig},
    domain::{
        environment::children::ChildKind,
        vault::{SecretsOperator, VaultSettings},
    },
    kube_ext::errors::describe,
    vault::{SetupError, Vault},
};

/// After a failed question to the API server.
const AGAIN: Duration = Duration::from_secs(2);
/// How often to look whether what was found at the start is so still.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A Vault, and how it is used.
pub(super) struct Connected {
    pub vault: Arc<Vault>,
    pub settings: VaultSettings,
}

/// Who brings secrets into namespaces. `None` if the process shall end before that is known.
pub(super) async fn choose(process: &mut Process) -> Option<Chosen> {
    let (client, config) = (process.client.clone(), process.config.clone());
    let candidates = candidates(&config.vault);
    let chosen = process.first(Chosen::of(&client, &candidates)).await?;
    if !candidates.is_empty() {
        info!("secrets operator: {chosen}");
        process.end_when(chosen.clone().until_other(client, candidates));
    }
    Some(chosen)
}

/// `None` where Vault is not used. Does not ask Vault itself: one that is down at the start is as one that is down later.
pub(super) fn connect(process: &mut Process, chosen: Chosen) -> Result<Option<Connected>, RunError> {
    let config = process.config.clone();
    let config = &config.vault;
    let Some(access) = config.access() else { return Ok(None) };
    if config.vault_allow_copy && config.vault_login_method != LoginMethod::Kubernetes {
        return Err(SetupError::Copy.into());
    }
    let vault = Arc::new(Vault::new(&access, process.metrics.clone())?);
    let mut ca = String::new();
    if let Some(file) = access.ca {
        ca = std::fs::read_to_string(&file)
            .map_err(|error| SetupError::Tls(format!("cannot read {}: {error}", file.display())))?;
        process.end_when(until_rewritten(file, ca.clone()));
    }
    if access.address.starts_with("http://") {
        warn!("values go to and from {} unencrypted: give vault.address as https", access.address);
    }
    let settings = config.settings(ca, chosen.operator, chosen.installed);
    Ok(Some(Connected { vault, settings }))
}

/// Ends when a file says something else: what is in it stands in objects of every environment.
async fn until_rewritten(file: PathBuf, text: String) -> String {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        if std::fs::read_to_string(&file).is_ok_and(|now| now != text) {
            return format!("the certificate authority in {} is another one", file.display());
        }
    }
}

/// Who may bring secrets: the first one that is installed, or else the last one that is named. Nobody where Vault is not used.
fn candidates(config: &VaultConfig) -> Vec<SecretsOperator> {
    if config.vault_address.is_none() {
        return vec![];
    }
    match config.secrets_operator {
        SecretsOperatorKind::None => vec![],
        SecretsOperatorKind::ExternalSecrets => vec![config.external_secrets()],
        SecretsOperatorKind::VaultSecrets => vec![SecretsOperator::VaultSecrets],
        SecretsOperatorKind::Auto => {
            vec![config.external_secrets(), SecretsOperator::VaultSecrets, SecretsOperator::None]
        }
    }
}

/// Who brings secrets.
#[derive(Clone, PartialEq)]
pub(super) struct Chosen {
    operator: SecretsOperator,
    installed: bool,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let installed = match (&self.operator, self.installed) {
            (SecretsOperator::None, _) => "",
            (_, true) => " (installed)",
            (_, false) => " (not installed)",
        };
        write!(f, "{}{installed}", self.operator.name())
    }
}

impl Chosen {
    async fn of(client: &Client, candidates: &[SecretsOperator]) -> Self {
        for candidate in candidates {
            if is_served(client, candidate).await {
                return Self { operator: candidate.clone(), installed: true };
            }
        }
        match candidates.last() {
            Some(last) => Self { operator: last.clone(), installed: false },
            None => Self { operator: SecretsOperator::None, installed: true },
        }
    }

    /// Ends when the choice is another one: not before two looks in a row have found that, since kinds come one after the other.
    async fn until_other(self, client: Client, candidates: Vec<SecretsOperator>) -> String {
        let mut before = self.clone();
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let now = Self::of(&client, &candidates).await;
            if now != self && now == before {
                return format!("the secrets operator was {self}, and is {now}");
            }
            before = now;
        }
    }
}

/// Whether all kinds of it are; nobody needs none.
async fn is_served(client: &Client, operator: &SecretsOperator) -> bool {
    let Some(kind) = ChildKind::of_secrets(operator).first() else { return true };
    loop {
        match client.list_api_group_resources(kind.api_version()).await {
            Ok(served) => {
                let has = |kind: &ChildKind| served.resources.iter().any(|found| found.name == kind.plural());
                return ChildKind::of_secrets(operator).iter().all(has);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => return false,
            Err(error) => {
                warn!("cannot find out whether a secrets operator is installed: {}", describe(&error));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
