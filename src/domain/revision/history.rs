//! What an environment's history says, from the newest revision backwards.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::RevisionRecord;
use crate::{
    api::{Cause, DeploymentState, Digest, RevisionNumber, environment::Veto},
    domain::version::order,
};

/// The kept revisions of one environment, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(Vec<Arc<RevisionRecord>>);

impl History {
    /// The history with these revisions, in any order.
    #[must_use]
    pub fn new(mut records: Vec<Arc<RevisionRecord>>) -> Self {
        records.sort_by_key(|record| std::cmp::Reverse(record.number));
        Self(records)
    }

    /// The newest revision.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<RevisionRecord>> {
        self.0.first()
    }

    /// The one before the newest.
    #[must_use]
    pub fn previous(&self) -> Option<&Arc<RevisionRecord>> {
        self.0.get(1)
    }

    /// The revision with this number.
    #[must_use]
    pub fn get(&self, number: RevisionNumber) -> Option<&Arc<RevisionRecord>> {
        self.0.iter().find(|record| record.number == number)
    }

    /// All revisions, the newest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<RevisionRecord>> {
        self.0.iter()
    }

    /// Those after this one, the oldest first.
    pub fn after(&self, number: RevisionNumber) -> impl Iterator<Item = &Arc<RevisionRecord>> {
        self.0.iter().rev().filter(move |record| record.number > number)
    }

    /// The revision that a promotion of this name made: the first, since a failed deployment may have been answered by
    /// a second one.
    #[must_use]
    pub fn made_by_name(&self, promotion: &str) -> Option<&Arc<RevisionRecord>> {
        let made = |record: &&Arc<RevisionRecord>| record.promotion.as_ref().is_some_and(|made| made.name == promotion);
        self.0.iter().rev().find(made)
    }

    /// The newest revision before this one that the planner deployed well and whose version nobody has taken back. A veto that
    /// this one itself ended counts: that it is newer does not make better what was there before.
    #[must_use]
    pub fn last_good_to_restore(&self, number: RevisionNumber) -> Option<&Arc<RevisionRecord>> {
        let before = || self.0.iter().filter(|record| record.number < number);
        let vetoes = Self(before().cloned().collect()).vetoes();
        let taken_back = |record: &RevisionRecord| vetoes.iter().any(|veto| record.has_version(&veto.version.digest));
        before().find(|record| was_good(record) && !taken_back(record))
    }

    /// The newest revision that is, or was, deployed well.
    #[must_use]
    pub fn last_good(&self) -> Option<&Arc<RevisionRecord>> {
        self.0.iter().find(|record| was_good(record))
    }

    /// Versions that were rolled back and must not come back by themselves: no newer version was released since, and
    /// nobody lifted the veto by releasing that very version again.
    #[must_use]
    pub fn vetoes(&self) -> Vec<Veto> {
        let mut vetoes: Vec<Veto> = vec![];
        for record in self.0.iter().rev() {
            if let Some(released) = &record.version
                && matches!(record.cause, Cause::Promoted | Cause::RolledBack)
            {
                vetoes.retain(|veto| {
                    let newer = record.cause == Cause::Promoted && order::is_older(&veto.version.name, &released.name);
                    veto.version.digest != released.digest && !newer
                });
            }
            if let Some(version) = &record.vetoes {
                vetoes.retain(|veto| veto.version.digest != version.digest);
                vetoes.push(Veto { version: version.clone(), revision: record.number });
            }
        }
        // What the newest revision has is not vetoed, whatever of the history is not kept.
        if let Some(now) = self.newest().and_then(|newest| newest.version.as_ref()) {
            vetoes.retain(|veto| veto.version.digest != now.digest && !order::is_older(&veto.version.name, &now.name));
        }
        vetoes
    }

    /// The veto of the version with this digest.
    #[must_use]
    pub fn veto(&self, version: &Digest) -> Option<Veto> {
        self.vetoes().into_iter().find(|veto| veto.version.digest == *version)
    }

    /// The stretches of time for which a version was deployed and healthy here, one for each revision that had it.
    #[must_use]
    pub fn healthy(&self, version: &Digest, now: Timestamp) -> Vec<Healthy> {
        let had_it = self.0.iter().filter(|record| record.has_version(version));
        had_it.filter_map(|record| self.stretch(record, now)).collect()
    }

    /// The stretch of time for which this revision was deployed and healthy, if it ever was.
    #[must_use]
    pub fn stretch(&self, record: &RevisionRecord, now: Timestamp) -> Option<Healthy> {
        let outcome = record.outcome.as_ref()?;
        let since = outcome.healthy_since?;
        let next = self.after(record.number).next().map(|next| next.timestamp);
        let lasts = next.is_none() && outcome.state == DeploymentState::Succeeded;
        let until = outcome.healthy_until.into_iter().chain(next).min().unwrap_or(now);
        let longest = outcome.longest_healthy_seconds.map(SignedDuration::from_secs);
        let lasted = until.duration_since(since).max(longest.unwrap_or_default());
        Some(Healthy { revision: record.number, since, lasted, lasts })
    }
}

/// A stretch of time for which a revision was deployed and healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Healthy {
    /// The revision.
    pub revision: RevisionNumber,
    /// From when.
    pub since: Timestamp,
    /// For how long, without a break; of several times the longest.
    pub lasted: SignedDuration,
    /// Whether it goes on.
    pub lasts: bool,
}

fn was_good(record: &RevisionRecord) -> bool {
    record.outcome.as_ref().is_some_and(|outcome| outcome.state == DeploymentState::Succeeded)
}
