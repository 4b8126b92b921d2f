//! What went wrong in Vault, in words for people, with what they can do about it.

use jiff::Timestamp;

use super::Keeper;
use crate::{
    domain::vault::Trouble,
    kube_ext::key::ObjectKey,
    vault::{VaultError, Waiting},
};

/// What helps against most refusals.
const WRITE_POLICY: &str = "Write the policy that `environment-manager vault-policy` prints with the operator's own flags (helm's notes \
                            have the command)";

impl Keeper {
    /// What went wrong when the operator wanted to do `what`, and has since this moment. If all of Vault is down, the environment is
    /// told when it is back.
    pub(super) fn trouble(&self, key: &ObjectKey, what: &str, error: &VaultError, since: Timestamp) -> Trouble {
        let refused = error.is_refusal();
        let VaultError::Down { why, .. } = error else {
            let address = self.vault.address();
            let message = format!("Vault at {address} {error} when the operator wants to {what}. {}", remedy(error));
            return Trouble { down: false, refused, message, since };
        };
        if self.vault.wait(key.clone()) == Waiting::IsBack {
            self.trigger.now(key.clone());
        }
        let message = if refused {
            format!("{why}. {WRITE_POLICY}, and see to the operator's role and the mounts. It goes on by itself then")
        } else {
            format!("{why}. It goes on by itself when Vault is back")
        };
        Trouble { down: true, refused, message, since }
    }
}

/// What helps against an error of one path.
fn remedy(error: &VaultError) -> String {
    match error {
        VaultError::Denied => format!("{WRITE_POLICY}, and give it to the operator's role"),
        VaultError::Mount(_) => format!("See to vault.mount (--vault-mount). {WRITE_POLICY}"),
        VaultError::AuthMount(_) => format!("See to vault.authPath (--vault-auth-path). {WRITE_POLICY}"),
        VaultError::NotMade => format!(
            "{WRITE_POLICY}; or, if that is written, remove what there is of the secret without a version (bao kv metadata get, and delete)"
        ),
        VaultError::Login(_) => "See to it that its role exists and takes what the operator logs in with (vault.login): its ServiceAccount \
                                 and audience, or role id and secret id. With a ServiceAccount, see also whether Vault reaches the cluster \
                                 and may review tokens (kubernetes_host, token_reviewer_jwt)"
            .to_owned(),
        VaultError::TooLarge => "A secret there has too much in it: make it smaller".to_owned(),
        VaultError::TooDeep(_) => "Remove what lies that deep by hand".to_owned(),
        VaultError::Invalid(_) => "See to it that the KV mount (version 2), the Kubernetes auth mount and the password policy exist".to_owned(),
        VaultError::Late(_) => "It goes on where it was".to_owned(),
        _ => "It is tried again".to_owned(),
    }
}
