//! Annotations of a source: a typo keeps the last valid value and is told, nothing else changes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use zen_lead::logic::duration;
use zen_lead::logic::follow::Follow;
use zen_lead::logic::model::Labels;
use zen_lead::logic::settings::{LeaderServiceType, Settings, Strategy, read};
use zen_lead::logic::well_known::{
    ENABLED, FAILOVER_MIN_DELAY, FOLLOW, INPUTS, LEADER_SERVICE_ANNOTATIONS, LEADER_SERVICE_LABELS,
    LEADER_SERVICE_SOURCE_RANGES, LEADER_SERVICE_TYPE, MIN_READY_DURATION, PAUSED,
    PREFERRED_LEADER, PREFIX, STICKY, STRATEGY,
};

use super::choices::Choices;
use super::names::{is_annotation_key, is_label_key, is_label_value, is_subdomain};

const OTHER: &str = "example.com/other";
const VALUES: [&str; 35] = [
    "label/role=primary",
    "label/cnpg.io/instanceRole=primary",
    "label/role",
    "lease/db",
    "lease/other/db",
    "lease/other/more/db",
    "true",
    "false",
    "ClusterIP",
    "Headless",
    "NodePort",
    "LoadBalancer",
    "oldest",
    "newest",
    "random",
    "node-spread",
    "priority",
    "web-0",
    "300ms",
    "1m30s",
    "-5s",
    "9223372036854775808ns",
    "{}",
    r#"{"a":"b"}"#,
    r#"{"a":"b","a":"c","example.com/x":""}"#,
    r#"{"a":1}"#,
    r#"{"zen-lead.io/a":"b"}"#,
    r#"{"service.kubernetes.io/headless":""}"#,
    r#"{"app.kubernetes.io/part-of":"shop"}"#,
    r#"{"app.kubernetes.io/managed-by":"me"}"#,
    r#"{"a":"no value"}"#,
    "null",
    "",
    "10.0.0.0/8, 2001:db8::/32",
    "10.0.0.0/33",
];

/// Two readings, the second one after the first.
pub fn annotations(data: &[u8]) {
    let mut c = Choices::of(data);
    let before = map(&mut c);
    let (last, _) = read(&before, &Settings::default());
    let now = map(&mut c);
    check(&now, &last);
    // The rest as the one annotation that is a document of its own.
    if let Ok(text) = std::str::from_utf8(c.rest()) {
        check(
            &[(LEADER_SERVICE_ANNOTATIONS, text)].into_iter().collect(),
            &last,
        );
        check(
            &[(LEADER_SERVICE_LABELS, text)].into_iter().collect(),
            &last,
        );
    }
}

fn map(c: &mut Choices) -> Labels {
    let count = c.below(6);
    let entry = |_| {
        let key = match c.below(12) {
            0 => format!("{PREFIX}{}", c.text()),
            _ => c.pick(&[&INPUTS[..], &[OTHER]].concat()).to_owned(),
        };
        let mut value = match c.below(4) {
            0 => c.text(),
            _ => c.pick(&VALUES).to_owned(),
        };
        if c.once_in(16) {
            value = value.repeat(100);
        }
        (key, value)
    };
    (0..count).map(entry).collect()
}

fn check(annotations: &Labels, last: &Settings) {
    let (settings, problems) = read(annotations, last);
    assert_eq!(
        read(annotations, last),
        (settings.clone(), problems.clone()),
        "it depends on nothing else"
    );
    let mut wrong = Vec::new();
    let mut field = |key: &'static str, is_valid: &dyn Fn(&str) -> bool| match annotations.get(key)
    {
        None => State::Absent,
        Some(value) if is_valid(value) => State::Valid,
        Some(_) => {
            wrong.push(key);
            State::Wrong
        }
    };
    let none = Settings::default();
    let is_bool = |value: &str| ["true", "false"].contains(&value);
    field(ENABLED, &is_bool);
    let value = |key| annotations.get(key).unwrap_or_default();

    let state = field(STICKY, &is_bool);
    let sticky = state.of(none.sticky, last.sticky, || value(STICKY) == "true");
    // Elections are all that node-spread counts.
    let is_elected = settings.follow.is_none();
    let overruled = is_elected && settings.strategy == Strategy::NodeSpread && !sticky;
    assert_eq!(settings.sticky, sticky || overruled);
    let state = field(LEADER_SERVICE_TYPE, &|value| exposure(value).is_some());
    let read = || exposure(value(LEADER_SERVICE_TYPE)).expect("it is valid");
    assert_eq!(
        settings.exposure,
        state.of(none.exposure, last.exposure, read)
    );
    for (key, mine, none, last) in [
        (
            MIN_READY_DURATION,
            Some(settings.min_ready),
            Some(none.min_ready),
            Some(last.min_ready),
        ),
        (
            FAILOVER_MIN_DELAY,
            settings.failover_delay,
            none.failover_delay,
            last.failover_delay,
        ),
    ] {
        let state = field(key, &|value| duration::parse(value).is_ok());
        let read = || duration::parse(value(key)).expect("it is valid");
        let read = || Some(read());
        assert_eq!(
            mine,
            state.of::<Option<Duration>>(none, last, read),
            "{key}"
        );
    }
    let state = field(LEADER_SERVICE_ANNOTATIONS, &|value| asked(value).is_some());
    let read = || asked(value(LEADER_SERVICE_ANNOTATIONS)).expect("it is valid");
    let expected = state.of(
        none.leader_annotations,
        last.leader_annotations.clone(),
        read,
    );
    assert_eq!(settings.leader_annotations, expected);
    let state = field(LEADER_SERVICE_LABELS, &|value| {
        asked_labels(value).is_some()
    });
    let read = || asked_labels(value(LEADER_SERVICE_LABELS)).expect("it is valid");
    let expected = state.of(none.leader_labels, last.leader_labels.clone(), read);
    assert_eq!(settings.leader_labels, expected);
    let state = field(LEADER_SERVICE_SOURCE_RANGES, &|value| {
        ranges(value).is_some()
    });
    let read = || ranges(value(LEADER_SERVICE_SOURCE_RANGES)).expect("it is valid");
    let expected = state.of(none.source_ranges, last.source_ranges.clone(), read);
    assert_eq!(settings.source_ranges, expected);
    let state = field(STRATEGY, &|value| strategy(value).is_some());
    let read = || strategy(value(STRATEGY)).expect("it is valid");
    assert_eq!(
        settings.strategy,
        state.of(none.strategy, last.strategy, read)
    );
    let state = field(FOLLOW, &|value| follow(value).is_some());
    let read = || follow(value(FOLLOW));
    let kept = last.follow.clone().or(Some(Follow::Unclear));
    assert_eq!(settings.follow, state.of(none.follow, kept, read));
    let state = field(PREFERRED_LEADER, &is_subdomain);
    let read = || Some(value(PREFERRED_LEADER).into());
    let preferred = state.of(none.preferred, last.preferred.clone(), read);
    let is_moot = settings.follow.is_some();
    assert_eq!(settings.preferred, preferred.clone().filter(|_| !is_moot));
    // What cannot be read pauses, whatever was valid before.
    let state = field(PAUSED, &is_bool);
    assert_eq!(
        settings.paused,
        state.of(false, true, || value(PAUSED) == "true")
    );

    if overruled {
        wrong.push(STICKY);
    }
    if is_moot && preferred.is_some() {
        wrong.push(PREFERRED_LEADER);
    }
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for key in wrong {
        assert!(
            told.iter().any(|text| text.contains(key)),
            "{key} in {told:?}"
        );
    }
    for text in &told {
        let about = annotations
            .iter()
            .find(|(key, _)| text.starts_with(&format!("Annotation {key} has")));
        let (key, value) = about.unwrap_or_else(|| panic!("about nothing: {text}"));
        assert!(key.starts_with(PREFIX), "{text}");
        assert!(value.chars().count() <= 64 || text.contains('…'), "{text}");
    }
}

enum State {
    Absent,
    Valid,
    Wrong,
}

impl State {
    fn of<T>(&self, none: T, last: T, read: impl FnOnce() -> T) -> T {
        match self {
            Self::Absent => none,
            Self::Valid => read(),
            Self::Wrong => last,
        }
    }
}

fn exposure(value: &str) -> Option<LeaderServiceType> {
    let all = [
        LeaderServiceType::ClusterIP,
        LeaderServiceType::Headless,
        LeaderServiceType::NodePort,
        LeaderServiceType::LoadBalancer,
    ];
    all.into_iter()
        .find(|exposure| format!("{exposure:?}") == value)
}

/// What the API server takes as ranges of a load balancer, numbers in their shortest form.
fn ranges(value: &str) -> Option<Vec<Arc<str>>> {
    let range = |text: &str| {
        let (address, bits) = text.split_once('/')?;
        let bits_max = match address.parse::<Ipv4Addr>() {
            Ok(_) => 32,
            Err(_) => address.parse::<Ipv6Addr>().map(|_| 128).ok()?,
        };
        let count: u32 = bits.parse().ok()?;
        (count <= bits_max && count.to_string() == bits).then(|| text.into())
    };
    value.split(',').map(str::trim).map(range).collect()
}

fn follow(value: &str) -> Option<Follow> {
    let parts: Vec<&str> = value.split('/').collect();
    let lease = |namespace: Option<&str>, name: &str| Follow::Lease {
        namespace: namespace.map(Into::into),
        name: name.into(),
    };
    match parts[..] {
        ["lease", name] if is_subdomain(name) => Some(lease(None, name)),
        ["lease", namespace, name]
            if is_subdomain(name)
                && is_subdomain(namespace)
                && namespace.len() <= 63
                && !namespace.contains('.') =>
        {
            Some(lease(Some(namespace), name))
        }
        ["label", ..] => {
            let (key, value) = value.strip_prefix("label/")?.split_once('=')?;
            (is_label_key(key) && is_label_value(value)).then(|| Follow::Label {
                key: key.into(),
                value: value.into(),
            })
        }
        _ => None,
    }
}

fn strategy(value: &str) -> Option<Strategy> {
    let all = [
        ("oldest", Strategy::Oldest),
        ("newest", Strategy::Newest),
        ("random", Strategy::Random),
        ("node-spread", Strategy::NodeSpread),
        ("priority", Strategy::Priority),
    ];
    let found = all.into_iter().find(|(word, _)| *word == value);
    found.map(|(_, strategy)| strategy)
}

/// A JSON object of strings whose keys the API server takes and that are not ours.
fn asked(value: &str) -> Option<Labels> {
    object(value, |key, _| {
        is_annotation_key(key) && !key.starts_with(PREFIX)
    })
}

/// The same for labels, which have fewer values and more keys with a meaning.
fn asked_labels(value: &str) -> Option<Labels> {
    object(value, |key, value| {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let is_of = |root: &str| domain == root || domain.ends_with(&format!(".{root}"));
        let is_recommended = domain == "app.kubernetes.io" && key != "app.kubernetes.io/managed-by";
        let is_reserved = is_of("zen-lead.io") || (is_of("kubernetes.io") && !is_recommended);
        is_label_key(key) && is_label_value(value) && !is_reserved
    })
}

fn object(value: &str, is_fine: impl Fn(&str, &str) -> bool) -> Option<Labels> {
    let Ok(Value::Object(fields)) = serde_json::from_str(value) else {
        return None;
    };
    let entries = fields.iter().map(|(key, value)| {
        let value = value.as_str()?;
        is_fine(key, value).then_some((key.as_str(), value))
    });
    Some(entries.collect::<Option<Vec<_>>>()?.into_iter().collect())
}
