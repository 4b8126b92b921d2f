//! The environment's place in Vault: made before the environment is ready, kept as it should be, and first to go at its end.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    children::{ChildKind, Owner},
    naming,
    plan::{Action, Hold, Read, Step, Work, deletions, repairs},
    release, secret_objects,
    snapshot::{Child, Snapshot, VaultView},
    status::Findings,
    ttl,
};
use crate::{
    api::{
        ANNOTATION_LOOK, ConditionStatus, DeletionPolicy, Digest, PlatformEnvironment, RevisionNumber, SecretState,
        SecretStatus, VaultLocation,
        condition::{self, Condition, Reason},
    },
    domain::vault::{
        Change, Found, Place, Query, SecretsOperator, Trouble, VaultSettings, role_digest,
        secrets::{Reference, Rules, Secrets, references},
    },
};

mod words;

use words::{not_configured, shortcoming, stalled};

/// The first look for a secret that is missing, and the longest time between two: each is half as long after the last as that was
/// after the first.
const MISSING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));

/// The next step for the environment's secrets; `None` when they are as intended, or nobody can say.
pub(super) fn step(snapshot: &Snapshot<'_>, owner: Owner<'_>, findings: &mut Findings) -> Result<Option<Step>, Hold> {
    let (Some(settings), Some(view), Some(latest)) =
        (snapshot.settings.vault.as_ref(), snapshot.vault.as_ref(), snapshot.latest())
    else {
        return left(snapshot, findings);
    };
    let place = Place::of(snapshot.project(), snapshot.name(), snapshot.uid());
    let before = snapshot.environment.status.as_ref().and_then(|status| status.vault.clone());
    findings.vault = before.or_else(|| Some(place.location(settings)));
    let rules = rules(snapshot, settings, view, &place, latest.number);
    let known = view.found.filter(|found| found.config == latest.config_digest);
    let references = if let Some(found) = known {
        found.references.clone()
    } else {
        let name = naming::revision(snapshot.name(), latest.number);
        let Some(revision) = release::read(snapshot, &name)? else {
            return Ok(Some(Step::Read(Read::Revision(name))));
        };
        references(&revision.spec.config)
    };
    let keeping = Keeping { snapshot, owner, settings, rules };
    match view.trouble {
        Some(trouble) => keeping.in_trouble(trouble, known, &references, findings),
        None if view.in_line => keeping.wait(&references, findings),
        None => keeping.go_on(known, latest.config_digest, references, findings),
    }
}

fn rules<'a>(
    snapshot: &'a Snapshot<'_>,
    settings: &'a VaultSettings,
    view: &'a VaultView<'_>,
    place: &'a Place,
    latest: RevisionNumber,
) -> Rules<'a> {
    Rules {
        spec: &snapshot.environment.spec,
        place,
        base: view.base.as_ref(),
        said: snapshot.environment.status.as_ref().map_or(&[][..], |status| &status.secrets),
        allow_copy: settings.allow_copy,
        across_production: &settings.across_production,
        judges_names: latest == RevisionNumber::FIRST || says_invalid(snapshot),
    }
}

/// An environment's secrets while they are looked after.
struct Keeping<'a> {
    snapshot: &'a Snapshot<'a>,
    owner: Owner<'a>,
    settings: &'a VaultSettings,
    rules: Rules<'a>,
}

impl Keeping<'_> {
    /// While Vault does what it is asked. `known` is what was found for this configuration, if that was looked for.
    fn go_on(
        &self,
        known: Option<&Found>,
        config: Digest,
        references: Vec<Reference>,
        findings: &mut Findings,
    ) -> Result<Option<Step>, Hold> {
        let look = |query| Ok(Some(Step::LookIntoVault(Box::new(query))));
        let found = match self.usable(known) {
            Usable::Yes(found) => found,
            Usable::ButForSecrets(query) => return look(query),
            Usable::No => return look(self.query(config, references)),
        };
        let secrets = self.rules.compare(found);
        findings.vault = Some(self.rules.place.location(self.settings));
        findings.secrets_intact = Some(false);
        let changes = self.changes(found, &secrets);
        if !changes.is_empty() {
            return Ok(Some(Step::ChangeVault(changes)));
        }
        let work = self.bring(&secrets);
        let objects_are_done = work.is_done();
        findings.look_again = Some(self.next_look(found, &secrets.status));
        findings.secrets = Some(self.listed(secrets.status.clone()));
        if let Some(step) = work.step()? {
            return Ok(Some(step));
        }
        let hold = shortcoming(self.settings, &secrets, found);
        let Some(trouble) = &found.trouble else {
            findings.secrets_intact = Some(objects_are_done && hold.is_none());
            return hold.map_or(Ok(None), Err);
        };
        // What is known to be lacking is not hidden by what is not known.
        match hold {
            Some(hold) if hold.stalled => Err(hold),
            Some(hold) => Err(Hold { message: format!("{}. {}", hold.message, trouble.message), ..hold }),
            None => say(trouble, self.was_well(&found.references), findings),
        }
    }

    /// While others are at Vault, and this environment stands in line. What was said of its secrets stays said.
    fn wait(&self, references: &[Reference], findings: &mut Findings) -> Result<Option<Step>, Hold> {
        const OF_SECRETS: [Reason; 7] = [
            Reason::NotOurs,
            Reason::WriteFailed,
            Reason::SecretsMissing,
            Reason::SecretsOperatorMissing,
            Reason::VaultRefused,
            Reason::VaultUnavailable,
            Reason::VaultNotConfigured,
        ];
        if let Some(forbidden) = self.rules.forbidden(references) {
            return Err(stalled(&forbidden));
        }
        let soon = || "Others are at Vault; the environment's turn comes soon".to_owned();
        let said = last_said(self.snapshot);
        if self.was_well(references) {
            findings.secrets_unknown = said.is_none().then(|| (Reason::Progressing, soon()));
            return Ok(None);
        }
        let said = said.filter(|said| said.status == ConditionStatus::False);
        let reason = |said: &Condition| OF_SECRETS.into_iter().find(|reason| reason.as_str() == said.reason);
        let said = said.and_then(|said| Some((reason(said)?, said.message.clone())));
        let (reason, message) = said.unwrap_or_else(|| (Reason::Progressing, soon()));
        let stalled = said_of(self.snapshot, condition::STALLED).is_some_and(|said| said.reason == reason.as_str());
        Err(Hold { stalled, ..Hold::waiting(reason, condition::SECRETS_READY, message) })
    }

    /// While Vault does nothing for this environment.
    fn in_trouble(
        &self,
        trouble: &Trouble,
        known: Option<&Found>,
        references: &[Reference],
        findings: &mut Findings,
    ) -> Result<Option<Step>, Hold> {
        findings.look_again = trouble.again(self.snapshot.now);
        // It does not go away with the trouble.
        if let Some(forbidden) = self.rules.forbidden(references) {
            return Err(stalled(&forbidden));
        }
        let mut is_well = self.was_well(references);
        if let Some(found) = known {
            let secrets = self.rules.compare(found);
            // What could not be done for one secret keeps those that are there from nobody. Who brings them logs in as the role says.
            let access = |change: &Change| matches!(change, Change::Policy { .. } | Change::Role(_));
            if !self.changes(found, &secrets).iter().any(access)
                && let Some(step) = self.bring(&secrets).step()?
            {
                return Ok(Some(step));
            }
            is_well &= secrets.status.iter().all(|secret| secret.state == SecretState::Ready);
            findings.secrets = Some(self.listed(secrets.status));
        }
        findings.retry = trouble.passes();
        say(trouble, is_well, findings)
    }

    /// Whether the environment had all that it needs. One from before Vault was used needs nothing if it has no secrets.
    fn was_well(&self, references: &[Reference]) -> bool {
        let said = last_said(self.snapshot).map(|said| said.status != ConditionStatus::False);
        said.unwrap_or_else(|| references.is_empty() && is_ready(self.snapshot)) && self.rules.were_ready(references)
    }

    /// What is to be done so that what is there is brought, and nothing else.
    fn bring(&self, secrets: &Secrets) -> Work {
        let objects = secret_objects::children(self.owner, self.settings, self.rules.place, &secrets.status);
        let wanted: BTreeSet<_> = objects.iter().map(|object| &object.id).collect();
        let mut work = repairs(self.snapshot, &objects);
        let surplus = |child: &Child| child.id.kind.brings_secrets() && !wanted.contains(&child.id);
        work.actions.extend(deletions(self.snapshot, surplus));
        work
    }

    /// The secrets as the status lists them: with the names under which applications find those that are brought.
    fn listed(&self, mut secrets: Vec<SecretStatus>) -> Vec<SecretStatus> {
        let is_brought = self.settings.installed && self.settings.secrets_operator != SecretsOperator::None;
        for secret in secrets.iter_mut().filter(|secret| is_brought && secret.state.was_there()) {
            secret.secret = Some(secret_objects::secret_name(self.rules.place, &secret.path));
        }
        secrets
    }

    /// What is known of Vault, and whether that will do.
    fn usable<'f>(&self, known: Option<&'f Found>) -> Usable<'f> {
        let requested = look_requested(self.snapshot.environment);
        let Some(found) = known.filter(|found| found.requested.as_deref() == requested) else { return Usable::No };
        let status = self.rules.compare(found).status;
        if self.snapshot.now < self.next_look(found, &status) {
            return Usable::Yes(found);
        }
        if self.snapshot.now >= self.next_check(found) {
            return Usable::No;
        }
        // What is missing may have come, and so may what it is made of.
        let is_missing = |reference: &&Reference| {
            status.iter().any(|secret| secret.name == reference.name && secret.state != SecretState::Ready)
        };
        let missing: Vec<Reference> = found.references.iter().filter(is_missing).cloned().collect();
        let paths = self.rules.paths(&missing).into_iter().chain(found.unread.iter().cloned()).collect();
        let query = self.query(found.config, found.references.clone());
        Usable::ButForSecrets(Query { paths, secrets_only: true, ..query })
    }

    fn query(&self, config: Digest, references: Vec<Reference>) -> Query {
        Query { config, paths: self.rules.paths(&references), references, secrets_only: false }
    }

    /// When the whole place is looked at again. Environments do not all come at the same moment.
    fn next_check(&self, found: &Found) -> Timestamp {
        let jitter = self.snapshot.uid().bytes().map(u32::from).sum::<u32>() % 200;
        later(found.at, self.settings.check_interval * (1000 - jitter) / 1000)
    }

    fn next_look(&self, found: &Found, secrets: &[SecretStatus]) -> Timestamp {
        let again = found.trouble.as_ref().and_then(|trouble| trouble.again(found.looked));
        let check = self.next_check(found);
        if let Some(again) = again {
            return check.min(again);
        }
        if secrets.iter().all(|secret| secret.state == SecretState::Ready) {
            return check;
        }
        let since = Duration::try_from(found.looked.duration_since(found.at)).unwrap_or_default();
        check.min(later(found.looked, (since / 2).clamp(MISSING.0, MISSING.1)))
    }

    /// The policy is there before the role that gives it, and the role before a secret.
    fn changes(&self, found: &Found, secrets: &Secrets) -> Vec<Change> {
        let environment = self.snapshot.environment;
        let expires = environment.spec.ttl.as_deref().and_then(|ttl| {
            let created = environment.metadata.creation_timestamp.as_ref()?.0;
            ttl::expiry(created, ttl).ok().map(|expiry| expiry.at)
        });
        let text = self.rules.place.policy(self.settings, &secrets.readable, expires);
        if found.policy != Some(Digest::of(text.as_bytes())) {
            return vec![Change::Policy { text, expires }];
        }
        let role = self.rules.place.role_body(self.settings, self.owner.namespace);
        if found.role != Some(role_digest(&role, &role)) {
            return vec![Change::Role(role)];
        }
        secrets.changes.clone()
    }
}

/// An environment that had all its secrets keeps its last good state: nobody takes anything from it while Vault is away.
fn say(trouble: &Trouble, is_well: bool, findings: &mut Findings) -> Result<Option<Step>, Hold> {
    let (reason, message) = (trouble.reason(), trouble.message.clone());
    if is_well {
        findings.secrets_unknown = Some((reason, message));
        return Ok(None);
    }
    Err(Hold::waiting(reason, condition::SECRETS_READY, message))
}

/// Whether what is known of Vault will do.
enum Usable<'a> {
    /// It will.
    Yes(&'a Found),
    /// These secrets were missing, or could not be looked at.
    ButForSecrets(Query),
    /// It is too old, or about something else.
    No,
}

/// Whether it was last said that what `baseFrom` says about secrets is not allowed.
fn says_invalid(snapshot: &Snapshot<'_>) -> bool {
    last_said(snapshot).is_some_and(|said| said.reason == Reason::InvalidSpec.as_str())
}

/// What was last said of the secrets.
fn last_said<'a>(snapshot: &'a Snapshot<'_>) -> Option<&'a Condition> {
    said_of(snapshot, condition::SECRETS_READY)
}

fn is_ready(snapshot: &Snapshot<'_>) -> bool {
    said_of(snapshot, condition::READY).is_some_and(|said| said.status == ConditionStatus::True)
}

fn said_of<'a>(snapshot: &'a Snapshot<'_>, name: &str) -> Option<&'a Condition> {
    let conditions = snapshot.environment.status.as_ref().map_or(&[][..], |status| &status.conditions);
    conditions.iter().find(|condition| condition.r#type == name)
}

/// The value of the annotation that somebody changes to have Vault looked at now.
#[must_use]
pub fn look_requested(environment: &PlatformEnvironment) -> Option<&str> {
    environment.metadata.annotations.as_ref()?.get(ANNOTATION_LOOK).map(String::as_str)
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Where the operator uses no Vault. One that has a place there and lacked something is ready no more than before.
fn left(snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<Option<Step>, Hold> {
    let Some(place) = left_place(snapshot) else { return Ok(None) };
    let message = not_configured(place);
    if last_said(snapshot).is_some_and(|said| said.status == ConditionStatus::False) {
        return Err(Hold::waiting(Reason::VaultNotConfigured, condition::SECRETS_READY, message));
    }
    findings.secrets_unknown = Some((Reason::VaultNotConfigured, message));
    Ok(None)
}

/// The place in Vault that an environment has although the operator uses none any more, and that nobody gave up.
pub(super) fn left_place<'a>(snapshot: &'a Snapshot<'_>) -> Option<&'a VaultLocation> {
    let settings = snapshot.settings;
    let place = snapshot.environment.status.as_ref()?.vault.as_ref()?;
    (settings.vault.is_none() && !settings.abandon_vault).then_some(place)
}

/// The next step to take the environment's place in Vault away; `None` when nothing of it is left.
///
/// First the role, so that nobody can log in; then the policy, which makes tokens that were given out good for nothing, and ends all
/// access also where the role cannot be removed. Then what brings secrets, and how that logs in; then the values. Vault away means to wait:
/// nothing is skipped.
pub(super) fn teardown(snapshot: &Snapshot<'_>) -> Result<Option<Step>, Hold> {
    if let Some(place) = left_place(snapshot) {
        // An operator that is told something else starts anew, and looks at it then.
        let message = format!("The environment goes when its place in Vault is gone. {}", not_configured(place));
        return Err(Hold::waiting(Reason::VaultNotConfigured, condition::READY, message));
    }
    let (Some(_), Some(view)) = (snapshot.settings.vault.as_ref(), snapshot.vault.as_ref()) else { return Ok(None) };
    if view.in_line {
        let message =
            "The environment goes when its place in Vault is gone. Others are at Vault; its turn comes soon".to_owned();
        return Err(Hold::waiting(Reason::Terminating, condition::READY, message));
    }
    let access = [(Change::RemoveRole, view.gone.role), (Change::RemovePolicy, view.gone.policy)];
    let access: Vec<Change> = access.into_iter().filter(|(_, gone)| !gone).map(|(change, _)| change).collect();
    if view.trouble.is_none() && !access.is_empty() {
        return Ok(Some(Step::ChangeVault(access)));
    }
    // What is retained keeps the values that it has, and gets no others.
    let keeps = snapshot.environment.spec.deletion_policy == DeletionPolicy::Retain;
    let brings = |child: &Child| matches!(child.id.kind, ChildKind::ExternalSecret | ChildKind::VaultStaticSecret);
    for which in [&brings as &dyn Fn(&Child) -> bool, &|child: &Child| child.id.kind.brings_secrets()] {
        let actions: Vec<Action> = deletions(snapshot, which).collect();
        if !actions.is_empty() && !keeps {
            return Ok(Some(Step::Act(actions)));
        }
    }
    if let Some(trouble) = view.trouble {
        let ended = if view.gone.policy { " Nobody has access to its secrets any more." } else { "" };
        let message = format!("The environment goes when its place in Vault is gone.{ended} {}", trouble.message);
        let hold = Hold::waiting(trouble.reason(), condition::READY, message);
        return Err(Hold { retry: trouble.passes(), ..hold });
    }
    if view.gone.secrets || keeps { Ok(None) } else { Ok(Some(Step::ChangeVault(vec![Change::RemoveSecrets]))) }
}
