//! The command line and the environment: any words give a configuration that keeps its own rules,
//! or one line.

use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use zen_lead::config::{
    Config, ConfigError, Exit, Flags, Mistakes, unknown_variables, variable_of,
};

use super::choices::Choices;
use super::names::{is_label, is_subdomain};

/// Every flag that `--help` names, and whether it takes no value.
static FLAGS: LazyLock<Vec<(String, bool)>> = LazyLock::new(|| {
    let Err(Exit::Print(help)) = Flags::parse(["--help".to_owned()]) else {
        panic!("--help prints");
    };
    let flag = Regex::new(r"(?m)^  --([a-z-]+) (<[^>]+> )? ?\(ZEN_LEAD_").expect("it compiles");
    let found = flag.captures_iter(&help);
    found
        .map(|found| (found[1].to_owned(), found.get(2).is_none()))
        .collect()
});

const VALUES: [&str; 26] = [
    "",
    "0",
    "1",
    "true",
    "false",
    "T",
    "4s",
    "3s",
    "1s",
    "100ms",
    "1.5h",
    "-1s",
    "99999999999999999999",
    ":8080",
    ":8081",
    "127.0.0.1:8082",
    "[::1]:0",
    "localhost:9",
    "a,b",
    "example.com",
    "kubernetes.io",
    "info,zen_lead=debug",
    "text",
    "1e3",
    "nan",
    "inf",
];

/// Words of a command line; those not made of flags and values are taken as they are.
pub fn config(data: &[u8]) {
    let mut c = Choices::of(data);
    let mut words = Vec::new();
    let mut typed = Vec::new();
    for _ in 0..c.below(6) {
        let name = FLAGS[c.below(FLAGS.len())].0.clone();
        let value = if c.once_in(3) {
            c.text()
        } else {
            c.pick(&VALUES).to_owned()
        };
        words.push(format!("--{name}={value}"));
        typed.push((name, value));
    }
    equivalent(&typed);
    let rest = String::from_utf8_lossy(c.rest());
    words.extend(
        rest.split('\n')
            .filter(|word| !word.is_empty())
            .map(str::to_owned),
    );
    let result = Flags::parse(words.clone())
        .map_err(Some)
        .and_then(|flags| resolve(&flags, |_| None).map_err(|why| Some(Exit::Wrong(why))));
    match result {
        Ok(config) => keeps_its_rules(&config),
        Err(Some(Exit::Wrong(mistakes))) => {
            assert!(!mistakes.0.is_empty());
            mistakes.0.iter().for_each(one_line);
        }
        Err(Some(Exit::Print(text))) => {
            let asks = ["--help", "-help", "--h", "-h", "--version", "-version"];
            let asked = |word: &String| asks.contains(&word.split('=').next().unwrap_or_default());
            assert!(words.iter().any(asked) && text.ends_with('\n'), "{words:?}");
        }
        Err(None) => unreachable!("every error is one of both"),
    }
    let names: Vec<String> = rest
        .split('\n')
        .map(|name| format!("ZEN_LEAD_{name}"))
        .collect();
    assert!(unknown_variables(names.clone()).len() <= names.len());
}

fn resolve(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    Config::resolve(flags, |name| match name {
        "POD_NAMESPACE" => Some("zen-lead".into()),
        "POD_NAME" => Some("zen-lead-0".into()),
        name => env(name),
    })
}

/// `--x=v`, `-x=v`, `--x v` and the variable mean the same.
fn equivalent(typed: &[(String, String)]) {
    // Of a flag that comes twice the last one counts.
    let mut last: Vec<(String, String)> = Vec::new();
    for (name, value) in typed {
        last.retain(|(other, _)| other != name);
        last.push((name.clone(), value.clone()));
    }
    let parsed = |words: Vec<String>| {
        let flags = Flags::parse(words).map_err(|exit| format!("{exit:?}"))?;
        outcome(resolve(&flags, |_| None))
    };
    let joined = parsed(
        last.iter()
            .map(|(name, value)| format!("--{name}={value}"))
            .collect(),
    );
    let dashed = parsed(
        typed
            .iter()
            .map(|(name, value)| format!("-{name}={value}"))
            .collect(),
    );
    assert_eq!(joined, dashed, "{typed:?}");
    let is_switch = |name: &str| FLAGS.iter().any(|(flag, switch)| flag == name && *switch);
    let spaced = last.iter().flat_map(|(name, value)| {
        if is_switch(name) {
            vec![format!("--{name}={value}")]
        } else {
            vec![format!("--{name}"), value.clone()]
        }
    });
    assert_eq!(joined, parsed(spaced.collect()), "{typed:?}");
    let environment = outcome(resolve(&Flags::default(), |variable| {
        let found = last.iter().find(|(name, _)| variable_of(name) == variable);
        found.map(|(_, value)| value.clone())
    }));
    assert_eq!(
        joined.is_ok(),
        environment.is_ok(),
        "{typed:?}: {joined:?} {environment:?}"
    );
    if joined.is_ok() {
        assert_eq!(joined, environment, "{typed:?}");
    }
}

/// What is told about a flag names where it came from; apart from that, outcomes can be compared.
fn outcome(result: Result<Config, Mistakes>) -> Result<Config, String> {
    match result {
        Ok(mut config) => {
            config.notices.clear();
            Ok(config)
        }
        Err(error) => Err(error.to_string()),
    }
}

fn one_line(error: &ConfigError) {
    let line = error.to_string();
    assert!(line.lines().count() == 1, "{line:?}");
    assert!(error.expected.starts_with("expected "), "{line:?}");
    assert!(!error.which.is_empty(), "{line:?}");
}

fn keeps_its_rules(config: &Config) {
    let lease = &config.lease;
    assert!(lease.duration > lease.renew_deadline, "{lease:?}");
    assert!(
        lease.renew_deadline > lease.retry_period.mul_f64(1.2),
        "{lease:?}"
    );
    assert!(lease.duration.subsec_nanos() == 0, "{lease:?}");
    assert!(
        lease.retry_period >= Duration::from_millis(100),
        "{lease:?}"
    );
    assert!(
        is_subdomain(&lease.name) && is_label(&lease.namespace),
        "{lease:?}"
    );
    let followed = config.follow_lease_namespaces.iter();
    assert!(
        config
            .namespaces
            .iter()
            .chain(followed)
            .all(|name| is_label(name))
    );
    let prefixes = &config.mirror_prefixes;
    assert!(
        prefixes
            .iter()
            .all(|prefix| prefix.strip_suffix('/').is_some_and(is_subdomain))
    );
    assert!(config.fast_retry.delay_first <= config.fast_retry.delay_max);
    assert!((1..=20).contains(&config.fast_retry.attempts));
    assert!((1..=1024).contains(&config.writes_in_flight_max));
    if let Some(limit) = config.rate_limit {
        assert!(limit.interval >= Duration::from_micros(10), "{limit:?}");
        assert!((1..=1_000_000).contains(&limit.burst), "{limit:?}");
    }
    let addresses = [config.metrics, config.probes, config.debug];
    let ports = addresses
        .iter()
        .flatten()
        .flat_map(|bind| bind.candidates());
    if let Some(debug) = config.debug {
        assert!(
            debug
                .candidates()
                .iter()
                .all(|at| at.ip().to_canonical().is_loopback())
        );
    }
    // Exactly the same address twice could never be bound.
    let mut fixed: Vec<_> = ports.filter(|at| at.port() != 0).collect();
    let count = fixed.len();
    fixed.sort();
    fixed.dedup();
    assert_eq!(fixed.len(), count, "{addresses:?}");
}
