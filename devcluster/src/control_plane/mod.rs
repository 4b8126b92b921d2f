//! etcd, kube-apiserver and kube-controller-manager on loopback.

mod directory;
mod servers;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

pub(crate) use directory::Directory;
use servers::{ApiServer, ControllerManager, Etcd};

use crate::pki::{self, Authority};
use crate::supervised::held;
use crate::{ControlPlaneTools, Helm, Kubectl, Project, Result, Supervised, Toolbox, kubeconfig, launch, wait_until};

/// How long a token of [`ControlPlane::service_account_token`] is good for. Longer than any run of the tests or the demo.
const TOKEN_DURATION: &str = "24h";
/// How long a restarted API server waits for its port. Whoever took it in between has most likely only borrowed it.
const PORT_LIMIT: Duration = Duration::from_mins(1);

/// How a control plane is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A word in the name of its directory, to tell it from others. Empty for none.
    pub name: String,
    /// Where its directory is made. By default where temporary files belong.
    pub parent: Option<PathBuf>,
    /// The folder in which the audit log stays when the control plane ends, under the name of its directory. By default it is in its
    /// directory, and goes with it.
    pub audit_logs: Option<PathBuf>,
    /// Features of Kubernetes that the API server turns on or off, as in `WatchList=false`. Others are as a release has them.
    pub feature_gates: Vec<String>,
    /// Whether the directory with the logs stays when the control plane ends.
    pub keep_logs: bool,
}

/// A running control plane. It ends when this value is dropped, and when the process ends, however it ends.
///
/// As in a real cluster, who may do what is decided by RBAC, and every request is in the audit log. There are no nodes:
/// Pods are admitted and then wait.
pub struct ControlPlane {
    // The order matters: fields are dropped from the first to the last, so servers before what they depend on.
    controller_manager: Mutex<Option<Supervised>>,
    api_server: Mutex<Option<Supervised>>,
    etcd: Mutex<Option<Supervised>>,
    config: ApiServer,
    authority: Authority,
    tools: ControlPlaneTools,
    /// Makes the names of files and namespaces unique.
    counter: AtomicUsize,
    directory: Arc<Directory>,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready. The first time, its programs are built.
    pub fn start(options: &Options) -> Result<Self> {
        Self::start_with(Toolbox::from_env()?.control_plane()?, options)
    }

    /// The control plane that all tests (or benches) of this process share. The first caller starts it; it ends with
    /// the process.
    ///
    /// # Panics
    ///
    /// When it cannot be started. The message is one line that says what to do.
    #[allow(clippy::panic, reason = "in a test, this is how to fail; each test would write the same line")]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<ControlPlane>> = OnceLock::new();
        match SHARED.get_or_init(|| Self::start(&Options { name: name_of_this_process(), ..Options::default() })) {
            Ok(cluster) => cluster,
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts a control plane from these programs.
    pub fn start_with(tools: ControlPlaneTools, options: &Options) -> Result<Self> {
        let directory = Arc::new(Directory::create(options.parent.as_deref(), &options.name)?);
        if options.keep_logs {
            directory.keep();
        }
        // The error names a log, so the log has to stay.
        Self::start_in(&directory, tools, options).inspect_err(|_| directory.keep())
    }

    fn start_in(directory: &Arc<Directory>, tools: ControlPlaneTools, options: &Options) -> Result<Self> {
        let pki = directory.path().join("pki");
        let authority = Authority::new("devcluster", pki.clone())?;
        let admin = authority.person("admin", "admin", &["system:masters"])?;
        let (etcd, etcd_url) = start_etcd(directory, &authority, &tools)?;
        let audit_log = match (&options.audit_logs, directory.path().file_name()) {
            (Some(folder), Some(name)) => folder.join(name).with_extension("log"),
            _ => directory.path().join("audit.log"),
        };
        let audit_policy = directory.path().join("audit-policy.yaml");
        pki::write(&audit_policy, servers::AUDIT_POLICY)?;
        let without_port = ApiServer {
            program: tools.kube_apiserver.clone(),
            port: 0,
            etcd_url,
            ca: authority.certificate(),
            identity: authority.server("kube-apiserver", &["127.0.0.1", "localhost", "kubernetes.default.svc"])?,
            token_keys: pki::token_keys(&pki)?,
            pki,
            audit_policy,
            feature_gates: options.feature_gates.clone(),
            audit_log,
        };
        let kubectl = kubectl(directory, &tools, directory.kubeconfig("admin"));
        let (config, api_server) = launch::on_free_port("kube-apiserver", &directory.log("kube-apiserver"), |port| {
            let config = ApiServer { port, ..without_port.clone() };
            kubeconfig::for_person(&kubectl.kubeconfig, &config.url(), &config.ca, "admin", &admin)?;
            Ok(try_api_server(&config, directory, &kubectl)?.map(|process| (config, process)))
        })?;
        let cluster = Self {
            controller_manager: Mutex::new(None),
            api_server: Mutex::new(Some(api_server)),
            etcd: Mutex::new(Some(etcd)),
            config,
            authority,
            tools,
            counter: AtomicUsize::new(1),
            directory: Arc::clone(directory),
        };
        cluster.start_controller_manager()?;
        Ok(cluster)
    }

    /// Starts the controllers, and waits until the first of their work is seen.
    fn start_controller_manager(&self) -> Result<()> {
        let name = "kube-controller-manager";
        // Its controllers act with its own rights, and together they need all.
        let identity = self.authority.person(name, "system:kube-controller-manager", &["system:masters"])?;
        let path = self.directory.kubeconfig(name);
        kubeconfig::for_person(&path, &self.server_url(), &self.config.ca, name, &identity)?;
        let server = ControllerManager {
            program: &self.tools.kube_controller_manager,
            kubeconfig: &path,
            ca: self.config.ca.clone(),
            token_keys: &self.config.token_keys,
        };
        let kubectl = self.kubectl();
        let ready = || Ok(kubectl.output(["get", "serviceaccount", "default"])?.status.success());
        *held(&self.controller_manager) = launch::start(name, &server.command(), &self.directory.log(name), ready)?;
        Ok(())
    }

    /// The directory of the control plane, with logs, kubeconfigs, certificates and etcd's data.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// Where the API server is: `https://127.0.0.1:<port>`.
    pub fn server_url(&self) -> String {
        self.config.url()
    }

    /// The certificate of the authority that signed the API server's, in PEM.
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// The file with that certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.certificate()
    }

    /// The audit log: one line of JSON per request, in the order of the answers.
    pub fn audit_log(&self) -> PathBuf {
        self.config.audit_log.clone()
    }

    /// The kubeconfig of one who may do everything.
    pub fn kubeconfig_for_admin(&self) -> PathBuf {
        self.directory.kubeconfig("admin")
    }

    /// A kubeconfig for a person whom the API server knows by a client certificate. They may do only what RBAC says.
    pub fn person(&self, name: &str, groups: &[&str]) -> Result<PathBuf> {
        let file = self.unique(&format!("person-{name}"));
        let identity = self.authority.person(&file, name, groups)?;
        let path = self.directory.kubeconfig(&file);
        kubeconfig::for_person(&path, &self.server_url(), &self.config.ca, name, &identity)?;
        Ok(path)
    }

    /// A token of a `ServiceAccount`, from the API server's `TokenRequest`; for the audiences given, or else for the API
    /// server itself. It is valid for a day.
    pub fn service_account_token(&self, namespace: &str, name: &str, audiences: &[&str]) -> Result<String> {
        let mut args = vec!["create", "token", name, "--namespace", namespace, "--duration", TOKEN_DURATION];
        for audience in audiences {
            args.extend(["--audience", audience]);
        }
        Ok(self.kubectl().run(args)?.trim().to_owned())
    }

    /// A kubeconfig for a `ServiceAccount`, with a token as of [`Self::service_account_token`].
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.service_account_token(namespace, name, &[])?;
        let path = self.directory.kubeconfig(&self.unique(&format!("serviceaccount-{namespace}-{name}")));
        kubeconfig::for_token(&path, &self.server_url(), &self.config.ca, name, &token)?;
        Ok(path)
    }

    /// A certificate of the control plane's authority, and its key, for another server of a test: a webhook, OpenBao.
    pub fn server_certificate(&self, name: &str, hosts: &[&str]) -> Result<(PathBuf, PathBuf)> {
        let identity = self.authority.server(&self.unique(&format!("server-{name}")), hosts)?;
        Ok((identity.certificate, identity.key))
    }

    /// `kubectl` as one who may do everything.
    pub fn kubectl(&self) -> Kubectl {
        self.kubectl_as(self.kubeconfig_for_admin())
    }

    /// `kubectl` with this kubeconfig.
    pub fn kubectl_as(&self, kubeconfig: impl Into<PathBuf>) -> Kubectl {
        kubectl(&self.directory, &self.tools, kubeconfig.into())
    }

    /// `helm` as one who may do everything. It is built the first time.
    pub fn helm(&self) -> Result<Helm> {
        let program = Toolbox::from_env()?.helm()?;
        Ok(Helm { program, kubeconfig: self.kubeconfig_for_admin(), home: self.dir().join("helm") })
    }

    /// A new namespace for one test, labelled as the project's. Its name is unique in this control plane.
    pub fn project(&self, id: &str) -> Result<Project<'_>> {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        Project::create(self, id, format!("{id}-{number}"))
    }

    /// Ends the API server at once, as in an outage. Nothing that it had answered is lost.
    pub fn stop_api_server(&self) -> Result<()> {
        held(&self.api_server).take().map_or(Ok(()), |mut process| process.kill_hard().map(drop))
    }

    /// Starts the API server again, at the same address and with the same data, and waits until it is ready. Does
    /// nothing when it runs.
    pub fn start_api_server(&self) -> Result<()> {
        let mut process = held(&self.api_server);
        if process.is_none() {
            *process = Some(self.api_server_again()?);
        }
        Ok(())
    }

    fn api_server_again(&self) -> Result<Supervised> {
        let kubectl = self.kubectl();
        wait_until("the API server's port", PORT_LIMIT, || try_api_server(&self.config, &self.directory, &kubectl))
    }

    /// The process ids of the servers that run.
    pub fn pids(&self) -> Vec<u32> {
        let servers = [&self.etcd, &self.api_server, &self.controller_manager];
        servers.into_iter().filter_map(|server| held(server).as_ref().map(Supervised::pid)).collect()
    }

    /// The directory with the logs stays when the control plane ends.
    pub fn keep_logs(&self) {
        self.directory.keep();
    }

    /// Ends the control plane, as dropping it does.
    pub fn stop(self) {}

    /// Its directory, for a server beside it: the directory stays as long as anyone holds it.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// A file name that was not used before, from any text.
    fn unique(&self, text: &str) -> String {
        let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", text.chars().map(plain).collect::<String>())
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, directory) = (self.server_url(), self.dir());
        formatter.debug_struct("ControlPlane").field("url", &url).field("dir", &directory).finish_non_exhaustive()
    }
}

/// Starts etcd and waits until it answers. Returns it with its address.
fn start_etcd(directory: &Directory, authority: &Authority, tools: &ControlPlaneTools) -> Result<(Supervised, String)> {
    let identity = authority.server("etcd", &["127.0.0.1"])?;
    let log = directory.log("etcd");
    // kubectl is a client like any other here: it speaks TLS, checks the server and shows its own certificate.
    let kubectl = kubectl(directory, tools, directory.kubeconfig("etcd"));
    launch::on_free_port("etcd", &log, |port| {
        let etcd = Etcd {
            program: &tools.etcd,
            data: directory.path().join("etcd"),
            port,
            ca: authority.certificate(),
            identity: &identity,
        };
        kubeconfig::for_person(&kubectl.kubeconfig, &etcd.url(), &etcd.ca, "etcd", &identity)?;
        let ready = || answers(&kubectl, "/health");
        Ok(launch::start("etcd", &etcd.command(), &log, ready)?.map(|process| (process, etcd.url())))
    })
}

/// Starts the API server and waits until it is ready. `None` when somebody else has its port.
fn try_api_server(config: &ApiServer, directory: &Directory, kubectl: &Kubectl) -> Result<Option<Supervised>> {
    let ready = || answers(kubectl, "/readyz");
    launch::start("kube-apiserver", &config.command(), &directory.log("kube-apiserver"), ready)
}

/// Whether the server says that all is well.
fn answers(kubectl: &Kubectl, path: &str) -> Result<bool> {
    Ok(kubectl.output(["get", "--raw", path, "--request-timeout", "5s"])?.status.success())
}

fn kubectl(directory: &Directory, tools: &ControlPlaneTools, kubeconfig: PathBuf) -> Kubectl {
    Kubectl { program: tools.kubectl.clone(), kubeconfig, cache: directory.path().join("kubectl-cache") }
}

/// The name of the test or bench that runs, without the hash that cargo appends.
fn name_of_this_process() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let name = program.file_stem().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-').map_or(&*name, |(name, _)| name).to_owned()
}
