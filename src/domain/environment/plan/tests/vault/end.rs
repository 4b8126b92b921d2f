//! The end of an environment's place in Vault.

use super::*;

#[test]
fn at_the_end_access_goes_first_and_nothing_is_skipped_while_vault_is_away() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settings.vault = Some(settings(SecretsOperator::ExternalSecrets("eso".to_owned(), "eso".to_owned())));
    world.settle();
    let store = ChildId { kind: ChildKind::SecretStore, name: "vault".to_owned() };
    assert!(world.children.contains_key(&store));
    world.journal.clear();
    world.delete();
    world.vault.trouble = Some(away());
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
    while let Some(Step::ChangeVault(changes)) = world.next() {
        for change in &changes {
            world.change_vault(change);
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
fn a_place_that_was_given_up_and_comes_back_has_its_secrets_made_anew_no_more_than_before() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    let vault = world.settings.vault.take();
    world.settings.abandon_vault = true;
    world.settle();
    assert_ready(&world);
    let status = world.environment().status.clone().unwrap();
    assert_eq!((status.vault, status.secrets[0].state), (None, SecretState::Lost));
    (world.settings.vault, world.vault.secrets) = (vault, BTreeMap::new());
    world.settle();
    assert!(!world.vault.secrets.contains_key(&own_path()));
    assert!(message(&world).contains("API_KEY (had one before)"), "{}", message(&world));
}

#[test]
fn an_environment_that_lacks_a_secret_does_not_become_ready_when_vault_is_switched_off() {
    let mut world = clone_with(&json!({"secretKeys": [{"name": "API_KEY", "strategy": "Placeholder"}]}), "Staging");
    world.settle();
    world.settings.vault = None;
    world.settle();
    assert_eq!(world.condition(READY), Some(ConditionStatus::False));
    assert!(message(&world).contains("vault.address"), "{}", message(&world));
}

#[test]
fn access_ends_although_the_role_cannot_be_removed_and_that_is_tried_again() {
    let mut world = clone_with(&json!({}), "Staging");
    world.settle();
    world.delete();
    let Some(Step::ChangeVault(changes)) = world.next() else { panic!("access is to end") };
    assert_eq!(changes, [Change::RemoveRole, Change::RemovePolicy]);
    world.vault.change(&Change::RemovePolicy);
    world.vault.trouble = Some(trouble(false, true, "It may not."));
    let rest = world.settle().unwrap();
    let ready = rest.status.conditions.iter().find(|condition| condition.r#type == READY).unwrap();
    assert!(ready.message.contains("Nobody has access to its secrets any more. It may not."), "{}", ready.message);
    world.vault.trouble = None;
    assert_eq!(world.next(), Some(Step::ChangeVault(vec![Change::RemoveRole])));
    world.settle();
    assert!(world.environment.is_none());
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
