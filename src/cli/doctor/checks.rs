//! What the doctor makes of the API server's answers. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::report::Judged;
use super::super::status::age;
use super::follow;
use crate::logic::snapshot::{Owned, Role};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Fine,
    Note,
    Wrong,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    weight: Weight,
    text: String,
}

impl Finding {
    pub(super) fn fine(text: impl Into<String>) -> Self {
        Self::new(Weight::Fine, text)
    }

    /// Worth knowing.
    pub(super) fn note(text: impl Into<String>) -> Self {
        Self::new(Weight::Note, text)
    }

    /// A user has to act.
    pub(super) fn wrong(text: impl Into<String>) -> Self {
        Self::new(Weight::Wrong, text)
    }

    fn new(weight: Weight, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { weight, text }
    }

    pub(super) fn is_wrong(&self) -> bool {
        self.weight == Weight::Wrong
    }
}

/// Verbs on a resource.
pub(super) struct Right {
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    pub(super) verbs: &'static [&'static str],
    /// The controller's; else those of the user of the commands.
    is_controllers: bool,
}

impl Right {
    /// Whether it matters for the controller's account, or for a user.
    pub(super) fn is_for(&self, controller: bool) -> bool {
        self.is_controllers == controller
    }

    const fn of(
        is_controllers: bool,
        group: &'static str,
        resource: &'static str,
        verbs: &'static [&'static str],
    ) -> Self {
        Self {
            group,
            resource,
            verbs,
            is_controllers,
        }
    }
}

const ALL: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
const READ: &[&str] = &["list", "watch"];

/// What the controller needs, and what the commands need of their user.
pub(super) const RIGHTS: [Right; 8] = [
    Right::of(true, "", "services", ALL),
    Right::of(true, "discovery.k8s.io", "endpointslices", ALL),
    Right::of(true, "", "pods", READ),
    Right::of(true, "", "events", &["create", "patch"]),
    Right::of(false, "", "services", &["list", "watch", "patch"]),
    Right::of(false, "discovery.k8s.io", "endpointslices", READ),
    Right::of(false, "", "pods", READ),
    Right::of(false, "", "events", &["list"]),
];

pub(super) fn rights(user: Option<&str>, allowed: usize, denied: &[String]) -> Finding {
    let denied_text = denied.join(", ");
    match user {
        None if denied.is_empty() => Finding::fine("you may do all that the commands need"),
        None => Finding::note(format!(
            "you may not {denied_text}: commands that need it will fail (switchover and pause patch services)"
        )),
        Some(user) if denied.is_empty() => Finding::fine(format!(
            "{user} has all {allowed} rights that the controller needs here"
        )),
        Some(user) => Finding::wrong(format!(
            "{user} may not {denied_text}, which the controller needs"
        )),
    }
}

/// Namespace in which the manifests install the controller.
pub(super) const NAMESPACE: &str = "zen-lead";
/// Name of the Lease unless the controller is told another one.
pub(super) const LEASE: &str = "zen-lead-controller-leader-election";

/// What the controller may do with its Lease, and whether that goes by the name.
pub(super) const LEASE_RIGHTS: [(&str, bool); 5] = [
    ("create", false),
    ("get", true),
    ("list", true),
    ("watch", true),
    ("patch", true),
];

/// The namespace of a service account, which is the one that the controller's Lease is in.
pub(super) fn namespace_of(user: &str) -> Option<&str> {
    let account = user.strip_prefix("system:serviceaccount:")?;
    account.split_once(':').map(|(namespace, _)| namespace)
}

pub(super) fn lease_rights(user: &str, namespace: &str, denied: &[&str]) -> Finding {
    if denied.is_empty() {
        return Finding::fine(format!(
            "{user} has the {} rights that it needs on the Lease {namespace}/{LEASE}",
            LEASE_RIGHTS.len()
        ));
    }
    Finding::wrong(format!(
        "{user} may not {} the Lease {namespace}/{LEASE}: without that it holds no Lease for long, \
         and without the Lease it writes nothing (unless it was given another --leader-election-id)",
        denied.join(", ")
    ))
}

/// Whether a server of that minor version streams lists as it comes: 1.32 does, 1.33 had it switched
/// off again, later ones do.
fn streams(minor: u32) -> bool {
    minor == 32 || minor >= 34
}

pub(super) fn version(version: &Value, address: &str) -> Finding {
    let git = version["gitVersion"]
        .as_str()
        .unwrap_or("of unknown version");
    let minor = version["minor"].as_str().unwrap_or_default();
    let minor: String = minor.chars().take_while(char::is_ascii_digit).collect();
    let text = format!("API server {git} at {address}");
    match minor.parse::<u32>() {
        Ok(minor) if !streams(minor) => Finding::note(format!(
            "{text}: without streaming lists, zen-lead lists page by page"
        )),
        _ => Finding::fine(text),
    }
}

/// Whether a controller is at work, by the Leases of that name. Several are fine: each may have
/// namespaces of its own.
pub(super) fn controller(leases: &Value, now: jiff::Timestamp) -> Finding {
    let all = leases["items"].as_array().into_iter().flatten();
    let judged: Vec<_> = all.map(|lease| holder(lease, now)).collect();
    if judged.is_empty() {
        return Finding::note(
            "no Lease of a controller: none has run here, or it was given another --leader-election-id",
        );
    }
    let at_work: Vec<&str> = judged
        .iter()
        .filter_map(|one| one.as_deref().ok())
        .collect();
    if at_work.is_empty() {
        let whys: Vec<&str> = judged
            .iter()
            .filter_map(|one| one.as_ref().err().map(String::as_str))
            .collect();
        return Finding::wrong(format!("no controller is at work: {}", whys.join("; ")));
    }
    Finding::fine(format!(
        "at work: the controller {}",
        at_work.join(", and ")
    ))
}

/// The holder of a Lease, or why it has none.
fn holder(lease: &Value, now: jiff::Timestamp) -> Result<String, String> {
    let namespace = lease["metadata"]["namespace"].as_str().unwrap_or_default();
    let spec = &lease["spec"];
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    if holder.is_empty() {
        return Err(format!("the Lease in {namespace} was released"));
    }
    // What follows tells one process from another, and people nothing.
    let pod = holder.split('_').next().unwrap_or_default();
    let renewed = spec["renewTime"].as_str().unwrap_or_default();
    let duration = spec["leaseDurationSeconds"].as_i64().unwrap_or_default();
    let silent = renewed
        .parse::<jiff::Timestamp>()
        .map_or(i64::MAX, |renewed| now.duration_since(renewed).as_secs());
    // The clocks of two machines may differ; a holder renews several times within its duration.
    if silent > duration.saturating_mul(5).max(60) {
        let since = age(renewed, now);
        return Err(format!(
            "{pod} in {namespace} was last heard of {since} ago"
        ));
    }
    Ok(format!("{pod} in {namespace}"))
}

/// What is wrong with a source, or left of one.
pub(super) fn source(judged: &Judged) -> Vec<Finding> {
    let (report, key) = (&judged.report, &judged.snapshot.key);
    let about = |text: &str| format!("Service {key}: {text}");
    let mut findings = Vec::new();
    if !judged.is_wanted {
        let both = [Role::Leader, Role::Followers].map(|role| judged.snapshot.own(role));
        let services = both.into_iter().flat_map(Owned::services);
        let names = services.map(|own| format!("Service {}", own.metadata.name));
        let slices = both.into_iter().flat_map(Owned::slices);
        let names = names.chain(slices.map(|own| format!("EndpointSlice {}", own.metadata.name)));
        let names: Vec<String> = names.collect();
        let text = format!(
            "left over: {}; a controller at work removes them",
            names.join(", ")
        );
        findings.push(Finding::wrong(about(&text)));
    }
    findings.extend(
        report
            .problems
            .iter()
            .map(|problem| Finding::wrong(about(problem))),
    );
    if let Some(pending) = &report.pending {
        let text = if report.guarded || report.refused {
            pending.clone()
        } else {
            format!("{pending}; if that stays so, no controller is at work")
        };
        findings.push(Finding::wrong(about(&text)));
    }
    if report.paused {
        findings.push(Finding::note(about("paused, there will be no failover")));
    }
    // Where the application decides, no other pod follows by itself.
    let is_elected = report.follow.is_none();
    if is_elected && report.leader.is_some() && report.next.is_none() && !report.paused {
        findings.push(Finding::note(about("no pod could follow the leader")));
    }
    findings.extend(follow::following(judged).map(Finding::wrong));
    findings.extend(waypoint(judged).map(|text| Finding::note(about(&text))));
    findings
}

/// Label by which Istio's ambient mode sends a Service's traffic through a waypoint.
const WAYPOINT: &str = "istio.io/use-waypoint";

/// A source whose traffic passes a waypoint, with its policies, while the leader's does not.
fn waypoint(judged: &Judged) -> Option<String> {
    let source = judged.snapshot.source.as_ref()?;
    let wanted = source.metadata.labels.get(WAYPOINT)?;
    let name = judged.report.leader_service.as_ref()?;
    let leader = judged.snapshot.service(name)?;
    leader.metadata.labels.get(WAYPOINT).is_none().then(|| {
        format!(
            "its label {WAYPOINT} is not on {name}: traffic to the leader passes no waypoint. The \
             annotation zen-lead.io/leader-service-labels: '{{\"{WAYPOINT}\":\"{wanted}\"}}' puts it there"
        )
    })
}

/// How many sources there are.
pub(super) fn count(judged: &[Judged], place: &str) -> Finding {
    let wanted = judged.iter().filter(|judged| judged.is_wanted);
    let led = wanted
        .clone()
        .filter(|judged| judged.report.leader.is_some());
    let (wanted, led) = (wanted.count(), led.count());
    Finding::fine(format!(
        "{wanted} opted in, {led} with a leader, in {place}"
    ))
}

/// Slices of others that are attached to a leader Service.
pub(super) fn foreign_slices(judged: &[Judged], slices: &Value) -> Vec<Finding> {
    let names: BTreeSet<(&str, &str)> = judged
        .iter()
        .filter_map(|judged| {
            let report = &judged.report;
            Some((&*report.namespace, report.leader_service.as_deref()?))
        })
        .collect();
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    let all = slices["items"].as_array().into_iter().flatten();
    let found = all.filter_map(|slice| {
        let meta = &slice["metadata"];
        let namespace = text(&meta["namespace"]);
        let service = text(&meta["labels"][crate::logic::well_known::SERVICE_NAME]);
        names.contains(&(&*namespace, &*service)).then(|| {
            Finding::wrong(format!(
                "EndpointSlice {namespace}/{} is not managed by zen-lead, but is attached to {service} and may add endpoints",
                text(&meta["name"])
            ))
        })
    });
    found.collect()
}

/// Data planes that are known by the name of their `DaemonSet`.
const PROXIES: [(&str, &str); 6] = [
    ("kube-proxy", "kube-proxy"),
    ("cilium", "Cilium"),
    ("calico-node", "Calico"),
    ("kube-router", "kube-router"),
    ("antrea-agent", "Antrea"),
    ("ovnkube-node", "OVN-Kubernetes"),
];

pub(super) fn proxy(daemons: Option<&Value>) -> Finding {
    let Some(daemons) = daemons else {
        return Finding::note(
            "what routes Services cannot be looked at (DaemonSets of kube-system)",
        );
    };
    let all = daemons["items"].as_array().into_iter().flatten();
    let names: Vec<&str> = all
        .filter_map(|one| one["metadata"]["name"].as_str())
        .collect();
    let known = PROXIES.iter().filter(|(daemon, _)| names.contains(daemon));
    let known: Vec<&str> = known.map(|(_, name)| *name).collect();
    if known.is_empty() {
        return Finding::note(
            "no known Service proxy among the DaemonSets of kube-system; some distributions build it into the node agent",
        );
    }
    Finding::fine(format!("Services are routed by {}", known.join(" and ")))
}

/// A mesh that injects its sidecars into this namespace.
pub(super) fn mesh(namespace: &Value) -> Option<Finding> {
    let meta = &namespace["metadata"];
    let istio = meta["labels"]["istio-injection"] == "enabled"
        || meta["labels"]["istio.io/rev"].is_string()
        || meta["labels"]["istio.io/dataplane-mode"].is_string();
    let linkerd = meta["annotations"]["linkerd.io/inject"] == "enabled";
    let name = match (istio, linkerd) {
        (true, _) => "Istio",
        (_, true) => "Linkerd",
        _ => return None,
    };
    Some(Finding::note(format!(
        "{name} is at work in this namespace: its proxies pool connections, and an established one \
         stays on the old leader until either side closes it"
    )))
}

/// All findings, what is wrong last, where a reader looks first.
pub(super) fn text(findings: &[Finding]) -> String {
    let lines = |weight: Weight, word: &'static str| {
        let of_this = findings
            .iter()
            .filter(move |finding| finding.weight == weight);
        of_this.map(move |finding| format!("{word} {}\n", finding.text))
    };
    let mut text: String = lines(Weight::Fine, "ok   ").collect();
    text.extend(lines(Weight::Note, "note "));
    text.extend(lines(Weight::Wrong, "WRONG"));
    text
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn word(finding: &Finding) -> String {
        format!("{:?} {}", finding.weight, finding.text)
    }

    #[test]
    fn versions() {
        for (minor, expected) in [
            ("37", "Fine"),
            ("31+", "Note"),
            ("32", "Fine"),
            ("33", "Note"),
            ("34", "Fine"),
            ("", "Fine"),
        ] {
            let version = version(&json!({"gitVersion": "v1.x", "minor": minor}), "https://a");
            assert!(word(&version).starts_with(expected), "{minor}: {version:?}");
        }
    }

    #[test]
    fn a_controller_is_known_by_its_lease() {
        let now: jiff::Timestamp = "2026-01-01T00:10:00Z".parse().expect("a time");
        let lease = |holder: &str, renewed: &str| {
            json!({"items": [{
                "metadata": {"namespace": "zl"},
                "spec": {"holderIdentity": holder, "leaseDurationSeconds": 4, "renewTime": renewed},
            }]})
        };
        for (lease, expected) in [
            (json!({}), "Note no Lease of a controller"),
            (json!({"items": null}), "Note no Lease of a controller"),
            (
                lease("zl-0_u_1f2e", "2026-01-01T00:09:58.000000Z"),
                "Fine at work: the controller zl-0 in zl",
            ),
            (lease("zl-0", "2026-01-01T00:09:01Z"), "Fine"),
            (
                lease("zl-0", "2026-01-01T00:08:00Z"),
                "Wrong no controller is at work: zl-0 in zl was last heard of 2m ago",
            ),
            (lease("zl-0", "never"), "Wrong"),
            (
                lease("", "2026-01-01T00:09:58Z"),
                "Wrong no controller is at work: the Lease in zl was released",
            ),
        ] {
            let finding = word(&controller(&lease, now));
            assert!(finding.starts_with(expected), "{finding}\n{expected}");
        }
    }

    #[test]
    fn rights_of_users_and_of_the_controller() {
        let denied = ["patch services".to_owned()];
        for (user, denied, expected) in [
            (None, &[][..], "Fine you may do all"),
            (None, &denied[..], "Note you may not patch services"),
            (Some("zl"), &[][..], "Fine zl has all 16 rights"),
            (Some("zl"), &denied[..], "Wrong zl may not patch services"),
        ] {
            let finding = word(&rights(user, 16, denied));
            assert!(finding.starts_with(expected), "{finding}");
        }
        assert!(RIGHTS.iter().any(|right| right.is_for(true)));
    }

    #[test]
    fn rights_on_the_lease() {
        let user = "system:serviceaccount:zl:zen-lead";
        assert_eq!(namespace_of(user), Some("zl"));
        assert_eq!(namespace_of("me"), None);
        let finding = word(&lease_rights(user, "zl", &[]));
        assert!(finding.contains("Fine system:serviceaccount:zl:zen-lead has the 5 rights"));
        let finding = word(&lease_rights(user, "zl", &["create", "patch"]));
        let expected = "may not create, patch the Lease zl/zen-lead-controller-leader-election";
        assert!(
            finding.starts_with("Wrong") && finding.contains(expected),
            "{finding}"
        );
    }

    #[test]
    fn what_routes() {
        let daemons = |names: &[&str]| {
            let items: Vec<Value> = names
                .iter()
                .map(|name| json!({"metadata": {"name": name}}))
                .collect();
            json!({ "items": items })
        };
        for (daemons, expected) in [
            (None, "Note what routes"),
            (Some(daemons(&[])), "Note no known"),
            (
                Some(daemons(&["kube-proxy", "x"])),
                "Fine Services are routed by kube-proxy",
            ),
            (
                Some(daemons(&["cilium", "kube-proxy"])),
                "Fine Services are routed by kube-proxy and Cilium",
            ),
        ] {
            let finding = word(&proxy(daemons.as_ref()));
            assert!(finding.starts_with(expected), "{finding}");
        }
        let namespace = json!({"metadata": {"labels": {"istio-injection": "enabled"}}});
        assert!(mesh(&namespace).is_some_and(|finding| finding.text.starts_with("Istio")));
        assert_eq!(mesh(&json!({"metadata": {"name": "a"}})), None);
    }

    #[test]
    fn what_is_wrong_comes_last() {
        let findings = [Finding::wrong("c"), Finding::fine("a"), Finding::note("b")];
        assert_eq!(text(&findings), "ok    a\nnote  b\nWRONG c\n");
        assert!(findings[0].is_wrong() && !findings[2].is_wrong());
    }
}
