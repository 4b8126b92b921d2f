//! What is found out about Vault and secrets operators before the controllers begin.

use std::{sync::Arc, time::Duration};

use kube::Client;
use tracing::{info, warn};

use super::process::{Process, RunError};
use crate::{
    config::vault::{Auth, Bringer},
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
    let operator = match config.secrets_operator {
        Bringer::None => SecretsOperator::None,
        Bringer::ExternalSecrets => config.external_secrets(),
        Bringer::VaultSecrets => SecretsOperator::VaultSecrets,
        Bringer::Auto => {
            let candidates = [config.external_secrets(), SecretsOperator::VaultSecrets];
            let operator = installed(&process.client, &candidates).await;
            process.end_when(until_other(process.client.clone(), candidates, operator.clone()));
            operator
        }
    };
    info!("secrets operator: {}", name(&operator));
    Ok(Some(Connected { vault, settings: config.settings(ca, operator) }))
}

fn name(operator: &SecretsOperator) -> &'static str {
    match operator {
        SecretsOperator::None => "none; applications ask Vault themselves",
        SecretsOperator::ExternalSecrets(..) => "External Secrets",
        SecretsOperator::VaultSecrets => "Vault Secrets Operator",
    }
}

/// The first of these whose kinds are all served.
async fn installed(client: &Client, candidates: &[SecretsOperator]) -> SecretsOperator {
    for candidate in candidates {
        if is_served(client, candidate).await {
            return candidate.clone();
        }
    }
    SecretsOperator::None
}

/// Ends when another secrets operator is the first one that is installed: not before two looks in a row have found that, since its
/// kinds come one after the other.
async fn until_other<const N: usize>(
    client: Client,
    candidates: [SecretsOperator; N],
    operator: SecretsOperator,
) -> String {
    let mut before = operator.clone();
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let now = installed(&client, &candidates).await;
        if now != operator && now == before {
            return format!("the secrets operator was {} and is {}", name(&operator), name(&now));
        }
        before = now;
    }
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
