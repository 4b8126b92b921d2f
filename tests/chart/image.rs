//! What is in the image: one static program that needs nothing around it.
//!
//! There is no container engine here. The program is built as the Dockerfile does, but for the optimisation, and runs in a user
//! namespace of its own: as user 65532, in a root directory where there is nothing else.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use devcluster::Supervised;

use crate::support::{Cluster, eventually, http_get};

/// The static program.
fn build() -> PathBuf {
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--package", "environment-manager", "--bin", "environment-manager"]);
    cargo.args(["--target", &target]).env("CARGO_TARGET_DIR", &directory);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    directory.join(target).join("debug/environment-manager")
}

#[test]
fn the_program_alone_in_an_empty_directory_as_nobody_in_particular_is_ready_and_leads() {
    let dockerfile = fs::read_to_string("Dockerfile").unwrap();
    for line in
        ["RUSTFLAGS=\"-C target-feature=+crt-static\"", "--locked --release", "FROM scratch", "USER 65532:65532"]
    {
        assert!(dockerfile.contains(line), "the Dockerfile does not say {line}");
    }
    let program = build();
    let cluster = Cluster::exclusive();
    let root = tempfile::tempdir().unwrap();
    fs::copy(program, root.path().join("environment-manager")).unwrap();
    fs::write(root.path().join("kubeconfig"), whole(cluster.operator_kubeconfig())).unwrap();
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-user=65532", "--map-group=65532", "--root"]).arg(root.path());
    command.arg("/environment-manager").args(cluster.operator_args());
    command.args(["--kubeconfig", "/kubeconfig", "--listen", &address.to_string()]);
    command.env_clear().env("PATH", env::var_os("PATH").unwrap());
    let log = cluster.dir().join("logs/image.log");
    let mut process = Supervised::spawn(&command, &log).unwrap();
    eventually("the operator to be ready", || {
        let ended = process.try_wait().unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        assert!(ended.is_none(), "it ended (unshare needs root, or user namespaces for everybody): {}", said());
        http_get(address, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200"))
    });
    let project = cluster.project("shop");
    project.environment("dev").ready();
    process.terminate();
    assert!(process.wait().unwrap().success(), "{}", fs::read_to_string(&log).unwrap());
    let left = fs::read_dir(root.path()).unwrap().count();
    assert_eq!(left, 2, "it writes no files");
}

/// The kubeconfig with what it names in other files.
fn whole(kubeconfig: &Path) -> String {
    let command = |args: &[&str]| {
        let kubectl = devcluster::Toolbox::from_env().unwrap().kubectl().unwrap();
        let output = Command::new(kubectl).args(args).env("KUBECONFIG", kubeconfig).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    command(&["config", "view", "--raw", "--flatten", "--minify"])
}
