//! §2 one slice per address family.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::SOON;
use crate::harness::api::Kind::{Service, Slice};
use crate::harness::objects::{Made, Pod, Svc, endpoints, status, text};
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared Both dual_stack_has_two_slices "§2 EndpointSlice per family" "§2 ipFamilies follow";
    Shared Both dual_stack_failover_moves_both "§2 EndpointSlice per family" "§3 failover";
    Shared Both dual_stack_leader_with_one_family "§3 the second family's slice is empty";
    Shared Both dual_stack_up_and_down "§2 upgrade and downgrade of the source";
    Shared Both dual_stack_preferred "§2 ipFamilyPolicy follows the source";
    Shared Both single_stack_ipv6 "§2 slice named for the first family" "§3 an IP of the first family";
    Shared Both family_changes_with_a_new_source "§2 a change of family is a delete and a create";
}

async fn both(t: &Test, name: &str, number: u32) -> Result<Made> {
    let four = t.suite.address();
    let six = format!(
        "2001:db8::{number}:{}",
        four.rsplit('.').next().unwrap_or("0")
    );
    t.pod(Pod::new(name, "web").ips(&[&four, &six]), false)
        .await
}

async fn dual_stack_preferred(t: Arc<Test>) -> Result<()> {
    let pod = both(&t, "web-0", 1).await?;
    let source = Svc::opted_in("web")
        .spec("ipFamilyPolicy", json!("PreferDualStack"))
        .spec("ipFamilies", json!(["IPv6", "IPv4"]));
    t.service(source).await?;
    let slices = [
        ("web-leader", "IPv6", pod.ips[1].as_str()),
        ("web-leader-ipv4", "IPv4", &pod.ips[0]),
    ];
    published(&t, &slices).await?;
    let leader = t.exists(Service, "web-leader").await?;
    ensure!(text(&leader, "/spec/ipFamilyPolicy") == "PreferDualStack");
    ensure!(leader["spec"]["ipFamilies"] == json!(["IPv6", "IPv4"]));
    Ok(())
}

fn dual() -> Svc {
    Svc::opted_in("web")
        .spec("ipFamilyPolicy", json!("RequireDualStack"))
        .spec("ipFamilies", json!(["IPv4", "IPv6"]))
}

/// Waits until each named slice publishes that address and no other ("" for none).
async fn published(t: &Test, expected: &[(&str, &str, &str)]) -> Result<()> {
    t.obs
        .wait(&format!("slices {expected:?}"), SOON, |log| {
            let fits = |(name, family, address): &(&str, &str, &str)| {
                let slice = log.get(Slice, name);
                slice.is_some_and(|slice| {
                    let addresses: Vec<_> = endpoints(slice)
                        .iter()
                        .map(|e| text(e, "/addresses/0"))
                        .collect();
                    let wanted = if address.is_empty() {
                        vec![]
                    } else {
                        vec![*address]
                    };
                    text(slice, "/addressType") == *family && addresses == wanted
                })
            };
            expected.iter().all(fits).then_some(())
        })
        .await
}

async fn dual_stack_has_two_slices(t: Arc<Test>) -> Result<()> {
    let pod = both(&t, "web-0", 1).await?;
    t.service(dual()).await?;
    published(
        &t,
        &[
            ("web-leader", "IPv4", &pod.ips[0]),
            ("web-leader-ipv6", "IPv6", &pod.ips[1]),
        ],
    )
    .await?;
    let leader = t.identified("web-leader", &pod).await?;
    ensure!(leader["spec"]["ipFamilies"] == json!(["IPv4", "IPv6"]));
    ensure!(text(&leader, "/spec/ipFamilyPolicy") == "RequireDualStack");
    let second = t.exists(Slice, "web-leader-ipv6").await?;
    ensure!(text(&second, "/endpoints/0/targetRef/uid") == pod.uid);
    t.ask("web", "enabled", None).await?;
    t.withdrawn("web-leader").await
}

async fn dual_stack_failover_moves_both(t: Arc<Test>) -> Result<()> {
    let pods = [both(&t, "web-0", 1).await?, both(&t, "web-1", 2).await?];
    t.service(dual()).await?;
    t.identified("web-leader", &pods[0]).await?;
    t.canary().await?;
    let before = t.requests().await?.len();
    t.ready(&pods[0], false).await?;
    published(
        &t,
        &[
            ("web-leader", "IPv4", &pods[1].ips[0]),
            ("web-leader-ipv6", "IPv6", &pods[1].ips[1]),
        ],
    )
    .await?;
    t.identified("web-leader", &pods[1]).await?;
    t.event("web", "LeaderChanged", &["web-0 to web-1"]).await?;
    let requests = t.requests().await?.split_off(before);
    let told: Vec<_> = requests
        .iter()
        .filter(|entry| entry.name.starts_with("web-leader"))
        .map(|entry| format!("{} {} {}", entry.verb, entry.resource, entry.code))
        .collect();
    let slice = "patch endpointslices 200";
    ensure!(
        told == [slice, slice, "patch services 200"],
        "requests {told:?}"
    );
    Ok(())
}

async fn dual_stack_leader_with_one_family(t: Arc<Test>) -> Result<()> {
    let four = t.pod(Pod::new("web-0", "web"), true).await?;
    t.service(dual()).await?;
    published(
        &t,
        &[
            ("web-leader", "IPv4", &four.ips[0]),
            ("web-leader-ipv6", "IPv6", ""),
        ],
    )
    .await?;
    // It gets its second address: one more endpoint, no failover.
    let mut whole = four.clone();
    whole.ips.push("2001:db8::77".into());
    t.status(&whole, status("Running", &whole.ips, true, None, false))
        .await?;
    published(
        &t,
        &[
            ("web-leader", "IPv4", &whole.ips[0]),
            ("web-leader-ipv6", "IPv6", &whole.ips[1]),
        ],
    )
    .await?;
    ensure!(t.event_objects("web", "LeaderChanged") == 0);
    Ok(())
}

async fn families(t: &Test, policy: &str, families: Value) -> Result<()> {
    let patch = json!({"spec": {"ipFamilyPolicy": policy, "ipFamilies": families}});
    t.merge(Service, "web", patch).await.map(drop)
}

async fn dual_stack_up_and_down(t: Arc<Test>) -> Result<()> {
    let pod = both(&t, "web-0", 1).await?;
    t.service(Svc::opted_in("web")).await?;
    t.leads("web-leader", &pod).await?;
    let from = std::time::Instant::now();
    families(&t, "RequireDualStack", json!(["IPv4", "IPv6"])).await?;
    published(
        &t,
        &[
            ("web-leader", "IPv4", &pod.ips[0]),
            ("web-leader-ipv6", "IPv6", &pod.ips[1]),
        ],
    )
    .await?;
    let leader = t.until(Service, "web-leader", "it is dual-stack", |now| {
        now["spec"]["clusterIPs"].as_array().map(Vec::len) == Some(2)
    });
    leader.await?;
    families(&t, "SingleStack", json!(["IPv4"])).await?;
    t.gone(Slice, "web-leader-ipv6").await?;
    t.until(Service, "web-leader", "it is single-stack", |now| {
        now["spec"]["clusterIPs"].as_array().map(Vec::len) == Some(1)
    })
    .await?;
    t.never_empty(&["web-leader"], from)
}

async fn single_stack_ipv6(t: Arc<Test>) -> Result<()> {
    t.pod(Pod::new("web-0", "web"), true).await?;
    let pod = both(&t, "web-1", 1).await?;
    let source = Svc::opted_in("web")
        .spec("ipFamilyPolicy", json!("SingleStack"))
        .spec("ipFamilies", json!(["IPv6"]));
    t.service(source).await?;
    published(&t, &[("web-leader", "IPv6", &pod.ips[1])]).await?;
    let leader = t.exists(Service, "web-leader").await?;
    ensure!(leader["spec"]["ipFamilies"] == json!(["IPv6"]));
    Ok(())
}

async fn family_changes_with_a_new_source(t: Arc<Test>) -> Result<()> {
    let pod = both(&t, "web-0", 1).await?;
    t.service(Svc::opted_in("web")).await?;
    t.leads("web-leader", &pod).await?;
    t.delete(Service, "web").await?;
    let six = Svc::opted_in("web")
        .spec("ipFamilyPolicy", json!("SingleStack"))
        .spec("ipFamilies", json!(["IPv6"]));
    t.service(six).await?;
    published(&t, &[("web-leader", "IPv6", &pod.ips[1])]).await?;
    t.until(Service, "web-leader", "its family follows", |now| {
        now["spec"]["ipFamilies"] == json!(["IPv6"])
    })
    .await
    .map(drop)
}
