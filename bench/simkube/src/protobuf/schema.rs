//! Field numbers of the kinds that are served as protobuf, from the `generated.proto` files of `k8s.io/api`
//! and `k8s.io/apimachinery`: what clients of pods, Services, slices, nodes and Leases read.

mod pod;

use super::Form::{
    Flag, FlagIf, IntOrText, Map, Message, MessageIf, Messages, MicroTimeIf, Number, NumberIf,
    Quantities, Raw, Text, TextIf, Texts, Time, TimeIf,
};
use super::Schema;
use crate::api::kind::Kind;

/// The message of a kind, if there is one here.
pub(super) fn of(kind: Kind) -> Option<&'static Schema> {
    Some(match kind {
        Kind::Pod => pod::POD,
        Kind::Service => SERVICE,
        Kind::EndpointSlice => SLICE,
        Kind::Node => NODE,
        Kind::Lease => LEASE,
        _ => return None,
    })
}

pub(super) const TYPE_META: &Schema = &[("apiVersion", 1, Text), ("kind", 2, Text)];

pub(super) const LIST_META: &Schema = &[
    ("selfLink", 1, Text),
    ("resourceVersion", 2, Text),
    ("continue", 3, Text),
    ("remainingItemCount", 4, NumberIf),
];

pub(super) const STATUS: &Schema = &[
    ("metadata", 1, Message(LIST_META)),
    ("status", 2, Text),
    ("message", 3, Text),
    ("reason", 4, Text),
    ("details", 5, MessageIf(DETAILS)),
    ("code", 6, Number),
];

const DETAILS: &Schema = &[
    ("name", 1, Text),
    ("group", 2, Text),
    ("kind", 3, Text),
    ("causes", 4, Messages(CAUSE)),
    ("retryAfterSeconds", 5, Number),
    ("uid", 6, Text),
];

const CAUSE: &Schema = &[
    ("reason", 1, Text),
    ("message", 2, Text),
    ("field", 3, Text),
];

pub(super) const META: &Schema = &[
    ("name", 1, Text),
    ("generateName", 2, Text),
    ("namespace", 3, Text),
    ("selfLink", 4, Text),
    ("uid", 5, Text),
    ("resourceVersion", 6, Text),
    ("generation", 7, Number),
    ("creationTimestamp", 8, Time),
    ("deletionTimestamp", 9, TimeIf),
    ("deletionGracePeriodSeconds", 10, NumberIf),
    ("labels", 11, Map),
    ("annotations", 12, Map),
    ("ownerReferences", 13, Messages(OWNER)),
    ("finalizers", 14, Texts),
    ("managedFields", 17, Messages(MANAGED)),
];

pub(super) const NAME: &Schema = &[("name", 1, Text)];

const OWNER: &Schema = &[
    ("kind", 1, Text),
    ("name", 3, Text),
    ("uid", 4, Text),
    ("apiVersion", 5, Text),
    ("controller", 6, FlagIf),
    ("blockOwnerDeletion", 7, FlagIf),
];

const MANAGED: &Schema = &[
    ("manager", 1, Text),
    ("operation", 2, Text),
    ("apiVersion", 3, Text),
    ("time", 4, TimeIf),
    ("fieldsType", 6, Text),
    ("fieldsV1", 7, Raw),
    ("subresource", 8, Text),
];

const SERVICE: &Schema = &[
    ("metadata", 1, Message(META)),
    ("spec", 2, Message(SERVICE_SPEC)),
    ("status", 3, Message(SERVICE_STATUS)),
];

const SERVICE_SPEC: &Schema = &[
    ("ports", 1, Messages(SERVICE_PORT)),
    ("selector", 2, Map),
    ("clusterIP", 3, Text),
    ("type", 4, Text),
    ("externalIPs", 5, Texts),
    ("sessionAffinity", 7, Text),
    ("loadBalancerIP", 8, Text),
    ("loadBalancerSourceRanges", 9, Texts),
    ("externalName", 10, Text),
    ("externalTrafficPolicy", 11, Text),
    ("healthCheckNodePort", 12, Number),
    ("publishNotReadyAddresses", 13, Flag),
    (
        "sessionAffinityConfig",
        14,
        MessageIf(&[("clientIP", 1, MessageIf(&[("timeoutSeconds", 1, NumberIf)]))]),
    ),
    ("ipFamilyPolicy", 17, TextIf),
    ("clusterIPs", 18, Texts),
    ("ipFamilies", 19, Texts),
    ("allocateLoadBalancerNodePorts", 20, FlagIf),
    ("loadBalancerClass", 21, TextIf),
    ("internalTrafficPolicy", 22, TextIf),
    ("trafficDistribution", 23, TextIf),
];

const SERVICE_PORT: &Schema = &[
    ("name", 1, Text),
    ("protocol", 2, Text),
    ("port", 3, Number),
    ("targetPort", 4, IntOrText),
    ("nodePort", 5, Number),
    ("appProtocol", 6, TextIf),
];

const SERVICE_STATUS: &Schema = &[
    (
        "loadBalancer",
        1,
        Message(&[("ingress", 1, Messages(INGRESS))]),
    ),
    ("conditions", 2, Messages(CONDITION)),
];

const INGRESS: &Schema = &[
    ("ip", 1, Text),
    ("hostname", 2, Text),
    ("ipMode", 3, TextIf),
];

const CONDITION: &Schema = &[
    ("type", 1, Text),
    ("status", 2, Text),
    ("observedGeneration", 3, Number),
    ("lastTransitionTime", 4, Time),
    ("reason", 5, Text),
    ("message", 6, Text),
];

const SLICE: &Schema = &[
    ("metadata", 1, Message(META)),
    ("endpoints", 2, Messages(ENDPOINT)),
    ("ports", 3, Messages(ENDPOINT_PORT)),
    ("addressType", 4, Text),
];

const ENDPOINT: &Schema = &[
    ("addresses", 1, Texts),
    (
        "conditions",
        2,
        Message(&[
            ("ready", 1, FlagIf),
            ("serving", 2, FlagIf),
            ("terminating", 3, FlagIf),
        ]),
    ),
    ("hostname", 3, TextIf),
    ("targetRef", 4, MessageIf(REFERENCE)),
    ("deprecatedTopology", 5, Map),
    ("nodeName", 6, TextIf),
    ("zone", 7, TextIf),
    (
        "hints",
        8,
        MessageIf(&[
            ("forZones", 1, Messages(NAME)),
            ("forNodes", 2, Messages(NAME)),
        ]),
    ),
];

const REFERENCE: &Schema = &[
    ("kind", 1, Text),
    ("namespace", 2, Text),
    ("name", 3, Text),
    ("uid", 4, Text),
    ("apiVersion", 5, Text),
    ("resourceVersion", 6, Text),
    ("fieldPath", 7, Text),
];

const ENDPOINT_PORT: &Schema = &[
    ("name", 1, TextIf),
    ("protocol", 2, TextIf),
    ("port", 3, NumberIf),
    ("appProtocol", 4, TextIf),
];

const LEASE: &Schema = &[
    ("metadata", 1, Message(META)),
    (
        "spec",
        2,
        Message(&[
            ("holderIdentity", 1, TextIf),
            ("leaseDurationSeconds", 2, NumberIf),
            ("acquireTime", 3, MicroTimeIf),
            ("renewTime", 4, MicroTimeIf),
            ("leaseTransitions", 5, NumberIf),
            ("strategy", 6, TextIf),
            ("preferredHolder", 7, TextIf),
        ]),
    ),
];

const NODE: &Schema = &[
    ("metadata", 1, Message(META)),
    (
        "spec",
        2,
        Message(&[
            ("podCIDR", 1, Text),
            ("providerID", 3, Text),
            ("unschedulable", 4, Flag),
            ("taints", 5, Messages(TAINT)),
            ("podCIDRs", 7, Texts),
        ]),
    ),
    ("status", 3, Message(NODE_STATUS)),
];

const TAINT: &Schema = &[
    ("key", 1, Text),
    ("value", 2, Text),
    ("effect", 3, Text),
    ("timeAdded", 4, TimeIf),
];

const NODE_STATUS: &Schema = &[
    ("capacity", 1, Quantities),
    ("allocatable", 2, Quantities),
    ("phase", 3, Text),
    ("conditions", 4, Messages(NODE_CONDITION)),
    (
        "addresses",
        5,
        Messages(&[("type", 1, Text), ("address", 2, Text)]),
    ),
];

const NODE_CONDITION: &Schema = &[
    ("type", 1, Text),
    ("status", 2, Text),
    ("lastHeartbeatTime", 3, Time),
    ("lastTransitionTime", 4, Time),
    ("reason", 5, Text),
    ("message", 6, Text),
];
