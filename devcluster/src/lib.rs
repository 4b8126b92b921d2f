//! A real local Kubernetes control plane, for the demo, the tests and the benches of Environment Manager.
//!
//! There is no Docker and no cluster: etcd, kube-apiserver and kube-controller-manager run as plain processes on
//! loopback, with their own certificate authority, and end when their owner ends. Their sources are pinned in `tools/`
//! and built once per user.
//!
//! - [`ControlPlane`] starts the servers and hands out kubeconfigs for people and service accounts;
//! - [`Project`] is one test's own namespace in a control plane that many tests share;
//! - [`Kubectl`] is how tests speak to the API server as a person would;
//! - [`Helm`] installs charts;
//! - [`OpenBao`] is a server for secrets beside a control plane, and [`Bao`] is how tests speak to it;
//! - [`Toolbox`] builds and finds the programs, also `helm` and OpenBao's `bao`;
//! - [`Supervised`] runs any program so that it cannot outlive its owner: tests run the operator with it;
//! - [`wait_until`] waits for a condition, with a bound, instead of sleeping.
//!
//! # In a test
//!
//! ```no_run
//! use devcluster::ControlPlane;
//!
//! let cluster = ControlPlane::shared();
//! let project = cluster.project("shop")?;
//! let configmaps = cluster.kubectl().json(["get", "configmaps", "--namespace", project.namespace()])?;
//! assert_eq!(configmaps["kind"], "List");
//! # Ok::<(), devcluster::Error>(())
//! ```
//!
//! The first use on a machine builds the servers: that takes about ten minutes on two cores and needs Go and a way to
//! download Go modules. Everything here is synchronous: it starts processes and waits for them, so an async runtime
//! would only be in the way of those who bring their own.

mod bao;
mod control_plane;
mod error;
mod helm;
mod kubeconfig;
mod kubectl;
mod launch;
mod openbao;
mod pki;
mod progress;
mod project;
mod supervised;
mod tools;
mod wait;

pub use bao::Bao;
pub use control_plane::{ControlPlane, Options};
pub use error::{Error, Result};
pub use helm::Helm;
pub use kubectl::Kubectl;
pub use openbao::OpenBao;
pub use project::Project;
pub use supervised::Supervised;
pub use tools::{ControlPlaneTools, Toolbox};
pub use wait::wait_until;
