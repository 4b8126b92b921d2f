//! `kubectl penv diff`: what changes from one version's content to another's.

use clap::Args;
use kube::{Api, Client};

use super::{Access, Failure, Output};
use crate::{
    api::{PlatformEnvironment, PlatformVersion, PlatformVersionSpec, revision::Changes},
    domain::{contract::changes, version::diff},
};

#[derive(Args, Debug)]
pub(super) struct Diff {
    /// A version, or an environment for the version that it has
    from: String,
    /// Another version, or an environment
    to: String,
    /// How to print: a table, or the difference in the form of the JSON contract
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl Diff {
    pub(super) async fn run(&self, access: &Access) -> Result<String, Failure> {
        let (client, namespace) = access.client().await?;
        let from = version(&client, &namespace, &self.from).await?;
        let to = version(&client, &namespace, &self.to).await?;
        let content = diff::between(&from.content, &to.content);
        let changes = Changes { content, ..Changes::default() };
        match self.output {
            Output::Json => Ok(serde_json::to_string(&changes::diff_from_previous(&changes)).unwrap_or_default()),
            Output::Text if changes.content.is_empty() => {
                Ok(format!("{} and {} hold the same", from.version, to.version))
            }
            Output::Text => Ok(table(&from.version, &to.version, &changes)),
        }
    }
}

/// The version of this name, or that an environment of this name has.
async fn version(client: &Client, namespace: &str, name: &str) -> Result<PlatformVersionSpec, Failure> {
    let versions: Api<PlatformVersion> = Api::namespaced(client.clone(), namespace);
    if let Some(version) = versions.get_opt(name).await.map_err(Failure::of("read the version"))? {
        return Ok(version.spec);
    }
    let environments: Api<PlatformEnvironment> = Api::namespaced(client.clone(), namespace);
    let environment = environments.get_opt(name).await.map_err(Failure::of("read the environment"))?;
    let Some(environment) = environment else {
        return Err(Failure::new(format!("there is neither a version nor an environment {name} in {namespace}")));
    };
    let released = environment.status.and_then(|status| status.release).and_then(|release| release.version);
    let Some(released) = released else {
        return Err(Failure::new(format!("the environment {name} has no version yet")));
    };
    let version = versions.get_opt(&released).await.map_err(Failure::of("read the version"))?;
    version
        .map(|version| version.spec)
        .ok_or_else(|| Failure::new(format!("the version {released} of {name} is not there any more")))
}

fn table(from: &str, to: &str, changes: &Changes) -> String {
    let mut lines = vec![format!("{from} → {to}")];
    for (category, changes) in &changes.content {
        lines.push(category.clone());
        for (sign, names, count) in [
            ("+", &changes.added, changes.added_count),
            ("-", &changes.removed, changes.removed_count),
            ("~", &changes.changed, changes.changed_count),
        ] {
            lines.extend(names.iter().map(|name| format!("  {sign} {}", super::plain(name))));
            let more = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(names.len());
            if more > 0 {
                lines.push(format!("  {sign} and {more} more"));
            }
        }
    }
    lines.join("\n")
}
