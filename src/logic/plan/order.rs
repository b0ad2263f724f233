//! Which writes of one source must not be under way together.

use super::{Action, Kind, Write};
use crate::logic::model::Family;
use crate::logic::snapshot::is_fallback_of;

impl Write {
    /// Whether this must wait for the end of `under_way`, since what comes of that decides what is to
    /// be done about this: a Service is deleted and a slice written that may be under it, or a slice is
    /// made and another written that may be the same by the name it takes to evade a stranger's.
    #[must_use]
    pub fn must_wait_for(&self, under_way: &Self) -> bool {
        [(self, under_way), (under_way, self)]
            .into_iter()
            .any(|(one, other)| one.rules_out(other))
    }

    fn rules_out(&self, slice: &Self) -> bool {
        let (name, of_slice) = (&*self.target.key.name, &*slice.target.key.name);
        if slice.target.kind != Kind::Slice || matches!(slice.action, Action::Delete { .. }) {
            return false;
        }
        match (self.target.kind, &self.action) {
            (Kind::Service, Action::Delete { .. }) => may_be_of(of_slice, name),
            (Kind::Slice, Action::Create(_)) => {
                is_fallback_of(name, of_slice) || is_fallback_of(of_slice, name)
            }
            _ => false,
        }
    }
}

/// Whether a slice of that name can belong to that Service.
fn may_be_of(slice: &str, service: &str) -> bool {
    let Some(rest) = slice.strip_prefix(service) else {
        return false;
    };
    let both = [Family::IPv4, Family::IPv6];
    let second = both
        .into_iter()
        .find_map(|family| rest.strip_prefix(family.suffix()));
    let base = &slice[..slice.len() - second.unwrap_or(rest).len()];
    slice == base || is_fallback_of(slice, base)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::logic::model::Key;
    use crate::logic::plan::{Lane, Target};

    fn write(text: &str) -> Write {
        let mut words = text.split(' ');
        let mut word = || words.next().expect("verb, kind and name");
        let version = "1".into();
        let action = match word() {
            "create" => Action::Create(json!({}).into()),
            "patch" => Action::Patch {
                version,
                ops: Vec::new(),
            },
            _ => Action::Delete {
                uid: "u".into(),
                version,
            },
        };
        let kind = if word() == "Service" {
            Kind::Service
        } else {
            Kind::Slice
        };
        Write {
            target: Target {
                kind,
                key: Key::new("n", word()),
            },
            action,
            lane: Lane::Ordinary,
        }
    }

    #[test]
    fn who_waits_for_whom() {
        for (one, other, expected) in [
            ("delete Service a", "create Slice a", true),
            ("delete Service a", "patch Slice a-ipv6", true),
            ("delete Service a", "create Slice a-01234567", true),
            ("delete Service a", "patch Slice a-ipv4-01234567", true),
            ("delete Service a", "patch Slice a-leader", false),
            ("delete Service a", "patch Slice a-ipv6-leader", false),
            ("delete Service a", "patch Slice ab", false),
            ("delete Service a", "delete Slice a", false),
            ("delete Service a", "create Slice b", false),
            ("delete Service a-b", "create Slice a", false),
            ("create Service a", "create Slice a", false),
            ("patch Service a", "patch Slice a", false),
            ("delete Service a", "create Service b", false),
            ("create Slice a", "create Slice a-01234567", true),
            ("create Slice a", "patch Slice a-01234567", true),
            ("create Slice a-01234567", "patch Slice a", true),
            ("create Slice a", "delete Slice a-01234567", false),
            ("patch Slice a", "patch Slice a-01234567", false),
            ("create Slice a", "create Slice a-ipv6", false),
            ("create Slice a-ipv6", "create Slice a-ipv6-01234567", true),
            ("create Slice a", "create Slice a-ipv6-01234567", false),
        ] {
            let (first, second) = (write(one), write(other));
            assert_eq!(first.must_wait_for(&second), expected, "{one}, {other}");
            assert_eq!(second.must_wait_for(&first), expected, "{other}, {one}");
        }
    }
}
