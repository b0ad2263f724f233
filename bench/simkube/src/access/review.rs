//! `SelfSubjectAccessReview`: what `kubectl auth can-i` asks.

use http::Method;
use serde_json::{Value, json};

use super::User;
use super::rbac::Wish;
use crate::api::status::ApiError;
use crate::state::State;

/// The one path of the group; nothing under it is stored.
pub(crate) const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

impl State {
    /// Answers whether the asking user may do what the review describes.
    pub(crate) fn review(
        &self,
        method: &Method,
        user: &User,
        body: &Value,
    ) -> Result<Value, ApiError> {
        if *method != Method::POST {
            return Err(ApiError::method_not_allowed());
        }
        let spec = &body["spec"];
        let attributes = &spec["resourceAttributes"];
        if !attributes.is_object() {
            let mut bad = crate::api::violation::Violations::default();
            bad.invalid_struct(
                "spec.resourceAttributes",
                "null",
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            );
            bad.into_result_for("authorization.k8s.io", "SelfSubjectAccessReview", "")?;
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
