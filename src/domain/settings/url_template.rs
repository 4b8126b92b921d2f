//! The URL of an environment, from a template.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A template such as `https://preview.puraify.app/{project_id}/{environment}`, checked when it is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    ProjectId,
    Project,
    Environment,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlTemplateError {
    /// Another scheme, or none.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// Braces around something that is not a placeholder.
    #[error("unknown placeholder {{{0}}}; there are {{project_id}}, {{project}} and {{environment}}")]
    Unknown(String),
    /// A brace without its counterpart.
    #[error("a brace is not closed or not opened")]
    Brace,
    /// All environments of a project would share a URL.
    #[error("lacks {{environment}}: all environments of a project would have the same URL")]
    NoEnvironment,
    /// Environments of the same name would share a URL.
    #[error("lacks {{project_id}} or {{project}}: environments of the same name would have the same URL")]
    NoProject,
    /// A character that no URL has.
    #[error("{0:?} cannot be in a URL")]
    Character(char),
}

impl UrlTemplate {
    /// The URL of an environment. All three are DNS labels or as harmless, so nothing needs escaping.
    #[must_use]
    pub fn render(&self, project_id: &str, project: &str, environment: &str) -> String {
        let rendered = self.parts.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::ProjectId => project_id,
            Part::Project => project,
            Part::Environment => environment,
        });
        rendered.collect()
    }
}

/// `https://preview.puraify.app/{project_id}/{environment}`, as in the JSON contract.
impl Default for UrlTemplate {
    fn default() -> Self {
        let text = |text: &str| Part::Text(text.to_owned());
        Self { parts: vec![text("https://preview.puraify.app/"), Part::ProjectId, text("/"), Part::Environment] }
    }
}

impl FromStr for UrlTemplate {
    type Err = UrlTemplateError;

    fn from_str(template: &str) -> Result<Self, UrlTemplateError> {
        if !template.starts_with("https://") && !template.starts_with("http://") {
            return Err(UrlTemplateError::Scheme);
        }
        if let Some(character) = template.chars().find(|character| !is_url_character(*character)) {
            return Err(UrlTemplateError::Character(character));
        }
        let parts = parts(template)?;
        if !parts.contains(&Part::Environment) {
            return Err(UrlTemplateError::NoEnvironment);
        }
        if !parts.contains(&Part::ProjectId) && !parts.contains(&Part::Project) {
            return Err(UrlTemplateError::NoProject);
        }
        Ok(Self { parts })
    }
}

fn parts(mut rest: &str) -> Result<Vec<Part>, UrlTemplateError> {
    let mut parts = Vec::new();
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(UrlTemplateError::Brace)?;
        parts.push(plain(text)?);
        parts.push(match name {
            "project_id" => Part::ProjectId,
            "project" => Part::Project,
            "environment" => Part::Environment,
            unknown => return Err(UrlTemplateError::Unknown(unknown.into())),
        });
        rest = after;
    }
    parts.push(plain(rest)?);
    Ok(parts)
}

fn plain(text: &str) -> Result<Part, UrlTemplateError> {
    if text.contains('}') { Err(UrlTemplateError::Brace) } else { Ok(Part::Text(text.into())) }
}

fn is_url_character(character: char) -> bool {
    character.is_ascii_graphic() && !matches!(character, '"' | '<' | '>' | '\\' | '^' | '`' | '|')
}

impl fmt::Display for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render("{project_id}", "{project}", "{environment}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in() {
        let url = |template: &str| {
            template.parse::<UrlTemplate>().map(|template| template.render("pf_872", "pf-872", "staging"))
        };
        assert_eq!(
            url("https://preview.puraify.app/{project_id}/{environment}").unwrap(),
            "https://preview.puraify.app/pf_872/staging"
        );
        assert_eq!(url("https://{environment}.{project}.example.com").unwrap(), "https://staging.pf-872.example.com");
    }

    #[test]
    fn a_template_prints_as_it_was_written() {
        let template = "http://{environment}.{project}.localhost:8443/x";
        assert_eq!(template.parse::<UrlTemplate>().unwrap().to_string(), template);
    }

    #[test]
    fn a_wrong_template_says_what_is_wrong() {
        let error = |template: &str| template.parse::<UrlTemplate>().unwrap_err();
        assert_eq!(error("preview.puraify.app/{project}/{environment}"), UrlTemplateError::Scheme);
        assert_eq!(error("https://a/{project}/{env}"), UrlTemplateError::Unknown("env".into()));
        assert_eq!(error("https://a/{project}/{environment"), UrlTemplateError::Brace);
        assert_eq!(error("https://a/{project}/environment}"), UrlTemplateError::Brace);
        assert_eq!(error("https://a/{project}"), UrlTemplateError::NoEnvironment);
        assert_eq!(error("https://a/{environment}"), UrlTemplateError::NoProject);
        assert_eq!(error("https://a b/{project}/{environment}"), UrlTemplateError::Character(' '));
        assert!(error("https://a/{project}/{env}").to_string().starts_with("unknown placeholder {env};"));
    }
}
