//! Every command with its options, as one table: what [`super::grammar`] reads words by, and what
//! [`super::help`] makes texts and completion scripts of.

/// The name under which kubectl finds a plugin `zen-lead`.
pub(super) const PLUGIN: &str = "kubectl-zen_lead";

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// As it is typed.
    pub name: &'static str,
    /// What follows it, if anything may.
    pub argument: Option<Argument>,
    /// In one line.
    pub about: &'static str,
    /// In some more.
    pub details: &'static str,
    /// Its options.
    pub options: &'static [&'static OptionSpec],
    /// Whether words after `--` are for kubectl.
    pub passes_on: bool,
}

/// The word after a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Argument {
    /// What it is, for `--help`.
    pub name: &'static str,
    /// Whether it may be left out.
    pub is_optional: bool,
    /// All it can be; empty when that depends on the cluster.
    pub values: &'static [&'static str],
}

/// An option.
#[derive(Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// Without its dashes.
    pub name: &'static str,
    /// A letter for it.
    pub short: Option<char>,
    /// What its value is; none for a switch.
    pub value: Option<&'static str>,
    /// All that the value can be; empty when that is open.
    pub values: &'static [&'static str],
    /// In one line.
    pub about: &'static str,
}

const NAMESPACE: OptionSpec = OptionSpec {
    name: "namespace",
    short: Some('n'),
    value: Some("name"),
    values: &[],
    about: "the namespace [default: those of ZEN_LEAD_NAMESPACES, in the pod of a controller those \
            that it serves, else the one of the kubeconfig's context]",
};
const ALL: OptionSpec = OptionSpec {
    name: "all-namespaces",
    short: Some('A'),
    value: None,
    values: &[],
    about: "all namespaces",
};
const CONTEXT: OptionSpec = OptionSpec {
    name: "context",
    short: None,
    value: Some("name"),
    values: &[],
    about: "the context of the kubeconfig [default: its current one]",
};
const KUBECONFIG: OptionSpec = OptionSpec {
    name: "kubeconfig",
    short: None,
    value: Some("path"),
    values: &[],
    about: "the kubeconfig [default: KUBECONFIG, then ~/.kube/config, then the pod's account]",
};
const TABLE: OptionSpec = OptionSpec {
    name: "output",
    short: Some('o'),
    value: Some("format"),
    values: &["table", "wide", "json"],
    about: "table, wide or json [default: table]",
};
const TEXT: OptionSpec = OptionSpec {
    name: "output",
    short: Some('o'),
    value: Some("format"),
    values: &["text", "json"],
    about: "text or json [default: text]",
};
const WATCH: OptionSpec = OptionSpec {
    name: "watch",
    short: Some('w'),
    value: None,
    values: &[],
    about: "go on, and print each Service again when it changes",
};
const TO: OptionSpec = OptionSpec {
    name: "to",
    short: None,
    value: Some("pod"),
    values: &[],
    about: "the pod [default: the one that would follow if the leader died now]",
};
const WAIT: OptionSpec = OptionSpec {
    name: "wait",
    short: None,
    value: None,
    values: &[],
    about: "wait until it has happened; exit 1 when it does not",
};
const TIMEOUT: OptionSpec = OptionSpec {
    name: "timeout",
    short: None,
    value: Some("duration"),
    values: &[],
    about: "how long to wait, such as 300ms, 5s or 1m30s [default: 30s]",
};
const AS: OptionSpec = OptionSpec {
    name: "as",
    short: None,
    value: Some("user"),
    values: &[],
    about: "ask as this user, such as system:serviceaccount:zen-lead:zen-lead",
};

const SERVICE: Argument = Argument {
    name: "service",
    is_optional: false,
    values: &[],
};

/// All commands, in the order in which `--help` tells of them.
pub(super) const COMMANDS: [Command; 11] = [
    Command {
        name: "status",
        argument: Some(Argument {
            is_optional: true,
            ..SERVICE
        }),
        about: "who leads, of one Service or of all that are opted in",
        details: "One line for each Service: its leader Service, state, leader and since when, \
                  how many of its pods are eligible, and why the last leader was left (from the \
                  last Event, which the API server keeps for an hour).",
        options: &[&NAMESPACE, &ALL, &TABLE, &WATCH, &CONTEXT, &KUBECONFIG],
        passes_on: false,
    },
    Command {
        name: "explain",
        argument: Some(SERVICE),
        about: "every pod of a Service: whether it may lead, why, and in which order",
        details: "Also says who would follow if the leader died now. It is decided by the \
                  controller's own code on what the cluster holds now.",
        options: &[&NAMESPACE, &TEXT, &CONTEXT, &KUBECONFIG],
        passes_on: false,
    },
    Command {
        name: "switchover",
        argument: Some(SERVICE),
        about: "hand over to another pod, make before break",
        details: "Sets zen-lead.io/preferred-leader on the Service. The controller hands over as \
                  soon as that pod is eligible, once for each value and pod.",
        options: &[&TO, &WAIT, &TIMEOUT, &NAMESPACE, &CONTEXT, &KUBECONFIG],
        passes_on: false,
    },
    Command {
        name: "pause",
        argument: Some(SERVICE),
        about: "no failover and no switchover until resumed",
        details: "Sets zen-lead.io/paused on the Service. A leader that is deleted, failed, \
                  unlabelled or without address is withdrawn anyway, without a successor.",
        options: &[&NAMESPACE, &CONTEXT, &KUBECONFIG],
        passes_on: false,
    },
    Command {
        name: "resume",
        argument: Some(SERVICE),
        about: "end a pause; what waited is decided at once",
        details: "Takes zen-lead.io/paused off the Service.",
        options: &[&NAMESPACE, &CONTEXT, &KUBECONFIG],
        passes_on: false,
    },
    Command {
        name: "doctor",
        argument: None,
        about: "what is wrong, or soon will be: versions, rights, leftovers, conflicts",
        details: "Exit 0 when nothing is wrong, 1 when something is. What the kubeconfig's user \
                  is not allowed to look at is said and does not count.",
        options: &[&NAMESPACE, &ALL, &AS, &CONTEXT, &KUBECONFIG],
        passes_on: false,
    },
    Command {
        name: "leader",
        argument: Some(SERVICE),
        about: "the leader's name, for scripts: kubectl describe pod $(zen-lead leader my-app)",
        details: "Exit 1 when there is no leader.",
        options: &[&NAMESPACE, &CONTEXT, &KUBECONFIG],
        passes_on: false,
    },
    Command {
        name: "logs",
        argument: Some(SERVICE),
        about: "the kubectl line for the leader's logs",
        details: "Words after -- become part of it: zen-lead logs my-app -- -f --tail=20",
        options: &[&NAMESPACE, &CONTEXT, &KUBECONFIG],
        passes_on: true,
    },
    Command {
        name: "exec",
        argument: Some(SERVICE),
        about: "the kubectl line for a command in the leader",
        details: "Words after -- are the command: zen-lead exec my-app -- psql. Without any: sh.",
        options: &[&NAMESPACE, &CONTEXT, &KUBECONFIG],
        passes_on: true,
    },
    Command {
        name: "port-forward",
        argument: Some(SERVICE),
        about: "the kubectl line for a tunnel to the leader",
        details: "Words after -- become part of it: zen-lead port-forward my-app -- 8080:80. \
                  Without any: every port of the leader's endpoint.",
        options: &[&NAMESPACE, &CONTEXT, &KUBECONFIG],
        passes_on: true,
    },
    Command {
        name: "completion",
        argument: Some(Argument {
            name: "shell",
            is_optional: false,
            values: &["bash", "zsh", "fish"],
        }),
        about: "a completion script: source <(zen-lead completion bash)",
        details: "For bash, zsh or fish.",
        options: &[],
        passes_on: false,
    },
];
