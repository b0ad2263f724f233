//! §2 what a leader Service takes over from its source, and what it never does.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::harness::api::Kind::{Service, Slice};
use crate::harness::objects::{Svc, annotation, label, text};
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared Both mirrored_keys_follow_and_vanish "§2 mirrored by allow-list, follows for as long as it lives";
    Shared Both mirrored_keys_never_include_the_reserved "§2 never: inputs, kubernetes.io, GitOps, cloud keys" "Go failure 6";
    Shared Both keys_and_fields_of_the_user_stay "§2 a key or spec field that a user sets himself";
    Shared Both key_of_the_user_meets_a_mirrored_one "§2 mirrored keys are remembered";
    Shared Both annotations_too_large_stay_out "§2 256 KiB: the largest mirrored ones stay out";
    Shared Both not_ready_addresses_are_published "§2 publishNotReadyAddresses: true";
    Shared Both labels_an_application_is_selected_by_stay_away "§2 a ServiceMonitor would scrape the leader twice";
    Shared Both the_protocol_of_a_port_is_mirrored "§2 annotations by which a data plane treats ports";
    Shared Both labels_are_asked_for "§1 leader-service-labels" "§4 InvalidAnnotation";
    Own Both mirror_prefixes_by_flag "§2 --mirror-prefixes";
}

async fn mirrored_keys_follow_and_vanish(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web")
        .label("team", "blue")
        .annotation("contact", "ops");
    t.served_as(source, "web", 1).await?;
    let first = t.exists(Service, "web-leader").await?;
    ensure!(label(&first, "team") == Some("blue"));
    ensure!(annotation(&first, "contact") == Some("ops"));
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(
        label(&slice, "team") == Some("blue"),
        "a slice bears the mirrored labels"
    );
    ensure!(annotation(&slice, "contact").is_none());
    let patch = json!({"metadata": {
        "labels": {"team": "green", "tier": "1"},
        "annotations": {"contact": null, "runbook": "page 4"},
    }});
    t.merge(Service, "web", patch).await?;
    t.until(Service, "web-leader", "the edits follow", |now| {
        label(now, "team") == Some("green")
            && label(now, "tier") == Some("1")
            && annotation(now, "contact").is_none()
            && annotation(now, "runbook") == Some("page 4")
    })
    .await?;
    t.until(Slice, "web-leader", "the slice's labels follow", |now| {
        label(now, "team") == Some("green") && label(now, "tier") == Some("1")
    })
    .await
    .map(drop)
}

async fn not_ready_addresses_are_published(t: Arc<Test>) -> Result<()> {
    for (name, exposure) in [("web", "ClusterIP"), ("bare", "Headless")] {
        let source = Svc::opted_in(name).asks("leader-service-type", exposure);
        t.served_as(source, name, 1).await?;
        for seen in t.history(Service, &format!("{name}-leader")) {
            ensure!(
                seen.object["spec"]["publishNotReadyAddresses"] == json!(true),
                "{exposure}: {}",
                seen.object["spec"]
            );
        }
    }
    Ok(())
}

/// What a `ServiceMonitor` selects by is on the source alone. A leader Service and its slice that have
/// such labels from an earlier version lose them.
async fn labels_an_application_is_selected_by_stay_away(t: Arc<Test>) -> Result<()> {
    let keys = [
        "app",
        "k8s-app",
        "name",
        "component",
        "release",
        "app.kubernetes.io/name",
        "app.kubernetes.io/component",
    ];
    let mut source = Svc::opted_in("web").label("team", "blue");
    for key in keys {
        source = source.label(key, "x");
    }
    t.served_as(source, "web", 1).await?;
    for kind in [Service, Slice] {
        for seen in t.history(kind, "web-leader") {
            let bears = |key: &&str| label(&seen.object, key).is_some();
            let found: Vec<_> = keys.into_iter().filter(|key| bears(key)).collect();
            ensure!(found.is_empty(), "{found:?} on {kind:?}");
        }
    }
    t.disturbs();
    let stale = json!({"metadata": {
        "labels": {"app": "x", "app.kubernetes.io/name": "x"},
        "annotations": {"zen-lead.io/mirrored":
            r#"{"labels":["app","app.kubernetes.io/name","team"],"annotations":[]}"#},
    }});
    t.merge(
        Slice,
        "web-leader",
        json!({"metadata": {"labels": {"app": "x"}}}),
    )
    .await?;
    t.merge(Service, "web-leader", stale).await?;
    for kind in [Service, Slice] {
        t.until(kind, "web-leader", "what was mirrored goes", |now| {
            label(now, "app").is_none()
                && label(now, "app.kubernetes.io/name").is_none()
                && label(now, "team") == Some("blue")
        })
        .await?;
    }
    Ok(())
}

async fn the_protocol_of_a_port_is_mirrored(t: Arc<Test>) -> Result<()> {
    let key = "config.linkerd.io/opaque-ports";
    let source = Svc::opted_in("web")
        .annotation(key, "80")
        .annotation("config.linkerd.io/skip-inbound-ports", "80");
    t.served_as(source, "web", 1).await?;
    let first = t.exists(Service, "web-leader").await?;
    ensure!(annotation(&first, key) == Some("80"));
    ensure!(annotation(&first, "config.linkerd.io/skip-inbound-ports").is_none());
    t.merge(
        Service,
        "web",
        json!({"metadata": {"annotations": {key: null}}}),
    )
    .await?;
    t.until(Service, "web-leader", "it follows", |now| {
        annotation(now, key).is_none()
    })
    .await
    .map(drop)
}

async fn labels_are_asked_for(t: Arc<Test>) -> Result<()> {
    let asked = r#"{"example.com/pool":"a","app":"web"}"#;
    let source = Svc::opted_in("web")
        .label("app", "other")
        .asks("leader-service-labels", asked);
    t.served_as(source, "web", 1).await?;
    for seen in t.history(Service, "web-leader") {
        ensure!(
            label(&seen.object, "example.com/pool") == Some("a")
                && label(&seen.object, "app") == Some("web"),
            "from the first create on"
        );
    }
    let slice = t.exists(Slice, "web-leader").await?;
    ensure!(label(&slice, "example.com/pool").is_none() && label(&slice, "app").is_none());
    let ask = |value: serde_json::Value| json!({"metadata": {"annotations": {"zen-lead.io/leader-service-labels": value}}});
    t.merge(Service, "web", ask(json!(r#"{"example.com/pool":"b"}"#)))
        .await?;
    t.until(Service, "web-leader", "it follows edits", |now| {
        label(now, "example.com/pool") == Some("b") && label(now, "app").is_none()
    })
    .await?;
    for wrong in [
        r#"{"kubernetes.io/cluster-service":"true"}"#,
        r#"{"example.com/pool":"no value"}"#,
    ] {
        t.merge(Service, "web", ask(json!(wrong))).await?;
        let words = ["leader-service-labels", "JSON object of strings"];
        t.event("web", "InvalidAnnotation", &words).await?;
        t.canary().await?;
        let now = t.exists(Service, "web-leader").await?;
        ensure!(label(&now, "example.com/pool") == Some("b"), "{wrong}");
    }
    t.merge(Service, "web", ask(json!(null))).await?;
    t.until(
        Service,
        "web-leader",
        "it goes with the annotation",
        |now| label(now, "example.com/pool").is_none(),
    )
    .await
    .map(drop)
}

const RESERVED: [&str; 18] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "argocd.argoproj.io/instance",
    "argocd.argoproj.io/tracking-id",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
    "meta.helm.sh/release-name",
    "helm.sh/chart",
    "kapp.k14s.io/app",
    "objectset.rio.cattle.io/hash",
    "service.cilium.io/global",
    "networking.istio.io/exportTo",
    "prometheus.io/scrape",
    "external-dns.alpha.kubernetes.io/hostname",
    "service.beta.kubernetes.io/aws-load-balancer-type",
    "service.kubernetes.io/service-proxy-name",
    "cloud.google.com/neg",
    "app.kubernetes.io/instance",
    "example.com/prefixed",
];

async fn mirrored_keys_never_include_the_reserved(t: Arc<Test>) -> Result<()> {
    let mut source = Svc::opted_in("web")
        .asks("sticky", "true")
        .asks("strategy", "oldest");
    for key in RESERVED {
        source = source.label(key, "x").annotation(key, "x");
    }
    t.served_as(source, "web", 1).await?;
    for seen in t
        .history(Service, "web-leader")
        .iter()
        .chain(&t.history(Slice, "web-leader"))
    {
        for key in RESERVED {
            ensure!(
                label(&seen.object, key).is_none(),
                "label {key} on {:?}",
                seen.kind
            );
            ensure!(annotation(&seen.object, key).is_none(), "annotation {key}");
        }
        for key in ["enabled", "sticky", "strategy"] {
            let key = format!("zen-lead.io/{key}");
            ensure!(annotation(&seen.object, &key).is_none(), "{key} was copied");
        }
    }
    Ok(())
}

async fn keys_and_fields_of_the_user_stay(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let patch = json!({
        "metadata": {"labels": {"mine": "1"}, "annotations": {"example.com/mine": "2"}},
        "spec": {"sessionAffinity": "ClientIP"},
    });
    t.merge(Service, "web-leader", patch).await?;
    t.merge(
        Slice,
        "web-leader",
        json!({"metadata": {"labels": {"mine": "3"}}}),
    )
    .await?;
    // Both objects are written for other reasons, and the user's things are still there.
    t.ready(&pods[0], false).await?;
    t.identified("web-leader", &pods[1]).await?;
    t.merge(
        Service,
        "web",
        json!({"metadata": {"labels": {"team": "blue"}}}),
    )
    .await?;
    t.until(Service, "web-leader", "the label follows", |now| {
        label(now, "team") == Some("blue")
    })
    .await?;
    t.until(Slice, "web-leader", "the label follows", |now| {
        label(now, "team") == Some("blue")
    })
    .await?;
    t.canary().await?;
    let service = t.exists(Service, "web-leader").await?;
    ensure!(label(&service, "mine") == Some("1"));
    ensure!(annotation(&service, "example.com/mine") == Some("2"));
    ensure!(text(&service, "/spec/sessionAffinity") == "ClientIP");
    ensure!(label(&*t.exists(Slice, "web-leader").await?, "mine") == Some("3"));
    Ok(())
}

async fn key_of_the_user_meets_a_mirrored_one(t: Arc<Test>) -> Result<()> {
    t.served_as(Svc::opted_in("web").label("team", "blue"), "web", 1)
        .await?;
    let patch = json!({"metadata": {"labels": {"mine": "1"}}});
    t.merge(Service, "web-leader", patch).await?;
    // The source takes the same key up, and drops it again: from then on it was a mirrored one.
    t.merge(
        Service,
        "web",
        json!({"metadata": {"labels": {"mine": "source"}}}),
    )
    .await?;
    t.until(Service, "web-leader", "the source's value wins", |now| {
        label(now, "mine") == Some("source")
    })
    .await?;
    t.merge(
        Service,
        "web",
        json!({"metadata": {"labels": {"mine": null, "team": null}}}),
    )
    .await?;
    t.until(Service, "web-leader", "both go", |now| {
        label(now, "mine").is_none() && label(now, "team").is_none()
    })
    .await?;
    let now = t.exists(Service, "web-leader").await?;
    ensure!(label(&now, "zen-lead.io/source-service") == Some("web"));
    Ok(())
}

async fn annotations_too_large_stay_out(t: Arc<Test>) -> Result<()> {
    let half = "x".repeat(124 * 1024);
    // Together just within what the API server lets a source have; ours does not fit on top.
    let source = Svc::opted_in("web")
        .annotation("large", &half)
        .annotation("larger", &format!("{half}{}", "y".repeat(6 * 1024)))
        .annotation("small", "1");
    t.served_as(source, "web", 1).await?;
    let leader = t.exists(Service, "web-leader").await?;
    ensure!(
        annotation(&leader, "larger").is_none(),
        "the largest one did not stay out"
    );
    ensure!(
        annotation(&leader, "large").is_some(),
        "more stayed out than had to"
    );
    ensure!(annotation(&leader, "small") == Some("1"));
    t.event("web", "InvalidAnnotation", &["256 KiB", "larger"])
        .await
        .map(drop)
}

async fn mirror_prefixes_by_flag(t: Arc<Test>) -> Result<()> {
    let _controller = t
        .controller(&["--mirror-prefixes", "example.com,example.org"])
        .await?;
    let source = Svc::opted_in("web")
        .label("example.com/team", "a")
        .annotation("example.org/note", "b")
        .label("example.net/other", "c");
    t.served_as(source, "web", 1).await?;
    let leader = t.exists(Service, "web-leader").await?;
    ensure!(label(&leader, "example.com/team") == Some("a"));
    ensure!(annotation(&leader, "example.org/note") == Some("b"));
    ensure!(label(&leader, "example.net/other").is_none());
    Ok(())
}
