//! The plan against a small [`World`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use proptest::{prelude::*, sample::Index};
use serde_json::json;

use super::*;
use crate::{
    api::{
        ConditionStatus, Digest, EnvironmentRevision, PlatformEnvironment, RevisionNumber, Variable,
        condition::{CONFIG_PENDING, CONFIG_READY, ISOLATED, NAMESPACE_READY, READY, RECONCILING, STALLED},
        revision::{EffectiveVariable, EnvironmentRevisionStatus, VersionReference},
    },
    domain::{
        environment::{
            intents::Memo,
            ownership::OwnedFields,
            snapshot::{Base, BaseEnvironment, Child, NamespaceReport},
        },
        promotion::snapshot::VersionView,
        revision::{History, RevisionRecord, chain},
        settings::Settings,
    },
};

mod vault;
mod world;

use world::{START, World, assert_ready};

#[test]
fn an_environment_from_nothing_becomes_ready_with_one_revision() {
    let mut world = World::from_nothing();
    world.settle();
    assert_ready(&world);
    assert_eq!(world.revisions.len(), 1);
    assert_eq!(world.journal.first().unwrap(), "AddFinalizer", "nothing is made before the environment is held");
    let pointer = world.journal.iter().position(|write| write == "apply ConfigMap release");
    let commit = world.journal.iter().position(|write| write == "create revision 1");
    assert!(commit < pointer, "applications follow only what is recorded");
}

#[test]
fn a_clone_takes_version_and_configuration_along() {
    let mut world = World::clone_of_dev();
    world.settle();
    assert_ready(&world);
    let record = &world.revisions[&RevisionNumber::FIRST].spec;
    assert_eq!(record.version.as_ref().unwrap().name, "v1.4.3");
    let flags: Vec<&str> = record.config.flags.iter().map(|flag| flag.name.as_str()).collect();
    assert_eq!(flags, ["BETA", "OWN"]);
}

#[test]
fn an_edit_of_the_configuration_is_a_revision_and_an_edit_of_anything_else_is_none() {
    let mut world = World::from_nothing();
    world.settle();
    world.edit(|environment| environment.spec.config.flags[0].enabled = false);
    world.settle();
    assert_eq!(world.revisions.len(), 2);
    world.edit(|environment| environment.spec.isolation = None);
    world.settle();
    assert_eq!(world.revisions.len(), 2);
    assert!(!world.children.keys().any(|id| id.kind == ChildKind::RoleBinding), "access that is not given is taken");
    world.assert_whole();
}

#[test]
fn more_keys_than_a_revision_holds_are_told_with_the_limit_and_mended_by_an_edit() {
    let mut world = World::clone_of_dev();
    let variable = |name: String| EffectiveVariable {
        name,
        value: Some("1".to_owned()),
        vault: None,
        since: RevisionNumber::FIRST,
    };
    let inherited = (0..512).map(|number| variable(format!("V_{number:03}"))).collect();
    let base = &mut world.base_revision.as_mut().unwrap().spec;
    base.config.variables = inherited;
    *base = chain::sealed(base.clone());
    let own = |name: &str| Variable { name: name.to_owned(), value: Some("2".to_owned()), vault: None };
    world.environment().spec.config.variables = vec![own("V_000"), own("W")];
    world.settle();
    let status = world.environment().status.clone().unwrap();
    let config_ready = status.conditions.iter().find(|condition| condition.r#type == CONFIG_READY).unwrap();
    assert_eq!(config_ready.reason, "InvalidSpec");
    assert!(config_ready.message.contains("513 variables") && config_ready.message.contains("at most 512"));
    assert_eq!(world.condition(STALLED), Some(ConditionStatus::True));
    assert!(world.revisions.is_empty() && world.children.is_empty());

    world.edit(|environment| environment.spec.config.variables = vec![own("V_000")]);
    world.settle();
    assert_ready(&world);
    assert_eq!(world.revisions.len(), 1);
}

#[test]
fn content_of_the_release_before_stays_and_older_content_goes() {
    let mut world = World::from_nothing();
    world.settle();
    for number in 0..3 {
        world.edit(|environment| environment.spec.config.flags[0].name = format!("FLAG_{number}"));
        world.settle();
    }
    let flags = world.children.keys().filter(|id| id.name.starts_with("flags-")).count();
    assert_eq!(flags, 2);
}

#[test]
fn what_the_planner_reports_of_the_newest_revision_is_written_down_once() {
    let mut world = World::from_nothing();
    world.settle();
    let report = |revision: u32, state: &str| {
        serde_json::from_value(json!({"revision": revision, "state": state, "at": "2026-01-01T00:00:00Z"})).ok()
    };
    world.environment().status.as_mut().unwrap().deployment = report(1, "Succeeded");
    world.settle();
    world.settle();
    assert_eq!(world.journal.iter().filter(|write| write.starts_with("RecordOutcome")).count(), 1);
    let release = world.environment().status.clone().unwrap().release.unwrap();
    assert_eq!(release.state, crate::api::ReleaseState::Deployed);

    world.edit(|environment| environment.spec.config.flags[0].enabled = false);
    world.settle();
    assert_eq!(
        world.environment().status.clone().unwrap().release.unwrap().state,
        crate::api::ReleaseState::ReadyForDeploy
    );
    world.environment().status.as_mut().unwrap().deployment = report(1, "Failed");
    let writes = world.journal.len();
    world.settle();
    assert_eq!(world.journal.len(), writes, "late news of an older revision");
}

#[test]
fn old_revisions_go_and_what_something_rests_on_stays() {
    let mut world = World::from_nothing();
    world.environment().spec.revision_history_limit = 3;
    world.settle();
    let report = json!({"revision": 1, "state": "Succeeded", "at": "2026-01-01T00:00:00Z"});
    world.environment().status.as_mut().unwrap().deployment = serde_json::from_value(report).ok();
    world.settle();
    for number in 0..6 {
        world.edit(|environment| environment.spec.config.flags[0].name = format!("FLAG_{number}"));
        world.settle();
    }
    let kept: Vec<u32> = world.revisions.keys().map(|number| number.get()).collect();
    assert_eq!(kept, [1, 5, 6, 7], "the last good one, and three in a row");
    world.assert_whole();
    assert_ready(&world);
}

#[test]
fn edits_of_a_production_s_configuration_wait_for_a_promotion_and_are_shown() {
    let mut world =
        World::new(&json!({"class": "Production", "config": {"flags": [{"name": "BETA", "enabled": true}]}}));
    world.settle();
    world.edit(|environment| environment.spec.config.flags[0].enabled = false);
    world.settle();
    assert_eq!(world.revisions.len(), 1);
    let status = world.environment().status.clone().unwrap();
    assert_eq!(status.pending_config.unwrap().flags.changed, ["BETA"]);
    assert_eq!(world.condition(CONFIG_PENDING), Some(ConditionStatus::True));
    assert_eq!(world.condition(READY), Some(ConditionStatus::True));
    world.edit(|environment| environment.spec.config.flags[0].enabled = true);
    world.settle();
    assert_eq!(world.condition(CONFIG_PENDING), None, "taken back before anybody promoted it");
}

#[test]
fn a_promotion_is_made_by_itself_once_for_what_is_newer_and_published() {
    let mut world = World::clone_of_dev();
    world.environment().spec.promotion =
        serde_json::from_value(json!({"auto": true, "versions": ">=1.0.0, <2.0.0"})).unwrap();
    world.auto = Some(auto::Inputs::default());
    world.settle();
    let publish = |world: &mut World, name: &str| {
        let reference = VersionReference { name: name.to_owned(), digest: Digest::of(name.as_bytes()) };
        let version = VersionView { reference, requires: None, validations: vec![], terminating: false };
        world.auto.as_mut().unwrap().published.push(version);
        world.settle();
        world.auto.clone().unwrap().promotions.into_iter().collect::<Vec<_>>()
    };
    assert!(publish(&mut world, "v1.4.2").is_empty(), "older than v1.4.3");
    assert_eq!(publish(&mut world, "v1.5.0"), ["staging-auto-v1.5.0"]);
    assert_eq!(publish(&mut world, "v1.10.0").last().unwrap(), "staging-auto-v1.5.0");
    assert_eq!(publish(&mut world, "v2.0.0").len(), 2, "out of the range");
    assert_eq!(publish(&mut world, "v1.11.0").len(), 3, "what is out of the range hides nothing");
}

#[test]
fn what_the_platform_team_refuses_is_left_out_and_all_else_is_enforced() {
    let mut world = World::from_nothing();
    world.settle();
    world.settings.allowed_cluster_roles.clear();
    world.settle();
    assert_eq!(world.condition(STALLED), Some(ConditionStatus::True));
    assert_eq!(world.condition(CONFIG_READY), Some(ConditionStatus::True));
    assert!(!world.children.keys().any(|id| id.kind == ChildKind::RoleBinding), "a role off the list is not held");
    let deny = ChildId { kind: ChildKind::NetworkPolicy, name: "default-deny".to_owned() };
    world.children.remove(&deny);
    world.settle();
    assert!(world.children.contains_key(&deny), "drift is put right meanwhile");
}

#[test]
fn a_child_that_is_not_ours_stops_the_release_and_no_other_repair() {
    let policy = |name: &str| ChildId { kind: ChildKind::NetworkPolicy, name: name.to_owned() };
    // Whichever of the two comes first in the plan.
    for (theirs, lost) in [("allow-dns", "default-deny"), ("default-deny", "allow-dns")] {
        let mut world = World::from_nothing();
        world.settle();
        world.children.get_mut(&policy(theirs)).unwrap().owned = None;
        world.children.remove(&policy(lost));
        world.settle();
        assert_eq!(world.condition(STALLED), Some(ConditionStatus::True));
        assert_eq!(world.condition(ISOLATED), Some(ConditionStatus::False));
        assert!(world.children.contains_key(&policy(lost)), "{lost} was not put right");
    }
}

#[test]
fn the_content_of_a_release_that_somebody_replaced_is_no_content() {
    let mut world = World::from_nothing();
    world.settle();
    let replaced = world.children.values_mut().find(|child| child.id.name.starts_with("variables-")).unwrap();
    (replaced.owned, replaced.mark) = (None, None);
    world.settle();
    assert_eq!(world.condition(STALLED), Some(ConditionStatus::True));
    assert_ne!(world.condition(READY), Some(ConditionStatus::True));
}

#[test]
fn content_is_there_before_the_commit_that_names_it() {
    let mut world = World::from_nothing();
    world.settle();
    let at = |what: &str| world.journal.iter().position(|write| write.starts_with(what)).unwrap();
    assert!(at("apply ConfigMap variables-") < at("create revision 1"));
    assert!(at("apply NetworkPolicy default-deny") < at("create revision 1"));
}

#[test]
fn a_namespace_that_is_not_ours_stalls_and_is_left_alone() {
    let mut world = World::from_nothing();
    let id = ChildId { kind: ChildKind::Namespace, name: "pf-872--staging".to_owned() };
    let foreign =
        Child { id: id.clone(), uid: "u-foreign".into(), mark: None, owned: None, terminating: false, others: vec![] };
    world.children.insert(id, foreign);
    let rest = world.settle().unwrap();
    assert!(rest.retry, "nobody tells us when it goes");
    assert_eq!(world.condition(STALLED), Some(ConditionStatus::True));
    world.delete();
    world.settle();
    assert!(world.environment.is_none());
    assert_eq!(world.children.len(), 1, "also at the end");
}

#[test]
fn a_history_that_was_cut_stalls_and_nothing_is_rolled_back_or_numbered_anew() {
    let mut world = World::from_nothing();
    world.settle();
    world.edit(|environment| environment.spec.config.flags[0].enabled = false);
    world.settle();
    let cut = world.revisions.remove(&RevisionNumber::FIRST.next()).unwrap();
    let writes = world.journal.len();
    world.edit(|environment| environment.spec.config.flags[0].name = "OTHER".to_owned());
    world.settle();
    assert_eq!(world.condition(STALLED), Some(ConditionStatus::True));
    assert_eq!(world.journal.len(), writes);

    world.revisions.insert(cut.spec.revision, cut);
    world.settle();
    assert_ready(&world);
    assert_eq!(world.revisions.len(), 3);
}

#[test]
fn who_knows_an_older_spec_than_the_newest_revision_makes_none() {
    let mut world = World::from_nothing();
    world.settle();
    let behind = world.environment.clone();
    world.edit(|environment| environment.spec.config.flags[0].enabled = false);
    world.settle();
    let newest = world.environment.clone();
    world.environment = behind;
    world.settle();
    assert_eq!(world.revisions.len(), 2, "another operator, whose cache is behind, takes nothing back");
    world.environment = newest;
    world.settle();
    assert_ready(&world);
}

#[test]
fn a_preview_whose_deletion_is_refused_says_so() {
    let mut world = World::new(&json!({"class": "Preview", "ttl": "1h"}));
    world.settle();
    world.now = START + SignedDuration::from_hours(1);
    let refusal = "refused by a policy".to_owned();
    world.failures = vec![Failure {
        target: "PlatformEnvironment".into(),
        kind: None,
        reason: Reason::WriteFailed,
        message: refusal,
    }];
    let rest = world.settle().unwrap();
    assert!(rest.retry);
    assert_eq!(world.condition(READY), Some(ConditionStatus::False));
    assert!(!world.journal.contains(&"DeleteEnvironment".to_owned()), "it is told before it is tried again");
}

#[test]
fn what_is_on_its_way_out_is_not_said_to_be_retained() {
    let mut world = World::from_nothing();
    world.settle();
    let namespace = world.children.values_mut().find(|child| child.id.kind == ChildKind::Namespace).unwrap();
    namespace.terminating = true;
    world.edit(|environment| environment.spec.deletion_policy = crate::api::DeletionPolicy::Retain);
    world.delete();
    world.settle();
    assert!(world.environment.is_some() && !world.journal.iter().any(|write| write.starts_with("RetainNamespace")));
}

#[test]
fn a_preview_warns_and_then_goes_to_the_last_trace() {
    let mut world = World::new(&json!({"class": "Preview", "ttl": "1h"}));
    let rest = world.settle().unwrap();
    assert_eq!(rest.wake, Some(START + SignedDuration::from_mins(45)));
    world.now = rest.wake.unwrap();
    let rest = world.settle().unwrap();
    assert_eq!(rest.status.phase, Some(crate::api::EnvironmentPhase::Expiring));
    assert_eq!(rest.wake, Some(START + SignedDuration::from_hours(1)));
    world.edit(|environment| environment.spec.ttl = Some("2h".to_owned()));
    world.now = rest.wake.unwrap();
    assert!(
        world.settle().is_some_and(|rest| rest.status.phase == Some(crate::api::EnvironmentPhase::Active)),
        "it was extended"
    );
    world.now = START + SignedDuration::from_hours(2);
    world.settle();
    assert!(world.environment.is_none() && world.children.is_empty() && world.revisions.is_empty());
}

#[test]
fn retain_keeps_what_lies_in_the_namespace() {
    let mut world = World::from_nothing();
    world.settle();
    world.edit(|environment| environment.spec.deletion_policy = crate::api::DeletionPolicy::Retain);
    world.settle();
    let inside = world.children.len() - 1;
    world.delete();
    world.settle();
    assert!(world.environment.is_none());
    assert_eq!(world.children.len(), inside);
}

fn worlds() -> impl Strategy<Value = fn() -> World> {
    prop_oneof![Just(World::from_nothing as fn() -> World), Just(World::clone_of_dev as fn() -> World)]
}

proptest! {
    // Each case is a life of an environment; more of them find nothing that these do not.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn killed_between_any_two_writes_it_ends_in_the_same_state(
        make in worlds(),
        kills in proptest::collection::vec((0_usize..20, proptest::collection::vec(any::<Index>(), 20)), 0..4),
    ) {
        let mut undisturbed = make();
        undisturbed.settle();
        let mut killed = make();
        for (writes, order) in &kills {
            killed.settle_until_killed(order, *writes);
        }
        killed.settle();
        assert_ready(&killed);
        prop_assert_eq!(killed.everything(), undisturbed.everything());
        prop_assert_eq!(killed.journal.len(), undisturbed.journal.len(), "nothing is written twice");
    }

    #[test]
    fn what_is_settled_stays_settled(make in worlds()) {
        let mut world = make();
        world.settle();
        let writes = world.journal.len();
        let status = world.environment().status.clone();
        world.now += SignedDuration::from_hours(5);
        world.settle();
        prop_assert_eq!(world.journal.len(), writes);
        prop_assert_eq!(world.environment().status.clone(), status, "a status holds no moving time");
    }

    #[test]
    fn whatever_is_tampered_with_is_put_right(tampered in proptest::collection::vec((any::<Index>(), 0..3), 1..6)) {
        let mut world = World::from_nothing();
        world.settle();
        let before = world.everything();
        for (index, how) in tampered {
            let ids: Vec<ChildId> = world.children.keys().cloned().collect();
            let Some(child) = world.children.get_mut(&ids[index.index(ids.len())]) else { continue };
            match how {
                // Of the namespace too: then everything else is still there for a moment, as caches may show it.
                0 => { let id = child.id.clone(); world.children.remove(&id); }
                // The mark is one of our fields.
                1 => (child.owned, child.mark) = (Some(OwnedFields::of_fields(&json!({}))), None),
                _ => child.mark = None,
            }
            if world.children.is_empty() { return Ok(()); }
        }
        world.settle();
        assert_ready(&world);
        prop_assert_eq!(world.everything(), before);
    }

    #[test]
    fn deleted_at_any_moment_it_goes_in_good_order(
        make in worlds(),
        made in 0_usize..20,
        killed in 0_usize..12,
        order in proptest::collection::vec(any::<Index>(), 20),
    ) {
        let mut world = make();
        world.settle_until_killed(&order, made);
        world.delete();
        let journal = world.journal.len();
        world.settle_until_killed(&order, killed);
        world.settle();
        prop_assert!(world.environment.is_none() && world.children.is_empty() && world.revisions.is_empty());
        let deletion = &world.journal[journal..];
        let kinds: BTreeSet<usize> = deletion.iter().map(|write| match write.as_str() {
            write if write.starts_with("delete Namespace") => 1,
            write if write.starts_with("delete ") => 0,
            "DeleteRevisions" => 2,
            _ => 3,
        }).collect();
        let in_order: Vec<usize> = kinds.into_iter().collect();
        let seen: Vec<usize> = deletion.iter().map(|write| match write.as_str() {
            write if write.starts_with("delete Namespace") => 1,
            write if write.starts_with("delete ") => 0,
            "DeleteRevisions" => 2,
            _ => 3,
        }).fold(vec![], |mut seen, stage| { if seen.last() != Some(&stage) { seen.push(stage); } seen });
        prop_assert_eq!(seen, in_order, "children, namespace, history, finalizer");
    }
}

#[test]
fn a_memo_is_only_for_the_spec_that_it_was_made_from() {
    let world = World::new(&json!({"class": "Staging"}));
    let settings = Settings::default();
    let memo = Memo::default();
    let pods = |generation: i64, pods: i32| {
        let mut environment = world.environment.clone().unwrap();
        environment.metadata.generation = Some(generation);
        environment.spec.isolation = Some(serde_json::from_value(json!({"quota": {"pods": pods}})).unwrap());
        let read = BTreeMap::new();
        let snapshot = Snapshot {
            environment: &environment,
            project_id: None,
            settings: &settings,
            history: History::default(),
            on_their_way: vec![],
            auto: None,
            unreadable: None,
            former_history: false,
            base: Base::Nothing,
            revisions: &read,
            children: vec![],
            namespace: None,
            failures: &[],
            vault: None,
            memo: &memo,
            now: START,
        };
        let intents = memo.intents(&snapshot, owner(&snapshot, "pf-872--staging"));
        intents.isolation.quota.pods
    };
    assert_eq!(pods(1, 10), 10);
    assert_eq!(pods(2, 20), 20);
    assert_eq!(pods(1, 10), 10);
}
