//! The objects of the model: real ones, each distinct state of one kept once and known by a number.

use std::{collections::HashMap, sync::Arc};

use environment_manager::{
    api::{EnvironmentRevision, PlatformEnvironment, PlatformVersion, Promotion, revision::VersionReference},
    domain::{promotion::snapshot::VersionView, revision::RevisionRecord, version},
};
use serde::Serialize;

/// The number of one state of one object.
pub type Id = u32;
/// There is no object.
pub const ABSENT: Id = 0;

/// The kinds: each has a watch, and so a cache, of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Environments,
    Revisions,
    Versions,
    Promotions,
}

#[derive(Clone, Debug)]
enum Object {
    Absent,
    Environment(Arc<PlatformEnvironment>),
    Revision(Arc<EnvironmentRevision>, Arc<RevisionRecord>),
    Version(Arc<PlatformVersion>, Arc<VersionView>),
    Promotion(Arc<Promotion>),
}

/// All states of all objects that were ever seen.
#[derive(Debug)]
pub struct Objects {
    all: Vec<Object>,
    ids: HashMap<String, Id>,
}

impl Objects {
    pub fn new() -> Self {
        Self { all: vec![Object::Absent], ids: HashMap::new() }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    fn keep(&mut self, content: &impl Serialize, make: impl FnOnce() -> Object) -> Id {
        let key = serde_json::to_string(content).unwrap();
        *self.ids.entry(key).or_insert_with(|| {
            self.all.push(make());
            Id::try_from(self.all.len() - 1).unwrap()
        })
    }

    pub fn keep_environment(&mut self, environment: PlatformEnvironment) -> Id {
        self.keep(&environment.clone(), || Object::Environment(Arc::new(environment)))
    }

    pub fn keep_revision(&mut self, revision: EnvironmentRevision) -> Id {
        self.keep(&revision.clone(), || {
            let record = RevisionRecord::from(&revision);
            Object::Revision(Arc::new(revision), Arc::new(record))
        })
    }

    pub fn keep_version(&mut self, version: PlatformVersion) -> Id {
        self.keep(&version.clone(), || {
            let name = version.metadata.name.clone().unwrap();
            let view = VersionView {
                reference: VersionReference { name, digest: version::digest(&version.spec) },
                requires: version.spec.requires.clone(),
                validations: version.status.clone().unwrap_or_default().validations,
                terminating: false,
            };
            Object::Version(Arc::new(version), Arc::new(view))
        })
    }

    pub fn keep_promotion(&mut self, promotion: Promotion) -> Id {
        self.keep(&promotion.clone(), || Object::Promotion(Arc::new(promotion)))
    }

    pub fn environment(&self, id: Id) -> Option<&Arc<PlatformEnvironment>> {
        match &self.all[id as usize] {
            Object::Environment(environment) => Some(environment),
            _ => None,
        }
    }

    pub fn revision(&self, id: Id) -> Option<(&Arc<EnvironmentRevision>, &Arc<RevisionRecord>)> {
        match &self.all[id as usize] {
            Object::Revision(revision, record) => Some((revision, record)),
            _ => None,
        }
    }

    pub fn version(&self, id: Id) -> Option<(&Arc<PlatformVersion>, &Arc<VersionView>)> {
        match &self.all[id as usize] {
            Object::Version(version, view) => Some((version, view)),
            _ => None,
        }
    }

    pub fn promotion(&self, id: Id) -> Option<&Arc<Promotion>> {
        match &self.all[id as usize] {
            Object::Promotion(promotion) => Some(promotion),
            _ => None,
        }
    }
}
