//! Which pods the followers Service shows, and by which ports. Total and deterministic: the same pods in
//! any order give the same answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::desired::Followers;
use super::model::{EndpointPort, Pod, Protocol};

/// The API server's limit on the endpoints of one slice.
pub const FOLLOWERS_MAX: usize = 1_000;

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// What is to be shown.
    pub followers: Followers,
    /// How many pods fit, shown or not.
    pub fitting: usize,
    /// Pods that have another number for a port than most of them.
    pub odd: Vec<Odd>,
    /// Ports, by name and protocol, that not all pods have, each with the first pod that lacks it.
    pub partial: Vec<(PortKey, Arc<Pod>)>,
}

/// A pod that stays out, because its port has another number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The port.
    pub port: PortKey,
    /// The number that it has there.
    pub number: u16,
    /// The number that most pods have.
    pub usual: u16,
}

/// What a port is known by: its name and protocol.
pub type PortKey = (Arc<str>, Protocol);

/// How many pods have which number for a port.
type Votes = BTreeMap<PortKey, BTreeMap<u16, usize>>;

/// Chooses among eligible pods. All endpoints of a slice share its ports: a pod that has another number
/// for one of them than most pods stays out (of equally many the lower number counts), and a port that
/// one of the others does not have is left out.
#[must_use]
pub fn choose(
    mut eligible: Vec<Arc<Pod>>,
    resolve: impl Fn(&Pod) -> Vec<EndpointPort>,
) -> Selection {
    eligible.sort_by(|a, b| a.name.cmp(&b.name));
    let resolved: Vec<_> = eligible.iter().map(|pod| resolve(pod)).collect();
    let votes = votes(&resolved);
    let usual = |port: &EndpointPort| {
        let numbers = votes.get(&key(port))?;
        let most = numbers.iter().rev().max_by_key(|(_, votes)| **votes);
        most.map(|(number, _)| *number)
    };
    let mut choice = Selection::default();
    let mut kept: Vec<Vec<EndpointPort>> = Vec::new();
    for (pod, ports) in eligible.into_iter().zip(resolved) {
        let differing = ports.iter().find_map(|port| {
            let (number, usual) = (port.port?, usual(port)?);
            (number != usual).then(|| (key(port), number, usual))
        });
        if let Some((port, number, usual)) = differing {
            choice.odd.push(Odd {
                pod,
                port,
                number,
                usual,
            });
        } else {
            choice.followers.pods.push(pod);
            kept.push(ports);
        }
    }
    let lacks = |at: &usize, port: &EndpointPort| !kept[*at].contains(port);
    let mut ports: Vec<&EndpointPort> = Vec::new();
    for port in kept.iter().flatten() {
        if ports.iter().any(|known| key(known) == key(port)) {
            continue;
        }
        ports.push(port);
        match (0..kept.len()).find(|at| lacks(at, port)) {
            None => choice.followers.ports.push(port.clone()),
            Some(at) => {
                let pod = Arc::clone(&choice.followers.pods[at]);
                choice.partial.push((key(port), pod));
            }
        }
    }
    choice.fitting = choice.followers.pods.len();
    choice.followers.pods.truncate(FOLLOWERS_MAX);
    choice
}

fn votes(resolved: &[Vec<EndpointPort>]) -> Votes {
    let mut votes = Votes::new();
    for port in resolved.iter().flatten() {
        if let Some(number) = port.port {
            let numbers = votes.entry(key(port)).or_default();
            *numbers.entry(number).or_default() += 1;
        }
    }
    votes
}

fn key(port: &EndpointPort) -> PortKey {
    let name = port.name.clone();
    (name.unwrap_or_else(|| "".into()), port.protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::elect;
    use crate::logic::testkit::{Lab, PodSpec, pod, source};

    fn chosen(pods: impl IntoIterator<Item = PodSpec>, is_reversed: bool) -> Selection {
        let mut source = source("s");
        source["spec"]["ports"] = serde_json::json!([
            {"name": "http", "port": 80, "targetPort": "web"},
            {"name": "grpc", "port": 81, "targetPort": "grpc"},
            {"name": "fixed", "port": 82, "targetPort": 9000},
        ]);
        let snapshot = Lab::new(source, pods).snapshot();
        let ports = snapshot.source.expect("there").spec.ports.clone();
        let mut pods = snapshot.pods;
        if is_reversed {
            pods.reverse();
        }
        choose(pods, |pod| elect::resolve(&ports, pod).0)
    }

    fn summary(choice: &Selection) -> String {
        let name = |pod: &Arc<Pod>| pod.name.to_string();
        let names: Vec<_> = choice.followers.pods.iter().map(name).collect();
        let ports: Vec<_> = choice
            .followers
            .ports
            .iter()
            .map(|port| {
                let name = port.name.as_deref().unwrap_or_default();
                format!("{name}={}", port.port.unwrap_or_default())
            })
            .collect();
        let odd = choice.odd.iter().map(|odd| {
            let Odd {
                pod,
                port,
                number,
                usual,
            } = odd;
            format!("; {} has {number} for {}, not {usual}", pod.name, port.0)
        });
        let partial = choice.partial.iter();
        let partial = partial.map(|((port, _), pod)| format!("; {} lacks {port}", pod.name));
        let more: String = odd.chain(partial).collect();
        format!("{} by {}{more}", names.join("+"), ports.join(" "))
    }

    #[test]
    fn ports_are_those_that_all_resolve_alike() {
        let usual = [("web", 8080), ("grpc", 9090)];
        let other = [("web", 8081), ("grpc", 9090)];
        let short = [("web", 8080)];
        let spec = |name: &str, ports: &[(&str, u16)]| pod(name).ports(ports);
        for (pods, expected) in [
            (vec![], " by "),
            (
                vec![spec("a", &usual)],
                "a by http=8080 grpc=9090 fixed=9000",
            ),
            (
                vec![spec("c", &usual), spec("a", &usual), spec("b", &usual)],
                "a+b+c by http=8080 grpc=9090 fixed=9000",
            ),
            (
                vec![spec("a", &other), spec("b", &usual), spec("c", &usual)],
                "b+c by http=8080 grpc=9090 fixed=9000; a has 8081 for http, not 8080",
            ),
            // Of equally many the lower number.
            (
                vec![spec("a", &other), spec("b", &usual)],
                "b by http=8080 grpc=9090 fixed=9000; a has 8081 for http, not 8080",
            ),
            (
                vec![spec("a", &short), spec("b", &usual)],
                "a+b by http=8080 fixed=9000; a lacks grpc",
            ),
            (
                vec![spec("a", &usual), spec("b", &short), spec("c", &other)],
                "a+b by http=8080 fixed=9000; c has 8081 for http, not 8080; b lacks grpc",
            ),
            // A port that no pod has is nothing to agree on.
            (vec![spec("a", &short)], "a by http=8080 fixed=9000"),
        ] {
            let forth = chosen(pods.clone(), false);
            assert_eq!(summary(&forth), expected);
            assert_eq!(chosen(pods, true), forth, "in any order");
        }
    }

    #[test]
    fn a_slice_holds_a_thousand() {
        let pods = (0..1_003).map(|number| pod(&format!("p-{number:04}")));
        let choice = chosen(pods, true);
        assert_eq!(
            (choice.fitting, choice.followers.pods.len()),
            (1_003, FOLLOWERS_MAX)
        );
        assert_eq!(&*choice.followers.pods[999].name, "p-0999");
    }
}
