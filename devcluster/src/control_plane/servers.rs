//! The command lines of the servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::pki::Identity;

/// What every audit entry says: who asked for what, when, and the answer's code; not what was in it, since Secrets are
/// in there too. The stage in which a request has only just arrived says nothing more, and would double the file.
pub(super) const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// `--name=path`, without a detour over text, since a path need not be text.
fn path_flag(command: &mut Command, name: &str, path: &Path) {
    let mut flag = std::ffi::OsString::from(format!("--{name}="));
    flag.push(path);
    command.arg(flag);
}

/// etcd, reached only by who holds a certificate of the authority.
pub(super) struct Etcd<'a> {
    pub program: &'a Path,
    pub data: PathBuf,
    pub port: u16,
    pub ca: PathBuf,
    pub identity: &'a Identity,
}

impl Etcd<'_> {
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        // A single member has no peers. It must be told an address for them, but never uses it.
        let (no_peer, url) = ("https://127.0.0.1:1", self.url());
        command.args([
            "--name=devcluster",
            "--log-level=warn",
            // Nothing here has to survive a crash of the machine, and waiting for the disk is most of a write's time.
            "--unsafe-no-fsync",
            "--client-cert-auth",
            "--peer-client-cert-auth",
            "--listen-peer-urls=https://127.0.0.1:0",
            &format!("--initial-advertise-peer-urls={no_peer}"),
            &format!("--initial-cluster=devcluster={no_peer}"),
            &format!("--listen-client-urls={url}"),
            &format!("--advertise-client-urls={url}"),
        ]);
        path_flag(&mut command, "data-dir", &self.data);
        for prefix in ["", "peer-"] {
            path_flag(&mut command, &format!("{prefix}trusted-ca-file"), &self.ca);
            path_flag(&mut command, &format!("{prefix}cert-file"), &self.identity.certificate);
            path_flag(&mut command, &format!("{prefix}key-file"), &self.identity.key);
        }
        command
    }
}

/// The API server, with the admission plugins that a real cluster has: those that are on by default (among them
/// `ServiceAccount`, `LimitRanger`, `ResourceQuota`, `PodSecurity` and both kinds of admission policy).
#[derive(Debug, Clone)]
pub(super) struct ApiServer {
    pub program: PathBuf,
    pub port: u16,
    pub etcd_url: String,
    pub pki: PathBuf,
    pub ca: PathBuf,
    pub identity: Identity,
    pub token_keys: Identity,
    pub audit_policy: PathBuf,
    pub audit_log: PathBuf,
    pub feature_gates: Vec<String>,
}

impl ApiServer {
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args([
            "--bind-address=127.0.0.1",
            &format!("--secure-port={}", self.port),
            &format!("--etcd-servers={}", self.etcd_url),
            "--authorization-mode=Node,RBAC",
            "--anonymous-auth=false",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            // A privileged Pod is refused by Pod Security where it should be, not everywhere by this switch.
            "--allow-privileged=true",
            // Nothing runs in the cluster that could reach the API server by its Service; and a loopback address in its
            // EndpointSlice would be refused, again and again.
            "--endpoint-reconciler-type=none",
            // Twice the defaults: all tests of a binary run at once.
            "--max-requests-inflight=800",
            "--max-mutating-requests-inflight=400",
            // In MB. One file for the whole run, so that who counts requests misses none.
            "--audit-log-maxsize=4000",
        ]);
        path_flag(&mut command, "cert-dir", &self.pki);
        path_flag(&mut command, "etcd-cafile", &self.ca);
        path_flag(&mut command, "etcd-certfile", &self.identity.certificate);
        path_flag(&mut command, "etcd-keyfile", &self.identity.key);
        path_flag(&mut command, "tls-cert-file", &self.identity.certificate);
        path_flag(&mut command, "tls-private-key-file", &self.identity.key);
        path_flag(&mut command, "client-ca-file", &self.ca);
        path_flag(&mut command, "service-account-key-file", &self.token_keys.certificate);
        path_flag(&mut command, "service-account-signing-key-file", &self.token_keys.key);
        path_flag(&mut command, "audit-policy-file", &self.audit_policy);
        path_flag(&mut command, "audit-log-path", &self.audit_log);
        if !self.feature_gates.is_empty() {
            command.arg(format!("--feature-gates={}", self.feature_gates.join(",")));
        }
        command
    }
}

/// The controller manager, with the controllers that a real cluster has.
pub(super) struct ControllerManager<'a> {
    pub program: &'a Path,
    pub kubeconfig: &'a Path,
    pub ca: PathBuf,
    pub token_keys: &'a Identity,
}

impl ControllerManager<'_> {
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args([
            "--leader-elect=false",
            // It serves nothing: no port that could clash.
            "--secure-port=0",
            // At the default of 20 requests a second, namespaces are slow to go.
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--concurrent-namespace-syncs=50",
            "--concurrent-resource-quota-syncs=20",
            "--concurrent-serviceaccount-token-syncs=20",
        ]);
        path_flag(&mut command, "kubeconfig", self.kubeconfig);
        path_flag(&mut command, "root-ca-file", &self.ca);
        path_flag(&mut command, "service-account-private-key-file", &self.token_keys.key);
        command
    }
}
