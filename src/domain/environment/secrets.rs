//! The environment's place in Vault: made before the environment is ready, kept as it should be, and first to go at its end.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    children::{ChildKind, Owner},
    naming,
    plan::{Action, Hold, Query, Read, Step, Work, deletions, repairs},
    release, secret_objects,
    snapshot::{Child, Snapshot, VaultView},
    status::Findings,
};
use crate::{
    api::{
        ANNOTATION_LOOK, ConditionStatus, DeletionPolicy, Digest, RevisionNumber, SecretState, SecretStatus,
        VaultLocation,
        condition::{self, Reason},
    },
    domain::{
        names::some_of,
        vault::{
            Change, Found, Place, SecretsOperator, Trouble, VaultSettings,
            secrets::{Forbidden, Reference, Rules, Secrets, references},
        },
    },
};

/// The first look for a secret that is missing, and the longest time between two: each is half as long after the last as that was
/// after the first.
const MISSING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));

/// After how long at the latest what failed in Vault is tried again, so that who mends something there sees it soon.
pub(super) const TRIED_AGAIN: Duration = Duration::from_secs(20);

/// The next step for the environment's secrets; `None` when they are as intended, or nobody can say.
pub(super) fn step(snapshot: &Snapshot<'_>, owner: Owner<'_>, findings: &mut Findings) -> Result<Option<Step>, Hold> {
    let (Some(settings), Some(view), Some(latest)) =
        (snapshot.settings.vault.as_ref(), snapshot.vault.as_ref(), snapshot.latest())
    else {
        let said = |place: &VaultLocation| (Reason::VaultNotConfigured, not_configured(place));
        findings.secrets_unknown = left_place(snapshot).map(said);
        return Ok(None);
    };
    let place = Place::of(snapshot.project(), snapshot.name(), snapshot.uid());
    findings.vault = Some(place.location(settings));
    let said = snapshot.environment.status.as_ref().map_or(&[][..], |status| &status.secrets);
    let rules = Rules {
        spec: &snapshot.environment.spec,
        place: &place,
        base: view.base.as_ref(),
        said,
        allow_copy: settings.allow_copy,
        across_production: &settings.across_production,
        judges_names: latest.number == RevisionNumber::FIRST || says_invalid(snapshot),
    };
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
    if let Some(trouble) = view.trouble {
        findings.look_again = (!trouble.down).then(|| later(snapshot.now, TRIED_AGAIN));
        // It does not go away with the trouble.
        if let Some(forbidden) = rules.forbidden(&references) {
            return Err(stalled(&forbidden));
        }
        if let Some(found) = known {
            // What could not be done for one secret keeps those that are there from nobody.
            let secrets = rules.compare(found);
            if let Some(step) = bring(snapshot, owner, settings, &place, &secrets).step()? {
                return Ok(Some(step));
            }
            findings.secrets = Some(listed(settings, &place, secrets.status));
        }
        return in_trouble(snapshot, trouble, rules.were_ready(&references), findings);
    }
    let found = match usable(snapshot, view, settings, &rules, latest.config_digest) {
        Look::At(found) => found,
        Look::Again(query) => return Ok(Some(Step::Read(Read::Vault(Box::new(query))))),
        Look::Anew => {
            let query = query(&rules, latest.config_digest, references);
            return Ok(Some(Step::Read(Read::Vault(Box::new(query)))));
        }
    };
    let secrets = rules.compare(found);
    let changes = changes(snapshot, owner, settings, &place, found, &secrets);
    findings.secrets_intact = Some(false);
    if !changes.is_empty() {
        return Ok(Some(Step::Act(changes.into_iter().map(Action::Vault).collect())));
    }
    let work = bring(snapshot, owner, settings, &place, &secrets);
    let objects_are_done = work.is_done();
    findings.look_again = Some(next_look(snapshot, found, settings, &secrets.status));
    findings.secrets = Some(listed(settings, &place, secrets.status.clone()));
    if let Some(step) = work.step()? {
        return Ok(Some(step));
    }
    if let Some(hold) = shortcoming(settings, &secrets) {
        return Err(hold);
    }
    findings.secrets_intact = Some(objects_are_done);
    Ok(None)
}

/// What is to be done so that what is there is brought, and nothing else.
fn bring(
    snapshot: &Snapshot<'_>,
    owner: Owner<'_>,
    settings: &VaultSettings,
    place: &Place,
    secrets: &Secrets,
) -> Work {
    let objects = secret_objects::children(owner, settings, place, &secrets.status);
    let wanted: BTreeSet<_> = objects.iter().map(|object| &object.id).collect();
    let mut work = repairs(snapshot, &objects);
    let surplus = |child: &Child| child.id.kind.brings_secrets() && !wanted.contains(&child.id);
    work.actions.extend(deletions(snapshot, surplus));
    work
}

/// Whether it was last said that what `baseFrom` says about secrets is not allowed.
fn says_invalid(snapshot: &Snapshot<'_>) -> bool {
    let conditions = snapshot.environment.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let said = conditions.iter().find(|condition| condition.r#type == condition::SECRETS_READY);
    said.is_some_and(|said| said.reason == Reason::InvalidSpec.as_str())
}

fn stalled(forbidden: &Forbidden) -> Hold {
    Hold::stalled(Reason::InvalidSpec, condition::SECRETS_READY, forbidden.to_string())
}

/// What only people can change about the secrets, although policy, role and objects are as they should be.
fn shortcoming(settings: &VaultSettings, secrets: &Secrets) -> Option<Hold> {
    if let Some(forbidden) = &secrets.forbidden {
        return Some(stalled(forbidden));
    }
    let waiting = |reason, message| Some(Hold::waiting(reason, condition::SECRETS_READY, message));
    if let Some(message) = missing_message(settings, secrets) {
        return waiting(Reason::SecretsMissing, message);
    }
    if settings.installed || secrets.status.is_empty() {
        return None;
    }
    let message = format!(
        "In the cluster {} is not installed, so nobody brings the environment's secrets into its namespace. Install it, or choose \
         another one (--secrets-operator, in the chart secretsOperator.kind). It goes on by itself then",
        settings.secrets_operator.name(),
    );
    waiting(Reason::SecretsOperatorMissing, message)
}

/// The secrets as the status lists them: with the names under which applications find those that are brought.
fn listed(settings: &VaultSettings, place: &Place, mut secrets: Vec<SecretStatus>) -> Vec<SecretStatus> {
    let is_brought = settings.installed && settings.secrets_operator != SecretsOperator::None;
    for secret in secrets.iter_mut().filter(|secret| is_brought && secret.state.was_there()) {
        secret.secret = Some(secret_objects::secret_name(place, &secret.path));
    }
    secrets
}

/// What is known of Vault, and whether that will do.
enum Look<'a> {
    /// It will.
    At(&'a Found),
    /// Only for secrets that were missing.
    Again(Query),
    /// For everything.
    Anew,
}

fn usable<'a>(
    snapshot: &Snapshot<'_>,
    view: &'a VaultView<'_>,
    settings: &VaultSettings,
    rules: &Rules<'_>,
    config: Digest,
) -> Look<'a> {
    let Some(found) =
        view.found.filter(|found| found.config == config && found.requested.as_deref() == look_requested(snapshot))
    else {
        return Look::Anew;
    };
    let status = rules.compare(found).status;
    if snapshot.now < next_look(snapshot, found, settings, &status) {
        return Look::At(found);
    }
    if snapshot.now >= next_check(snapshot, found, settings) {
        return Look::Anew;
    }
    // What is missing may have come, and so may what it is made of.
    let is_missing = |reference: &&Reference| {
        status.iter().any(|secret| secret.name == reference.name && secret.state != SecretState::Ready)
    };
    let missing: Vec<Reference> = found.references.iter().filter(is_missing).cloned().collect();
    let query = query(rules, config, found.references.clone());
    Look::Again(Query { paths: rules.paths(&missing), secrets_only: true, ..query })
}

fn query(rules: &Rules<'_>, config: Digest, references: Vec<Reference>) -> Query {
    Query { config, paths: rules.paths(&references), references, secrets_only: false }
}

/// The value of the annotation that somebody changes to have Vault looked at now.
#[must_use]
pub fn look_requested<'a>(snapshot: &'a Snapshot<'_>) -> Option<&'a str> {
    snapshot.environment.metadata.annotations.as_ref()?.get(ANNOTATION_LOOK).map(String::as_str)
}

/// When the whole place is looked at again. Environments do not all come at the same moment.
fn next_check(snapshot: &Snapshot<'_>, found: &Found, settings: &VaultSettings) -> Timestamp {
    let jitter = snapshot.uid().bytes().map(u32::from).sum::<u32>() % 200;
    later(found.at, settings.check_interval * (1000 - jitter) / 1000)
}

fn next_look(snapshot: &Snapshot<'_>, found: &Found, settings: &VaultSettings, secrets: &[SecretStatus]) -> Timestamp {
    let check = next_check(snapshot, found, settings);
    if secrets.iter().all(|secret| secret.state == SecretState::Ready) {
        return check;
    }
    let since = Duration::try_from(found.looked.duration_since(found.at)).unwrap_or_default();
    check.min(later(found.looked, (since / 2).clamp(MISSING.0, MISSING.1)))
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The policy is there before the role that gives it, and the role before a secret.
fn changes(
    snapshot: &Snapshot<'_>,
    owner: Owner<'_>,
    settings: &VaultSettings,
    place: &Place,
    found: &Found,
    secrets: &Secrets,
) -> Vec<Change> {
    let expires = snapshot.environment.spec.ttl.as_deref().and_then(|ttl| {
        let created = snapshot.environment.metadata.creation_timestamp.as_ref()?.0;
        super::ttl::expiry(created, ttl).ok().map(|expiry| expiry.at)
    });
    let text = place.policy(settings, &secrets.readable, expires);
    if found.policy != Some(Digest::of(text.as_bytes())) {
        return vec![Change::Policy { text, expires }];
    }
    let role = place.role_body(settings, owner.namespace);
    if found.role != Some(crate::domain::vault::role_digest(&role, &role)) {
        return vec![Change::Role(role)];
    }
    secrets.changes.clone()
}

/// An environment that had all its secrets keeps its last good state: nobody takes anything from it while Vault is away.
fn in_trouble(
    snapshot: &Snapshot<'_>,
    trouble: &Trouble,
    had_all: bool,
    findings: &mut Findings,
) -> Result<Option<Step>, Hold> {
    let (reason, retry) = (trouble.reason(), !trouble.down);
    let conditions = snapshot.environment.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let said = conditions.iter().find(|condition| condition.r#type == condition::SECRETS_READY);
    if had_all && said.is_some_and(|said| said.status != ConditionStatus::False) {
        findings.retry = retry;
        findings.secrets_unknown = Some((reason, trouble.message.clone()));
        return Ok(None);
    }
    Err(Hold { retry, ..Hold::waiting(reason, condition::SECRETS_READY, trouble.message.clone()) })
}

/// Which secrets have no value, and who has to put one where; `None` if all have one.
fn missing_message(settings: &VaultSettings, secrets: &Secrets) -> Option<String> {
    let missing = secrets.status.iter().filter(|secret| secret.state != SecretState::Ready);
    let (waiting, here): (Vec<_>, Vec<_>) = missing.partition(|secret| secrets.waiting.contains_key(&secret.path));
    let mut sentences = vec![];
    if let Some(first) = here.first() {
        let verb = if secrets.there.contains(&first.path) { "patch" } else { "put" };
        let (which, rest) = match here.len() {
            1 => ("Put it there with", ""),
            _ => ("Put them there, the first for example with", ". status.secrets says where each belongs"),
        };
        sentences.push(format!(
            "Secrets have no value in Vault: {}. {which} bao kv {verb} -mount={} {} {}=-{rest}",
            names(&here),
            settings.mount,
            first.path,
            first.key,
        ));
    }
    if let Some(base) = waiting.first().and_then(|first| secrets.waiting.get(&first.path)) {
        sentences.push(format!(
            "Secrets wait for a value to copy: {}. Put it into the base's secret, {base} for the first one, and not here: what is there \
             is not copied",
            names(&waiting),
        ));
    }
    (!sentences.is_empty()).then(|| sentences.join(". "))
}

fn names(secrets: &[&SecretStatus]) -> String {
    let name = |secret: &&SecretStatus| match secret.state {
        SecretState::Lost => format!("{} (had one before)", secret.name),
        _ => secret.name.clone(),
    };
    some_of(&secrets.iter().map(name).collect::<Vec<_>>())
}

/// The place in Vault that an environment has although the operator uses none any more, and that nobody gave up.
pub(super) fn left_place<'a>(snapshot: &'a Snapshot<'_>) -> Option<&'a VaultLocation> {
    let settings = snapshot.settings;
    let place = snapshot.environment.status.as_ref()?.vault.as_ref()?;
    (settings.vault.is_none() && !settings.abandon_vault).then_some(place)
}

fn not_configured(place: &VaultLocation) -> String {
    format!(
        "The environment has a place in Vault ({}/{}, role and policy {}), and the operator is not told of Vault any more, so that \
         nobody looks after it. Set --vault-address (vault.address) again; or, if that Vault is gone for good, --vault-abandon \
         (vault.abandon)",
        place.mount, place.prefix, place.role,
    )
}

/// The next step to take the environment's place in Vault away; `None` when nothing of it is left.
///
/// First the role, so that nobody can log in; then the policy, which makes tokens that were given out good for nothing. Whatever else
/// is in the way, access has ended then. Then what brings secrets, and how that logs in; then the values. Vault away means to wait:
/// nothing is skipped.
pub(super) fn teardown(snapshot: &Snapshot<'_>) -> Result<Option<Step>, Hold> {
    if let Some(place) = left_place(snapshot) {
        // An operator that is told something else starts anew, and looks at it then.
        let message = format!("The environment goes when its place in Vault is gone. {}", not_configured(place));
        return Err(Hold::waiting(Reason::VaultNotConfigured, condition::READY, message));
    }
    let (Some(_), Some(view)) = (snapshot.settings.vault.as_ref(), snapshot.vault.as_ref()) else { return Ok(None) };
    let change = |change| Ok(Some(Step::Act(vec![Action::Vault(change)])));
    if view.trouble.is_none() && !view.gone.role {
        return change(Change::RemoveRole);
    }
    if view.trouble.is_none() && !view.gone.policy {
        return change(Change::RemovePolicy);
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
        let message = format!("The environment goes when its place in Vault is gone. {}", trouble.message);
        let hold = Hold::waiting(trouble.reason(), condition::READY, message);
        return Err(Hold { retry: !trouble.down, ..hold });
    }
    if view.gone.secrets || keeps { Ok(None) } else { change(Change::RemoveSecrets) }
}
