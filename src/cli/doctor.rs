//! `zen-lead doctor`: asks the API server, and has the answers judged by [`checks`].

mod checks;

use anyhow::Result;
use serde_json::{Value, json};

use super::ask::Cluster;
use super::grammar::Call;
use super::report::Judge;
use super::sight::Sight;
use crate::logic::contract::{MANAGER, SERVICE_NAME, SLICE_MANAGED_BY};
use crate::shell::api::{self, Scope};
use checks::{Finding, RIGHTS, Right};

/// Name of the Lease unless the controller is told another one.
const LEASE: &str = "zen-lead-controller-leader-election";

/// What was found.
pub(super) struct Diagnosis {
    /// One line for each finding.
    pub(super) text: String,
    /// Nothing is wrong.
    pub(super) is_well: bool,
}

/// Looks at everything there is to look at; well when nothing is wrong.
pub(super) async fn run(cluster: &Cluster, call: &Call) -> Result<Diagnosis> {
    let scope = cluster.scope(call);
    let mut findings = server(cluster).await?;
    findings.extend(rights(cluster, &scope, call.value("as")).await);
    let wall = cluster.clock.now().wall;
    findings.push(match leases(cluster).await {
        Ok(leases) => checks::controller(&leases, wall),
        Err(why) => Finding::note(format!("the Lease cannot be looked at: {why:#}")),
    });
    match Sight::of(cluster, &scope).await {
        Ok(sight) => {
            let judged = Judge::new(&sight.store, sight.now()).all();
            findings.extend(judged.iter().flat_map(checks::source));
            findings.push(checks::count(&judged, scope.namespace()));
            match strangers(cluster, &scope).await {
                Ok(slices) => findings.extend(checks::strangers(&judged, &slices)),
                Err(why) => findings.push(Finding::note(format!("{why:#}"))),
            }
        }
        Err(why) => findings.push(Finding::wrong(why.to_string())),
    }
    findings.extend(data_plane(cluster, &scope).await);
    Ok(Diagnosis {
        text: checks::text(&findings),
        is_well: !findings.iter().any(Finding::is_wrong),
    })
}

/// The server and the APIs that are needed of it.
async fn server(cluster: &Cluster) -> Result<Vec<Finding>> {
    // Without this one nothing else can be asked.
    let version = cluster.get("/version".into()).await?.unwrap_or_default();
    let mut findings = vec![checks::version(&version, &cluster.address)];
    for api in ["/apis/discovery.k8s.io/v1", "/apis/coordination.k8s.io/v1"] {
        if cluster.get(api.into()).await?.is_none() {
            let name = api.trim_start_matches("/apis/");
            findings.push(Finding::wrong(format!(
                "the server does not serve {name}, which zen-lead needs"
            )));
        }
    }
    Ok(findings)
}

/// Whether the user, or the one asked for, may do what commands and the controller do.
async fn rights(cluster: &Cluster, scope: &Scope, user: Option<&str>) -> Vec<Finding> {
    let (mut denied, mut asked) = (Vec::new(), 0);
    let wanted = RIGHTS.iter().filter(|right| right.is_for(user.is_some()));
    for (right, verb) in wanted.flat_map(|right| right.verbs.iter().map(move |verb| (right, *verb)))
    {
        let question = review(right, verb, scope);
        let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        match cluster.ask(uri, &question).await {
            Ok(answer) if answer["status"]["allowed"] == true => asked += 1,
            Ok(_) => denied.push(format!("{verb} {}", right.resource)),
            Err(why) => {
                return vec![Finding::note(format!(
                    "rights cannot be asked for: {why:#}"
                ))];
            }
        }
    }
    vec![checks::rights(user, asked, &denied)]
}

fn review(right: &Right, verb: &str, scope: &Scope) -> Value {
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": {
            "namespace": scope.namespace().unwrap_or_default(),
            "group": right.group, "resource": right.resource, "verb": verb,
        }},
    })
}

async fn leases(cluster: &Cluster) -> Result<Value> {
    let uri = "/apis/coordination.k8s.io/v1/leases".to_owned();
    let selector = format!("metadata.name={LEASE}");
    let list = cluster
        .get(api::with_query(uri, &[("fieldSelector", &selector)]))
        .await?;
    Ok(list.unwrap_or_default())
}

/// Slices that bear the name of a Service and are not zen-lead's.
async fn strangers(cluster: &Cluster, scope: &Scope) -> Result<Value> {
    let path = api::path::<crate::logic::model::Slice>(scope.namespace(), None);
    let selector = format!("{SERVICE_NAME},{SLICE_MANAGED_BY}!={MANAGER}");
    let list = cluster
        .get(api::with_query(path, &[("labelSelector", &selector)]))
        .await?;
    Ok(list.unwrap_or_default())
}

/// What routes to the endpoint, as far as it can be seen.
async fn data_plane(cluster: &Cluster, scope: &Scope) -> Vec<Finding> {
    let uri = "/apis/apps/v1/namespaces/kube-system/daemonsets";
    let daemons = cluster.get(uri.into()).await.ok().flatten();
    let mut findings = vec![checks::proxy(daemons.as_ref())];
    if let Some(namespace) = scope.namespace() {
        let uri = format!("/api/v1/namespaces/{namespace}");
        let namespace = cluster.get(uri).await.ok().flatten();
        findings.extend(namespace.as_ref().and_then(checks::mesh));
    }
    findings
}
