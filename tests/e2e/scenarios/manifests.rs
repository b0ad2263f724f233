//! What users install: the rights are those that are used, and the policy holds us to our own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::api::Kind::{self, Service, Slice};
use crate::harness::audit::Entry;
use crate::harness::objects::{name_of, uid_of};
use crate::harness::suite::USER;
use crate::harness::test::Test;
use crate::harness::{SHORT, SOON, manifests};
use crate::scenarios;

scenarios! {
    Shared RealOnly("simkube has no admission policies") account_is_held_to_its_own "manifests/policy: a stranger's objects" "§1 what is not ours is never patched, adopted or deleted" needs 31 "addresses in a ValidatingAdmissionPolicy";
    Alone RealOnly("simkube has no feature gates to turn off") rights_are_granted_and_used "manifests/served: nothing missing, nothing unused";
}

/// One request with the program's own token, and words of the refusal; none if it is to pass.
struct Attempt {
    what: &'static str,
    method: Method,
    path: String,
    body: Value,
    refusal: Option<&'static str>,
}

/// What the policy is tried with. Nothing of it is stored: every request is a dry run.
struct Attempts<'a> {
    t: &'a Test,
    all: Vec<Attempt>,
}

impl Attempts<'_> {
    fn add(
        &mut self,
        what: &'static str,
        method: Method,
        (kind, name): (Kind, &str),
        body: Value,
        refusal: Option<&'static str>,
    ) {
        let path = match name {
            "" => kind.path(&self.t.ns),
            name => self.t.path(kind, name),
        };
        self.all.push(Attempt {
            what,
            method,
            path: format!("{path}?dryRun=All"),
            body,
            refusal,
        });
    }

    fn create(&mut self, what: &'static str, kind: Kind, body: Value, refusal: &'static str) {
        self.add(what, Method::POST, (kind, ""), body, Some(refusal));
    }

    fn patch(
        &mut self,
        what: &'static str,
        of: (Kind, &str),
        body: Value,
        refusal: Option<&'static str>,
    ) {
        self.add(what, Method::PATCH, of, body, refusal);
    }

    fn delete(&mut self, what: &'static str, of: (Kind, &str), refusal: Option<&'static str>) {
        // A body counts in place of the query.
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"]});
        self.add(what, Method::DELETE, of, options, refusal);
    }
}

impl Attempt {
    async fn outcome(&self, api: &Api) -> Result<(), String> {
        let content = match self.method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let method = self.method.clone();
        let answer = api
            .call(method, &self.path, content, Some(&self.body))
            .await;
        match (answer, self.refusal) {
            (Ok(_), None) => Ok(()),
            (Ok(_), Some(_)) => Err(format!("{}: it passed", self.what)),
            (Err(why), Some(words)) if why.code == 403 && why.message.contains(words) => Ok(()),
            (Err(why), _) => Err(format!("{}: {why}", self.what)),
        }
    }
}

/// A complete object of ours, under an unused name.
fn ours(kind: Kind, owner: &Value) -> Value {
    let mut labels = json!({
        "app.kubernetes.io/managed-by": "zen-lead", "zen-lead.io/source-service": "web",
    });
    let owner = json!([{"apiVersion": "v1", "kind": "Service", "controller": true,
                        "name": name_of(owner), "uid": uid_of(owner)}]);
    if kind == Service {
        return json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web-new", "labels": labels, "ownerReferences": owner},
            "spec": {"ports": [{"name": "main", "port": 80}]},
        });
    }
    labels["endpointslice.kubernetes.io/managed-by"] = "zen-lead".into();
    labels["kubernetes.io/service-name"] = "web-new".into();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-new", "labels": labels, "ownerReferences": owner},
        "addressType": "IPv4", "ports": [{"name": "main", "port": 8080}], "endpoints": [],
    })
}

/// The object with some fields merged in.
fn but(mut object: Value, pointer: &str, value: Value) -> Value {
    if let Some(field) = object.pointer_mut(pointer) {
        *field = value;
    }
    object
}

fn on_services(tries: &mut Attempts<'_>, source: &Value) {
    const LABELS: &str = "/metadata/labels";
    const OWNERS: &str = "/metadata/ownerReferences";
    let good = ours(Service, source);
    let spec = |key: &str, value: Value| {
        let mut spec = good["spec"].clone();
        spec[key] = value;
        but(good.clone(), "/spec", spec)
    };
    let complete = "has its labels and is owned by its source";
    let no_labels = but(good.clone(), LABELS, json!({}));
    tries.create("no labels", Service, no_labels, complete);
    let no_owner = but(good.clone(), OWNERS, json!([]));
    tries.create("no owner", Service, no_owner, complete);
    let selecting = spec("selector", json!({"app": "web"}));
    tries.create("a selector", Service, selecting, "has no selector");
    let mut named = spec("type", "ExternalName".into());
    named["spec"]["externalName"] = "example.com".into();
    tries.create("an external name", Service, named, "routes to a pod");
    let claiming = spec("externalIPs", json!(["198.51.100.7"]));
    tries.create(
        "external addresses",
        Service,
        claiming,
        "external addresses",
    );
    tries.add(
        "all as it should be",
        Method::POST,
        (Service, ""),
        good,
        None,
    );

    let strange = Some("this Service is not zen-lead's");
    let note = json!({"metadata": {"annotations": {"note": "x"}}});
    let taken = json!({"metadata": ours(Service, source)["metadata"]});
    let taken = but(taken, "/metadata/name", "stranger".into());
    for (what, name) in [
        ("a stranger's Service", "stranger"),
        ("the source itself", "web"),
    ] {
        tries.patch(what, (Service, name), note.clone(), strange);
        tries.delete(what, (Service, name), strange);
    }
    tries.patch(
        "labels on a stranger's",
        (Service, "stranger"),
        taken,
        strange,
    );
    let leader = (Service, "web-leader");
    tries.patch("ours", leader, note, None);
    tries.delete("ours", leader, None);
    let selecting = json!({"spec": {"selector": {"app": "web"}}});
    tries.patch(
        "a selector on ours",
        leader,
        selecting,
        Some("has no selector"),
    );
    let away = json!({"metadata": {"labels": null, "ownerReferences": null}});
    tries.patch("ours given away", leader, away, Some(complete));
}

fn on_slices(tries: &mut Attempts<'_>, leader: &Value, native: &str) {
    let ns = tries.t.ns.clone();
    let endpoint = |address: &str, namespace: &str| {
        json!({"addresses": [address],
               "targetRef": {"kind": "Pod", "namespace": namespace, "name": "web-0"}})
    };
    let good = ours(Slice, leader);
    let with = |endpoints: Value| but(good.clone(), "/endpoints", endpoints);
    let complete = "has its labels and is owned by the leader Service";
    let no_labels = but(good.clone(), "/metadata/labels", json!({}));
    tries.create("no labels", Slice, no_labels, complete);
    let no_owner = but(good.clone(), "/metadata/ownerReferences", json!([]));
    tries.create("no owner", Slice, no_owner, complete);
    let two = json!([endpoint("10.1.2.3", &ns), endpoint("10.1.2.4", &ns)]);
    let too_many = "at most one endpoint";
    tries.create("two endpoints", Slice, with(two.clone()), too_many);
    let elsewhere = with(json!([endpoint("10.1.2.3", "kube-system")]));
    let foreign = "a pod of the same namespace";
    tries.create("a pod of another namespace", Slice, elsewhere, foreign);
    let no_pod = with(json!([{"addresses": ["10.1.2.3"]}]));
    tries.create("no pod at all", Slice, no_pod, foreign);
    // Loopback and link-local ones are invalid to the API server itself, before any policy.
    let multicast = with(json!([endpoint("239.1.1.1", &ns)]));
    tries.create("a multicast address", Slice, multicast, "multicast");
    let one = with(json!([endpoint("10.1.2.3", &ns)]));
    tries.add("all as it should be", Method::POST, (Slice, ""), one, None);
    let mut followers = but(with(two.clone()), "/metadata/name", "web-ro".into());
    followers["metadata"]["labels"]["zen-lead.io/role"] = "followers".into();
    let slices = (Slice, "");
    tries.add("two followers", Method::POST, slices, followers, None);

    let strange = Some("this EndpointSlice is not zen-lead's");
    for (what, name) in [
        ("a stranger's slice", "stranger"),
        ("the source's slice", native),
    ] {
        let emptied = json!({"endpoints": []});
        tries.patch(what, (Slice, name), emptied, strange);
        tries.delete(what, (Slice, name), strange);
    }
    let ours = (Slice, "web-leader");
    tries.patch("ours, emptied", ours, json!({"endpoints": []}), None);
    tries.delete("ours", ours, None);
    let doubled = json!({"endpoints": two});
    tries.patch("two endpoints in ours", ours, doubled, Some(too_many));
    let away = json!({"metadata": {"labels": null, "ownerReferences": null}});
    tries.patch("ours given away", ours, away, Some(complete));
}

async fn account_is_held_to_its_own(t: Arc<Test>) -> Result<()> {
    t.served("web", 1).await?;
    let source = t.get(Service, "web").await?;
    let leader = t.get(Service, "web-leader").await?;
    let native = native_slice(&t).await?;
    let port = json!([{"name": "main", "port": 80}]);
    let stranger = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "stranger"}, "spec": {"ports": port}});
    t.create(Service, &stranger).await?;
    let stranger = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "stranger", "labels": {"kubernetes.io/service-name": "stranger"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}]});
    t.create(Slice, &stranger).await?;

    let api = Api::connect(&t.suite.kubeconfig).await?;
    let mut tries = Attempts {
        t: &t,
        all: Vec::new(),
    };
    on_services(&mut tries, &source);
    on_slices(&mut tries, &leader, &native);
    // The server takes a moment to learn of a new policy.
    let deadline = Instant::now() + SOON;
    while tries.all[0].outcome(&api).await.is_err() && Instant::now() < deadline {
        tokio::time::sleep(SHORT).await;
    }
    let mut wrong = Vec::new();
    for attempt in &tries.all {
        wrong.extend(attempt.outcome(&api).await.err());
    }
    let refused = tries.all.iter().filter(|attempt| attempt.refusal.is_some());
    t.say(format!(
        "{} attempts, {} of them to be refused",
        tries.all.len(),
        refused.count()
    ));
    ensure!(wrong.is_empty(), "the policy:\n{}", wrong.join("\n"));
    Ok(())
}

/// The name of a slice that the server's own controller made for the source.
async fn native_slice(t: &Test) -> Result<String> {
    let deadline = Instant::now() + SOON;
    loop {
        let path = format!(
            "{}?labelSelector=kubernetes.io/service-name=web",
            Slice.path(&t.ns)
        );
        let found = t.api.get(&path).await?;
        if let Some(slice) = found["items"].get(0) {
            return Ok(name_of(slice).to_owned());
        }
        ensure!(
            Instant::now() < deadline,
            "no slice of the source within {SOON:?}"
        );
        tokio::time::sleep(SHORT).await;
    }
}

/// One right: API group, resource, verb.
type Right = (String, String, String);

/// The rights of a list of rules.
fn rights(rules: &[Value]) -> BTreeSet<Right> {
    let words = |value: &Value| -> Vec<String> {
        let words = value.as_array().into_iter().flatten();
        words.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

async fn rights_are_granted_and_used(t: Arc<Test>) -> Result<()> {
    on_an_older_server(&t).await?;
    while_others_write(&t).await?;
    let granted = rights(&[manifests::served()?, manifests::lease()?].concat());
    let all = t.suite.audit.since(0, USER, None)?;
    let requests = all.iter().filter(|entry| !entry.resource.is_empty());
    let right_of = |entry: &Entry| -> Right {
        (
            entry.group.clone(),
            entry.resource.clone(),
            entry.verb.clone(),
        )
    };
    let asked: BTreeSet<Right> = requests.clone().map(right_of).collect();
    let used: BTreeSet<Right> = requests
        .filter(|entry| entry.code < 300)
        .map(right_of)
        .collect();
    // Scenarios of their own apply what is optional, and use it.
    let optional = rights(&manifests::optional()?);
    let missing: Vec<_> = asked
        .difference(&granted)
        .filter(|right| !optional.contains(*right))
        .collect();
    let unused: Vec<_> = granted.difference(&used).collect();
    t.say(format!(
        "{} requests, {} rights granted, {} used{}",
        all.len(),
        granted.len(),
        used.intersection(&granted).count(),
        if t.suite.is_whole {
            ""
        } else {
            "; not the whole suite ran"
        },
    ));
    ensure!(missing.is_empty(), "asked for and not granted: {missing:?}");
    ensure!(
        unused.is_empty() || !t.suite.is_whole,
        "granted and never used: {unused:?}"
    );
    Ok(())
}

/// The first minor version that knows the gate `WatchList`.
const STREAMS_SINCE: u32 = 27;

/// Lists are used where the server cannot stream them: the right to list has to be there as well.
async fn on_an_older_server(t: &Test) -> Result<()> {
    if t.suite.minor < STREAMS_SINCE {
        return Ok(()); // every scenario ran on one
    }
    let control = &t.suite.control;
    let restart = ["restart-apiserver", "--grace", "0.1", "--feature-gates"];
    control
        .run(&[&restart[..], &["WatchList=false"]].concat())
        .await?;
    let mut controller = t.launch(&[])?;
    let ready = controller.ready().await;
    let stopped = controller.stop().await;
    control
        .run(&[&restart[..], &[&control.gates]].concat())
        .await?;
    ready?;
    stopped
}

/// A write that meets another one's is answered by a GET.
async fn while_others_write(t: &Test) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let pods = t.served("web", 2).await?;
    let has_read = async |kind: &str| -> Result<bool> {
        let is_get = |entry: &Entry| entry.verb == "get" && entry.resource == kind;
        Ok(t.requests().await?.iter().any(is_get))
    };
    for round in 0..50 {
        let (off, on) = (&pods[round % 2], &pods[(round + 1) % 2]);
        t.ready(on, true).await?;
        let (failed, on_service, on_slice) = tokio::join!(
            t.ready(off, false),
            writes_on(t, Service),
            writes_on(t, Slice),
        );
        failed.and(on_service).and(on_slice)?;
        t.leads("web-leader", on).await?;
        if has_read("services").await? && has_read("endpointslices").await? {
            break;
        }
    }
    controller.stop().await
}

/// Writes a user's annotation on the leader's object, some times in a row.
async fn writes_on(t: &Test, kind: Kind) -> Result<()> {
    for number in 0..10 {
        let note = json!({"metadata": {"annotations": {"note": number.to_string()}}});
        t.merge(kind, "web-leader", note).await?;
    }
    Ok(())
}
