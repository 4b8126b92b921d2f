//! What changes from one version's content to another's. Content is not kept in memory: it is read when two versions are
//! compared for the first time, and what came of it is remembered, since neither ever changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::try_join;
use kube::{Api, Client};

use super::error::ReconcileError;
use crate::{
    api::{Digest, PlatformVersion, revision::VersionReference, version::Content},
    domain::{
        promotion::snapshot::ContentDiff,
        version::{self, diff},
    },
};

/// How many comparisons are remembered. When there are more, all are forgotten: simpler than to know which were used last,
/// and as good.
const MOST: usize = 512;

/// Digests of the content before (nothing at all has none) and after.
type Pair = (Option<Digest>, Digest);

/// Comparisons that were made.
#[derive(Debug, Default)]
pub struct Diffs(Mutex<HashMap<Pair, Arc<ContentDiff>>>);

impl Diffs {
    /// What changes from one version (or from nothing) to another; `None` if one of them is not there any more, or has other
    /// content by now.
    pub async fn between(
        &self,
        client: &Client,
        project: &str,
        from: Option<&VersionReference>,
        to: &VersionReference,
    ) -> Result<Option<ContentDiff>, ReconcileError> {
        let key = (from.map(|from| from.digest), to.digest);
        if let Some(known) = self.known(&key) {
            return Ok(Some(known));
        }
        let nothing = async { Ok(Some(Content::new())) };
        let before = async {
            match from {
                None => nothing.await,
                Some(from) => content(client, project, from).await,
            }
        };
        let (Some(before), Some(after)) = try_join(before, content(client, project, to)).await? else {
            return Ok(None);
        };
        let found = diff::between(&before, &after);
        self.remember(key, &found);
        Ok(Some(found))
    }

    fn known(&self, key: &Pair) -> Option<ContentDiff> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).map(|found| BTreeMap::clone(found))
    }

    fn remember(&self, key: Pair, found: &ContentDiff) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(key, Arc::new(found.clone()));
    }
}

/// The content of exactly this version.
async fn content(
    client: &Client,
    project: &str,
    version: &VersionReference,
) -> Result<Option<Content>, ReconcileError> {
    let api: Api<PlatformVersion> = Api::namespaced(client.clone(), project);
    let action = format!("read PlatformVersion {project}/{}", version.name);
    let found = api.get_opt(&version.name).await.map_err(ReconcileError::kubernetes(action))?;
    Ok(found.filter(|found| version::digest(&found.spec) == version.digest).map(|found| found.spec.content))
}
