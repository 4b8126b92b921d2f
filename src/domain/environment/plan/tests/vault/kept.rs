//! What is there is kept as it should be, and what was taken away is not made anew.

use super::*;

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

#[test]
fn where_the_secrets_lie_is_said_anew_only_when_it_was_looked_at_there() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    let mount = |world: &World| world.environment.clone().unwrap().status.unwrap().vault.unwrap().mount;
    world.settings.vault.as_mut().unwrap().mount = "other".to_owned();
    world.vault.trouble = Some(trouble(false, true, "it may not"));
    world.settle();
    assert_eq!(mount(&world), "kv");
    world.vault.trouble = None;
    world.settle();
    assert_eq!(mount(&world), "other");
}
