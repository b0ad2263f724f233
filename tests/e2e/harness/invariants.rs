//! What must hold in every scenario at every moment, checked on the history when it has ended.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::api::Kind;
use super::objects::{annotation, endpoints, is_our_slice, label, summary, text};
use super::observe::{Change, Log};

/// At most one endpoint per leader Service and family; each pod once in a slice of followers; only addresses that the named pod had;
/// every endpoint with all three conditions; no leader Service that asks to be served itself.
pub fn check(log: &Log) -> Result<()> {
    let mut addresses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for seen in log.history.iter().filter(|seen| seen.kind == Kind::Pod) {
        let ips = seen.object["status"]["podIPs"].as_array();
        let ips = ips.into_iter().flatten().map(|ip| text(ip, "/ip"));
        let uid = text(&seen.object, "/metadata/uid");
        addresses.entry(uid).or_default().extend(ips);
    }
    let mut slices: BTreeMap<&str, &Value> = BTreeMap::new();
    for seen in &log.history {
        if seen.kind == Kind::Service {
            leader_service(&seen.object)?;
        }
        if seen.kind != Kind::Slice || !is_our_slice(&seen.object) {
            continue;
        }
        match seen.change {
            Change::Deleted => slices.remove(seen.name()),
            Change::Added | Change::Modified => slices.insert(seen.name(), &seen.object),
        };
        single(&slices)?;
        for endpoint in endpoints(&seen.object) {
            let line = || summary(Kind::Slice, &seen.object);
            let known = addresses.get(text(endpoint, "/targetRef/uid"));
            let address = text(endpoint, "/addresses/0");
            ensure!(
                endpoint["addresses"].as_array().map(Vec::len) == Some(1),
                "not exactly one address: {}",
                line()
            );
            ensure!(
                known.is_some_and(|known| known.contains(address)),
                "{address} is no address of the pod named: {}",
                line()
            );
            honest(endpoint)?;
        }
    }
    Ok(())
}

fn single(slices: &BTreeMap<&str, &Value>) -> Result<()> {
    let mut published: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for slice in slices.values() {
        if label(slice, "zen-lead.io/role") == Some("followers") {
            let pods = endpoints(slice).iter();
            let uids: BTreeSet<_> = pods.map(|pod| text(pod, "/targetRef/uid")).collect();
            ensure!(
                uids.len() == endpoints(slice).len(),
                "a follower twice: {}",
                summary(Kind::Slice, slice)
            );
            continue;
        }
        let service = label(slice, "kubernetes.io/service-name").unwrap_or_default();
        let family = text(slice, "/addressType");
        *published.entry((service, family)).or_default() += endpoints(slice).len();
    }
    for ((service, family), count) in published {
        ensure!(
            count <= 1,
            "{count} {family} endpoints at once under {service}"
        );
    }
    Ok(())
}

fn honest(endpoint: &Value) -> Result<()> {
    let of = |condition: &str| endpoint["conditions"][condition].as_bool();
    match (of("ready"), of("serving"), of("terminating")) {
        // The latter: the last resort, and the leader of a headless Service while it terminates.
        (Some(true), Some(true), Some(false)) | (Some(_), Some(_), Some(true)) => Ok(()),
        _ => anyhow::bail!("conditions {}", endpoint["conditions"]),
    }
}

fn leader_service(service: &Value) -> Result<()> {
    let is_ours = label(service, "app.kubernetes.io/managed-by") == Some("zen-lead");
    ensure!(
        !is_ours || annotation(service, "zen-lead.io/enabled").is_none(),
        "a leader Service bears zen-lead.io/enabled: {}",
        summary(Kind::Service, service)
    );
    Ok(())
}
