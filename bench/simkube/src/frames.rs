//! Frames of a watch as they are written.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::api::kind::Kind;
use crate::api::status::ApiError;
use crate::protobuf;
use crate::store::{Compacted, Object};
use crate::table;

/// What a watch would send next.
pub(crate) struct Next {
    pub(crate) event: &'static str,
    pub(crate) object: Content,
    pub(crate) rv: u64,
    pub(crate) at: Instant,
    pub(crate) step: Step,
}

pub(crate) enum Content {
    Object(Arc<Object>),
    Bookmark { initial_end: bool },
}

/// What sending it finishes.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Initial,
    InitialEnd,
    Change,
    Bookmark,
}

impl Next {
    /// The frame as it is sent: the type comes first, a line break last. With a time, objects are
    /// rows of a table.
    pub(crate) fn render(&self, kind: Kind, table_at: Option<Timestamp>) -> Vec<u8> {
        let mut out = format!("{{\"type\":\"{}\",\"object\":", self.event).into_bytes();
        match (&self.object, table_at) {
            (Content::Object(object), Some(now)) => {
                let metadata = json!({"resourceVersion": self.rv.to_string()});
                out.extend_from_slice(&table::write(kind, &metadata, &[object], now));
            }
            (Content::Object(object), None) => object.shaped(kind).write_full(&mut out),
            (Content::Bookmark { initial_end }, _) => {
                out.extend_from_slice(bookmark(kind, self.rv, *initial_end).as_bytes());
            }
        }
        out.extend_from_slice(b"}\n");
        out
    }

    /// The same as protobuf, with its length in front.
    pub(crate) fn render_protobuf(&self, kind: Kind) -> Vec<u8> {
        let body = match &self.object {
            Content::Object(object) => protobuf::body(kind, object.message()),
            Content::Bookmark { initial_end } => {
                let bookmark = bookmark(kind, self.rv, *initial_end);
                protobuf::encode(kind, &serde_json::from_str(&bookmark).unwrap_or_default())
            }
        };
        protobuf::event(self.event, &body)
    }
}

/// An object of the kind with nothing in it but the resourceVersion.
fn bookmark(kind: Kind, rv: u64, initial_end: bool) -> String {
    let annotations = if initial_end {
        ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}"
    } else {
        ""
    };
    // The zero value of each type, as Go writes it.
    let rest = match kind {
        Kind::Pod => ",\"spec\":{\"containers\":null},\"status\":{}",
        Kind::Service => ",\"spec\":{},\"status\":{\"loadBalancer\":{}}",
        Kind::EndpointSlice => ",\"addressType\":\"\",\"endpoints\":null,\"ports\":null",
        Kind::Lease => ",\"spec\":{}",
        Kind::Namespace => ",\"spec\":{},\"status\":{}",
        Kind::Node => {
            ",\"spec\":{},\"status\":{\"daemonEndpoints\":{\"kubeletEndpoint\":{\"Port\":0}},\"nodeInfo\":{\"machineID\":\"\",\"systemUUID\":\"\",\"bootID\":\"\",\"kernelVersion\":\"\",\"osImage\":\"\",\"containerRuntimeVersion\":\"\",\"kubeletVersion\":\"\",\"kubeProxyVersion\":\"\",\"operatingSystem\":\"\",\"architecture\":\"\"}}"
        }
        Kind::Event => {
            ",\"involvedObject\":{},\"source\":{},\"firstTimestamp\":null,\"lastTimestamp\":null,\"eventTime\":null,\"reportingComponent\":\"\",\"reportingInstance\":\"\""
        }
        Kind::NewEvent => {
            ",\"eventTime\":null,\"regarding\":{},\"deprecatedSource\":{},\"deprecatedFirstTimestamp\":null,\"deprecatedLastTimestamp\":null"
        }
        Kind::Role | Kind::ClusterRole => ",\"rules\":null",
        Kind::RoleBinding | Kind::ClusterRoleBinding => {
            ",\"roleRef\":{\"apiGroup\":\"\",\"kind\":\"\",\"name\":\"\"}"
        }
        Kind::Endpoints | Kind::ConfigMap | Kind::ServiceAccount => "",
    };
    format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"{rv}\"{annotations}}}{rest}}}",
        kind.name(),
        kind.api_version()
    )
}

/// The refusal of a watch from before the floor.
pub(crate) fn too_old(rv: u64, compacted: Compacted) -> ApiError {
    ApiError::expired(format!(
        "too old resource version: {rv} ({})",
        compacted.floor
    ))
}
