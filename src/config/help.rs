//! The texts of `--help` and `--version`.

use super::BUILD;
use super::flags::{BOOLEAN, known, variable_of};

/// Flags to look for under a heading of `--help`: the first flag of each group.
const HEADINGS: [(&str, &str); 7] = [
    ("namespaces", "What is served"),
    ("failover-budget-per-service", "Storm guard"),
    ("leave-cordoned-nodes", "Nodes"),
    ("metrics-bind-address", "Addresses"),
    ("leader-election-id", "Two replicas, one writer"),
    ("max-concurrent-reconciles", "Requests to the API server"),
    ("log-level", "Observing and connecting"),
];

/// Heading of the flags that only the Go program knows what to do with.
const LEGACY: (&str, &str) = (
    "enable-leader-pod-cache",
    "Accepted from the Go program, without effect",
);

/// The text of `--version`.
pub(super) fn version() -> String {
    let build = BUILD;
    format!(
        "zen-lead {} (commit {}, built {})\n",
        build.version, build.commit, build.date
    )
}

/// The text of `--help`: argh's table, with headings and the environment variable of each flag.
pub(super) fn help() -> String {
    let mut text = format!(
        "zen-lead {}: network-level single-active routing for Kubernetes

Usage: zen-lead [--flag value]...      runs the controller
       zen-lead <command> [options]    looks and steers, see zen-lead help

A Service annotated zen-lead.io/enabled=\"true\" gets a <name>-leader Service that
routes to exactly one ready pod. Each flag can be given as --flag value or
--flag=value, or as the environment variable shown with it; a flag wins over its
variable, and an empty value counts as not given. Durations as in Go: 300ms, 5s,
1m30s. In a pod, POD_NAMESPACE and POD_NAME must be set, and POD_UID should be
(downward API): a restarted container then takes over from its former process at
once.
",
        BUILD.version
    );
    for flag in known() {
        if let Some((_, heading)) = HEADINGS
            .iter()
            .chain([&LEGACY])
            .find(|(first, _)| *first == flag.name)
        {
            text.extend(["\n", heading, "\n"]);
        }
        let form = match flag.value {
            BOOLEAN => format!("--{}", flag.name),
            value => format!("--{} <{value}>", flag.name),
        };
        text.extend(["  ", &form, "  (", &variable_of(flag.name), ")\n"]);
        wrap(flag.about, "        ", &mut text);
    }
    text + "\n  --version\n        version, commit and build date\n  --help, -h\n        this text\n"
}

/// Longest line of a help text, in characters.
pub(crate) const WIDTH: usize = 80;

/// Appends `words` in lines of at most [`WIDTH`] characters, each with `indent` in front.
pub(crate) fn wrap(words: &str, indent: &str, out: &mut String) {
    let mut line = String::new();
    for word in words.split_whitespace() {
        if !line.is_empty() && indent.len() + line.len() + 1 + word.len() > WIDTH {
            out.extend([indent, &line, "\n"]);
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    out.extend([indent, &line, "\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_name_flags() {
        for (first, _) in HEADINGS.iter().chain([&LEGACY]) {
            assert!(known().any(|flag| flag.name == *first), "{first}");
        }
    }
}
