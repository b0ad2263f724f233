//! `SelfSubjectAccessReview`: what `kubectl auth can-i` asks.

use serde_json::{Value, json};

use super::User;
use super::rbac::Wish;
use crate::api::status::ApiError;
use crate::state::State;

/// The one path of the group; nothing under it is stored.
pub(crate) const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Reads a review as JSON or, as kubectl sends it, as protobuf.
pub(crate) fn read(content_type: &str, body: &[u8]) -> Result<Value, ApiError> {
    if content_type.starts_with("application/vnd.kubernetes.protobuf") {
        let review = super::protobuf::review(body);
        return review.ok_or_else(|| ApiError::bad_request("expected a SelfSubjectAccessReview"));
    }
    serde_json::from_slice(body).map_err(|error| {
        ApiError::bad_request(format!(
            "couldn't get version/kind; json parse error: {error}"
        ))
    })
}

impl State {
    /// Answers whether the asking user may do what the review describes.
    pub(crate) fn review(&self, user: &User, body: &Value) -> Result<Value, ApiError> {
        let spec = &body["spec"];
        let attributes = &spec["resourceAttributes"];
        if !attributes.is_object() {
            let mut bad = crate::api::violation::Violations::default();
            bad.invalid_struct(
                "spec",
                "null",
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            );
            // The real server leaves the kind out.
            bad.into_result_for("authorization.k8s.io", "", "")?;
        }
        let text = |field: &str| attributes[field].as_str().unwrap_or_default();
        let resource = match text("subresource") {
            "" => text("resource").to_owned(),
            subresource => format!("{}/{subresource}", text("resource")),
        };
        let wish = Wish {
            verb: text("verb"),
            group: text("group"),
            resource: &resource,
            namespace: text("namespace"),
            name: text("name"),
        };
        Ok(json!({
            "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
            "metadata": {},
            "spec": spec,
            "status": {"allowed": self.may(user, &wish)},
        }))
    }
}
