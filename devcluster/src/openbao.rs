//! A real OpenBao server beside a control plane.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::bao::{self, Bao};
use crate::control_plane::Directory;
use crate::supervised::held;
use crate::{ControlPlane, Error, Result, Supervised, Toolbox, launch, pki, wait_until};

/// The server's name in messages, and that of its log, its folder and its `ServiceAccount`.
const NAME: &str = "openbao";
/// How long to wait for what takes well below a second on an idle machine.
const LIMIT: Duration = Duration::from_mins(1);
/// The `ServiceAccount` as which the server asks the API server whose token it was given.
const REVIEWER: &str = "system:serviceaccount:openbao:openbao";
/// The password policy `pf`.
const PASSWORD_POLICY: &str = r#"
length = 32
rule "charset" {
  charset = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
}
"#;

/// A running OpenBao server. It ends when this value is dropped, and when the process ends, however it ends.
///
/// It is as a careful operator would set it up, not a development server: TLS by the control plane's authority, storage
/// that survives a restart, a seal that opens by itself, and every request in an audit log. It has:
///
/// - the KV engine, version 2, at `kv`;
/// - Kubernetes auth at `kubernetes`, which asks the control plane about tokens;
/// - `AppRole` auth at `approle`;
/// - the password policy `pf`: 32 letters and digits.
///
/// ```no_run
/// use devcluster::{ControlPlane, OpenBao};
///
/// let openbao = OpenBao::start(ControlPlane::shared())?;
/// let root = openbao.as_root();
/// root.run(["kv", "put", "-mount=kv", "shop/database", "password=canary"])?;
/// let secret = root.json(["kv", "get", "-mount=kv", "shop/database"])?;
/// assert_eq!(secret["data"]["data"]["password"], "canary");
/// # Ok::<(), devcluster::Error>(())
/// ```
pub struct OpenBao {
    // Before the directory, which the server writes to until its end.
    server: Mutex<Option<Supervised>>,
    root: Bao,
    directory: Arc<Directory>,
}

impl OpenBao {
    /// Starts the server and waits until it can be used. One for a control plane. The first time, it is downloaded.
    pub fn start(plane: &ControlPlane) -> Result<Self> {
        // The error names a log, so the log has to stay.
        Self::start_beside(plane).inspect_err(|_| plane.keep_logs())
    }

    fn start_beside(plane: &ControlPlane) -> Result<Self> {
        let program = Toolbox::from_env()?.openbao()?;
        let reviewer_token = reviewer_token(plane)?;
        let directory = plane.directory();
        let home = directory.path().join(NAME);
        for folder in [&home, &home.join("data")] {
            fs::create_dir(folder).map_err(Error::io("create", folder))?;
        }
        pki::write(&home.join("seal.key"), &seal_key()?)?;
        let (certificate, key) = plane.server_certificate(NAME, &["127.0.0.1", "localhost"])?;
        let nobody = Bao { program, address: String::new(), ca: plane.ca_file(), home, token: String::new() };
        let log = directory.log(NAME);
        let (nobody, server) = launch::on_free_port(NAME, &log, |port| {
            let bao = Bao { address: format!("https://127.0.0.1:{port}"), ..nobody.clone() };
            pki::write(&config_file(&bao), &config(port, &bao, &certificate, &key).to_string())?;
            // It cannot be unsealed yet, but it answers: the exit code of an error is 1.
            let ready = || Ok(matches!(bao.output(["status"])?.status.code(), Some(0 | 2)));
            Ok(launch::start(NAME, &server_command(&bao), &log, ready)?.map(|server| (bao, server)))
        })?;
        let root = Bao { token: initialize(&nobody)?, ..nobody };
        let openbao = Self { server: Mutex::new(Some(server)), root, directory };
        pki::write(&openbao.root_token_file(), openbao.root_token())?;
        openbao.set_up(plane, &reviewer_token)?;
        // A server that started without data tries to unseal itself until it once finds that done, every five seconds.
        // It would undo a seal in that time.
        openbao.restart()?;
        Ok(openbao)
    }

    /// Enables and configures what every test may count on.
    fn set_up(&self, plane: &ControlPlane, reviewer_token: &str) -> Result<()> {
        let root = &self.root;
        root.run(["secrets", "enable", "-path=kv", "-version=2", "kv"])?;
        root.run(["auth", "enable", "kubernetes"])?;
        root.run(["auth", "enable", "approle"])?;
        let (host, ca) = (plane.server_url(), plane.ca_pem());
        let kubernetes = [
            "write",
            "auth/kubernetes/config",
            &format!("kubernetes_host={host}"),
            &format!("kubernetes_ca_cert={ca}"),
            // It is not in a Pod, so it has no token of its own there.
            "disable_local_ca_jwt=true",
            "token_reviewer_jwt=-",
        ];
        root.run_with_input(kubernetes, reviewer_token)?;
        root.run_with_input(["write", "sys/policies/password/pf", "policy=-"], PASSWORD_POLICY)?;
        // A new KV engine refuses requests until it has prepared its storage.
        let prepared = || Ok(root.output(["read", "kv/config"])?.status.success().then_some(()));
        wait_until("OpenBao's KV engine", LIMIT, prepared)
    }

    /// Where the server is: `https://127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        self.root.address.clone()
    }

    /// The file with the certificate of the authority that signed the server's, in PEM. It is the control plane's.
    pub fn ca_file(&self) -> PathBuf {
        self.root.ca.clone()
    }

    /// The audit log: one line of JSON per request and one per answer. Values in it are hashed.
    pub fn audit_log(&self) -> PathBuf {
        audit_log(&self.root)
    }

    /// The token that may do everything. It does not expire.
    pub fn root_token(&self) -> &str {
        &self.root.token
    }

    /// A file with the root token, for people. Only its owner can read it.
    pub fn root_token_file(&self) -> PathBuf {
        self.root.home.join("root-token")
    }

    /// `bao` as one who may do everything.
    pub fn as_root(&self) -> Bao {
        self.root.clone()
    }

    /// `bao` with this token.
    pub fn with_token(&self, token: impl Into<String>) -> Bao {
        Bao { token: token.into(), ..self.root.clone() }
    }

    /// Writes an ACL policy.
    pub fn write_policy(&self, name: &str, text: &str) -> Result<()> {
        self.root.run_with_input(["policy", "write", name, "-"], text).map(drop)
    }

    /// Writes a policy, and a role of the same name that gives it to the `ServiceAccount` of that name in the namespace of that name,
    /// which logs in with a token for the audience `vault`.
    pub fn admit(&self, name: &str, policy: &str) -> Result<()> {
        self.write_policy(name, policy)?;
        let role = [
            format!("auth/kubernetes/role/{name}"),
            format!("bound_service_account_names={name}"),
            format!("bound_service_account_namespaces={name}"),
            format!("token_policies={name}"),
            "audience=vault".to_owned(),
            "alias_name_source=serviceaccount_uid".to_owned(),
            "token_no_default_policy=true".to_owned(),
            "token_ttl=15m".to_owned(),
            "token_max_ttl=1h".to_owned(),
        ];
        self.root.run(["write".to_owned()].into_iter().chain(role)).map(drop)
    }

    /// Logs in by Kubernetes auth, mounted at `auth_path`, with a `ServiceAccount` token, and returns the client token.
    pub fn login(&self, auth_path: &str, role: &str, jwt: &str) -> Result<String> {
        let (path, role) = (format!("auth/{auth_path}/login"), format!("role={role}"));
        let token = self.with_token("").run_with_input(["write", "-field=token", &path, &role, "jwt=-"], jwt)?;
        Ok(token.trim().to_owned())
    }

    /// Ends the server at once, as in an outage. Nothing that it had answered is lost.
    pub fn stop(&self) -> Result<()> {
        held(&self.server).take().map_or(Ok(()), |mut server| server.kill_hard().map(drop))
    }

    /// Starts the server again, at the same address and with the same data, and waits until it is unsealed and answers.
    /// Does nothing when it runs.
    pub fn start_again(&self) -> Result<()> {
        let mut server = held(&self.server);
        if server.is_none() {
            let (command, log) = (server_command(&self.root), self.directory.log(NAME));
            let ready = || Ok(self.root.output(["token", "lookup"])?.status.success());
            // Whoever took its port in between has most likely only borrowed it.
            let start = || launch::start(NAME, &command, &log, ready);
            *server = Some(wait_until("OpenBao's port", LIMIT, start)?);
        }
        Ok(())
    }

    /// Stops the server and starts it again, which also unseals it.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// Seals the server: it runs, but answers every request with an error until [`Self::restart`].
    pub fn seal(&self) -> Result<()> {
        self.root.run(["operator", "seal"]).map(drop)
    }

    /// Freezes the server, as when its machine hangs: connections are accepted, and nothing is answered until
    /// [`Self::resume`]. Does nothing when it is stopped. `bao` gives up after `BAO_CLIENT_TIMEOUT`, by default a minute.
    pub fn pause(&self) -> Result<()> {
        self.signal("STOP", true)
    }

    /// Lets a frozen server go on.
    pub fn resume(&self) -> Result<()> {
        self.signal("CONT", false)
    }

    /// Sends the signal and waits until the process is frozen, or is no longer.
    fn signal(&self, name: &str, frozen: bool) -> Result<()> {
        let mut server = held(&self.server);
        let Some(server) = server.as_mut() else { return Ok(()) };
        server.signal(name);
        let what = format!("OpenBao's process to take SIG{name}");
        wait_until(&what, LIMIT, || Ok((is_frozen(server.pid())? == frozen).then_some(())))
    }
}

impl fmt::Debug for OpenBao {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OpenBao").field("address", &self.root.address).finish_non_exhaustive()
    }
}

/// Makes the server's `ServiceAccount` and returns a token of it.
fn reviewer_token(plane: &ControlPlane) -> Result<String> {
    let manifests = json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAME } },
            { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": NAME, "namespace": NAME } },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": { "name": "openbao-token-reviewer" },
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "system:auth-delegator",
                },
                "subjects": [{ "kind": "ServiceAccount", "name": NAME, "namespace": NAME }],
            },
        ],
    });
    let kubectl = plane.kubectl();
    kubectl.apply(&manifests.to_string())?;
    let can_review = ["auth", "can-i", "create", "tokenreviews.authentication.k8s.io", "--as", REVIEWER];
    let allowed = || Ok(kubectl.output(can_review)?.status.success().then_some(()));
    wait_until("OpenBao's right to review tokens", LIMIT, allowed)?;
    plane.service_account_token(NAME, NAME, &[])
}

/// A new key for the seal: 32 bytes from the kernel, in hexadecimal as a digest is.
fn seal_key() -> Result<String> {
    let source = Path::new("/dev/urandom");
    let mut key = [0_u8; 32];
    File::open(source).and_then(|mut file| file.read_exact(&mut key)).map_err(Error::io("read", source))?;
    Ok(format!("{:x}", Sha256::digest(key)))
}

/// The server's configuration. As JSON it needs no quoting by hand.
fn config(port: u16, bao: &Bao, certificate: &Path, key: &Path) -> Value {
    json!({
        "ui": false,
        "api_addr": &bao.address,
        // A single member has no peers. It must be told an address for them, but never uses it.
        "cluster_addr": "https://127.0.0.1:1",
        "listener": [{ "tcp": {
            "address": format!("127.0.0.1:{port}"),
            "cluster_address": "127.0.0.1:0",
            "tls_cert_file": certificate,
            "tls_key_file": key,
        } }],
        "storage": { "raft": {
            "path": bao.home.join("data"),
            "node_id": "devcluster",
            // Elections as short as can be. By default the first takes more than five seconds.
            "performance_multiplier": 1,
        } },
        "seal": [{ "static": {
            "current_key_id": "devcluster",
            "current_key": format!("file://{}", bao.home.join("seal.key").display()),
        } }],
        // By default OpenBao takes audit devices from its configuration only, not from requests.
        "audit": [{
            "type": "file",
            "path": "file",
            "options": { "file_path": audit_log(bao), "log_raw": "false" },
        }],
    })
}

fn config_file(bao: &Bao) -> PathBuf {
    bao.home.join("config.json")
}

fn audit_log(bao: &Bao) -> PathBuf {
    bao.home.join("audit.log")
}

fn server_command(bao: &Bao) -> Command {
    let mut command = bao::program(&bao.program, &bao.home);
    command.arg("server").arg("-config").arg(config_file(bao));
    command
}

/// Initializes a server that has no data yet. Returns the root token.
fn initialize(nobody: &Bao) -> Result<String> {
    // The recovery key is thrown away: it is for those who have lost the root token.
    let args = ["operator", "init", "-recovery-shares=1", "-recovery-threshold=1"];
    let answer = nobody.json(args)?;
    let token = answer["root_token"].as_str().map(str::to_owned);
    token.ok_or_else(|| Error::Bao { arguments: args.join(" "), message: "its answer has no root token".to_owned() })
}

/// Whether the process is stopped by a signal.
fn is_frozen(pid: u32) -> Result<bool> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    // The state follows the program's name, which is in parentheses and may hold any character.
    Ok(stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T')))
}
