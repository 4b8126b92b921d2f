//! `kubectl penv history`: who changed what, when, and whether the record is whole.

use clap::Args;
use kube::{
    Api,
    api::{DynamicObject, ListParams},
    core::ApiResource,
};
use serde_json::Value;

use super::{Access, Failure, Output};
use crate::{
    api::{EnvironmentRevision, EnvironmentRevisionSpec, PlatformEnvironment},
    domain::{contract::VersionRecord, revision::chain},
};

#[derive(Args, Debug)]
pub(super) struct History {
    /// The environment's name
    environment: String,
    /// How to print: a table, or one version record of the JSON contract a line
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl History {
    pub(super) async fn run(&self, access: &Access) -> Result<String, Failure> {
        let (client, namespace) = access.client().await?;
        // As it is stored: what this program does not know of a record is part of it too.
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &namespace, &ApiResource::erase::<EnvironmentRevision>(&()));
        let of_environment = ListParams::default().fields(&format!("spec.environment={}", self.environment));
        let revisions = api.list(&of_environment).await.map_err(Failure::of("read the history"))?;
        let environments: Api<PlatformEnvironment> = Api::namespaced(client, &namespace);
        let environment = environments.get_opt(&self.environment).await.map_err(Failure::of("read the environment"))?;
        let uid = environment.as_ref().and_then(|environment| environment.metadata.uid.clone());
        let all = revisions.items.into_iter().map(|mut revision| revision.data["spec"].take()).collect();
        let stored = one_life(all, uid);
        if stored.is_empty() {
            let message = format!("there is no history of an environment {} in {namespace}", self.environment);
            return Err(Failure::new(message));
        }
        // The newest record is what the environment says it is: nothing after it could tell that it is missing.
        let head = environment.and_then(|environment| environment.status?.release).map(|release| release.revision);
        let whole = chain::verify(&stored).and_then(|()| chain::verify_head(&stored, head));
        let mut records: Vec<EnvironmentRevisionSpec> =
            stored.into_iter().filter_map(|stored| serde_json::from_value(stored).ok()).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.revision));
        let text = match self.output {
            Output::Json => json(&records),
            Output::Text => table(&records),
        };
        match whole {
            Ok(()) if self.output == Output::Text => Ok(format!("{text}\nThe chain of digests is whole.")),
            Ok(()) => Ok(text),
            Err(broken) => {
                println!("{text}");
                Err(Failure::new(format!("the history of {} is not whole: {broken}", self.environment)))
            }
        }
    }
}

/// The records of one environment: a former one of the same name has a history of its own, which may not be gone yet. Without
/// an environment: those of the last one that there was.
fn one_life(mut records: Vec<Value>, uid: Option<String>) -> Vec<Value> {
    let newest = records.iter().max_by(|one, other| one["timestamp"].as_str().cmp(&other["timestamp"].as_str()));
    let uid = uid.map(Value::String).or_else(|| newest.map(|record| record["environmentUid"].clone()));
    records.retain(|record| Some(&record["environmentUid"]) == uid.as_ref());
    records
}

fn json(records: &[EnvironmentRevisionSpec]) -> String {
    let lines = records.iter().map(|record| serde_json::to_string(&VersionRecord::from(record)).unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn table(records: &[EnvironmentRevisionSpec]) -> String {
    let mut lines = vec![format!(
        "{:<9} {:<21} {:<14} {:<12} {:<20} {:<13} WHY",
        "REVISION", "WHEN", "CAUSE", "VERSION", "WHO", "DIGEST"
    )];
    lines.extend(records.iter().map(|record| {
        let version = record.version.as_ref().map_or("-", |version| version.name.as_str());
        let digest = record.digest.short(12);
        format!(
            "{:<9} {:<21} {:<14} {version:<12} {:<20} {digest:<13} {}",
            record.revision.to_string(),
            record.timestamp.to_string(),
            record.cause.as_str(),
            super::plain(&record.actor),
            why(record)
        )
    }));
    lines.join("\n")
}

/// What made it, and why.
fn why(record: &EnvironmentRevisionSpec) -> String {
    let mut parts = vec![];
    if record.emergency {
        parts.push("emergency".to_owned());
    }
    parts.extend(record.restores.map(|restored| format!("restores {restored}")));
    parts.extend(record.promotion.as_ref().map(|promotion| promotion.name.clone()));
    let who: Vec<&str> = record.confirmations.iter().map(|confirmation| confirmation.user.as_str()).collect();
    if !who.is_empty() {
        parts.push(format!("confirmed by {}", who.join(", ")));
    }
    parts.extend(record.reason.clone());
    super::plain(&parts.join("; "))
}
