//! Looking at everything live before something final is done. What is read goes into the caches, which take what is newer:
//! so a snapshot taken afterwards is at least as new as these reads.

use std::fmt::Debug;

use futures::{StreamExt as _, TryStreamExt as _, future::try_join, stream};
use kube::{
    Api, Client, Resource,
    api::ListParams,
    core::{DeserializeGuard, NamespaceResourceScope},
};
use serde::de::DeserializeOwned;

use super::observe::Seen;
use crate::{
    api::{EnvironmentRevision, PlatformEnvironment, PlatformVersion, Promotion, RevisionNumber},
    controller::{error::ReconcileError, world::World},
    domain::{environment::naming, promotion::snapshot::EnvironmentView},
    kube_ext::{
        cache::{Cache, Record},
        key::ObjectKey,
    },
};

/// How many reads are under way at once.
const AT_A_TIME: usize = 8;

/// What is read.
enum Look {
    Environment(String),
    Version(String),
    Promotions,
    /// From this number on, as far as there are any.
    Revisions(String, RevisionNumber),
}

/// Reads all of it.
pub(super) async fn all(
    client: &Client,
    world: &World,
    key: &ObjectKey,
    promotion: &Promotion,
    seen: &Seen,
) -> Result<(), ReconcileError> {
    let target = &promotion.spec.target;
    let mut looks = vec![Look::Promotions, Look::Environment(target.clone())];
    // By name, whether or not the caches have them: what comes to light meanwhile has to be new as well.
    for name in &seen.names.environments {
        looks.push(Look::Revisions(name.clone(), newest(seen.environments.get(name))));
        if name != target {
            looks.push(Look::Environment(name.clone()));
        }
    }
    looks.extend(seen.names.versions.iter().cloned().map(Look::Version));
    let reads: Vec<_> = looks.into_iter().map(|what| look(client, world, key, target, what)).collect();
    stream::iter(reads).buffer_unordered(AT_A_TIME).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// The newest revision, or the first if there is none.
fn newest(view: Option<&EnvironmentView>) -> RevisionNumber {
    view.and_then(|view| view.history.newest()).map_or(RevisionNumber::FIRST, |newest| newest.number)
}

async fn look(client: &Client, world: &World, key: &ObjectKey, target: &str, what: Look) -> Result<(), ReconcileError> {
    let project = &key.namespace;
    match what {
        Look::Environment(name) => {
            one::<_, PlatformEnvironment>(client, &world.environments, project, &name).await.map(drop)
        }
        Look::Version(name) => one::<_, PlatformVersion>(client, &world.versions, project, &name).await.map(drop),
        Look::Promotions => promotions(client, world, key, target).await,
        Look::Revisions(environment, from) => {
            let read = async |number| {
                let name = naming::revision(&environment, number);
                one::<_, EnvironmentRevision>(client, &world.revisions, project, &name).await
            };
            // There is hardly ever a second one, so both are asked for at once.
            let mut number = from.next();
            let (_, mut there) = try_join(read(from), read(number)).await?;
            while there {
                number = number.next();
                there = read(number).await?;
            }
            Ok(())
        }
    }
}

/// The promotions into the target, this one among them.
async fn promotions(client: &Client, world: &World, key: &ObjectKey, target: &str) -> Result<(), ReconcileError> {
    let api: Api<DeserializeGuard<Promotion>> = Api::namespaced(client.clone(), &key.namespace);
    let into_target = ListParams::default().fields(&format!("spec.target={target}"));
    let list = api.list(&into_target).await.map_err(ReconcileError::kubernetes("list Promotions"))?;
    let listed = list.items.iter().any(|promotion| promotion.meta().name.as_deref() == Some(&*key.name));
    list.items.into_iter().for_each(|promotion| world.promotions.written(promotion));
    if listed {
        return Ok(());
    }
    one::<_, Promotion>(client, &world.promotions, &key.namespace, &key.name).await.map(drop)
}

/// Reads one object into its cache; whether it is there.
async fn one<T, K>(client: &Client, cache: &Cache<T>, project: &str, name: &str) -> Result<bool, ReconcileError>
where
    T: Record<Object = DeserializeGuard<K>>,
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), project);
    let action = format!("read {} {project}/{name}", K::kind(&()));
    let found = api.get_opt(name).await.map_err(ReconcileError::kubernetes(action))?;
    if let Some(object) = found {
        cache.written(object);
        return Ok(true);
    }
    let at = ObjectKey::new(project, name);
    if let Some(held) = cache.held(&at) {
        cache.remove_written(&at, &held.stamp.uid);
    }
    Ok(false)
}
