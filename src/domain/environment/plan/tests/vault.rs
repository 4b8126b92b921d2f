//! The plan and a Vault as small as the [`World`].

use std::time::Duration;

use super::*;
use crate::{
    api::{DeletionPolicy, EnvironmentClass, SecretState, SecretStrategy, VaultReference, condition::SECRETS_READY},
    domain::{
        environment::{secrets::look_requested, snapshot::VaultView},
        vault::{
            Change, Found, Gone, Look, Place, Query, SecretsOperator, Trouble, VaultSettings, role_digest,
            secrets::BaseSecrets,
        },
    },
};

mod end;
mod kept;
mod made;
mod said;

/// A Vault as the plan sees it.
#[derive(Default)]
pub(super) struct Vault {
    pub policy: Option<String>,
    pub role: Option<serde_json::Value>,
    pub secrets: BTreeMap<String, BTreeSet<String>>,
    pub gone: Gone,
    pub trouble: Option<Trouble>,
    pub base: Option<BaseSecrets>,
    /// The paths that nobody is shown.
    pub unreadable: BTreeSet<String>,
    pub in_line: bool,
    /// What is remembered between reconciles.
    pub found: Option<Found>,
}

impl Vault {
    pub fn view<'a>(&'a self, found: Option<&'a Found>) -> VaultView<'a> {
        VaultView {
            found,
            gone: self.gone,
            trouble: self.trouble.as_ref(),
            in_line: self.in_line,
            base: self.base.clone(),
        }
    }

    pub fn look(
        &self,
        query: Query,
        before: Option<&Found>,
        environment: &PlatformEnvironment,
        now: Timestamp,
    ) -> Found {
        let look = |path: &String| (path.clone(), self.secrets.get(path).cloned());
        let role = self.role.as_ref().map(|role| role_digest(role, role));
        let policy = self.policy.as_ref().map(|text| Digest::of(text.as_bytes()));
        let unread: BTreeSet<String> = query.paths.intersection(&self.unreadable).cloned().collect();
        let look = Look {
            access: (!query.secrets_only).then_some((policy, role)),
            secrets: query.paths.difference(&unread).map(look).collect(),
            trouble: (!unread.is_empty()).then(|| trouble(false, true, "it does not show that")),
            unread,
        };
        Found::new(query, look, look_requested(environment).map(str::to_owned), before, now)
    }

    pub fn change(&mut self, change: &Change) {
        match change {
            Change::Policy { text, .. } => self.policy = Some(text.clone()),
            Change::Role(role) => self.role = Some(role.clone()),
            Change::Make { path, generate, copy, .. } => {
                assert!(!self.secrets.contains_key(path), "{path} is made once");
                self.secrets.insert(path.clone(), generate | copy);
            }
            Change::RemoveRole => (self.role, self.gone.role) = (None, true),
            Change::RemovePolicy => (self.policy, self.gone.policy) = (None, true),
            Change::RemoveSecrets => {
                self.secrets.clear();
                self.gone.secrets = true;
            }
        }
        let keys = |path| self.secrets.get(path).cloned();
        let made = if let Change::Make { path, .. } = change { keys(path) } else { None };
        self.found = self.found.take().map(|found| found.after(change, made));
    }
}

fn settings(secrets_operator: SecretsOperator) -> VaultSettings {
    VaultSettings { secrets_operator, ..crate::domain::vault::tests::settings() }
}

fn api_key(key: &str) -> Variable {
    let vault = VaultReference { path: "payments".to_owned(), key: key.to_owned() };
    Variable { name: "API_KEY".to_owned(), value: None, vault: Some(vault) }
}

/// A clone of an environment that has `payments` with two keys, one of which a variable refers to.
fn clone_with(base_from: &serde_json::Value, class: &str) -> World {
    let mut world = World::new(&json!({"class": class, "config": {"variables": [api_key("api_key")]}}));
    let mut from = json!({"environment": "dev"});
    from.as_object_mut().unwrap().extend(base_from.as_object().unwrap().clone());
    world.environment().spec.base_from = Some(serde_json::from_value(from).unwrap());
    let mut dev = World::clone_of_dev();
    world.base = std::mem::replace(&mut dev.base, Base::Nothing);
    world.base_revision = dev.base_revision;
    world.settings.vault = Some(settings(SecretsOperator::None));
    let place = Place::of("pf-872", "dev", "11111111-dev");
    world.vault.secrets.insert(place.path("payments"), ["api_key".to_owned(), "webhook".to_owned()].into());
    world.vault.base = Some(BaseSecrets { class: EnvironmentClass::Development, place, shared: BTreeSet::new() });
    world
}

/// A look at everything that the newest revision refers to.
fn query_of(world: &World) -> Query {
    let latest = world.revisions.values().last().unwrap().spec.clone();
    let references = crate::domain::vault::secrets::references(&latest.config);
    let paths = world.vault.secrets.keys().cloned().collect();
    Query { config: latest.config_digest, references, paths, secrets_only: false }
}

fn own_path() -> String {
    Place::of("pf-872", "staging", "u-env").path("payments")
}

fn message(world: &World) -> String {
    let status = world.environment.as_ref().unwrap().status.as_ref().unwrap();
    status.conditions.iter().find(|condition| condition.r#type == SECRETS_READY).unwrap().message.clone()
}

fn trouble(down: bool, refused: bool, message: &str) -> Trouble {
    Trouble { down, refused, message: message.to_owned(), since: START }
}

fn away() -> Trouble {
    trouble(true, false, "Vault is away")
}
