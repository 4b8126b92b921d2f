//! Every manifest in the documentation and in examples/ is accepted by a real API server, field by field.

use std::{fs, process::Stdio, sync::OnceLock, time::Duration};

use devcluster::{ControlPlane, Kubectl, wait_until};

use crate::markdown::{Block, blocks, root};

/// The project of all examples.
const PROJECT: &str = "pf-872";

/// Far more than it takes.
const LIMIT: Duration = Duration::from_mins(1);

/// A control plane on which the chart is installed, with the project.
fn cluster() -> &'static Kubectl {
    static KUBECTL: OnceLock<Kubectl> = OnceLock::new();
    KUBECTL.get_or_init(|| {
        let kubectl = ControlPlane::shared().kubectl();
        let chart = root().join("charts/environment-manager").display().to_string();
        let install =
            ["install", "environment-manager", &chart, "--namespace", "environment-manager", "--create-namespace"];
        ControlPlane::shared().helm().unwrap().run(install).unwrap();
        kubectl.run(["create", "namespace", PROJECT]).unwrap();
        let served =
            ["get", "platformenvironments,platformversions,environmentrevisions,promotions", "--namespace", PROJECT];
        wait_until("the kinds to be served", LIMIT, || Ok(kubectl.output(served)?.status.success().then_some(())))
            .unwrap();
        // For some seconds the API server cannot stamp who creates an object, and says 503.
        let shop = root().join("examples/shop").display().to_string();
        let try_all = ["apply", "--server-side", "--dry-run=server", "--filename", &shop];
        wait_until("the kinds to be stamped", LIMIT, || Ok(kubectl.output(try_all)?.status.success().then_some(())))
            .unwrap();
        kubectl
    })
}

/// What the API server says to these manifests, without keeping them.
fn dry_run(manifests: &str) -> Result<(), String> {
    use std::io::Write as _;
    let args = ["apply", "--dry-run=server", "--validate=strict", "--namespace", PROJECT, "--filename", "-"];
    let mut command = cluster().command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn every_yaml_example_is_accepted_by_the_api_server() {
    let is_example = |block: &Block| block.language == "yaml" && !block.fragment;
    let blocks: Vec<Block> = blocks().into_iter().filter(is_example).collect();
    assert!(blocks.len() >= 5, "only {} examples were found", blocks.len());
    let refused: Vec<String> = blocks
        .iter()
        .filter_map(|block| dry_run(&block.text).err().map(|error| format!("{}: {error}", block.place)))
        .collect();
    assert!(refused.is_empty(), "refused:\n{}", refused.join("\n"));
}

#[test]
fn every_file_of_the_example_shop_is_accepted_by_the_api_server() {
    let folders = ["examples/shop", "examples/shop/releases"].map(|folder| fs::read_dir(root().join(folder)).unwrap());
    for entry in folders.into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            dry_run(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

#[test]
fn a_wrong_example_would_be_noticed() {
    let environment = |spec: &str| {
        format!(
            "{{apiVersion: platform.puraify.app/v1alpha1, kind: PlatformEnvironment, metadata: {{name: qa}}, spec: {spec}}}"
        )
    };
    assert_eq!(dry_run(&environment("{class: Staging}")), Ok(()));
    let error = dry_run(&environment("{class: Staging, clas: Staging}")).unwrap_err();
    assert!(error.contains("unknown field \"spec.clas\""), "{error}");
    let error = dry_run(&environment("{class: Production, ttl: 72h}")).unwrap_err();
    assert!(error.contains("does not expire"), "{error}");
}

#[test]
fn every_block_says_what_it_is_and_json_is_json() {
    for Block { place, language, text, .. } in blocks() {
        match language.as_str() {
            "json" => {
                serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
            }
            "yaml" | "console" | "text" => {}
            other => panic!("{place}: a block is yaml, json, console or text, not {other:?}"),
        }
    }
}
