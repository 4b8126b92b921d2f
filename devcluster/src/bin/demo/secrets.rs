//! The story's chapter about secrets: a real OpenBao, and an environment that gets values of its own.

use std::fs;

use devcluster::{ControlPlane, OpenBao, Toolbox};

use crate::{Failure, operator::Operator, stage::Stage, story::SOON};

/// Starts OpenBao, starts the operator anew so that it uses it, and shows what comes of it.
pub fn tell(stage: &Stage, cluster: &ControlPlane, operator: Operator) -> Result<(Operator, OpenBao), Failure> {
    stage.chapter(
        "Secrets stay in Vault",
        "A real OpenBao runs beside the control plane. The operator gets the policy that it prints, and no other right.",
    );
    let bao = OpenBao::start(cluster)?;
    stage.link("bao", &Toolbox::from_env()?.openbao()?)?;
    stage.set("BAO_ADDR", &bao.address());
    stage.set("BAO_CACERT", &bao.ca_file().display().to_string());
    stage.set("BAO_TOKEN", bao.root_token());
    stage.set("HOME", &stage.files().display().to_string());
    stage.note("In this shell, as somebody who administrates OpenBao:");
    for name in ["BAO_ADDR", "BAO_CACERT"] {
        stage.run(&format!("env | grep {name}="))?;
    }
    stage.run("environment-manager vault-policy | bao policy write environment-manager -")?;
    stage.note("\nOn values it may create, and neither read nor change one:");
    stage.run("bao policy read environment-manager | grep -A2 kv/data")?;
    stage.run("bao write auth/kubernetes/role/environment-manager bound_service_account_names=environment-manager bound_service_account_namespaces=environment-manager audience=vault alias_name_source=serviceaccount_uid token_policies=environment-manager token_no_default_policy=true token_ttl=15m token_max_ttl=1h")?;
    stage.run("helm upgrade environment-manager charts/environment-manager --namespace environment-manager --reset-then-reuse-values --set vault.address=$BAO_ADDR,secretsOperator.kind=none")?;
    let token = stage.files().join("vault-token");
    let jwt = stage.quietly(
        "kubectl create token environment-manager --namespace environment-manager --audience vault --duration 12h",
    )?;
    fs::write(&token, jwt.trim()).map_err(Failure::io("write the operator's token"))?;
    operator.stop()?;
    let operator = Operator::start_with(
        stage,
        &[format!("--vault-token-file={}", token.display()), format!("--vault-ca-file={}", bao.ca_file().display())],
    )?;
    stage
        .chapter("A secret of dev", "dev's API_KEY is a reference. Nobody has put a value there yet, and dev says so.");
    stage.run_until("kubectl get penv dev --namespace pf-872 --output jsonpath='{.status.conditions[?(@.type==\"SecretsReady\")].message}'; echo", "API_KEY")?;
    let of = |field: &str, environment: &str| {
        format!("kubectl get penv {environment} --namespace pf-872 --output jsonpath='{{.status.vault.{field}}}'")
    };
    stage.assign("dev_prefix", &of("prefix", "dev"))?;
    stage.note("Put there without anybody seeing it, and looked at once:");
    stage.run("head -c 24 /dev/urandom | base64 | bao kv put -mount=kv $dev_prefix/payments api_key=-")?;
    stage.run("kubectl annotate penv dev --namespace pf-872 platform.puraify.app/look-into-vault=now")?;
    stage.run(&format!("kubectl wait --for condition=SecretsReady --namespace pf-872 penv/dev {SOON}"))?;
    stage.note("\nstaging and production refer to it too. Each gets a value of its own:");
    for environment in ["staging", "production"] {
        let api_key = "'{.status.secrets[?(@.name==\"API_KEY\")].path}'";
        stage.assign(
            "path",
            &format!("kubectl get penv {environment} --namespace pf-872 --output jsonpath={api_key}"),
        )?;
        stage.run("head -c 24 /dev/urandom | base64 | bao kv put -mount=kv $path api_key=- > /dev/null")?;
    }
    stage
        .run("kubectl annotate penv staging production --namespace pf-872 platform.puraify.app/look-into-vault=now")?;
    stage.run(&format!("kubectl wait --for condition=Ready --namespace pf-872 penv/staging penv/production {SOON}"))?;

    stage.chapter(
        "A clone with a key of its own",
        "qa is cloned from dev. Vault makes a new API_KEY for it, which nobody has seen.",
    );
    let qa = r#"{"apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment", "metadata": {"name": "qa", "namespace": "pf-872"}, "spec": {"class": "Staging", "baseFrom": {"environment": "dev", "secrets": "Regenerate"}}}"#;
    stage.run(&format!("echo '{qa}' | kubectl apply --server-side --filename -"))?;
    stage.run(&format!("kubectl wait --for condition=Ready --namespace pf-872 penv/qa {SOON}"))?;
    stage.run("kubectl get penv qa --namespace pf-872 --output jsonpath='{.status.secrets}'; echo")?;
    stage.assign("qa_prefix", &of("prefix", "qa"))?;
    stage.assign("qa_role", &of("role", "qa"))?;
    stage.run("bao policy read $qa_role")?;
    stage.assign("dev_role", &of("role", "dev"))?;
    for environment in ["dev", "qa"] {
        let namespace = format!("pf-872--{environment}");
        stage.assign(
            &format!("{environment}_jwt"),
            &format!("kubectl create token workload --namespace {namespace} --audience vault/${environment}_role"),
        )?;
        let login =
            format!("bao write -field=token auth/kubernetes/login role=${environment}_role jwt=${environment}_jwt");
        stage.assign(environment, &login)?;
    }
    stage.note("\nEach logs in as its own ServiceAccount and reads its own secret. The two values are not the same:");
    let dev = stage.run("BAO_TOKEN=$dev bao kv get -mount=kv -field=api_key $dev_prefix/payments | sha256sum")?;
    let qa = stage.run("BAO_TOKEN=$qa bao kv get -mount=kv -field=api_key $qa_prefix/payments | sha256sum")?;
    if dev == qa {
        return Err(Failure::Step("both environments have the same API_KEY".to_owned()));
    }
    stage.refused("BAO_TOKEN=$qa bao kv get -mount=kv $dev_prefix/payments", "permission denied")?;
    stage.note("\nNor does qa log in as dev, not even with a token that says it is for dev:");
    stage.assign("forged", "kubectl create token workload --namespace pf-872--qa --audience vault/$dev_role")?;
    stage.refused("bao write auth/kubernetes/login role=$dev_role jwt=$forged", "not authorized")?;

    stage.chapter(
        "The end of qa",
        "Access goes first: the role, the policy, the values. A token from before is good for nothing.",
    );
    stage.run(&format!("kubectl delete penv qa --namespace pf-872 {SOON}"))?;
    let audit = bao.audit_log();
    stage.run(&format!(
        "grep '\"type\":\"response\"' {} | grep '\"operation\":\"delete\"' | grep -o '\"path\":\"[^\"]*'",
        audit.display()
    ))?;
    stage.refused("BAO_TOKEN=$qa bao read kv/data/$qa_prefix/payments", "Code: 403")?;
    Ok((operator, bao))
}
