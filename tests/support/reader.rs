//! Reads, many and cheap: by `kubectl proxy`, since a process for each look would be most of the tests' work.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use devcluster::{Kubectl, Supervised};
use serde_json::Value;

use super::eventually;

/// Looks at objects of an API server.
#[derive(Debug)]
pub struct Reader {
    socket: PathBuf,
    _proxy: Supervised,
}

impl Reader {
    /// A reader with the rights of this kubectl, whose files are in this directory.
    pub fn start(kubectl: &Kubectl, directory: &Path) -> Self {
        let socket = directory.join("reader.sock");
        let mut command = kubectl.command(["proxy", "--unix-socket"]);
        command.arg(&socket);
        let proxy = Supervised::spawn(&command, &directory.join("logs/reader.log")).unwrap();
        eventually("kubectl proxy", || UnixStream::connect(&socket).ok());
        Self { socket, _proxy: proxy }
    }

    /// The object or list at this path; `None` if there is none.
    #[track_caller]
    pub fn get(&self, path: &str) -> Option<Value> {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        // HTTP/1.0: the answer comes in one piece and ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\naccept: application/json\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        match head.split(' ').nth(1).unwrap() {
            "200" => Some(serde_json::from_str(body).unwrap()),
            "404" => None,
            _ => panic!("GET {path}: {answer}"),
        }
    }
}

/// Where objects of a kind are, by the name that people use for the kind. Without a namespace: where all are.
#[track_caller]
pub fn path(kind: &str, namespace: &str) -> String {
    let (group, plural) = match kind {
        "namespace" => return "/api/v1/namespaces".to_owned(),
        "configmap" => ("api/v1", "configmaps"),
        "serviceaccount" => ("api/v1", "serviceaccounts"),
        "resourcequota" => ("api/v1", "resourcequotas"),
        "limitrange" => ("api/v1", "limitranges"),
        "networkpolicy" => ("apis/networking.k8s.io/v1", "networkpolicies"),
        "rolebinding" => ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
        "lease" => ("apis/coordination.k8s.io/v1", "leases"),
        "event" => ("apis/events.k8s.io/v1", "events"),
        "penv" => ("apis/platform.puraify.app/v1alpha1", "platformenvironments"),
        "pver" => ("apis/platform.puraify.app/v1alpha1", "platformversions"),
        "promo" => ("apis/platform.puraify.app/v1alpha1", "promotions"),
        "erev" => ("apis/platform.puraify.app/v1alpha1", "environmentrevisions"),
        _ => panic!("no test looks at {kind}"),
    };
    format!("/{group}/namespaces/{namespace}/{plural}")
}
