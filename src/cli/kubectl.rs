//! kubectl lines for the leader of the moment, to be run by `$(…)` or by hand. Pure.

use super::report::ShownLeader;
use crate::logic::model::Key;

/// The line for `logs`, `exec` or `port-forward`, with the words that were given for it.
pub(super) fn line(
    command: &str,
    source: &Key,
    leader: &ShownLeader,
    ports: &[u16],
    context: Option<&str>,
    words: &[String],
) -> String {
    let mut line = vec!["kubectl".to_owned()];
    if let Some(context) = context {
        line.extend(["--context".into(), quoted(context)]);
    }
    let namespace = source.namespace.to_string();
    line.extend([
        "-n".into(),
        namespace,
        command.into(),
        leader.pod.to_string(),
    ]);
    let words = words.iter().map(|word| quoted(word));
    match command {
        "exec" if words.len() == 0 => line.extend(["-it", "--", "sh"].map(String::from)),
        "exec" => line.extend(["-it".into(), "--".into()].into_iter().chain(words)),
        "port-forward" if words.len() == 0 => line.extend(ports.iter().map(ToString::to_string)),
        _ => line.extend(words),
    }
    line.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@,+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_kubectl() {
        let leader = ShownLeader {
            pod: "web-0".into(),
            uid: "u".into(),
            address: None,
            node: None,
            since: None,
        };
        let source = Key::new("shop", "web");
        let line = |command, context, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).into()).collect();
            line(command, &source, &leader, &[8080, 9090], context, &words)
        };
        for (got, expected) in [
            (line("logs", None, &[]), "kubectl -n shop logs web-0"),
            (
                line("logs", Some("my ctx"), &["-f", "--tail=20"]),
                "kubectl --context 'my ctx' -n shop logs web-0 -f --tail=20",
            ),
            (
                line("exec", None, &[]),
                "kubectl -n shop exec web-0 -it -- sh",
            ),
            (
                line("exec", None, &["sh", "-c", "it's; rm"]),
                r"kubectl -n shop exec web-0 -it -- sh -c 'it'\''s; rm'",
            ),
            (
                line("port-forward", None, &[]),
                "kubectl -n shop port-forward web-0 8080 9090",
            ),
            (
                line("port-forward", None, &["8080:80"]),
                "kubectl -n shop port-forward web-0 8080:80",
            ),
        ] {
            assert_eq!(got, expected);
        }
    }
}
