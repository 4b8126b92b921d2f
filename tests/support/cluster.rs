//! Control planes in which the chart is installed.

use std::{
    collections::HashMap,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, OnceLock, PoisonError},
};

use devcluster::{ControlPlane, Kubectl, Options};
use serde_json::Value;

use super::{
    Operator, Project, Request,
    audit::{self, Journal},
    chart, eventually,
    reader::{self, Reader},
    watch::Watch,
};

/// A control plane with all that the chart installs.
#[derive(Debug)]
pub struct Cluster {
    plane: &'static ControlPlane,
    people: Mutex<HashMap<String, PathBuf>>,
    operator_args: Vec<String>,
    operator_kubeconfig: PathBuf,
    watch: Watch,
    promotions: Watch,
    reader: Reader,
    journal: Mutex<Journal>,
}

impl Cluster {
    /// The cluster that tests share, with an operator that nobody may stop.
    pub fn shared() -> &'static Self {
        &Self::shared_with_operator().0
    }

    /// The shared cluster's operator.
    pub fn shared_operator() -> &'static Operator {
        &Self::shared_with_operator().1
    }

    fn shared_with_operator() -> &'static (Self, Operator) {
        static SHARED: OnceLock<(Cluster, Operator)> = OnceLock::new();
        SHARED.get_or_init(|| {
            let cluster = Self::install(Box::leak(Box::new(plane(&Options::default()))));
            let operator = Operator::start(&cluster);
            (cluster, operator)
        })
    }

    /// A cluster without an operator, for one test at a time: those that start and stop operators of their own, or
    /// change what concerns all projects.
    pub fn exclusive() -> Exclusive {
        static CLUSTERS: [OnceLock<Cluster>; EXCLUSIVE] = [const { OnceLock::new() }; EXCLUSIVE];
        let turn = Turn::take();
        let cluster: &'static Self = CLUSTERS[turn.0].get_or_init(|| {
            let options = Options { name: "exclusive".to_owned(), ..Options::default() };
            Self::install(Box::leak(Box::new(plane(&options))))
        });
        // Operators of the test before were dropped, and gave nothing back.
        chart::free_lease(&cluster.kubectl());
        Exclusive { cluster, _turn: turn }
    }

    /// A cluster that nobody else uses, with a control plane of another kind.
    pub fn alone(options: &Options) -> &'static Self {
        let plane = Box::leak(Box::new(plane(options)));
        Box::leak(Box::new(Self::install(plane)))
    }

    /// A cluster that nobody else uses, installed with these further arguments of helm; its operators get these further arguments.
    pub fn with(plane: &'static ControlPlane, helm: &[&str], operator: &[String]) -> &'static Self {
        let mut cluster = Self::install_with(plane, helm);
        cluster.operator_args.extend(operator.iter().cloned());
        Box::leak(Box::new(cluster))
    }

    fn install(plane: &'static ControlPlane) -> Self {
        Self::install_with(plane, &[])
    }

    fn install_with(plane: &'static ControlPlane, helm: &[&str]) -> Self {
        let kubectl = plane.kubectl();
        chart::install(plane, &[&["--set", "operator.gateways.public=gateway-system"], helm].concat()).unwrap();
        chart::exempt_unguarded(&kubectl);
        eventually("the platform's kinds", || kubectl.run(["get", "platform", "--all-namespaces"]).ok());
        eventually("the API server to stamp who creates them", || chart::is_stamped(&kubectl).then_some(()));
        let operator_kubeconfig = plane.service_account_kubeconfig(chart::NAMESPACE, chart::NAME).unwrap();
        let reader = Reader::start(&kubectl, plane.dir());
        let journal = Mutex::new(Journal::of(&plane.audit_log(), Operator::USER));
        Self {
            plane,
            people: Mutex::default(),
            operator_args: chart::operator_args(&kubectl),
            operator_kubeconfig,
            watch: Watch::start(&kubectl, "penv"),
            promotions: Watch::start(&kubectl, "promo"),
            reader,
            journal,
        }
    }

    /// What was asked of the API server, a line of JSON each.
    pub fn audit_log(&self) -> PathBuf {
        self.plane.audit_log()
    }

    /// Where the control plane keeps its files.
    pub fn dir(&self) -> &Path {
        self.plane.dir()
    }

    /// The control plane itself.
    pub fn plane(&self) -> &'static ControlPlane {
        self.plane
    }

    /// `kubectl` as one who may do everything.
    pub fn kubectl(&self) -> Kubectl {
        self.plane.kubectl()
    }

    /// `kubectl` with this kubeconfig.
    pub fn kubectl_as(&self, kubeconfig: PathBuf) -> Kubectl {
        self.plane.kubectl_as(kubeconfig)
    }

    /// `kubectl` as somebody whom the API server knows by this name, with the rights of their job: `argocd` deploys and reports,
    /// `ci` validates, everybody else is a builder, a release manager and on call.
    pub fn kubectl_of(&self, person: &str) -> Kubectl {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        let kubeconfig = people.entry(person.to_owned()).or_insert_with(|| {
            let group = match person {
                "argocd" => "planners",
                "ci" => "validators",
                _ => "people",
            };
            self.plane.person(person, &[group]).unwrap()
        });
        self.plane.kubectl_as(kubeconfig.clone())
    }

    /// Applies manifests in helm's place.
    pub fn take_over(&self, manifests: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, manifests).unwrap();
        let path = file.path().to_str().unwrap();
        self.kubectl().run(["apply", "--server-side", "--force-conflicts", "--filename", path]).unwrap();
    }

    /// How the chart's `Deployment` starts the operator.
    pub fn operator_args(&self) -> &[String] {
        &self.operator_args
    }

    /// The kubeconfig of the operator's own `ServiceAccount`.
    pub fn operator_kubeconfig(&self) -> &Path {
        &self.operator_kubeconfig
    }

    /// Every state of every environment that the API server told of.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Every state of every promotion that the API server told of.
    pub fn promotions(&self) -> &Watch {
        &self.promotions
    }

    /// An object, if it is there.
    #[track_caller]
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        self.reader.get(&format!("{}/{name}", reader::path(kind, namespace)))
    }

    /// The objects of a kind in a namespace that have this label.
    #[track_caller]
    pub fn list(&self, kind: &str, namespace: &str, label: &str) -> Vec<Value> {
        let path = reader::path(kind, namespace);
        let mut list = self.reader.get(&format!("{path}?labelSelector={}", label.replace('=', "%3D"))).unwrap();
        list["items"].as_array_mut().unwrap().drain(..).collect()
    }

    /// The writes of the operator so far, in the order of the answers.
    pub fn operator_writes(&self) -> Vec<Request> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).writes().to_vec()
    }
}

/// A control plane whose audit log stays for [`audit::Uses`].
pub fn plane(options: &Options) -> ControlPlane {
    ControlPlane::start(&Options { audit_logs: Some(audit::logs()), ..options.clone() }).unwrap()
}

/// How many exclusive clusters there are, each started when it is first needed.
const EXCLUSIVE: usize = 2;

/// Which of them are taken, and who waits for one.
static TAKEN: (Mutex<[bool; EXCLUSIVE]>, Condvar) = (Mutex::new([false; EXCLUSIVE]), Condvar::new());

/// The right to use one of the exclusive clusters.
#[derive(Debug)]
struct Turn(usize);

impl Turn {
    fn take() -> Self {
        let mut taken = TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(free) = taken.iter().position(|taken| !taken) {
                taken[free] = true;
                return Self(free);
            }
            taken = TAKEN.1.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner)[self.0] = false;
        TAKEN.1.notify_one();
    }
}

/// An exclusive cluster, for as long as this value lives.
#[derive(Debug)]
pub struct Exclusive {
    cluster: &'static Cluster,
    _turn: Turn,
}

impl Exclusive {
    /// A project in this cluster.
    pub fn project(&self, id: &str) -> Project {
        Project::in_cluster(self.cluster, id)
    }
}

impl Deref for Exclusive {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}
