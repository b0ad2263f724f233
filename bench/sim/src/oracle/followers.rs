//! What a followers Service and its slices have to look like, once there is peace.

use serde_json::Value;

use super::{Cluster, SERVICE, SOURCE, ensure, owner, uid};
use crate::claims::is_for_followers;
use crate::event::name_of;
use crate::facts::{PodFact, SourceFact, text};

impl Cluster<'_> {
    /// The followers Service of a source that is served: the one that is asked for, or none.
    pub(super) fn check_followers(
        &self,
        name: &str,
        source: &SourceFact,
        all: &[&Value],
        leader: &Value,
    ) -> Result<(), String> {
        let ours: Vec<&&Value> = all
            .iter()
            .filter(|service| is_for_followers(service))
            .collect();
        let asked = source.setting("followers-service-name");
        let wanted = asked.filter(|asked| !asked.contains('_'));
        if wanted.is_none() && asked.is_some() {
            // It stays as it was.
            return ensure(ours.len() <= 1, || "several followers Services".into());
        }
        let names: Vec<&str> = ours.iter().map(|service| name_of(service)).collect();
        let Some(wanted) = wanted else {
            ensure(names.is_empty(), || {
                format!("followers Services are left over: {names:?}")
            })?;
            let is_left = |slice: &&Value| self.is_followers_slice(slice, name);
            let left: Vec<&str> = self.slices.iter().filter(is_left).map(name_of).collect();
            return ensure(left.is_empty(), || {
                format!("slices of followers are left over: {left:?}")
            });
        };
        ensure(names == [wanted], || {
            format!("followers Services {names:?} instead of {wanted}")
        })?;
        let service = *ours[0];
        let plain = |service: &Value| -> Vec<Value> {
            let ports = service["spec"]["ports"].as_array().into_iter().flatten();
            let keys = ["name", "port", "protocol", "targetPort", "appProtocol"];
            ports
                .map(|port| keys.iter().map(|key| port[*key].clone()).collect())
                .collect()
        };
        ensure(plain(service) == plain(leader), || {
            format!("{wanted} has other ports than the leader Service")
        })?;
        ensure(service["spec"]["selector"].is_null(), || {
            format!("{wanted} has a selector")
        })?;
        let slices = self.slices.iter().filter(|slice| {
            self.is_followers_slice(slice, name) && slice["metadata"]["labels"][SERVICE] == wanted
        });
        let slices: Vec<&Value> = slices.collect();
        let mut families: Vec<String> = slices
            .iter()
            .map(|slice| text(&slice["addressType"]))
            .collect();
        let mut expected = source.families.clone();
        families.sort();
        expected.sort();
        ensure(families == expected, || {
            format!("slices of {wanted}: {families:?} instead of {expected:?}")
        })?;
        slices
            .iter()
            .try_for_each(|slice| self.check_followers_slice(source, slice, service, leader))
    }

    fn is_followers_slice(&self, slice: &Value, source: &str) -> bool {
        self.judge.made(slice)
            && is_for_followers(slice)
            && slice["metadata"]["labels"][SOURCE] == source
            && self.owner_is_ours(slice)
    }

    /// It shows every eligible pod but the leader, in the order of their names.
    fn check_followers_slice(
        &self,
        source: &SourceFact,
        slice: &Value,
        service: &Value,
        leader: &Value,
    ) -> Result<(), String> {
        let who = name_of(slice);
        let is_owned = owner(slice).is_some_and(|owner| owner["uid"] == uid(service));
        ensure(is_owned, || {
            format!("slice {who} is not owned by its Service")
        })?;
        let family = text(&slice["addressType"]);
        let leads = |pod: &PodFact| {
            let mut slices = self.slices.iter();
            slices.any(|slice| {
                slice["metadata"]["labels"][SERVICE] == name_of(leader)
                    && self.judge.made(slice)
                    && slice["endpoints"][0]["targetRef"]["uid"] == *pod.uid
            })
        };
        let mut expected: Vec<(String, String)> = self
            .pods
            .iter()
            .filter(|pod| pod.is_eligible(source) && !leads(pod))
            .filter_map(|pod| Some((pod.name.clone(), pod.ip(&family)?.clone())))
            .collect();
        expected.sort();
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let shown: Vec<(String, String)> = endpoints
            .map(|endpoint| {
                let name = text(&endpoint["targetRef"]["name"]);
                (name, text(&endpoint["addresses"][0]))
            })
            .collect();
        ensure(shown == expected, || {
            format!("slice {who} shows {shown:?}, and the followers are {expected:?}")
        })
    }
}
