//! The same reads in protobuf, which are answered by the same objects.

use http::Method;
use serde_json::{Value, json};
use simkube::protobuf;

use super::Step;
use crate::http::Lab;

/// The media types that zen-lead accepts.
pub(super) const ACCEPT: &str = "application/vnd.kubernetes.protobuf,application/json";
pub(super) const ACCEPT_WATCH: &str =
    "application/vnd.kubernetes.protobuf;stream=watch,application/json;stream=watch";

/// Whether a step reads objects of a kind that is asked for in protobuf.
pub(super) fn concerns(step: &Step) -> bool {
    let path = step.path.split('?').next().unwrap_or_default();
    let kinds = ["pods", "services", "endpointslices", "nodes", "leases"];
    step.method == Method::GET
        && step.accept == "application/json"
        && !step.managers_only
        && path.split('/').any(|part| kinds.contains(&part))
}

/// The status code and the media type of the answer in protobuf, and what it says as JSON.
pub(super) async fn ask(lab: &Lab, path: &str) -> (String, Value) {
    let answer = lab
        .ask(Method::GET, path, ("application/json", ACCEPT), Vec::new())
        .await
        .unwrap();
    let value = if answer.body.is_null() {
        protobuf::to_json(&answer.bytes).unwrap_or_else(|| json!(answer.text))
    } else {
        answer.body
    };
    (format!("{} {}", answer.code, answer.content_type), value)
}
