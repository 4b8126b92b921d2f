//! What is made in Vault for an environment, and what is not.

use super::*;

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
