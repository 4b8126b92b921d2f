//! What is there before the first promotion: projects with versions, environments, and their history.
//!
//! The operator makes the environments. Their history is written by a client while the operator is stopped: records that
//! are sealed and chained as the operator's own. When it starts again, it publishes the newest of each.

use std::collections::BTreeMap;

use environment_manager::{
    api::{
        Cause, Digest, EnvironmentRevision, EnvironmentRevisionSpec, PlatformEnvironment, PlatformVersion, Promotion,
        revision::{Changes, PromotionReference, VersionReference},
    },
    domain::{
        revision::chain,
        version::{self, diff},
    },
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::support::{
    Result,
    audit::{Audit, Tally},
    cluster::{self, Cluster},
    operator::Operator,
    requests,
};

/// Where all promotions come from, one in each project.
const SOURCE: &str = "staging";

/// Names in each category of a version's content.
const PARTS: usize = 20;

/// How much there is.
pub struct Fleet {
    projects: usize,
    environments_each: usize,
    revisions_each: usize,
}

/// An environment that something can be promoted into.
pub struct Target {
    pub project: String,
    pub environment: String,
}

impl Target {
    /// From the project's source into this environment.
    pub fn promotion(&self, label: &str) -> Promotion {
        cluster::object(json!({
            "apiVersion": "platform.puraify.app/v1alpha1",
            "kind": "Promotion",
            "metadata": {"name": format!("{label}-{}", self.environment), "namespace": self.project},
            "spec": {"target": self.environment, "source": {"environment": SOURCE}, "reason": "September release"},
        }))
    }
}

impl Fleet {
    pub fn new(projects: usize, environments: usize, revisions: usize) -> Self {
        let environments_each = (environments / projects.max(1)).max(2);
        // The first one is the operator's; the source is one version ahead.
        let revisions_each = (revisions / environments.max(1)).max(2);
        Self { projects, environments_each, revisions_each }
    }

    /// How many revisions there are in all.
    pub fn revisions(&self) -> usize {
        self.projects * self.environments_each * self.revisions_each
    }

    fn environments(&self) -> usize {
        self.projects * self.environments_each
    }

    fn projects(&self) -> impl Iterator<Item = String> {
        (0..self.projects).map(|number| format!("project-{number}"))
    }

    /// All environments but the sources, each project in turn.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = Target> + use<> {
        let projects = self.projects;
        let count = projects * (self.environments_each - 1);
        (0..count).map(move |number| Target {
            project: format!("project-{}", number % projects),
            environment: format!("e-{}", number / projects),
        })
    }

    /// Makes all of it, and gives back the operator at rest.
    pub async fn prepare(
        &self,
        cluster: &Cluster,
        client: &Client,
        audit: &mut Audit,
        flags: &[&str],
    ) -> Result<Operator> {
        for project in self.projects() {
            cluster.create_project(&project)?;
            cluster::create_all(client, self.versions(&project)).await?;
            cluster::create_all(client, self.environments_of(&project)).await?;
        }
        let statuses = ("patch platformenvironments/status", self.environments());
        let mut operator = Operator::start(cluster, flags)?;
        Tally::default().until(audit, &[statuses, ("create events", self.environments())])?;
        audit.until_quiet()?;
        operator.stop()?;

        // History is the operator's to write.
        let twin = cluster.twin().await?;
        for project in self.projects() {
            self.write_history(&twin, &project).await?;
        }
        audit.until_quiet()?;
        let operator = Operator::start(cluster, flags)?;
        operator.until_ready()?;
        let mut seen = Tally::default();
        seen.until(audit, &[statuses])?;
        for project in self.projects() {
            self.report_deployed(client, &project).await?;
        }
        seen.until(audit, &[("patch environmentrevisions/status", self.projects)])?;
        audit.until_quiet()?;
        for project in self.projects() {
            cluster.expect_ready(client, &project, self.environments_each).await?;
        }
        Ok(operator)
    }

    /// One version for each step of the history, and the one that is promoted in the end.
    fn versions(&self, project: &str) -> Vec<PlatformVersion> {
        (0..self.revisions_each).map(|number| version(project, number)).collect()
    }

    fn environments_of(&self, project: &str) -> Vec<PlatformEnvironment> {
        let rules = json!({
            "from": [SOURCE], "requires": [{"environment": SOURCE}], "versions": ">=1.0.0, <2.0.0",
        });
        let targets = (1..self.environments_each).map(|number| format!("e-{}", number - 1));
        let mut environments: Vec<_> =
            targets.map(|name| environment(project, &name, "Production", Some(&rules))).collect();
        environments.push(environment(project, SOURCE, "Staging", None));
        environments
    }

    /// What follows the first revision of each environment of a project.
    async fn write_history(&self, client: &Client, project: &str) -> Result<()> {
        let environments: Api<PlatformEnvironment> = Api::namespaced(client.clone(), project);
        let revisions: Api<EnvironmentRevision> = Api::namespaced(client.clone(), project);
        let environments = environments.list(&ListParams::default()).await?.items;
        let mut first: BTreeMap<String, EnvironmentRevision> = BTreeMap::new();
        for revision in revisions.list(&ListParams::default()).await?.items {
            first.insert(revision.spec.environment.clone(), revision);
        }
        let versions = self.versions(project);
        let mut records = vec![];
        for environment in &environments {
            let name = environment.name_any();
            let mut record = first.remove(&name).ok_or("an environment has no revision")?.spec;
            // All but the source stay one version behind.
            let known = if name == SOURCE { &versions[1..] } else { &versions[..versions.len() - 1] };
            for (number, version) in known.iter().enumerate() {
                let before = number.checked_sub(1).map(|before| &known[before]);
                record = next(record, before, version);
                records.push(requests::revision(environment, &record));
            }
        }
        cluster::create_all(client, records).await
    }

    /// What the Deployment Planner would say of the source.
    async fn report_deployed(&self, client: &Client, project: &str) -> Result<()> {
        let api: Api<PlatformEnvironment> = Api::namespaced(client.clone(), project);
        let report = json!({"revision": self.revisions_each, "state": "Succeeded"});
        let patch = json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
            "status": {"deployment": report},
        });
        api.patch_status(SOURCE, &PatchParams::apply("bench"), &Patch::Apply(patch)).await?;
        Ok(())
    }
}

/// Each version changes one part in each category of the one before.
fn version(project: &str, number: usize) -> PlatformVersion {
    let part = |category: &str, part: usize| {
        let changed = (0..=number).rev().find(|change| change % PARTS == part).unwrap_or_default();
        (format!("Part{part}"), Digest::of(format!("{project}/{category}/{part}/{changed}").as_bytes()))
    };
    let category = |name: &str| (0..PARTS).map(|number| part(name, number)).collect::<BTreeMap<_, _>>();
    let name = format!("v1.{number}.0");
    let parent = number.checked_sub(1).map(|parent| format!("v1.{parent}.0"));
    let content: BTreeMap<_, _> = ["entities", "flows", "logic"].map(|name| (name, category(name))).into();
    let mut version = json!({
        "apiVersion": "platform.puraify.app/v1alpha1",
        "kind": "PlatformVersion",
        "metadata": {"name": name, "namespace": project},
        "spec": {
            "version": name, "content": content,
            "requires": {"variables": ["BASE_URL"], "flags": ["BETA_FORM"], "secrets": ["API_KEY"]},
        },
    });
    if let Some(parent) = parent {
        version["spec"]["parent"] = json!(parent);
    }
    cluster::object(version)
}

fn environment(project: &str, name: &str, class: &str, rules: Option<&serde_json::Value>) -> PlatformEnvironment {
    let mut environment = json!({
        "apiVersion": "platform.puraify.app/v1alpha1",
        "kind": "PlatformEnvironment",
        "metadata": {"name": name, "namespace": project},
        "spec": {
            "class": class,
            "config": {
                "variables": [
                    {"name": "BASE_URL", "value": format!("https://{name}.shop.example")},
                    {"name": "PAYMENT_PROVIDER", "value": "sandbox"},
                    {"name": "LOG_LEVEL", "value": "info"},
                    {"name": "API_KEY", "vault": {"path": "payments", "key": "api_key"}},
                ],
                "flags": [{"name": "BETA_FORM", "enabled": true}, {"name": "NEW_CHECKOUT", "enabled": false}],
            },
        },
    });
    if let Some(rules) = rules {
        environment["spec"]["promotion"] = rules.clone();
    }
    cluster::object(environment)
}

/// The revision that a promotion of this version makes after this one.
fn next(
    record: EnvironmentRevisionSpec,
    before: Option<&PlatformVersion>,
    version: &PlatformVersion,
) -> EnvironmentRevisionSpec {
    let nothing = BTreeMap::new();
    let content = diff::between(before.map_or(&nothing, |before| &before.spec.content), &version.spec.content);
    let number = record.revision.next();
    let name = format!("history-{}-{number}", record.environment);
    chain::sealed(EnvironmentRevisionSpec {
        revision: number,
        cause: Cause::Promoted,
        version: Some(reference(version)),
        changes: Changes { content, ..Changes::default() },
        promotion: Some(PromotionReference { uid: uid_of(&name), name }),
        previous: Some(record.digest),
        ..record
    })
}

/// A version, bound to its content.
pub fn reference(version: &PlatformVersion) -> VersionReference {
    VersionReference { name: version.spec.version.clone(), digest: version::digest(&version.spec) }
}

/// A UID for a promotion that never was.
pub fn uid_of(name: &str) -> String {
    let digest = Digest::of(name.as_bytes());
    let digits = digest.short(32);
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}
