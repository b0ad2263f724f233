//! Addresses and families of Services: which fields follow from which.
//!
//! A port of `initIPFamilyFields`, `normalizeClusterIPs` and their validations.

use k8s_openapi::api::core::v1::ServiceSpec;
use serde_json::json;

use super::{addresses, service};
use crate::api::violation::Violations;

/// The addresses; `None` as text for a headless Service.
pub(crate) fn cluster_ips(spec: &ServiceSpec) -> &[String] {
    spec.cluster_ips.as_deref().unwrap_or_default()
}

/// The families, the primary first.
pub(crate) fn ip_families(spec: &ServiceSpec) -> &[String] {
    spec.ip_families.as_deref().unwrap_or_default()
}

/// The policy; empty where none was chosen yet.
fn policy(spec: &ServiceSpec) -> &str {
    spec.ip_family_policy.as_deref().unwrap_or_default()
}

/// The family that a dual-stack Service adds.
fn other(family: &str) -> String {
    if family == "IPv4" {
        "IPv6".into()
    } else {
        "IPv4".into()
    }
}

/// Brings `clusterIP` and `clusterIPs` together.
pub(crate) fn normalize(new: &mut ServiceSpec, old: Option<&ServiceSpec>) {
    let Some(old) = old else {
        if let (Some(ip), true) = (&new.cluster_ip, cluster_ips(new).is_empty()) {
            new.cluster_ips = Some(vec![ip.clone()]);
        }
        return;
    };
    if cluster_ips(new).is_empty() && new.cluster_ip == old.cluster_ip {
        new.cluster_ips.clone_from(&old.cluster_ips);
    }
    if old.cluster_ip != new.cluster_ip && cluster_ips(old) == cluster_ips(new) {
        // The client changed the singular only: the plural follows.
        new.cluster_ips = new.cluster_ip.clone().map(|ip| vec![ip]);
    }
}

/// Rules for the fields as they stand together.
pub(crate) fn validate(spec: &ServiceSpec) -> Violations {
    let mut bad = Violations::default();
    if service::kind(spec) == "ExternalName" {
        return bad;
    }
    let (ips, families) = (cluster_ips(spec), ip_families(spec));
    match (&spec.cluster_ip, ips.first()) {
        (Some(_), None) => bad.required("spec.clusterIPs", ""),
        (Some(one), Some(first)) if one != first => {
            bad.invalid(
                "spec.clusterIPs",
                json!(ips),
                "first value must match `clusterIP`",
            );
        }
        (None, Some(_)) => {
            let text = "must be empty when `clusterIP` is not specified";
            bad.invalid("spec.clusterIPs", json!(ips), text);
        }
        _ => {}
    }
    for (at, family) in families.iter().enumerate() {
        let path = format!("spec.ipFamilies[{at}]");
        if !["IPv4", "IPv6"].contains(&family.as_str()) {
            bad.not_supported(path.as_str(), family, &["IPv4", "IPv6"]);
        }
        if families[..at].contains(family) {
            bad.duplicate(path, family.as_str());
        }
    }
    let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if spec.ip_family_policy.is_some() && !known.contains(&policy(spec)) {
        bad.not_supported("spec.ipFamilyPolicy", policy(spec), &known);
    }
    validate_ips(ips, families, &mut bad);
    bad
}

/// Addresses among themselves and against the families.
fn validate_ips(ips: &[String], families: &[String], bad: &mut Violations) {
    let mut parsed = Vec::new();
    for (at, ip) in ips.iter().enumerate() {
        if at == 0 && ip == "None" {
            if ips.len() > 1 {
                let text = "'None' must be the first and only value";
                bad.invalid("spec.clusterIPs", json!(ips), text);
            }
            return;
        }
        match addresses::parse(&format!("spec.clusterIPs[{at}]"), ip, bad) {
            Some(ip) => parsed.push(ip),
            // A bad address would make the messages below misleading.
            None => return,
        }
    }
    if ips.len() > 2 {
        bad.invalid(
            "spec.clusterIPs",
            json!(ips),
            "may only hold up to 2 values",
        );
    }
    if let [first, second, ..] = parsed.as_slice()
        && first.is_ipv4() == second.is_ipv4()
    {
        let text = "may specify no more than one IP for each IP family";
        bad.invalid("spec.clusterIPs", json!(ips), text);
    }
    for (at, (ip, family)) in parsed.iter().zip(families).enumerate() {
        if !addresses::is_family(*ip, family) {
            let text = format!("expected an {family} value as indicated by `ipFamilies[{at}]`");
            bad.invalid(format!("spec.clusterIPs[{at}]"), ips[at].as_str(), text);
        }
    }
}

/// Rules for what may change.
pub(crate) fn validate_change(new: &ServiceSpec, old: &ServiceSpec, bad: &mut Violations) {
    if service::kind(new) == "ExternalName" || service::kind(old) == "ExternalName" {
        return;
    }
    let (headless_new, headless_old) = (service::is_headless(new), service::is_headless(old));
    if !(headless_new && headless_old) {
        one_list(
            Field {
                name: "clusterIPs",
                one: "clusterIP",
                alone: "clusterIP",
            },
            (cluster_ips(new), cluster_ips(old)),
            policy(new),
            bad,
        );
    }
    if !headless_new && !headless_old {
        one_list(
            Field {
                name: "ipFamilies",
                one: "ipFamily",
                alone: "ipFamily",
            },
            (ip_families(new), ip_families(old)),
            policy(new),
            bad,
        );
    }
}

/// How messages call a list and its elements.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    one: &'static str,
    alone: &'static str,
}

/// Both lists obey one rule: the first element stays, the second comes and goes with the policy.
fn one_list(field: Field, lists: (&[String], &[String]), policy: &str, bad: &mut Violations) {
    let (new, old) = lists;
    let path = |at: usize| format!("spec.{}[{at}]", field.name);
    if new.is_empty() && !old.is_empty() {
        let text = format!("primary {} can not be unset", field.alone);
        bad.invalid(path(0), json!(new), text);
        return;
    }
    for (at, (new_one, old_one)) in new.iter().zip(old).enumerate() {
        // Of lists of different length only the first is held fast: the second comes and goes.
        if new_one != old_one && (at == 0 || new.len() == old.len()) {
            bad.invalid(path(at), json!(new), "may not change once set");
        }
    }
    if new.len() == 1 && old.len() == 2 && policy != "SingleStack" {
        let text = format!(
            "must be set to 'SingleStack' when releasing the secondary {}",
            field.one
        );
        bad.invalid("spec.ipFamilyPolicy", policy, text);
    }
}

/// Decides policy and families of a Service that has none, within what the cluster can do.
pub(crate) fn init(
    spec: &mut ServiceSpec,
    old: Option<&ServiceSpec>,
    dual_stack: bool,
) -> Result<(), Violations> {
    if service::kind(spec) == "ExternalName" || is_settled(spec, old) {
        return Ok(());
    }
    let selectorless = spec
        .selector
        .as_ref()
        .is_none_or(std::collections::BTreeMap::is_empty);
    let special = service::is_headless(spec) && selectorless;
    if spec.ip_family_policy.is_none() {
        let inherited = old.and_then(|o| o.ip_family_policy.clone());
        let fallback = if special {
            "RequireDualStack"
        } else {
            "SingleStack"
        };
        spec.ip_family_policy = Some(inherited.unwrap_or_else(|| fallback.into()));
    }
    fail(validate(spec))?;
    fail(settle_lists(spec, old, dual_stack))?;
    if special {
        // The families of endpoints that are made by hand are unknown: any are allowed.
        let families = spec.ip_families.get_or_insert_default();
        if families.is_empty() {
            families.push("IPv4".into());
        }
        if families.len() < 2 && spec.ip_family_policy.as_deref() != Some("SingleStack") {
            families.push(other(&families[0]));
        }
        return Ok(());
    }
    let mut bad = Violations::default();
    if policy(spec) == "RequireDualStack" && !dual_stack {
        let text = "this cluster is not configured for dual-stack services";
        bad.invalid("spec.ipFamilyPolicy", policy(spec), text);
    }
    for (at, family) in ip_families(spec).iter().enumerate() {
        if family == "IPv6" && !dual_stack {
            let path = format!("spec.ipFamilies[{at}]");
            bad.invalid(path, family.as_str(), "not configured on this cluster");
        }
    }
    fail(bad)?;
    let wants_two = policy(spec) != "SingleStack" && dual_stack;
    let families = spec.ip_families.get_or_insert_default();
    if families.is_empty() {
        families.push("IPv4".into());
    }
    if wants_two && families.len() == 1 {
        families.push(other(&families[0]));
    }
    Ok(())
}

/// Lets `?` end a phase as soon as it has found something: later phases would mislead.
fn fail(bad: Violations) -> Result<(), Violations> {
    if bad.is_empty() { Ok(()) } else { Err(bad) }
}

/// A `PreferDualStack` Service that changes nothing keeps the families it has.
fn is_settled(spec: &ServiceSpec, old: Option<&ServiceSpec>) -> bool {
    old.is_some_and(|old| {
        policy(spec) == "PreferDualStack"
            && policy(old) == "PreferDualStack"
            && service::kind(spec) == service::kind(old)
            && cluster_ips(spec) == cluster_ips(old)
            && ip_families(spec) == ip_families(old)
    })
}

/// Trims the lists to the policy, or says why they do not go together; infers families from addresses.
fn settle_lists(spec: &mut ServiceSpec, old: Option<&ServiceSpec>, dual_stack: bool) -> Violations {
    let mut bad = Violations::default();
    let single = policy(spec) == "SingleStack";
    if let Some(old) = old {
        if single {
            if cluster_ips(spec) == cluster_ips(old) {
                spec.cluster_ips.iter_mut().for_each(|ips| ips.truncate(1));
            }
            if ip_families(spec) == ip_families(old) {
                spec.ip_families
                    .iter_mut()
                    .for_each(|families| families.truncate(1));
            }
        } else {
            let reduced = |new: &[String], old: &[String]| !new.is_empty() && new.len() < old.len();
            if reduced(cluster_ips(spec), cluster_ips(old)) {
                let text = "must be 'SingleStack' to release the secondary cluster IP";
                bad.invalid("spec.ipFamilyPolicy", policy(spec), text);
            }
            if reduced(ip_families(spec), ip_families(old)) {
                let text = "must be 'SingleStack' to release the secondary IP family";
                bad.invalid("spec.ipFamilyPolicy", policy(spec), text);
            }
        }
    }
    let both = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
    if single && cluster_ips(spec).len() == 2 {
        bad.invalid(
            "spec.ipFamilyPolicy",
            policy(spec),
            format!("{both} cluster IPs are specified"),
        );
    }
    if single && ip_families(spec).len() == 2 {
        bad.invalid(
            "spec.ipFamilyPolicy",
            policy(spec),
            format!("{both} IP families are specified"),
        );
    }
    for (at, text) in cluster_ips(spec).to_vec().iter().enumerate() {
        let Ok(ip) = text.parse() else { break };
        if at < ip_families(spec).len() {
            continue;
        }
        let family = addresses::family(ip);
        if family == "IPv6" && !dual_stack {
            let text = format!("{family} is not configured on this cluster");
            bad.invalid(
                format!("spec.clusterIPs[{at}]"),
                json!(cluster_ips(spec)),
                text,
            );
        } else {
            spec.ip_families.get_or_insert_default().push(family.into());
        }
    }
    bad
}
