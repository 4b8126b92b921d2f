//! `environment-manager check`: whether what the chart installed works, asked as the operator itself. `helm test` runs it.

use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};

use super::{
    guard,
    rights::{self, Right},
};
use crate::{
    api::{EnvironmentRevision, PlatformEnvironment, PlatformVersion, Promotion},
    domain::vault::SecretsOperator,
    kube_ext::errors::describe,
};

/// What was looked at, and what is wrong with it. Empty: nothing.
pub type Findings = Vec<(String, Result<(), String>)>;

/// Looks at kinds, rights and policies. `namespace` is the operator's own. `vault` names the secrets operators that it may work with,
/// where Vault is used.
pub async fn check(
    client: &Client,
    namespace: &str,
    cluster_roles: &[String],
    vault: Option<&[SecretsOperator]>,
) -> Findings {
    if let Err(other) = as_the_operator(client, namespace).await {
        return vec![("asked as the operator".to_owned(), Err(other))];
    }
    let mut findings = vec![("the kinds are served".to_owned(), kinds(client).await)];
    let mut rights: Vec<(Right, Option<&str>)> = rights::everywhere().into_iter().map(|right| (right, None)).collect();
    rights.extend(rights::at_home().into_iter().map(|right| (right, Some(namespace))));
    if !cluster_roles.is_empty() {
        rights.push((rights::to_bind(cluster_roles.to_vec()), None));
    }
    let beside = vault.into_iter().flatten().flat_map(rights::with_secrets_operator);
    rights.extend(beside.map(|right| (right, None)));
    for (right, namespace) in &rights {
        let what = format!("may {} {}", right.verbs.join(", "), right.resource);
        findings.push((what, may(client, right, *namespace).await));
    }
    findings.push((
        "the admission policies hold".to_owned(),
        guard::enforced(client, namespace, vault.is_some()).await.map(drop).map_err(|missing| missing.to_string()),
    ));
    findings
}

/// What is asked here means something for one asker only.
async fn as_the_operator(client: &Client, namespace: &str) -> Result<(), String> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let answer = answer.map_err(|error| describe(&error))?;
    let me = answer.status.and_then(|status| status.user_info).and_then(|user| user.username).unwrap_or_default();
    let operator = format!("system:serviceaccount:{namespace}:{}", rights::OPERATOR);
    if me == operator {
        return Ok(());
    }
    Err(format!(
        "you are {me}, and not {operator}: run helm test, or use a kubeconfig with the token of \
         `kubectl create token {} --namespace {namespace}`",
        rights::OPERATOR
    ))
}

async fn kinds(client: &Client) -> Result<(), String> {
    let one = ListParams::default().limit(1);
    let of = |error| describe(&error);
    Api::<PlatformEnvironment>::all(client.clone()).list(&one).await.map_err(of)?;
    Api::<PlatformVersion>::all(client.clone()).list(&one).await.map_err(of)?;
    Api::<Promotion>::all(client.clone()).list(&one).await.map_err(of)?;
    Api::<EnvironmentRevision>::all(client.clone()).list(&one).await.map_err(of)?;
    Ok(())
}

/// Whether the API server says that all of it is allowed.
async fn may(client: &Client, right: &Right, namespace: Option<&str>) -> Result<(), String> {
    let names = if right.names.is_empty() { vec![None] } else { right.names.iter().cloned().map(Some).collect() };
    for name in names {
        for verb in &right.verbs {
            if !allowed(client, right, verb, name.clone(), namespace).await? {
                let name = name.map(|name| format!(" {name}")).unwrap_or_default();
                return Err(format!("the right to {verb} {}{name} is missing", right.resource));
            }
        }
    }
    Ok(())
}

async fn allowed(
    client: &Client,
    right: &Right,
    verb: &str,
    name: Option<String>,
    namespace: Option<&str>,
) -> Result<bool, String> {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (&*right.resource, None),
    };
    let attributes = ResourceAttributes {
        group: Some(right.group.clone()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        name,
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec =
        SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..SelfSubjectAccessReviewSpec::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await.map_err(|error| describe(&error))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
