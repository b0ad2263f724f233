//! What a Lease that a Service follows costs: a count of bytes, not a time.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use zen_lead::logic::model::{FollowedLease, Key};
use zen_lead::logic::reflect::Frame;
use zen_lead::logic::time::Moment;
use zen_lead::store::Store;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LEASES: usize = 1_000;
/// Namespace, name and holder, which are thrown away with the frame, and what the parser keeps of the
/// brackets that it skips.
const ALLOCATIONS_MAX: usize = 4;
const LEASE_BYTES_MAX: usize = 1_024;

/// As client-go and its API server write it, with what other clients put on it.
fn frame(lease: usize, version: usize) -> Vec<u8> {
    let text = format!(
        r#"{{"type":"MODIFIED","object":{{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{{"name":"application-leader-{lease:04}","namespace":"team-{}","uid":"11111111-2222-3333-4444-{lease:012}","resourceVersion":"{version}","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app.kubernetes.io/name":"application","team":"blue"}},"annotations":{{"note":"{}"}},"managedFields":[{{"manager":"application","operation":"Update","apiVersion":"coordination.k8s.io/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{{"f:spec":{{"f:renewTime":{{}}}}}}}}]}},"spec":{{"holderIdentity":"application-{lease:04}-0_11111111-2222-3333-4444-{lease:012}","leaseDurationSeconds":15,"acquireTime":"2026-01-01T00:00:00.000000Z","renewTime":"2026-01-01T00:00:00.{:06}Z","leaseTransitions":7}}}}}}"#,
        lease % 10,
        "x".repeat(2_000),
        version % 1_000_000,
    );
    text.into_bytes()
}

fn take(store: &Store, line: &[u8], at: i64) -> usize {
    match Frame::<FollowedLease>::parse(line) {
        Ok(Frame::Applied(lease)) => store.put_lease(lease, Moment(at)).len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_renewal_keeps_nothing_and_a_lease_takes_little() {
    let store = Store::default();
    let lines: Vec<_> = (0..LEASES).map(|lease| frame(lease, 1 + lease)).collect();
    let region = Region::new(ALLOCATOR);
    for (lease, line) in lines.iter().enumerate() {
        let namespace = format!("team-{}", lease % 10);
        let source = Key::new(&*namespace, format!("application-{lease:04}"));
        let followed = source.sibling(format!("application-leader-{lease:04}"));
        let _ = store.follow(&source, Some(&followed), false);
        assert_eq!(take(&store, line, 0), 1, "it appeared");
    }
    let change = region.change();
    let kept = change.bytes_allocated - change.bytes_deallocated;
    assert!(
        kept <= LEASES * LEASE_BYTES_MAX,
        "{} bytes a Lease",
        kept / LEASES
    );
    println!("{} bytes a Lease", kept / LEASES);

    let lines: Vec<_> = (0..LEASES)
        .map(|lease| frame(lease, 1 + LEASES + lease))
        .collect();
    let region = Region::new(ALLOCATOR);
    for line in &lines {
        assert_eq!(
            take(&store, line, 2_000_000),
            0,
            "nothing was to be decided"
        );
    }
    let change = region.change();
    assert!(
        change.allocations <= LEASES * ALLOCATIONS_MAX,
        "{} allocations in {LEASES} renewals",
        change.allocations
    );
    assert_eq!(
        change.bytes_allocated, change.bytes_deallocated,
        "nothing is kept"
    );
}
