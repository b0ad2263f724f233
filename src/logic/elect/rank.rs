//! The order of the candidates.

use std::cmp::Reverse;

use super::Rules;
use super::ports::resolve;
use crate::logic::model::{Pod, Uid};
use crate::logic::settings::Strategy;

/// Lower is better. Names are unique in a namespace, so no two pods compare equal.
pub(super) type Rank<'a> = (bool, Reverse<usize>, i128, i128, &'a str);

pub(super) fn rank<'a>(rules: &Rules<'_>, pod: &'a Pod, last_resort: bool) -> Rank<'a> {
    let resolved = resolve(rules.ports, pod).0.len();
    let age = pod.created.as_nanosecond();
    let (first, then) = match rules.strategy {
        Strategy::Oldest => (age, 0),
        Strategy::Newest => (-age, 0),
        Strategy::Random => (rendezvous(&pod.uid, rules.service).into(), 0),
        // No cluster has more Services than fit.
        Strategy::NodeSpread => (rules.others.on(pod.node.as_ref()) as i128, age),
        Strategy::Priority => (-i128::from(priority(pod).unwrap_or_default()), age),
    };
    (last_resort, Reverse(resolved), first, then, &pod.name)
}

/// The pod's rank for the strategy `priority`, 0 if it has none; the text if that is no integer,
/// which counts as 0 too.
pub fn priority(pod: &Pod) -> Result<i64, &str> {
    match pod.priority.as_deref() {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| text),
    }
}

/// Rendezvous hash (FNV-1a, then a finalizer that spreads close inputs): the pod with the lowest
/// value leads, and another pod's coming or going changes nothing for the rest.
fn rendezvous(pod: &Uid, service: &Uid) -> u64 {
    let (pod, service) = (pod.to_string(), service.to_string());
    let bytes = pod.bytes().chain([0]).chain(service.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
