//! The plan and Vault: what is made there, what is said of it, and in which order it goes.

use std::time::Duration;

use super::*;
use crate::{
    api::{DeletionPolicy, EnvironmentClass, SecretState, SecretStrategy, VaultReference, condition::SECRETS_READY},
    domain::{
        environment::snapshot::VaultView,
        vault::{
            Change, Found, Gone, Place, SecretsOperator, Trouble, VaultSettings, role_digest, secrets::BaseSecrets,
        },
    },
};

/// A Vault as the plan sees it.
#[derive(Default)]
pub(super) struct Vault {
    pub policy: Option<String>,
    pub role: Option<serde_json::Value>,
    pub secrets: BTreeMap<String, BTreeSet<String>>,
    pub gone: Gone,
    pub trouble: Option<Trouble>,
    pub base: Option<BaseSecrets>,
    /// What is remembered between reconciles.
    pub found: Option<Found>,
}

impl Vault {
    pub fn view<'a>(&'a self, found: Option<&'a Found>) -> VaultView<'a> {
        VaultView { found, gone: self.gone, trouble: self.trouble.as_ref(), base: self.base.clone() }
    }

    pub fn look(
        &self,
        query: Query,
        before: Option<&Found>,
        environment: &PlatformEnvironment,
        now: Timestamp,
    ) -> Found {
        let look = |path: String| (path.clone(), self.secrets.get(&path).cloned());
        let mut secrets =
            before.filter(|_| query.secrets_only).map(|before| before.secrets.clone()).unwrap_or_default();
        secrets.extend(query.paths.into_iter().map(look));
        let requested = environment.metadata.annotations.as_ref();
        Found {
            at: before.filter(|_| query.secrets_only).map_or(now, |before| before.at),
            looked: now,
            requested: requested.and_then(|all| all.get(crate::api::ANNOTATION_LOOK)).cloned(),
            config: query.config,
            references: query.references,
            policy: self.policy.as_ref().map(|text| Digest::of(text.as_bytes())),
            role: self.role.as_ref().map(|role| role_digest(role, role)),
            secrets,
        }
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
        self.found = None;
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

#[test]
fn a_clone_gets_every_key_of_the_secret_anew_and_is_ready() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    assert_ready(&world);
    assert_eq!(world.condition(SECRETS_READY), Some(ConditionStatus::True));
    assert_eq!(world.vault.secrets[&own_path()], ["api_key".to_owned(), "webhook".to_owned()].into());
    let secrets = &world.environment.as_ref().unwrap().status.as_ref().unwrap().secrets;
    assert_eq!((secrets[0].name.as_str(), secrets[0].state), ("API_KEY", SecretState::Ready));
    assert_eq!(secrets[0].strategy, Some(SecretStrategy::Regenerate));
    let order: Vec<usize> = ["write the policy", "write the role", "make the secret"]
        .iter()
        .map(|what| {
            world.journal.iter().position(|write| write.starts_with("vault: ") && write.contains(what)).unwrap()
        })
        .collect();
    assert!(order.is_sorted(), "{:?}", world.journal);
}

#[test]
fn a_secret_that_was_there_and_is_gone_is_not_made_again() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    world.vault.secrets.remove(&own_path());
    for _ in 0..3 {
        world.vault.found = None;
        world.settle();
        assert!(!world.vault.secrets.contains_key(&own_path()), "however often it is looked at");
    }
    assert_eq!(world.condition(SECRETS_READY), Some(ConditionStatus::False));
    assert!(message(&world).contains("API_KEY"), "{}", message(&world));
    assert_eq!(world.environment().status.as_ref().unwrap().secrets[0].state, SecretState::Lost);
    world.vault.secrets.insert(own_path(), ["api_key".to_owned()].into());
    world.vault.found = None;
    world.settle();
    assert_ready(&world);
}

#[test]
fn a_secret_that_was_taken_away_whole_is_not_made_again_although_one_of_its_keys_never_was_there() {
    let mut world = clone_with(&json!({}), "Staging");
    world.environment().spec.config.variables.push(Variable { name: "HOOK".to_owned(), ..api_key("webhook") });
    // Somebody put it there before the environment was made, with one of two keys.
    world.vault.secrets.insert(own_path(), ["api_key".to_owned()].into());
    world.settle();
    let secrets = world.environment().status.clone().unwrap().secrets;
    let states: Vec<SecretState> = secrets.iter().map(|secret| secret.state).collect();
    assert_eq!(states, [SecretState::Ready, SecretState::Missing]);
    world.vault.secrets.remove(&own_path());
    world.vault.found = None;
    world.settle();
    assert!(!world.vault.secrets.contains_key(&own_path()), "its value is somewhere, and not ours to replace");
}

#[test]
fn a_secret_that_is_lost_stays_where_it_was_brought() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settings.vault = Some(settings(SecretsOperator::ExternalSecrets("eso".to_owned(), "eso".to_owned())));
    world.settle();
    let brought = ChildId { kind: ChildKind::ExternalSecret, name: "secret-payments".to_owned() };
    let before = world.children[&brought].mark;
    world.vault.secrets.remove(&own_path());
    world.vault.found = None;
    world.settle();
    assert_eq!(world.children.get(&brought).map(|child| child.mark), Some(before), "who runs has it still");
    let secrets = world.environment().status.clone().unwrap().secrets;
    assert_eq!((secrets[0].state, secrets[0].secret.as_deref()), (SecretState::Lost, Some("secret-payments")));
}

#[test]
fn a_secret_with_a_key_that_is_not_allowed_is_not_made_in_part() {
    let keys = json!({"secretKeys": [{"name": "API_KEY", "strategy": "Copy"}]});
    let mut world = clone_with(&keys, "Staging");
    world.environment().spec.config.variables.push(Variable { name: "HOOK".to_owned(), ..api_key("webhook") });
    world.settle();
    assert!(!world.vault.secrets.contains_key(&own_path()));
    // It is allowed by now.
    world.settings.vault.as_mut().unwrap().allow_copy = true;
    world.settle();
    assert_ready(&world);
    assert_eq!(world.vault.secrets[&own_path()], ["api_key".to_owned(), "webhook".to_owned()].into());
}

#[test]
fn one_secret_that_cannot_be_made_keeps_another_one_from_nobody_and_is_tried_again() {
    let mut world = clone_with(&json!({"secretKeys": [{"name": "FILLED", "strategy": "Placeholder"}]}), "Staging");
    world.settings.vault = Some(settings(SecretsOperator::ExternalSecrets("eso".to_owned(), "eso".to_owned())));
    let mut filled = Variable { name: "FILLED".to_owned(), ..api_key("k") };
    filled.vault.as_mut().unwrap().path = "filled".to_owned();
    world.environment().spec.config.variables.push(filled);
    let place = Place::of("pf-872", "staging", "u-env");
    world.vault.secrets.insert(place.path("filled"), ["k".to_owned()].into());
    world.settle();
    world.children.retain(|id, _| !id.kind.brings_secrets());
    let found = world.vault.look(query_of(&world), None, world.environment.as_ref().unwrap(), world.now);
    world.vault.found = Some(found);
    world.vault.trouble = Some(Trouble { down: false, refused: true, message: "no password policy".to_owned() });
    let rest = world.settle().unwrap();
    let brought = ChildId { kind: ChildKind::ExternalSecret, name: "secret-filled".to_owned() };
    assert!(world.children.contains_key(&brought));
    assert!(rest.wake.unwrap() <= START + Duration::from_secs(30));
}

#[test]
fn a_variable_that_is_new_is_not_ready_although_another_one_has_its_value() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    world.edit(|environment| {
        environment.spec.config.variables.push(Variable { name: "ALIAS".to_owned(), ..api_key("api_key") });
    });
    world.vault.found = None;
    world.vault.trouble = Some(Trouble { down: true, refused: false, message: "Vault is away".to_owned() });
    world.settle();
    assert_eq!(world.condition(READY), Some(ConditionStatus::False), "nothing brings it under its name yet");
}

#[test]
fn a_secret_whose_newest_version_was_deleted_is_waited_for() {
    let mut world = clone_with(&json!({}), "Staging");
    // Vault says of it that it is there, and has no keys.
    world.vault.secrets.insert(own_path(), BTreeSet::new());
    world.settle();
    assert!(world.vault.secrets[&own_path()].is_empty(), "nothing is written over it");
    assert!(message(&world).contains("API_KEY"), "{}", message(&world));
}

#[test]
fn applications_that_ask_vault_themselves_reach_it_where_it_is_in_the_cluster() {
    let rule = ChildId { kind: ChildKind::NetworkPolicy, name: "allow-vault".to_owned() };
    let none = SecretsOperator::None;
    let external = SecretsOperator::ExternalSecrets("eso".to_owned(), "eso".to_owned());
    for (address, operator, reached) in [
        ("https://vault.secrets.svc:8200", &none, true),
        ("https://vault.secrets.svc.cluster.local", &none, true),
        ("https://vault.secrets.svc:8200", &external, false),
        ("https://vault.example.com:8200", &none, false),
        ("https://vault:8200", &none, false),
        ("https://10.0.0.1:8200", &none, false),
    ] {
        let mut world = clone_with(&json!({}), "Staging");
        let address = address.to_owned();
        world.settings.vault = Some(VaultSettings { address: address.clone(), ..settings(operator.clone()) });
        world.settle();
        assert_eq!(world.children.contains_key(&rule), reached, "{address}");
    }
}

#[test]
fn a_placeholder_waits_for_somebody_and_names_what_is_missing() {
    let mut world = clone_with(&json!({"secretKeys": [{"name": "API_KEY", "strategy": "Placeholder"}]}), "Staging");
    let rest = world.settle().unwrap();
    assert_eq!(world.condition(READY), Some(ConditionStatus::False));
    assert!(message(&world).contains("API_KEY") && message(&world).contains(&own_path()), "{}", message(&world));
    assert!(rest.wake.unwrap() <= START + Duration::from_secs(30), "it looks again by itself");
    world.vault.secrets.insert(own_path(), ["api_key".to_owned()].into());
    world.vault.found = None;
    world.settle();
    assert_ready(&world);
}

#[test]
fn a_copy_that_waits_is_judged_anew_when_its_base_is_another_environment_by_now() {
    let mut world = clone_with(&json!({"secrets": "Copy"}), "Development");
    world.settings.vault.as_mut().unwrap().allow_copy = true;
    let base = world.vault.base.clone().unwrap().place.path("payments");
    let keys = world.vault.secrets.remove(&base).unwrap();
    world.settle();
    let place = Place::of("pf-872", "dev", "22222222-production");
    world.vault.secrets.insert(place.path("payments"), keys);
    world.vault.base = Some(BaseSecrets { class: EnvironmentClass::Production, place, shared: BTreeSet::new() });
    world.vault.found = None;
    world.settle();
    assert!(!world.vault.secrets.contains_key(&own_path()), "nothing of Production's comes here");
    assert!(message(&world).contains("nothing is shared between Production and other classes"), "{}", message(&world));
}

#[test]
fn a_placeholder_beside_another_key_of_the_same_secret_stays_empty() {
    for (strategy, allowed) in [("Regenerate", false), ("Copy", true)] {
        let keys = json!([{"name": "WEBHOOK", "strategy": "Placeholder"}]);
        let mut world = clone_with(&json!({"secrets": strategy, "secretKeys": keys}), "Staging");
        world.settings.vault.as_mut().unwrap().allow_copy = allowed;
        let hook = Variable { name: "WEBHOOK".to_owned(), ..api_key("webhook") };
        world.environment().spec.config.variables.push(hook);
        world.settle();
        assert_eq!(world.vault.secrets[&own_path()], ["api_key".to_owned()].into(), "{strategy}");
        assert!(message(&world).contains("WEBHOOK") && !message(&world).contains("API_KEY"), "{}", message(&world));
    }
}

#[test]
fn a_copy_is_made_as_soon_as_there_is_something_to_copy() {
    let mut world = clone_with(&json!({"secrets": "Copy"}), "Staging");
    world.settings.vault.as_mut().unwrap().allow_copy = true;
    let base = world.vault.base.clone().unwrap().place.path("payments");
    let keys = world.vault.secrets.remove(&base).unwrap();
    let rest = world.settle().unwrap();
    // What was found is remembered, and only what is missing is looked for again.
    let latest = world.revisions[&RevisionNumber::FIRST].spec.clone();
    let references = crate::domain::vault::secrets::references(&latest.config);
    let query = Query {
        config: latest.config_digest,
        references,
        paths: [base.clone(), own_path()].into(),
        secrets_only: false,
    };
    world.vault.found = Some(world.vault.look(query, None, world.environment.as_ref().unwrap(), world.now));
    world.vault.secrets.insert(base, keys);
    world.now = rest.wake.unwrap();
    world.settle();
    assert!(world.vault.secrets.contains_key(&own_path()));
}

#[test]
fn the_names_of_other_keys_do_not_cross_productions_border_and_very_many_do_not_come_along() {
    let mut world = clone_with(&json!({}), "Staging");
    world.vault.base.as_mut().unwrap().class = EnvironmentClass::Production;
    world.settle();
    assert_eq!(world.vault.secrets[&own_path()], ["api_key".to_owned()].into());
    let mut many = clone_with(&json!({}), "Staging");
    let base = many.vault.base.clone().unwrap().place.path("payments");
    let keys = (0..900).map(|number| format!("k{number}")).chain(["api_key".to_owned()]);
    many.vault.secrets.insert(base, keys.collect());
    many.settle();
    assert_eq!(many.vault.secrets[&own_path()], ["api_key".to_owned()].into());
}

#[test]
fn a_name_that_no_secret_has_keeps_all_from_being_made_and_is_named() {
    let keys = json!({"secretKeys": [{"name": "API_KYE", "strategy": "Placeholder"}]});
    let mut world = clone_with(&keys, "Staging");
    world.settle();
    assert!(!world.vault.secrets.contains_key(&own_path()), "a placeholder was meant, perhaps");
    assert_eq!(world.condition(STALLED), Some(ConditionStatus::True));
    assert!(
        message(&world).contains("no variable API_KYE") && message(&world).contains("API_KEY"),
        "{}",
        message(&world)
    );
    // Nor is it made by the way, with another revision.
    let own = Variable { name: "OWN".to_owned(), value: Some("1".to_owned()), vault: None };
    world.edit(|environment| environment.spec.config.variables.push(own));
    world.settle();
    assert!(!world.vault.secrets.contains_key(&own_path()));

    // A name that was right once stays right, whatever becomes of the variable.
    let keys = json!({"secrets": "Copy", "secretKeys": [{"name": "HOOK", "strategy": "Placeholder"}]});
    let mut plain = clone_with(&keys, "Staging");
    plain.settings.vault.as_mut().unwrap().allow_copy = true;
    let mut hook = Variable { name: "HOOK".to_owned(), ..api_key("k") };
    hook.vault.as_mut().unwrap().path = "hook".to_owned();
    plain.environment().spec.config.variables.push(hook);
    let base = plain.vault.base.clone().unwrap().place.path("payments");
    let there = plain.vault.secrets.remove(&base).unwrap();
    plain.settle();
    plain.edit(|environment| {
        let hook = environment.spec.config.variables.last_mut().unwrap();
        (hook.value, hook.vault) = (Some("plain".to_owned()), None);
    });
    plain.settle();
    plain.vault.secrets.insert(base, there);
    plain.vault.found = None;
    plain.settle();
    assert!(plain.vault.secrets.contains_key(&own_path()), "{}", message(&plain));

    // What was made stays as it is when its variable goes.
    let mut later = clone_with(&json!({"secretKeys": [{"name": "API_KEY", "strategy": "Regenerate"}]}), "Staging");
    later.settle();
    later.edit(|environment| environment.spec.config.variables.clear());
    later.vault.found = None;
    later.settle();
    assert_ready(&later);
}

#[test]
fn what_is_not_allowed_is_said_although_vault_is_away() {
    let mut world = clone_with(&json!({"secrets": "Copy"}), "Production");
    world.vault.trouble = Some(Trouble { down: true, refused: false, message: "Vault is away".to_owned() });
    world.settle();
    assert_eq!(world.condition(STALLED), Some(ConditionStatus::True), "it does not go on when Vault is back");
    assert!(message(&world).contains("vault.acrossProduction"), "{}", message(&world));
}

#[test]
fn people_are_told_where_to_put_a_value_so_that_it_helps() {
    let mut world = clone_with(&json!({"secretKeys": [{"name": "API_KEY", "strategy": "Placeholder"}]}), "Staging");
    world.settle();
    assert!(message(&world).contains(&format!("bao kv put -mount=kv {} api_key=-", own_path())), "{}", message(&world));
    world.vault.secrets.insert(own_path(), ["other".to_owned()].into());
    world.vault.found = None;
    world.settle();
    assert!(message(&world).contains("bao kv patch"), "put would take the other key away: {}", message(&world));

    // What is to be copied is not put here, nor what lies beside it.
    let keys = json!({"secrets": "Copy", "secretKeys": [{"name": "HOOK", "strategy": "Placeholder"}]});
    let mut copy = clone_with(&keys, "Staging");
    copy.settings.vault.as_mut().unwrap().allow_copy = true;
    copy.environment().spec.config.variables.push(Variable { name: "HOOK".to_owned(), ..api_key("webhook") });
    let base = copy.vault.base.clone().unwrap().place.path("payments");
    copy.vault.secrets.remove(&base);
    copy.settle();
    let said = message(&copy);
    assert!(said.contains("API_KEY, HOOK") && said.contains(&base) && !said.contains("bao kv"), "{said}");
}

#[test]
fn a_secrets_operator_that_is_not_installed_is_said_and_nothing_else_waits_for_it() {
    let external = settings(SecretsOperator::ExternalSecrets("eso".to_owned(), "eso".to_owned()));
    let mut world = clone_with(&json!({}), "Staging");
    world.settings.vault = Some(VaultSettings { installed: false, ..external });
    world.settle();
    assert!(!world.children.keys().any(|id| id.kind.brings_secrets()), "its kinds are not served");
    assert_eq!(world.vault.role.as_ref().unwrap()["bound_service_account_names"], json!(["vault"]));
    assert_eq!(world.condition(CONFIG_READY), Some(ConditionStatus::True));
    assert_eq!(world.condition(SECRETS_READY), Some(ConditionStatus::False));
    assert!(message(&world).contains("External Secrets is not installed"), "{}", message(&world));
    let mut without = World::from_nothing();
    without.settings.vault = world.settings.vault.clone();
    without.settle();
    assert_ready(&without);
}

#[test]
fn a_reference_reads_the_shared_secret_and_no_other_and_copies_nothing() {
    let mut world = clone_with(&json!({"secrets": "Reference"}), "Staging");
    world.vault.secrets.insert("pf/pf-872/shared/payments".to_owned(), ["api_key".to_owned()].into());
    world.settle();
    assert_ready(&world);
    let policy = world.vault.policy.clone().unwrap();
    assert!(policy.contains("path \"kv/data/pf/pf-872/shared/payments\" { capabilities = [\"read\"] }"), "{policy}");
    assert!(!policy.contains("shared/*"), "{policy}");
    assert!(!world.vault.secrets.contains_key(&own_path()));
}

#[test]
fn nothing_is_shared_across_productions_border_unless_a_rule_says_so() {
    for strategy in ["Reference", "Copy"] {
        let mut world = clone_with(&json!({"secrets": strategy}), "Production");
        world.settings.vault.as_mut().unwrap().allow_copy = true;
        world.vault.secrets.insert("pf/pf-872/shared/payments".to_owned(), ["api_key".to_owned()].into());
        world.settle();
        assert_eq!(world.condition(STALLED), Some(ConditionStatus::True), "{strategy}");
        assert!(
            message(&world).contains("nothing is shared between Production and other classes"),
            "{}",
            message(&world)
        );
        assert!(!world.vault.policy.clone().unwrap().contains("shared"));
        assert!(!world.vault.secrets.contains_key(&own_path()));

        let rule = if strategy == "Copy" { SecretStrategy::Copy } else { SecretStrategy::Reference };
        world.settings.vault.as_mut().unwrap().across_production.insert(rule);
        world.settle();
        assert_ready(&world);
    }
    let mut among = clone_with(&json!({"secrets": "Reference"}), "Production");
    among.vault.base.as_mut().unwrap().class = EnvironmentClass::Production;
    among.vault.secrets.insert("pf/pf-872/shared-production/payments".to_owned(), ["api_key".to_owned()].into());
    among.settle();
    assert_ready(&among);
    among.vault.base = None;
    among.vault.found = None;
    among.settle();
    assert_ready(&among);
    // The same, if the base was gone before the value was there.
    let mut late = clone_with(&json!({"secrets": "Reference"}), "Production");
    late.vault.base = None;
    late.settle();
    assert_eq!(late.condition(STALLED), None);
    assert!(message(&late).contains("pf/pf-872/shared-production/payments"), "{}", message(&late));
    let mut back = clone_with(&json!({"secrets": "Reference"}), "Staging");
    back.vault.base.as_mut().unwrap().class = EnvironmentClass::Production;
    back.settle();
    assert_eq!(back.condition(STALLED), Some(ConditionStatus::True), "nor the other way round");
}

#[test]
fn what_the_base_shares_itself_is_not_copied_from_where_it_is_not() {
    let mut world = clone_with(&json!({"secrets": "Copy"}), "Staging");
    world.settings.vault.as_mut().unwrap().allow_copy = true;
    world.vault.base.as_mut().unwrap().shared = ["API_KEY".to_owned()].into();
    world.settle();
    assert!(message(&world).contains("anew with Reference"), "{}", message(&world));
}

#[test]
fn nothing_is_copied_where_the_operator_may_not_read() {
    let mut world = clone_with(&json!({"secrets": "Copy"}), "Staging");
    world.settle();
    assert!(message(&world).contains("--vault-allow-copy"), "{}", message(&world));
    assert!(!world.vault.secrets.contains_key(&own_path()));
    world.settings.vault.as_mut().unwrap().allow_copy = true;
    world.settle();
    assert_ready(&world);
}

#[test]
fn what_somebody_changed_in_vault_is_put_right_at_the_next_look() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    let (policy, role) = (world.vault.policy.clone(), world.vault.role.clone());
    world.vault.policy = Some("path \"*\" { capabilities = [\"sudo\"] }".to_owned());
    world.vault.role = None;
    world.vault.found = None;
    world.settle();
    assert_eq!((world.vault.policy, world.vault.role), (policy, role));
}

#[test]
fn an_environment_that_had_all_keeps_its_state_while_vault_is_away() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    world.vault.trouble = Some(Trouble { down: true, refused: false, message: "Vault is away".to_owned() });
    let rest = world.settle().unwrap();
    assert_ready(&world);
    assert_eq!(world.condition(SECRETS_READY), Some(ConditionStatus::Unknown));
    assert!(!rest.retry, "it is told when Vault is back");
    let said = world.environment.as_ref().unwrap().status.clone();
    world.settle();
    assert_eq!(said, world.environment.as_ref().unwrap().status, "it is said once");

    let mut other = clone_with(&json!({}), "Staging");
    other.vault.trouble = world.vault.trouble.clone();
    other.settle();
    assert_eq!(other.condition(READY), Some(ConditionStatus::False), "one that had none yet is not ready");
    assert_eq!(other.condition(CONFIG_READY), Some(ConditionStatus::True), "its release does not wait");
}

#[test]
fn at_the_end_access_goes_first_and_nothing_is_skipped_while_vault_is_away() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settings.vault = Some(settings(SecretsOperator::ExternalSecrets("eso".to_owned(), "eso".to_owned())));
    world.settle();
    let store = ChildId { kind: ChildKind::SecretStore, name: "vault".to_owned() };
    assert!(world.children.contains_key(&store));
    world.journal.clear();
    world.delete();
    world.vault.trouble = Some(Trouble { down: true, refused: false, message: "Vault is away".to_owned() });
    let rest = world.settle().unwrap();
    assert!(rest.status.conditions.iter().any(|condition| condition.message.contains("Vault is away")));
    assert!(world.children.keys().any(|id| id.kind == ChildKind::Namespace), "the namespace stays");
    world.vault.trouble = None;
    world.settle();
    let stages = [
        "vault: remove the role",
        "vault: remove the policy",
        "vault: remove the secrets",
        "delete Namespace",
        "RemoveFinalizer",
    ];
    let at = |stage: &&str| {
        world.journal.iter().position(|write| write.starts_with(*stage)).unwrap_or_else(|| panic!("{stage}"))
    };
    let order: Vec<usize> = stages.iter().map(at).collect();
    assert!(order.is_sorted(), "{:#?}", world.journal);
    assert!(at(&"delete ExternalSecret") < at(&"delete SecretStore") && at(&"delete SecretStore") < order[0]);
    assert!(world.environment.is_none() && world.vault.policy.is_none() && world.vault.role.is_none());
}

#[test]
fn access_ends_although_what_brings_secrets_cannot_be_deleted() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settings.vault = Some(settings(SecretsOperator::ExternalSecrets("eso".to_owned(), "eso".to_owned())));
    world.settle();
    world.journal.clear();
    world.delete();
    while let Some(Step::Act(actions)) = world.next() {
        if actions.iter().any(|action| matches!(action, Action::Delete(..))) {
            break;
        }
        for action in &actions {
            world.perform(action);
        }
    }
    assert_eq!(world.journal, ["vault: remove the role in Vault", "vault: remove the policy in Vault"]);
    assert!(world.children.keys().any(|id| id.kind == ChildKind::ExternalSecret));
}

#[test]
fn an_operator_that_is_not_told_of_vault_any_more_lets_nobody_go_who_has_a_place_there() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    let (place, secrets) = {
        let status = world.environment().status.clone().unwrap();
        (status.vault.unwrap(), status.secrets)
    };
    world.settings.vault = None;
    world.settle();
    assert_ready(&world);
    let status = world.environment().status.clone().unwrap();
    assert_eq!((status.vault.as_ref(), &status.secrets), (Some(&place), &secrets), "nothing is forgotten");
    assert_eq!(world.condition(SECRETS_READY), Some(ConditionStatus::Unknown));
    assert!(message(&world).contains(&place.role) && message(&world).contains("vault.address"), "{}", message(&world));

    world.delete();
    let rest = world.settle().unwrap();
    let ready = rest.status.conditions.iter().find(|condition| condition.r#type == READY).unwrap();
    assert_eq!(ready.reason, Reason::VaultNotConfigured.as_str());
    assert!(world.children.keys().any(|id| id.kind == ChildKind::Namespace), "the namespace stays");
    world.settings.abandon_vault = true;
    world.settle();
    assert!(world.environment.is_none() && world.vault.policy.is_some(), "it is given up");
}

#[test]
fn a_retained_namespace_keeps_its_secrets_and_nobody_reads_new_ones() {
    let mut world = clone_with(&json!({}), "Staging");
    world.environment().spec.deletion_policy = DeletionPolicy::Retain;
    world.settle();
    world.delete();
    world.settle();
    assert!(world.vault.policy.is_none() && world.vault.role.is_none());
    assert!(world.vault.secrets.contains_key(&own_path()));
}

#[test]
fn the_annotation_has_vault_looked_at_now() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    // What is remembered is true for an hour.
    world.vault.found = Some(world.vault.look(query_of(&world), None, world.environment.as_ref().unwrap(), world.now));
    world.vault.role = None;
    world.settle();
    assert!(world.vault.role.is_none());
    world.environment().metadata.annotations =
        Some([(crate::api::ANNOTATION_LOOK.to_owned(), "now".to_owned())].into());
    world.settle();
    assert!(world.vault.role.is_some());
}
