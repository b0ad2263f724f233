//! The built demo, from its first line to its exit code.

use std::path::PathBuf;
use std::process::{Command, Output};

/// The demo that cargo built beside this test.
fn demo() -> Command {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(|deps| deps.parent());
    let demo: PathBuf = folder.expect("target/<profile>/deps").join("examples/demo");
    assert!(
        demo.exists(),
        "{} is missing: cargo build -p zen-lab --example demo",
        demo.display()
    );
    Command::new(demo)
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).expect("text")
}

#[test]
fn the_tour_comes_out_as_expected() {
    let output = demo().arg("--once").output().expect("it runs");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.ends_with("\n6 of 6 steps as expected\n"), "{said}");
    // 1. Every step is told, and once more in the summary.
    for title in [
        "opt-in",
        "crash failover",
        "graceful termination",
        "none ready",
        "recovery",
        "opt-out",
    ] {
        let steps = said
            .lines()
            .filter(|line| line.contains(&format!("/6 {title}: ")));
        assert_eq!(steps.count(), 1, "{title}\n{said}");
        let rows = said
            .lines()
            .filter(|line| line.starts_with(title) && line.ends_with(" ms"));
        assert_eq!(rows.count(), 1, "{title}\n{said}");
    }
    // 2. What the controller says agrees with what the client saw.
    let count = |what: &str| said.matches(what).count();
    assert_eq!(count("event  LeaderChanged: "), 2, "{said}");
    assert_eq!(count("event  Warning NoReadyPods: "), 1, "{said}");
    assert_eq!(count("event  LeaderRoutingAvailable: "), 2, "{said}");
    assert_eq!(count("(notReady, "), 1, "{said}");
    assert_eq!(count("(terminating, "), 1, "{said}");
    assert_eq!(count("(noneReady, "), 1, "{said}");
    assert_eq!(count(", while my-app-"), 1, "make before break\n{said}");
    assert!(said.contains("\nfailovers: 2, latency median "), "{said}");
    // 3. Nothing stays behind.
    let kubeconfig = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("export KUBECONFIG="));
    let kubeconfig = PathBuf::from(kubeconfig.expect("a kubeconfig"));
    assert!(!kubeconfig.exists(), "{}", kubeconfig.display());
}

#[test]
fn what_cannot_be_is_refused_in_a_line() {
    for (flags, expected) in [
        (
            &["--interactive"][..],
            "demo: --interactive needs a terminal\n",
        ),
        (
            &["--interactive", "--once"][..],
            "demo: --once and --interactive exclude each other\n",
        ),
    ] {
        let output = demo().args(flags).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert_eq!(text(&output), expected, "{flags:?}");
    }
}
