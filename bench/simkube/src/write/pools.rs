//! Virtual addresses and node ports: who has which, and which is next.
//!
//! The real allocators pick at random; here a cursor goes round, so that runs can be repeated and a
//! freed address is not given out again at once.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use k8s_openapi::api::core::v1::ServiceSpec;
use serde_json::json;

use crate::api::kind::Kind;
use crate::api::status::ApiError;
use crate::api::violation::Violations;
use crate::rules::{families, service};

/// Addresses of a family: the /16 and /112 that kubeadm would choose. The first is the API server's own.
const ADDRESSES: RangeInclusive<u16> = 2..=u16::MAX - 1;

#[derive(Clone, Debug)]
pub(crate) struct Pools {
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
    ranges: Ranges,
}

#[derive(Clone, Debug)]
struct Ranges {
    ports: RangeInclusive<u16>,
    next_port: u16,
    next_v4: u16,
    next_v6: u16,
}

impl Pools {
    pub(crate) fn new(ports: RangeInclusive<u16>) -> Self {
        let (next_port, next) = (*ports.start(), *ADDRESSES.start());
        let ranges = Ranges {
            ports,
            next_port,
            next_v4: next,
            next_v6: next,
        };
        Self {
            addresses: BTreeSet::new(),
            ports: BTreeSet::new(),
            ranges,
        }
    }

    /// Takes what a stored Service holds out of the pools.
    pub(crate) fn hold(&mut self, spec: &ServiceSpec) {
        self.addresses.extend(held_addresses(spec));
        self.ports.extend(held_ports(spec));
    }

    /// Gives back what a Service held.
    pub(crate) fn release(&mut self, spec: &ServiceSpec) {
        for ip in held_addresses(spec) {
            self.addresses.remove(&ip);
        }
        for port in held_ports(spec) {
            self.ports.remove(&port);
        }
    }

    /// Fills in addresses and node ports of a new version. Nothing is held before it is stored.
    pub(crate) fn assign(
        &mut self,
        name: &str,
        new: &mut ServiceSpec,
        old: Option<&ServiceSpec>,
    ) -> Result<(), ApiError> {
        let kind = service::kind(new);
        if kind != "ExternalName" && !service::is_headless(new) {
            self.assign_addresses(name, new, old)?;
        }
        if matches!(service::kind(new), "NodePort" | "LoadBalancer") {
            self.assign_ports(name, new, old)?;
        }
        Ok(())
    }

    /// An address for each family that has none yet; those that were asked for must be free.
    fn assign_addresses(
        &mut self,
        name: &str,
        new: &mut ServiceSpec,
        old: Option<&ServiceSpec>,
    ) -> Result<(), ApiError> {
        let mine: Vec<IpAddr> = old.map(held_addresses).unwrap_or_default();
        let mut ips = families::cluster_ips(new).to_vec();
        for (at, family) in families::ip_families(new).iter().enumerate() {
            let wanted = ips.get(at).filter(|ip| !ip.is_empty()).cloned();
            let Some(wanted) = wanted else {
                let free = self.next_address(family).ok_or_else(|| {
                    ApiError::internal(&format!(
                        "failed to allocate a serviceIP for Service {name:?}: range is full"
                    ))
                })?;
                ips.truncate(at);
                ips.push(free.to_string());
                continue;
            };
            let ip: Option<IpAddr> = wanted.parse().ok();
            let problem = match ip {
                Some(ip) if mine.contains(&ip) => None,
                Some(ip) if !in_range(ip) => {
                    Some("the provided network does not match the current range")
                }
                Some(ip) if self.addresses.contains(&ip) => {
                    Some("provided IP is already allocated")
                }
                _ => None,
            };
            if let Some(problem) = problem {
                let mut bad = Violations::default();
                let text = format!("failed to allocate IP {wanted}: {problem}");
                bad.invalid("spec.clusterIPs", json!(ips), text);
                bad.into_result(Kind::Service, name)?;
            }
        }
        new.cluster_ip = ips.first().cloned();
        new.cluster_ips = (!ips.is_empty()).then_some(ips);
        Ok(())
    }

    /// A node port for each port that needs one, and one for health checks of local traffic.
    fn assign_ports(
        &mut self,
        name: &str,
        new: &mut ServiceSpec,
        old: Option<&ServiceSpec>,
    ) -> Result<(), ApiError> {
        let mine: Vec<u16> = old.map(held_ports).unwrap_or_default();
        let allocate = service::needs_node_ports(new);
        let all = new.ports.get_or_insert_default();
        for at in 0..all.len() {
            if let Some(wanted) = all[at].node_port {
                let problem = match u16::try_from(wanted) {
                    Ok(port) if mine.contains(&port) => None,
                    Ok(port) if self.ranges.ports.contains(&port) => self
                        .ports
                        .contains(&port)
                        .then(|| "provided port is already allocated".into()),
                    _ => Some(self.ranges.outside()),
                };
                if let Some(problem) = problem {
                    let mut bad = Violations::default();
                    bad.invalid(format!("spec.ports[{at}].nodePort"), wanted, problem);
                    bad.into_result(Kind::Service, name)?;
                }
            } else if allocate {
                // One number for TCP and UDP of the same port, as the real one does.
                let twin = all
                    .iter()
                    .find(|p| p.port == all[at].port && p.node_port.is_some());
                let number = if let Some(number) = twin.and_then(|p| p.node_port) {
                    number
                } else {
                    let taken: Vec<i32> = all.iter().filter_map(|p| p.node_port).collect();
                    self.next_port(&taken)?
                };
                all[at].node_port = Some(number);
            }
        }
        let local = new.external_traffic_policy.as_deref() == Some("Local");
        if service::kind(new) == "LoadBalancer" && local && new.health_check_node_port.is_none() {
            let taken = service::node_ports(new);
            new.health_check_node_port = Some(self.next_port(&taken)?);
        }
        Ok(())
    }

    /// Round the whole range once at most; `None` when all are taken.
    fn next_address(&mut self, family: &str) -> Option<IpAddr> {
        let v4 = family == "IPv4";
        for _ in ADDRESSES {
            let cursor = if v4 {
                &mut self.ranges.next_v4
            } else {
                &mut self.ranges.next_v6
            };
            let number = *cursor;
            *cursor = if number >= *ADDRESSES.end() {
                *ADDRESSES.start()
            } else {
                number + 1
            };
            let [high, low] = number.to_be_bytes();
            let ip = if v4 {
                IpAddr::V4(Ipv4Addr::new(10, 96, high, low))
            } else {
                IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, number))
            };
            if !self.addresses.contains(&ip) {
                return Some(ip);
            }
        }
        None
    }

    /// The same for ports; `taken` are those that this very object will hold.
    fn next_port(&mut self, taken: &[i32]) -> Result<i32, ApiError> {
        for _ in self.ranges.ports.clone() {
            let port = self.ranges.next_port;
            self.ranges.next_port = if port >= *self.ranges.ports.end() {
                *self.ranges.ports.start()
            } else {
                port + 1
            };
            if !self.ports.contains(&port) && !taken.contains(&i32::from(port)) {
                return Ok(i32::from(port));
            }
        }
        Err(ApiError::internal(
            "failed to allocate a nodePort: range is full",
        ))
    }
}

impl Ranges {
    fn outside(&self) -> String {
        format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            self.ports.start(),
            self.ports.end()
        )
    }
}

/// Inside the ranges that the addresses come from.
fn in_range(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[..2] == [10, 96],
        IpAddr::V6(v6) => v6.segments()[..7] == [0xfd00, 0x10, 0x96, 0, 0, 0, 0],
    }
}

fn held_addresses(spec: &ServiceSpec) -> Vec<IpAddr> {
    families::cluster_ips(spec)
        .iter()
        .filter_map(|ip| ip.parse().ok())
        .collect()
}

fn held_ports(spec: &ServiceSpec) -> Vec<u16> {
    let health = spec.health_check_node_port;
    let all = service::node_ports(spec).into_iter().chain(health);
    all.filter_map(|p| u16::try_from(p).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::addresses;

    #[test]
    fn addresses_go_round_and_come_back() {
        let mut pools = Pools::new(30_000..=30_002);
        let first = pools.next_address("IPv4").expect("free");
        assert_eq!(first.to_string(), "10.96.0.2");
        assert_eq!(
            addresses::family(pools.next_address("IPv6").expect("free")),
            "IPv6"
        );
        assert!(in_range(first));
        let ports: Vec<i32> = (0..3)
            .map(|_| pools.next_port(&[]).expect("free"))
            .collect();
        assert_eq!(ports, [30_000, 30_001, 30_002]);
        pools.ports.extend([30_000, 30_001, 30_002]);
        assert_eq!(pools.next_port(&[]).expect_err("full").code, 500);
    }
}
