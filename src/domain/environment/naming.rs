//! Names that are derived from an environment's: its namespace, its revisions.

use crate::api::RevisionNumber;

/// The most characters that a namespace's name may have (RFC 1123 label).
const MAX_NAMESPACE: usize = 63;

/// Project and environment together do not make a namespace's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Two hyphens in a row separate project and environment, so neither may contain them.
    #[error(
        "the {what} name {name:?} contains \"--\", which separates project and environment in the namespace name \
         <project>--<environment>; use another {what} name"
    )]
    DoubleHyphen {
        /// `project` or `environment`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The namespace's name would be too long.
    #[error(
        "the namespace name {namespace:?} would have {} characters, and Kubernetes allows {MAX_NAMESPACE}; \
         create the environment anew with a name of at most {room} characters, or use a project namespace with a shorter name",
        namespace.len()
    )]
    TooLong {
        /// The name that would be needed.
        namespace: String,
        /// What is left for the environment's name.
        room: usize,
    },
    /// A namespace's name has no dots.
    #[error(
        "the {what} name {name:?} is not a DNS label (lower-case letters, digits, hyphens); use another {what} name"
    )]
    NotALabel {
        /// `project` or `environment`.
        what: &'static str,
        /// The name.
        name: String,
    },
}

/// The namespace of an environment: `<project>--<environment>`.
///
/// Since neither part may contain two hyphens in a row, no project can take a name that another one needs.
pub fn namespace(project: &str, environment: &str) -> Result<String, InvalidName> {
    for (what, name) in [("project", project), ("environment", environment)] {
        if name.contains("--") {
            return Err(InvalidName::DoubleHyphen { what, name: name.to_owned() });
        }
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(label) || name.starts_with('-') || name.ends_with('-') {
            return Err(InvalidName::NotALabel { what, name: name.to_owned() });
        }
    }
    let namespace = format!("{project}--{environment}");
    if namespace.len() > MAX_NAMESPACE {
        let room = MAX_NAMESPACE.saturating_sub(project.len() + 2);
        return Err(InvalidName::TooLong { namespace, room });
    }
    Ok(namespace)
}

/// The name of one of an environment's revisions: `<environment>-<number>`.
#[must_use]
pub fn revision(environment: &str, number: RevisionNumber) -> String {
    format!("{environment}-{number}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_namespace_is_project_and_environment() {
        assert_eq!(namespace("pf-872", "staging").unwrap(), "pf-872--staging");
    }

    #[test]
    fn a_name_that_is_too_long_says_how_much_room_there_is() {
        let error = namespace(&"p".repeat(50), "development2").unwrap_err();
        assert!(error.to_string().contains("at most 11 characters"), "{error}");
        assert!(namespace(&"p".repeat(50), &"e".repeat(11)).is_ok());
    }

    #[test]
    fn two_hyphens_in_a_row_are_refused_in_either_part() {
        assert!(matches!(namespace("pf--872", "x"), Err(InvalidName::DoubleHyphen { what: "project", .. })));
        assert!(matches!(namespace("pf", "872--x"), Err(InvalidName::DoubleHyphen { what: "environment", .. })));
    }

    proptest! {
        #[test]
        fn no_two_environments_share_a_namespace(a in "[a-z-]{1,6}", b in "[a-z-]{1,6}", c in "[a-z-]{1,6}", d in "[a-z-]{1,6}") {
            prop_assume!((&a, &b) != (&c, &d));
            if let (Ok(one), Ok(other)) = (namespace(&a, &b), namespace(&c, &d)) {
                prop_assert_ne!(one, other);
            }
        }
    }
}
