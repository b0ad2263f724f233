//! Every command with its options, as one table; and words read by it. `--help` and the completion
//! scripts come from the same table. Pure.

use std::collections::BTreeMap;

use crate::config::nearest;

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
    pub options: &'static [&'static Choice],
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
pub struct Choice {
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

const NAMESPACE: Choice = Choice {
    name: "namespace",
    short: Some('n'),
    value: Some("name"),
    values: &[],
    about: "the namespace [default: the one of the kubeconfig's context]",
};
const ALL: Choice = Choice {
    name: "all-namespaces",
    short: Some('A'),
    value: None,
    values: &[],
    about: "all namespaces",
};
const CONTEXT: Choice = Choice {
    name: "context",
    short: None,
    value: Some("name"),
    values: &[],
    about: "the context of the kubeconfig [default: its current one]",
};
const KUBECONFIG: Choice = Choice {
    name: "kubeconfig",
    short: None,
    value: Some("path"),
    values: &[],
    about: "the kubeconfig [default: KUBECONFIG, then ~/.kube/config, then the pod's account]",
};
const TABLE: Choice = Choice {
    name: "output",
    short: Some('o'),
    value: Some("format"),
    values: &["table", "wide", "json"],
    about: "table, wide or json [default: table]",
};
const TEXT: Choice = Choice {
    name: "output",
    short: Some('o'),
    value: Some("format"),
    values: &["text", "json"],
    about: "text or json [default: text]",
};
const WATCH: Choice = Choice {
    name: "watch",
    short: Some('w'),
    value: None,
    values: &[],
    about: "go on, and print each Service again when it changes",
};
const TO: Choice = Choice {
    name: "to",
    short: None,
    value: Some("pod"),
    values: &[],
    about: "the pod [default: the one that would follow if the leader died now]",
};
const WAIT: Choice = Choice {
    name: "wait",
    short: None,
    value: None,
    values: &[],
    about: "wait until it has happened; exit 1 when it does not",
};
const TIMEOUT: Choice = Choice {
    name: "timeout",
    short: None,
    value: Some("duration"),
    values: &[],
    about: "how long to wait, such as 300ms, 5s or 1m30s [default: 30s]",
};
const AS: Choice = Choice {
    name: "as",
    short: None,
    value: Some("user"),
    values: &[],
    about: "ask as this user, such as system:serviceaccount:zen-lead-system:zen-lead",
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
                  unlabelled or without address is withdrawn all the same, and nobody follows.",
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
        details: "Exit 1 when nobody leads.",
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

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Flags of the controller, or nothing.
    Controller,
    /// A command.
    Call(Call),
    /// A text that was asked for.
    Print(String),
    /// Something that cannot be used; one line.
    Wrong(String),
}

/// A command with its words.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// Which one.
    pub command: &'static Command,
    /// The word after it.
    pub argument: Option<String>,
    options: BTreeMap<&'static str, String>,
    /// Words after `--`.
    pub rest: Vec<String>,
}

impl Call {
    /// The value of an option, if it was given.
    #[must_use]
    pub fn value(&self, option: &str) -> Option<&str> {
        self.options.get(option).map(String::as_str)
    }

    /// Whether a switch was given.
    #[must_use]
    pub fn has(&self, switch: &str) -> bool {
        self.options.contains_key(switch)
    }
}

/// Reads the words after the program's name. A program called as a kubectl plugin has commands
/// only; otherwise the controller runs unless the first word is a command.
#[must_use]
pub fn read(program: &str, words: &[String]) -> Typed {
    let name = program.rsplit('/').next().unwrap_or_default();
    let is_plugin = name == PLUGIN;
    let Some((first, rest)) = words.split_first() else {
        return if is_plugin {
            Typed::Print(super::help::overview(true))
        } else {
            Typed::Controller
        };
    };
    match first.as_str() {
        "help" => match rest.first().map(|word| find(word)) {
            None => Typed::Print(super::help::overview(is_plugin)),
            Some(Ok(command)) => Typed::Print(super::help::of(command, is_plugin)),
            Some(Err(why)) => Typed::Wrong(why),
        },
        "-h" | "--help" if is_plugin => Typed::Print(super::help::overview(true)),
        "--version" if is_plugin => Typed::Controller,
        word if word.starts_with('-') && !is_plugin => Typed::Controller,
        word => match find(word) {
            Ok(command) => parse(command, rest, is_plugin),
            Err(why) => Typed::Wrong(why),
        },
    }
}

fn find(word: &str) -> Result<&'static Command, String> {
    if let Some(command) = COMMANDS.iter().find(|command| command.name == word) {
        return Ok(command);
    }
    let names = COMMANDS.iter().map(|command| command.name);
    Err(match nearest(word, names) {
        Some(near) => {
            format!("command {word:?} is unknown, perhaps {near} is meant; see zen-lead help")
        }
        None => format!("command {word:?} is unknown; see zen-lead help"),
    })
}

fn parse(command: &'static Command, words: &[String], is_plugin: bool) -> Typed {
    let mut call = Call {
        command,
        argument: None,
        options: BTreeMap::new(),
        rest: Vec::new(),
    };
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let done = match word {
            "-h" | "--help" => return Typed::Print(super::help::of(command, is_plugin)),
            "--" if command.passes_on => {
                call.rest = words.map(str::to_owned).collect();
                break;
            }
            word if word.len() > 1 && word.starts_with('-') => call.take(word, &mut words),
            word => call.give(word),
        };
        if let Err(why) = done {
            return Typed::Wrong(format!(
                "{}: {why}; see zen-lead help {}",
                command.name, command.name
            ));
        }
    }
    match &command.argument {
        Some(argument) if call.argument.is_none() && !argument.is_optional => {
            Typed::Wrong(format!(
                "{}: expected a {}; see zen-lead help {}",
                command.name, argument.name, command.name
            ))
        }
        _ => Typed::Call(call),
    }
}

impl Call {
    /// Takes a word that is no option.
    fn give(&mut self, word: &str) -> Result<(), String> {
        let Some(argument) = &self.command.argument else {
            return Err(format!("{word:?} is not expected"));
        };
        if self.argument.is_some() {
            return Err(format!("{word:?} is one {} too many", argument.name));
        }
        if !argument.values.is_empty() && !argument.values.contains(&word) {
            return Err(format!(
                "got {word:?}, expected {}",
                either(argument.values)
            ));
        }
        // As `kubectl get` prints it: service/my-app.
        let name = word.split_once('/').filter(|(kind, _)| {
            argument.name == "service" && matches!(*kind, "service" | "services" | "svc")
        });
        self.argument = Some(name.map_or(word, |(_, name)| name).to_owned());
        Ok(())
    }

    /// Takes an option: `--name value`, `--name=value`, `-n value`, `-n=value`, `-nvalue`.
    fn take<'a>(
        &mut self,
        word: &str,
        rest: &mut impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        let (choice, value) = match word.strip_prefix("--") {
            Some(long) => {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                let known = self.command.options.iter();
                (known.copied().find(|choice| choice.name == name), value)
            }
            None => {
                let letter = word[1..].chars().next();
                let known = self.command.options.iter();
                let choice = known.copied().find(|choice| choice.short == letter);
                let value = &word[1 + letter.map_or(0, char::len_utf8)..];
                (
                    choice,
                    (!value.is_empty()).then(|| value.strip_prefix('=').unwrap_or(value)),
                )
            }
        };
        let choice = choice.ok_or_else(|| format!("option {word} is unknown"))?;
        let value = match (choice.value, value) {
            (None, None) => "",
            (None, Some(_)) => return Err(format!("--{} takes no value", choice.name)),
            (Some(_), Some(value)) => value,
            (Some(what), None) => rest
                .next()
                .ok_or_else(|| format!("--{} needs a {what}", choice.name))?,
        };
        if !choice.values.is_empty() && !choice.values.contains(&value) {
            let expected = either(choice.values);
            return Err(format!(
                "--{}: got {value:?}, expected {expected}",
                choice.name
            ));
        }
        self.options.insert(choice.name, value.into());
        Ok(())
    }
}

/// `a, b or c`.
fn either(values: &[&str]) -> String {
    match values {
        [] => String::new(),
        [only] => (*only).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &str) -> Typed {
        let words: Vec<String> = words.split_whitespace().map(String::from).collect();
        read("/usr/bin/zen-lead", &words)
    }

    /// A call in a few words, or what is wrong.
    fn word(words: &str) -> String {
        match typed(words) {
            Typed::Controller => "controller".into(),
            Typed::Call(call) => format!(
                "{} {:?} {:?} {:?}",
                call.command.name,
                call.argument.as_deref().unwrap_or("-"),
                call.options,
                call.rest
            ),
            Typed::Print(text) => format!("print {}", text.lines().next().unwrap_or_default()),
            Typed::Wrong(why) => format!("wrong {why}"),
        }
    }

    #[test]
    fn flags_and_nothing_are_the_controllers() {
        for words in [
            "",
            "--help",
            "-h",
            "--version",
            "--namespaces a",
            "-qps=3",
            "--status",
        ] {
            assert_eq!(typed(words), Typed::Controller, "{words}");
        }
    }

    #[test]
    fn commands_in_all_their_forms() {
        for (words, expected) in [
            ("status", r#"status "-" {} []"#),
            ("status -A", r#"status "-" {"all-namespaces": ""} []"#),
            (
                "status web -n shop",
                r#"status "web" {"namespace": "shop"} []"#,
            ),
            (
                "status -nshop web",
                r#"status "web" {"namespace": "shop"} []"#,
            ),
            ("status -n=shop", r#"status "-" {"namespace": "shop"} []"#),
            (
                "status --namespace=shop -w",
                r#"status "-" {"namespace": "shop", "watch": ""} []"#,
            ),
            ("status -ojson", r#"status "-" {"output": "json"} []"#),
            (
                "status -o wide -o json",
                r#"status "-" {"output": "json"} []"#,
            ),
            ("explain svc/web", r#"explain "web" {} []"#),
            (
                "switchover web --to web-1 --wait",
                r#"switchover "web" {"to": "web-1", "wait": ""} []"#,
            ),
            (
                "logs web -- -f --tail 2",
                r#"logs "web" {} ["-f", "--tail", "2"]"#,
            ),
            ("completion zsh", r#"completion "zsh" {} []"#),
        ] {
            assert_eq!(word(words), expected, "{words}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_one_line() {
        for (words, expected) in [
            (
                "stauts",
                r#"command "stauts" is unknown, perhaps status is meant; see zen-lead help"#,
            ),
            (
                "frobnicate",
                r#"command "frobnicate" is unknown; see zen-lead help"#,
            ),
            (
                "explain",
                "explain: expected a service; see zen-lead help explain",
            ),
            (
                "explain a b",
                r#"explain: "b" is one service too many; see zen-lead help explain"#,
            ),
            (
                "doctor web",
                r#"doctor: "web" is not expected; see zen-lead help doctor"#,
            ),
            (
                "status -o yaml",
                r#"status: --output: got "yaml", expected table, wide or json; see zen-lead help status"#,
            ),
            (
                "status -x",
                "status: option -x is unknown; see zen-lead help status",
            ),
            (
                "status --wide",
                "status: option --wide is unknown; see zen-lead help status",
            ),
            (
                "status -n",
                "status: --namespace needs a name; see zen-lead help status",
            ),
            (
                "status --watch=yes",
                "status: --watch takes no value; see zen-lead help status",
            ),
            (
                "status -- a",
                "status: option -- is unknown; see zen-lead help status",
            ),
            (
                "completion csh",
                r#"completion: got "csh", expected bash, zsh or fish; see zen-lead help completion"#,
            ),
            ("help me", r#"command "me" is unknown; see zen-lead help"#),
        ] {
            assert_eq!(word(words), format!("wrong {expected}"), "{words}");
            assert_eq!(expected.lines().count(), 1);
        }
    }

    #[test]
    fn a_plugin_has_commands_only() {
        let plugin = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).into()).collect();
            read("/usr/local/bin/kubectl-zen_lead", &words)
        };
        assert!(matches!(plugin(&[]), Typed::Print(text) if text.contains("kubectl zen-lead")));
        assert!(matches!(plugin(&["--help"]), Typed::Print(_)));
        assert!(matches!(plugin(&["status"]), Typed::Call(_)));
        assert!(matches!(plugin(&["--qps", "3"]), Typed::Wrong(_)));
    }

    #[test]
    fn the_table_is_consistent() {
        for command in &COMMANDS {
            let mut names: Vec<_> = command.options.iter().map(|choice| choice.name).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", command.name);
            assert!(command.about.len() <= 80, "{}", command.name);
            assert_eq!(find(command.name).map(|found| found.name), Ok(command.name));
        }
    }
}
