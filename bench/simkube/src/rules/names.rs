//! Names, labels and ports as text, with the messages of `apimachinery/pkg/api/validate/content`.

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// Go's way to list examples leaves a comma before each `or`; so does this one.
fn regex_error(message: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!(
        "{message} (e.g. {}regex used for validation is '{regex}')",
        examples.join(" or ")
    )
}

/// The limit of labels and of their keys is one of bytes, whatever the characters.
fn max_length(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

/// Names of the DNS are ASCII, and their limit is told in characters.
fn max_name(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

/// Non-empty, only characters that `inner` allows, and `edge` at both ends.
fn shaped(text: &str, inner: impl Fn(u8) -> bool, edge: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    edge(first) && edge(last) && bytes.iter().all(|&b| inner(b) || edge(b))
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    shaped(text, |b| b == b'-', lower_or_digit)
}

/// RFC 1123 label.
pub(crate) fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 63 {
        errors.push(max_name(63));
    }
    if !is_label(text) {
        let is_subdomain = text.split('.').all(is_label);
        errors.push(if is_subdomain {
            "must not contain dots".into()
        } else {
            regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// RFC 1035 label: no leading digit.
pub(crate) fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 63 {
        errors.push(max_name(63));
    }
    if !is_label(text) || text.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        errors.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// RFC 1123 subdomain.
pub(crate) fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 253 {
        errors.push(max_name(253));
    }
    if !text.split('.').all(is_label) {
        errors.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            &format!("{LABEL}(\\.{LABEL})*"),
            &["example.com"],
        ));
    }
    errors
}

/// A name that only has to fit into a path.
pub(crate) fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    let found = ["/", "%"].iter().filter(|part| text.contains(**part));
    found
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// The part after the slash: letters of either case, and some punctuation inside.
fn is_qualified_part(text: &str) -> bool {
    shaped(
        text,
        |b| matches!(b, b'-' | b'_' | b'.'),
        |b| b.is_ascii_alphanumeric(),
    )
}

/// Key of a label or an annotation, name of a finalizer or a load-balancer class.
pub(crate) fn qualified_name(text: &str) -> Vec<String> {
    let shape = |head: &str| {
        let message = format!(
            "{head}must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
        );
        regex_error(&message, QUALIFIED, &["MyName", "my.name", "123-abc"])
    };
    let mut errors = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".into());
            } else {
                let told = |error: String| {
                    let error = if error == max_name(253) {
                        max_length(253)
                    } else {
                        error
                    };
                    format!("prefix part {error}")
                };
                errors.extend(dns1123_subdomain(prefix).into_iter().map(told));
            }
            name
        }
        _ => {
            let tail = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("{}{tail}", shape("a valid label key "))];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        errors.push(format!("name part {}", max_length(63)));
    }
    if !is_qualified_part(name) {
        errors.push(shape("name part "));
    }
    errors
}

/// Value of a label.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 63 {
        errors.push(max_length(63));
    }
    if !text.is_empty() && !is_qualified_part(text) {
        errors.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            &format!("({QUALIFIED})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// Name of a container port, as a targetPort names it.
pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 15 {
        errors.push(max_length(15));
    }
    if text.is_empty() || !text.bytes().all(|b| lower_or_digit(b) || b == b'-') {
        errors
            .push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".into());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".into());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".into());
    }
    errors
}

/// A port that a packet can carry.
pub(crate) fn port_number(port: i32) -> Option<&'static str> {
    (!(1..=65_535).contains(&port)).then_some("must be between 1 and 65535, inclusive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_like_the_real_ones() {
        let ok = |errors: Vec<String>| errors.is_empty();
        let long = "a".repeat(64);
        for (text, label1123, label1035, subdomain, qualified) in [
            ("web", true, true, true, true),
            ("web-1", true, true, true, true),
            ("1web", true, false, true, true),
            ("a.b", false, false, true, true),
            ("Web", false, false, false, true),
            ("-a", false, false, false, false),
            ("a-", false, false, false, false),
            ("", false, false, false, false),
            ("a_b", false, false, false, true),
            ("example.com/Name", false, false, false, true),
            ("a/b/c", false, false, false, false),
            ("/b", false, false, false, false),
            (long.as_str(), false, false, true, false),
        ] {
            assert_eq!(ok(dns1123_label(text)), label1123, "{text}");
            assert_eq!(ok(dns1035_label(text)), label1035, "{text}");
            assert_eq!(ok(dns1123_subdomain(text)), subdomain, "{text}");
            assert_eq!(ok(qualified_name(text)), qualified, "{text}");
        }
        assert!(ok(label_value("")) && ok(label_value("a.B_c")) && !ok(label_value("a b")));
        for (text, want) in [
            ("http", true),
            ("80", false),
            ("a--b", false),
            ("a-", false),
            ("", false),
            ("UPPER", false),
        ] {
            assert_eq!(ok(port_name(text)), want, "{text}");
        }
        assert!(
            port_number(1).is_none() && port_number(0).is_some() && port_number(65_536).is_some()
        );
    }

    #[test]
    fn messages_are_the_real_ones() {
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            dns1035_label("1a"),
            [
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
    }
}
