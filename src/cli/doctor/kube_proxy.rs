//! What kube-proxy's configuration costs a failover. Pure.
//!
//! kube-proxy programs the first change after a quiet `minSyncPeriod` at once and lets the next one wait
//! for the rest of it. When a pod turns NotReady, the slices of the source and of the leader Service both
//! change, and the second of them waits. Names and defaults are those of `kubeproxy.config.k8s.io/v1alpha1`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::checks::Finding;
use crate::logic::duration;
use crate::logic::model::Service;

/// What kube-proxy makes of a `minSyncPeriod` of zero, except in the mode ipvs.
const MIN_SYNC_DEFAULT: Duration = Duration::from_secs(1);
/// A wait that is not worth a word.
const MIN_SYNC_SHORT: Duration = Duration::from_millis(100);

/// How kube-proxy programs changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sync {
    mode: String,
    min_period: Duration,
}

/// What is read of a `KubeProxyConfiguration`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ProxyConfig {
    kind: String,
    mode: Option<String>,
    iptables: Option<Mode>,
    ipvs: Option<Mode>,
    nftables: Option<Mode>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Mode {
    min_sync_period: Option<String>,
}

impl Sync {
    /// From the mode and the period as they are written; `None` for a period that is no duration.
    fn of(mode: Option<&str>, period: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let mode = mode.filter(|mode| !mode.is_empty()).unwrap_or("iptables");
        let period = period(mode).filter(|text| !text.is_empty());
        let period = period.map_or(Ok(Duration::ZERO), |text| duration::parse(&text));
        let min_period = match period.ok()? {
            Duration::ZERO if mode != "ipvs" => MIN_SYNC_DEFAULT,
            period => period,
        };
        Some(Self {
            mode: mode.to_owned(),
            min_period,
        })
    }

    /// From a `ConfigMap`: the key of `kubeadm` is `config.conf`, others have others.
    pub(super) fn of_config_map(map: &Value) -> Option<Self> {
        let values = map["data"].as_object()?.values();
        values.filter_map(Value::as_str).find_map(Self::of_yaml)
    }

    fn of_yaml(text: &str) -> Option<Self> {
        let config: ProxyConfig = serde_saphyr::from_str(text).ok()?;
        if config.kind != "KubeProxyConfiguration" {
            return None;
        }
        let period = |mode: &str| {
            let of_mode = match mode {
                "nftables" => &config.nftables,
                "ipvs" => &config.ipvs,
                _ => &config.iptables,
            };
            of_mode.as_ref()?.min_sync_period.clone()
        };
        Self::of(config.mode.as_deref(), period)
    }

    /// From the flags of the container, which count if it has no configuration file.
    fn of_flags(args: &[&str]) -> Option<Self> {
        if !args.iter().any(|arg| arg.contains("kube-proxy")) {
            return None;
        }
        let value = |name: &str| {
            let given = args.iter().enumerate().find_map(|(at, arg)| {
                let rest = arg.trim_start_matches('-').strip_prefix(name)?;
                match rest.strip_prefix('=') {
                    Some(value) => Some(value),
                    None if rest.is_empty() => args.get(at + 1).copied(),
                    None => None,
                }
            });
            given.map(str::to_owned)
        };
        if value("config").is_some() {
            return None;
        }
        // The mode nftables reads the flags of iptables.
        let period = |mode: &str| match mode {
            "ipvs" => value("ipvs-min-sync-period"),
            _ => value("iptables-min-sync-period"),
        };
        Self::of(value("proxy-mode").as_deref(), period)
    }
}

/// The pod template of kube-proxy's `DaemonSet`.
fn template(daemons: &Value) -> Option<&Value> {
    let mut all = daemons["items"].as_array()?.iter();
    let daemon = all.find(|daemon| daemon["metadata"]["name"] == "kube-proxy")?;
    Some(&daemon["spec"]["template"]["spec"])
}

/// Whether kube-proxy runs as a `DaemonSet`, and the `ConfigMap`s that its pods mount.
pub(super) fn config_maps(daemons: &Value) -> Option<Vec<String>> {
    let volumes = template(daemons)?["volumes"].as_array();
    let names = volumes.into_iter().flatten();
    let names = names.filter_map(|volume| volume["configMap"]["name"].as_str());
    Some(names.map(str::to_owned).collect())
}

/// What the flags in the `DaemonSet` say.
pub(super) fn of_daemon(daemons: &Value) -> Option<Sync> {
    let containers = template(daemons)?["containers"].as_array()?;
    containers.iter().find_map(|container| {
        let words = |key: &str| container[key].as_array().into_iter().flatten();
        let words = words("command").chain(words("args"));
        // A shell's command line is one word.
        let words = words.filter_map(Value::as_str);
        Sync::of_flags(&words.flat_map(str::split_whitespace).collect::<Vec<_>>())
    })
}

/// Sources that are opted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    total: usize,
    /// Those whose own slices wake kube-proxy as well. From Kubernetes 1.36 on, the label
    /// `service.kubernetes.io/service-proxy-name` of a Service hides the Service from it, and not the slices.
    waking: usize,
}

impl Sources {
    pub(super) fn of<'a>(sources: impl Iterator<Item = &'a Service>) -> Self {
        sources.fold(Self::default(), |sum, source| Self {
            total: sum.total + 1,
            waking: sum.waking + usize::from(!source.is_headless()),
        })
    }
}

/// What a failover has to expect of kube-proxy.
pub(super) fn judge(sync: Option<&Sync>, sources: Sources) -> Finding {
    let Some(Sync { mode, min_period }) = sync else {
        return Finding::note(
            "the configuration of kube-proxy cannot be read: with its default minSyncPeriod of 1s, a \
             failover of a Service that has a cluster IP can reach clients a second late",
        );
    };
    if *min_period <= MIN_SYNC_SHORT {
        return Finding::fine(format!(
            "kube-proxy ({mode}) waits at most {min_period:?} between two changes (minSyncPeriod)"
        ));
    }
    let Sources { total, waking } = sources;
    if waking == 0 {
        return Finding::fine(format!(
            "kube-proxy ({mode}) has a minSyncPeriod of {min_period:?}; none of the {total} opted-in Services \
             makes it wait with slices of its own"
        ));
    }
    Finding::note(format!(
        "kube-proxy ({mode}) waits up to {min_period:?} between two changes (minSyncPeriod), and is woken by the \
         own slices of {waking} of {total} opted-in Services: where those change first, clients see a \
         failover {min_period:?} later. Set minSyncPeriod to 100ms; or, for a Service whose cluster IP no client \
         uses, make it headless"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(yaml: &str) -> Value {
        json!({ "data": { "kubeconfig.conf": "kind: Config\n", "config.conf": yaml } })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as what is compared with it")]
    fn sync(mode: &str, millis: u64) -> Option<Sync> {
        Some(Sync {
            mode: mode.into(),
            min_period: Duration::from_millis(millis),
        })
    }

    #[test]
    fn configuration_files() {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        for (rest, expected) in [
            ("", sync("iptables", 1_000)),
            (
                "mode: \"\"\niptables:\n  minSyncPeriod: 0s\n",
                sync("iptables", 1_000),
            ),
            (
                "mode: iptables\niptables: {minSyncPeriod: 50ms, syncPeriod: 30s}\n",
                sync("iptables", 50),
            ),
            (
                "mode: nftables\niptables: {minSyncPeriod: 50ms}\n",
                sync("nftables", 1_000),
            ),
            (
                "mode: nftables\nnftables:\n  minSyncPeriod: 100ms\n",
                sync("nftables", 100),
            ),
            ("mode: ipvs\nipvs:\n  minSyncPeriod: 0s\n", sync("ipvs", 0)),
            ("mode: ipvs\nipvs: null\n", sync("ipvs", 0)),
            ("mode: null\nunknown: [1]\n", sync("iptables", 1_000)),
            ("mode: iptables\niptables: {minSyncPeriod: soon}\n", None),
        ] {
            let map = config_map(&format!("{head}{rest}"));
            assert_eq!(Sync::of_config_map(&map), expected, "{rest}");
        }
        for other in [
            "",
            "kind: Config",
            "{",
            "- 1",
            "kind: [KubeProxyConfiguration]",
        ] {
            assert_eq!(Sync::of_config_map(&config_map(other)), None, "{other}");
        }
    }

    fn daemons(container: &Value) -> Value {
        json!({ "items": [
            { "metadata": { "name": "cilium" } },
            { "metadata": { "name": "kube-proxy" }, "spec": { "template": { "spec": {
                "volumes": [
                    { "name": "c", "configMap": { "name": "kube-proxy-config" } },
                    { "name": "lib", "hostPath": { "path": "/lib/modules" } },
                ],
                "containers": [container],
            } } } },
        ] })
    }

    #[test]
    fn daemon_sets() {
        let with = |args: &[&str]| daemons(&json!({ "command": ["kube-proxy"], "args": args }));
        assert_eq!(
            config_maps(&with(&[])),
            Some(vec!["kube-proxy-config".to_owned()])
        );
        assert_eq!(config_maps(&json!({ "items": [] })), None);
        assert_eq!(config_maps(&Value::Null), None);
        for (args, expected) in [
            (&["--v=2"][..], sync("iptables", 1_000)),
            (&["--iptables-min-sync-period=200ms"], sync("iptables", 200)),
            (
                &["--proxy-mode", "ipvs", "--ipvs-min-sync-period", "3s"],
                sync("ipvs", 3_000),
            ),
            (&["--proxy-mode=ipvs"], sync("ipvs", 0)),
            (&["--config=/etc/config.conf", "--proxy-mode=ipvs"], None),
        ] {
            assert_eq!(of_daemon(&with(args)), expected, "{args:?}");
        }
        let shell = "kube-proxy --iptables-min-sync-period=50ms 1>>/var/log/kube-proxy.log";
        let shell = daemons(&json!({ "command": ["/bin/sh", "-c", shell] }));
        assert_eq!(of_daemon(&shell), sync("iptables", 50));
        let agent = daemons(&json!({ "command": ["agent"] }));
        assert_eq!(of_daemon(&agent), None);
    }

    #[test]
    fn verdicts() {
        let service = |labels: Value, cluster_ip: &str| -> Service {
            let spec = json!({ "clusterIP": cluster_ip, "clusterIPs": [cluster_ip] });
            let metadata = json!({ "name": "s", "namespace": "n", "uid": "u", "labels": labels });
            let service = json!({ "metadata": metadata, "spec": spec });
            serde_json::from_value(service).expect("a Service")
        };
        let plain = service(json!({}), "10.0.0.1");
        let headless = service(json!({}), "None");
        let other_proxy = "service.kubernetes.io/service-proxy-name";
        let other = service(json!({ other_proxy: "none" }), "10.0.0.2");
        let all = Sources::of([&plain, &headless, &other].into_iter());
        let quiet = Sources::of([&headless, &headless].into_iter());
        for (sync, sources, expected) in [
            (
                None,
                all,
                "note  the configuration of kube-proxy cannot be read",
            ),
            (
                sync("nftables", 100),
                all,
                "ok    kube-proxy (nftables) waits at most 100ms",
            ),
            (sync("ipvs", 0), all, "ok    kube-proxy (ipvs)"),
            (
                sync("iptables", 1_000),
                quiet,
                "ok    kube-proxy (iptables) has a minSyncPeriod of 1s",
            ),
            (
                sync("iptables", 1_000),
                all,
                "slices of 2 of 3 opted-in Services",
            ),
        ] {
            let text = super::super::checks::text(&[judge(sync.as_ref(), sources)]);
            assert!(text.contains(expected), "{text}");
        }
    }
}
