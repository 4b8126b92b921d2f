//! The story: a small shop's environments, from the first one to a preview that deletes itself.

use serde_json::{Value, json};

use crate::{Failure, operator::Operator, promotions, stage::Stage};

/// How long a step of the story may take.
pub const SOON: &str = "--timeout 60s";

/// Installs the chart, and starts the operator as its `Deployment` says.
pub fn install(stage: &Stage) -> Result<Operator, Failure> {
    stage.chapter(
        "Install",
        "Kinds, operator, roles for people, and the policies by which the API server says who may do what. No webhook.",
    );
    stage.run(
        "helm upgrade --install environment-manager charts/environment-manager --namespace environment-manager --create-namespace --set operator.gateways.public=gateway-system",
    )?;
    stage.run("kubectl get clusterroles --selector app.kubernetes.io/name=environment-manager")?;
    stage.run("kubectl get validatingadmissionpolicies,mutatingadmissionpolicies")?;
    let operator = Operator::start(stage)?;
    stage.note(&format!(
        "\nThere is no node here that could run the Deployment's pods. The demo runs the container's command as a process, with a \
         token of its ServiceAccount; it answers at {}. What it may do:",
        operator.url()
    ));
    stage.run(&format!(
        "environment-manager check --namespace environment-manager --kubeconfig {}",
        operator.kubeconfig().display()
    ))?;
    stage.run("kubectl auth can-i get secrets --all-namespaces --as system:serviceaccount:environment-manager:environment-manager || true")?;
    Ok(operator)
}

/// Tells the whole story.
pub fn tell(stage: &Stage) -> Result<(), Failure> {
    project(stage)?;
    clone(stage)?;
    inside(stage)?;
    configuration(stage)?;
    drift(stage)?;
    gitops(stage)?;
    promotions::tell(stage)?;
    refusals(stage)?;
    preview(stage)
}

/// Removes what the story made; for a cluster that is not the demo's own.
pub fn clean_up(stage: &Stage) -> Result<(), Failure> {
    stage.chapter("Clean up", "");
    stage.run(&format!("kubectl delete penv --all --namespace pf-872 {SOON}"))?;
    stage.run("kubectl delete namespace pf-872 pf-872--production --ignore-not-found")?;
    stage.run("helm uninstall environment-manager --namespace environment-manager")?;
    Ok(())
}

fn project(stage: &Stage) -> Result<(), Failure> {
    stage.chapter("A project and its versions", "A project is a namespace. A version is an immutable state of the shop, known by its digest: what a tag is to git.");
    stage.run(
        "kubectl apply --server-side --filename examples/shop/project.yaml --filename examples/shop/versions.yaml",
    )?;
    stage.run(&format!("kubectl wait --for condition=Ready --namespace pf-872 pver --all {SOON}"))?;
    stage.run("kubectl get pver --namespace pf-872")?;
    stage.chapter("The first environment", "dev starts from v1.4.3. An environment is what a branch is to git.");
    stage.run("cat examples/shop/dev.yaml")?;
    stage.run("kubectl apply --server-side --filename examples/shop/dev.yaml")?;
    stage.run(&format!("kubectl wait --for condition=Ready --namespace pf-872 penv/dev {SOON}"))?;
    stage.run("kubectl get penv --namespace pf-872")?;
    Ok(())
}

fn clone(stage: &Stage) -> Result<(), Failure> {
    stage.chapter("Clone dev to staging", "The platform's other engines speak JSON. This request …");
    let request = json!({"project_id": "pf_872", "env_name": "staging", "base_env": "dev"});
    let file = stage.files().join("request.json");
    std::fs::write(&file, request.to_string()).map_err(Failure::io("write the request"))?;
    let file = file.display();
    stage.run(&format!("cat {file}"))?;
    stage.note("\n… becomes this custom resource …");
    stage.run(&format!("kubectl penv create --filename {file} --dry-run"))?;
    stage.note("\n… and is answered from the live objects:");
    let answer = stage.run(&format!("kubectl penv create --filename {file} --output json"))?;
    let expected = json!({
        "status": "env_created", "env": "staging", "linked_version": "v1.4.3",
        "url": "https://preview.puraify.app/pf_872/staging",
    });
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    if answer == expected { Ok(()) } else { Err(Failure::Step(format!("the answer should have been {expected}"))) }
}

fn inside(stage: &Stage) -> Result<(), Failure> {
    stage.chapter("What an environment consists of", "Its own namespace, closed to its neighbours, with a quota, and with its release: version, variables and flags.");
    stage.run("kubectl get namespace pf-872--staging --show-labels")?;
    stage.run(
        "kubectl get serviceaccount,resourcequota,limitrange,networkpolicy,configmap --namespace pf-872--staging",
    )?;
    stage.run("kubectl get configmap release --namespace pf-872--staging --output jsonpath='{.data}'; echo")?;
    stage.run("kubectl get penv staging --namespace pf-872 --output jsonpath='{.status.isolation}'; echo")?;
    Ok(())
}

fn configuration(stage: &Stage) -> Result<(), Failure> {
    stage.chapter(
        "Change the configuration",
        "Every change is a revision: what a commit is to git. What came with the clone stays.",
    );
    let patch = json!({"spec": {"config": {
        "variables": [{"name": "BASE_URL", "value": "https://staging.shop.example"}],
        "flags": [{"name": "DARK_MODE", "enabled": true}],
    }}});
    stage.run(&format!("kubectl patch penv staging --namespace pf-872 --type merge --patch '{patch}'"))?;
    stage.run(&format!(
        "kubectl wait --for jsonpath='{{.status.release.revision}}'=2 --namespace pf-872 penv/staging {SOON}"
    ))?;
    stage.run("kubectl penv history staging --namespace pf-872")?;
    stage.run("kubectl penv history staging --namespace pf-872 --output json")?;
    stage.run("kubectl get configmap --namespace pf-872--staging --selector platform.puraify.app/environment=staging --output jsonpath='{range .items[*]}{.metadata.name}{\"\\t\"}{.data}{\"\\n\"}{end}'")?;
    Ok(())
}

fn drift(stage: &Stage) -> Result<(), Failure> {
    stage.chapter(
        "Somebody opens the network",
        "What is the operator's is put right at once, and an event says who changed it.",
    );
    stage.run(r#"kubectl patch networkpolicy default-deny --namespace pf-872--staging --type merge --patch '{"spec":{"ingress":[{}]}}' --field-manager eve"#)?;
    stage.run_until("kubectl get events --namespace pf-872 --field-selector reason=DriftRepaired", "default-deny")?;
    stage
        .run("kubectl get networkpolicy default-deny --namespace pf-872--staging --output jsonpath='{.spec}'; echo")?;
    Ok(())
}

fn gitops(stage: &Stage) -> Result<(), Failure> {
    stage.chapter(
        "All of it, as a GitOps tool would",
        "The whole folder at once. Order does not matter: whoever starts from another environment waits for it.",
    );
    stage.run("kubectl apply --server-side --filename examples/shop")?;
    stage.run(&format!("kubectl wait --for condition=Ready --namespace pf-872 penv --all {SOON}"))?;
    stage.run("kubectl get platform --namespace pf-872")?;
    stage.run("kubectl get events --namespace pf-872 --sort-by .metadata.creationTimestamp")?;
    Ok(())
}

fn refusals(stage: &Stage) -> Result<(), Failure> {
    stage.chapter("Mistakes are refused in words", "By the API server itself, without a webhook.");
    stage.refused(
        r#"kubectl patch penv production --namespace pf-872 --type merge --patch '{"spec":{"ttl":"72h"}}'"#,
        "does not expire",
    )?;
    stage.refused(
        r#"kubectl patch pver v1.4.3 --namespace pf-872 --type merge --patch '{"spec":{"content":{"flows":null}}}'"#,
        "immutable",
    )?;
    stage.refused(
        r#"kubectl patch erev staging-1 --namespace pf-872 --type merge --patch '{"spec":{"actor":"somebody else"}}'"#,
        "history cannot be changed",
    )
}

fn preview(stage: &Stage) -> Result<(), Failure> {
    stage.chapter("A preview that deletes itself", "It lives for fifteen seconds. Its namespace goes with it.");
    let preview = json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
        "metadata": {"name": "demo-call", "namespace": "pf-872"},
        "spec": {"class": "Preview", "ttl": "15s", "baseFrom": {"environment": "staging"}},
    });
    stage.run(&format!("echo '{preview}' | kubectl apply --filename -"))?;
    stage.run(&format!("kubectl wait --for condition=Ready --namespace pf-872 penv/demo-call {SOON}"))?;
    stage.run("kubectl get penv demo-call --namespace pf-872 --output wide")?;
    stage.run("kubectl get namespace pf-872--demo-call")?;
    stage.run("kubectl wait --for delete --namespace pf-872 penv/demo-call --timeout 120s")?;
    stage.run("kubectl get events --namespace pf-872 --field-selector involvedObject.name=demo-call --sort-by .metadata.creationTimestamp")?;
    stage.refused("kubectl get namespace pf-872--demo-call", "not found")
}
