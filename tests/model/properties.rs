//! What must hold, said a second time and in another way than the gates say it.
//!
//! Between a promotion's live reads and its commit each of them may have seen any moment in between. So the model
//! remembers for each demand whether it held at some moment since the live reads began ([`Machine::facts`]), and a commit
//! must find all of its demands among those.

use std::collections::BTreeSet;

use environment_manager::{
    api::{
        Cause, DeploymentState, EnvironmentRevisionSpec, GateState, GateType, Promotion, PromotionPhase,
        RevisionNumber,
        rules::{PromotionRules, QueuePolicy},
        version::ValidationOutcome,
    },
    domain::{duration, promotion::snapshot::Place, revision::RevisionRecord, version::order},
};

use crate::{
    machine::{Machine, Slot},
    objects::Id,
    scenario::{self, VERSIONS},
};

mod automatic;

/// The properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// There is one release for each revision number, and it follows the one before.
    OneReleasePerNumber,
    /// Nothing moves into an environment while another promotion there is on its way, but an emergency rollback.
    OneOnItsWay,
    /// Every gate that the rules demand held at some moment since the live reads began, and is recorded as passed or waived.
    NoGateSkipped,
    /// What moves is the plan that enough people confirmed, the author not among them.
    ConfirmedByOthers,
    /// A release only ever changes by a new revision: it never goes back, and never says what no revision says.
    ReleaseChangesByRevision,
    /// What was cancelled before the live reads moves nothing.
    CancelledNeverMoves,
    /// A version that was rolled back comes back by lifting the veto only.
    VetoedNeverMoves,
    /// A failed deployment is answered once, and the answer never.
    AnsweredOnce,
    /// A promotion's name moves something once.
    NameMovesOnce,
    /// An end is final, unless it says that nothing moved and the history says otherwise.
    EndIsFinal,
    /// What has moved something says so once all is at rest, and of no revision that is there it is said that it is gone.
    EndIsTrue,
    /// Whatever rests has ended, or says what it waits for; and of those that wait for their turn one does not.
    RestHasReason,
    /// A version is asked for by itself once, and moved by itself once.
    AskedOnce,
    /// An environment that asks by itself rests with the newest version that it is to follow, unless that waits, was cancelled,
    /// or is refused; and of older ones none waits beside it.
    NewestWins,
    /// From every state it comes to rest once the caches know everything.
    ComesToRest,
}

/// A property that does not hold, and why.
#[derive(Clone, Debug)]
pub struct Broken {
    pub property: Property,
    pub why: String,
}

#[allow(clippy::unnecessary_wraps, reason = "it ends a check, and those may find nothing")]
fn broken(property: Property, why: impl Into<String>) -> Option<Broken> {
    Some(Broken { property, why: why.into() })
}

/// Demands on a version: four bits for each.
const SOURCE: u32 = 1;
const REQUIRES: u32 = 2;
const VALIDATED: u32 = 4;
const NO_VETO: u32 = 8;
/// Demands on the moment.
const TURN: u32 = 1 << 12;
const UPSTREAM: u32 = 1 << 13;
const NOT_CANCELLED: u32 = 1 << 14;

fn ended(promotion: &Promotion) -> bool {
    promotion.status.as_ref().and_then(|status| status.phase).is_some_and(PromotionPhase::is_terminal)
}

fn uid(promotion: &Promotion) -> &str {
    promotion.metadata.uid.as_deref().unwrap_or_default()
}

impl Machine {
    /// Which of the demands on this promotion hold.
    pub fn facts(&mut self, server: u32, slot: Slot, clock: u8) -> u32 {
        if let Some(known) = self.facts.get(&(server, slot, clock)) {
            return *known;
        }
        let held = self.servers.get(server).clone();
        let facts =
            self.objects.promotion(held[slot]).map_or(0, |promotion| self.work_out_facts(&held, promotion, clock));
        self.facts.insert((server, slot, clock), facts);
        facts
    }

    fn work_out_facts(&self, held: &[Id], promotion: &Promotion, clock: u8) -> u32 {
        let Some(target) = self.view_of(held, &promotion.spec.target) else { return 0 };
        let nothing = PromotionRules::default();
        let rules = target.rules().unwrap_or(&nothing);
        let source = &promotion.spec.source;
        let backwards = self.goes_back(held, promotion) || source.pending_config.is_some();
        let mut facts = 0;
        for (index, name) in VERSIONS.into_iter().enumerate() {
            let digest = scenario::reference(name).digest;
            let is_in = |environment: &String| {
                let view = self.view_of(held, environment);
                view.is_some_and(|view| view.history.newest().is_some_and(|newest| newest.has_version(&digest)))
            };
            let from_source = match &source.environment {
                Some(environment) => is_in(environment) && (rules.from.is_empty() || rules.from.contains(environment)),
                None => rules.from.is_empty() || rules.from.iter().any(is_in),
            };
            let required = rules.requires.iter().all(|requirement| {
                let soak = duration::parse(requirement.soak.as_deref().unwrap_or("0s")).unwrap();
                let Some(view) = self.view_of(held, &requirement.environment) else { return false };
                let stretches = view.history.healthy(&digest, scenario::moment(clock));
                let newest = view.history.newest().filter(|newest| newest.has_version(&digest));
                let outcome = newest.and_then(|newest| newest.outcome.as_ref());
                let fails = outcome.is_some_and(|outcome| outcome.state == DeploymentState::Failed);
                stretches.iter().any(|stretch| stretch.lasted >= soak) && !fails && view.history.veto(&digest).is_none()
            });
            let validated = rules.validations.iter().all(|name| {
                let version = self.version_slot(VERSIONS[index]).and_then(|slot| self.objects.version(held[slot]));
                version.is_some_and(|(_, view)| {
                    let passed = |result: &environment_manager::api::version::ValidationResult| {
                        result.name == *name && result.result == ValidationOutcome::Passed && result.digest == digest
                    };
                    view.validations.iter().any(passed)
                })
            });
            let no_veto =
                source.pending_config.is_some() || promotion.spec.lift_veto || target.history.veto(&digest).is_none();
            for (fact, holds) in [
                (SOURCE, backwards || from_source),
                (REQUIRES, backwards || required),
                (VALIDATED, backwards || validated),
                (NO_VETO, no_veto),
            ] {
                facts |= if holds { fact << (4 * index) } else { 0 };
            }
        }
        let degraded = |name: &String| {
            let newest = self.view_of(held, name).and_then(|view| view.history.newest().cloned());
            let outcome = newest.and_then(|newest| newest.outcome.clone());
            outcome.is_some_and(|outcome| outcome.state == DeploymentState::Failed)
        };
        facts |= if self.is_its_turn(held, promotion, rules.queue) { TURN } else { 0 };
        facts |= if source.environment.as_ref().is_none_or(|name| !degraded(name)) { UPSTREAM } else { 0 };
        facts | if promotion.spec.cancel { 0 } else { NOT_CANCELLED }
    }

    /// Whether it restores a revision whose version is not newer than the one that is there.
    fn goes_back(&self, held: &[Id], promotion: &Promotion) -> bool {
        let Some(target) = self.view_of(held, &promotion.spec.target) else { return false };
        let to = promotion.spec.source.revision.and_then(|number| target.history.get(number));
        let age = |record: &RevisionRecord| {
            let name = &record.version.as_ref()?.name;
            VERSIONS.iter().position(|version| version == name)
        };
        to.is_some_and(|to| target.history.newest().is_some_and(|newest| age(to) <= age(newest)))
    }

    /// Whether it goes past the others, and needs no confirmation.
    fn is_emergency(&self, held: &[Id], promotion: &Promotion) -> bool {
        promotion.spec.emergency && self.goes_back(held, promotion)
    }

    fn others<'a>(&'a self, held: &'a [Id], promotion: &'a Promotion) -> impl Iterator<Item = &'a Promotion> {
        let all = self.promotion_slots().filter_map(|slot| self.objects.promotion(held[slot]));
        let others = all.map(AsRef::as_ref).filter(|other| uid(other) != uid(promotion));
        others.filter(|other| other.spec.target == promotion.spec.target && !ended(other) && !other.spec.dry_run)
    }

    /// Another promotion that has moved something into the same environment and has not ended.
    fn on_its_way<'a>(&'a self, held: &'a [Id], promotion: &'a Promotion) -> Option<&'a Promotion> {
        let all = self.promotion_slots().filter_map(|slot| self.objects.promotion(held[slot])).map(AsRef::as_ref);
        let mut others = all.filter(|other: &&Promotion| uid(other) != uid(promotion));
        let told = |other: &Promotion| other.status.as_ref().is_some_and(|status| status.revision.is_some());
        others.find(|other| {
            let same = other.spec.target == promotion.spec.target;
            same && self.made(held, other).is_some() && !(ended(other) && told(other)) && !self.came_again(held, other)
        })
    }

    /// It has the name of one that was deployed well and has gone: it moves nothing.
    fn came_again(&self, held: &[Id], promotion: &Promotion) -> bool {
        let name = promotion.metadata.name.as_deref().unwrap_or_default();
        let target = self.view_of(held, &promotion.spec.target);
        target.and_then(|target| target.history.made_by_name(name).cloned()).is_some_and(|made| {
            let outcome = made.outcome.as_ref();
            let well = outcome.is_some_and(|outcome| outcome.state == DeploymentState::Succeeded);
            !made.is_made_by(uid(promotion)) && well
        })
    }

    fn is_its_turn(&self, held: &[Id], promotion: &Promotion, queue: QueuePolicy) -> bool {
        if self.is_emergency(held, promotion) {
            return true;
        }
        // One that names something missing holds up nobody, and only one that has a plan takes another one's place.
        let comes_first = |other: &Promotion| {
            let status = other.status.as_ref();
            let pending = status.and_then(|status| status.phase) == Some(PromotionPhase::Pending);
            let promising = status.is_some_and(|status| status.plan.is_some());
            if let Some(before) = self.goes_before(other, promotion) {
                return before && !pending;
            }
            let before = Place::of(other) < Place::of(promotion);
            match queue {
                QueuePolicy::Queue => (self.is_emergency(held, other) || before) && !pending,
                QueuePolicy::Supersede => !before && promising && !pending,
                QueuePolicy::Reject => before && !pending,
            }
        };
        self.on_its_way(held, promotion).is_none() && !self.others(held, promotion).any(comes_first)
    }

    /// What is wrong with making this revision now. `since`: what held at some moment since the live reads.
    pub fn wrong_with_commit(
        &self,
        server: u32,
        slot: Slot,
        object: Id,
        promotion: Option<Slot>,
        since: u32,
    ) -> Option<Broken> {
        let held = self.servers.get(server);
        let record = &self.objects.revision(object)?.0.spec;
        let target = self.environment_slot(&record.environment)?;
        let history = self.history(held, target);
        let name = self.slot_name(slot);
        let newest = history.newest()?;
        if held[slot] != 0 || newest.number.next() != record.revision || record.previous != Some(newest.digest) {
            return broken(Property::OneReleasePerNumber, format!("{name} does not follow revision {}", newest.number));
        }
        // Configuration is carried on, unless the promotion changes it: no edit is lost.
        if record.cause == Cause::ConfigChanged && record.version != newest.version {
            return broken(
                Property::ReleaseChangesByRevision,
                format!("{name} changes the version without a promotion"),
            );
        }
        let promotion = self.objects.promotion(held[promotion?])?;
        let reference = record.promotion.as_ref()?;
        let made: Vec<_> = history.iter().filter(|made| made.is_named(&reference.name)).collect();
        if let Some(first) = made.last() {
            // What answers a failed deployment has no plan: nobody asked for it.
            if record.plan_digest.is_some() {
                return broken(Property::NameMovesOnce, format!("{} has moved something before", reference.name));
            }
            let answers = record.cause == Cause::RolledBack && record.restores.is_some();
            if first.cause == Cause::RolledBack || made.len() > 1 || !answers {
                return broken(Property::AnsweredOnce, format!("{name} is more than one answer"));
            }
            let version = record.version.as_ref()?;
            return history.veto(&version.digest).and_then(|_| {
                let why = format!("{name} answers with {}, which was rolled back", version.name);
                broken(Property::VetoedNeverMoves, why)
            });
        }
        if let Some(other) = self.on_its_way(held, promotion).filter(|_| !self.is_emergency(held, promotion)) {
            let other = other.metadata.name.as_deref().unwrap_or_default();
            return broken(Property::OneOnItsWay, format!("{name} is made while {other} is on its way"));
        }
        if since & NOT_CANCELLED == 0 {
            return broken(Property::CancelledNeverMoves, format!("{name} is made by what was cancelled"));
        }
        self.wrong_with_gates(held, record, promotion, since)
            .or_else(|| self.wrong_with_following(held, record))
            .or_else(|| self.wrong_with_confirmations(record, promotion, held))
    }

    fn wrong_with_gates(
        &self,
        held: &[Id],
        record: &EnvironmentRevisionSpec,
        promotion: &Promotion,
        since: u32,
    ) -> Option<Broken> {
        let skipped =
            |what: &str| broken(Property::NoGateSkipped, format!("{}-{}: {what}", record.environment, record.revision));
        if let Some(gate) = record.gates.iter().find(|gate| !gate.state.lets_pass()) {
            return skipped(&format!("{} is recorded as {:?}", gate.name, gate.state));
        }
        let version = record.version.as_ref()?;
        let index = VERSIONS.iter().position(|name| *name == version.name)?;
        let of_version = since >> (4 * index);
        if of_version & NO_VETO == 0 {
            return broken(Property::VetoedNeverMoves, format!("{} was rolled back", version.name));
        }
        for (fact, what) in [(SOURCE, "from"), (REQUIRES, "requires"), (VALIDATED, "validations")] {
            if of_version & fact == 0 {
                return skipped(&format!("{what} did not hold for {}", version.name));
            }
        }
        for (fact, what) in [(TURN, "queue"), (UPSTREAM, "upstreamHealth")] {
            if since & fact == 0 {
                return skipped(&format!("{what} did not hold"));
            }
        }
        let target = self.view_of(held, &record.environment)?;
        let before = target.history.newest().and_then(|newest| newest.version.clone());
        if record.cause == Cause::Promoted && before.is_some_and(|before| order::is_older(&version.name, &before.name))
        {
            return skipped("upgrade: the version is an older one");
        }
        let changed = self.scenario.acts.iter().any(|act| matches!(act.deed, scenario::Deed::Rules(..)));
        let recorded = |name: String| changed || record.gates.iter().any(|gate| gate.name == name);
        let rules = target.rules().cloned().unwrap_or_default();
        let mut demanded = vec!["upgrade".to_owned(), "veto".to_owned(), "completeness".to_owned(), "queue".to_owned()];
        demanded.extend((!rules.from.is_empty()).then(|| "from".to_owned()));
        demanded.extend(rules.requires.iter().map(|requirement| format!("requires/{}", requirement.environment)));
        demanded.extend(rules.validations.iter().map(|name| format!("validation/{name}")));
        demanded.extend(rules.versions.map(|_| "versions".to_owned()));
        demanded.extend(rules.confirmations.filter(|rules| rules.required > 0).map(|_| "confirmations".to_owned()));
        demanded.extend(promotion.spec.source.environment.as_ref().map(|_| "upstreamHealth".to_owned()));
        let missing = demanded.into_iter().find(|name| !recorded(name.clone()))?;
        skipped(&format!("{missing} is not recorded"))
    }

    fn wrong_with_confirmations(
        &self,
        record: &EnvironmentRevisionSpec,
        promotion: &Promotion,
        held: &[Id],
    ) -> Option<Broken> {
        let rules = self.view_of(held, &record.environment)?.rules()?.confirmations.clone()?;
        if self.is_emergency(held, promotion) {
            return None;
        }
        let wrong = |what: &str| {
            broken(Property::ConfirmedByOthers, format!("{}-{}: {what}", record.environment, record.revision))
        };
        if record.confirmations.iter().any(|yes| Some(yes.digest) != record.plan_digest) {
            return wrong("a confirmation of another plan is recorded");
        }
        if record.confirmations.iter().any(|yes| !promotion.spec.confirmations.contains(yes)) {
            return wrong("a confirmation is recorded that nobody gave");
        }
        let people: BTreeSet<&str> =
            record.confirmations.iter().map(|yes| yes.user.as_str()).filter(|user| *user != "ana").collect();
        if people.len() < rules.required as usize {
            return wrong("too few people confirmed it");
        }
        None
    }

    /// What is wrong with a promotion's status becoming this.
    pub fn wrong_with_status(&self, server: u32, slot: Slot, after: Id) -> Option<Broken> {
        let held = self.servers.get(server);
        let (before, after) = (self.objects.promotion(held[slot])?, self.objects.promotion(after)?);
        let phase = |promotion: &Promotion| promotion.status.as_ref().and_then(|status| status.phase);
        let name = self.slot_name(slot);
        let told = |promotion: &Promotion| promotion.status.as_ref().and_then(|status| status.revision);
        if ended(before)
            && phase(before) != phase(after)
            && (told(before).is_some() || self.made(held, before).is_none())
        {
            return broken(
                Property::EndIsFinal,
                format!("{name} was {:?} and becomes {:?}", phase(before), phase(after)),
            );
        }
        let gone = after
            .status
            .iter()
            .flat_map(|status| &status.conditions)
            .any(|condition| condition.reason == "RevisionGone");
        if gone && self.made(held, before).is_some() {
            return broken(Property::EndIsTrue, format!("{name} says that its revision is gone, and it is there"));
        }
        None
    }

    /// The first revision that a promotion of this name made.
    fn made(&self, held: &[Id], promotion: &Promotion) -> Option<RevisionNumber> {
        let target = self.view_of(held, &promotion.spec.target)?;
        let name = promotion.metadata.name.as_deref().unwrap_or_default();
        target.history.iter().rev().find(|record| record.is_named(name)).map(|record| record.number)
    }

    /// What is wrong with an environment's release becoming this.
    pub fn wrong_with_release(&self, server: u32, environment: Slot, after: Id) -> Option<Broken> {
        let held = self.servers.get(server);
        let release = |id: Id| self.objects.environment(id)?.status.as_ref()?.release.clone();
        let (before, after) = (release(held[environment])?, release(after)?);
        let history = self.history(held, environment);
        let made = history.get(after.revision).map(|record| record.release());
        let same = made.is_some_and(|made| made.version == after.version && made.config_digest == after.config_digest);
        if !same || after.revision < before.revision {
            let name = self.slot_name(environment);
            return broken(
                Property::ReleaseChangesByRevision,
                format!("{name} goes from {} to {}", before.revision, after.revision),
            );
        }
        None
    }

    /// What is wrong with nothing happening any more.
    pub fn wrong_with_rest(&self, server: u32) -> Option<Broken> {
        let held = self.servers.get(server);
        let wrong = |what: String| broken(Property::RestHasReason, what);
        for environment in self.environments() {
            let status = self.objects.environment(held[environment])?.status.clone().unwrap_or_default();
            let newest = self.history(held, environment).newest().map(|newest| newest.number);
            if status.release.map(|release| release.revision) != newest {
                return wrong(format!("{} does not publish its newest revision", self.slot_name(environment)));
            }
        }
        if let Some(broken) = self.following().into_iter().find_map(|slot| self.wrong_with_resting(held, slot)) {
            return Some(broken);
        }
        let promotions: Vec<&Promotion> =
            self.promotion_slots().filter_map(|slot| self.objects.promotion(held[slot])).map(AsRef::as_ref).collect();
        for promotion in &promotions {
            let told = promotion.status.as_ref().and_then(|status| status.revision);
            if let Some(made) = self.made(held, promotion).filter(|made| told != Some(*made)) {
                let name = promotion.metadata.name.as_deref().unwrap_or_default();
                return broken(Property::EndIsTrue, format!("{name} made revision {made} and does not say so"));
            }
        }
        for promotion in promotions.iter().filter(|promotion| !ended(promotion)) {
            let name = promotion.metadata.name.as_deref().unwrap_or_default();
            let Some(status) = &promotion.status else { return wrong(format!("{name} has no status")) };
            if status.waiting_for.as_ref().is_none_or(String::is_empty) {
                return wrong(format!("{name} does not say what it waits for"));
            }
            let pending: Vec<_> = status.gates.iter().filter(|gate| gate.state == GateState::Pending).collect();
            let waits = match status.phase {
                Some(PromotionPhase::Pending) => true,
                Some(PromotionPhase::Evaluating | PromotionPhase::AwaitingConfirmation) => {
                    status.revision.is_none() && !pending.is_empty()
                }
                Some(PromotionPhase::ReadyForDeploy | PromotionPhase::Deployed) => status.until.is_some(),
                _ => false,
            };
            if !waits {
                return wrong(format!("{name} is {:?} and nothing is pending: {:?}", status.phase, status.waiting_for));
            }
            if promotion.spec.cancel && status.revision.is_none() {
                return wrong(format!("{name} was cancelled and goes on"));
            }
            // Of those that wait for their turn, some other one must not.
            let waits_for_turn = |other: &Promotion| {
                let gates = other.status.iter().flat_map(|status| &status.gates);
                let mut queue = gates.filter(|gate| gate.r#type == GateType::Queue);
                queue.any(|gate| gate.state == GateState::Pending)
                    && other.status.as_ref().is_some_and(|status| status.revision.is_none())
            };
            let rivals = promotions.iter().filter(|other| other.spec.target == promotion.spec.target && !ended(other));
            if waits_for_turn(promotion) && rivals.clone().all(|other| waits_for_turn(other)) {
                return wrong(format!("{name} waits for its turn, and so do all others"));
            }
        }
        None
    }
}
