//! What people are told of secrets, while Vault is well and while it is not.

use super::*;

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
    world.vault.trouble = Some(trouble(false, true, "no password policy"));
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
    world.vault.trouble = Some(away());
    world.settle();
    assert_eq!(world.condition(READY), Some(ConditionStatus::False), "nothing brings it under its name yet");
}

#[test]
fn what_is_not_allowed_is_said_although_vault_is_away() {
    let mut world = clone_with(&json!({"secrets": "Copy"}), "Production");
    world.vault.trouble = Some(away());
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
fn an_environment_that_had_all_keeps_its_state_while_vault_is_away() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    world.vault.trouble = Some(away());
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
fn what_vault_refuses_is_tried_ever_more_rarely_and_what_fails_not_so_rarely() {
    for (refused, pauses) in [(true, [5, 60, 300, 300]), (false, [1, 20, 20, 20])] {
        for deleted in [false, true] {
            let mut world = clone_with(&json!({}), "Staging");
            world.settle();
            if deleted {
                world.delete();
            }
            world.vault.trouble = Some(trouble(false, refused, "it does not do that"));
            let lasted = [0, 2, 10, 600].map(|minutes| START + SignedDuration::from_mins(minutes));
            let wakes = lasted.map(|now| {
                world.now = now;
                let rest = world.settle().unwrap();
                assert_eq!(rest.retry, !refused);
                rest.wake.unwrap()
            });
            let expected = std::array::from_fn(|each| lasted[each] + Duration::from_secs(pauses[each]));
            assert_eq!(wakes, expected, "refused: {refused}, deleted: {deleted}");
        }
    }
}

#[test]
fn a_secret_that_cannot_be_looked_at_keeps_no_other_one_and_no_access_from_being_made() {
    let mut world = clone_with(&json!({}), "Staging");
    let mut hidden = Variable { name: "HIDDEN".to_owned(), ..api_key("k") };
    hidden.vault.as_mut().unwrap().path = "hidden".to_owned();
    world.environment().spec.config.variables.push(hidden);
    let path = Place::of("pf-872", "staging", "u-env").path("hidden");
    world.vault.unreadable.insert(path.clone());
    let rest = world.settle().unwrap();
    assert!(world.vault.policy.clone().unwrap().contains(&path) && world.vault.role.is_some());
    assert!(world.vault.secrets.contains_key(&own_path()) && !world.vault.secrets.contains_key(&path));
    let secrets = world.environment().status.clone().unwrap().secrets;
    assert_eq!((secrets[0].state, secrets[1].state), (SecretState::Ready, SecretState::Missing));
    assert_eq!(message(&world), "it does not show that");
    assert_eq!(rest.wake, Some(START + Duration::from_secs(5)));
    assert!(!rest.retry);

    // What is remembered says the same until it is looked at again, and nothing but that is.
    let mut query = query_of(&world);
    query.paths.insert(path.clone());
    world.vault.found = Some(world.vault.look(query, None, world.environment.as_ref().unwrap(), world.now));
    world.settle();
    assert_eq!(message(&world), "it does not show that");
    world.vault.unreadable.clear();
    world.vault.secrets.insert(path, ["k".to_owned()].into());
    world.now = rest.wake.unwrap();
    world.settle();
    assert_ready(&world);
}

#[test]
fn a_base_that_cannot_be_looked_at_is_waited_for_and_not_taken_for_empty() {
    for strategy in ["Regenerate", "Copy"] {
        let mut world = clone_with(&json!({"secrets": strategy}), "Staging");
        world.settings.vault.as_mut().unwrap().allow_copy = true;
        let base = world.vault.base.clone().unwrap().place.path("payments");
        world.vault.unreadable.insert(base);
        world.settle();
        assert!(!world.vault.secrets.contains_key(&own_path()), "it would lack keys for good");
        assert_eq!(message(&world), "it does not show that");
        world.vault.unreadable.clear();
        world.settle();
        assert_ready(&world);
    }
}

#[test]
fn an_environment_that_had_all_keeps_its_state_while_a_secret_cannot_be_looked_at() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    world.vault.unreadable.insert(own_path());
    world.settle();
    assert_ready(&world);
    assert_eq!(world.condition(SECRETS_READY), Some(ConditionStatus::Unknown));
    assert_eq!(world.environment().status.as_ref().unwrap().secrets[0].state, SecretState::Ready);
}

#[test]
fn who_stands_in_line_says_what_it_said_and_goes_on_with_everything_else() {
    let mut well = clone_with(&json!({}), "Staging");
    well.settle();
    let before = well.environment().status.clone();
    well.vault.in_line = true;
    let rest = well.settle().unwrap();
    assert_eq!((well.environment().status.clone(), rest.retry), (before, false));

    let mut new = clone_with(&json!({}), "Staging");
    new.vault.in_line = true;
    new.settle();
    assert_eq!(new.condition(CONFIG_READY), Some(ConditionStatus::True), "its release does not wait");
    assert_eq!(new.condition(READY), Some(ConditionStatus::False));
    assert!(new.vault.policy.is_none() && message(&new).contains("turn comes soon"), "{}", message(&new));
    new.delete();
    new.settle();
    assert!(new.children.keys().any(|id| id.kind == ChildKind::Namespace), "it waits at its end, too");
    new.vault.in_line = false;
    new.settle();
    assert!(new.environment.is_none());

    for from in [
        json!({"secretKeys": [{"name": "API_KEY", "strategy": "Placeholder"}]}),
        json!({"secretKeys": [{"name": "API_KYE", "strategy": "Placeholder"}]}),
    ] {
        let mut lacking = clone_with(&from, "Staging");
        lacking.settle();
        let before = lacking.environment().status.clone();
        lacking.vault.in_line = true;
        lacking.settle();
        assert_eq!(lacking.environment().status.clone(), before, "a restart changes nothing");
    }
    let mut stalled = clone_with(&json!({}), "Staging");
    stalled.settings.vault = Some(settings(SecretsOperator::ExternalSecrets("eso".to_owned(), "eso".to_owned())));
    stalled.settle();
    let brought = ChildId { kind: ChildKind::ExternalSecret, name: "secret-payments".to_owned() };
    let child = stalled.children.get_mut(&brought).unwrap();
    (child.mark, child.owned) = (None, None);
    stalled.settle();
    let before = stalled.environment().status.clone();
    assert_eq!(stalled.condition(STALLED), Some(ConditionStatus::True), "somebody else has the name");
    stalled.vault.in_line = true;
    stalled.settle();
    assert_eq!(stalled.environment().status.clone(), before);
    // What is new is not ready, whatever was said before.
    well.edit(|environment| {
        environment.spec.config.variables.push(Variable { name: "ALIAS".to_owned(), ..api_key("api_key") });
    });
    well.settle();
    assert_eq!(well.condition(READY), Some(ConditionStatus::False));
    assert!(message(&well).contains("turn comes soon"), "{}", message(&well));
}

#[test]
fn a_vault_that_is_away_when_it_is_first_used_harms_nobody_who_has_no_secrets() {
    let mut world = World::from_nothing();
    world.settle();
    world.settings.vault = Some(settings(SecretsOperator::None));
    world.vault.trouble = Some(away());
    world.settle();
    assert_ready(&world);
    assert_eq!(world.condition(SECRETS_READY), Some(ConditionStatus::Unknown));
    let mut in_line = World::from_nothing();
    in_line.settle();
    (in_line.settings.vault, in_line.vault.in_line) = (world.settings.vault.clone(), true);
    for _ in 0..2 {
        in_line.settle();
        assert_ready(&in_line);
        assert_eq!(in_line.condition(SECRETS_READY), Some(ConditionStatus::Unknown));
    }
    // A new one has its place in Vault before it is ready.
    let mut new = World::from_nothing();
    new.settings.vault = world.settings.vault.clone();
    new.vault.trouble = Some(away());
    new.settle();
    assert_eq!(new.condition(READY), Some(ConditionStatus::False));
}

#[test]
fn what_is_known_to_be_lost_is_not_hidden_by_what_cannot_be_looked_at() {
    let mut world = clone_with(&json!({}), "Staging");
    let mut other = Variable { name: "OTHER".to_owned(), ..api_key("k") };
    other.vault.as_mut().unwrap().path = "other".to_owned();
    world.environment().spec.config.variables.push(other);
    let path = Place::of("pf-872", "staging", "u-env").path("other");
    world.vault.secrets.insert(path.clone(), ["k".to_owned()].into());
    world.settle();
    assert_ready(&world);
    world.vault.secrets.remove(&own_path());
    world.vault.unreadable.insert(path);
    world.settle();
    assert_eq!(world.condition(READY), Some(ConditionStatus::False));
    let said = message(&world);
    assert!(said.contains("API_KEY (had one before)") && said.ends_with("it does not show that"), "{said}");
    let before = world.environment().status.clone();
    world.settle();
    assert_eq!(world.environment().status.clone(), before, "it says the same of the same");
}

#[test]
fn who_brings_secrets_is_told_of_the_role_only_when_vault_has_it() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settings.vault = Some(settings(SecretsOperator::ExternalSecrets("eso".to_owned(), "eso".to_owned())));
    world.settle();
    let store = ChildId { kind: ChildKind::SecretStore, name: "vault".to_owned() };
    let before = world.children[&store].mark;
    world.settings.vault.as_mut().unwrap().audience = "another".to_owned();
    world.vault.found = Some(world.vault.look(query_of(&world), None, world.environment.as_ref().unwrap(), world.now));
    world.vault.trouble = Some(trouble(false, true, "the role cannot be written"));
    world.settle();
    assert_eq!(world.children[&store].mark, before);
    world.vault.trouble = None;
    world.settle();
    assert_ne!(world.children[&store].mark, before);
}
