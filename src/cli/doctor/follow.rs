//! What the doctor makes of Services that follow their application's own leader. Pure.

use super::super::report::Judged;
use super::checks::Finding;
use crate::logic::follow::{self, Follow, Named};
use crate::logic::model::Key;
use crate::logic::time::Moment;

/// What is wrong with what a source follows, unless the controller's own words say it already.
pub(super) fn following(judged: &Judged) -> Option<String> {
    let follow = judged.settings.follow.as_ref()?;
    let source = judged.snapshot.source.as_ref()?;
    let key = &judged.snapshot.key;
    if let Follow::Label { key: label, value } = follow
        && source.spec.selector.get(label) == Some(&**value)
    {
        return Some(format!(
            "Service {key}: its selector contains the followed label {label}={value}. It selects the leader \
             only, which cannot be told from a pod that has lost the label: select every member"
        ));
    }
    let claim = follow::claim(follow, &judged.snapshot, Moment::default());
    let sentence = claim.to_string();
    let is_told = |problem: &String| problem.contains(&sentence);
    let is_wrong =
        !matches!(claim.named, Named::Pod(..)) && !judged.report.problems.iter().any(is_told);
    is_wrong.then(|| format!("Service {key}: {sentence}"))
}

/// The rights of the controller on a Lease that a source follows.
pub(super) fn followed_rights(user: &str, source: &Key, lease: &Key, denied: &[&str]) -> Finding {
    if denied.is_empty() {
        return Finding::fine(format!(
            "{user} may read the Lease {lease}, which Service {source} follows"
        ));
    }
    Finding::wrong(format!(
        "{user} may not {} the Lease {lease}, which Service {source} follows; manifests/optional/follow.yaml \
         has a Role for it",
        denied.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::super::checks::tests::word;
    use super::*;

    #[test]
    fn rights_on_a_lease_that_is_followed() {
        let (source, lease) = (Key::new("shop", "db"), Key::new("shop", "elect"));
        let finding = word(&followed_rights("zl", &source, &lease, &[]));
        assert!(finding.starts_with("Fine zl may read"), "{finding}");
        let finding = word(&followed_rights("zl", &source, &lease, &["list", "watch"]));
        let expected =
            "Wrong zl may not list, watch the Lease shop/elect, which Service shop/db follows";
        assert!(finding.starts_with(expected), "{finding}");
    }
}
