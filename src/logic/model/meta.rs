//! Names, versions, labels and the rest of `metadata`.

use std::fmt;
use std::sync::Arc;

use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::text::{Text, text};
use super::uid::Uid;
use crate::logic::protobuf::Malformed;

/// Namespace and name of an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The object's namespace.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
}

impl Key {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Another object of the same namespace.
    #[must_use]
    pub fn sibling(&self, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: Arc::clone(&self.namespace),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A `resourceVersion`.
///
/// Versions of one resource type are comparable as numbers (KEP-5504); one that does not parse is
/// kept as it is, compares with nothing, and then the watch has the last word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// The usual case: a decimal number.
    Number(u64),
    /// Anything else, kept to the letter.
    Opaque(Arc<str>),
}

impl Version {
    /// Whether `self` is known to be older than `other`.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Number(a), Self::Number(b)) if a < b)
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        let canonical = text == "0" || !text.starts_with(['0', '+']);
        match text.parse() {
            Ok(number) if canonical => Self::Number(number),
            _ => Self::Opaque(text.into()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Opaque(text) => f.write_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Version;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a resourceVersion")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Version, E> {
                Ok(Version::from(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// An immutable string map (labels, annotations, a selector), sorted by key and cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(Option<Arc<[Entry]>>);

/// A key and its value.
pub(super) type Entry = (Arc<str>, Arc<str>);

impl Labels {
    /// An entry as it is kept. The largest annotation by far is never of use here, so its text is not.
    /// Its key stays, since a map that reads as empty would be written again as a whole.
    pub(super) fn entry(key: &str, text: &str) -> Entry {
        let is_kept = key != "kubectl.kubernetes.io/last-applied-configuration";
        (key.into(), if is_kept { text } else { "" }.into())
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.shared(key).map(|value| &**value)
    }

    /// The value under `key`, to be shared.
    #[must_use]
    pub fn shared(&self, key: &str) -> Option<&Arc<str>> {
        let entries = self.entries();
        let at = entries.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&entries[at].1)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the same map has another owner.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|entries| Arc::strong_count(entries) > 1)
    }

    /// All entries in the order of their keys.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        self.0.as_deref().unwrap_or_default()
    }

    /// All entries as text, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries().iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether every entry of `selector` is here. An empty selector selects nothing, as in a
    /// Service (`spec.selector`), not everything, as in a `LabelSelector`.
    #[must_use]
    pub fn satisfy(&self, selector: &Self) -> bool {
        !selector.is_empty()
            && selector
                .iter()
                .all(|(key, value)| self.get(key) == Some(value))
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Labels {
    /// Of a key that comes twice the last value counts, as in JSON.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<Entry> = entries
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        entries.reverse();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, kept| later.0 == kept.0);
        Self((!entries.is_empty()).then(|| entries.into()))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Labels;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some((key, value)) = map.next_entry::<Text<'_>, Option<Text<'_>>>()? {
                    entries.push(Labels::entry(&key.0, &value.unwrap_or_default().0));
                }
                Ok(entries.into_iter().collect())
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

/// The part of `metadata` that decisions need.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Empty for cluster-scoped objects only; zen-lead handles none.
    #[serde(deserialize_with = "text")]
    pub namespace: Arc<str>,
    /// The object's name.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
    /// Identity across re-creation under the same name.
    pub uid: Uid,
    /// Version of this reading.
    pub resource_version: Version,
    /// When it was created; the epoch when the server did not say.
    pub creation_timestamp: Option<jiff::Timestamp>,
    /// Set while the object is being deleted.
    pub deletion_timestamp: Option<jiff::Timestamp>,
    /// What must happen before it can go.
    #[serde(deserialize_with = "kept_list")]
    pub finalizers: Vec<Box<str>>,
    /// Labels.
    pub labels: Labels,
    /// Annotations; kubectl's last-applied one is emptied.
    pub annotations: Labels,
    /// Owners.
    #[serde(deserialize_with = "kept_list")]
    pub owner_references: Vec<OwnerReference>,
    /// Whether the server tracks who manages which field. The entries are not kept.
    #[serde(rename = "managedFields", deserialize_with = "is_filled")]
    pub is_tracked: bool,
}

impl Meta {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            namespace: Arc::clone(&self.namespace),
            name: Arc::clone(&self.name),
        }
    }

    /// The owner that controls this object, if any.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// Group and version of the owner.
    #[serde(deserialize_with = "text")]
    pub api_version: Arc<str>,
    /// Kind of the owner.
    #[serde(deserialize_with = "text")]
    pub kind: Arc<str>,
    /// Name of the owner.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
    /// Identity of the owner.
    pub uid: Uid,
    /// Whether it is the managing controller; at most one is.
    #[serde(deserialize_with = "flag")]
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for this object.
    #[serde(deserialize_with = "flag")]
    pub block_owner_deletion: bool,
}

/// Reads an object from the protobuf message of its kind.
pub type FromProtobuf<T> = fn(&[u8]) -> Result<T, Malformed>;

/// An object that can be watched: how its frames parse and what tells two of them apart.
pub trait Object: DeserializeOwned + Send + 'static {
    /// Plural name as in the path, for instance `pods`.
    const RESOURCE: &'static str;
    /// Path of the group and version, for instance `/api/v1`.
    const API: &'static str;
    /// Reads it from protobuf. Without this, only JSON is asked for.
    const PROTOBUF: Option<FromProtobuf<Self>> = None;
    /// Whether it matters that there are `managedFields`. If not, the server is asked to leave them out.
    const READS_MANAGED_FIELDS: bool = true;

    /// Namespace and name.
    fn key(&self) -> Key;
    /// Identity.
    fn uid(&self) -> &Uid;
    /// Version of this reading.
    fn version(&self) -> &Version;
}

/// Reads a list, `null` as empty.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

/// The same for a list that is kept: most hold one element, in a place that grew for four.
pub(super) fn kept_list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let mut all = list(deserializer)?;
    all.shrink_to_fit();
    Ok(all)
}

/// Reads a boolean, `null` as false.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads whether a list has elements, and keeps none of them.
fn is_filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Elements;
    impl<'de> Visitor<'de> for Elements {
        type Value = bool;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
            let mut is_filled = false;
            while list.next_element::<IgnoredAny>()?.is_some() {
                is_filled = true;
            }
            Ok(is_filled)
        }
        fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
            Ok(false)
        }
    }
    deserializer.deserialize_any(Elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_keep_their_text_and_compare_as_numbers() {
        for text in [
            "0",
            "7",
            "18446744073709551615",
            "007",
            "+7",
            "v7",
            "",
            "18446744073709551616",
        ] {
            assert_eq!(Version::from(text).to_string(), text);
        }
        let older = |a: &str, b: &str| Version::from(a).is_older_than(&Version::from(b));
        assert!(older("9", "10"));
        assert!(!older("10", "9"));
        assert!(!older("9", "9"));
        assert!(
            !older("v9", "10"),
            "an opaque version compares with nothing"
        );
    }

    #[test]
    fn labels_match_like_a_service_selector() {
        let labels = |pairs: &[(&str, &str)]| -> Labels { pairs.iter().copied().collect() };
        let pod = labels(&[("tier", "db"), ("app", "x")]);
        assert!(pod.satisfy(&labels(&[("app", "x")])));
        assert!(pod.satisfy(&labels(&[("app", "x"), ("tier", "db")])));
        assert!(!pod.satisfy(&labels(&[("app", "y")])));
        assert!(!pod.satisfy(&labels(&[("app", "x"), ("zone", "a")])));
        assert!(
            !pod.satisfy(&Labels::default()),
            "an empty selector selects nothing"
        );
    }

    #[test]
    fn metadata_survives_nulls_and_unknown_fields() {
        let meta: Meta = serde_json::from_str(
            r#"{"name":"a","namespace":"n","uid":"u","resourceVersion":"5","labels":null,
                "finalizers":null,"ownerReferences":null,"managedFields":[{"manager":"m"}],
                "annotations":{"a":"1","a":"2","kubectl.kubernetes.io/last-applied-configuration":"{}"},
                "creationTimestamp":"2026-01-01T00:00:00Z","deletionTimestamp":null}"#,
        )
        .expect("it parses");
        assert_eq!(meta.key(), Key::new("n", "a"));
        assert_eq!(meta.annotations.entries().len(), 2);
        assert_eq!(meta.annotations.get("a"), Some("2"));
        assert_eq!(
            meta.annotations.entries()[1].1.len(),
            0,
            "the largest one is emptied"
        );
        assert!(meta.deletion_timestamp.is_none() && meta.creation_timestamp.is_some());
        assert!(meta.is_tracked);
    }

    #[test]
    fn an_object_is_tracked_if_it_has_managed_fields() {
        for (text, expected) in [
            (r"{}", false),
            (r#"{"managedFields":null}"#, false),
            (r#"{"managedFields":[]}"#, false),
            (
                r#"{"managedFields":[{"manager":"m","fieldsV1":{"f:a":{}}}]}"#,
                true,
            ),
            (r#"{"managedFields":[{},{}],"name":"a"}"#, true),
        ] {
            let meta: Meta = serde_json::from_str(text).expect("it parses");
            assert_eq!(meta.is_tracked, expected, "{text}");
        }
    }
}
