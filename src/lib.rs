//! Environment Manager: the environments of a no-code platform, their versions and their configuration.
pub mod api;
pub mod domain;
pub mod kube_ext;
