//! What a request asks for, read from its method, path and query.

use http::{Method, Request, header::CONTENT_TYPE};

use crate::metrics::ResourceName;

/// Verb and resource of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) verb: &'static str,
    pub(super) resource: ResourceName,
}

/// What is counted by name. All else is `other`, so that no path can grow the metrics without bound.
const RESOURCES: &[&str] = &[
    "configmaps",
    "customresourcedefinitions",
    "environmentrevisions",
    "events",
    "externalsecrets",
    "httproutes",
    "jobs",
    "leases",
    "limitranges",
    "namespaces",
    "networkpolicies",
    "platformenvironments",
    "platformversions",
    "pods",
    "promotions",
    "resourcequotas",
    "rolebindings",
    "secrets",
    "secretstores",
    "serviceaccounts",
    "subjectaccessreviews",
    "tokenreviews",
    "vaultauths",
    "vaultconnections",
    "vaultstaticsecrets",
];

/// The subresources we may use.
const SUBRESOURCES: &[&str] = &["finalize", "log", "status", "token"];

const OTHER: &str = "other";

impl Call {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let target = Target::of(request.uri().path());
        let resource = ResourceName {
            resource: target.resource.map_or(OTHER, |name| known(RESOURCES, name)),
            subresource: target.subresource.map(|name| known(SUBRESOURCES, name)),
        };
        Self { verb: verb(request, target.name.is_some()), resource }
    }

    /// Whether sending the request twice is as good as once. A watch would be too, but brings its own backoff.
    pub(super) fn is_repeatable(self) -> bool {
        matches!(self.verb, "get" | "list" | "apply")
    }
}

fn verb<B>(request: &Request<B>, named: bool) -> &'static str {
    match *request.method() {
        Method::GET if is_watch(request.uri().query().unwrap_or_default()) => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH if is_apply(request) => "apply",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => OTHER,
    }
}

fn is_watch(query: &str) -> bool {
    query.split('&').any(|parameter| matches!(parameter, "watch=true" | "watch=1"))
}

fn is_apply<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/apply-patch"))
}

fn known(names: &[&'static str], name: &str) -> &'static str {
    names.iter().copied().find(|known| *known == name).unwrap_or(OTHER)
}

/// The parts of an API path.
#[derive(Default)]
struct Target<'a> {
    resource: Option<&'a str>,
    name: Option<&'a str>,
    subresource: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// `/api/v1/…` or `/apis/<group>/<version>/…`, then `[namespaces/<namespace>/]<resource>[/<name>[/<subresource>]]`.
    fn of(path: &'a str) -> Self {
        let mut segments = path.trim_matches('/').split('/');
        let prefix = match segments.next() {
            Some("api") => segments.next(),
            Some("apis") => segments.next().and_then(|_group| segments.next()),
            _ => None,
        };
        if prefix.is_none() {
            return Self::default();
        }
        let rest: Vec<_> = segments.take(5).collect();
        match rest.as_slice() {
            // `namespaces/<name>/status` is the Namespace's own subresource, not a resource in it.
            ["namespaces", name, subresource @ ("status" | "finalize")] => {
                Self { resource: Some("namespaces"), name: Some(name), subresource: Some(subresource) }
            }
            ["namespaces", _, rest @ ..] if !rest.is_empty() => Self::of_resource(rest),
            rest => Self::of_resource(rest),
        }
    }

    fn of_resource(rest: &[&'a str]) -> Self {
        let at = |index: usize| rest.get(index).copied();
        Self { resource: at(0), name: at(1), subresource: at(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: Method, uri: &str, content_type: &str) -> String {
        let request = Request::builder().method(method).uri(uri).header(CONTENT_TYPE, content_type).body(()).unwrap();
        let Call { verb, resource: ResourceName { resource, subresource } } = Call::of(&request);
        format!("{verb} {resource}{}", subresource.map(|name| format!("/{name}")).unwrap_or_default())
    }

    #[test]
    fn reads_are_told_apart() {
        let get = |uri: &str| call(Method::GET, uri, "");
        assert_eq!(get("/api/v1/namespaces?"), "list namespaces");
        assert_eq!(get("/api/v1/namespaces/pf-872"), "get namespaces");
        assert_eq!(get("/api/v1/namespaces/pf-872/configmaps"), "list configmaps");
        assert_eq!(get("/api/v1/namespaces/pf-872/configmaps/flags"), "get configmaps");
        assert_eq!(get("/api/v1/configmaps?allowWatchBookmarks=true&watch=true"), "watch configmaps");
        let group = "/apis/platform.puraify.app/v1alpha1";
        assert_eq!(get(&format!("{group}/platformenvironments?limit=1")), "list platformenvironments");
        assert_eq!(get(&format!("{group}/namespaces/pf-872/promotions/p/status")), "get promotions/status");
    }

    #[test]
    fn writes_are_told_apart() {
        let of = "/api/v1/namespaces/pf-872--staging/configmaps";
        let one = "/api/v1/namespaces/pf-872--staging/configmaps/flags";
        let json = "application/json";
        assert_eq!(call(Method::POST, of, json), "create configmaps");
        assert_eq!(call(Method::PUT, one, json), "update configmaps");
        assert_eq!(call(Method::PATCH, one, "application/apply-patch+yaml"), "apply configmaps");
        assert_eq!(call(Method::PATCH, one, "application/merge-patch+json"), "patch configmaps");
        assert_eq!(call(Method::DELETE, one, json), "delete configmaps");
        assert_eq!(call(Method::DELETE, of, json), "deletecollection configmaps");
        assert_eq!(
            call(Method::PUT, "/api/v1/namespaces/pf-872--staging/finalize", json),
            "update namespaces/finalize"
        );
    }

    #[test]
    fn unknown_names_share_one_label() {
        assert_eq!(call(Method::GET, "/apis/example.com/v1/namespaces/a/widgets/w/frob", ""), "get other/other");
        assert_eq!(call(Method::GET, "/version", ""), "list other");
        assert_eq!(call(Method::GET, "/", ""), "list other");
        assert_eq!(call(Method::GET, "/apis", ""), "list other");
    }

    #[test]
    fn only_reads_and_applies_are_repeatable() {
        let repeatable = |method, content_type| {
            let request =
                Request::builder().method(method).uri("/api/v1/namespaces/a").header(CONTENT_TYPE, content_type);
            Call::of(&request.body(()).unwrap()).is_repeatable()
        };
        assert!(repeatable(Method::GET, "") && repeatable(Method::PATCH, "application/apply-patch+yaml"));
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            assert!(!repeatable(method, "application/json"));
        }
    }
}
