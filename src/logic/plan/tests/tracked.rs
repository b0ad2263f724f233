//! When the managedFields of a slice are cleared.

use serde_json::{Value, json};

use super::lab;
use crate::logic::plan::{Action, Kind, Op};
use crate::logic::testkit::{Lab, set_key};

const RESET: &str = "/metadata/managedFields";

fn is_tracked(lab: &Lab, kind: Kind) -> bool {
    let objects = match kind {
        Kind::Service => &lab.world.services,
        Kind::Slice => &lab.world.slices,
    };
    objects["s-leader"].pointer(RESET).is_some()
}

/// How many patches were written since the last look, and the objects that they reset.
fn written(lab: &mut Lab) -> (usize, Vec<Kind>) {
    let is_reset = |op: &Op| op.path() == RESET;
    let patches = lab.writes.iter().filter_map(|write| match &write.action {
        Action::Patch { ops, .. } => Some((write.target.kind, ops.iter().any(is_reset))),
        Action::Create(_) | Action::Delete { .. } => None,
    });
    let patches: Vec<_> = patches.collect();
    lab.forget();
    let resets = patches.iter().filter(|(_, is_reset)| *is_reset);
    (patches.len(), resets.map(|(kind, _)| *kind).collect())
}

#[test]
fn the_next_patch_of_a_slice_clears_its_managed_fields() {
    let mut lab = lab(|_| {});
    assert!(
        is_tracked(&lab, Kind::Slice),
        "the server tracks a create (§2)"
    );
    for _ in 0..3 {
        lab.settle();
    }
    assert_eq!(written(&mut lab), (0, vec![]), "they cause no write (§2)");

    lab.world.delete_pod("a");
    lab.settle();
    assert_eq!(lab.objects(), "s-leader: b");
    assert!(
        !is_tracked(&lab, Kind::Slice),
        "a failover clears them (§2)"
    );
    // The slice, and the leader Service that names the leader.
    assert_eq!(written(&mut lab), (2, vec![Kind::Slice]));

    lab.world
        .put_pod(crate::logic::testkit::pod("c").created(3));
    lab.world.delete_pod("b");
    lab.settle();
    assert_eq!(
        written(&mut lab),
        (2, vec![]),
        "their absence is no drift (§2)"
    );
}

/// Whatever a patch of a slice is for, it clears what another client's apply has brought back.
#[test]
fn every_patch_of_a_slice_clears_them() {
    type Edit = fn(&mut Lab);
    let rows: [(&str, Edit); 5] = [
        ("a label", |lab| {
            lab.world.edit_slice("s-leader", |slice| {
                set_key(
                    &mut slice["metadata"],
                    "labels",
                    "kubernetes.io/service-name",
                    None,
                );
            });
        }),
        ("an endpoint", |lab| {
            lab.world
                .edit_slice("s-leader", |slice| slice["endpoints"] = Value::Null);
        }),
        ("the owner", |lab| {
            lab.world.edit_slice("s-leader", |slice| {
                slice["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into();
            });
        }),
        ("the ports", |lab| {
            lab.world
                .edit_service("s", |body| body["spec"]["ports"][0]["name"] = "sql".into());
        }),
        ("withdrawn, held by a finalizer", |lab| {
            lab.world.edit_slice("s-leader", |slice| {
                slice["metadata"]["finalizers"] = json!(["example.com/hold"]);
            });
            lab.world.annotate("s", "zen-lead.io/enabled", None);
        }),
    ];
    for (what, edit) in rows {
        let mut lab = lab(|_| {});
        edit(&mut lab);
        lab.settle();
        let (_, resets) = written(&mut lab);
        assert_eq!(resets, [Kind::Slice], "{what}");
        assert!(!is_tracked(&lab, Kind::Slice), "{what}");
    }
}

#[test]
fn a_leader_service_keeps_its_managed_fields() {
    let mut lab = lab(|_| {});
    lab.world.edit_service("s-leader", |service| {
        service["metadata"]["managedFields"] = json!([{"manager": "its creator"}]);
    });
    lab.world.delete_pod("a");
    lab.settle();
    assert!(
        is_tracked(&lab, Kind::Service),
        "never on the leader Service (§2)"
    );
}

#[test]
fn a_slice_that_is_left_behind_is_cleared_as_it_follows() {
    let mut lab = lab(|_| {});
    lab.world.edit_slice("s-leader", |slice| {
        slice["metadata"]["managedFields"] = json!([{"manager": "its creator"}]);
    });
    lab.world
        .annotate("s", "zen-lead.io/leader-service-name", Some("other"));
    // The new Service comes first, so the old slice follows the leader until then.
    lab.world.delete_pod("a");
    let writes = lab.look();
    let follow = writes.iter().find(|write| write.target.kind == Kind::Slice);
    let Some(Action::Patch { ops, .. }) = follow.map(|write| &write.action) else {
        panic!("a patch of the old slice: {writes:?}");
    };
    assert_eq!(ops.last().map(Op::path), Some(RESET));
}
