//! What is found out about Vault and secrets operators before the controllers begin.

use std::{fmt, sync::Arc, time::Duration};

use kube::Client;
use tracing::{info, warn};

use super::process::{Process, RunError};
use crate::{
    config::vault::{Auth, Bringer, VaultConfig},
    domain::{
        environment::children::ChildKind,
        vault::{SecretsOperator, VaultSettings},
    },
    kube_ext::errors::describe,
    vault::{SetupError, Vault},
};

/// After a failed question to the API server.
const AGAIN: Duration = Duration::from_secs(2);
/// How often to look whether another secrets operator is installed by now.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A Vault, and how it is used.
pub(super) struct Connected {
    pub vault: Arc<Vault>,
    pub settings: VaultSettings,
}

/// `None` where Vault is not used. Does not ask Vault itself: one that is down at the start is as one that is down later.
pub(super) async fn connect(process: &mut Process) -> Result<Option<Connected>, RunError> {
    let config = process.config.clone();
    let config = &config.vault;
    let Some(access) = config.access() else { return Ok(None) };
    if config.vault_allow_copy && config.vault_auth != Auth::Kubernetes {
        return Err(SetupError::Copy.into());
    }
    let vault = Arc::new(Vault::new(&access, process.metrics.clone())?);
    let ca = match &access.ca {
        None => String::new(),
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| SetupError::Tls(format!("cannot read {}: {error}", file.display())))?,
    };
    if access.address.starts_with("http://") {
        warn!("values go to and from {} unencrypted: give vault.address as https", access.address);
    }
    let candidates = candidates(config);
    let chosen = Chosen::of(&process.client, &candidates).await;
    info!("secrets operator: {chosen}");
    let settings = config.settings(ca, chosen.operator.clone(), chosen.installed);
    if !candidates.is_empty() {
        process.end_when(chosen.until_other(process.client.clone(), candidates));
    }
    Ok(Some(Connected { vault, settings }))
}

/// Who may bring secrets: the first one that is installed, or else the last one that is named.
fn candidates(config: &VaultConfig) -> Vec<SecretsOperator> {
    match config.secrets_operator {
        Bringer::None => vec![],
        Bringer::ExternalSecrets => vec![config.external_secrets()],
        Bringer::VaultSecrets => vec![SecretsOperator::VaultSecrets],
        Bringer::Auto => vec![config.external_secrets(), SecretsOperator::VaultSecrets, SecretsOperator::None],
    }
}

/// Who brings secrets.
#[derive(Clone, PartialEq)]
struct Chosen {
    operator: SecretsOperator,
    installed: bool,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = if self.installed { "" } else { ", which is not installed" };
        write!(f, "{}{missing}", self.operator.name())
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
