//! `kubectl penv create`: from a request of the JSON contract to its answer.

use std::{
    fs,
    io::{self, Read as _},
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use clap::Args;
use futures::TryStreamExt as _;
use kube::{
    Api, ResourceExt as _,
    api::PostParams,
    runtime::{WatchStreamExt as _, watcher},
};

use super::{Access, Failure, Output, person};
use crate::{
    api::{
        ANNOTATION_CREATED_BY, Condition, PlatformEnvironment,
        condition::{self, Reason},
    },
    domain::contract::{CreateEnvironment, EnvironmentCreated},
};

#[derive(Args, Debug)]
pub(super) struct Create {
    /// The request, for example {"project_id": "pf_872", "env_name": "staging", "base_env": "dev"}; - is standard input
    #[arg(long, short)]
    filename: PathBuf,
    /// How to print the answer
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// Print the PlatformEnvironment that the request becomes, and create nothing
    #[arg(long)]
    dry_run: bool,
    /// How long to wait until the environment is active, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

impl Create {
    pub(super) async fn run(&self, access: &Access) -> Result<String, Failure> {
        let request = self.request()?;
        let (client, _) = access.client().await?;
        let namespace = access.project(&client, &request.project_id).await?;
        let mut environment = request.environment(&namespace).map_err(|error| Failure::new(error.to_string()))?;
        if self.dry_run {
            let document = serde_json::to_value(&environment).unwrap_or_default();
            return Ok(crate::api::crd::yaml(&document).trim_end().to_owned());
        }
        let me = person::me(&client).await?;
        environment.annotations_mut().insert(ANNOTATION_CREATED_BY.to_owned(), me);
        let api: Api<PlatformEnvironment> = Api::namespaced(client, &namespace);
        let what = format!("create the environment {}", request.env_name);
        api.create(&PostParams::default(), &environment).await.map_err(Failure::of(&what))?;
        let limit = Duration::from_secs(self.timeout);
        let waited = tokio::time::timeout(limit, self.answer(&api, &request.env_name)).await;
        waited.unwrap_or_else(|_| {
            let name = &request.env_name;
            let message = format!("the environment {name} was created and is not active after {} seconds; see: kubectl describe penv {name} --namespace {namespace}", self.timeout);
            Err(Failure::new(message))
        })
    }

    fn request(&self) -> Result<CreateEnvironment, Failure> {
        let file = self.filename.display();
        let text = if self.filename.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(&self.filename)
        };
        let text = text.map_err(|error| Failure::new(format!("cannot read {file}: {error}")))?;
        serde_json::from_str(&text).map_err(|error| Failure::new(format!("{file} is not a request: {error}")))
    }

    /// Follows the environment until it is active, and says meanwhile what it waits for.
    async fn answer(&self, api: &Api<PlatformEnvironment>, name: &str) -> Result<String, Failure> {
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut changes = pin!(watcher(api.clone(), only).default_backoff().applied_objects());
        let mut said = String::new();
        loop {
            let change = changes
                .try_next()
                .await
                .map_err(|error| Failure::new(format!("cannot follow the environment: {error}")))?;
            let Some(environment) = change else { return Err(Failure::new("the watch ended")) };
            if let Some(created) = EnvironmentCreated::of(&environment) {
                return Ok(match self.output {
                    Output::Json => serde_json::to_string(&created).unwrap_or_default(),
                    Output::Text => created.to_string(),
                });
            }
            let status = environment.status.unwrap_or_default();
            let ready = status.conditions.iter().find(|found| found.r#type == condition::READY);
            // Before the operator has looked at it there is nothing to tell.
            let telling = |ready: &&Condition| ready.message != said && ready.reason != Reason::Pending.as_str();
            if let Some(ready) = ready.filter(telling) {
                eprintln!("waiting: {}", ready.message);
                said.clone_from(&ready.message);
            }
        }
    }
}
