//! Kubernetes objects as scenarios need them: builders for what is created, readers for what comes
//! back. Plain JSON, so that nothing is lost or defaulted on the way.

use serde_json::{Value, json};

use super::api::Kind;

/// The annotation prefix.
pub const PREFIX: &str = "zen-lead.io/";

/// A string within an object, or "".
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The object's name.
pub fn name_of(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The object's identity.
pub fn uid_of(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// An annotation's value.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

/// A label's value.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

/// The endpoints of a slice; `null` reads as none.
pub fn endpoints(slice: &Value) -> &[Value] {
    slice["endpoints"].as_array().map_or(&[], Vec::as_slice)
}

/// The uid of the pod that a slice names.
pub fn target_uid(slice: &Value) -> Option<&str> {
    endpoints(slice).first()?["targetRef"]["uid"].as_str()
}

/// The names of a slice's ports with their numbers.
pub fn port_numbers(slice: &Value) -> Vec<(String, u64)> {
    let ports = slice["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let pair = |port: &Value| {
        let name = port["name"].as_str().unwrap_or_default().to_owned();
        (name, port["port"].as_u64().unwrap_or_default())
    };
    ports.iter().map(pair).collect()
}

/// Whether zen-lead made a slice.
pub fn is_our_slice(slice: &Value) -> bool {
    label(slice, "endpointslice.kubernetes.io/managed-by") == Some("zen-lead")
}

/// One line about an object, for failures.
pub fn summary(kind: Kind, object: &Value) -> String {
    let meta = &object["metadata"];
    let more = match kind {
        Kind::Service => format!("{} {}", object["spec"], meta["annotations"]),
        Kind::Slice => format!("{} {}", object["endpoints"], object["ports"]),
        Kind::Pod => format!(
            "{} {} {}",
            object["status"]["phase"], object["status"]["podIPs"], object["status"]["conditions"]
        ),
        Kind::Event => format!("{} {}", object["reason"], object["message"]),
    };
    let leaving = match meta["deletionTimestamp"].as_str() {
        Some(_) => format!(" (terminating {})", meta["finalizers"]),
        None => String::new(),
    };
    let line = format!("{kind:?} {}{leaving}: {more}", name_of(object));
    line.chars().take(420).collect()
}

/// A Service to be created: selector `app: <name>`, TCP port 80 to 8080.
#[derive(Clone)]
pub struct Svc(pub Value);

impl Svc {
    /// A plain one, not opted in.
    pub fn new(name: &str) -> Self {
        Self(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "labels": {}, "annotations": {}},
            "spec": {
                "selector": {"app": name},
                "ports": [{"name": "main", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
            },
        }))
    }

    /// One that asks to be served.
    pub fn opted_in(name: &str) -> Self {
        Self::new(name).asks("enabled", "true")
    }

    /// With an annotation under `zen-lead.io/`.
    pub fn asks(self, key: &str, value: &str) -> Self {
        self.annotation(&format!("{PREFIX}{key}"), value)
    }

    /// With an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = value.into();
        self
    }

    /// With a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = value.into();
        self
    }

    /// With a field of the spec; `null` removes it.
    pub fn spec(mut self, key: &str, value: Value) -> Self {
        self.0["spec"][key] = value;
        self
    }

    /// With a finalizer.
    pub fn finalizer(mut self, name: &str) -> Self {
        self.0["metadata"]["finalizers"] = json!([name]);
        self
    }
}

/// A pod to be created: Running, Ready, on a node, with one IPv4 address.
#[derive(Clone)]
pub struct Pod {
    /// What is posted.
    pub object: Value,
    /// Its addresses; the harness gives it an IPv4 one when there is none.
    pub ips: Vec<String>,
    /// Its phase.
    pub phase: &'static str,
    /// Whether it is Ready.
    pub ready: bool,
    /// When it became so; now, when not said.
    pub since: Option<jiff::Timestamp>,
}

impl Pod {
    /// A pod of the application `app`.
    pub fn new(name: &str, app: &str) -> Self {
        Self {
            object: json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "labels": {"app": app}},
                "spec": {
                    "nodeName": "node-a",
                    "containers": [{"name": "main", "image": "example.com/app:1"}],
                },
            }),
            ips: Vec::new(),
            phase: "Running",
            ready: true,
            since: None,
        }
    }

    /// Not Ready yet.
    pub fn not_ready(mut self) -> Self {
        self.ready = false;
        self
    }

    /// With these addresses, none included.
    pub fn ips(mut self, ips: &[&str]) -> Self {
        self.ips = ips.iter().map(|ip| (*ip).to_owned()).collect();
        self
    }

    /// With these ports of its container.
    pub fn ports(mut self, ports: Value) -> Self {
        self.object["spec"]["containers"][0]["ports"] = ports;
        self
    }

    /// With a field of the spec.
    pub fn spec(mut self, key: &str, value: Value) -> Self {
        self.object["spec"][key] = value;
        self
    }

    /// Ready since then.
    pub fn since(mut self, at: jiff::Timestamp) -> Self {
        self.since = Some(at);
        self
    }

    /// The status that goes with it.
    pub fn status(&self) -> Value {
        status(self.phase, &self.ips, self.ready, self.since, false)
    }
}

/// A pod's status.
pub fn status(
    phase: &str,
    ips: &[String],
    ready: bool,
    since: Option<jiff::Timestamp>,
    disrupted: bool,
) -> Value {
    let since = since.unwrap_or_else(jiff::Timestamp::now);
    let since = format!("{since:.0}");
    let word = |yes| if yes { "True" } else { "False" };
    let mut conditions =
        vec![json!({"type": "Ready", "status": word(ready), "lastTransitionTime": since})];
    if disrupted {
        conditions.push(json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "lastTransitionTime": since,
        }));
    }
    let list: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"status": {
        "phase": phase, "podIP": ips.first(), "podIPs": list, "conditions": conditions,
    }})
}

/// A pod that exists.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
    /// Its addresses.
    pub ips: Vec<String>,
}
