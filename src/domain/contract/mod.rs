//! The JSON contract: the documents that the platform's other engines speak, exactly as the specification shows them.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::{
    BaseFrom, ConditionStatus, Configuration, DeletionPolicy, EnvironmentClass, EnvironmentRevisionSpec,
    PlatformEnvironment, PlatformEnvironmentSpec, Promotion, PromotionPhase, Variable, condition,
};

pub mod changes;
mod plural;

/// A request to create an environment, or to clone one: the specification has both forms.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateEnvironment {
    /// The project's id in the platform, free text such as `pf_872`.
    pub project_id: String,
    /// The name of the environment to create.
    #[serde(alias = "new_environment")]
    pub env_name: String,
    /// The environment to clone.
    #[serde(alias = "base_from", default)]
    pub base_env: Option<String>,
    /// Plain variables of the new environment.
    #[serde(default)]
    pub env_variables: BTreeMap<String, String>,
}

/// A request that cannot be carried out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// A value that looks like a secret would end up in plain text.
    #[error(
        "env_variables.{0} looks like a secret, and a custom resource holds none: put its value into Vault and name it \
         as a reference (spec.config.variables, field vault) in the environment"
    )]
    Secret(String),
}

/// The answer to [`CreateEnvironment`], once the environment is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnvironmentCreated {
    status: &'static str,
    env: String,
    linked_version: String,
    url: String,
}

/// One line of an environment's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionRecord {
    version: Option<String>,
    created_by: String,
    environment: String,
    timestamp: Timestamp,
    changes: Map<String, Value>,
}

/// The answer to a promotion that has moved: what is to be deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadyForDeploy {
    status: &'static str,
    version: Option<String>,
    environment: String,
    diff_from_previous: Map<String, Value>,
}

impl ReadyForDeploy {
    /// The answer, derived from the live object; `None` as long as the promotion has not moved, or if it never will.
    #[must_use]
    pub fn of(promotion: &Promotion) -> Option<Self> {
        let status = promotion.status.as_ref()?;
        let moved = matches!(
            status.phase?,
            PromotionPhase::ReadyForDeploy | PromotionPhase::Deployed | PromotionPhase::Succeeded
        );
        let plan = status.plan.as_ref().filter(|_| moved && status.revision.is_some())?;
        Some(Self {
            status: "ready_for_deploy",
            version: plan.version.as_ref().map(|version| version.name.clone()),
            environment: promotion.spec.target.clone(),
            diff_from_previous: changes::diff_from_previous(&plan.diff),
        })
    }
}

impl fmt::Display for ReadyForDeploy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.as_deref().unwrap_or("no version");
        write!(f, "{version} is ready for deploy in {}", self.environment)
    }
}

impl CreateEnvironment {
    /// The custom resource that carries the request out.
    pub fn environment(&self, namespace: &str) -> Result<PlatformEnvironment, InvalidRequest> {
        if let Some(secret) = self.env_variables.keys().find(|name| looks_secret(name)) {
            return Err(InvalidRequest::Secret(secret.clone()));
        }
        let plain = |(name, value): (&String, &String)| Variable {
            name: name.clone(),
            value: Some(value.clone()),
            vault: None,
        };
        let spec = PlatformEnvironmentSpec {
            class: class_of(&self.env_name),
            base_from: self
                .base_env
                .clone()
                .map(|environment| BaseFrom { environment: Some(environment), ..BaseFrom::default() }),
            ttl: None,
            config: Configuration { variables: self.env_variables.iter().map(plain).collect(), flags: vec![] },
            isolation: None,
            promotion: None,
            revision_history_limit: crate::api::environment::revision_history_limit(),
            deletion_policy: DeletionPolicy::default(),
        };
        let mut environment = PlatformEnvironment::new(&self.env_name, spec);
        environment.metadata.namespace = Some(namespace.to_owned());
        if environment.spec.class == EnvironmentClass::Preview {
            environment.spec.ttl = Some("72h".to_owned());
        }
        Ok(environment)
    }
}

impl EnvironmentCreated {
    /// The answer, derived from the live object; `None` as long as the environment is not ready.
    #[must_use]
    pub fn of(environment: &PlatformEnvironment) -> Option<Self> {
        let status = environment.status.as_ref()?;
        let ready = status.conditions.iter().find(|found| found.r#type == condition::READY)?;
        let current = status.observed_generation == environment.metadata.generation;
        if !current || ready.status != ConditionStatus::True {
            return None;
        }
        Some(Self {
            status: "env_created",
            env: environment.metadata.name.clone()?,
            linked_version: status.release.as_ref()?.version.clone().unwrap_or_default(),
            url: status.url.clone()?,
        })
    }
}

impl fmt::Display for EnvironmentCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { env, linked_version, url, .. } = self;
        let version = if linked_version.is_empty() { "no version" } else { linked_version };
        write!(f, "The environment {env} is active with {version} at {url}")
    }
}

impl From<&EnvironmentRevisionSpec> for VersionRecord {
    fn from(revision: &EnvironmentRevisionSpec) -> Self {
        Self {
            version: revision.version.as_ref().map(|version| version.name.clone()),
            created_by: revision.actor.clone(),
            environment: revision.environment.clone(),
            timestamp: revision.timestamp,
            changes: changes::recorded(&revision.changes),
        }
    }
}

/// The request has no class; the platform's names for environments say it. What is none of them is a temporary one.
fn class_of(name: &str) -> EnvironmentClass {
    match name {
        "dev" | "development" => EnvironmentClass::Development,
        "staging" => EnvironmentClass::Staging,
        "prod" | "production" => EnvironmentClass::Production,
        _ => EnvironmentClass::Preview,
    }
}

/// Whether a variable's name says that its value is a secret.
fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let telling =
        ["SECRET", "PASSWORD", "PASSWD", "TOKEN", "CREDENTIAL", "PRIVATE_KEY", "API_KEY", "APIKEY", "ACCESS_KEY"];
    telling.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(document: serde_json::Value) -> CreateEnvironment {
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn both_forms_of_the_request_make_the_same_environment() {
        let clone = request(json!({"project_id": "pf_872", "env_name": "staging", "base_env": "dev"}));
        let create = request(json!({"project_id": "pf_872", "new_environment": "staging", "base_from": "dev"}));
        assert_eq!(clone, create);
        let environment = clone.environment("pf-872").unwrap();
        assert_eq!(environment.spec.class, EnvironmentClass::Staging);
        assert_eq!(environment.spec.base_from.unwrap().environment.as_deref(), Some("dev"));
    }

    #[test]
    fn a_secret_is_refused_by_name_and_without_its_value() {
        let request = request(json!({"project_id": "pf-777", "new_environment": "staging", "base_from": "development",
            "env_variables": {"API_KEY": "stg-xxxxxx", "BASE_URL": "https://staging.myapp.com"}}));
        let error = request.environment("pf-777").unwrap_err().to_string();
        assert!(error.contains("API_KEY") && !error.contains("stg-xxxxxx"), "{error}");
    }

    #[test]
    fn the_answer_comes_from_the_live_object_and_only_when_it_is_ready() {
        let mut environment: PlatformEnvironment = serde_json::from_value(json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
            "metadata": {"name": "staging", "namespace": "pf-872", "generation": 2},
            "spec": {"class": "Staging"},
            "status": {
                "observedGeneration": 2, "url": "https://preview.puraify.app/pf_872/staging",
                "release": {"revision": 1, "version": "v1.4.3", "configDigest": crate::api::Digest::of(b""),
                            "variables": "v", "flags": "f", "since": "2026-01-01T00:00:00Z"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "AsIntended", "message": "",
                                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        }))
        .unwrap();
        assert_eq!(
            serde_json::to_string(&EnvironmentCreated::of(&environment).unwrap()).unwrap(),
            r#"{"status":"env_created","env":"staging","linked_version":"v1.4.3","url":"https://preview.puraify.app/pf_872/staging"}"#
        );
        environment.metadata.generation = Some(3);
        assert_eq!(EnvironmentCreated::of(&environment), None);
    }
}
