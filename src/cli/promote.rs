//! `kubectl penv promote` and `kubectl penv rollback`: ask for a promotion and follow it.

use std::{pin::pin, time::Duration};

use clap::Args;
use futures::TryStreamExt as _;
use kube::{
    Api, Client,
    api::PostParams,
    runtime::{WatchStreamExt as _, watcher},
};

use super::{Access, Failure, Output, person};
use crate::{
    api::{
        ANNOTATION_CREATED_BY, Promotion, PromotionPhase, PromotionSpec, RevisionNumber,
        condition::READY,
        promotion::{CarriedConfiguration, PromotionSource},
    },
    domain::contract::ReadyForDeploy,
};

#[derive(Args, Debug)]
pub(super) struct Promote {
    /// The environment to promote into
    target: String,
    #[command(flatten)]
    source: Source,
    /// A variable to carry along from the source environment; repeat it or separate by commas
    #[arg(long = "variable", value_delimiter = ',', requires = "from")]
    variables: Vec<String>,
    /// A feature flag to carry along from the source environment; repeat it or separate by commas
    #[arg(long = "flag", value_delimiter = ',', requires = "from")]
    flags: Vec<String>,
    /// Promote although the version was rolled back in the target before
    #[arg(long)]
    lift_veto: bool,
    /// Only say what would happen, and what would be in the way
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    request: Request,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Source {
    /// The environment whose current version is promoted
    #[arg(long, value_name = "ENVIRONMENT")]
    from: Option<String>,
    /// The version to promote
    #[arg(long = "to-version", value_name = "VERSION")]
    version: Option<String>,
    /// Promote the edits of the target's spec.config that wait
    #[arg(long)]
    pending_config: bool,
}

#[derive(Args, Debug)]
pub(super) struct Rollback {
    /// The environment to roll back
    target: String,
    /// The revision to go back to, version and configuration together
    #[arg(long, value_name = "REVISION")]
    to: u32,
    /// Past the queue and without confirmations; it is marked in the history
    #[arg(long)]
    emergency: bool,
    /// Go back to a version although it was rolled back itself
    #[arg(long)]
    lift_veto: bool,
    #[command(flatten)]
    request: Request,
}

#[derive(Args, Debug)]
pub(super) struct Follow {
    /// The promotion's name
    promotion: String,
    /// How long to wait until it has moved, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    /// How to print the answer
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Args, Debug)]
struct Request {
    /// Why; it stands in the history
    #[arg(long)]
    reason: Option<String>,
    /// The promotion's name. A name moves something once, so a script that is run twice promotes once
    #[arg(long)]
    name: Option<String>,
    /// Ask for it, and do not wait for what comes of it
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until it has moved, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    /// How to print the answer
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl Promote {
    pub(super) async fn run(&self, access: &Access) -> Result<String, Failure> {
        let Source { from, version, pending_config } = &self.source;
        let source = PromotionSource {
            environment: from.clone(),
            version: version.clone(),
            revision: None,
            pending_config: pending_config.then_some(true),
        };
        let carried = CarriedConfiguration { variables: self.variables.clone(), flags: self.flags.clone() };
        let mut spec = self.request.spec(&self.target, source);
        spec.config = (carried != CarriedConfiguration::default()).then_some(carried);
        spec.dry_run = self.dry_run;
        spec.lift_veto = self.lift_veto;
        self.request.ask(access, spec).await
    }
}

impl Rollback {
    pub(super) async fn run(&self, access: &Access) -> Result<String, Failure> {
        let revision = RevisionNumber::new(self.to).ok_or_else(|| Failure::new("revisions count from 1"))?;
        let source = PromotionSource { revision: Some(revision), ..PromotionSource::default() };
        let mut spec = self.request.spec(&self.target, source);
        spec.emergency = self.emergency;
        spec.lift_veto = self.lift_veto;
        self.request.ask(access, spec).await
    }
}

impl Follow {
    pub(super) async fn run(&self, access: &Access) -> Result<String, Failure> {
        let (client, namespace) = access.client().await?;
        let api: Api<Promotion> = Api::namespaced(client, &namespace);
        api.get(&self.promotion).await.map_err(Failure::of("read the promotion"))?;
        followed(&api, &namespace, &self.promotion, self.timeout, self.output).await
    }
}

impl Request {
    fn spec(&self, target: &str, source: PromotionSource) -> PromotionSpec {
        PromotionSpec {
            target: target.to_owned(),
            source,
            config: None,
            reason: self.reason.clone(),
            dry_run: false,
            emergency: false,
            lift_veto: false,
            confirmations: vec![],
            cancel: false,
            ttl_after_finished: None,
        }
    }

    async fn ask(&self, access: &Access, spec: PromotionSpec) -> Result<String, Failure> {
        let (client, namespace) = access.client().await?;
        let promotion = self.promotion(&client, spec).await?;
        let api: Api<Promotion> = Api::namespaced(client, &namespace);
        let created = match (api.create(&PostParams::default(), &promotion).await, &self.name) {
            // A name moves something once: who asks for the same again wants to know what came of it.
            (Err(kube::Error::Api(status)), Some(name)) if status.is_already_exists() => {
                let there = api.get(name).await.map_err(Failure::of("read the promotion"))?;
                if !asks_for_the_same(&there.spec, &promotion.spec) {
                    return Err(Failure::new(format!(
                        "there is a promotion {name} already, which asks for something else"
                    )));
                }
                there
            }
            (created, _) => created.map_err(Failure::of("create the promotion"))?,
        };
        let name = created.metadata.name.unwrap_or_default();
        if self.no_wait {
            return Ok(format!("promotion.platform.puraify.app/{name} created"));
        }
        eprintln!("promotion {name}");
        followed(&api, &namespace, &name, self.timeout, self.output).await
    }

    async fn promotion(&self, client: &Client, spec: PromotionSpec) -> Result<Promotion, Failure> {
        let mut promotion = Promotion::new(self.name.as_deref().unwrap_or_default(), spec);
        if self.name.is_none() {
            promotion.metadata.name = None;
            promotion.metadata.generate_name = Some(format!("{}-", promotion.spec.target));
        }
        let me = person::me(client).await?;
        promotion.metadata.annotations = Some([(ANNOTATION_CREATED_BY.to_owned(), me)].into());
        Ok(promotion)
    }
}

/// Whether two promotions ask for the same: whatever people said to one of them since.
fn asks_for_the_same(one: &PromotionSpec, other: &PromotionSpec) -> bool {
    let asked = |spec: &PromotionSpec| PromotionSpec { confirmations: vec![], cancel: false, ..spec.clone() };
    asked(one) == asked(other)
}

/// Follows the promotion for so many seconds.
async fn followed(
    api: &Api<Promotion>,
    namespace: &str,
    name: &str,
    timeout: u64,
    output: Output,
) -> Result<String, Failure> {
    let answer = tokio::time::timeout(Duration::from_secs(timeout), follow(api, name, output)).await;
    answer.unwrap_or_else(|_| {
        Err(Failure::new(format!(
            "the promotion {name} has not moved within {timeout} s; it goes on: kubectl get promotion {name} --namespace {namespace}"
        )))
    })
}

/// Follows the promotion until it has moved or ended, and says meanwhile what it waits for.
async fn follow(api: &Api<Promotion>, name: &str, output: Output) -> Result<String, Failure> {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = pin!(watcher(api.clone(), only).default_backoff().applied_objects());
    let mut said = String::new();
    loop {
        let change = changes.try_next().await;
        let change = change.map_err(|error| Failure::new(format!("cannot follow the promotion: {error}")))?;
        let Some(promotion) = change else { return Err(Failure::new("the watch ended")) };
        let status = promotion.status.clone().unwrap_or_default();
        if let Some(ready) = ReadyForDeploy::of(&promotion) {
            return Ok(match output {
                Output::Json => serde_json::to_string(&ready).unwrap_or_default(),
                Output::Text => ready.to_string(),
            });
        }
        let ready = status.conditions.iter().find(|condition| condition.r#type == READY);
        let message = ready.map(|ready| ready.message.clone()).unwrap_or_default();
        match status.phase {
            Some(phase @ (PromotionPhase::Succeeded | PromotionPhase::DryRun)) => {
                return Ok(match output {
                    Output::Json => serde_json::to_string(&status).unwrap_or_default(),
                    Output::Text => format!("{}: {message}", phase.as_str()),
                });
            }
            Some(phase) if phase.is_terminal() => {
                return Err(Failure::new(format!("{}: {message}", phase.as_str())));
            }
            _ => {}
        }
        if let Some(waiting) = status.waiting_for.filter(|waiting| *waiting != said) {
            eprintln!("waiting: {waiting}");
            said = waiting;
        }
    }
}
