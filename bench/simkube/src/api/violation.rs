//! What is wrong with the fields of an object, in the words of `util/validation/field`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::kind::Kind;
use super::status::{ApiError, Cause};

/// Everything that is wrong with one object, in the order it was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Violations(Vec<Cause>);

impl Violations {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    fn push(&mut self, reason: &str, field: impl Into<String>, head: String, detail: &str) {
        let message = if detail.is_empty() {
            head
        } else {
            format!("{head}: {detail}")
        };
        self.0.push(Cause {
            reason: reason.into(),
            message,
            field: field.into(),
        });
    }

    pub(crate) fn required(&mut self, field: impl Into<String>, detail: &str) {
        self.push("FieldValueRequired", field, "Required value".into(), detail);
    }

    pub(crate) fn forbidden(&mut self, field: impl Into<String>, detail: &str) {
        self.push("FieldValueForbidden", field, "Forbidden".into(), detail);
    }

    pub(crate) fn invalid(
        &mut self,
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl AsRef<str>,
    ) {
        // `Value` prints strings quoted and numbers bare, as the real one does.
        let head = format!("Invalid value: {}", value.into());
        self.push("FieldValueInvalid", field, head, detail.as_ref());
    }

    /// A value that is JSON already.
    pub(crate) fn invalid_struct(&mut self, field: impl Into<String>, json: &str, detail: &str) {
        let head = format!("Invalid value: {json}");
        self.push("FieldValueInvalid", field, head, detail);
    }

    pub(crate) fn duplicate(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        let head = format!("Duplicate value: {}", value.into());
        self.push("FieldValueDuplicate", field, head, "");
    }

    /// A duplicate whose value is JSON already.
    pub(crate) fn duplicate_struct(&mut self, field: impl Into<String>, json: &str) {
        let head = format!("Duplicate value: {json}");
        self.push("FieldValueDuplicate", field, head, "");
    }

    pub(crate) fn not_supported(&mut self, field: impl Into<String>, value: &str, known: &[&str]) {
        let known: Vec<String> = known.iter().map(|v| format!("{v:?}")).collect();
        let detail = format!("supported values: {}", known.join(", "));
        self.push(
            "FieldValueNotSupported",
            field,
            format!("Unsupported value: {value:?}"),
            &detail,
        );
    }

    pub(crate) fn too_long(&mut self, field: impl Into<String>, limit: usize) {
        let detail = format!("may not be more than {limit} bytes");
        self.push("FieldValueTooLong", field, "Too long".into(), &detail);
    }

    pub(crate) fn too_many(&mut self, field: impl Into<String>, count: usize, limit: usize) {
        let detail = format!("must have at most {limit} items");
        self.push(
            "FieldValueTooMany",
            field,
            format!("Too many: {count}"),
            &detail,
        );
    }

    /// Passes when nothing was found, else the 422 for an object of this kind.
    pub(crate) fn into_result(self, kind: Kind, name: &str) -> Result<(), ApiError> {
        self.into_result_for(kind.group(), kind.name(), name)
    }

    /// The same for something that is no stored kind, such as `ListOptions`.
    pub(crate) fn into_result_for(
        self,
        group: &str,
        kind: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        if self.is_empty() {
            return Ok(());
        }
        // The aggregate drops repeated messages but the causes keep them.
        let mut seen = BTreeSet::new();
        let mut texts = Vec::new();
        for cause in &self.0 {
            let text = format!("{}: {}", cause.field, cause.message);
            if seen.insert(text.clone()) {
                texts.push(text);
            }
        }
        let text = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Err(ApiError::invalid(group, kind, name, &text, self.0))
    }
}
