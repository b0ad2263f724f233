//! Every name that users, dashboards and the Go program's objects share with us.

/// Opts a Service in.
pub const ENABLED: &str = "zen-lead.io/enabled";
/// Name of the leader Service.
pub const LEADER_SERVICE_NAME: &str = "zen-lead.io/leader-service-name";
/// Type of the leader Service.
pub const LEADER_SERVICE_TYPE: &str = "zen-lead.io/leader-service-type";
/// Annotations of the leader Service, as a JSON object of strings.
pub const LEADER_SERVICE_ANNOTATIONS: &str = "zen-lead.io/leader-service-annotations";
/// Labels of the leader Service, as a JSON object of strings.
pub const LEADER_SERVICE_LABELS: &str = "zen-lead.io/leader-service-labels";
/// Source ranges of a leader Service of type `LoadBalancer`: CIDRs, separated by commas.
pub const LEADER_SERVICE_SOURCE_RANGES: &str = "zen-lead.io/leader-service-source-ranges";
/// Whether an eligible leader is kept.
pub const STICKY: &str = "zen-lead.io/sticky";
/// Order of the candidates.
pub const STRATEGY: &str = "zen-lead.io/strategy";
/// How long a pod must have been Ready before it may become leader.
pub const MIN_READY_DURATION: &str = "zen-lead.io/min-ready-duration";
/// How long a leader that turned not Ready is kept.
pub const FAILOVER_MIN_DELAY: &str = "zen-lead.io/failover-min-delay";
/// Pod to hand over to, once.
pub const PREFERRED_LEADER: &str = "zen-lead.io/preferred-leader";
/// Whether nothing may move.
pub const PAUSED: &str = "zen-lead.io/paused";
/// Where the application says which pod leads: `label/<key>=<value>`, `lease/<name>` or
/// `lease/<namespace>/<name>`.
pub const FOLLOW: &str = "zen-lead.io/follow";
/// Name of the followers Service.
pub const FOLLOWERS_SERVICE_NAME: &str = "zen-lead.io/followers-service-name";
/// Every annotation by which a source is told what to do. None of them is ever on a leader Service.
pub const INPUTS: [&str; 14] = [
    ENABLED,
    LEADER_SERVICE_NAME,
    LEADER_SERVICE_TYPE,
    LEADER_SERVICE_ANNOTATIONS,
    LEADER_SERVICE_LABELS,
    LEADER_SERVICE_SOURCE_RANGES,
    STICKY,
    STRATEGY,
    MIN_READY_DURATION,
    FAILOVER_MIN_DELAY,
    PREFERRED_LEADER,
    PAUSED,
    FOLLOW,
    FOLLOWERS_SERVICE_NAME,
];
/// On a pod, as label or annotation: its rank for the strategy `priority`.
pub const PRIORITY: &str = "zen-lead.io/priority";

/// Prefix of every annotation and label that is ours.
pub const PREFIX: &str = "zen-lead.io/";
/// Prefix of the recommended labels, which say what belongs to which application.
pub const APP_PREFIX: &str = "app.kubernetes.io/";
/// Label on our objects: the name of the source Service.
pub const SOURCE_SERVICE: &str = "zen-lead.io/source-service";
/// Label on the followers Service and its slices: what they are for. Those of the leader have none.
pub const ROLE: &str = "zen-lead.io/role";
/// Value of [`ROLE`].
pub const FOLLOWERS: &str = "followers";
/// Label on our objects that names their manager.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label on our slices that keeps the native controllers away.
pub const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Value of both managed-by labels.
pub const MANAGER: &str = "zen-lead";
/// Label by which kube-proxy finds the slices of a Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label on the slices of a headless Service, and only on those.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// Annotation from which kube-proxy measures `network_programming_duration_seconds`.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Output on the leader Service: name of the leader, as the Go program's first versions call it.
pub const CURRENT_LEADER: &str = "zen-lead.io/current-leader";
/// Output on the leader Service: name of the leader.
pub const LEADER_POD_NAME: &str = "zen-lead.io/leader-pod-name";
/// Output on the leader Service: uid of the leader.
pub const LEADER_POD_UID: &str = "zen-lead.io/leader-pod-uid";
/// Output on the leader Service: when it became leader (RFC 3339).
pub const LAST_SWITCH_TIME: &str = "zen-lead.io/leader-last-switch-time";
/// Output on the leader Service: uid of the leader, kept while there is none.
pub const LAST_LEADER_POD_UID: &str = "zen-lead.io/last-leader-pod-uid";
/// Memory on the leader Service: the switchover that has been carried out, as `pod/uid`.
pub const HANDLED_SWITCHOVER: &str = "zen-lead.io/handled-switchover";
/// Memory on a slice: the value of `follow` by which its leader was published, if it was.
pub const LEADER_NAMED_BY: &str = "zen-lead.io/leader-named-by";
/// Memory on the leader Service: pods that were left for a disruption, and until when they are not
/// returned to.
pub const COOLING_DOWN: &str = "zen-lead.io/cooling-down";
/// Output on the leader Service: nodes of its source's pods that are about to go, or silent.
pub const AVOIDED_NODES: &str = "zen-lead.io/avoided-nodes";
/// Memory on the leader Service: which keys were mirrored from the source.
pub const MIRRORED: &str = "zen-lead.io/mirrored";

/// Finalizer by which the controller of a load balancer says that it has not taken it down yet.
pub const LOAD_BALANCER_CLEANUP: &str = "service.kubernetes.io/load-balancer-cleanup";

/// Ending of a leader Service's default name.
pub const LEADER_SUFFIX: &str = "-leader";

/// Manager of the slices that a selector makes.
pub const NATIVE_SLICE_MANAGER: &str = "endpointslice-controller.k8s.io";

/// Reason of an event; also what a `kubectl get events --field-selector reason=` finds.
pub mod reason {
    /// The leader Service was created.
    pub const LEADER_SERVICE_CREATED: &str = "LeaderServiceCreated";
    /// There was no leader, and there is one now.
    pub const LEADER_ROUTING_AVAILABLE: &str = "LeaderRoutingAvailable";
    /// The only event of a failover.
    pub const LEADER_CHANGED: &str = "LeaderChanged";
    /// The selector matches no pod.
    pub const NO_PODS_FOUND: &str = "NoPodsFound";
    /// Pods match, but none is eligible.
    pub const NO_READY_PODS: &str = "NoReadyPods";
    /// The application names no pod that could be followed.
    pub const NO_LEADER_TO_FOLLOW: &str = "NoLeaderToFollow";
    /// The application names several pods.
    pub const AMBIGUOUS_LEADER: &str = "AmbiguousLeader";
    /// A port of the Service is unknown to the leader.
    pub const PORT_RESOLUTION_FAILED: &str = "PortResolutionFailed";
    /// The Service cannot be a source.
    pub const INVALID_SERVICE: &str = "InvalidService";
    /// An annotation cannot be read.
    pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";
    /// The leader Service cannot have that name.
    pub const INVALID_LEADER_SERVICE_NAME: &str = "InvalidLeaderServiceName";
    /// Something that is not ours stands in the way, or beside our slices.
    pub const LEADER_SERVICE_CONFLICT: &str = "LeaderServiceConflict";
    /// There is no leader, and a pause forbids an election.
    pub const PAUSED: &str = "Paused";
    /// A failover is held back because there have been too many.
    pub const FAILOVER_BUDGET_EXCEEDED: &str = "FailoverBudgetExceeded";
    /// The API server refused a write.
    pub const WRITE_REFUSED: &str = "WriteRefused";
}
