//! Who types the command, as the API server knows them.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, Client, api::PostParams};

use super::Failure;

/// The name of the person whose kubeconfig this is (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#self-subject-review>).
pub(super) async fn me(client: &Client) -> Result<String, Failure> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let answer = answer.map_err(Failure::of("ask the API server who you are"))?;
    let name = answer.status.and_then(|status| status.user_info).and_then(|user| user.username);
    name.ok_or_else(|| Failure::new("the API server does not say who you are"))
}
