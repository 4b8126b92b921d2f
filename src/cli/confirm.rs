//! `kubectl penv confirm`: a person's explicit yes to the plan of a promotion.

use clap::Args;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{Access, Failure, person};
use crate::{
    api::{ANNOTATION_CHANGED_BY, Digest, Promotion, promotion::Confirmation},
    domain::{contract::changes, promotion::record},
};

#[derive(Args, Debug)]
pub(super) struct Confirm {
    /// The promotion's name
    promotion: String,
    /// What you have to say about it; it stands in the history
    #[arg(long)]
    note: Option<String>,
    /// The digest of the plan that you looked at; without it, the plan as it is now
    #[arg(long)]
    digest: Option<Digest>,
}

impl Confirm {
    pub(super) async fn run(&self, access: &Access) -> Result<String, Failure> {
        let (client, namespace) = access.client().await?;
        let me = person::me(&client).await?;
        let api: Api<Promotion> = Api::namespaced(client, &namespace);
        let promotion = api.get(&self.promotion).await.map_err(Failure::of("read the promotion"))?;
        let status = promotion.status.clone().unwrap_or_default();
        if status.phase.is_some_and(crate::api::PromotionPhase::is_terminal) || status.revision.is_some() {
            return Err(Failure::new(format!("the promotion {} needs no confirmation any more", self.promotion)));
        }
        if record::author(&promotion) == me {
            return Err(Failure::new(format!(
                "you ({me}) created the promotion {}, so your yes does not count; somebody else has to confirm it",
                self.promotion
            )));
        }
        let Some(plan) = status.plan else {
            return Err(Failure::new(format!(
                "the promotion {} has no plan yet that you could confirm",
                self.promotion
            )));
        };
        let digest = self.digest.unwrap_or(plan.digest);
        if digest != plan.digest {
            return Err(Failure::new(format!(
                "the plan has changed: it is {} now; look at it, and confirm that",
                plan.digest
            )));
        }
        let mine = Confirmation { user: me.clone(), digest, note: self.note.clone() };
        let mut confirmations = promotion.spec.confirmations.clone();
        if confirmations.iter().any(|given| given.user == me && given.digest == digest) {
            return Ok(format!("{me} has confirmed {digest} before"));
        }
        confirmations.push(mine);
        // With the resourceVersion, so that nobody's confirmation is lost.
        // Where the API server cannot stamp who changes something, it demands that clients say it.
        let patch = json!({
            "metadata": {
                "resourceVersion": promotion.metadata.resource_version,
                "annotations": {ANNOTATION_CHANGED_BY: me},
            },
            "spec": {"confirmations": confirmations},
        });
        let confirmed = api.patch(&self.promotion, &PatchParams::default(), &Patch::Merge(patch)).await;
        confirmed.map_err(Failure::of("confirm the promotion (try again if somebody changed it meanwhile)"))?;
        let version = plan.version.map_or_else(|| "no version".to_owned(), |version| version.name);
        let diff = serde_json::to_string(&changes::diff_from_previous(&plan.diff)).unwrap_or_default();
        Ok(format!("{me} confirmed: {version} to {} ({diff}), plan {digest}", promotion.spec.target))
    }
}
