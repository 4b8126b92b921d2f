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
        let mut records: Vec<EnvironmentRevisionSpec> =
            revisions.items.into_iter().map(|revision| revision.spec).collect();
        if records.is_empty() {
            return Err(Failure::new(format!(
                "there is no history of an environment {} in {namespace}",
                self.environment
            )));
        }
        records.sort_by_key(|record| record.revision);
        chain::verify(&records)
            .map_err(|broken| Failure::new(format!("the history of {} is not whole: {broken}", self.environment)))?;
        records.reverse();
        Ok(match self.output {
            Output::Json => json(&records),
            Output::Text => table(&records),
        })
    }
}

fn json(records: &[EnvironmentRevisionSpec]) -> String {
    let lines = records.iter().map(|record| serde_json::to_string(&VersionRecord::from(record)).unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
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
            record.actor
        )
    }));
    lines.push("The chain of digests is whole.".to_owned());
    lines.join("\n")
}
