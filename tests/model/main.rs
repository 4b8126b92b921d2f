//! A model check of promotions: the real plan against a tiny API server, in every order in which things can happen.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions")]
#![allow(clippy::panic, reason = "as above")]

use environment_manager::api::DeploymentState::{Failed, InProgress, Succeeded};
use serde_json::{Value, json};

use crate::{
    explore::explore,
    properties::Property,
    scenario::{Deed, Scenario, Seed},
};

mod explore;
mod machine;
mod objects;
mod properties;
mod scenario;

fn holds(scenario: Scenario) {
    let report = explore(scenario, None);
    println!("{}", report.summary());
    for way in report.broken.values() {
        println!("{way}");
    }
    assert!(report.broken.is_empty(), "{}", report.summary());
}

fn to(target: &str, version: &str) -> Value {
    json!({"target": target, "source": {"version": version}})
}

fn two() -> Scenario {
    Scenario::new("two promotions into one environment")
        .asked("p", &to("staging", "v1.1.0"))
        .asks("q", &to("staging", "v2.0.0"))
        .may(Deed::Report("staging", 2, Succeeded))
}

fn place() -> Scenario {
    Scenario::new("created later, first in line")
        .asked("q", &to("staging", "v2.0.0"))
        .asks("a", &to("staging", "v1.1.0"))
}

fn confirmed() -> Scenario {
    Scenario::new("confirmations, edits and cancelling")
        .rules("staging", &json!({"confirmations": {"required": 1}}))
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Confirm("p", "ana"))
        .may(Deed::Confirm("p", "ben"))
        .may(Deed::Configure("staging", true))
        .may(Deed::Cancel("p"))
}

fn confirmed_by_two() -> Scenario {
    Scenario::new("two confirmations, the same person twice")
        .rules("staging", &json!({"confirmations": {"required": 2}}))
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Confirm("p", "ben"))
        .may(Deed::Confirm("p", "ben"))
        .may(Deed::Confirm("p", "cleo"))
        .may(Deed::Configure("staging", true))
}

fn source_moves() -> Scenario {
    let mut scenario = Scenario::new("the source moves on while it is promoted, and its new version fails")
        .rules("staging", &json!({"from": ["dev"], "validations": ["e2e"]}))
        .asked("p", &json!({"target": "staging", "source": {"environment": "dev"}}))
        .asked("d", &to("dev", "v2.0.0"))
        .may(Deed::Validate("v2.0.0", "e2e", "Failed"));
    scenario.validated = vec![("v1.1.0", "e2e", "Passed"), ("v2.0.0", "e2e", "Passed")];
    scenario
}

fn validated() -> Scenario {
    Scenario::new("validations come, and turn")
        .rules("staging", &json!({"from": ["dev"], "validations": ["e2e", "schema"]}))
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Validate("v1.1.0", "e2e", "Passed"))
        .may(Deed::Validate("v1.1.0", "schema", "Passed"))
        .may_after(Deed::Validate("v1.1.0", "e2e", "Failed"), &[0])
        .may(Deed::Cancel("p"))
}

fn pipeline() -> Scenario {
    Scenario::new("three environments in a row")
        .rules("staging", &json!({"requires": [{"environment": "dev"}]}))
        .rules("production", &json!({"from": ["staging"], "requires": [{"environment": "staging"}]}))
        .asked("s", &json!({"target": "staging", "source": {"environment": "dev"}}))
        .asks("x", &json!({"target": "production", "source": {"environment": "staging"}}))
        .may(Deed::Report("dev", 1, Failed))
        .may(Deed::Report("staging", 2, Succeeded))
        .may(Deed::Report("production", 2, Succeeded))
}

fn rolled_back() -> Scenario {
    Scenario::new("a failed deployment is rolled back")
        .rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}))
        .asked("p", &to("staging", "v1.1.0"))
        .asks("q", &to("staging", "v2.0.0"))
        .may(Deed::Report("staging", 2, Failed))
        .may(Deed::Report("staging", 3, Failed))
}

fn vetoed() -> Scenario {
    Scenario::new("what was rolled back comes back only by lifting the veto")
        .rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}))
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Report("staging", 2, Failed))
        .asks_as("again", "1", &to("staging", "v1.1.0"), &[0])
        .asks_as("lift", "1", &json!({"target": "staging", "source": {"version": "v1.1.0"}, "liftVeto": true}), &[0])
        .may(Deed::Report("staging", 3, Succeeded))
}

fn emergency() -> Scenario {
    Scenario::new("an emergency rollback")
        .asked("p", &to("staging", "v1.1.0"))
        .asks("back", &json!({"target": "staging", "source": {"revision": 1}, "emergency": true}))
        .asks("q", &to("staging", "v2.0.0"))
        .may(Deed::Report("staging", 2, Succeeded))
}

fn name_again() -> Scenario {
    Scenario::new("a name that comes again")
        .asked("p", &json!({"target": "staging", "source": {"version": "v1.1.0"}, "ttlAfterFinished": "5m"}))
        .may(Deed::Report("staging", 2, Succeeded))
        .may(Deed::Delete("p"))
        .asks_as("p", "2", &to("staging", "v2.0.0"), &[])
        .may(Deed::Tick)
}

fn both_controllers() -> Scenario {
    let mut scenario = Scenario::new("the environment controller at work, an edit in between")
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Configure("staging", true))
        .may(Deed::Report("staging", 2, Succeeded));
    scenario.environment_controller = true;
    scenario
}

fn late_reports() -> Scenario {
    let mut scenario = Scenario::new("reports that come late, twice and out of order")
        .rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}))
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Report("staging", 2, InProgress))
        .may(Deed::Report("staging", 2, Failed))
        .may(Deed::Report("staging", 2, Succeeded));
    scenario.environment_controller = true;
    scenario
}

fn time() -> Scenario {
    Scenario::new("soak times and deadlines")
        .rules("staging", &json!({"deployment": {"deadline": "20m", "soak": "10m", "onFailure": "Rollback"}}))
        .rules("production", &json!({"requires": [{"environment": "staging", "soak": "10m"}]}))
        .asked("p", &to("staging", "v1.1.0"))
        .asks("x", &json!({"target": "production", "source": {"environment": "staging"}}))
        .may(Deed::Report("staging", 2, Succeeded))
        .may(Deed::Report("staging", 2, Failed))
        .may(Deed::Tick)
        .may_after(Deed::Tick, &[3])
}

fn supersede() -> Scenario {
    Scenario::new("newer promotions take the place of older ones")
        .rules("staging", &json!({"queue": "Supersede"}))
        .asked("p", &to("staging", "v1.1.0"))
        .asks("q", &to("staging", "v2.0.0"))
        .may(Deed::Report("staging", 2, Succeeded))
}

fn reject() -> Scenario {
    Scenario::new("one promotion at a time, others are rejected")
        .rules("staging", &json!({"queue": "Reject"}))
        .asked("p", &to("staging", "v1.1.0"))
        .asks("q", &to("staging", "v2.0.0"))
        .may(Deed::Report("staging", 2, Succeeded))
}

fn pending_config() -> Scenario {
    Scenario::new("configuration that waits for a promotion")
        .asked("p", &to("production", "v1.1.0"))
        .asks("c", &json!({"target": "production", "source": {"pendingConfig": true}}))
        .may(Deed::Configure("production", true))
        .may(Deed::Report("production", 2, Succeeded))
}

fn lost_answers() -> Scenario {
    let mut scenario = Scenario::new("two answers of the API server are lost")
        .rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}))
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Report("staging", 2, Failed));
    scenario.losses = 2;
    scenario.environment_controller = true;
    scenario
}

fn chain_of_failures() -> Scenario {
    let mut scenario = Scenario::new("a failure after a rollback that failed")
        .rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}))
        .asked("p", &to("staging", "v2.0.0"))
        .may(Deed::Report("staging", 2, Succeeded))
        .asks_as("back", "1", &json!({"target": "staging", "source": {"revision": 1}}), &[0])
        .may_after(Deed::Report("staging", 3, Failed), &[1])
        .asks_as("q", "1", &to("staging", "v1.1.0"), &[2])
        .may_after(Deed::Report("staging", 4, Failed), &[3]);
    scenario.most_revisions = 6;
    scenario
}

fn stricter_rules() -> Scenario {
    Scenario::new("rules become stricter on the way")
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Rules("staging", json!({"validations": ["e2e"]})))
        .may(Deed::Validate("v1.1.0", "e2e", "Passed"))
        .may(Deed::Rules("staging", json!({"versions": "^1.0.0"})))
}

fn published_late() -> Scenario {
    let mut scenario = Scenario::new("a version that is published late")
        .asked("p", &to("staging", "v2.0.0"))
        .may(Deed::Publish("v2.0.0"))
        .asks("d", &json!({"target": "staging", "source": {"version": "v2.0.0"}, "dryRun": true}))
        .may(Deed::Cancel("p"));
    scenario.published[2] = false;
    scenario
}

#[test]
fn all() {
    let all = [
        two as fn() -> Scenario,
        place,
        confirmed,
        confirmed_by_two,
        source_moves,
        validated,
        pipeline,
        rolled_back,
        vetoed,
        emergency,
        name_again,
        both_controllers,
        late_reports,
        time,
        supersede,
        reject,
        pending_config,
        lost_answers,
        chain_of_failures,
        stricter_rules,
        published_late,
    ];
    let all: Vec<_> = all.into_iter().collect();
    std::thread::scope(|scope| {
        for half in [0, 1] {
            let all = &all;
            scope.spawn(move || {
                for (_, scenario) in all.iter().enumerate().filter(|(index, _)| index % 2 == half) {
                    let report = explore(scenario(), None);
                    println!("{}\n{}", report.summary(), report.broken.values().cloned().collect::<String>());
                }
            });
        }
    });
}

#[test]
fn seeds() {
    for scenario in [place as fn() -> Scenario, source_moves, both_controllers, late_reports, confirmed] {
        for (seed, property) in [
            (Seed::FreshForEver, Property::OneOnItsWay),
            (Seed::NamesOfFirstLook, Property::NoGateSkipped),
            (Seed::StatusUnconditional, Property::EndIsFinal),
            (Seed::ReleaseUnconditional, Property::ReleaseChangesByRevision),
            (Seed::OutcomeUnconditional, Property::EndIsFinal),
            (Seed::CommitWithoutRefresh, Property::NoGateSkipped),
            (Seed::OverwriteRevision, Property::OneReleasePerNumber),
            (Seed::GatesOfFirstLook, Property::NoGateSkipped),
        ] {
            let report = explore(scenario().seeded(seed), Some(property));
            println!("SEED {seed:?} {}\n{}", report.summary(), report.broken.values().cloned().collect::<String>());
        }
    }
}
