//! What people are told about an environment's secrets.

use crate::{
    api::{
        SecretState, SecretStatus, VaultLocation,
        condition::{self, Reason},
    },
    domain::{
        environment::plan::Hold,
        names::some_of,
        vault::{
            Found, VaultSettings,
            secrets::{Forbidden, Secrets},
        },
    },
};

/// What is asked for and not allowed.
pub(super) fn stalled(forbidden: &Forbidden) -> Hold {
    Hold::stalled(Reason::InvalidSpec, condition::SECRETS_READY, forbidden.to_string())
}

/// What only people can change about the secrets, although policy, role and objects are as they should be.
pub(super) fn shortcoming(settings: &VaultSettings, secrets: &Secrets, found: &Found) -> Option<Hold> {
    if let Some(forbidden) = &secrets.forbidden {
        return Some(stalled(forbidden));
    }
    let waiting = |reason, message| Some(Hold::waiting(reason, condition::SECRETS_READY, message));
    if let Some(message) = missing_message(settings, secrets, found) {
        return waiting(Reason::SecretsMissing, message);
    }
    if settings.installed || secrets.status.is_empty() {
        return None;
    }
    let message = format!(
        "In the cluster {} is not installed, so nobody brings the environment's secrets into its namespace. Install it, or choose \
         another one (--secrets-operator, in the chart secretsOperator.kind). It goes on by itself then",
        settings.secrets_operator.name(),
    );
    waiting(Reason::SecretsOperatorMissing, message)
}

/// Which secrets have no value, and who has to put one where; `None` if all have one.
fn missing_message(settings: &VaultSettings, secrets: &Secrets, found: &Found) -> Option<String> {
    // Of what could not be looked at nobody knows. What is made of such a one waits for it.
    let unread = |secret: &SecretStatus| {
        let base = secrets.waiting.get(&secret.path);
        found.unread.contains(&secret.path) || base.is_some_and(|base| found.unread.contains(base))
    };
    let missing = secrets.status.iter().filter(|secret| secret.state != SecretState::Ready && !unread(secret));
    let (waiting, here): (Vec<_>, Vec<_>) = missing.partition(|secret| secrets.waiting.contains_key(&secret.path));
    let mut sentences = vec![];
    if let Some(first) = here.first() {
        let verb = if secrets.there.contains(&first.path) { "patch" } else { "put" };
        let (which, rest) = match here.len() {
            1 => ("Put it there with", ""),
            _ => ("Put them there, the first for example with", ". status.secrets says where each belongs"),
        };
        sentences.push(format!(
            "Secrets have no value in Vault: {}. {which} bao kv {verb} -mount={} {} {}=-{rest}",
            names(&here),
            settings.mount,
            first.path,
            first.key,
        ));
    }
    if let Some(base) = waiting.first().and_then(|first| secrets.waiting.get(&first.path)) {
        sentences.push(format!(
            "Secrets wait for a value to copy: {}. Put it into the base's secret, {base} for the first one, and not here: what is there \
             is not copied",
            names(&waiting),
        ));
    }
    (!sentences.is_empty()).then(|| sentences.join(". "))
}

fn names(secrets: &[&SecretStatus]) -> String {
    let name = |secret: &&SecretStatus| match secret.state {
        SecretState::Lost => format!("{} (had one before)", secret.name),
        _ => secret.name.clone(),
    };
    some_of(&secrets.iter().map(name).collect::<Vec<_>>())
}

/// Vault was used, and is not any more.
pub(super) fn not_configured(place: &VaultLocation) -> String {
    format!(
        "The environment has a place in Vault ({}/{}, role and policy {}), and the operator is not told of Vault any more, so that \
         nobody looks after it. Set --vault-address (vault.address) again; or, if that Vault is gone for good, --vault-abandon \
         (vault.abandon)",
        place.mount, place.prefix, place.role,
    )
}
