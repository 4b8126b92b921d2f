//! What the platform team decides for all environments.

use std::collections::{BTreeMap, BTreeSet};

/// The platform team's decisions, from the operator's configuration.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where an environment can be visited.
    pub url_template: UrlTemplate,
    /// ClusterRoles that an environment may bind in its namespace.
    pub allowed_cluster_roles: BTreeSet<String>,
    /// Gateways that may send traffic into environments: name → namespace of the gateway's pods.
    pub gateways: BTreeMap<String, String>,
}

/// A URL with the placeholders `{project_id}`, `{project}` and `{environment}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate(String);

/// A text that is not a URL template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrlTemplate {
    /// It names a placeholder that does not exist.
    #[error(
        "URL template {template:?}: unknown placeholder {placeholder:?}; known are {{project_id}}, {{project}} and {{environment}}"
    )]
    UnknownPlaceholder {
        /// The whole template.
        template: String,
        /// The unknown part.
        placeholder: String,
    },
    /// Two environments would have the same URL.
    #[error(
        "URL template {0:?}: {{environment}} and one of {{project_id}}, {{project}} must occur, or two environments would share a URL"
    )]
    Ambiguous(String),
    /// It is no http or https URL.
    #[error("URL template {0:?}: it must start with http:// or https://")]
    NotHttp(String),
}

impl UrlTemplate {
    /// Checks a template.
    pub fn new(template: &str) -> Result<Self, InvalidUrlTemplate> {
        if !template.starts_with("https://") && !template.starts_with("http://") {
            return Err(InvalidUrlTemplate::NotHttp(template.to_owned()));
        }
        let filled = Self(template.to_owned()).fill("", "", "");
        if let Some(start) = filled.find(['{', '}']) {
            let placeholder = filled[start..].split_inclusive('}').next().unwrap_or_default().to_owned();
            return Err(InvalidUrlTemplate::UnknownPlaceholder { template: template.to_owned(), placeholder });
        }
        let has = |placeholder| template.contains(placeholder);
        if !has("{environment}") || !(has("{project_id}") || has("{project}")) {
            return Err(InvalidUrlTemplate::Ambiguous(template.to_owned()));
        }
        Ok(Self(template.to_owned()))
    }

    /// The URL of one environment.
    #[must_use]
    pub fn fill(&self, project_id: &str, project: &str, environment: &str) -> String {
        self.0.replace("{project_id}", project_id).replace("{project}", project).replace("{environment}", environment)
    }
}

impl Default for UrlTemplate {
    fn default() -> Self {
        Self("https://preview.puraify.app/{project_id}/{environment}".to_owned())
    }
}

impl std::str::FromStr for UrlTemplate {
    type Err = InvalidUrlTemplate;

    fn from_str(template: &str) -> Result<Self, Self::Err> {
        Self::new(template)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_url_comes_from_the_default_template() {
        assert_eq!(
            UrlTemplate::default().fill("pf_872", "pf-872", "staging"),
            "https://preview.puraify.app/pf_872/staging"
        );
    }

    #[test]
    fn a_template_that_would_mislead_is_refused_with_its_reason() {
        let refused = |template: &str| UrlTemplate::new(template).unwrap_err().to_string();
        assert!(refused("https://{env}.{project}.dev").contains("unknown placeholder \"{env}\""));
        assert!(refused("https://{environment}.dev").contains("share a URL"));
        assert!(refused("ftp://{environment}.{project}").contains("http"));
    }
}
