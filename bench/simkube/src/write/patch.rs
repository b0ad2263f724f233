//! PATCH: JSON patch, merge patch, and the little of the strategic one that kubectl needs.

use std::sync::Arc;

use serde_json::Value;

use super::Caller;
use super::create::strict_error;
use crate::api::path::{Target, Verb};
use crate::api::status::ApiError;
use crate::rules::schema;
use crate::state::State;
use crate::store::Object;

/// More operations than this are too many, as for the real server.
const OPERATIONS_MAX: usize = 10_000;

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

impl State {
    /// Applies a patch to the current version.
    pub(crate) fn patch(
        &mut self,
        target: &Target,
        content_type: &str,
        body: &[u8],
        caller: &Caller,
    ) -> Result<Arc<Object>, ApiError> {
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        if ![JSON, MERGE, STRATEGIC].contains(&content_type) {
            return Err(ApiError::unsupported_patch());
        }
        let kind = target.kind;
        let key = (target.namespace.clone(), target.name.clone());
        let Some(old) = self.store.get(kind, &key).cloned() else {
            return Err(ApiError::not_found(kind, &target.name));
        };
        let mut patched = old.shaped(kind).full_value();
        if content_type == JSON {
            apply_json(&mut patched, body)?;
        } else {
            // A strategic patch differs in how it merges lists of objects; those of metadata that
            // kubectl annotate and label touch are maps, where the two agree.
            let patch: Value = serde_json::from_slice(body)
                .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
            json_patch::merge(&mut patched, &patch);
        }
        if patched["kind"] != kind.name() || patched["apiVersion"] != kind.api_version() {
            return Err(ApiError::bad_request(
                "the patch must not change kind or apiVersion",
            ));
        }
        let decoded = schema::decode(kind, &patched).map_err(|e| bad_patch(&patched, &e))?;
        if caller.strict && !decoded.unknown.is_empty() {
            return Err(bad_patch(&patched, &strict_error(&decoded.unknown)));
        }
        self.replace(Verb::Patch, target, &old, decoded.value, caller)
    }
}

fn apply_json(document: &mut Value, body: &[u8]) -> Result<(), ApiError> {
    let patch: json_patch::Patch =
        serde_json::from_slice(body).map_err(|e| ApiError::bad_request(e.to_string()))?;
    if patch.0.len() > OPERATIONS_MAX {
        let mut error = ApiError::too_large(0);
        error.message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            patch.0.len()
        );
        return Err(error);
    }
    json_patch::patch(document, &patch.0).map_err(|_| ApiError::unprocessable())
}

/// A patch whose result is no object of the kind.
fn bad_patch(result: &Value, why: &str) -> ApiError {
    let mut bad = crate::api::violation::Violations::default();
    bad.invalid("patch", result.to_string(), why);
    bad.into_result_for("", "", "")
        .err()
        .unwrap_or_else(ApiError::unprocessable)
}
