//! The commands, with a controller at work, in process against simkube.

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use simkube::{Kind, Rule, Verb, Verdict};
use support::{NS, World, secs};
use zen_lead::cli::{Cluster, Typed, answer, read};

/// What a command printed, or why it could not.
async fn typed(world: &World, words: &str) -> Result<String, String> {
    let mut out = Vec::new();
    let well = run(world, words, &mut out).await?;
    let text = String::from_utf8(out).expect("text");
    if well { Ok(text) } else { Err(text) }
}

async fn run(world: &World, words: &str, out: &mut dyn io::Write) -> Result<bool, String> {
    let words: Vec<String> = words.split_whitespace().map(String::from).collect();
    let Typed::Call(call) = read("zen-lead", &words) else {
        panic!("{words:?} is a command");
    };
    let cluster = Cluster::with(world.kube.client_named("cli"), NS, world.clock());
    let done = answer(&call, &cluster, out).await;
    done.map_err(|why| format!("{why:#}"))
}

async fn print(world: &World, words: &str) -> String {
    let printed = typed(world, words).await;
    printed.unwrap_or_else(|why| panic!("{words}: {why}"))
}

#[tokio::test(start_paused = true)]
async fn status_tells_who_leads_and_why() {
    let world = World::serving(&["a", "b", "c"]).await;
    let text = print(&world, "status").await;
    let line = text.lines().nth(1).expect("one Service");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..4], ["web", "web-leader", "Serving", "a"], "{text}");
    assert_eq!(words[5..], ["3/3", "-"], "{text}");

    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    world.settle().await;
    let text = print(&world, "status web -o wide").await;
    let words: Vec<&str> = text
        .lines()
        .nth(1)
        .expect("it")
        .split_whitespace()
        .collect();
    assert_eq!(words[3], "b", "{text}");
    assert_eq!(words[5..8], ["2/3", "notReady", "c"], "{text}");
    assert_eq!(words[10..], ["oldest", "-", "-"], "{text}");

    let list: Value =
        serde_json::from_str(&print(&world, "status -A -o json").await).expect("JSON");
    assert_eq!(list["version"], 1);
    let item = &list["items"][0];
    assert_eq!(item["leader"]["pod"], "b");
    assert_eq!(item["pods"], json!({"eligible": 2, "matching": 3}));
    assert_eq!(
        (&item["next"], &item["lastReason"]),
        (&json!("c"), &json!("notReady"))
    );
    assert_eq!(
        (&item["pending"], &item["problems"]),
        (&Value::Null, &json!([]))
    );
    let address = world.slice("web").expect("there")["endpoints"][0]["addresses"][0].clone();
    assert_eq!(item["leader"]["address"], address);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_said_in_a_line() {
    let world = World::serving(&["a"]).await;
    world
        .kube
        .service(NS, "plain")
        .selector(&[("app", "x")])
        .port("p", 1, 1)
        .create();
    for (words, expected) in [
        (
            "status nothing",
            "Service shop/nothing is not opted in, or does not exist",
        ),
        ("explain nothing", "there is no Service shop/nothing"),
        ("switchover nothing", "there is no Service shop/nothing"),
        (
            "pause plain",
            "Service shop/plain is not opted in; annotate it with zen-lead.io/enabled=true first",
        ),
        (
            "switchover web",
            "Service shop/web: no other pod is eligible; see zen-lead explain web",
        ),
        (
            "switchover web --to x",
            "--to: got \"x\", expected a pod of Service shop/web: a",
        ),
        (
            "leader plain",
            "Service shop/plain has no leader; see zen-lead explain plain",
        ),
    ] {
        assert_eq!(typed(&world, words).await, Err(expected.into()), "{words}");
    }
    assert_eq!(
        print(&world, "status -n default").await,
        "",
        "told on standard error"
    );
    let text = print(&world, "explain plain").await;
    assert!(text.contains("not opted in"), "{text}");
    let text = print(&world, "explain web-leader").await;
    assert!(
        text.contains("the leader Service of web, and no source itself"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn explain_judges_every_pod_and_names_the_successor() {
    let world = World::serving(&["a", "b", "c", "d"]).await;
    world.kube.set_ready(NS, "b", false);
    world.kube.delete_pod(NS, "c", 30);
    world.settle().await;
    let text = print(&world, "explain web").await;
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.starts_with("ORDER"))
        .take_while(|line| !line.is_empty())
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .collect()
        })
        .collect();
    let expected = [
        vec!["ORDER", "POD", "ELIGIBLE", "WHY"],
        vec!["a", "leads", "Ready for 6s, created 6s ago"],
        vec!["1", "d", "yes", "Ready for 6s, created 6s ago"],
        vec!["b", "no", "not Ready for 3s"],
        vec!["c", "no", "terminating, and still Ready"],
    ];
    assert_eq!(rows, expected, "{text}");
    assert!(text.contains("\nIf a died now, d would lead.\n"), "{text}");

    let told: Value =
        serde_json::from_str(&print(&world, "explain web -o json").await).expect("JSON");
    let obstacles: Vec<(&str, &Value)> = told["candidates"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["pod"].as_str().expect("a name"), &one["obstacle"]))
        .collect();
    let (not_ready, terminating) = (json!("notReady"), json!("terminating"));
    let expected = [
        ("a", &Value::Null),
        ("d", &Value::Null),
        ("b", &not_ready),
        ("c", &terminating),
    ];
    assert_eq!(obstacles, expected);
    // What it foretells comes true.
    world.kube.delete_pod(NS, "a", 0);
    world.until_leader("web", "d").await;
}

/// A pod that is not ripe, and what `min-ready-duration` has to do with it.
#[tokio::test(start_paused = true)]
async fn explain_counts_down() {
    let mut world = World::new();
    let source = world.source("web");
    source
        .annotation("zen-lead.io/min-ready-duration", "1m")
        .create();
    world.pods("web", &["a"]);
    world.start("").await;
    world.settle().await;
    let text = print(&world, "explain web").await;
    assert!(
        text.contains("Ready for 3s, and must be for 57s more"),
        "{text}"
    );
    assert!(text.contains("\nNo pod can lead now.\n"), "{text}");
    assert!(text.contains("! NoReadyPods: "), "{text}");
    let status = print(&world, "status").await;
    assert!(status.contains("Electing!"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_switchover_is_asked_for_and_waited_for() {
    let world = World::serving(&["a", "b", "c"]).await;
    let text = print(&world, "switchover web --to c --wait").await;
    assert!(text.starts_with("a -> c after "), "{text}");
    assert_eq!(world.leader("web").as_deref(), Some("c"));
    let text = print(&world, "switchover web --to pod/c --wait").await;
    assert_eq!(text, "c leads already; nothing was changed\n");
    // Without a name: the one that would follow.
    let text = print(&world, "switchover svc/web --wait").await;
    assert!(text.starts_with("c -> a after "), "{text}");
    // A pod that was requested before is requested again.
    world.settle().await;
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    world.kube.set_ready(NS, "a", true);
    world.settle().await;
    let text = print(&world, "switchover web --to a --wait").await;
    assert!(text.starts_with("b -> a after "), "{text}");
    let text = print(&world, "switchover web --to b").await;
    assert!(text.starts_with("asked for a -> b"), "{text}");
    world.until_leader("web", "b").await;
}

#[tokio::test(start_paused = true)]
async fn a_switchover_that_does_not_come_is_an_error() {
    let mut world = World::serving(&["a", "b"]).await;
    world.stop().await;
    let why = typed(&world, "switchover web --to b --wait --timeout 5s").await;
    let why = why.expect_err("no controller does it");
    assert!(
        why.starts_with("b does not lead after 5.0 s, but a does; the request stands."),
        "{why}"
    );
    let doctor = typed(&world, "doctor")
        .await
        .expect_err("something is wrong");
    assert!(
        doctor.contains("WRONG Service shop/web: b is to lead and is not published"),
        "{doctor}"
    );
    let status = print(&world, "status").await;
    assert!(status.contains("Serving,Pending"), "{status}");
    world.start("").await;
    world.until_leader("web", "b").await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_set_and_ended() {
    let world = World::serving(&["a", "b"]).await;
    let text = print(&world, "pause web").await;
    assert!(text.starts_with("paused: a leads"), "{text}");
    assert_eq!(
        print(&world, "pause web").await,
        "paused already: a leads\n"
    );
    let status = print(&world, "status").await;
    assert!(status.contains("Serving,Paused"), "{status}");
    let explained = print(&world, "explain web").await;
    assert!(
        explained.contains("If a died now, there would be no leader until the pause ends."),
        "{explained}"
    );
    let why = typed(&world, "switchover web --to b").await;
    assert_eq!(
        why,
        Err("Service shop/web is paused; zen-lead resume web first".into())
    );
    world.settle().await;
    world.kube.set_ready(NS, "a", false);
    world.settle().await;
    assert_eq!(world.leader("web").as_deref(), Some("a"), "it is paused");
    assert_eq!(print(&world, "resume web").await, "resumed: a leads\n");
    world.until_leader("web", "b").await;
    assert_eq!(
        print(&world, "resume web").await,
        "not paused; nothing was changed\n"
    );
}

/// What only the controller knows it has said in an Event: a failover that is held back is not one
/// that no controller carries out.
#[tokio::test(start_paused = true)]
async fn a_leader_that_the_guard_keeps_is_shown_as_such() {
    let mut world = World::new();
    world.source("web").create();
    world.pods("web", &["a", "b"]);
    world
        .start("--failover-budget-per-service=1 --failover-budget-window=30s")
        .await;
    world.until_leader("web", "a").await;
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    world.kube.set_ready(NS, "a", true);
    world.settle().await;
    world.kube.set_ready(NS, "b", false);
    world.settle().await;
    assert_eq!(world.leader("web").as_deref(), Some("b"), "it is kept");
    let status = print(&world, "status").await;
    assert!(status.contains("Serving,Guarded"), "{status}");
    let list: Value = serde_json::from_str(&print(&world, "status -o json").await).expect("JSON");
    assert_eq!(list["items"][0]["guarded"], true);
    let held = "a is to lead and is not published; the storm guard holds it back, \
                see the Event FailoverBudgetExceeded\n";
    let explained = print(&world, "explain web").await;
    assert!(explained.contains(&format!("! {held}")), "{explained}");
    let doctor = typed(&world, "doctor").await.expect_err("it is wrong");
    let about = format!("WRONG Service shop/web: {held}");
    assert!(doctor.contains(&about), "{doctor}");

    // Later, for another reason: that Event is not about it.
    world.until_leader("web", "a").await;
    world.kube.set_ready(NS, "b", true);
    world.settle().await;
    world.stop().await;
    tokio::time::sleep(secs(60)).await;
    world.kube.set_ready(NS, "a", false);
    let status = print(&world, "status").await;
    assert!(status.contains("Serving,Pending"), "{status}");
}

/// Pods `a` on node `x`, `b` on `y` and `c` on `z`, and a controller that leaves cordoned nodes.
async fn on_nodes() -> World {
    let mut world = World::new();
    world.source("web").create();
    for (name, node, ip) in [
        ("a", "x", "10.1.0.1"),
        ("b", "y", "10.1.0.2"),
        ("c", "z", "10.1.0.3"),
    ] {
        world.kube.node(node);
        let pod = world.kube.pod(NS, name).labels(&[("app", "web")]);
        pod.node(node).ip(ip).create();
    }
    world.start("--leave-cordoned-nodes").await;
    world.until_leader("web", "a").await;
    world.settle().await;
    world.clear();
    world
}

async fn cordon(world: &World, node: &str, is: bool) {
    let edit = |node: &mut Value| node["spec"]["unschedulable"] = is.into();
    let edited = world.kube.edit(Kind::Node, "", node, edit);
    edited.expect("it is there");
    world.settle().await;
}

/// What the controller knows of nodes, and what it does not return to, is on the leader Service: the
/// commands see no nodes, and were not there when a leader was left.
#[tokio::test(start_paused = true)]
async fn what_the_controller_holds_against_a_pod_is_known() {
    let world = on_nodes().await;
    cordon(&world, "x", true).await;
    assert_eq!(world.leader("web").as_deref(), Some("b"));
    let expected = [
        "patch EndpointSlice web-leader",
        "patch Service web-leader",
        "create Event LeaderChanged",
    ];
    assert_eq!(
        world.words(),
        expected,
        "no write more than for any failover"
    );
    let text = print(&world, "explain web").await;
    assert!(text.contains("If b died now, c would lead."), "{text}");
    let why = "only if no other can: its node x is cordoned, or about to be deleted";
    assert!(text.contains(why), "{text}");
    world.annotate("web", "zen-lead.io/preferred-leader", Some("a"));
    world.settle().await;
    let status = print(&world, "status").await;
    assert!(
        !status.contains("Pending"),
        "it waits for the node\n{status}"
    );

    // The node may be used again. The leader stays, until the pod there is asked for.
    world.annotate("web", "zen-lead.io/preferred-leader", None);
    cordon(&world, "x", false).await;
    assert_eq!(world.leader("web").as_deref(), Some("b"));
    let text = print(&world, "explain web").await;
    assert!(text.contains("If b died now, c would lead."), "{text}");
    let why = "it was left for a disruption, and is not returned to for 2m";
    assert!(text.contains(why), "{text}");
    let text = print(&world, "switchover web --to a --wait").await;
    assert!(text.starts_with("b -> a after "), "{text}");
    world.settle().await;
    let text = print(&world, "explain web").await;
    assert!(!text.contains("not returned to"), "{text}");
}

/// A node on which none of its leaders is, but one that could follow.
#[tokio::test(start_paused = true)]
async fn the_successor_is_on_no_node_that_goes() {
    let world = on_nodes().await;
    cordon(&world, "y", true).await;
    assert_eq!(world.words(), ["patch Service web-leader"]);
    let text = print(&world, "explain web").await;
    assert!(text.contains("If a died now, c would lead."), "{text}");
    world.clear();
    cordon(&world, "y", false).await;
    assert_eq!(world.words(), ["patch Service web-leader"]);
    let text = print(&world, "explain web").await;
    assert!(text.contains("If a died now, b would lead."), "{text}");
    // What it foretells comes true.
    world.kube.delete_pod(NS, "a", 0);
    world.until_leader("web", "b").await;
}

/// `kubectl exec` into the controller: its namespace is not the one that it serves.
#[tokio::test(start_paused = true)]
async fn in_the_pod_of_a_controller_commands_look_at_what_it_serves() {
    let world = World::serving(&["a", "b"]).await;
    world.kube.set_deny(vec![Rule::new("", "", "zen-lead")]);
    let run = async |words: &str, served: Option<&str>| {
        let words: Vec<String> = words.split_whitespace().map(String::from).collect();
        let Typed::Call(call) = read("zen-lead", &words) else {
            panic!("{words:?} is a command");
        };
        let client = world.kube.client_named("cli");
        let cluster = Cluster::with(client, "zen-lead", world.clock()).within(|name| {
            let value = match name {
                "KUBERNETES_SERVICE_HOST" => "10.0.0.1",
                "POD_NAME" => "zen-lead-0",
                "POD_NAMESPACE" => "zen-lead",
                "ZEN_LEAD_NAMESPACES" => served?,
                _ => return None,
            };
            Some(value.to_owned())
        });
        let mut out = Vec::new();
        let done = answer(&call, &cluster, &mut out).await;
        let text = String::from_utf8(out).expect("text");
        done.map(|_| text).map_err(|why| format!("{why:#}"))
    };
    for served in [Some("shop"), Some("shop,default"), None] {
        let text = run("status", served).await.expect("it can");
        assert!(text.contains(" a "), "{served:?}\n{text}");
    }
    let text = run("explain web", Some("shop")).await.expect("it can");
    assert!(text.contains("If a died now, b would lead."), "{text}");
    let why = run("explain web", Some("shop,default")).await;
    let expected = "in which namespace? The controller serves shop, default: expected -n";
    assert_eq!(why, Err(expected.into()));
    let text = run("leader web -n shop", None).await.expect("it can");
    assert_eq!(text, "a\n");

    // The account has a right to its own Lease alone.
    world.clear();
    let text = run("doctor", Some("shop")).await.expect("it can");
    let expected = "ok    1 opted in, 1 with a leader, in namespace shop\n";
    assert!(text.contains(expected), "{text}");
    let asked = world.kube.requests().into_iter();
    let asked = asked.filter(|record| record.kind == Some(Kind::Lease) && record.client == "cli");
    let asked: Vec<_> = asked.map(|record| record.verb).collect();
    assert_eq!(asked, [Verb::Get]);
}

/// A waypoint has policies, and traffic to the leader would pass them by.
#[tokio::test(start_paused = true)]
async fn a_leader_service_beside_the_waypoint_is_noticed() {
    const WAYPOINT: &str = "istio.io/use-waypoint";
    let world = World::serving(&["a", "b"]).await;
    let doctor = async || print(&world, "doctor").await;
    let note = "note  Service shop/web: its label istio.io/use-waypoint is not on web-leader: ";
    assert!(!doctor().await.contains(note));
    world
        .kube
        .label(Kind::Service, NS, "web", WAYPOINT, Some("wp"));
    world.settle().await;
    let text = doctor().await;
    assert!(text.contains(note), "{text}");
    let remedy = r#"zen-lead.io/leader-service-labels: '{"istio.io/use-waypoint":"wp"}'"#;
    assert!(text.contains(remedy), "{text}");
    world
        .kube
        .label(Kind::Service, NS, "web-leader", WAYPOINT, Some("wp"));
    world.settle().await;
    assert!(!doctor().await.contains(note));
}

/// A write that the server does not take is no sign that no controller is at work: the doctor says
/// what the controller was told.
#[tokio::test(start_paused = true)]
async fn the_doctor_repeats_what_the_server_said_of_a_write() {
    for (fault, said) in [
        (
            Verdict::Answer {
                code: 500,
                retry_after: None,
                applied: false,
            },
            "The API server refused to patch EndpointSlice web-leader: 500",
        ),
        (
            Verdict::Hang { applied: false },
            "No answer within 5s to the patch of EndpointSlice web-leader: an admission webhook or \
             the API server is slow",
        ),
    ] {
        let mut world = World::serving(&["a", "b"]).await;
        world.on_request(move |request| match request.kind {
            Some(Kind::EndpointSlice) if request.verb.is_write() => fault.clone(),
            _ => Verdict::Pass,
        });
        world.kube.set_ready(NS, "a", false);
        tokio::time::sleep(secs(8)).await;
        let doctor = typed(&world, "doctor").await.expect_err("it is wrong");
        let expected =
            "WRONG Service shop/web: b is to lead and is not published; the controller reports: ";
        assert!(doctor.contains(&format!("{expected}{said}")), "{doctor}");
        assert!(!doctor.contains("if that stays so"), "{doctor}");

        // Once it has landed, that Event is about the past.
        world.heal();
        world.until_leader("web", "b").await;
        world.stop().await;
        world.kube.set_ready(NS, "a", true);
        world.kube.set_ready(NS, "b", false);
        let doctor = typed(&world, "doctor").await.expect_err("it is wrong");
        assert!(doctor.contains("if that stays so"), "{doctor}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_doctor_asks_for_the_rights_on_the_lease() {
    let world = World::serving(&["a"]).await;
    let controller = "doctor --as system:serviceaccount:zl:zen-lead";
    let text = print(&world, controller).await;
    let expected = "ok    system:serviceaccount:zl:zen-lead has the 5 rights that it needs on the Lease \
                    zl/zen-lead-controller-leader-election";
    assert!(text.contains(expected), "{text}");
    world
        .kube
        .set_deny(vec![Rule::new("patch", "leases", "zl")]);
    let text = typed(&world, controller).await.expect_err("wrong");
    let expected = "WRONG system:serviceaccount:zl:zen-lead may not patch the Lease \
                    zl/zen-lead-controller-leader-election: ";
    assert!(text.contains(expected), "{text}");
    let text = print(&world, "doctor --as me").await;
    assert!(text.contains("me is no service account"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn lines_for_kubectl_name_the_leader() {
    let world = World::serving(&["a"]).await;
    for (words, expected) in [
        ("leader web", "a"),
        ("logs web -- -f", "kubectl -n shop logs a -f"),
        ("exec web", "kubectl -n shop exec a -it -- sh"),
        ("port-forward web", "kubectl -n shop port-forward a 8080"),
    ] {
        assert_eq!(
            print(&world, words).await,
            format!("{expected}\n"),
            "{words}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_look_is_told_so() {
    let world = World::serving(&["a"]).await;
    world.kube.set_deny(vec![Rule::new("", "events", "")]);
    let text = print(&world, "status").await;
    assert!(
        text.contains(" a "),
        "without Events there is no last reason\n{text}"
    );
    world.kube.set_deny(vec![Rule::new("", "pods", "")]);
    let why = typed(&world, "status")
        .await
        .expect_err("no pods, no answer");
    assert!(
        why.starts_with("cannot read pods: ") && why.contains("forbidden"),
        "{why}"
    );
    assert_eq!(why.lines().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_doctor_finds_what_is_left_and_what_stands_in_the_way() {
    let mut world = World::new();
    world
        .kube
        .service(NS, "web-leader")
        .port("http", 80, 8080)
        .create();
    world.source("web").create();
    world.source("old").create();
    world.pods("web", &["a"]);
    world.pods("old", &["o"]);
    world.start("").await;
    world.until_leader("old", "o").await;
    world.settle().await;
    world.stop().await;
    world.kube.delete(Kind::Service, NS, "old");
    let text = typed(&world, "doctor").await.expect_err("all that");
    for expected in [
        "ok    API server v1.37",
        "ok    1 opted in, 0 with a leader, in namespace shop",
        "WRONG Service shop/old: left over: Service old-leader, EndpointSlice old-leader",
        "WRONG Service shop/web: LeaderServiceConflict: Service web-leader exists",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

/// What was written, until the reader has had enough.
#[derive(Clone)]
struct Reader {
    text: Arc<Mutex<String>>,
    enough: &'static str,
}

impl io::Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.text.lock().expect("no panic");
        text.push_str(std::str::from_utf8(bytes).expect("text"));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.text.lock().expect("no panic").contains(self.enough) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_prints_what_changes_until_its_output_is_closed() {
    let world = World::serving(&["a", "b"]).await;
    let text = Arc::new(Mutex::new(String::new()));
    let mut reader = Reader {
        text: Arc::clone(&text),
        enough: "notReady",
    };
    let act = async {
        tokio::time::sleep(secs(1)).await;
        world.kube.set_ready(NS, "a", false);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = run(&world, "status -w", &mut reader) => assert_eq!(done, Ok(true)),
        () = act => {}
    }
    let text = text.lock().expect("no panic").clone();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("SERVICE ") && lines[1].contains(" a "),
        "{text}"
    );
    let last = lines.last().expect("there is one");
    assert!(last.contains(" b ") && last.ends_with("notReady"), "{text}");
    assert!(
        lines.len() <= 5,
        "a line for each change, not for each object\n{text}"
    );
}
