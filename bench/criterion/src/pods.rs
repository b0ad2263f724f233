//! Pods as a cluster has them: some ten kilobytes of JSON, of which a decision needs little.

/// A Running pod with two containers and its managed fields; `@…@` is to be filled in.
const TEMPLATE: &str = include_str!("pod.json");

/// What tells one pod from another.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// The label `app`.
    pub app: &'a str,
    /// A number that makes uid, address and node.
    pub number: usize,
    /// Whether the condition `Ready` is `True`.
    pub ready: bool,
    /// The resourceVersion.
    pub version: u64,
    /// What only people look at: the time of the last probe, say.
    pub noise: u64,
}

enum Piece {
    Text(&'static str),
    Slot(Slot),
}

#[derive(Clone, Copy)]
enum Slot {
    Namespace,
    Name,
    App,
    Uid,
    Address,
    Node,
    Ready,
    Version,
    Noise,
}

/// The template, cut into pieces.
pub struct Template(Vec<Piece>);

impl Default for Template {
    fn default() -> Self {
        Self::new()
    }
}

impl Template {
    /// Cuts it.
    ///
    /// # Panics
    /// Never: the template names only slots that there are.
    #[must_use]
    pub fn new() -> Self {
        let slot = |name: &str| match name {
            "namespace" => Slot::Namespace,
            "name" => Slot::Name,
            "app" => Slot::App,
            "uid" => Slot::Uid,
            "address" => Slot::Address,
            "node" => Slot::Node,
            "ready" => Slot::Ready,
            "version" => Slot::Version,
            "noise" => Slot::Noise,
            other => unreachable!("the template has no slot {other}"),
        };
        let parts = TEMPLATE.trim_end().split('@').enumerate();
        let piece = |(at, part): (usize, &'static str)| match at % 2 {
            0 => Piece::Text(part),
            _ => Piece::Slot(slot(part)),
        };
        Self(parts.map(piece).collect())
    }

    /// Appends the pod as JSON.
    pub fn write(&self, pod: &Facts<'_>, out: &mut Vec<u8>) {
        use std::io::Write as _;
        for piece in &self.0 {
            // Writing to a vector cannot fail.
            let _ = match piece {
                Piece::Text(text) => out.write(text.as_bytes()).map(drop),
                Piece::Slot(Slot::Namespace) => write!(out, "{}", pod.namespace),
                Piece::Slot(Slot::Name) => write!(out, "{}", pod.name),
                Piece::Slot(Slot::App) => write!(out, "{}", pod.app),
                Piece::Slot(Slot::Uid) => {
                    write!(out, "7d1f0d1c-5b0f-4c33-9f51-{:012x}", pod.number)
                }
                Piece::Slot(Slot::Address) => {
                    let [_, b, c, d] = u32::try_from(pod.number + 256)
                        .unwrap_or_default()
                        .to_be_bytes();
                    write!(out, "10.{b}.{c}.{d}")
                }
                Piece::Slot(Slot::Node) => write!(out, "node-{:04}", pod.number % 1_000),
                Piece::Slot(Slot::Ready) => {
                    write!(out, "{}", if pod.ready { "True" } else { "False" })
                }
                Piece::Slot(Slot::Version) => write!(out, "{}", pod.version),
                Piece::Slot(Slot::Noise) => write!(out, "{}", pod.noise),
            };
        }
    }

    /// The line of a watch that says so; `event` is `ADDED` or `MODIFIED`.
    pub fn frame(&self, event: &str, pod: &Facts<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(event.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        self.write(pod, out);
        out.extend_from_slice(b"}\n");
    }
}

/// The event that a line of a watch of pods is, as protobuf without its length.
///
/// # Panics
/// When the line is none.
#[must_use]
pub fn to_protobuf(line: &[u8]) -> Vec<u8> {
    let event: serde_json::Value = serde_json::from_slice(line).expect("a line of a watch");
    let kind = event["type"].as_str().expect("a type");
    let object = simkube::protobuf::encode(simkube::Kind::Pod, &event["object"]);
    simkube::protobuf::event(kind, &object).split_off(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1;
    use zen_lead::logic::model::Pod;

    #[test]
    fn the_template_is_a_pod_to_both_readers() {
        let facts = Facts {
            namespace: "shop",
            name: "web-0",
            app: "web",
            number: 7,
            ready: false,
            version: 42,
            noise: 1,
        };
        let mut json = Vec::new();
        Template::new().write(&facts, &mut json);
        assert!(
            (8_000..12_000).contains(&json.len()),
            "{} bytes",
            json.len()
        );
        let theirs: v1::Pod = serde_json::from_slice(&json).expect("a pod");
        let ours: Pod = serde_json::from_slice(&json).expect("a pod");
        assert_eq!(theirs.metadata.name.as_deref(), Some(&*ours.name));
        assert_eq!(ours.labels.get("app"), Some("web"));
        assert_eq!(ours.version.to_string(), "42");
        assert_eq!(ours.ports.len(), 2);
        assert!(!ours.ready && !ours.ended());
        let address = theirs.status.and_then(|status| status.pod_ip);
        assert_eq!(address.as_deref(), Some("10.0.1.7"));
    }
}
