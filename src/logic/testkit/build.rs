//! Builders that read as a sentence.

use serde_json::{Value, json};

use crate::logic::well_known::PRIORITY;

/// A pod as a test describes it: Running and Ready, matched by the source of [`source`].
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "conditions of a pod, each with a builder of its own"
)]
pub(crate) struct PodSpec {
    pub(crate) name: String,
    /// Set by the world when it is empty.
    pub(crate) uid: String,
    pub(crate) labels: Vec<(String, String)>,
    /// Seconds since the world's origin.
    pub(crate) created: i64,
    pub(crate) ready: bool,
    /// Seconds since the world's origin.
    pub(crate) ready_at: i64,
    pub(crate) phase: &'static str,
    pub(crate) ips: Vec<String>,
    pub(crate) terminating: bool,
    pub(crate) disrupted: bool,
    pub(crate) of_job: bool,
    pub(crate) ports: Vec<(String, u16)>,
    pub(crate) node: Option<String>,
    /// The annotation for the strategy `priority`.
    pub(crate) priority: Option<&'static str>,
}

/// A pod of that name with an address of its own in each family.
pub(crate) fn pod(name: &str) -> PodSpec {
    let host = name
        .bytes()
        .fold(0_u8, |sum, b| sum.wrapping_mul(31).wrapping_add(b))
        % 250
        + 1;
    PodSpec {
        name: name.into(),
        uid: String::new(),
        labels: vec![("app".into(), "s".into())],
        created: i64::from(host),
        ready: true,
        ready_at: 500,
        phase: "Running",
        ips: vec![format!("10.1.0.{host}"), format!("fd00:1::{host:x}")],
        terminating: false,
        disrupted: false,
        of_job: false,
        ports: vec![("web".into(), 8080)],
        node: Some(format!("node-{name}")),
        priority: None,
    }
}

impl PodSpec {
    pub(crate) fn created(mut self, at: i64) -> Self {
        self.created = at;
        self
    }

    pub(crate) fn not_ready(mut self) -> Self {
        self.ready = false;
        self
    }

    pub(crate) fn ready_at(mut self, at: i64) -> Self {
        self.ready_at = at;
        self
    }

    pub(crate) fn terminating(mut self) -> Self {
        self.terminating = true;
        self
    }

    pub(crate) fn disrupted(mut self) -> Self {
        self.disrupted = true;
        self
    }

    pub(crate) fn of_job(mut self) -> Self {
        self.of_job = true;
        self
    }

    pub(crate) fn ips(mut self, ips: &[&str]) -> Self {
        self.ips = ips.iter().map(ToString::to_string).collect();
        self
    }

    pub(crate) fn ports(mut self, ports: &[(&str, u16)]) -> Self {
        self.ports = ports
            .iter()
            .map(|(name, number)| ((*name).into(), *number))
            .collect();
        self
    }

    pub(crate) fn node(mut self, node: &str) -> Self {
        self.node = Some(node.into());
        self
    }

    pub(crate) fn priority(mut self, text: &'static str) -> Self {
        self.priority = Some(text);
        self
    }

    pub(crate) fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels = vec![(key.into(), value.into())];
        self
    }

    pub(crate) fn and_label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// As the API server would write it, with times in seconds since `origin`.
    pub(crate) fn to_json(&self, version: u64, origin: jiff::Timestamp) -> Value {
        let at = |seconds: i64| (origin + jiff::SignedDuration::from_secs(seconds)).to_string();
        let truth = |is: bool| if is { "True" } else { "False" };
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|(name, number)| json!({"name": name, "containerPort": number, "protocol": "TCP"}))
            .collect();
        let mut conditions = vec![
            json!({"type": "Ready", "status": truth(self.ready), "lastTransitionTime": at(self.ready_at)}),
        ];
        if self.disrupted {
            conditions.push(json!({"type": "DisruptionTarget", "status": "True"}));
        }
        let mut object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name, "namespace": "n", "uid": self.uid,
                "resourceVersion": version.to_string(), "creationTimestamp": at(self.created),
                "labels": self.labels.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            },
            "spec": {"nodeName": self.node, "containers": [{"name": "c", "ports": ports}]},
            "status": {
                "phase": self.phase, "conditions": conditions,
                "podIPs": self.ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>(),
            },
        });
        if let Some(priority) = self.priority {
            object["metadata"]["annotations"] = json!({ PRIORITY: priority });
        }
        if self.of_job {
            object["metadata"]["ownerReferences"] = json!([
                {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": true}
            ]);
        }
        if self.terminating {
            object["metadata"]["deletionTimestamp"] = at(900).into();
        }
        object
    }
}

/// An opted-in source in the namespace `n` with one port, for pods labelled `app=s`.
pub(crate) fn source(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name, "namespace": "n",
            "labels": {"app": "s"},
            "annotations": {"zen-lead.io/enabled": "true"},
        },
        "spec": {
            "selector": {"app": "s"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
        },
    })
}
