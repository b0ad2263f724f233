//! One suite for two servers: the same requests to simkube and to a real API server, and every
//! answer as it stands in `conformance/answers.txt`, which was recorded from the real one.
//!
//! Against simkube it always runs. Against a real server it needs `SIMKUBE_REAL_KUBECONFIG`, a
//! kubeconfig of a dual-stack control plane without controllers (`just conformance` brings one up);
//! with `SIMKUBE_RECORD=1` as well its answers are recorded again. What has to differ (uids, versions,
//! times, addresses) is replaced by the order of its appearance.

mod events;
mod leases;
mod names;
mod nodes;
mod others;
mod protobuf;
mod rbac;
mod services;
mod slices;
mod tables;
mod watches;

use http::Method;
use kube_client::Client;
use kube_client::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use simkube::{Options, SimKube};

use self::names::Names;
use crate::http::{Answer, JSON_PATCH, Lab, MERGE_PATCH};

/// The answers of the real server.
const RECORD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/conformance/answers.txt"
);

/// One request. `{ns}` in path and body is the namespace of the run, `{rv}` and `{uid}` are those
/// of the last object answered.
struct Step {
    method: Method,
    path: String,
    content_type: &'static str,
    accept: &'static str,
    body: Value,
    /// Only the managers of the answer's managedFields are compared.
    managers_only: bool,
}

fn step(method: Method, path: &str, content_type: &'static str, body: Value) -> Step {
    Step {
        method,
        path: path.into(),
        content_type,
        accept: "application/json",
        body,
        managers_only: false,
    }
}

/// The same request, of whose answer only the managers are compared.
fn managers(step: Step) -> Step {
    Step {
        managers_only: true,
        ..step
    }
}

/// The same request for the columns that kubectl prints.
fn printed(step: Step) -> Step {
    Step {
        accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        ..step
    }
}

fn base(kind: &str) -> String {
    match kind {
        "slices" => "/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices".into(),
        "slices by alice" => format!("{}?fieldManager=alice", base("slices")),
        "leases" => "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases".into(),
        "all leases" => "/apis/coordination.k8s.io/v1/leases".into(),
        "leases of nodes" => base("leases").replace("{ns}", "kube-node-lease"),
        "nodes" | "namespaces" => format!("/api/v1/{kind}"),
        "new events" => "/apis/events.k8s.io/v1/namespaces/{ns}/events".into(),
        "roles" | "rolebindings" => {
            format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{{ns}}/{kind}")
        }
        "clusterroles" | "clusterrolebindings" => {
            format!("/apis/rbac.authorization.k8s.io/v1/{kind}")
        }
        other => format!("/api/v1/namespaces/{{ns}}/{other}"),
    }
}

fn post(kind: &str, body: Value) -> Step {
    step(Method::POST, &base(kind), "application/json", body)
}

fn get(kind: &str, rest: &str) -> Step {
    step(
        Method::GET,
        &format!("{}{rest}", base(kind)),
        "application/json",
        Value::Null,
    )
}

fn put(kind: &str, name: &str, body: Value) -> Step {
    step(
        Method::PUT,
        &format!("{}/{name}", base(kind)),
        "application/json",
        body,
    )
}

fn patch(kind: &str, name: &str, body: Value) -> Step {
    let content_type = if body.is_array() {
        JSON_PATCH
    } else {
        MERGE_PATCH
    };
    step(
        Method::PATCH,
        &format!("{}/{name}", base(kind)),
        content_type,
        body,
    )
}

fn delete(kind: &str, name: &str, options: Value) -> Step {
    step(
        Method::DELETE,
        &format!("{}/{name}", base(kind)),
        "application/json",
        options,
    )
}

#[expect(clippy::needless_pass_by_value, reason = "reads better at its callers")]
fn service(name: &str, spec: Value) -> Step {
    post(
        "services",
        json!({"metadata": {"name": name}, "spec": spec}),
    )
}

fn slice(name: &str, rest: Value) -> Step {
    let mut body = rest;
    body["metadata"] = json!({"name": name});
    post("slices", body)
}

async fn run(lab: &Lab, namespace: &str, steps: &[Step]) -> Vec<String> {
    let mut names = Names::default();
    let (mut rv, mut uid) = (String::new(), String::new());
    let mut transcript = Vec::new();
    for step in steps {
        let fill = |text: &str| {
            text.replace("{ns}", namespace)
                .replace("{rv}", &rv)
                .replace("{uid}", &uid)
        };
        let path = fill(&step.path);
        let body = if step.body.is_null() {
            String::new()
        } else {
            fill(&step.body.to_string())
        };
        let answer: Answer = lab
            .ask(
                step.method.clone(),
                &path,
                (step.content_type, step.accept),
                body.into_bytes(),
            )
            .await
            .unwrap();
        let in_protobuf = if protobuf::concerns(step) {
            Some(protobuf::ask(lab, &path).await)
        } else {
            None
        };
        let meta = &answer.body["metadata"];
        if let (Some(version), Some(id)) = (meta["resourceVersion"].as_str(), meta["uid"].as_str())
        {
            (rv, uid) = (version.to_owned(), id.to_owned());
        }
        let mut value = answer.body;
        if step.managers_only {
            let entries = value["metadata"]["managedFields"].as_array();
            let managers = entries.into_iter().flatten().map(|entry| &entry["manager"]);
            value = json!({"managers": managers.collect::<Vec<_>>()});
        }
        let value = compared(&mut names, value);
        let printed = if step.managers_only {
            "managers "
        } else if step.accept.contains("Table") {
            "printed "
        } else {
            ""
        };
        let asked: String = step.body.to_string().chars().take(300).collect();
        let line = format!(
            "{} {printed}{} {asked}\n  => {} {value}",
            step.method, step.path, answer.code
        );
        transcript.push(line.replace(namespace, "{ns}"));
        if let Some((head, value)) = in_protobuf {
            let value = compared(&mut names, value);
            let line = format!("GET protobuf {}\n  => {head} {value}", step.path);
            transcript.push(line.replace(namespace, "{ns}"));
        }
    }
    transcript
}

/// The part of a body that is compared: the order of lists and whole bodies of success, but no volatile
/// values.
fn compared(names: &mut Names, mut value: Value) -> Value {
    names.value("", &mut value);
    if value["kind"] == "Pod" {
        // Their whole default spec is none of a controller's business.
        let status = &value["status"];
        value = json!({"metadata": value["metadata"], "phase": status["phase"], "ips": status["podIPs"]});
    }
    value
}

/// A watch, what is done while it runs, and the event (type and name) that ends the comparison.
struct Scene {
    watch: String,
    steps: Vec<Step>,
    last: (&'static str, &'static str),
}

/// The frames of a scene's watch in JSON, and those of the same watch in protobuf.
async fn watched(lab: &Lab, namespace: &str, scene: &Scene) -> Vec<String> {
    let path = scene.watch.replace("{ns}", namespace);
    let mut json = lab.watch(&path).await;
    let mut protobuf = lab.watch_in(&path, protobuf::ACCEPT_WATCH).await;
    run(lab, namespace, &scene.steps).await;
    let mut all = frames(namespace, scene, async || json.next().await).await;
    let encoded = frames(namespace, scene, async || protobuf.next_protobuf().await).await;
    all.extend(encoded.iter().map(|frame| format!("protobuf {frame}")));
    all
}

async fn frames(
    namespace: &str,
    scene: &Scene,
    mut next: impl AsyncFnMut() -> Value,
) -> Vec<String> {
    let (mut names, mut frames, mut version) = (Names::default(), Vec::new(), 0);
    loop {
        let mut frame = next().await;
        let meta = frame["object"]["metadata"].clone();
        let initial_end = !meta["annotations"]["k8s.io/initial-events-end"].is_null();
        if frame["type"] == "BOOKMARK" && !initial_end {
            continue;
        }
        let rv: u64 = meta["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(rv >= version, "versions rise");
        version = rv;
        names.value("", &mut frame);
        if frame["object"]["kind"] == "Pod" && !initial_end {
            let object = &frame["object"];
            frame["object"] =
                json!({"metadata": object["metadata"], "phase": object["status"]["phase"]});
        }
        frames.push(frame.to_string().replace(namespace, "{ns}"));
        let (kind, name) = scene.last;
        if frame["type"] == kind && meta["name"] == *name.replace("{ns}", namespace) {
            return frames;
        }
    }
}

async fn real() -> Option<Client> {
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let path = std::env::var("SIMKUBE_REAL_KUBECONFIG").ok()?;
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.default_retry = false;
    Some(Client::try_from(config).unwrap())
}

/// Everything that is asked, in this order and in one namespace.
async fn suite(lab: &Lab, namespace: &str) -> Transcript {
    lab.post(
        "/api/v1/namespaces",
        &json!({"metadata": {"name": namespace}}),
    )
    .await
    .expect(201);
    let mut transcript = Transcript::default();
    for steps in [
        services::steps(),
        slices::steps(),
        slices::tracking(),
        others::steps(),
        others::pods(),
        leases::steps(),
        nodes::steps(),
        rbac::steps(),
        events::steps(),
        tables::steps(),
    ] {
        transcript
            .requests
            .extend(run(lab, namespace, &steps).await);
    }
    for scene in watches::scenes() {
        transcript
            .events
            .extend(watched(lab, namespace, &scene).await);
    }
    let farewell = run(lab, namespace, &others::farewell()).await;
    transcript.requests.extend(farewell);
    transcript
}

/// What was asked and answered.
#[derive(Default)]
struct Transcript {
    requests: Vec<String>,
    events: Vec<String>,
}

impl Transcript {
    fn recorded() -> Self {
        let text = std::fs::read_to_string(RECORD).unwrap();
        let mut transcript = Self::default();
        for entry in text.split_terminator("\n\n") {
            match entry.strip_prefix("EVENT ") {
                Some(event) => transcript.events.push(event.to_owned()),
                None => transcript.requests.push(entry.to_owned()),
            }
        }
        transcript
    }

    fn record(&self) {
        let requests = self.requests.iter().map(|entry| format!("{entry}\n\n"));
        let events = self.events.iter().map(|event| format!("EVENT {event}\n\n"));
        let text: String = requests.chain(events).collect();
        std::fs::write(RECORD, text).unwrap();
    }

    /// Fails with every difference; prints how much was compared.
    fn expect(&self, server: &str, recorded: &Self) {
        let mut wrong = String::new();
        for (ours, theirs) in [
            (&self.requests, &recorded.requests),
            (&self.events, &recorded.events),
        ] {
            assert_eq!(ours.len(), theirs.len(), "record the answers again");
            for (got, want) in ours.iter().zip(theirs).filter(|(got, want)| got != want) {
                wrong = format!("{wrong}GOT  {got}\nWANT {want}\n\n");
            }
        }
        println!(
            "conformance: {} requests and {} watch events asked of {server}",
            self.requests.len(),
            self.events.len()
        );
        assert!(wrong.is_empty(), "{server} answers differently:\n{wrong}");
    }
}

#[tokio::test]
async fn simkube_answers_as_recorded() {
    let sim = Lab::new(Options {
        dual_stack: true,
        managed_fields: true,
        ..Options::default()
    });
    // A real server makes it by itself.
    sim.sim.namespace("kube-node-lease");
    let transcript = suite(&sim, "conformance").await;
    transcript.expect("simkube", &Transcript::recorded());
}

#[tokio::test]
async fn the_real_server_answers_as_recorded() {
    let Some(client) = real().await else {
        println!("conformance: no real server, since SIMKUBE_REAL_KUBECONFIG is not set");
        return;
    };
    let real = Lab {
        sim: SimKube::new(Options::default()),
        client,
    };
    let namespace = format!("conformance-{}", std::process::id());
    let transcript = suite(&real, &namespace).await;
    if std::env::var_os("SIMKUBE_RECORD").is_some() {
        transcript.record();
    }
    transcript.expect("the real server", &Transcript::recorded());
}
