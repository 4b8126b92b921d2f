//! How a revision's deployment goes: what the planner's reports make of what is known.
//!
//! Reports may come late, twice, or out of order. Only those for the newest revision count (the caller sees to that),
//! and of two reports the one with the later time.

use jiff::Timestamp;

use crate::{
    api::{DeploymentReport, DeploymentState, ReleaseState, RevisionNumber, revision::DeploymentOutcome},
    domain::conditions::whole_seconds,
};

/// What is known of this revision after this report; `None` if the report says nothing new of it.
#[must_use]
pub fn after(
    revision: RevisionNumber,
    known: Option<&DeploymentOutcome>,
    report: Option<&DeploymentReport>,
    now: Timestamp,
) -> Option<DeploymentOutcome> {
    let report = report.filter(|report| report.revision == revision)?;
    // A later time is news by itself: it says what is out of date from now on. One that is still ahead is not: it counts
    // as the moment at which it is looked at, and would be news again at every look.
    let same = |known: &DeploymentOutcome| {
        let words = known.message == report.message && known.reported_by == report.reported_by;
        let no_later = report.at > Some(now) || known.at >= report.at;
        known.state == report.state && words && no_later
    };
    if known.is_some_and(|known| is_stale(known, report) || same(known)) {
        return None;
    }
    let was_healthy = known.filter(|known| known.state == DeploymentState::Succeeded);
    let healthy_since = match report.state {
        DeploymentState::Succeeded => was_healthy.map_or(Some(whole_seconds(now)), |known| known.healthy_since),
        DeploymentState::InProgress | DeploymentState::Failed => known.and_then(|known| known.healthy_since),
    };
    let healthy_until = match report.state {
        DeploymentState::Succeeded => None,
        DeploymentState::InProgress | DeploymentState::Failed => match was_healthy {
            Some(_) => Some(whole_seconds(now)),
            None => known.and_then(|known| known.healthy_until),
        },
    };
    let longest = known.and_then(|known| known.longest_healthy_seconds);
    let ended = was_healthy.filter(|_| healthy_until.is_some()).and_then(|known| known.healthy_since);
    let stretch = ended.map(|since| whole_seconds(now).duration_since(since).as_secs());
    Some(DeploymentOutcome {
        longest_healthy_seconds: longest.max(stretch),
        state: report.state,
        message: report.message.clone(),
        reported_by: report.reported_by.clone(),
        // A planner whose clock is ahead must not silence itself, or others.
        at: report.at.map(|at| at.min(now)),
        healthy_since,
        healthy_until,
    })
}

/// An older report than the one that counts. Without times, work that is under way is never news after its end.
fn is_stale(known: &DeploymentOutcome, report: &DeploymentReport) -> bool {
    match (known.at, report.at) {
        (Some(known), Some(reported)) if known != reported => reported < known,
        _ => report.state == DeploymentState::InProgress && known.state != DeploymentState::InProgress,
    }
}

/// What has become of a release whose deployment went so.
#[must_use]
pub fn release_state(outcome: Option<&DeploymentOutcome>) -> ReleaseState {
    match outcome.map(|outcome| outcome.state) {
        None => ReleaseState::ReadyForDeploy,
        Some(DeploymentState::InProgress) => ReleaseState::Deploying,
        Some(DeploymentState::Succeeded) => ReleaseState::Deployed,
        Some(DeploymentState::Failed) => ReleaseState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn report(state: DeploymentState, second: Option<i64>) -> DeploymentReport {
        DeploymentReport {
            revision: RevisionNumber::FIRST,
            state,
            message: None,
            reported_by: Some("argocd".to_owned()),
            at: second.map(at),
        }
    }

    /// What is known after these reports, one each second.
    fn after_all(reports: &[DeploymentReport]) -> Option<DeploymentOutcome> {
        reports.iter().zip(100..).fold(None, |known, (report, second)| {
            after(RevisionNumber::FIRST, known.as_ref(), Some(report), at(second)).or(known)
        })
    }

    #[test]
    fn health_counts_from_the_moment_at_which_success_was_seen() {
        let known =
            after_all(&[report(DeploymentState::InProgress, Some(1)), report(DeploymentState::Succeeded, Some(2))]);
        assert_eq!(known.unwrap().healthy_since, Some(at(101)), "by our clock, not by the planner's word");
    }

    #[test]
    fn a_failure_after_success_ends_the_health() {
        let known = after_all(&[report(DeploymentState::Succeeded, Some(1)), report(DeploymentState::Failed, Some(2))]);
        let known = known.unwrap();
        assert_eq!((known.healthy_since, known.healthy_until), (Some(at(100)), Some(at(101))));
        assert_eq!(release_state(Some(&known)), ReleaseState::Failed);
    }

    #[test]
    fn an_older_or_repeated_report_changes_nothing() {
        let success = report(DeploymentState::Succeeded, Some(5));
        let known = after_all(std::slice::from_ref(&success)).unwrap();
        let older = report(DeploymentState::Failed, Some(4));
        assert_eq!(after(RevisionNumber::FIRST, Some(&known), Some(&older), at(200)), None);
        assert_eq!(after(RevisionNumber::FIRST, Some(&known), Some(&success), at(200)), None);
        let untimed = report(DeploymentState::InProgress, None);
        assert_eq!(after(RevisionNumber::FIRST, Some(&known), Some(&untimed), at(200)), None);
    }

    #[test]
    fn a_report_whose_time_is_still_ahead_is_news_once_however_often_it_is_looked_at() {
        let first = RevisionNumber::FIRST;
        let ahead = report(DeploymentState::Succeeded, Some(500));
        let known = after_all(std::slice::from_ref(&ahead)).unwrap();
        assert_eq!(known.at, Some(at(100)), "it silences nobody");
        for second in 101..500 {
            assert_eq!(after(first, Some(&known), Some(&ahead), at(second)), None);
        }
        let known = after(first, Some(&known), Some(&ahead), at(500)).unwrap();
        assert_eq!((known.at, known.healthy_since), (ahead.at, Some(at(100))), "now it is known what is out of date");
        assert_eq!(after(first, Some(&known), Some(&ahead), at(501)), None);
        let failed = report(DeploymentState::Failed, Some(900));
        assert!(after(first, Some(&known), Some(&failed), at(600)).is_some(), "what it says anew counts at once");
    }

    #[test]
    fn a_report_for_another_revision_says_nothing_of_this_one() {
        let report = report(DeploymentState::Failed, Some(5));
        assert_eq!(after(RevisionNumber::FIRST.next(), None, Some(&report), at(200)), None);
    }

    fn reports() -> impl Strategy<Value = Vec<DeploymentReport>> {
        let states = prop_oneof![
            Just(DeploymentState::InProgress),
            Just(DeploymentState::Succeeded),
            Just(DeploymentState::Failed)
        ];
        proptest::collection::vec((states, 0_i64..6).prop_map(|(state, second)| report(state, Some(second))), 0..8)
    }

    proptest! {
        #[test]
        fn whatever_comes_twice_counts_once(reports in reports(), again in any::<prop::sample::Index>()) {
            let known = after_all(&reports);
            if reports.is_empty() { return Ok(()); }
            let repeated = &reports[again.index(reports.len())];
            let newest = known.as_ref().and_then(|known| known.at);
            // A repetition of what is not the newest, or is the newest itself, is no news.
            if repeated.at < newest {
                prop_assert_eq!(after(RevisionNumber::FIRST, known.as_ref(), Some(repeated), at(300)), None);
            }
            // The latest of all that came counts, whatever came again in between.
            prop_assert_eq!(newest, reports.iter().filter_map(|report| report.at).max());
        }

        #[test]
        fn healthy_is_exactly_what_the_last_counted_report_says(reports in reports()) {
            let known = after_all(&reports);
            if let Some(known) = known {
                let healthy = known.healthy_since.is_some() && known.healthy_until.is_none();
                prop_assert_eq!(healthy, known.state == DeploymentState::Succeeded);
            }
        }
    }
}
