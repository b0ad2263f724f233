//! What a source asks for on its leader Service: annotations and labels, as JSON objects of strings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{NAME_MAX, is_dns_subdomain};
use crate::logic::model::Labels;
use crate::logic::well_known::{APP_PREFIX, MANAGED_BY, PREFIX};

/// Domain of the keys that Kubernetes gives a meaning to.
const KUBERNETES: &str = "kubernetes.io";

/// Reads `zen-lead.io/leader-service-annotations`.
pub(super) fn annotations(value: &str) -> Result<Labels, String> {
    read(value, |key, _| {
        if key.starts_with(PREFIX) {
            Err(format!("{key} is reserved"))
        // In annotations the server accepts capital letters in the prefix too.
        } else if is_qualified_name(&key.to_ascii_lowercase()) {
            Ok(())
        } else {
            Err(format!("{key:?} is no annotation name"))
        }
    })
}

/// Reads `zen-lead.io/leader-service-labels`.
pub(super) fn labels(value: &str) -> Result<Labels, String> {
    read(value, |key, value| {
        if is_reserved_label(key) {
            Err(format!("{key} is reserved"))
        } else if !is_qualified_name(key) {
            Err(format!("{key:?} is no label name"))
        } else if !is_label_value(value) {
            Err(format!("{value:?} is no label value"))
        } else {
            Ok(())
        }
    })
}

/// A JSON object of strings, each of which is fine.
fn read(value: &str, check: impl Fn(&str, &str) -> Result<(), String>) -> Result<Labels, String> {
    let expected = |why: String| {
        format!("a JSON object of strings such as {{\"example.com/key\":\"value\"}} ({why})")
    };
    let map: BTreeMap<Arc<str>, Arc<str>> =
        serde_json::from_str(value).map_err(|why| expected(why.to_string()))?;
    for (key, value) in &map {
        check(key, value).map_err(expected)?;
    }
    Ok(map.into_iter().collect())
}

/// A key by which Kubernetes or zen-lead would take the leader Service for something else. The
/// recommended labels under `app.kubernetes.io/` say what belongs to which application, and of those
/// one is ours.
fn is_reserved_label(key: &str) -> bool {
    let is_within = |prefix: &str, domain: &str| {
        let rest = prefix.strip_suffix(domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let Some((prefix, _)) = key.split_once('/') else {
        return false;
    };
    let is_recommended = key.starts_with(APP_PREFIX) && key != MANAGED_BY;
    is_within(prefix, PREFIX.trim_end_matches('/'))
        || (is_within(prefix, KUBERNETES) && !is_recommended)
}

/// `[prefix/]name` as the API server wants it (apimachinery's `IsQualifiedName`); an invalid key
/// would have every write of the leader Service refused.
pub(super) fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        None => is_name(key),
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name(name),
    }
}

/// Whether it can be the value of a label.
pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name(value)
}

/// The name part of a key; a label's value that is not empty has the same form.
fn is_name(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_alphanumeric();
    text.len() <= NAME_MAX
        && text.starts_with(is_end)
        && text.ends_with(is_end)
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_the_server_takes_and_nothing_reserved() {
        let long = "x".repeat(63);
        for (key, value, says) in [
            ("team", "blue", None),
            ("team", "", None),
            ("app", "db", None),
            ("istio.io/use-waypoint", "waypoint", None),
            ("app.kubernetes.io/part-of", "shop", None),
            ("mirror.example.com/exported", "true", None),
            ("team", &long, None),
            ("app.kubernetes.io/managed-by", "me", Some("reserved")),
            ("zen-lead.io/source-service", "x", Some("reserved")),
            ("sub.zen-lead.io/x", "x", Some("reserved")),
            ("kubernetes.io/service-name", "x", Some("reserved")),
            ("service.kubernetes.io/headless", "", Some("reserved")),
            (
                "endpointslice.kubernetes.io/managed-by",
                "x",
                Some("reserved"),
            ),
            ("a b", "x", Some("no label name")),
            ("Example.com/x", "x", Some("no label name")),
            ("", "x", Some("no label name")),
            ("team", "a b", Some("no label value")),
            ("team", "-a", Some("no label value")),
            ("team", &format!("{long}x"), Some("no label value")),
        ] {
            let text = serde_json::json!({ key: value }).to_string();
            match (labels(&text), says) {
                (Ok(read), None) => assert_eq!(read.get(key), Some(value), "{text}"),
                (Err(why), Some(says)) => assert!(why.contains(says), "{text}: {why}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        for text in ["[]", "{", r#"{"a":1}"#, "null", ""] {
            assert!(labels(text).is_err(), "{text}");
        }
        assert_eq!(labels("{}"), Ok(Labels::default()));
    }
}
