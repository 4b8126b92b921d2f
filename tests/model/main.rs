//! A model check of promotions: the real `plan()`, and the real decision of the environment controller about releases,
//! against a tiny API server, in every order in which things can happen.
//!
//! # What is explored
//!
//! Two operators work on three environments with up to three versions and three promotions, while people, validators and
//! the planner do what a scenario lets them do, each once, at any time, in any order. Each operator has caches of its own,
//! one for each kind, which lag behind as far as they like. A reconcile is taken apart into what is atomic: a look at the
//! caches with the write that follows from it; the live reads; a look at the caches after those, with the commit that
//! follows. Between any two of these anything else can happen, also that the operator is killed, any number of times. In
//! one scenario answers of the API server are lost as well: the write was made, and the operator does not know.
//!
//! An environment that asks for promotions by itself (`auto`) does so in each replica, on that one's caches: what is due is
//! said by the real `domain::promotion::auto`. The environment controller makes them once nothing else is left to do;
//! here they may be made at any time.
//!
//! The objects are real ones. A state names them by number ([`objects`]), so a state is a few numbers, and each distinct
//! plan is made once ([`machine`]). Three things keep the number of states small and lose nothing:
//!
//! - A watch delivers when something is done on what it brought, and no earlier ([`machine::Machine::choices`]): of all
//!   ways in which caches may have caught up to the same effect only the earliest are taken.
//! - The operators are alike, so a state and its mirror image are one.
//! - An operator that rests remembers nothing; so to kill it between two reconciles changes nothing.
//!
//! # What is not
//!
//! An operator makes one reconcile at a time, where the real one makes several; two operators that are at it at once
//! cover that but for what they share. Which change wakes which promotion is no part of it: every promotion may be
//! reconciled at any time. The clocks of the operators agree. The API server has one state, not several replicas of it.
//!
//! What must hold is in [`properties`], what can happen in [`scenarios`]. To see the numbers:
//! `cargo test --test model -- --nocapture`.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, this is how to fail")]

use crate::{
    explore::explore,
    properties::Property,
    scenario::{Scenario, Seed},
};

mod explore;
mod machine;
mod numbered;
mod objects;
mod properties;
mod scenario;
mod scenarios;

/// Explores a scenario to its end: no property is broken.
fn holds(scenario: Scenario) {
    let report = explore(scenario, None);
    println!("{}", report.summary());
    let ways: String = report.broken.values().cloned().collect();
    assert!(report.exhausted && report.broken.is_empty(), "{}\n{ways}", report.summary());
}

/// The checker finds what a fault in carrying plans out leads to. The fault is in the model, the plans are the real ones.
fn finds(seed: Seed, scenario: Scenario, property: Property) {
    let report = explore(scenario.seeded(seed), Some(property));
    let way = report.broken.get(&property).unwrap_or_else(|| panic!("{seed:?} not found: {}", report.summary()));
    println!("seeded {seed:?}, found after {} states in {:.1?}: {way}", report.states, report.took);
}

#[test]
fn two_into_one() {
    holds(scenarios::two_into_one());
}

#[test]
fn first_in_line() {
    holds(scenarios::first_in_line());
}

#[test]
fn supersede() {
    holds(scenarios::supersede());
}

#[test]
fn reject() {
    holds(scenarios::reject());
}

#[test]
fn confirmed() {
    holds(scenarios::confirmed());
}

#[test]
fn cancelled() {
    holds(scenarios::cancelled());
}

#[test]
fn confirmed_by_two() {
    holds(scenarios::confirmed_by_two());
}

#[test]
fn validated() {
    holds(scenarios::validated());
}

#[test]
fn stricter_rules() {
    holds(scenarios::stricter_rules());
}

#[test]
fn published_late() {
    holds(scenarios::published_late());
}

#[test]
fn source_moves() {
    holds(scenarios::source_moves());
}

#[test]
fn three_in_a_row() {
    holds(scenarios::three_in_a_row());
}

#[test]
fn answered() {
    holds(scenarios::answered());
}

#[test]
fn answered_while_another_waits() {
    holds(scenarios::answered_while_another_waits());
}

#[test]
fn vetoed() {
    holds(scenarios::vetoed());
}

#[test]
fn failure_after_failure() {
    holds(scenarios::failure_after_failure());
}

#[test]
fn emergency() {
    holds(scenarios::emergency());
}

#[test]
fn emergency_first() {
    holds(scenarios::emergency_first());
}

#[test]
fn emergency_forwards() {
    holds(scenarios::emergency_forwards());
}

#[test]
fn name_again() {
    holds(scenarios::name_again());
}

#[test]
fn environment_controller() {
    holds(scenarios::environment_controller());
}

#[test]
fn reports() {
    holds(scenarios::reports());
}

#[test]
fn lost_answers() {
    holds(scenarios::lost_answers());
}

#[test]
fn deadlines() {
    holds(scenarios::deadlines());
}

#[test]
fn soaks_elsewhere() {
    holds(scenarios::soaks_elsewhere());
}

#[test]
fn pending_configuration() {
    holds(scenarios::pending_configuration());
}

#[test]
fn follows() {
    holds(scenarios::follows());
}

#[test]
fn follows_what_is_published() {
    holds(scenarios::follows_what_is_published());
}

#[test]
fn follows_beside_people() {
    holds(scenarios::follows_beside_people());
}

#[test]
fn follows_what_moves_on() {
    holds(scenarios::follows_what_moves_on());
}

#[test]
fn follows_once() {
    holds(scenarios::follows_once());
}

#[test]
fn follows_all_the_way() {
    holds(scenarios::follows_all_the_way());
}

#[test]
fn commit_without_refresh_is_found() {
    finds(Seed::CommitWithoutRefresh, scenarios::first_in_line(), Property::NoGateSkipped);
}

#[test]
fn a_commit_that_replaces_another_is_found() {
    finds(Seed::OverwriteRevision, scenarios::first_in_line(), Property::OneReleasePerNumber);
}

#[test]
fn gates_of_the_first_look_are_found() {
    finds(Seed::GatesOfFirstLook, scenarios::cancelled(), Property::CancelledNeverMoves);
}

#[test]
fn live_reads_that_stay_good_for_ever_are_found() {
    finds(Seed::FreshForEver, scenarios::first_in_line(), Property::OneOnItsWay);
}

#[test]
fn versions_that_nobody_read_live_are_found() {
    finds(Seed::NamesOfFirstLook, scenarios::source_moves(), Property::NoGateSkipped);
}

#[test]
fn a_status_written_over_an_end_is_found() {
    finds(Seed::StatusUnconditional, scenarios::cancelled(), Property::EndIsFinal);
}

#[test]
fn a_release_that_is_taken_back_is_found() {
    finds(Seed::ReleaseUnconditional, scenarios::environment_controller(), Property::ReleaseChangesByRevision);
}

#[test]
fn a_status_that_never_rests_is_found() {
    let mut scenario = scenarios::validated();
    scenario.most_states = 10_000;
    finds(Seed::Restless, scenario, Property::ComesToRest);
}

#[test]
fn a_promotion_that_is_asked_for_for_ever_is_found() {
    finds(Seed::AskedForgotten, scenarios::follows_what_is_published(), Property::ComesToRest);
}

#[test]
fn a_name_that_is_another_one_each_time_is_found() {
    finds(Seed::NameByTheWay, scenarios::follows(), Property::AskedOnce);
}
