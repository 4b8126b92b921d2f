//! The promotion controller: what `controller::promotion` does around the real plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use environment_manager::{
    api::{Promotion, revision::VersionReference, rules::PromotionRules},
    domain::{
        promotion::{
            live::{LiveLook, Names},
            plan::{Action, Step, plan},
            proposal::Needed,
            snapshot::{EnvironmentView, Rival, Snapshot, requirements},
            status,
        },
        revision::History,
        version::diff,
    },
};

use super::{Effect, Machine, Route, Slot, Work};
use crate::{
    objects::{ABSENT, Id},
    scenario::{self, Seed},
};

impl Machine {
    pub(super) fn route(&self, promotion: Slot) -> Rc<Route> {
        self.routes[promotion - self.promotion_slots().start].clone()
    }

    pub(super) fn route_of(&self, promotion: Slot) -> Route {
        let (target, source) = self.ends(promotion);
        let mut environments: BTreeSet<Slot> = target.into_iter().chain(source).collect();
        if let Some(target) = target {
            let first = self.scenario.environments[target].1.spec.promotion.clone();
            for rules in first.into_iter().chain(self.later_rules(target)) {
                let named = rules.from.iter().chain(rules.requires.iter().map(|requirement| &requirement.environment));
                environments.extend(named.filter_map(|name| self.environment_slot(name)));
            }
        }
        let mut relevant = vec![false; self.slots()];
        for environment in environments {
            relevant[environment] = true;
            relevant[self.revision_slots(environment)].fill(true);
        }
        for other in self.promotion_slots().filter(|other| self.ends(*other).0 == target) {
            relevant[other] = true;
        }
        relevant[self.version_slots()].fill(true);
        let relevant_slots = (0..self.slots()).filter(|slot| relevant[*slot]).collect();
        Route { target, relevant, relevant_slots }
    }

    /// Rules that somebody may give an environment.
    fn later_rules(&self, environment: Slot) -> Vec<PromotionRules> {
        let rules = self.scenario.acts.iter().filter_map(|act| match &act.deed {
            scenario::Deed::Rules(name, rules) if self.environment_slot(name) == Some(environment) => {
                Some(rules.clone())
            }
            _ => None,
        });
        rules.map(|rules| serde_json::from_value(rules).unwrap()).collect()
    }

    /// Target and source of all promotions of that name.
    fn ends(&self, promotion: Slot) -> (Option<Slot>, Option<Slot>) {
        let name = self.scenario.promotions[promotion - self.promotion_slots().start];
        if let Some((_, target)) = self.scenario.automatic.iter().find(|(automatic, _)| *automatic == name) {
            return (self.environment_slot(target), None);
        }
        let deeds = self.scenario.before.iter().chain(self.scenario.acts.iter().map(|act| &act.deed));
        let created = deeds.filter_map(|deed| match deed {
            scenario::Deed::Create(promotion) => Some(&**promotion),
            _ => None,
        });
        let mut all = self.scenario.asked.iter().chain(created);
        let found = all.find(|promotion| promotion.metadata.name.as_deref() == Some(name)).unwrap();
        let source = found.spec.source.environment.as_ref();
        (self.environment_slot(&found.spec.target), source.and_then(|name| self.environment_slot(name)))
    }

    /// The next step of a promotion, as far as it does something.
    pub(super) fn promotion_step(&mut self, cached: &[Id], promotion: Slot, work: Work, clock: u8) -> Option<u32> {
        if cached[promotion] == ABSENT {
            return None;
        }
        let route = self.route(promotion);
        let fresh = match work {
            Work::None => false,
            Work::Fresh { .. } if self.is_seeded(Seed::FreshForEver) => true,
            Work::Fresh { look, .. } => {
                let object = self.objects.promotion(cached[promotion])?;
                let anew = !self.is_seeded(Seed::NamesOfFirstLook);
                let names = if anew { self.names(cached, object) } else { Names::default() };
                let target = self.view_of(cached, &object.spec.target);
                self.looks[usize::from(look)].covers(&names, object, target.as_ref())
            }
        };
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        key.extend([Id::try_from(promotion).unwrap(), Id::from(fresh), Id::from(clock)]);
        for slot in &route.relevant_slots {
            key.push(cached[*slot]);
        }
        let known = self.promotion_plans.get(&key).copied();
        let effect = known.unwrap_or_else(|| {
            let effect = self.plan_promotion(cached, promotion, fresh, clock);
            let effect = effect.map(|effect| self.effect_id(effect));
            self.promotion_plans.insert(key.clone(), effect);
            effect
        });
        self.key = key;
        effect
    }

    fn plan_promotion(&mut self, cached: &[Id], slot: Slot, fresh: bool, clock: u8) -> Option<Effect> {
        let promotion = self.objects.promotion(cached[slot])?.clone();
        let (mut revisions, mut diffs) = (BTreeMap::new(), BTreeMap::new());
        let names = self.names(cached, &promotion);
        let mut fresh = fresh;
        loop {
            self.plans += 1;
            let snapshot = Snapshot {
                promotion: &promotion,
                requirements: requirements(&promotion.spec.target, |name| self.view_of(cached, name)?.rules().cloned()),
                undecodable: BTreeSet::new(),
                environments: names
                    .environments
                    .iter()
                    .filter_map(|name| Some((name.clone(), self.view_of(cached, name)?)))
                    .collect(),
                versions: names
                    .versions
                    .iter()
                    .filter_map(|name| {
                        let (_, view) = self.objects.version(cached[self.version_slot(name)?])?;
                        Some((name.clone(), (**view).clone()))
                    })
                    .collect(),
                rivals: self
                    .promotion_slots()
                    .filter_map(|other| self.objects.promotion(cached[other]))
                    .filter(|other| other.spec.target == promotion.spec.target)
                    .filter_map(|other| Rival::of(other))
                    .collect(),
                revisions: &revisions,
                diffs: &diffs,
                fresh,
                refusal: None,
                now: scenario::moment(clock),
            };
            match plan(&snapshot) {
                // What is read is content that never changes, so the cache's copy will do.
                Step::Read(Needed::Revision(name)) => {
                    let slot = (0..self.slots()).find(|slot| self.slot_name(*slot) == name).unwrap();
                    let found = self.objects.revision(cached[slot]).map(|(revision, _)| (**revision).clone());
                    revisions.insert(name, found);
                }
                Step::Read(Needed::Diff(from, to)) => {
                    let content = |reference: &VersionReference| scenario::version(&reference.name).spec.content;
                    let diff = diff::between(&from.as_ref().map(content).unwrap_or_default(), &content(&to));
                    diffs.insert((from.map(|from| from.digest), to.digest), diff);
                }
                Step::Refresh if self.is_seeded(Seed::CommitWithoutRefresh) => fresh = true,
                Step::Refresh => {
                    let reads = self.reads(cached, slot, &promotion, &names);
                    return Some(Effect::Refresh { promotion: slot, reads });
                }
                Step::Act(Action::Show(status)) => return Some(written(slot, &promotion, *status, true)),
                Step::Act(Action::Commit(record)) => {
                    let target = self.environment_slot(&record.environment).unwrap();
                    let revision = self.revision_slot(target, record.revision);
                    let object = self.objects.keep_revision(scenario::revision(*record));
                    return Some(Effect::Create { revision, object, promotion: Some(slot) });
                }
                Step::Act(Action::MarkEnd(phase)) => {
                    let uid = promotion.metadata.uid.clone().unwrap_or_default();
                    return Some(Effect::MarkEnd { promotion: slot, uid, phase });
                }
                Step::Act(Action::Delete) => return Some(Effect::Delete { promotion: slot }),
                Step::Rest(rest) => {
                    let stored = promotion.status.clone().map(status::ours);
                    let mut status = *rest.status;
                    let same = stored.as_ref() == Some(&status);
                    if same
                        && self.is_seeded(Seed::Restless)
                        && let Some(waiting_for) = &mut status.waiting_for
                    {
                        waiting_for.push('!');
                        return Some(written(slot, &promotion, status, false));
                    }
                    return (!same).then(|| written(slot, &promotion, status, false));
                }
            }
        }
    }

    fn names(&self, cached: &[Id], promotion: &Promotion) -> Names {
        Names::of(promotion, |name| self.view_of(cached, name))
    }

    /// The live reads of what a promotion looks at, as far as is known before them.
    pub fn live_look(&mut self, cached: &[Id], promotion: Slot) -> u16 {
        let object = self.objects.promotion(cached[promotion]).unwrap();
        let target = self.view_of(cached, &object.spec.target);
        let look = LiveLook::new(self.names(cached, object), object, target.as_ref());
        let known = self.looks.iter().position(|known| *known == look).unwrap_or_else(|| {
            self.looks.push(look);
            self.looks.len() - 1
        });
        u16::try_from(known).unwrap()
    }

    /// An environment as these objects show it.
    pub fn view_of(&self, held: &[Id], name: &str) -> Option<EnvironmentView> {
        let slot = self.environment_slot(name)?;
        let environment = self.objects.environment(held[slot])?.clone();
        Some(EnvironmentView { environment, history: self.history(held, slot), unreadable: None })
    }

    pub fn history(&self, held: &[Id], environment: Slot) -> History {
        let records = self.revision_slots(environment).filter_map(|slot| self.objects.revision(held[slot]));
        History::new(records.map(|(_, record)| record.clone()).collect())
    }

    /// What is read live before a commit, as `controller::promotion::refresh`.
    fn reads(&self, cached: &[Id], slot: Slot, promotion: &Promotion, names: &Names) -> Vec<Slot> {
        let target = self.environment_slot(&promotion.spec.target);
        let mut reads = vec![slot];
        for environment in names.environments.iter().filter_map(|name| self.environment_slot(name)) {
            // From the newest on that is known.
            let newest = self.revision_slots(environment).rev().find(|slot| cached[*slot] != ABSENT);
            let first = newest.unwrap_or(self.revision_slots(environment).start);
            reads.extend(first..self.revision_slots(environment).end);
            reads.push(environment);
        }
        reads.extend(names.versions.iter().filter_map(|name| self.version_slot(name)));
        reads.extend(self.promotion_slots().filter(|other| *other != slot && self.route(*other).target == target));
        if self.is_seeded(Seed::GatesOfFirstLook) {
            reads.retain(|slot| target.is_some_and(|target| self.revision_slots(target).contains(slot)));
        }
        reads
    }
}

fn written(
    promotion: Slot,
    object: &Promotion,
    status: environment_manager::api::PromotionStatus,
    shows: bool,
) -> Effect {
    Effect::Status { promotion, uid: object.metadata.uid.clone().unwrap_or_default(), status: Box::new(status), shows }
}
