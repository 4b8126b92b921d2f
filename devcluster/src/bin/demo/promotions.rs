//! The heart of the story: a version travels from development to production, a bad one is taken back, and all of it can be
//! read afterwards.

use serde_json::{Value, json};

use crate::{
    Failure,
    stage::{PEOPLE, Stage},
    story::SOON,
};

/// Tells it.
pub fn tell(stage: &Stage) -> Result<(), Failure> {
    for person in PEOPLE {
        stage.person(person)?;
    }
    publish(stage)?;
    to_staging(stage)?;
    waiting(stage)?;
    to_production(stage)?;
    taken_back(stage)?;
    history(stage)
}

fn publish(stage: &Stage) -> Result<(), Failure> {
    stage.chapter(
        "A new version is published",
        "Its status says what changed from its parent. dev follows by itself (promotion.auto).",
    );
    stage.run("KUBECONFIG=$cleo kubectl create --filename examples/shop/releases/v2.3.1.yaml")?;
    stage.run("kubectl penv diff v1.4.3 v2.3.1 --namespace pf-872")?;
    released(stage, "dev", "v2.3.1")?;
    stage.run("kubectl get promo --namespace pf-872")?;
    stage.note("\nDeploying is somebody else's job: Argo CD's, for example. The planner reads what should run …");
    stage.run("kubectl get penv dev --namespace pf-872 --output jsonpath='{.status.release}'; echo")?;
    stage.note("\n… deploys it, and reports:");
    stage.run(&report("dev", &revision(stage, "dev")?, "Succeeded", ""))?;
    Ok(())
}

fn to_staging(stage: &Stage) -> Result<(), Failure> {
    stage.chapter(
        "Promote it to staging",
        "Staging's API key lies elsewhere with this version: a reference to its own corner of Vault, never a value.",
    );
    let patch = json!({"spec": {"config": {
        "variables": [
            {"name": "BASE_URL", "value": "https://staging.shop.example"},
            {"name": "API_KEY", "vault": {"path": "payments-v2", "key": "api_key"}},
        ],
        "flags": [{"name": "DARK_MODE", "enabled": true}],
    }}});
    stage.run(&format!(
        "KUBECONFIG=$cleo kubectl patch penv staging --namespace pf-872 --type merge --patch '{patch}'"
    ))?;
    stage.run(
        "KUBECONFIG=$cleo kubectl penv promote staging --from dev --reason 'September release' --namespace pf-872",
    )?;
    stage.run(&report("staging", &revision(stage, "staging")?, "Succeeded", ""))?;
    Ok(())
}

fn waiting(stage: &Stage) -> Result<(), Failure> {
    stage.chapter("Promote it to production", "A builder may not; the API server says which right is missing.");
    stage.refused(
        "KUBECONFIG=$cleo kubectl penv promote production --from staging --namespace pf-872",
        "the verb promote on platformenvironments/production in pf-872 is missing",
    )?;
    stage.note("\nWho manages releases may. Production asks for more than staging, and says what it waits for:");
    stage.run("KUBECONFIG=$ana kubectl penv promote production --from staging --variable API_KEY --name to-production --reason 'September release' --no-wait --namespace pf-872")?;
    stage.run_until("kubectl get promo to-production --namespace pf-872", "v2.3.1")?;
    stage.run(&gates("to-production"))?;
    stage.note("\nWho validates reports each result for exactly this content:");
    for name in ["schema", "e2e"] {
        stage.run(&validation(stage, "v2.3.1", name)?)?;
    }
    stage.run("kubectl get pver --namespace pf-872")?;
    stage.note("\nTime alone ends the soak time. Then somebody has to say yes; ana, who asked, does not count:");
    awaits(stage, "to-production")?;
    stage.refused(
        "KUBECONFIG=$ana kubectl penv confirm to-production --namespace pf-872",
        "somebody else has to confirm it",
    )?;
    stage.note("\nNor can she say it in his name, or write the answer herself:");
    let digest = stage
        .quietly("kubectl get promo to-production --namespace pf-872 --output jsonpath='{.status.plan.digest}'")?;
    let forged = json!({"spec": {"confirmations": [{"user": "ben", "digest": digest}]}});
    stage.refused(
        &format!(
            "KUBECONFIG=$ana kubectl patch promo to-production --namespace pf-872 --type merge --patch '{forged}'"
        ),
        "ana cannot confirm in the name of ben",
    )?;
    stage.refused(
        r#"KUBECONFIG=$argocd kubectl patch penv production --namespace pf-872 --subresource status --type merge --patch '{"status":{"release":{"version":"v9.9.9"}}}'"#,
        "argocd may not change it",
    )
}

fn to_production(stage: &Stage) -> Result<(), Failure> {
    stage.chapter("Another person says yes", "With it the version moves. The answer is derived from the live object:");
    stage.run("KUBECONFIG=$ben kubectl penv confirm to-production --note 'seen it in staging' --namespace pf-872")?;
    let answer = stage.run("kubectl penv follow to-production --output json --namespace pf-872")?;
    let expected = json!({
        "status": "ready_for_deploy", "version": "v2.3.1", "environment": "production",
        "diff_from_previous": {"entities_added": ["Notification"], "logic_changed": 2, "env_updated": ["API_KEY"]},
    });
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    if answer != expected {
        return Err(Failure::Step(format!("the answer should have been {expected}")));
    }
    stage.run(&report("production", &revision(stage, "production")?, "Succeeded", ""))?;
    stage.run(&format!(
        "kubectl wait --for jsonpath='{{.status.phase}}'=Succeeded --namespace pf-872 promo/to-production {SOON}"
    ))?;
    Ok(())
}

fn taken_back(stage: &Stage) -> Result<(), Failure> {
    stage.chapter(
        "A bad version",
        "v2.4.0 goes the same way, with a flag of its own. In production its deployment fails.",
    );
    stage.run("KUBECONFIG=$cleo kubectl create --filename examples/shop/releases/v2.4.0.yaml")?;
    stage.note("\nIt requires a flag that dev does not have, and the promotion says so:");
    stage.run_until(
        "kubectl get promo dev-auto-v2.4.0 --namespace pf-872 --output jsonpath='{.status.waitingFor}'; echo",
        "NEW_CHECKOUT",
    )?;
    for environment in ["dev", "staging"] {
        flag(stage, environment)?;
    }
    released(stage, "dev", "v2.4.0")?;
    stage.run(&report("dev", &revision(stage, "dev")?, "Succeeded", ""))?;
    stage.run("KUBECONFIG=$ana kubectl penv promote staging --from dev --namespace pf-872")?;
    stage.run(&report("staging", &revision(stage, "staging")?, "Succeeded", ""))?;
    for name in ["schema", "e2e"] {
        stage.quietly(&validation(stage, "v2.4.0", name)?)?;
    }
    stage.run("KUBECONFIG=$ana kubectl penv promote production --from staging --flag NEW_CHECKOUT --name new-checkout --reason 'New checkout' --no-wait --namespace pf-872")?;
    awaits(stage, "new-checkout")?;
    stage.run("KUBECONFIG=$ben kubectl penv confirm new-checkout --namespace pf-872")?;
    stage.run("kubectl penv follow new-checkout --output json --namespace pf-872")?;
    stage.note("\nThe planner cannot make it healthy. Version and configuration go back together, once:");
    stage.run(&report("production", &revision(stage, "production")?, "Failed", "3 of 5 pods crash under load"))?;
    stage.run(&format!(
        "kubectl wait --for jsonpath='{{.status.phase}}'=Failed --namespace pf-872 promo/new-checkout {SOON}"
    ))?;
    stage.run(
        "kubectl get promo new-checkout --namespace pf-872 --output jsonpath='{.status.conditions[0].message}'; echo",
    )?;
    released(stage, "production", "v2.3.1")?;
    stage.run(&report("production", &revision(stage, "production")?, "Succeeded", ""))?;
    stage.note("\nNobody promotes it again by mistake:");
    stage.refused(
        "KUBECONFIG=$ana kubectl penv promote production --from staging --namespace pf-872",
        "was rolled back in production",
    )
}

fn history(stage: &Stage) -> Result<(), Failure> {
    stage.chapter("Who did what, when, and why", "Each release is a record, chained to the one before. As a table …");
    stage.run("kubectl penv history production --namespace pf-872")?;
    stage.note("\n… as the records of the JSON contract …");
    let records = stage.run("kubectl penv history production --output json --namespace pf-872")?;
    let records: Vec<Value> = records.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let bad = records.iter().find(|record| record["version"] == "v2.4.0");
    let expected = json!({"updated_flows": 3, "flags_added": ["NEW_CHECKOUT"]});
    if bad.is_none_or(|record| record["changes"] != expected || record["created_by"] != "ana") {
        return Err(Failure::Step("no record says that ana updated three flows and added a flag".to_owned()));
    }
    stage.note("\n… and with all that let it pass:");
    stage.run("kubectl get erev production-2 --namespace pf-872 --output jsonpath='{range .spec.gates[*]}{.name}{\"\\t\"}{.state}{\"\\t\"}{.message}{\"\\n\"}{end}'")?;
    stage.run("kubectl get promo --namespace pf-872")?;
    Ok(())
}

/// Waits until the environment has the version.
fn released(stage: &Stage, environment: &str, version: &str) -> Result<(), Failure> {
    stage.run(&format!(
        "kubectl wait --for jsonpath='{{.status.release.version}}'={version} --namespace pf-872 penv/{environment} {SOON}"
    ))?;
    Ok(())
}

/// What the planner reads: the revision that should run.
fn revision(stage: &Stage, environment: &str) -> Result<String, Failure> {
    stage.quietly(&format!(
        "kubectl get penv {environment} --namespace pf-872 --output jsonpath='{{.status.release.revision}}'"
    ))
}

/// What the planner types, if it were a person.
fn report(environment: &str, revision: &str, state: &str, message: &str) -> String {
    // A merge patch keeps what it does not name, so the message is named even if there is none.
    let message = (!message.is_empty()).then_some(message);
    let revision = revision.parse::<u32>().unwrap_or_default();
    let report = json!({"revision": revision, "state": state, "message": message});
    let patch = json!({"status": {"deployment": report}});
    format!(
        "KUBECONFIG=$argocd kubectl patch penv {environment} --subresource status --namespace pf-872 --type merge --patch '{patch}'"
    )
}

/// What ci types when it has validated the version. Each validation has a field manager of its own, so that none takes another's
/// result away.
fn validation(stage: &Stage, version: &str, name: &str) -> Result<String, Failure> {
    let digest = stage
        .quietly(&format!("kubectl get pver {version} --namespace pf-872 --output jsonpath='{{.status.digest}}'"))?;
    let now = stage.quietly("date --utc +%Y-%m-%dT%H:%M:%SZ")?;
    let result = json!({"name": name, "result": "Passed", "digest": digest, "reporter": "ci", "at": now.trim()});
    let status = json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformVersion",
        "metadata": {"name": version, "namespace": "pf-872"}, "status": {"validations": [result]},
    });
    Ok(format!(
        "echo '{status}' | KUBECONFIG=$ci kubectl apply --server-side --subresource status --field-manager {name}-checker --filename -"
    ))
}

/// Turns the flag of the new checkout on, beside those that are there.
fn flag(stage: &Stage, environment: &str) -> Result<(), Failure> {
    let flags = stage.quietly(&format!(
        "kubectl get penv {environment} --namespace pf-872 --output jsonpath='{{.spec.config.flags}}'"
    ))?;
    let mut flags: Vec<Value> = serde_json::from_str(&flags).unwrap_or_default();
    flags.push(json!({"name": "NEW_CHECKOUT", "enabled": true}));
    let patch = json!({"spec": {"config": {"flags": flags}}});
    stage.run(&format!("kubectl patch penv {environment} --namespace pf-872 --type merge --patch '{patch}'"))?;
    Ok(())
}

/// Waits until all that a promotion needs is somebody's yes.
fn awaits(stage: &Stage, promotion: &str) -> Result<(), Failure> {
    stage.run(&format!(
        "kubectl wait --for jsonpath='{{.status.phase}}'=AwaitingConfirmation --namespace pf-872 promo/{promotion} {SOON}"
    ))?;
    Ok(())
}

fn gates(promotion: &str) -> String {
    format!(
        "kubectl get promo {promotion} --namespace pf-872 --output jsonpath='{{range .status.gates[*]}}{{.name}}{{\"\\t\"}}{{.state}}{{\"\\t\"}}{{.message}}{{\"\\n\"}}{{end}}'"
    )
}
