//! Isolation: what each class brings, and how a spec refines it.

use crate::{
    api::{
        EnvironmentClass,
        isolation::{EffectiveIsolation, EffectiveLimits, EffectiveQuota, Isolation, PodSecurity},
    },
    domain::settings::Settings,
};

/// A refinement that the platform team does not allow.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIsolation {
    /// The `ClusterRole` is not on the list.
    #[error(
        "spec.isolation.access: the ClusterRole {role:?} is not on the platform team's list; allowed are: {allowed}"
    )]
    RoleNotAllowed {
        /// The role that was asked for.
        role: String,
        /// Those that are allowed.
        allowed: String,
    },
    /// The gateway is not known.
    #[error("spec.isolation.network.gateways: there is no gateway named {gateway:?}; known are: {known}")]
    UnknownGateway {
        /// The gateway that was asked for.
        gateway: String,
        /// Those that are known.
        known: String,
    },
}

/// What applies: the class's preset, refined by the spec as far as the platform team allows, and the first thing that it
/// does not allow.
#[must_use]
pub fn effective(
    class: EnvironmentClass,
    spec: Option<&Isolation>,
    settings: &Settings,
) -> (EffectiveIsolation, Option<InvalidIsolation>) {
    let mut isolation = preset(class, settings);
    let Some(spec) = spec else { return (isolation, None) };
    if let Some(pod_security) = spec.pod_security {
        isolation.pod_security = pod_security;
    }
    if let Some(quota) = spec.quota.clone() {
        refine(&mut isolation.quota.cpu, quota.cpu);
        refine(&mut isolation.quota.memory, quota.memory);
        refine(&mut isolation.quota.storage, quota.storage);
        refine(&mut isolation.quota.pods, quota.pods);
    }
    if let Some(limits) = spec.limits.clone() {
        refine(&mut isolation.limits.default_cpu, limits.default_cpu);
        refine(&mut isolation.limits.default_memory, limits.default_memory);
    }
    if let Some(network) = spec.network.clone() {
        refine(&mut isolation.internet, network.internet);
        refine(&mut isolation.gateways, network.gateways);
    }
    isolation.roles = spec.access.iter().map(|access| access.role.clone()).collect();
    isolation.gateways.sort();
    isolation.roles.sort();
    let refused = refused(&isolation, settings);
    isolation.roles.retain(|role| settings.allowed_cluster_roles.contains(role));
    isolation.gateways.retain(|gateway| settings.gateways.contains_key(gateway));
    (isolation, refused)
}

fn refine<T>(value: &mut T, refinement: Option<T>) {
    if let Some(refinement) = refinement {
        *value = refinement;
    }
}

fn refused(isolation: &EffectiveIsolation, settings: &Settings) -> Option<InvalidIsolation> {
    if let Some(role) = isolation.roles.iter().find(|role| !settings.allowed_cluster_roles.contains(*role)) {
        let allowed = listed(settings.allowed_cluster_roles.iter());
        return Some(InvalidIsolation::RoleNotAllowed { role: role.clone(), allowed });
    }
    let gateway = isolation.gateways.iter().find(|gateway| !settings.gateways.contains_key(*gateway))?;
    let known = listed(settings.gateways.keys());
    Some(InvalidIsolation::UnknownGateway { gateway: gateway.clone(), known })
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What a class brings. Only Development may reach the internet and run pods that are not restricted; every class
/// lets the platform's gateways in, or nobody could visit it.
fn preset(class: EnvironmentClass, settings: &Settings) -> EffectiveIsolation {
    let (cpu, memory, storage, pods) = match class {
        EnvironmentClass::Development => ("8", "16Gi", "50Gi", 100),
        EnvironmentClass::Staging => ("8", "16Gi", "100Gi", 100),
        EnvironmentClass::Production => ("32", "64Gi", "500Gi", 300),
        EnvironmentClass::Preview => ("2", "4Gi", "10Gi", 30),
    };
    let open = class == EnvironmentClass::Development;
    EffectiveIsolation {
        pod_security: if open { PodSecurity::Baseline } else { PodSecurity::Restricted },
        quota: EffectiveQuota { cpu: cpu.into(), memory: memory.into(), storage: storage.into(), pods },
        limits: EffectiveLimits { default_cpu: "100m".into(), default_memory: "256Mi".into() },
        gateways: settings.gateways.keys().cloned().collect(),
        internet: open,
        roles: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::isolation::{Access, Network, Quota};

    fn settings() -> Settings {
        Settings {
            allowed_cluster_roles: ["view".to_owned()].into(),
            gateways: [("public".to_owned(), "gateway-system".to_owned())].into(),
            ..Settings::default()
        }
    }

    #[test]
    fn production_is_strict_and_development_open_ish() {
        let production = effective(EnvironmentClass::Production, None, &settings()).0;
        assert_eq!((production.pod_security, production.internet), (PodSecurity::Restricted, false));
        let development = effective(EnvironmentClass::Development, None, &settings()).0;
        assert_eq!((development.pod_security, development.internet), (PodSecurity::Baseline, true));
    }

    #[test]
    fn a_refinement_changes_what_it_names_and_nothing_else() {
        let spec = Isolation {
            quota: Some(Quota { memory: Some("1Gi".into()), ..Quota::default() }),
            network: Some(Network { gateways: Some(vec![]), internet: None }),
            ..Isolation::default()
        };
        let before = effective(EnvironmentClass::Staging, None, &settings()).0;
        let after = effective(EnvironmentClass::Staging, Some(&spec), &settings()).0;
        let mut expected = before;
        expected.quota.memory = "1Gi".into();
        expected.gateways.clear();
        assert_eq!(after, expected);
    }

    #[test]
    fn a_role_or_gateway_off_the_list_is_refused_by_name() {
        let access = Access {
            role: "cluster-admin".into(),
            users: vec!["eve".into()],
            groups: vec![],
            service_accounts: vec![],
        };
        let roles = Isolation { access: vec![access], ..Isolation::default() };
        let error = effective(EnvironmentClass::Staging, Some(&roles), &settings()).1.unwrap().to_string();
        assert!(error.contains("\"cluster-admin\"") && error.ends_with("allowed are: view"), "{error}");

        let network = Network { gateways: Some(vec!["privat".into()]), internet: None };
        let gateways = Isolation { network: Some(network), ..Isolation::default() };
        let error = effective(EnvironmentClass::Staging, Some(&gateways), &settings()).1.unwrap().to_string();
        assert!(error.contains("\"privat\"") && error.ends_with("known are: public"), "{error}");
    }
}
