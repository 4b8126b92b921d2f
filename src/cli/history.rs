//! `kubectl penv history`: who changed what, when, and whether the record is whole.

use clap::Args;
use kube::{Api, api::ListParams};

use super::{Access, Failure, Output};
use crate::{
    api::{EnvironmentRevision, EnvironmentRevisionSpec},
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
        let api: Api<EnvironmentRevision> = Api::namespaced(client, &namespace);
        let of_environment = ListParams::default().fields(&format!("spec.environment={}", self.environment));
        let revisions = api.list(&of_environment).await.map_err(Failure::of("read the history"))?;
        let mut records = newest_life(revisions.items.into_iter().map(|revision| revision.spec).collect());
        if records.is_empty() {
            let message = format!("there is no history of an environment {} in {namespace}", self.environment);
            return Err(Failure::new(message));
        }
        let whole = chain::verify(&records);
        records.reverse();
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

/// The records of one environment, oldest first: a former environment of the same name has a history of its own, which
/// may not be gone yet.
fn newest_life(mut records: Vec<EnvironmentRevisionSpec>) -> Vec<EnvironmentRevisionSpec> {
    let newest = records.iter().max_by_key(|record| record.timestamp).map(|record| record.environment_uid.clone());
    records.retain(|record| Some(&record.environment_uid) == newest.as_ref());
    records.sort_by_key(|record| record.revision);
    records
}

fn json(records: &[EnvironmentRevisionSpec]) -> String {
    let lines = records.iter().map(|record| serde_json::to_string(&VersionRecord::from(record)).unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Without what would steer a terminal: an actor is somebody's word.
fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

fn table(records: &[EnvironmentRevisionSpec]) -> String {
    let mut lines =
        vec![format!("{:<9} {:<21} {:<14} {:<12} {:<18} DIGEST", "REVISION", "WHEN", "CAUSE", "VERSION", "WHO")];
    lines.extend(records.iter().map(|record| {
        let version = record.version.as_ref().map_or("-", |version| version.name.as_str());
        let digest = record.digest.short(12);
        format!(
            "{:<9} {:<21} {:<14} {version:<12} {:<18} {digest}",
            record.revision.to_string(),
            record.timestamp.to_string(),
            record.cause.as_str(),
            plain(&record.actor)
        )
    }));
    lines.join("\n")
}
