//! What is found out about Vault and secrets operators before the controllers begin.

use std::{sync::Arc, time::Duration};

use kube::Client;
use tracing::{info, warn};

use super::process::{Process, RunError};
use crate::{
    config::vault::Bringer,
    domain::{
        environment::children::ChildKind,
        vault::{SecretsOperator, VaultSettings},
    },
    kube_ext::errors::describe,
    vault::{SetupError, Vault},
};

/// After a failed question to the API server.
const AGAIN: Duration = Duration::from_secs(2);

/// A Vault, and how it is used.
pub(super) struct Connected {
    pub vault: Arc<Vault>,
    pub settings: VaultSettings,
}

/// `None` where Vault is not used. Does not ask Vault itself: one that is down at the start is as one that is down later.
pub(super) async fn connect(process: &Process) -> Result<Option<Connected>, RunError> {
    let config = &process.config.vault;
    let Some(access) = config.access() else { return Ok(None) };
    let vault = Arc::new(Vault::new(&access, process.metrics.clone())?);
    let ca = match &access.ca {
        None => String::new(),
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| SetupError::Tls(format!("cannot read {}: {error}", file.display())))?,
    };
    let operator = match config.secrets_operator {
        Bringer::None => SecretsOperator::None,
        Bringer::ExternalSecrets => config.external_secrets(),
        Bringer::VaultSecrets => SecretsOperator::VaultSecrets,
        Bringer::Auto => installed(&process.client, [config.external_secrets(), SecretsOperator::VaultSecrets]).await,
    };
    match &operator {
        SecretsOperator::None => info!("no secrets operator: applications ask Vault themselves"),
        SecretsOperator::ExternalSecrets(..) => info!("External Secrets brings secrets into namespaces"),
        SecretsOperator::VaultSecrets => info!("the Vault Secrets Operator brings secrets into namespaces"),
    }
    Ok(Some(Connected { vault, settings: config.settings(ca, operator) }))
}

/// The first of these whose kinds are all served.
async fn installed<const N: usize>(client: &Client, candidates: [SecretsOperator; N]) -> SecretsOperator {
    for candidate in candidates {
        if is_served(client, &candidate).await {
            return candidate;
        }
    }
    SecretsOperator::None
}

async fn is_served(client: &Client, operator: &SecretsOperator) -> bool {
    let Some(kind) = ChildKind::of_secrets(operator).first() else { return false };
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
