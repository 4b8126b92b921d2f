//! What environments that are gone left in Vault is found, and their access ended.

use std::{collections::BTreeSet, time::Duration};

use kube::{Api, Client, core::ObjectMeta};

use super::{EnvironmentController, Keeper, policy_path};
use crate::{
    api::{FINALIZER, PlatformEnvironment},
    domain::vault::{CopyLogin, PREFIX, Place},
    kube_ext::key::ObjectKey,
    vault::VaultError,
};

impl Keeper {
    /// Takes away the access of environments that are gone: policies that carry our mark, and their roles. Values stay: an environment
    /// that seems to be gone may come back from a backup. What an operator left that died while it copied a secret goes too.
    ///
    /// Whether nothing is left that should have gone.
    async fn sweep(&self, client: &Client, roles: &BTreeSet<String>) -> Result<bool, VaultError> {
        let mut all_gone = true;
        for name in self.vault.list("sys/policies/acl").await? {
            // Those of environments that are there need not be read.
            if !name.starts_with(&format!("{PREFIX}-")) || roles.contains(&name) {
                continue;
            }
            let policy = match self.vault.read(&policy_path(&name)).await {
                Ok(policy) => policy.unwrap_or_default(),
                Err(error @ VaultError::Down { .. }) => return Err(error),
                Err(error) => {
                    // One that cannot be read keeps no other one from its end.
                    tracing::warn!("cannot see whose policy {name} is: Vault {error}");
                    all_gone = false;
                    continue;
                }
            };
            let place = policy["policy"].as_str().and_then(|text| Place::of_policy(text, &self.settings));
            let Some(place) = place else { continue };
            if name == CopyLogin::name(&place) {
                if !self.copying().contains(&name) {
                    all_gone &= self.end_access(&name).await?;
                }
                continue;
            }
            if name != place.role() {
                continue;
            }
            let api: Api<PlatformEnvironment> = Api::namespaced(client.clone(), &place.project);
            let live = api.get_metadata_opt(&place.environment).await;
            // The cache may be behind; and who cannot be asked may well be there.
            let gone = |live: &ObjectMeta| live.uid.as_ref() != Some(&place.uid) || is_let_go(live);
            let Ok(live) = live else {
                all_gone = false;
                continue;
            };
            if !live.is_none_or(|live| gone(&live.metadata)) {
                continue;
            }
            if !self.end_access(&name).await? {
                all_gone = false;
                continue;
            }
            tracing::warn!(
                "removed role and policy {name} in Vault: the environment {}/{} is gone; its values are still at {}/{}",
                place.project,
                place.environment,
                self.settings.mount,
                place.prefix()
            );
        }
        Ok(all_gone)
    }

    /// Removes role and policy. What cannot be removed keeps nothing else from its end. Whether both are gone.
    async fn end_access(&self, name: &str) -> Result<bool, VaultError> {
        let mut gone = true;
        for path in [self.role_path(name), policy_path(name)] {
            match self.vault.delete(&path).await {
                Ok(_) => {}
                Err(error @ VaultError::Down { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!("cannot remove what nobody needs any more, {path}: Vault {error}");
                    gone = false;
                }
            }
        }
        Ok(gone)
    }
}

impl EnvironmentController {
    /// Looks once in a check interval, for ever.
    pub(super) async fn sweep_now_and_then(&self, keeper: &Keeper) {
        let mut reached = false;
        let soon = keeper.settings.check_interval.min(Duration::from_mins(1));
        loop {
            let mut live = vec![];
            self.world.environments.for_each(|key, held| live.push((key.clone(), held.stamp.uid.to_string())));
            let is_kept = |(key, _): &(ObjectKey, String)| {
                self.world.environments.valid(key).is_none_or(|environment| !is_let_go(&environment.metadata))
            };
            let role = |(key, uid): (ObjectKey, String)| Place::of(&key.namespace, &key.name, &uid).role();
            let roles = live.into_iter().filter(is_kept).map(role).collect();
            let pause = match keeper.sweep(self.executor.client(), &roles).await {
                Ok(all_gone) => {
                    if !reached {
                        reached = true;
                        tracing::info!("Vault at {} is reached, and the operator is logged in", keeper.vault.address());
                    }
                    if all_gone { keeper.settings.check_interval } else { soon }
                }
                Err(error) => {
                    let why = match &error {
                        VaultError::Down { why, .. } => why.clone(),
                        error => format!("Vault {error}"),
                    };
                    tracing::warn!("cannot look for what environments that are gone left: {why}");
                    soon
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// Somebody took our finalizer off while it was being deleted: nobody takes its place away any more, whoever else holds it.
fn is_let_go(metadata: &ObjectMeta) -> bool {
    let ours = metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    metadata.deletion_timestamp.is_some() && !ours
}
