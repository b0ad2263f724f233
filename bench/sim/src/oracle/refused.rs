//! What must be true of leader Services while the server refuses a part of them: the rest is as always.

use serde_json::Value;
use simkube::SimKube;

use super::{Cluster, SERVICE, SOURCE, Wish, ensure, owner};
use crate::claims::is_for_followers;
use crate::event::name_of;
use crate::facts::{SourceFact, text};
use crate::judge::Judge;

/// Says what the refusal of a part holds up.
pub(crate) fn check_refused(kube: &SimKube, judge: &Judge) -> Result<(), String> {
    let cluster = Cluster::of(kube, judge);
    let ours = cluster
        .services
        .iter()
        .filter(|service| judge.made(service) && !is_for_followers(service));
    for service in ours {
        cluster
            .check_parts(service)
            .map_err(|what| format!("{}: {what}", name_of(service)))?;
    }
    Ok(())
}

impl Cluster<'_> {
    /// A pod that exists leads, the Service names it, and the slice has the ports of the Service.
    fn check_parts(&self, service: &Value) -> Result<(), String> {
        let Some(source) = self.source_of(service) else {
            return Ok(());
        };
        let first = source.families.first().map_or("IPv4", String::as_str);
        let is_first = |slice: &&Value| {
            slice["metadata"]["labels"][SERVICE] == name_of(service)
                && slice["addressType"] == first
                && self.judge.made(slice)
        };
        let Some(slice) = self.slices.iter().find(is_first) else {
            return Ok(());
        };
        let leads = &slice["endpoints"][0]["targetRef"]["uid"];
        let named = &service["metadata"]["annotations"]["zen-lead.io/leader-pod-uid"];
        ensure(named == leads, || {
            format!("{leads} leads, and the Service names {named}")
        })?;
        if leads.is_null() {
            return Ok(());
        }
        let Some(pod) = self.pods.iter().find(|pod| *leads == *pod.uid) else {
            return Err(format!("{leads} leads and does not exist"));
        };
        let published: Vec<(String, u64)> = ports(slice)
            .map(|port| (text(&port["name"]), port["port"].as_u64().unwrap_or(0)))
            .collect();
        for port in ports(&service["spec"]) {
            // Its name may be another by now: clients use the number.
            let wanted = source.ports.iter().find(|wanted| {
                wanted["port"] == port["port"] && wanted["protocol"] == port["protocol"]
            });
            let number = wanted.and_then(|wanted| {
                let mut resolved = pod.resolved(&source).into_iter();
                resolved.find(|(name, _)| wanted["name"] == **name)
            });
            let Some((_, number)) = number else {
                continue;
            };
            let pair = (text(&port["name"]), number);
            ensure(published.contains(&pair), || {
                format!("its port {pair:?} is not among {published:?}")
            })?;
        }
        Ok(())
    }

    /// The source that a Service serves as it asks for.
    fn source_of(&self, service: &Value) -> Option<SourceFact> {
        let name = text(&service["metadata"]["labels"][SOURCE]);
        let owner = owner(service)?;
        let mut sources = self.services.iter();
        let source = sources.find(|source| owner["uid"] == source["metadata"]["uid"])?;
        let fact = SourceFact::of(source);
        let is_wanted = self.wish(&name, &fact) == Wish::Served(name_of(service).to_owned());
        (is_wanted && !fact.deleting && service["metadata"]["deletionTimestamp"].is_null())
            .then_some(fact)
    }
}

fn ports(object: &Value) -> impl Iterator<Item = &Value> {
    object["ports"].as_array().into_iter().flatten()
}
