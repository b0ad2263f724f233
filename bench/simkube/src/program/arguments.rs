//! Command lines as `scripts/control-plane` takes them: `--flag value` or `--flag=value`.

use std::collections::BTreeMap;

use super::Failure;

/// Flags with a value.
const VALUED: [&str; 17] = [
    "dir",
    "port",
    "timeout",
    "feature-gates",
    "admission-plugins",
    "apiserver-arg",
    "etcd-arg",
    "controllers",
    "controller-manager-arg",
    "service-cluster-ip-range",
    "grace",
    "user",
    "serviceaccount",
    "expires",
    "group",
    "bind-address",
    "advertise-address",
];

/// Flags that stand alone; the value of `--audit-log` may follow after `=`.
const PLAIN: [&str; 6] = [
    "controller-manager",
    "audit-log",
    "fast",
    "keep",
    "no-service-account-admission",
    "service-account-admission",
];

/// A command line that has been read.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) command: String,
    flags: BTreeMap<String, Vec<String>>,
    /// What was given, to be handed on.
    pub(super) given: Vec<String>,
}

impl Arguments {
    pub(super) fn read(all: Vec<String>) -> Result<Self, Failure> {
        let mut rest = all.into_iter();
        let mut read = Self {
            command: rest.next().unwrap_or_default(),
            ..Self::default()
        };
        read.given = rest.collect();
        let mut words = read.given.iter();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--") else {
                return Err(Failure::new(format!(
                    "{}: {word}: expected an option that begins with --",
                    read.command
                )));
            };
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let value = if VALUED.contains(&name) {
                let next = inline.or_else(|| words.next().cloned());
                next.ok_or_else(|| Failure::new(format!("--{name}: expected a value")))?
            } else if PLAIN.contains(&name) {
                inline.unwrap_or_default()
            } else {
                return Err(Failure::new(format!(
                    "{}: unknown option --{name}",
                    read.command
                )));
            };
            read.flags.entry(name.to_owned()).or_default().push(value);
        }
        Ok(read)
    }

    /// Whether a flag was given.
    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.contains_key(flag)
    }

    /// The last value of a flag.
    pub(super) fn get(&self, flag: &str) -> Option<&str> {
        self.flags.get(flag)?.last().map(String::as_str)
    }

    /// All values of a flag.
    pub(super) fn all(&self, flag: &str) -> &[String] {
        self.flags.get(flag).map_or(&[], Vec::as_slice)
    }

    /// Whether a list separated by commas holds a word.
    pub(super) fn lists(&self, flag: &str, word: &str) -> bool {
        self.all(flag)
            .iter()
            .any(|list| list.split(',').any(|entry| entry.trim() == word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, Failure> {
        Arguments::read(line.split(' ').map(String::from).collect())
    }

    #[test]
    fn both_spellings_are_read() {
        let line = "up --dir /x --controllers=a,b --audit-log --group g --group=h --fast";
        let read = read(line).expect("valid");
        assert_eq!((read.command.as_str(), read.get("dir")), ("up", Some("/x")));
        assert!(read.lists("controllers", "b") && !read.lists("controllers", "c"));
        assert!(read.has("audit-log") && read.has("fast") && !read.has("keep"));
        assert_eq!(read.all("group"), ["g", "h"]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, want) in [
            ("up --nonsense", "unknown option --nonsense"),
            ("up --dir", "--dir: expected a value"),
            ("down here", "down: here: expected an option"),
        ] {
            let why = read(line).expect_err(line).to_string();
            assert!(why.contains(want), "{why}");
        }
    }
}
