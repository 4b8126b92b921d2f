//! The controllers, and the process they run in.
//!
//! [`run`] is `environment-manager run`: it sets up the [`Process`], adds the controllers (`add_controllers`) and lets
//! it run until it is told to stop. Each controller is a [`Reconciler`](run_loop::Reconciler) with its caches; all
//! that they share is in [`run_loop`] and [`process`].

use std::{collections::BTreeMap, sync::Arc};

use kube::{Api, core::PartialObjectMeta, runtime::watcher};

use crate::{
    api::{LABEL_ENVIRONMENT_UID, LABEL_PROJECT_ID},
    config::RunConfig,
    domain::environment::children::ChildKind,
    kube_ext::{cache::Decoded, events::EventSink},
    metrics::EnvironmentGroup,
};

pub mod check;
pub mod commit;
pub mod diffs;
pub mod environment;
pub mod error;
pub mod guard;
pub mod process;
pub mod promotion;
pub mod rights;
pub mod run_loop;
mod vault;
pub mod version;
pub mod world;

use diffs::Diffs;
use environment::{EnvironmentController, keeper::Keeper};
use process::{Process, RunError};
use promotion::PromotionController;
use run_loop::Trigger;
use vault::Connected;
use version::VersionController;
use world::World;

/// Runs the operator until SIGTERM or SIGINT.
pub async fn run(config: RunConfig) -> Result<(), RunError> {
    let mut process = Process::new(config).await?;
    let Some(secrets_operator) = vault::choose(&mut process).await else { return Ok(()) };
    let vault = vault::connect(&mut process, secrets_operator)?;
    add_controllers(&mut process, vault);
    process.run().await
}

/// The one place where controllers join the process: make caches, subscribe, [`watch`](Process::watch), and
/// [`control`](Process::control).
fn add_controllers(process: &mut Process, vault: Option<Connected>) {
    let secrets = vault.as_ref().map_or(&[][..], |vault| ChildKind::served(&vault.settings));
    let world = Arc::new(World::new(secrets));
    let limits = process.config.limits();

    let environments = Trigger::new(&limits);
    let (events, publisher) = EventSink::new(process.client.clone());
    process.publish(publisher);
    let settings = process.config.settings(vault.as_ref().map(|vault| vault.settings.clone()));
    let keeper = vault.map(|vault| {
        let service_account = (process.namespace(), rights::OPERATOR.to_owned());
        Keeper::new(vault.vault, vault.settings, service_account, environments.clone(), limits)
    });
    let keeps = keeper.is_some();
    let environment_controller = Arc::new(EnvironmentController::new(
        process.client.clone(),
        world.clone(),
        settings,
        keeper,
        events.clone(),
        &environments,
    ));
    if keeps {
        process.while_leading("the watch over Vault", environment_controller.clone().keep_vault());
    }

    let diffs = Arc::new(Diffs::default());
    let versions = Trigger::new(&limits);
    let version_controller = VersionController::new(process.client.clone(), world.clone(), diffs.clone(), &versions);

    let promotions = Trigger::new(&limits);
    let promotion_controller =
        PromotionController::new(process.client.clone(), world.clone(), diffs, events, &promotions);

    watch_world(process, &world);
    count_environments(process, &world);
    process.control(environment_controller, environments);
    process.control(Arc::new(version_controller), versions);
    process.control(Arc::new(promotion_controller), promotions);
}

/// Children are watched as metadata, and only those that name an environment.
fn watch_world(process: &mut Process, world: &World) {
    let client = process.client.clone();
    let all = watcher::Config::default;
    process.watch_custom(Api::all(client.clone()), all(), &world.environments, "platformenvironments");
    process.watch_custom(Api::all(client.clone()), all(), &world.versions, "platformversions");
    process.watch_custom(Api::all(client.clone()), all(), &world.revisions, "environmentrevisions");
    process.watch_custom(Api::all(client.clone()), all(), &world.promotions, "promotions");
    let namespaces: Api<PartialObjectMeta> = Api::all_with(client.clone(), &world::resource(ChildKind::Namespace));
    process.watch(namespaces, all().labels(LABEL_PROJECT_ID), &world.projects, "projects");
    for kind in world.child_kinds() {
        let api: Api<PartialObjectMeta> = Api::all_with(client.clone(), &world::resource(kind));
        process.watch(api, all().labels(LABEL_ENVIRONMENT_UID), world.children(kind), kind.plural());
    }
}

/// How many environments there are, counted when somebody asks.
fn count_environments(process: &Process, world: &World) {
    let environments = world.environments.clone();
    process.metrics.set_environments(move || {
        let mut groups: BTreeMap<EnvironmentGroup, u64> = BTreeMap::new();
        environments.for_each(|_, held| {
            let group = match &held.value {
                Decoded::Valid(environment) => EnvironmentGroup {
                    class: environment.spec.class.as_str(),
                    phase: environment
                        .status
                        .as_ref()
                        .and_then(|status| status.phase)
                        .map_or("Pending", |phase| phase.as_str()),
                },
                Decoded::Invalid(_) => EnvironmentGroup { class: "Unknown", phase: "Undecodable" },
            };
            *groups.entry(group).or_default() += 1;
        });
        groups.into_iter().collect()
    });
}
