//! Names, policies and roles: no environment ever has another one's.

use proptest::prelude::*;

use super::*;

/// As a platform team would have them, without a secrets operator.
pub fn settings() -> VaultSettings {
    VaultSettings {
        address: "https://vault:8200".to_owned(),
        namespace: String::new(),
        ports: vec![8200],
        ca: String::new(),
        mount: "kv".to_owned(),
        auth_path: "kubernetes".to_owned(),
        audience: "vault".to_owned(),
        password_policy: "pf".to_owned(),
        check_interval: std::time::Duration::from_hours(1),
        allow_copy: false,
        across_production: BTreeSet::new(),
        secrets_operator: SecretsOperator::None,
        installed: true,
    }
}

#[test]
fn an_environment_reads_its_secrets_and_its_own_token_and_nothing_else() {
    let place = Place::of("pf-872", "staging", "1a2b3c4d-0000-0000-0000-000000000000");
    assert_eq!(place.role(), "pf-pf-872--staging-1a2b3c4d");
    let policy = place.policy(&settings(), &[place.path("payments")].into(), None);
    let paths: Vec<&str> = policy.lines().skip(1).map(|line| line.split('"').nth(1).unwrap()).collect();
    let own = [
        "kv/data/pf/pf-872/staging-1a2b3c4d/payments",
        "auth/token/lookup-self",
        "auth/token/renew-self",
        "auth/token/revoke-self",
    ];
    assert_eq!(paths, own);
    assert!(!policy.contains("list") && !policy.contains("{{") && !policy.contains(['*', '+']), "{policy}");
    let role = place.role_body(&settings(), "pf-872--staging");
    assert_eq!(role["bound_service_account_namespaces"], json!(["pf-872--staging"]));
    assert_eq!(role["token_no_default_policy"], true);
}

#[test]
fn only_a_policy_with_our_mark_is_ours() {
    let place = Place::of("pf-872", "staging", "1a2b3c4d-x");
    let text = place.policy(&settings(), &BTreeSet::new(), None);
    assert_eq!(Place::of_policy(&text, &settings()), Some(place));
    let elsewhere = VaultSettings { auth_path: "kubernetes-2".to_owned(), ..settings() };
    assert_eq!(Place::of_policy(&text, &elsewhere), None, "that of another cluster");
    let other = VaultSettings { auth_path: "kubernete".to_owned(), ..settings() };
    assert_eq!(Place::of_policy(&text, &other), None);
    assert_eq!(Place::of_policy("path \"kv/*\" {}", &settings()), None, "that of somebody else");
}

#[test]
fn a_role_that_somebody_widened_is_another_one_and_one_of_an_older_server_is_not() {
    let place = Place::of("p", "e", "1a2b3c4d-0000");
    let ours = place.role_body(&settings(), "p--e");
    let same = role_digest(&ours, &ours);
    for (field, value) in [
        ("token_period", json!(86400)),
        ("bound_service_account_namespace_selector", json!("{\"matchLabels\": {}}")),
        ("token_max_ttl", json!(0)),
        ("token_policies", json!(["pf-p--e-1a2b3c4d", "root"])),
    ] {
        let mut found = ours.clone();
        found[field] = value;
        assert_ne!(role_digest(&found, &ours), same, "{field}");
    }
    let mut older = ours.clone();
    older.as_object_mut().unwrap().remove("bound_service_account_namespace_selector");
    older["token_bound_cidrs"] = json!(null);
    assert_eq!(role_digest(&older, &ours), same);
}

#[test]
fn what_a_copy_is_read_with_reads_one_secret_and_carries_our_mark() {
    let place = Place::of("copy", "staging", "1a2b3c4d-0000-0000-0000-000000000000");
    let login = CopyLogin::new(&settings(), &place, "pf/copy/dev-11111111/payments", ("em", "operator"));
    let rules: Vec<&str> = login.policy.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rules, ["path \"kv/data/pf/copy/dev-11111111/payments\" { capabilities = [\"read\"] }"]);
    assert_eq!(Place::of_policy(&login.policy, &settings()).as_ref(), Some(&place));
    assert_ne!(login.name, place.role());
    assert!(login.name.starts_with("pf-"), "the operator may write no other: {}", login.name);
    assert_eq!(login.role["bound_service_account_namespaces"], json!(["em"]));
}

#[test]
fn the_operator_makes_secrets_and_neither_reads_nor_changes_one() {
    let policy = operator_policy(&settings());
    let values = policy.split("path ").find(|rule| rule.contains("kv/data/")).unwrap();
    assert!(values.contains("[\"create\"]"), "{values}");
    assert!(!policy.contains("\"*\"") && !policy.contains("sudo") && !policy.contains("patch"), "{policy}");
}

proptest! {
    #[test]
    fn no_two_environments_share_a_name_or_a_prefix(
        a in "[a-z]{1,3}(-[a-z]{1,3})?", b in "[a-z]{1,3}(-[a-z]{1,3})?",
        c in "[a-z]{1,3}(-[a-z]{1,3})?", d in "[a-z]{1,3}(-[a-z]{1,3})?", uid in "[0-9a-f]{8}"
    ) {
        prop_assume!((&a, &b) != (&c, &d));
        let (one, other) = (Place::of(&a, &b, &uid), Place::of(&c, &d, &uid));
        prop_assert_ne!(one.role(), other.role());
        prop_assert_ne!(one.prefix(), other.prefix());
        let starts = format!("{}/", one.prefix());
        prop_assert!(!other.path("x").starts_with(&starts));
    }
}
