use std::time::Duration;

use super::*;

fn at(seconds: i64) -> Moment {
    Moment(seconds * 1_000_000)
}

fn lease() -> Key {
    Key::new("n", "lock")
}

fn source(name: &str) -> Key {
    Key::new("n", name)
}

/// A reading whose holder wrote it at `renewed`.
fn reading(version: u64, holder: &str, seconds: u64, renewed: u64) -> FollowedLease {
    FollowedLease {
        key: lease(),
        uid: "u".into(),
        version: Version::Number(version),
        holder: (!holder.is_empty()).then(|| holder.into()),
        duration: (seconds > 0).then(|| Duration::from_secs(seconds)),
        content: renewed,
    }
}

fn ignore(_: Vec<Key>) {}

fn names(keys: &[Key]) -> String {
    let names: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
    names.join(" ")
}

/// A store in which `a` follows a Lease of 15 s that `p` wrote at second 0.
fn followed() -> Store {
    let store = Store::default();
    let change = store.follow(&source("a"), Some(&lease()), false);
    assert_eq!(change, FollowChange::Unread);
    let touched = store.put_lease(reading(1, "p", 15, 1), at(0));
    assert_eq!(names(&touched), "a", "it appeared");
    store
}

fn fact(store: &Store, name: &str) -> LeaseFact {
    match store.lease_of(&source(name)) {
        Lease::Present(fact) => fact,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_what_a_step_can_see_concerns_a_source() {
    for (sentence, seconds, reading, expected) in [
        ("a renewal", 2, reading(2, "p", 15, 2), ""),
        ("the last moment of one", 14, reading(2, "p", 15, 2), ""),
        ("it was silent until now", 15, reading(2, "p", 15, 2), "a"),
        ("another holder", 2, reading(2, "q", 15, 2), "a"),
        ("released", 2, reading(2, "", 1, 2), "a"),
        ("another duration", 2, reading(2, "p", 30, 2), "a"),
        (
            "the same version, from a list",
            2,
            reading(1, "p", 15, 1),
            "",
        ),
        ("an edit of its labels", 2, reading(2, "p", 15, 1), ""),
        ("an older version", 2, reading(0, "q", 15, 9), ""),
        // Nor does one that is delivered again end a silence.
        (
            "delivered again after a silence",
            99,
            reading(1, "p", 15, 1),
            "",
        ),
    ] {
        let store = followed();
        let touched = store.put_lease(reading, at(seconds));
        assert_eq!(names(&touched), expected, "{sentence}");
    }
}

#[test]
fn a_lease_changes_by_what_its_holder_writes_and_by_our_clock() {
    let store = followed();
    ignore(store.put_lease(reading(2, "p", 15, 1), at(3)));
    assert_eq!(
        fact(&store, "a").changed,
        at(0),
        "an edit by another client"
    );
    ignore(store.put_lease(reading(3, "p", 15, 2), at(4)));
    assert_eq!(fact(&store, "a").changed, at(4), "a renewal");
    ignore(store.put_lease(reading(3, "p", 15, 2), at(9)));
    assert_eq!(fact(&store, "a").changed, at(4), "listed again");
    ignore(store.put_lease(reading(2, "p", 15, 1), at(9)));
    assert_eq!(fact(&store, "a").changed, at(4), "an older reading");
}

#[test]
fn without_a_duration_it_is_never_silent() {
    let store = followed();
    ignore(store.put_lease(reading(2, "p", 0, 2), at(1)));
    let touched = store.put_lease(reading(3, "p", 0, 3), at(10_000));
    assert_eq!(names(&touched), "");
}

#[test]
fn the_next_write_is_news_for_a_source_that_waits_for_it() {
    let store = followed();
    assert_eq!(
        store.follow(&source("b"), Some(&lease()), false),
        FollowChange::Known
    );
    assert_eq!(
        store.follow(&source("a"), Some(&lease()), true),
        FollowChange::AsBefore
    );
    let again = store.put_lease(reading(1, "p", 15, 1), at(1));
    assert_eq!(names(&again), "", "that is no write");
    let next = store.put_lease(reading(2, "p", 15, 2), at(2));
    assert_eq!(names(&next), "a");
    let later = store.put_lease(reading(3, "p", 15, 3), at(4));
    assert_eq!(names(&later), "", "it does not wait any more");
}

#[test]
fn a_lease_that_is_gone_is_missed_until_it_is_back() {
    let store = followed();
    let touched = store.remove_lease(&lease(), &Version::Number(0));
    assert_eq!(names(&touched), "", "it is newer than that");
    let touched = store.remove_lease(&lease(), &Version::Number(5));
    assert_eq!(names(&touched), "a");
    assert_eq!(
        store.lease_of(&source("a")),
        Lease::Absent(Absence::NotFound)
    );
    let touched = store.put_lease(reading(4, "p", 15, 1), at(2));
    assert_eq!(names(&touched), "", "a late frame of the one that is gone");
    let touched = store.put_lease(reading(6, "p", 15, 1), at(3));
    assert_eq!(names(&touched), "a");
    assert_eq!(fact(&store, "a").changed, at(3));
}

#[test]
fn a_list_tells_what_is_gone_where_it_was_made() {
    let store = followed();
    ignore(store.put_lease(
        FollowedLease {
            key: Key::new("m", "lock"),
            ..reading(1, "p", 15, 1)
        },
        at(0),
    ));
    let none: HashSet<Key> = HashSet::new();
    let elsewhere = |key: &Key| &*key.namespace == "m";
    let touched = store.retain_leases(elsewhere, &none, &Version::Number(9));
    assert_eq!((names(&touched).as_str(), store.leases()), ("", 1));
    let touched = store.retain_leases(|_| true, &none, &Version::Number(0));
    assert_eq!(names(&touched), "", "the list is older");
    let touched = store.retain_leases(|_| true, &none, &Version::Number(9));
    assert_eq!(names(&touched), "a");
}

/// §7: a server that was restored from a backup shows lower versions.
#[test]
fn after_a_restore_every_reading_is_newer() {
    let store = followed();
    ignore(store.put_lease(reading(900, "p", 15, 2), at(1)));
    store.outdate_leases(|_| true);
    assert_eq!(
        store.lease_of(&source("a")),
        Lease::Present(LeaseFact {
            holder: Some("p".into()),
            duration: Some(Duration::from_secs(15)),
            changed: at(1)
        }),
        "what is known stays"
    );
    let touched = store.put_lease(reading(7, "p", 15, 2), at(2));
    assert_eq!(names(&touched), "", "the same content");
    assert_eq!(fact(&store, "a").changed, at(1));
    let touched = store.put_lease(reading(8, "q", 15, 3), at(3));
    assert_eq!(names(&touched), "a");
}

#[test]
fn what_cannot_be_read_is_told_once() {
    let store = Store::default();
    let _ = store.follow(&source("a"), Some(&lease()), false);
    assert_eq!(store.lease_of(&source("a")), Lease::Unread);
    let unreachable = Absence::Unreachable;
    let touched = store.miss_lease(&lease(), unreachable);
    assert_eq!(names(&touched), "a");
    assert_eq!(names(&store.miss_lease(&lease(), unreachable)), "");
    assert_eq!(names(&store.miss_lease(&lease(), Absence::Forbidden)), "a");
    let touched = store.put_lease(reading(1, "p", 15, 1), at(1));
    assert_eq!(names(&touched), "a");
    // What was read stays while the server cannot be reached, and its silence is counted.
    assert_eq!(names(&store.miss_lease(&lease(), unreachable)), "");
    assert_eq!(names(&store.miss_lease(&lease(), Absence::NotFound)), "");
    assert_eq!(names(&store.miss_lease(&lease(), Absence::Forbidden)), "a");
}

#[test]
fn sources_come_and_go() {
    let store = followed();
    let other = Key::new("m", "lock");
    assert_eq!(store.followed_leases(), [lease()]);
    assert_eq!(
        store.follow(&source("b"), Some(&lease()), false),
        FollowChange::Known,
        "what is in sight is known at once"
    );
    assert_eq!(
        store.follow(&source("a"), Some(&other), false),
        FollowChange::Unread
    );
    assert_eq!(store.followed_leases(), [other.clone(), lease()]);
    let touched = store.put_lease(reading(2, "q", 15, 2), at(1));
    assert_eq!(names(&touched), "b");
    assert_eq!(
        store.follow(&source("a"), None, false),
        FollowChange::Unread
    );
    assert_eq!(
        store.follow(&source("a"), None, false),
        FollowChange::AsBefore
    );
    assert_eq!(
        store.follow(&source("b"), None, false),
        FollowChange::Unread
    );
    assert_eq!(store.followed_leases(), []);
    assert_eq!(store.leases(), 1, "the watch still shows it");
    store.forget_leases(|_| false);
    assert_eq!(store.leases(), 0);
}
