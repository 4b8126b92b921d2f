//! Leader election on a `Lease`, with the algorithm of client-go (`tools/leaderelection`).
//!
//! Of several processes one leads. It renews its Lease; the others look at it, and take it over when it was not renewed for
//! its duration *by their own clock*: what time the Lease itself says is never compared with anybody's time, so clocks need not
//! agree. Every write of the Lease carries the resourceVersion that was read, so of two that try one wins. Who cannot renew for
//! the renew deadline, which is shorter than the duration, has lost, and must stop before another one may begin.
//!
//! [`Candidate`] is the rule, without I/O; [`lead`] carries it out.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::errors::describe;

#[cfg(test)]
mod tests;

/// How often is asked, and for how long what was found holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// For how long a Lease that is not renewed keeps others away. Whole seconds.
    pub duration: Duration,
    /// For how long a leader may fail to renew before it has lost. Shorter than `duration`: the difference is the time it has
    /// to stop in.
    pub renew_deadline: Duration,
    /// The pause between two tries.
    pub retry_period: Duration,
}

impl Terms {
    /// Two thirds of the duration to renew in, six tries in it: client-go's proportions, but for more tries.
    ///
    /// With 6 s, which is the default, a killed leader is succeeded within 6 s and two pauses of at most 1.2 s.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        Self { duration, renew_deadline: duration * 2 / 3, retry_period: duration / 6 }
    }
}

/// No Lease holds for longer, whatever it says: anybody who may write it could keep everybody away for years.
pub const LONGEST: Duration = Duration::from_mins(10);

/// What a process knows of the Lease, and what it should do about it.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: String,
    terms: Terms,
    /// The Lease as last read or written, and when it was first seen so.
    observed: Option<(Lease, Instant)>,
}

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is somebody else's: look again later.
    Wait,
    /// There is none: create this one.
    Create(Box<Lease>),
    /// Replace it by this one, which carries the resourceVersion that was read.
    Replace(Box<Lease>),
}

impl Candidate {
    /// One who takes part under this name, which no other process ever has.
    #[must_use]
    pub fn new(identity: String, terms: Terms) -> Self {
        Self { identity, terms, observed: None }
    }

    /// Takes note of the Lease as it was read or written.
    pub fn observe(&mut self, lease: Option<Lease>, now: Instant) {
        match (lease, &self.observed) {
            (None, _) => self.observed = None,
            (Some(lease), Some((before, _))) if before.spec == lease.spec => {
                let since = self.observed.take().map_or(now, |(_, since)| since);
                self.observed = Some((lease, since));
            }
            (Some(lease), _) => self.observed = Some((lease, now)),
        }
    }

    /// Whether the Lease, as last seen, is this one's.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.holder().is_some_and(|holder| holder == self.identity)
    }

    /// Who has the Lease, as last seen.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        let (lease, _) = self.observed.as_ref()?;
        lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// Another one that has the Lease and was not heard of for longer than it should be, and for how long.
    #[must_use]
    pub fn unheard_of(&self, now: Instant) -> Option<(&str, Duration)> {
        let (_, since) = self.observed.as_ref().filter(|_| !self.leads())?;
        let silence = now.saturating_duration_since(*since);
        self.holder().filter(|_| silence > 2 * self.terms.duration).map(|holder| (holder, silence))
    }

    /// What to do now, to get the Lease or to keep it. `clock` is what the Lease will say, for people.
    #[must_use]
    pub fn step(&self, name: &str, now: Instant, clock: Timestamp) -> Step {
        let Some((lease, since)) = &self.observed else {
            let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
            return Step::Create(Box::new(Lease { metadata, spec: Some(self.spec(None, clock)) }));
        };
        let spec = lease.spec.as_ref();
        let held_for =
            spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let held_for = held_for.map_or(self.terms.duration, Duration::from_secs).min(LONGEST);
        if self.holder().is_some() && !self.leads() && now < *since + held_for {
            return Step::Wait;
        }
        Step::Replace(Box::new(Lease { metadata: lease.metadata.clone(), spec: Some(self.spec(spec, clock)) }))
    }

    /// The Lease given back, if it is this one's: who comes next need not wait.
    #[must_use]
    pub fn release(&self, clock: Timestamp) -> Option<Lease> {
        let (lease, _) = self.observed.as_ref().filter(|_| self.leads())?;
        let mut lease = lease.clone();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(clock));
        Some(lease)
    }

    fn spec(&self, before: Option<&LeaseSpec>, clock: Timestamp) -> LeaseSpec {
        let mut spec = before.cloned().unwrap_or_default();
        if !self.leads() {
            spec.acquire_time = Some(MicroTime(clock));
            // As client-go counts: the first one is no change.
            spec.lease_transitions = Some(before.map_or(0, |before| before.lease_transitions.unwrap_or(0) + 1));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(i32::try_from(self.terms.duration.as_secs()).unwrap_or(i32::MAX).max(1));
        spec.renew_time = Some(MicroTime(clock));
        spec
    }
}

/// The pause between two lines in the log about a holder that is not heard of.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// Takes part in the election until `stop`, then gives the Lease back. `leading` becomes true once it leads.
///
/// Ends with `Err` when it led and could not renew in time. Whoever else may lead then: the caller has to end its writing at
/// once.
pub async fn lead(
    api: Api<Lease>,
    name: &'static str,
    mut candidate: Candidate,
    leading: watch::Sender<bool>,
    stop: CancellationToken,
) -> Result<(), Lost> {
    let mut renewed = Instant::now();
    let mut told = renewed;
    loop {
        let deadline = if candidate.leads() { renewed + candidate.terms.renew_deadline } else { far(renewed) };
        let tried = tokio::select! {
            biased;
            () = time::sleep_until(deadline) => return Err(Lost),
            () = stop.cancelled() => break,
            // A request that is never answered must not cost the next try.
            tried = time::timeout(candidate.terms.retry_period * 2, attempt(&api, name, &mut candidate)) => {
                tried.unwrap_or_else(|_| Err("no answer in time".to_owned()))
            }
        };
        match tried {
            Ok(begun) if candidate.leads() => {
                renewed = begun;
                if !leading.send_replace(true) {
                    info!(identity = candidate.identity, "leading");
                }
            }
            // Somebody has taken what was this one's.
            _ if *leading.borrow() && !candidate.leads() => return Err(Lost),
            Ok(now) => {
                if let Some((holder, silence)) = candidate.unheard_of(now)
                    && now >= told + TELL_AGAIN
                {
                    warn!("waiting for {holder}, which has the Lease {name} and has not renewed it for {silence:?}");
                    told = now;
                }
            }
            Err(error) => warn!("cannot {} the Lease {name}: {error}", if candidate.leads() { "renew" } else { "get" }),
        }
        let deadline = if candidate.leads() { renewed + candidate.terms.renew_deadline } else { far(renewed) };
        tokio::select! {
            biased;
            () = time::sleep_until(deadline) => return Err(Lost),
            () = stop.cancelled() => break,
            () = time::sleep(pause(candidate.terms.retry_period)) => {}
        }
    }
    give_back(&api, name, &candidate).await;
    Ok(())
}

/// It led, and does not lead any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// Farther away than any process lives.
fn far(from: Instant) -> Instant {
    from + Duration::from_hours(24 * 365 * 10)
}

/// Up to a fifth longer, so that candidates do not ask all at once.
fn pause(period: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    period + period.mul_f64(f64::from(u8::try_from(RandomState::new().hash_one(()) % 200).unwrap_or(0)) / 1000.0)
}

/// One try to get or keep the Lease. Gives back when it began: from then on others count, at the latest.
async fn attempt(api: &Api<Lease>, name: &str, candidate: &mut Candidate) -> Result<Instant, String> {
    // Who leads replaces what it wrote last; who does not looks first.
    if !candidate.leads() {
        let found = api.get_opt(name).await.map_err(|error| describe(&error))?;
        candidate.observe(found, Instant::now());
    }
    let begun = Instant::now();
    let params = PostParams::default();
    let written = match candidate.step(name, begun, Timestamp::now()) {
        Step::Wait => return Ok(begun),
        Step::Create(lease) => api.create(&params, &lease).await,
        Step::Replace(lease) => api.replace(name, &params, &lease).await,
    };
    match written {
        Ok(lease) => {
            candidate.observe(Some(lease), begun);
            Ok(begun)
        }
        // Written by another one, or by this one although the answer was lost: look.
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
            let found = api.get_opt(name).await.map_err(|error| describe(&error))?;
            candidate.observe(found, Instant::now());
            if candidate.leads() { Err("it was written by somebody else meanwhile".to_owned()) } else { Ok(begun) }
        }
        Err(error) => Err(describe(&error)),
    }
}

async fn give_back(api: &Api<Lease>, name: &str, candidate: &Candidate) {
    let Some(lease) = candidate.release(Timestamp::now()) else { return };
    match time::timeout(candidate.terms.retry_period, given_back(api, name, candidate, lease)).await {
        Ok(Ok(())) => info!("gave the Lease {name} back"),
        Ok(Err(error)) => warn!("cannot give the Lease {name} back: {}", describe(&error)),
        Err(_) => warn!("cannot give the Lease {name} back in time"),
    }
}

async fn given_back(api: &Api<Lease>, name: &str, candidate: &Candidate, lease: Lease) -> kube::Result<()> {
    match api.replace(name, &PostParams::default(), &lease).await {
        // A renewal whose answer was not waited for: it is still this one's.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let mut seen = candidate.clone();
            seen.observe(api.get_opt(name).await?, Instant::now());
            match seen.release(Timestamp::now()) {
                Some(lease) => api.replace(name, &PostParams::default(), &lease).await.map(drop),
                None => Ok(()),
            }
        }
        given => given.map(drop),
    }
}
