//! A cluster with a real OpenBao beside it, and an operator that uses it with the policy that it prints, and no other right.

use std::{io::Write as _, path::PathBuf, sync::OnceLock};

use devcluster::{Bao, ControlPlane, OpenBao, Options, Toolbox};
use serde_json::{Value, json};

use crate::support::{Cluster, Environment, Operator, PATIENT, Project, eventually, plane};

/// A cluster and its Vault.
pub struct World {
    pub cluster: &'static Cluster,
    pub bao: OpenBao,
}

impl World {
    /// The world that tests share, with an operator that nobody may stop, and External Secrets' kinds.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<(World, Operator)> = OnceLock::new();
        let start = || {
            let world = Self::start("secrets", &["--set", "secretsOperator.kind=external-secrets"]);
            let operator = Operator::start(world.cluster);
            (world, operator)
        };
        &SHARED.get_or_init(start).0
    }

    /// A world of one's own, with these further arguments of helm, and no operator.
    pub fn start(name: &str, helm: &[&str]) -> Self {
        let plane: &'static ControlPlane =
            Box::leak(Box::new(plane(&Options { name: name.to_owned(), ..Options::default() })));
        let kinds = Toolbox::from_env().unwrap().kinds().unwrap();
        plane.kubectl().run(["apply", "--server-side", "--filename", kinds.to_str().unwrap()]).unwrap();
        let bao = OpenBao::start(plane).unwrap();
        bao.admit("environment-manager", &Operator::prints(&["vault-policy"])).unwrap();
        let address = format!("vault.address={}", bao.address());
        let helm = [&["--set", &address, "--set", "vault.checkInterval=1h"], helm].concat();
        let files: Vec<String> = vec![
            format!("--vault-ca-file={}", bao.ca_file().display()),
            format!("--vault-token-file={}", plane.dir().join("vault-token").display()),
        ];
        let cluster = Cluster::with(plane, &helm, &files);
        let token = plane.service_account_token("environment-manager", "environment-manager", &["vault"]).unwrap();
        std::fs::write(plane.dir().join("vault-token"), token).unwrap();
        Self { cluster, bao }
    }

    pub fn project(&self, id: &str) -> Project {
        Project::in_cluster(self.cluster, id)
    }

    /// Starts an operator with these further arguments.
    pub fn operator(&self, args: &[&str]) -> Operator {
        let mut operator =
            Operator::spawn_with(self.cluster, self.cluster.operator_kubeconfig(), &[&[PATIENT], args].concat());
        operator.wait_ready();
        operator
    }

    /// Starts an operator whose arguments that begin with one of these are taken out, and these put in.
    pub fn operator_with(&self, without: &[&str], args: &[&str]) -> Operator {
        let stays = |arg: &&String| !without.iter().any(|prefix| arg.starts_with(prefix));
        let stay = self.cluster.operator_args().iter().filter(stays).map(String::as_str);
        let all: Vec<&str> = stay.chain([PATIENT]).chain(args.iter().copied()).collect();
        let log = self.cluster.dir().join("logs/environment-manager.log");
        let mut operator = Operator::run(self.cluster.operator_kubeconfig(), &log, &all);
        operator.wait_ready();
        operator
    }

    /// A file beside the control plane's own, readable by its owner alone.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.cluster.dir().join(name);
        // Replaced as a whole, as the kubelet does it.
        let mut new = tempfile::NamedTempFile::new_in(self.cluster.dir()).unwrap();
        new.write_all(text.as_bytes()).unwrap();
        new.persist(&path).unwrap();
        path
    }

    /// A token of the `ServiceAccount` that reads an environment's secrets, for Vault.
    pub fn jwt(&self, environment: &Environment<'_>) -> String {
        self.jwt_of(environment, "vault")
    }

    /// A token of this `ServiceAccount` of an environment, made for what its status says.
    pub fn jwt_of(&self, environment: &Environment<'_>, account: &str) -> String {
        let audience = place(environment).audience;
        self.cluster.plane().service_account_token(&environment.namespace(), account, &[&audience]).unwrap()
    }

    /// Logs an environment in, with its own role.
    pub fn login(&self, environment: &Environment<'_>) -> String {
        self.bao.login("kubernetes", &place(environment).role, &self.jwt(environment)).unwrap()
    }

    /// The values of a secret, as somebody who may read all.
    pub fn values(&self, path: &str) -> Value {
        self.bao.as_root().json(["kv", "get", "-mount=kv", path]).unwrap()["data"]["data"].clone()
    }

    /// What is answered to a request whose path goes out letter by letter, as `bao` does not send it: the status, and the text.
    pub fn asked(&self, token: &str, path: &str) -> (u16, String) {
        let answer = async {
            let mut config = kube::Config::new(self.bao.address().parse().unwrap());
            (config.root_cert_file, config.root_cert) = (Some(self.bao.ca_file()), Some(vec![]));
            let client = kube::Client::try_from(config).unwrap();
            let request = http::Request::get(format!("/v1/{path}")).header("x-vault-token", token);
            let answer = client.send(request.body(kube::client::Body::empty()).unwrap()).await.unwrap();
            let status = answer.status().as_u16();
            let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
            (status, String::from_utf8_lossy(&body).into_owned())
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(answer)
    }

    /// Puts a secret of one key.
    pub fn put(&self, path: &str, key: &str, value: &str) {
        self.bao.as_root().run(["kv", "put", "-mount=kv", path, &format!("{key}={value}")]).unwrap();
    }

    /// Where OpenBao writes down what was asked.
    pub fn requests(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.bao.audit_log()).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Everything that the cluster and the operator ever wrote down: where it is and what it says.
    pub fn places(&self) -> Vec<(String, Vec<u8>)> {
        let mut places = vec![];
        let mut folders = vec![self.cluster.dir().to_owned(), self.cluster.audit_log()];
        while let Some(path) = folders.pop() {
            if path.is_dir() {
                folders.extend(std::fs::read_dir(&path).unwrap().filter_map(|entry| Some(entry.ok()?.path())));
            } else if !path.display().to_string().contains("openbao") {
                places.extend(std::fs::read(&path).ok().map(|bytes| (path.display().to_string(), bytes)));
            }
        }
        places
    }
}

/// An environment's place in Vault, as its status says it.
pub struct Place {
    pub prefix: String,
    pub role: String,
    pub audience: String,
}

/// Where an environment's secrets lie.
#[track_caller]
pub fn place(environment: &Environment<'_>) -> Place {
    let status = eventually("its place in Vault", || {
        let status = environment.get()?["status"]["vault"].clone();
        status.is_object().then_some(status)
    });
    let text = |field: &str| status[field].as_str().unwrap().to_owned();
    Place { prefix: text("prefix"), role: text("role"), audience: text("audience") }
}

/// Vault refuses this for want of a right, and for no other reason.
#[track_caller]
pub fn refused(bao: &Bao, args: &[&str]) {
    match bao.run(args) {
        Ok(_) => panic!("it is let do {args:?}"),
        Err(error) => assert!(error.to_string().contains("Code: 403"), "{args:?}: {error}"),
    }
}

/// A spec's field for a clone.
pub fn clone_of(base: &str, strategy: &str) -> Value {
    json!({"environment": base, "secrets": strategy})
}
