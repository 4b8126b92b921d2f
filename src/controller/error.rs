//! Why a reconcile failed, and what that means for trying again.

use std::borrow::Cow;

use thiserror::Error;

use crate::kube_ext::errors::describe;

/// A failed reconcile. Waiting for something is not a failure: that is [`Next::After`](super::run_loop::Next::After).
///
/// What failed is always tried again, even what the API server calls invalid: quotas, admission policies and schemas
/// change without a change to our object.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// The API server refused a request or could not be reached.
    #[error("cannot {action}: {}", describe(source))]
    Kubernetes {
        /// What was tried, as it follows "cannot": `apply ConfigMap pf-872--staging/flags`.
        action: Cow<'static, str>,
        /// The API server's answer.
        #[source]
        source: kube::Error,
    },
}

impl ReconcileError {
    /// For `map_err`: what was tried, as it follows "cannot".
    pub fn kubernetes(action: impl Into<Cow<'static, str>>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| Self::Kubernetes { action, source }
    }

    /// A word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Kubernetes { source: kube::Error::Api(status), .. } => match status.code {
                401 => "unauthorized",
                403 => "forbidden",
                404 => "not_found",
                409 => "conflict",
                422 => "rejected",
                429 => "throttled",
                500.. => "server_error",
                _ => "api_error",
            },
            Self::Kubernetes { .. } => "connection",
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refusal(code: u16, reason: &str) -> ReconcileError {
        let status = Status::failure("admission policy says no", reason).with_code(code);
        ReconcileError::kubernetes("apply Namespace pf-872--staging")(kube::Error::Api(status.boxed()))
    }

    #[test]
    fn a_refusal_reads_as_a_sentence() {
        assert_eq!(
            refusal(422, "Invalid").to_string(),
            "cannot apply Namespace pf-872--staging: admission policy says no"
        );
    }

    #[test]
    fn a_refusal_is_counted_by_its_code() {
        let labels = [401, 403, 404, 409, 422, 429, 500, 400].map(|code| refusal(code, "Reason").label());
        let words = ["unauthorized", "forbidden", "not_found", "conflict", "rejected", "throttled", "server_error"];
        assert_eq!(labels[..7], words);
        assert_eq!(labels[7], "api_error");
    }

    #[test]
    fn a_connection_error_names_its_cause_once() {
        let refused = std::io::Error::other("connection refused");
        let error = ReconcileError::kubernetes("list namespaces")(kube::Error::Service(refused.into()));
        assert_eq!(error.to_string(), "cannot list namespaces: connection refused");
        assert_eq!(error.label(), "connection");
    }
}
