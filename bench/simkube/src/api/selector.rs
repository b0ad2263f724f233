//! Label and field selectors as list and watch requests carry them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::kind::Kind;
use super::status::ApiError;

/// Which objects a list or a watch is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(BTreeSet<String>),
    /// An object without the label passes as well.
    NotIn(BTreeSet<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    path: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Reads both query parameters.
    pub(crate) fn parse(kind: Kind, labels: &str, fields: &str) -> Result<Self, ApiError> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(kind, fields)?,
        })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|r| r.matches(object))
            && self.fields.iter().all(|f| f.matches(object))
    }

    #[cfg(test)]
    fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

/// The name that a list or a watch is narrowed to by its field selector. The real server authorizes
/// it as a request for that object, so that a role by `resourceNames` allows it.
pub(crate) fn name_asked_for(fields: &str) -> Option<&str> {
    fields.split(',').find_map(|part| {
        let (path, value) = part.split_once('=')?;
        let name = value.strip_prefix('=').unwrap_or(value).trim();
        (path.trim() == "metadata.name").then_some(name)
    })
}

/// Fields that are true or false.
const SWITCHES: [&str; 2] = ["spec.unschedulable", "spec.hostNetwork"];

impl Requirement {
    fn matches(&self, object: &Value) -> bool {
        let label = object
            .get("metadata")
            .and_then(|m| m.get("labels"))
            .and_then(|l| l.get(&self.key))
            .and_then(Value::as_str);
        match (&self.test, label) {
            (Test::Exists, label) => label.is_some(),
            (Test::Absent, label) => label.is_none(),
            (Test::In(values), Some(label)) => values.contains(label),
            (Test::In(_), None) => false,
            (Test::NotIn(values), Some(label)) => !values.contains(label),
            (Test::NotIn(_), None) => true,
        }
    }
}

impl FieldTerm {
    fn matches(&self, object: &Value) -> bool {
        let found = self
            .path
            .split('.')
            .try_fold(object, |at, part| at.get(part));
        let found = match found {
            Some(Value::String(text)) => text,
            Some(Value::Bool(true)) => "true",
            // What is absent is the empty string, but for fields that are switches.
            _ if SWITCHES.contains(&self.path.as_str()) => "false",
            _ => "",
        };
        (found == self.value) == self.equal
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, ApiError> {
    split_outside_parens(text)
        .into_iter()
        .map(parse_requirement)
        .collect()
}

/// Commas separate requirements, but not inside `in (a,b)`.
fn split_outside_parens(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_u32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
        .into_iter()
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .collect()
}

/// One requirement: the operators are tried from the longest to the shortest.
fn parse_requirement(text: &str) -> Result<Requirement, ApiError> {
    let fail = || ApiError::bad_request(format!("unable to parse requirement: {text:?}"));
    let make = |key: &str, test| {
        let key = key.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if key.is_empty() || !key.chars().all(plain) {
            return Err(fail());
        }
        Ok(Requirement {
            key: key.into(),
            test,
        })
    };
    let one = |value: &str| BTreeSet::from([value.trim().to_owned()]);
    if let Some(key) = text.strip_prefix('!') {
        return make(key, Test::Absent);
    }
    if let Some((head, list)) = text.split_once('(') {
        let list = list.strip_suffix(')').ok_or_else(fail)?;
        let values = list.split(',').map(|v| v.trim().to_owned()).collect();
        let head = head.trim();
        return if let Some(key) = head.strip_suffix(" notin") {
            make(key, Test::NotIn(values))
        } else if let Some(key) = head.strip_suffix(" in") {
            make(key, Test::In(values))
        } else {
            Err(fail())
        };
    }
    if let Some((key, value)) = text.split_once("!=") {
        make(key, Test::NotIn(one(value)))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        make(key, Test::In(one(value)))
    } else if let Some((_, rest)) = text.split_once(char::is_whitespace) {
        let found = rest.split_whitespace().next().unwrap_or_default();
        Err(ApiError::bad_request(format!(
            "unable to parse requirement: found '{found}', expected: in, notin, =, ==, !=, gt, lt"
        )))
    } else {
        make(text, Test::Exists)
    }
}

fn parse_fields(kind: Kind, text: &str) -> Result<Vec<FieldTerm>, ApiError> {
    let mut terms = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let split = part
            .split_once("!=")
            .map(|(p, v)| (p, v, false))
            .or_else(|| part.split_once("==").map(|(p, v)| (p, v, true)))
            .or_else(|| part.split_once('=').map(|(p, v)| (p, v, true)));
        let Some((path, value, equal)) = split else {
            return Err(ApiError::bad_request(format!(
                "invalid selector: '{text}'; can't understand '{part}'"
            )));
        };
        if !known_fields(kind).contains(&path)
            && !matches!(path, "metadata.name" | "metadata.namespace")
        {
            return Err(ApiError::bad_request(unknown_field(kind, path)));
        }
        terms.push(FieldTerm {
            path: stored_field(kind, path),
            value: value.into(),
            equal,
        });
    }
    Ok(terms)
}

/// Fields that the real server indexes; by any other it refuses to select.
fn known_fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Pod => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        Kind::Service => &["spec.clusterIP", "spec.type"],
        Kind::Event => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        Kind::NewEvent => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        Kind::Namespace => &["status.phase"],
        Kind::Node => &["spec.unschedulable"],
        _ => &[],
    }
}

/// Where a field of the one shape of Events stands in the other.
fn stored_field(kind: Kind, path: &str) -> String {
    if kind != Kind::NewEvent {
        return path.into();
    }
    match path.strip_prefix("regarding.") {
        Some(rest) => format!("involvedObject.{rest}"),
        None if path == "reportingController" => "reportingComponent".into(),
        None => path.into(),
    }
}

fn unknown_field(kind: Kind, path: &str) -> String {
    if known_fields(kind).is_empty() {
        format!(
            "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )
    } else {
        format!("field label not supported: {path}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(labels: &str, fields: &str) -> bool {
        let object = json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"app": "db", "a/b": "1"}},
            "status": {"phase": "Running"},
        });
        Selector::parse(Kind::Pod, labels, fields)
            .expect("valid")
            .matches(&object)
    }

    #[test]
    fn a_selector_by_name_names_its_object() {
        for (fields, name) in [
            ("metadata.name=p", Some("p")),
            ("status.phase!=Failed,metadata.name==p", Some("p")),
            ("metadata.name!=p", None),
            ("metadata.namespace=n", None),
            ("", None),
        ] {
            assert_eq!(name_asked_for(fields), name, "{fields}");
        }
    }

    #[test]
    fn labels_select() {
        for (selector, want) in [
            ("", true),
            ("app", true),
            ("nope", false),
            ("!app", false),
            ("!nope", true),
            ("app=db", true),
            ("app==db", true),
            ("app = db", true),
            ("app=web", false),
            ("app!=db", false),
            ("nope!=x", true),
            ("app in (web,db)", true),
            ("app in (web)", false),
            ("nope in (x)", false),
            ("app notin (web, db)", false),
            ("nope notin (x)", true),
            ("app=db,a/b=1,!c", true),
            ("app in (db,web),a/b!=1", false),
        ] {
            assert_eq!(matches(selector, ""), want, "{selector}");
        }
        assert!(
            Selector::parse(Kind::Pod, "", "")
                .expect("empty")
                .is_everything()
        );
    }

    #[test]
    fn fields_select() {
        for (selector, want) in [
            ("metadata.name=p", true),
            ("metadata.name=q", false),
            ("metadata.namespace==n", true),
            ("status.phase!=Succeeded,status.phase!=Failed", true),
            ("status.phase!=Running", false),
            ("spec.nodeName=", true),
        ] {
            assert_eq!(matches("", selector), want, "{selector}");
        }
    }

    #[test]
    fn nonsense_is_a_400() {
        for (kind, labels, fields, want) in [
            (Kind::Pod, "a in (b", "", "unable to parse requirement"),
            (
                Kind::Pod,
                "a between (b)",
                "",
                "unable to parse requirement",
            ),
            (Kind::Pod, "=b", "", "unable to parse requirement"),
            (
                Kind::Pod,
                "",
                "spec.x=1",
                "field label not supported: spec.x",
            ),
            (
                Kind::Lease,
                "",
                "spec.x=1",
                "\"spec.x\" is not a known field selector",
            ),
            (Kind::Pod, "", "junk", "can't understand 'junk'"),
        ] {
            let error = Selector::parse(kind, labels, fields).expect_err(labels);
            assert_eq!(error.code, 400);
            assert!(error.message.contains(want), "{}", error.message);
        }
    }
}
