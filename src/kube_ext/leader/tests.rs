//! The rule of the election, step by step, without a server.

use super::*;

const NAME: &str = "environment-manager";

fn candidate(name: &str) -> Candidate {
    Candidate::new(name.to_owned(), Terms::of(Duration::from_secs(6)))
}

/// The API server's part: what is created or replaced, with a new resourceVersion.
fn written(step: Step, version: u32) -> Lease {
    let mut lease = match step {
        Step::Create(lease) | Step::Replace(lease) => *lease,
        Step::Wait => panic!("nothing is written"),
    };
    lease.metadata.resource_version = Some(version.to_string());
    lease
}

fn spec(lease: &Lease) -> &LeaseSpec {
    lease.spec.as_ref().unwrap()
}

fn clock(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn the_first_creates_the_lease_and_leads() {
    let now = Instant::now();
    let mut one = candidate("one");
    one.observe(None, now);
    let lease = written(one.step(NAME, now, clock(100)), 1);
    assert_eq!(spec(&lease).holder_identity.as_deref(), Some("one"));
    assert_eq!((spec(&lease).lease_duration_seconds, spec(&lease).lease_transitions), (Some(6), Some(0)));
    assert!(!one.leads());
    one.observe(Some(lease), now);
    assert!(one.leads());
}

#[test]
fn a_renewal_carries_what_was_read_and_keeps_when_it_was_acquired() {
    let now = Instant::now();
    let mut one = candidate("one");
    let first = written(one.step(NAME, now, clock(100)), 1);
    one.observe(Some(first), now);
    let Step::Replace(renewed) = one.step(NAME, now, clock(101)) else { panic!("it is renewed") };
    assert_eq!(renewed.metadata.resource_version.as_deref(), Some("1"));
    assert_eq!(spec(&renewed).acquire_time, Some(MicroTime(clock(100))));
    assert_eq!(spec(&renewed).renew_time, Some(MicroTime(clock(101))));
    assert_eq!(spec(&renewed).lease_transitions, Some(0));
}

#[test]
fn nobody_takes_a_lease_that_is_renewed_and_whoever_comes_takes_one_that_is_not() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let (mut one, mut two) = (candidate("one"), candidate("two"));
    let mut lease = written(one.step(NAME, start, clock(0)), 1);
    one.observe(Some(lease.clone()), start);
    for second in 0..20 {
        two.observe(Some(lease.clone()), after(second));
        assert_eq!(two.step(NAME, after(second), clock(9999)), Step::Wait, "second {second}");
        lease = written(one.step(NAME, after(second), clock(i64::try_from(second).unwrap())), 2);
        one.observe(Some(lease.clone()), after(second));
    }
    two.observe(Some(lease.clone()), after(20));
    two.observe(Some(lease), after(25));
    assert_eq!(two.step(NAME, after(25), clock(0)), Step::Wait, "five of six seconds since it saw the last renewal");
    let taken = written(two.step(NAME, after(26), clock(30)), 99);
    assert_eq!(spec(&taken).holder_identity.as_deref(), Some("two"));
    assert_eq!(
        (spec(&taken).lease_transitions, spec(&taken).acquire_time.clone()),
        (Some(1), Some(MicroTime(clock(30))))
    );
}

#[test]
fn times_in_the_lease_are_nobodys_clock() {
    let now = Instant::now();
    let (one, mut two) = (candidate("one"), candidate("two"));
    // A clock that is years behind: by its times the Lease ended long ago.
    let lease = written(one.step(NAME, now, clock(0)), 1);
    two.observe(Some(lease), now);
    assert_eq!(two.step(NAME, now, Timestamp::now()), Step::Wait);
}

#[test]
fn no_lease_keeps_others_away_for_ever_whatever_it_says() {
    let start = Instant::now();
    let (one, mut two) = (candidate("one"), candidate("two"));
    let mut forged = written(one.step(NAME, start, clock(0)), 1);
    forged.spec.as_mut().unwrap().lease_duration_seconds = Some(i32::MAX);
    two.observe(Some(forged), start);
    let later = start + LONGEST - Duration::from_secs(1);
    assert_eq!(two.step(NAME, later, clock(0)), Step::Wait);
    assert_eq!(two.unheard_of(later).map(|(holder, _)| holder), Some("one"));
    assert!(matches!(two.step(NAME, start + LONGEST, clock(0)), Step::Replace(_)));
}

#[test]
fn what_is_given_back_is_free_at_once() {
    let now = Instant::now();
    let (mut one, mut two) = (candidate("one"), candidate("two"));
    let lease = written(one.step(NAME, now, clock(0)), 1);
    assert_eq!(one.release(clock(1)), None, "it is not its own yet");
    one.observe(Some(lease), now);
    let free = one.release(clock(1)).unwrap();
    assert_eq!((spec(&free).holder_identity.as_deref(), free.metadata.resource_version.as_deref()), (None, Some("1")));
    two.observe(Some(free), now);
    assert!(matches!(two.step(NAME, now, clock(2)), Step::Replace(_)));
}

#[test]
fn a_leader_stops_before_another_may_begin() {
    for seconds in [1, 6, 15, 60] {
        let terms = Terms::of(Duration::from_secs(seconds));
        assert!(terms.renew_deadline < terms.duration && terms.retry_period * 3 < terms.renew_deadline, "{terms:?}");
    }
    let terms = Terms::of(Duration::from_secs(6));
    let worst = terms.duration + 2 * terms.retry_period.mul_f64(1.2);
    assert!(worst < Duration::from_secs(10), "a killed leader is succeeded within {worst:?}");
}
