//! Starts a control plane and keeps it until standard input ends.
fn main() {
    let cluster = devcluster::ControlPlane::start(&devcluster::Options::default()).unwrap();
    println!("{}", cluster.kubeconfig_for_admin().display());
    println!("{}", cluster.audit_log().display());
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}
