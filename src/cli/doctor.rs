//! `zen-lead doctor`: asks the API server, and has the answers judged by [`checks`].

mod checks;
mod follow;
mod kube_proxy;

use anyhow::Result;
use serde_json::{Value, json};

use super::client::Cluster;
use super::cluster_view::ClusterView;
use super::environment;
use super::events::EventLog;
use super::grammar::Call;
use super::report::{Evaluator, Judged};
use crate::logic::well_known::{MANAGER, SERVICE_NAME, SLICE_MANAGED_BY};
use crate::shell::api::{self, Scope};
use checks::{Finding, LEASE, LEASE_RIGHTS, RIGHTS, Right};
use kube_proxy::Sources;

/// What was found.
pub(super) struct Diagnosis {
    /// One line for each finding.
    pub(super) text: String,
    /// Nothing is wrong.
    pub(super) is_well: bool,
}

/// Looks at everything there is to look at; well when nothing is wrong.
pub(super) async fn run(cluster: &Cluster, call: &Call) -> Result<Diagnosis> {
    let scopes = cluster.scopes(call);
    let mut findings = server(cluster).await?;
    findings.extend(rights(cluster, &scopes, call.value("as")).await);
    let wall = cluster.clock.now().wall;
    findings.push(match leases(cluster, call.value("as")).await {
        Ok(leases) => checks::controller(&leases, wall),
        Err(why) => Finding::note(format!("the Lease cannot be looked at: {why:#}")),
    });
    let mut sources = Sources::default();
    match ClusterView::of(cluster, &scopes).await {
        Ok(sight) => {
            sight.read_leases(cluster).await;
            let said = EventLog::of(cluster, &scopes).await;
            let judged = Evaluator::new(&sight.store, sight.now()).all().into_iter();
            let judged: Vec<_> = judged.map(|judged| said.complete(judged)).collect();
            findings.extend(judged.iter().flat_map(checks::source));
            if let Some(user) = call.value("as") {
                findings.extend(followed_rights(cluster, user, &judged).await);
            }
            findings.push(checks::count(&judged, &environment::told(&scopes)));
            let served = judged.iter().filter(|judged| judged.is_wanted);
            sources = Sources::of(served.filter_map(|judged| judged.snapshot.source.as_deref()));
            for scope in &scopes {
                match foreign_slices(cluster, scope).await {
                    Ok(slices) => findings.extend(checks::foreign_slices(&judged, &slices)),
                    Err(why) => findings.push(Finding::note(format!("{why:#}"))),
                }
            }
        }
        Err(why) => findings.push(Finding::wrong(why.to_string())),
    }
    findings.extend(data_plane(cluster, &scopes, sources).await);
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
async fn rights(cluster: &Cluster, scopes: &[Scope], user: Option<&str>) -> Vec<Finding> {
    let found = async {
        let mut findings = vec![common_rights(cluster, scopes, user).await?];
        if let Some(user) = user {
            findings.push(lease_rights(cluster, user).await?);
        }
        anyhow::Ok(findings)
    };
    let found = found.await;
    found.unwrap_or_else(|why| {
        vec![Finding::note(format!(
            "rights cannot be asked for: {why:#}"
        ))]
    })
}

async fn common_rights(cluster: &Cluster, scopes: &[Scope], user: Option<&str>) -> Result<Finding> {
    let (mut denied, mut asked) = (Vec::new(), 0);
    for scope in scopes {
        let namespace = scope.namespace().unwrap_or_default();
        let place = match scopes {
            [_] => String::new(),
            _ => format!(" in {namespace}"),
        };
        let wanted = RIGHTS.iter().filter(|right| right.is_for(user.is_some()));
        let wanted: Vec<_> = wanted
            .flat_map(|right| right.verbs.iter().map(move |verb| (right, *verb)))
            .collect();
        asked = wanted.len();
        for (right, verb) in wanted {
            let Right {
                group, resource, ..
            } = right;
            let attributes = json!({
                "namespace": namespace, "group": group, "resource": resource, "verb": verb,
            });
            if !may(cluster, attributes).await? {
                denied.push(format!("{verb} {resource}{place}"));
            }
        }
    }
    Ok(checks::rights(user, asked, &denied))
}

/// Whether the controller's account may hold the Lease: what it has of rights by the Lease's name
/// counts, since it asks for nothing else.
async fn lease_rights(cluster: &Cluster, user: &str) -> Result<Finding> {
    let Some(namespace) = checks::namespace_of(user) else {
        return Ok(Finding::note(format!(
            "rights on the Lease were not asked for: {user} is no service account, whose namespace would be the controller's"
        )));
    };
    let mut denied = Vec::new();
    for (verb, by_name) in LEASE_RIGHTS {
        let attributes = json!({
            "namespace": namespace, "group": "coordination.k8s.io", "resource": "leases",
            "verb": verb, "name": if by_name { LEASE } else { "" },
        });
        if !may(cluster, attributes).await? {
            denied.push(verb);
        }
    }
    Ok(checks::lease_rights(user, namespace, &denied))
}

/// Whether the controller's account may read the Leases that sources follow.
async fn followed_rights(cluster: &Cluster, user: &str, judged: &[Judged]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in judged {
        let source = &one.snapshot.key;
        let follow = one.settings.follow.as_ref();
        let Some(lease) = follow.and_then(|follow| follow.lease(&source.namespace)) else {
            continue;
        };
        let mut denied = Vec::new();
        for verb in ["list", "watch"] {
            let attributes = json!({
                "namespace": lease.namespace, "group": "coordination.k8s.io", "resource": "leases",
                "verb": verb, "name": lease.name,
            });
            if !may(cluster, attributes).await.unwrap_or(true) {
                denied.push(verb);
            }
        }
        findings.push(follow::followed_rights(user, source, &lease, &denied));
    }
    findings
}

async fn may(cluster: &Cluster, attributes: Value) -> Result<bool> {
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let question = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": attributes },
    });
    let answer = cluster.ask(uri, &question).await?;
    Ok(answer["status"]["allowed"] == true)
}

/// The Leases of controllers: the one of this controller or account by its name, which is all that
/// they have a right to; else all of the usual name, or at least the one of the manifests.
async fn leases(cluster: &Cluster, user: Option<&str>) -> Result<Value> {
    let environment = &cluster.environment;
    let name = environment.lease_name.as_deref().unwrap_or(LEASE);
    let known = environment.lease_namespace.as_deref();
    if let Some(namespace) = known.or_else(|| user.and_then(checks::namespace_of)) {
        return lease(cluster, namespace, name).await;
    }
    let uri = "/apis/coordination.k8s.io/v1/leases".to_owned();
    let selector = format!("metadata.name={name}");
    let list = cluster.get(api::with_query(uri, &[("fieldSelector", &selector)]));
    match list.await {
        Ok(list) => Ok(list.unwrap_or_default()),
        Err(why) => lease(cluster, checks::NAMESPACE, name).await.or(Err(why)),
    }
}

/// One Lease, as a list.
async fn lease(cluster: &Cluster, namespace: &str, name: &str) -> Result<Value> {
    let uri = api::path::<crate::logic::model::Lease>(Some(namespace), Some(name));
    let found = cluster.get(uri).await?;
    Ok(json!({ "items": found.into_iter().collect::<Vec<_>>() }))
}

/// Slices that bear the name of a Service and are not zen-lead's.
async fn foreign_slices(cluster: &Cluster, scope: &Scope) -> Result<Value> {
    let path = api::path::<crate::logic::model::Slice>(scope.namespace(), None);
    let selector = format!("{SERVICE_NAME},{SLICE_MANAGED_BY}!={MANAGER}");
    let list = cluster
        .get(api::with_query(path, &[("labelSelector", &selector)]))
        .await?;
    Ok(list.unwrap_or_default())
}

/// What routes to the endpoint, as far as it can be seen.
async fn data_plane(cluster: &Cluster, scopes: &[Scope], sources: Sources) -> Vec<Finding> {
    let uri = "/apis/apps/v1/namespaces/kube-system/daemonsets";
    let daemons = cluster.get(uri.into()).await.ok().flatten();
    let mut findings = vec![checks::proxy(daemons.as_ref())];
    if let Some(daemons) = &daemons
        && let Some(maps) = kube_proxy::config_maps(daemons)
    {
        let sync = kube_proxy_sync(cluster, daemons, maps).await;
        findings.push(kube_proxy::judge(sync.as_ref(), sources));
    }
    for namespace in scopes.iter().filter_map(Scope::namespace) {
        let uri = format!("/api/v1/namespaces/{namespace}");
        let namespace = cluster.get(uri).await.ok().flatten();
        findings.extend(namespace.as_ref().and_then(checks::mesh));
    }
    findings
}

/// How kube-proxy is configured, if the user may read that.
async fn kube_proxy_sync(
    cluster: &Cluster,
    daemons: &Value,
    maps: Vec<String>,
) -> Option<kube_proxy::Sync> {
    for name in maps {
        let uri = format!("/api/v1/namespaces/kube-system/configmaps/{name}");
        let map = cluster.get(uri).await.ok().flatten();
        if let Some(sync) = map.as_ref().and_then(kube_proxy::Sync::of_config_map) {
            return Some(sync);
        }
    }
    kube_proxy::of_daemon(daemons)
}
