//! Replaces what has to differ between two servers by the order of its appearance.

use std::collections::BTreeMap;

use serde_json::Value;

/// What was seen so far, and by what it is replaced.
#[derive(Default)]
pub(super) struct Names {
    seen: BTreeMap<String, String>,
}

impl Names {
    fn token(&mut self, class: &str, raw: &str) -> String {
        let next = format!(
            "<{class}{}>",
            self.seen
                .values()
                .filter(|t| t[1..].starts_with(class))
                .count()
        );
        self.seen
            .entry(format!("{class}/{raw}"))
            .or_insert(next)
            .clone()
    }

    pub(super) fn value(&mut self, key: &str, value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("managedFields");
                for (key, value) in map.iter_mut() {
                    self.value(key, value);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(key, item)),
            Value::String(text) => match key {
                "uid" => *text = self.token("uid", text),
                "resourceVersion" => *text = "<rv>".into(),
                "continue" => *text = "<token>".into(),
                "creationTimestamp" | "deletionTimestamp" | "lastTransitionTime" => {
                    *text = "<time>".into();
                }
                "clusterIP" | "clusterIPs" if text != "None" => *text = self.token("ip", text),
                "message" => *text = self.message(text),
                "cells" => *text = self.cell(text),
                // Of columns, which no decision depends on.
                "description" => text.clear(),
                _ => {}
            },
            Value::Number(number) if matches!(key, "nodePort" | "healthCheckNodePort") => {
                *value = self.token("port", &number.to_string()).into();
            }
            _ => {}
        }
    }

    /// A cell of a table: ages, node ports and addresses of Services differ.
    fn cell(&self, text: &str) -> String {
        if is_age(text) {
            return "<age>".into();
        }
        let port = text.split_once(':').and_then(|(head, tail)| {
            let (port, rest) = tail.split_once('/')?;
            let is_node_port = port.parse::<u16>().is_ok_and(|port| port >= 30_000);
            is_node_port.then(|| format!("{head}:<port>/{rest}"))
        });
        port.unwrap_or_else(|| self.message(text))
    }

    /// Values in the text, word by word; versions where one is known to stand; no diff of Go structs.
    fn message(&self, text: &str) -> String {
        let text = text.split("\n@@").next().unwrap_or_default();
        // Which JSON type was found where, in the words of Go's decoder and with its structs' names.
        let text = match text.split_once(" cannot be handled as a ") {
            Some((head, tail)) if is_decoder(tail) => &format!("{head} <cannot be decoded>"),
            _ => text,
        };
        // The whole patched object follows, in the order of Go's fields.
        let whole = ["patch: Invalid value: ", "Invalid value: \"{\\\"apiVersion"];
        let text = whole
            .iter()
            .filter_map(|at| text.split_once(at))
            .map(|(head, _)| head)
            .next()
            .map_or_else(|| text.to_owned(), |head| format!("{head}<an object>"));
        let mut out = String::new();
        let mut word = String::new();
        for c in text.chars().chain(['\n']) {
            if c.is_ascii_alphanumeric() || ".:-".contains(c) {
                word.push(c);
                continue;
            }
            let known = ["uid", "ip"]
                .iter()
                .find_map(|class| self.seen.get(&format!("{class}/{word}")));
            let is_version = out.ends_with("in record (") && word.parse::<u64>().is_ok();
            let shown = if is_version {
                "<rv>"
            } else {
                known.map_or(word.as_str(), String::as_str)
            };
            out.push_str(shown);
            out.push(c);
            word.clear();
        }
        out.pop();
        out
    }
}

fn is_decoder(text: &str) -> bool {
    [
        "json: cannot unmarshal",
        "invalid type: ",
        "invalid value: ",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// How long ago, as tables say it.
fn is_age(text: &str) -> bool {
    let units = ['s', 'm', 'h', 'd', 'y'];
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(units)
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || units.contains(&c))
}
