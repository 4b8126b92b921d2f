//! The scenarios: each small enough to be explored to its end, together all that can happen to a promotion.

use environment_manager::api::DeploymentState::{Failed, InProgress, Succeeded};
use serde_json::{Value, json};

use crate::scenario::{Deed, Scenario, promotion};

fn to(target: &str, version: &str) -> Value {
    json!({"target": target, "source": {"version": version}})
}

fn create(name: &str, spec: &Value) -> Deed {
    Deed::Create(Box::new(promotion(name, "1", spec)))
}

/// `onFailure: Rollback` in staging.
fn answering(name: &'static str) -> Scenario {
    Scenario::new(name).rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}))
}

pub fn two_into_one() -> Scenario {
    Scenario::new("two promotions into one environment")
        .asked("p", &to("staging", "v1.1.0"))
        .asks("q", &to("staging", "v2.0.0"))
        .may(Deed::Report("staging", 2, Succeeded))
}

pub fn first_in_line() -> Scenario {
    Scenario::new("created later, and first in line")
        .asked("q", &to("staging", "v2.0.0"))
        .asks("a", &to("staging", "v1.1.0"))
}

pub fn supersede() -> Scenario {
    Scenario::new("a newer one takes the place of an older one")
        .rules("staging", &json!({"queue": "Supersede"}))
        .asked("p", &to("staging", "v1.1.0"))
        .asks("q", &to("staging", "v2.0.0"))
        .may(Deed::Report("staging", 2, Succeeded))
}

pub fn reject() -> Scenario {
    Scenario::new("one at a time, others are rejected")
        .rules("staging", &json!({"queue": "Reject"}))
        .asked("p", &to("staging", "v1.1.0"))
        .asks("q", &to("staging", "v2.0.0"))
        .may(Deed::Report("staging", 2, Succeeded))
}

pub fn confirmed() -> Scenario {
    Scenario::new("a confirmation, an edit that voids it, another confirmation")
        .rules("staging", &json!({"confirmations": {"required": 1}}))
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Confirm("p", "ben"))
        .may(Deed::Configure("staging", true))
        .may_after(Deed::Confirm("p", "ben"), &[0, 1])
}

pub fn cancelled() -> Scenario {
    Scenario::new("a cancel beside a confirmation")
        .rules("staging", &json!({"confirmations": {"required": 1}}))
        .asked("p", &to("staging", "v1.1.0"))
        .asks("q", &to("staging", "v2.0.0"))
        .may(Deed::Confirm("p", "ben"))
        .may(Deed::Cancel("p"))
}

pub fn confirmed_by_two() -> Scenario {
    Scenario::new("two people confirm, one of them twice, and the author")
        .rules("staging", &json!({"confirmations": {"required": 2}}))
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Confirm("p", "ana"))
        .may(Deed::Confirm("p", "ben"))
        .may(Deed::Confirm("p", "ben"))
        .may(Deed::Confirm("p", "cleo"))
}

pub fn validated() -> Scenario {
    Scenario::new("validations come, and turn")
        .rules("staging", &json!({"from": ["dev"], "validations": ["e2e", "schema"]}))
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Validate("v1.1.0", "e2e", "Passed"))
        .may(Deed::Validate("v1.1.0", "schema", "Passed"))
        .may_after(Deed::Validate("v1.1.0", "e2e", "Failed"), &[0])
        .may(Deed::Cancel("p"))
}

pub fn stricter_rules() -> Scenario {
    Scenario::new("rules become stricter on the way")
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Rules("staging", json!({"validations": ["e2e"]})))
        .may(Deed::Validate("v1.1.0", "e2e", "Passed"))
        .may(Deed::Rules("staging", json!({"versions": "^2.0.0"})))
}

pub fn published_late() -> Scenario {
    let mut scenario = Scenario::new("a version that is published late, and a dry run of it")
        .asked("p", &to("staging", "v2.0.0"))
        .may(Deed::Publish("v2.0.0"))
        .asks("d", &json!({"target": "staging", "source": {"version": "v2.0.0"}, "dryRun": true}));
    scenario.published[2] = false;
    scenario
}

pub fn source_moves() -> Scenario {
    let mut scenario = Scenario::new("the source moves on, and its new version fails a validation")
        .rules("staging", &json!({"from": ["dev"], "validations": ["e2e"]}))
        .asked("p", &json!({"target": "staging", "source": {"environment": "dev"}}))
        .asked("d", &to("dev", "v2.0.0"))
        .may(Deed::Validate("v2.0.0", "e2e", "Failed"));
    scenario.validated = vec![("v1.1.0", "e2e", "Passed"), ("v2.0.0", "e2e", "Passed")];
    scenario
}

pub fn three_in_a_row() -> Scenario {
    Scenario::new("three environments in a row")
        .rules("staging", &json!({"requires": [{"environment": "dev"}]}))
        .rules("production", &json!({"from": ["staging"], "requires": [{"environment": "staging"}]}))
        .after(create("s", &json!({"target": "staging", "source": {"environment": "dev"}})))
        .asks("x", &json!({"target": "production", "source": {"environment": "staging"}}))
        .may(Deed::Report("staging", 2, Succeeded))
        .may(Deed::Report("staging", 2, Failed))
        .may(Deed::Report("production", 2, Succeeded))
}

pub fn answered() -> Scenario {
    answering("a failed deployment is rolled back, and that fails too")
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Report("staging", 2, Failed))
        .may(Deed::Report("staging", 3, Failed))
}

pub fn answered_while_another_waits() -> Scenario {
    answering("a failed deployment is rolled back while another one waits")
        .after(create("p", &to("staging", "v1.1.0")))
        .asks("q", &to("staging", "v2.0.0"))
        .may(Deed::Report("staging", 2, Failed))
}

pub fn vetoed() -> Scenario {
    answering("what was rolled back comes back by lifting the veto only")
        .after(create("p", &to("staging", "v1.1.0")))
        .after(Deed::Report("staging", 2, Failed))
        .after(Deed::Report("staging", 3, Succeeded))
        .asks("again", &to("staging", "v1.1.0"))
        .asks("lift", &json!({"target": "staging", "source": {"version": "v1.1.0"}, "liftVeto": true}))
}

pub fn failure_after_failure() -> Scenario {
    let mut scenario = answering("a failure after a rollback that failed")
        .after(create("p", &to("staging", "v2.0.0")))
        .after(Deed::Report("staging", 2, Succeeded))
        .after(create("back", &json!({"target": "staging", "source": {"revision": 1}})))
        .after(Deed::Report("staging", 3, Failed))
        .asks("q", &to("staging", "v1.1.0"))
        .may(Deed::Report("staging", 4, Failed))
        .may(Deed::Report("staging", 5, Failed));
    scenario.most_revisions = 6;
    scenario
}

pub fn emergency() -> Scenario {
    Scenario::new("an emergency rollback of what is on its way")
        .after(create("p", &to("staging", "v1.1.0")))
        .asks("back", &json!({"target": "staging", "source": {"revision": 1}, "emergency": true}))
        .may(Deed::Report("staging", 2, Succeeded))
}

pub fn emergency_first() -> Scenario {
    Scenario::new("an emergency rollback goes past what waits")
        .after(create("p", &to("staging", "v1.1.0")))
        .after(Deed::Report("staging", 2, Succeeded))
        .asks("back", &json!({"target": "staging", "source": {"revision": 1}, "emergency": true}))
        .asks("q", &to("staging", "v2.0.0"))
}

pub fn emergency_forwards() -> Scenario {
    Scenario::new("an emergency that goes forwards is none")
        .rules("staging", &json!({"confirmations": {"required": 1}}))
        .after(create("p", &to("staging", "v1.1.0")))
        .after(Deed::Confirm("p", "ben"))
        .after(Deed::Report("staging", 2, Succeeded))
        .after(create("back", &json!({"target": "staging", "source": {"revision": 1}, "emergency": true})))
        .after(Deed::Report("staging", 3, Succeeded))
        .after(create("q", &to("staging", "v2.0.0")))
        .asks("a", &json!({"target": "staging", "source": {"revision": 2}, "emergency": true, "liftVeto": true}))
        .may(Deed::Confirm("a", "ben"))
        .may(Deed::Cancel("q"))
}

pub fn name_again() -> Scenario {
    Scenario::new("a name that comes again")
        .asked("p", &json!({"target": "staging", "source": {"version": "v1.1.0"}, "ttlAfterFinished": "5m"}))
        .may(Deed::Report("staging", 2, Succeeded))
        .may(Deed::Delete("p"))
        .asks_as("p", "2", &to("staging", "v2.0.0"), &[])
        .may(Deed::Tick)
}

pub fn environment_controller() -> Scenario {
    let mut scenario = Scenario::new("the environment controller commits an edit meanwhile")
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Configure("staging", true))
        .may(Deed::Report("staging", 2, Succeeded));
    scenario.environment_controller = true;
    scenario
}

pub fn reports() -> Scenario {
    let mut scenario = answering("reports that come late and in any order")
        .after(create("p", &to("staging", "v1.1.0")))
        .after(Deed::Report("staging", 2, InProgress))
        .may(Deed::Report("staging", 1, Failed))
        .may(Deed::Report("staging", 2, Failed))
        .may(Deed::Report("staging", 2, Succeeded));
    scenario.environment_controller = true;
    scenario
}

pub fn lost_answers() -> Scenario {
    let mut scenario = answering("two answers of the API server are lost")
        .asked("p", &to("staging", "v1.1.0"))
        .may(Deed::Report("staging", 2, Failed));
    scenario.losses = 2;
    scenario.environment_controller = true;
    scenario
}

pub fn deadlines() -> Scenario {
    let rules = json!({"deployment": {"deadline": "20m", "soak": "10m", "onFailure": "Rollback"}});
    Scenario::new("a deadline, and a soak time after the deployment")
        .rules("staging", &rules)
        .after(create("p", &to("staging", "v1.1.0")))
        .may(Deed::Report("staging", 2, Succeeded))
        .may(Deed::Report("staging", 2, Failed))
        .may(Deed::Tick)
        .may_after(Deed::Tick, &[2])
}

pub fn soaks_elsewhere() -> Scenario {
    Scenario::new("a soak time in the environment before")
        .rules("production", &json!({"requires": [{"environment": "staging", "soak": "10m"}]}))
        .after(create("p", &to("staging", "v1.1.0")))
        .after(Deed::Report("staging", 2, Succeeded))
        .asks("x", &json!({"target": "production", "source": {"environment": "staging"}}))
        .may(Deed::Report("staging", 2, Failed))
        .may(Deed::Tick)
}

pub fn pending_configuration() -> Scenario {
    Scenario::new("configuration that waits for a promotion")
        .after(Deed::Configure("production", true))
        .asks("c", &json!({"target": "production", "source": {"pendingConfig": true}}))
        .asks("p", &to("production", "v1.1.0"))
        .may(Deed::Configure("production", false))
}

pub fn follows() -> Scenario {
    let mut scenario = Scenario::new("an environment follows another one by itself, and goes back")
        .follows("staging", &["v1.1.0"], &json!({"from": ["dev"], "deployment": {"onFailure": "Rollback"}}))
        .may(Deed::Report("staging", 2, Failed))
        .may(Deed::Report("staging", 3, Succeeded));
    scenario.losses = 1;
    scenario
}

/// The one for the older version may be made later, by who is behind.
pub fn follows_what_is_published() -> Scenario {
    let mut scenario = Scenario::new("a newer version is published while an older one waits")
        .follows("dev", &["v1.1.0", "v2.0.0"], &json!({"queue": "Supersede", "validations": ["e2e"]}))
        .may(Deed::Publish("v2.0.0"))
        .may(Deed::Validate("v1.1.0", "e2e", "Passed"));
    scenario.environments[0].2 = 0;
    scenario.published[2] = false;
    scenario
}

pub fn follows_beside_people() -> Scenario {
    let mut scenario = Scenario::new("somebody asks for what is asked for by itself, and others are rejected")
        .follows("dev", &["v1.1.0"], &json!({"queue": "Reject"}))
        .asks("p", &to("dev", "v1.1.0"))
        .may(Deed::Report("dev", 2, Succeeded));
    scenario.environments[0].2 = 0;
    scenario.published[2] = false;
    scenario
}

pub fn follows_what_moves_on() -> Scenario {
    let rules = json!({"from": ["dev"], "queue": "Reject", "deployment": {"onFailure": "Rollback"}});
    Scenario::new("what is followed moves on while the older version is on its way")
        .follows("staging", &["v1.1.0", "v2.0.0"], &rules)
        .after(Deed::Tick)
        .after(create("d", &to("dev", "v2.0.0")))
        .after(Deed::Delete("d"))
        .may(Deed::Report("dev", 2, Succeeded))
        .may(Deed::Report("staging", 2, Succeeded))
        .may(Deed::Report("staging", 2, Failed))
}

/// One operator may be behind by all of that.
pub fn follows_once() -> Scenario {
    Scenario::new("what was asked for by itself goes, and does not come again, nor once it is taken back")
        .follows("staging", &["v1.1.0"], &json!({"from": ["dev"]}))
        .may(Deed::Report("staging", 2, Succeeded))
        .may_after(Deed::Day, &[0])
        .asks_as("back", "1", &json!({"target": "staging", "source": {"revision": 1}}), &[1])
}

pub fn follows_all_the_way() -> Scenario {
    let mut scenario = Scenario::new("a version goes all the way by itself, unless somebody cancels it")
        .follows("dev", &["v2.0.0"], &json!({}))
        .follows("staging", &["v2.0.0"], &json!({"from": ["dev"]}))
        .after(Deed::Publish("v2.0.0"))
        .may(Deed::Report("dev", 2, Succeeded))
        .may(Deed::Cancel("staging-auto-v2.0.0"));
    scenario.environments[1].2 = 1;
    scenario.published[2] = false;
    scenario
}
