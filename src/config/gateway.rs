//! Gateways by name.

use std::str::FromStr;

/// A gateway that environments may name to admit traffic from. They know its name only, not its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedGateway {
    /// As environments call it.
    pub name: String,
    /// Where its pods run.
    pub namespace: String,
}

impl FromStr for NamedGateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, namespace)) if is_dns_label(name) && is_dns_label(namespace) => {
                Ok(Self { name: name.into(), namespace: namespace.into() })
            }
            _ => Err("expected NAME=NAMESPACE, both of lower-case letters, digits and hyphens".into()),
        }
    }
}

fn is_dns_label(text: &str) -> bool {
    let allowed = |character: u8| matches!(character, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_namespace_are_dns_labels() {
        assert!("public=ingress-nginx".parse::<NamedGateway>().is_ok());
        for wrong in ["public", "=ingress", "public=", "Public=ingress", "public=a=b", "-p=ingress", "p=ingress-"] {
            assert!(wrong.parse::<NamedGateway>().is_err(), "{wrong}");
        }
    }
}
