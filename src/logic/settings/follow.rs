//! Reads `zen-lead.io/follow`.

use std::sync::Arc;

use super::asked::{is_label_value, is_qualified_name};
use super::{Problem, Settings, is_dns_label, is_dns_subdomain};
use crate::logic::follow::Follow;
use crate::logic::well_known::FOLLOW;

impl Settings {
    /// Refuses a Lease of another namespace than the source's that is not allowed. As after a typo, the
    /// last valid value stays.
    #[must_use]
    pub fn forbid_leases(
        &mut self,
        own: &str,
        allowed: &[Arc<str>],
        last: &Self,
    ) -> Option<Problem> {
        let Some(Follow::Lease {
            namespace: Some(namespace),
            ..
        }) = &self.follow
        else {
            return None;
        };
        if **namespace == *own || allowed.contains(namespace) {
            return None;
        }
        let kept = last.follow.clone().or(Some(Follow::Unclear));
        let asked = std::mem::replace(&mut self.follow, kept)?.to_string();
        let expected = "a Lease of the Service's own namespace, or of one that the flag --follow-lease-namespaces names";
        Some(Problem::new(FOLLOW, &asked, expected))
    }
}

/// Where the application says which pod leads.
pub(super) fn read(value: &str) -> Result<Follow, String> {
    let expected = |why: String| {
        format!("label/<key>=<value>, lease/<name> or lease/<namespace>/<name> ({why})")
    };
    match value.split_once('/') {
        Some(("label", label)) => read_label(label).map_err(expected),
        Some(("lease", lease)) => read_lease(lease).map_err(expected),
        _ => Err(expected("it begins with neither label/ nor lease/".into())),
    }
}

fn read_label(label: &str) -> Result<Follow, String> {
    let Some((key, value)) = label.split_once('=') else {
        return Err(format!("{label:?} has no '='"));
    };
    if !is_qualified_name(key) {
        return Err(format!("{key:?} is no label name"));
    }
    if !is_label_value(value) {
        return Err(format!("{value:?} is no label value"));
    }
    Ok(Follow::Label {
        key: key.into(),
        value: value.into(),
    })
}

fn read_lease(lease: &str) -> Result<Follow, String> {
    let (namespace, name) = match lease.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, lease),
    };
    if let Some(namespace) = namespace.filter(|namespace| !is_dns_label(namespace)) {
        return Err(format!("{namespace:?} is no name of a namespace"));
    }
    if !is_dns_subdomain(name) {
        return Err(format!("{name:?} is no name of a Lease"));
    }
    Ok(Follow::Lease {
        namespace: namespace.map(Into::into),
        name: name.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::read as read_all;
    use super::*;
    use crate::logic::well_known::{FAILOVER_MIN_DELAY, PREFERRED_LEADER};
    use std::time::Duration;

    fn label(key: &str, value: &str) -> Follow {
        Follow::Label {
            key: key.into(),
            value: value.into(),
        }
    }

    fn lease(namespace: Option<&str>, name: &str) -> Follow {
        Follow::Lease {
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    #[test]
    fn a_label_or_a_lease_can_be_followed() {
        for (value, expected) in [
            ("label/role=primary", label("role", "primary")),
            (
                "label/cnpg.io/instanceRole=primary",
                label("cnpg.io/instanceRole", "primary"),
            ),
            ("label/leads=", label("leads", "")),
            ("lease/db", lease(None, "db")),
            ("lease/db.example.com", lease(None, "db.example.com")),
            ("lease/other/db", lease(Some("other"), "db")),
        ] {
            assert_eq!(read(value), Ok(expected.clone()), "{value}");
            assert_eq!(expected.to_string(), value, "it is spelled as it is read");
        }
        for (value, says) in [
            ("", "neither label/ nor lease/"),
            ("true", "neither label/ nor lease/"),
            ("Label/role=primary", "neither label/ nor lease/"),
            ("configmap/db", "neither label/ nor lease/"),
            ("label/role", "has no '='"),
            ("label/=primary", "no label name"),
            ("label/a/b/c=d", "no label name"),
            ("label/role=a=b", "no label value"),
            ("label/role=-a", "no label value"),
            ("lease/", "no name of a Lease"),
            ("lease/DB", "no name of a Lease"),
            ("lease/a/b/c", "no name of a Lease"),
            ("lease//db", "no name of a namespace"),
            ("lease/a.b/db", "no name of a namespace"),
            ("lease/db/", "no name of a Lease"),
        ] {
            let why = read(value).expect_err(value);
            assert!(
                why.contains(says) && why.contains("lease/<namespace>/<name>"),
                "{value}: {why}"
            );
        }
    }

    #[test]
    fn an_invalid_value_keeps_the_last_valid_one_and_never_begins_to_elect() {
        let typo = [(FOLLOW, "lable/role=primary")].into_iter().collect();
        let follow = |last: &Settings| read_all(&typo, last).0.follow;
        let none = Settings::default();
        assert_eq!(follow(&none), Some(Follow::Unclear), "none is known");
        for last in [label("role", "primary"), lease(None, "db"), Follow::Unclear] {
            let known = Settings {
                follow: Some(last.clone()),
                ..Settings::default()
            };
            assert_eq!(follow(&known), Some(last));
        }
        let problems = read_all(&typo, &none).1;
        let text = problems[0].to_string();
        assert!(text.contains(FOLLOW) && text.contains("lable"), "{text}");
    }

    #[test]
    fn a_leader_is_kept_a_moment_by_default_while_following() {
        for (follow, delay, expected) in [
            (None, None, 0),
            (None, Some("300ms"), 300),
            (Some("lease/db"), None, 250),
            (Some("lease/db"), Some("soon"), 250),
            (Some("lease/db"), Some("0s"), 0),
            (Some("lease/db"), Some("2s"), 2_000),
            (Some("typo"), None, 250),
        ] {
            let follow = follow.map(|value| (FOLLOW, value));
            let delay = delay.map(|value| (FAILOVER_MIN_DELAY, value));
            let annotations = follow.into_iter().chain(delay).collect();
            let (settings, _) = read_all(&annotations, &Settings::default());
            assert_eq!(
                settings.failover_delay(),
                Duration::from_millis(expected),
                "{follow:?} {delay:?}"
            );
        }
    }

    #[test]
    fn a_preferred_leader_is_refused_while_following() {
        let both = [(FOLLOW, "lease/db"), (PREFERRED_LEADER, "db-1")];
        let (settings, problems) = read_all(&both.into_iter().collect(), &Settings::default());
        assert_eq!(settings.preferred, None);
        let text = problems[0].to_string();
        assert!(
            problems.len() == 1
                && text.contains(PREFERRED_LEADER)
                && text.contains("the application decides"),
            "{text}"
        );
    }

    #[test]
    fn a_lease_of_another_namespace_has_to_be_allowed() {
        let allowed = ["platform".into()];
        let (label, own) = (label("role", "primary"), lease(Some("n"), "db"));
        let secret = lease(Some("secret"), "db");
        for (asked, last, expected, is_told) in [
            (lease(None, "db"), None, lease(None, "db"), false),
            (own.clone(), None, own, false),
            (
                lease(Some("platform"), "db"),
                None,
                lease(Some("platform"), "db"),
                false,
            ),
            (secret.clone(), None, Follow::Unclear, true),
            (secret, Some(label.clone()), label.clone(), true),
            (label.clone(), None, label, false),
        ] {
            let following = |follow| Settings {
                follow,
                ..Settings::default()
            };
            let mut settings = following(Some(asked.clone()));
            let problem = settings.forbid_leases("n", &allowed, &following(last));
            assert_eq!(settings.follow, Some(expected), "{asked}");
            let text = problem.map(|problem| problem.to_string());
            assert_eq!(text.is_some(), is_told, "{asked}");
            if let Some(text) = text {
                let names = [FOLLOW, "lease/secret/db", "--follow-lease-namespaces"];
                assert!(names.iter().all(|name| text.contains(name)), "{text}");
            }
        }
    }
}
