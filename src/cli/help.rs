//! `--help` and completion scripts, from the table of [`super::commands`]. Pure.

use std::fmt::Write as _;

use super::commands::{COMMANDS, Command, OptionSpec, PLUGIN};
use crate::config::wrap;

fn program(is_plugin: bool) -> &'static str {
    if is_plugin {
        "kubectl zen-lead"
    } else {
        "zen-lead"
    }
}

/// All commands.
pub(super) fn overview(is_plugin: bool) -> String {
    let program = program(is_plugin);
    let mut text = format!(
        "{program}: look at zen-lead, and steer it\n\nUsage: {program} <command> [options]\n\nCommands\n"
    );
    for command in &COMMANDS {
        let _ = writeln!(text, "  {:<14}{}", command.name, command.about);
    }
    let _ = writeln!(text, "\n{program} help <command> says more of each.");
    if !is_plugin {
        text += "Without a command zen-lead is the controller: zen-lead --help shows its flags.\n";
        let _ = writeln!(
            text,
            "Under the name {PLUGIN} in the PATH it is `kubectl zen-lead`."
        );
    }
    text
}

/// One command.
pub(super) fn of(command: &Command, is_plugin: bool) -> String {
    let mut text = format!("Usage: {} {}", program(is_plugin), command.name);
    if let Some(argument) = &command.argument {
        let (open, close) = if argument.is_optional {
            ("[", "]")
        } else {
            ("<", ">")
        };
        let _ = write!(text, " {open}{}{close}", argument.name);
    }
    if !command.options.is_empty() {
        text += " [options]";
    }
    if command.passes_on {
        text += " [-- words]";
    }
    text += "\n\n";
    let about = format!(
        "{}{}.",
        command.about[..1].to_uppercase(),
        &command.about[1..]
    );
    wrap(&about, "", &mut text);
    wrap(command.details, "", &mut text);
    if !command.options.is_empty() {
        text += "\nOptions\n";
    }
    for choice in command.options {
        let _ = writeln!(text, "  {}", form(choice));
        wrap(choice.about, "        ", &mut text);
    }
    text
}

/// `-n, --namespace <name>`.
fn form(choice: &OptionSpec) -> String {
    let mut form = choice
        .short
        .map_or_else(|| "    ".into(), |short| format!("-{short}, "));
    form += "--";
    form += choice.name;
    if let Some(value) = choice.value {
        let _ = write!(form, " <{value}>");
    }
    form
}

/// A completion script for that shell, which the grammar has checked.
pub(super) fn completion(shell: &str) -> String {
    match shell {
        "bash" => bash(),
        "zsh" => format!(
            "#compdef zen-lead\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash()
        ),
        _ => fish(),
    }
}

/// Words that can follow a command.
fn words(command: &Command) -> String {
    let mut words = Vec::new();
    if let Some(argument) = &command.argument {
        words.extend(argument.values.iter().map(ToString::to_string));
    }
    for choice in command.options {
        words.push(format!("--{}", choice.name));
        words.extend(choice.short.map(|short| format!("-{short}")));
    }
    words.join(" ")
}

fn bash() -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    let mut text = format!(
        "_zen_lead() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}}
  if [ \"$COMP_CWORD\" -eq 1 ]; then
    COMPREPLY=($(compgen -W \"{} help\" -- \"$word\"))
    return
  fi
  case \"$before\" in
    -n|--namespace)
      COMPREPLY=($(compgen -W \"$(kubectl get namespaces -o name 2>/dev/null | sed 's|.*/||')\" -- \"$word\"))
      return ;;
    --to)
      COMPREPLY=($(compgen -W \"$(kubectl get pods -o name 2>/dev/null | sed 's|.*/||')\" -- \"$word\"))
      return ;;
    --kubeconfig)
      COMPREPLY=($(compgen -f -- \"$word\"))
      return ;;
",
        names.join(" ")
    );
    // The values of an option depend on the command.
    text += "  esac\n  case \"$command $before\" in\n";
    for command in &COMMANDS {
        for choice in command
            .options
            .iter()
            .filter(|choice| !choice.values.is_empty())
        {
            let mut forms = vec![format!("\"{} --{}\"", command.name, choice.name)];
            forms.extend(
                choice
                    .short
                    .map(|short| format!("\"{} -{short}\"", command.name)),
            );
            let _ = writeln!(
                text,
                "    {}) COMPREPLY=($(compgen -W \"{}\" -- \"$word\")); return ;;",
                forms.join("|"),
                choice.values.join(" ")
            );
        }
    }
    text += "  esac\n  case \"$command\" in\n";
    for command in &COMMANDS {
        let is_of_a_service = command
            .argument
            .as_ref()
            .is_some_and(|one| one.name == "service");
        let services = if is_of_a_service {
            " $(kubectl get services -o name 2>/dev/null | sed 's|.*/||')"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "    {}) COMPREPLY=($(compgen -W \"{}{services}\" -- \"$word\")) ;;",
            command.name,
            words(command)
        );
    }
    let _ = writeln!(
        text,
        "    help) COMPREPLY=($(compgen -W \"{}\" -- \"$word\")) ;;",
        names.join(" ")
    );
    text += "  esac\n}\ncomplete -F _zen_lead zen-lead\n";
    text
}

fn fish() -> String {
    let mut text = String::from("complete -c zen-lead -f\n");
    let quoted = |text: &str| text.replace('\'', "\\'");
    for command in &COMMANDS {
        let _ = writeln!(
            text,
            "complete -c zen-lead -n __fish_use_subcommand -a {} -d '{}'",
            command.name,
            quoted(command.about)
        );
        let seen = format!("-n '__fish_seen_subcommand_from {}'", command.name);
        for choice in command.options {
            let mut line = format!("complete -c zen-lead {seen} -l {}", choice.name);
            if let Some(short) = choice.short {
                let _ = write!(line, " -s {short}");
            }
            if choice.value.is_some() {
                line += " -r";
            }
            if !choice.values.is_empty() {
                let _ = write!(line, " -a '{}'", choice.values.join(" "));
            }
            let _ = writeln!(text, "{line} -d '{}'", quoted(choice.about));
        }
        match &command.argument {
            Some(argument) if argument.name == "service" => {
                let _ = writeln!(
                    text,
                    "complete -c zen-lead {seen} -a '(kubectl get services -o name 2>/dev/null | string replace -r \".*/\" \"\")'"
                );
            }
            Some(argument) => {
                let values = argument.values.join(" ");
                let _ = writeln!(text, "complete -c zen-lead {seen} -a '{values}'");
            }
            None => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_told_of() {
        let text = overview(false);
        for command in &COMMANDS {
            assert!(
                text.contains(&format!("\n  {:<14}{}\n", command.name, command.about)),
                "{text}"
            );
            let own = of(command, false);
            assert!(
                own.starts_with(&format!("Usage: zen-lead {}", command.name)),
                "{own}"
            );
            assert!(of(command, true).starts_with("Usage: kubectl zen-lead "));
            for choice in command.options {
                assert!(own.contains(&format!("--{}", choice.name)), "{own}");
            }
            let long = own
                .lines()
                .find(|line| line.chars().count() > crate::config::WIDTH);
            assert_eq!(long, None, "{}", command.name);
        }
    }

    #[test]
    fn one_command_reads_well() {
        let switchover = COMMANDS.iter().find(|command| command.name == "pause");
        assert_eq!(
            of(switchover.expect("there"), false),
            "\
Usage: zen-lead pause <service> [options]

No failover and no switchover until resumed.
Sets zen-lead.io/paused on the Service. A leader that is deleted, failed,
unlabelled or without address is withdrawn anyway, without a successor.

Options
  -n, --namespace <name>
        the namespace [default: those of ZEN_LEAD_NAMESPACES, in the pod of a
        controller those that it serves, else the one of the kubeconfig's
        context]
      --context <name>
        the context of the kubeconfig [default: its current one]
      --kubeconfig <path>
        the kubeconfig [default: KUBECONFIG, then ~/.kube/config, then the pod's
        account]
"
        );
    }

    /// The namespace and the account in examples are those of the manifests.
    #[test]
    fn examples_name_what_the_manifests_make() {
        let namespace = include_str!("../../manifests/base/namespace.yaml");
        let account = include_str!("../../manifests/base/serviceaccount.yaml");
        let doctor = COMMANDS.iter().find(|command| command.name == "doctor");
        let text = of(doctor.expect("there"), false);
        let mut words = text.split_whitespace();
        let user = words.find_map(|word| word.strip_prefix("system:serviceaccount:"));
        let (place, name) = user
            .and_then(|user| user.split_once(':'))
            .expect("an example");
        assert!(
            namespace.contains(&format!("\n  name: {place}\n")),
            "{place}"
        );
        assert!(account.contains(&format!("\n  name: {name}\n")), "{name}");
    }

    #[test]
    fn scripts_name_every_command_and_option() {
        for shell in ["bash", "zsh", "fish"] {
            let script = completion(shell);
            for command in &COMMANDS {
                assert!(script.contains(command.name), "{shell} {}", command.name);
                for choice in command.options {
                    assert!(script.contains(choice.name), "{shell} {}", choice.name);
                }
            }
        }
    }
}
