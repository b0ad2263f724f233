//! Single values: from text to what it means, or to one line about what is expected.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::bind::Bind;
use super::flags::variable_of;
use super::{ConfigError, LogFormat};
use crate::logic::reflect::Encoding;
use crate::logic::{duration, mirror};

/// A text and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// `--flag` or `ZEN_LEAD_FLAG`.
    pub(super) origin: String,
    pub(super) text: String,
    /// Whether it was given; else it is the default.
    pub(super) typed: bool,
}

impl Given {
    pub(super) fn refuse(&self, expected: &str) -> ConfigError {
        ConfigError {
            which: self.origin.clone(),
            given: Some(self.text.clone()),
            expected: expected.into(),
        }
    }

    /// Two values that do not go together: the one that was given is to blame, of two such the
    /// first. `above` and `below` say how it should relate to the other.
    pub(super) fn conflict(&self, above: &str, other: &Self, below: &str) -> ConfigError {
        let (blamed, relation, innocent) = if self.typed || !other.typed {
            (self, above, other)
        } else {
            (other, below, self)
        };
        blamed.refuse(&format!(
            "expected {relation} {} ({})",
            innocent.origin, innocent.text
        ))
    }
}

/// Where values come from: the flag, then its variable, then the default. An invalid value
/// is recorded, and its default is used until all errors are reported.
pub(super) struct ValueSource<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    context: &'a dyn Fn(Option<&Path>) -> Option<String>,
    wrong: RefCell<Vec<ConfigError>>,
}

impl<'a> ValueSource<'a> {
    pub(super) fn new(
        env: &'a dyn Fn(&str) -> Option<String>,
        context: &'a dyn Fn(Option<&Path>) -> Option<String>,
    ) -> Self {
        Self {
            env,
            context,
            wrong: RefCell::default(),
        }
    }

    /// Everything that cannot be used.
    pub(super) fn into_wrong(self) -> Vec<ConfigError> {
        self.wrong.into_inner()
    }

    /// How much cannot be used, so far. What depends on a wrong value is not judged.
    pub(super) fn count_wrong(&self) -> usize {
        self.wrong.borrow().len()
    }

    pub(super) fn note(&self, error: ConfigError) {
        self.wrong.borrow_mut().push(error);
    }

    /// A variable by its full name; an empty one counts as not set.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|text| !text.is_empty())
    }

    /// What was given for a flag, if anything was. An empty flag silences its variable.
    pub(super) fn text(&self, flag: Option<&str>, name: &str) -> Option<Given> {
        let given = match flag {
            Some(text) => Given {
                origin: format!("--{name}"),
                text: text.to_owned(),
                typed: true,
            },
            None => Given {
                text: self.variable(&variable_of(name))?,
                origin: variable_of(name),
                typed: true,
            },
        };
        (!given.text.is_empty()).then_some(given)
    }

    /// What was given for a flag, or its default.
    pub(super) fn given(&self, flag: Option<&str>, name: &str, default: &str) -> Given {
        self.text(flag, name).unwrap_or_else(|| Given {
            origin: format!("--{name}"),
            text: default.into(),
            typed: false,
        })
    }

    pub(super) fn number<T>(
        &self,
        flag: Option<&str>,
        name: &str,
        default: T,
        range: RangeInclusive<T>,
        unit: &str,
    ) -> T
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(given) = self.text(flag, name) else {
            return default;
        };
        match given.text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (start, end) = (range.start(), range.end());
                let expected = format!("expected a number of {unit} from {start} to {end}");
                self.note(given.refuse(&expected));
                default
            }
        }
    }

    pub(super) fn duration(
        &self,
        flag: Option<&str>,
        name: &str,
        default: &str,
    ) -> (Duration, Given) {
        let given = self.given(flag, name, default);
        let span = duration::parse(&given.text).unwrap_or_else(|error| {
            self.note(given.refuse(&error.to_string()));
            Duration::ZERO
        });
        (span, given)
    }

    /// Checks a boolean; `None` when it was not given.
    pub(super) fn boolean(&self, flag: Option<&str>, name: &str) -> Option<Given> {
        let given = self.text(flag, name)?;
        // Go's strconv.ParseBool.
        if let "1" | "t" | "T" | "true" | "TRUE" | "True" | "0" | "f" | "F" | "false" | "FALSE"
        | "False" = given.text.as_str()
        {
            return Some(given);
        }
        self.note(given.refuse("expected true or false"));
        None
    }

    /// A boolean.
    pub(super) fn switch(&self, flag: Option<&str>, name: &str, default: bool) -> bool {
        let given = self.boolean(flag, name);
        given.map_or(default, |given| given.text.starts_with(['1', 't', 'T']))
    }

    pub(super) fn bind(
        &self,
        flag: Option<&str>,
        name: &str,
        default: &str,
    ) -> (Option<Bind>, Given) {
        let given = self.given(flag, name, default);
        if given.text == "0" {
            return (None, given); // off, as in controller-runtime
        }
        let bind = Bind::parse(&given.text);
        if bind.is_none() {
            self.note(given.refuse("expected :port, IP:port, or 0 for off"));
        }
        (bind, given)
    }

    pub(super) fn namespaces(&self, flag: Option<&str>, name: &str) -> Vec<String> {
        self.list(flag, name, |name| {
            is_label(name).then(|| name.to_owned()).ok_or_else(|| {
                "expected names of namespaces (a-z, 0-9 and -, at most 63 characters), \
                 separated by commas"
                    .into()
            })
        })
    }

    pub(super) fn mirror_prefixes(&self, flag: Option<&str>) -> Vec<String> {
        self.list(flag, "mirror-prefixes", |prefix| {
            let domain = prefix.strip_suffix('/').unwrap_or(prefix);
            if !is_subdomain(domain) {
                return Err("expected prefixes of labels and annotations such as \
                            example.com, separated by commas"
                    .into());
            }
            if let Some(why) = mirror::reserved(domain) {
                return Err(format!(
                    "expected no reserved prefix: {domain}/ is never mirrored, since {why}"
                ));
            }
            Ok(format!("{domain}/"))
        })
    }

    fn list(
        &self,
        flag: Option<&str>,
        name: &str,
        read: impl Fn(&str) -> Result<String, String>,
    ) -> Vec<String> {
        let Some(given) = self.text(flag, name) else {
            return Vec::new();
        };
        let mut items = Vec::new();
        for item in given.text.split(',').map(str::trim) {
            match read(item) {
                Ok(item) if items.contains(&item) => {}
                Ok(item) => items.push(item),
                Err(expected) => {
                    self.note(given.refuse(&expected));
                    break;
                }
            }
        }
        items
    }

    pub(super) fn lease_name(&self, flag: Option<&str>) -> String {
        let given = self.given(
            flag,
            "leader-election-id",
            "zen-lead-controller-leader-election",
        );
        if !is_subdomain(&given.text) {
            self.note(given.refuse("expected the name of a Lease (a-z, 0-9, - and .)"));
        }
        given.text
    }

    /// Where the Lease is: as the flag says, where the pod is, or where the kubeconfig's context is.
    pub(super) fn lease_namespace(
        &self,
        flag: Option<&str>,
        kubeconfig: Option<&Path>,
        in_cluster: bool,
    ) -> String {
        let name = "leader-election-namespace";
        let of = |origin: &str, text| Given {
            text,
            origin: origin.into(),
            typed: true,
        };
        let of_pod = || Some(of("POD_NAMESPACE", self.variable("POD_NAMESPACE")?));
        let of_context = || {
            let namespace = (self.context)(kubeconfig).filter(|_| !in_cluster)?;
            Some(of("namespace of the kubeconfig's context", namespace))
        };
        let given = self.text(flag, name).or_else(of_pod).or_else(of_context);
        match given {
            Some(given) if is_label(&given.text) => return given.text,
            Some(given) => self.note(given.refuse("expected the name of a namespace")),
            None if in_cluster => self.note(missing(
                "POD_NAMESPACE",
                "expected the pod's namespace (downward API, metadata.namespace)",
            )),
            None => self.note(missing(
                &format!("--{name}"),
                "expected a namespace for the Lease, since this is no pod and there is no \
                 kubeconfig whose context has one",
            )),
        }
        String::new()
    }

    /// Who we are, as holder of the Lease and in events.
    pub(super) fn identity(&self, in_cluster: bool) -> String {
        let expected = "expected the pod's name (downward API, metadata.name)";
        match self.variable("POD_NAME") {
            Some(name) if is_subdomain(&name) => return name,
            Some(name) => self.note(ConfigError {
                which: "POD_NAME".into(),
                given: Some(name),
                expected: expected.into(),
            }),
            None if in_cluster => self.note(missing("POD_NAME", expected)),
            None => {}
        }
        self.host()
    }

    /// Which pod this is, of all that ever have its name.
    pub(super) fn pod_uid(&self) -> Option<String> {
        let uid = self.variable("POD_UID")?;
        // It stands before a `_` in the identity.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        if uid.len() <= 128 && uid.bytes().all(is_plain) {
            return Some(uid);
        }
        self.note(ConfigError {
            which: "POD_UID".into(),
            given: Some(uid),
            expected: "expected the pod's uid (downward API, metadata.uid)".into(),
        });
        None
    }

    fn host(&self) -> String {
        self.variable("HOSTNAME")
            .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "localhost".into())
    }

    pub(super) fn watch_encoding(&self, flag: Option<&str>) -> Encoding {
        match self.text(flag, "watch-encoding") {
            Some(it) if it.text == "json" => return Encoding::Json,
            Some(it) if it.text != "protobuf" => self.note(it.refuse("expected protobuf or json")),
            _ => {}
        }
        Encoding::Protobuf
    }

    pub(super) fn log_format(&self, flag: Option<&str>, in_cluster: bool) -> LogFormat {
        let given = self.text(flag, "log-format");
        match given.as_ref().map(|given| given.text.as_str()) {
            Some("json") => return LogFormat::Json,
            Some("text") => return LogFormat::Text,
            _ => {}
        }
        if let Some(given) = given {
            self.note(given.refuse("expected json or text"));
        }
        if in_cluster {
            LogFormat::Json
        } else {
            LogFormat::Text
        }
    }

    pub(super) fn log_level(&self, flag: Option<&str>) -> String {
        let given = self.given(flag, "log-level", "info");
        let level = |word: &str| {
            let word = word.trim().to_ascii_lowercase();
            ["off", "error", "warn", "info", "debug", "trace"].contains(&word.as_str())
        };
        // tracing takes a bare word that is no level for a module, and would then log nothing.
        let bare = given.text.split(',').filter(|part| !part.contains('='));
        if !bare.clone().all(level) || EnvFilter::builder().parse(&given.text).is_err() {
            self.note(given.refuse(
                "expected error, warn, info, debug, trace or off, or per module as in \
                 info,zen_lead::shell=debug",
            ));
        }
        given.text
    }
}

fn missing(which: &str, expected: &str) -> ConfigError {
    ConfigError {
        which: which.into(),
        given: None,
        expected: expected.into(),
    }
}

/// RFC 1123 label: a-z, 0-9 and inner dashes, at most 63 characters.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// RFC 1123 subdomain as the API server has it: parts joined by dots, at most 253 characters in
/// all, but no bound on one part. A pod's name may well be a single part of more than 63.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && matches!((bytes.first(), bytes.last()), (Some(a), Some(z)) if *a != b'-' && *z != b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(63);
        for (text, label, subdomain) in [
            ("a", true, true),
            ("0-a", true, true),
            (long.as_str(), true, true),
            (&format!("{long}a"), false, true),
            (&"a".repeat(254), false, false),
            ("a.b", false, true),
            ("a..b", false, false),
            ("", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("A", false, false),
            ("a_b", false, false),
            ("ä", false, false),
        ] {
            assert_eq!(is_label(text), label, "{text}");
            assert_eq!(is_subdomain(text), subdomain, "{text}");
        }
    }
}
