//! Reads words by the table of [`super::commands`]. Pure.

use std::collections::BTreeMap;

use super::commands::{COMMANDS, Command, PLUGIN};
use crate::config::nearest;

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
        let known = || self.command.options.iter().copied();
        let (choice, value) = if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            (known().find(|choice| choice.name == name), value)
        } else {
            let mut letters = word[1..].chars();
            let letter = letters.next();
            let value = letters.as_str();
            let value = value.strip_prefix('=').unwrap_or(value);
            let choice = known().find(|choice| choice.short == letter);
            (choice, (!value.is_empty()).then_some(value))
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
