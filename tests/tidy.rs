//! Style as a test: bounds on size, and who may know whom. A ratchet; what exceeds a bound stands
//! in a list here with its reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file before its tests.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function, its signature included.
const FUNCTION_LINES_MAX: usize = 70;

/// Longer files, each with its reason.
const LONG_FILES: [(&str, &str); 1] = [(
    "src/shell/write.rs",
    "the life of a write, from its slot to its verdict, is read in one piece",
)];

/// What is bounded.
const BOUNDED: [&str; 4] = ["src", "bench/simkube/src", "bench/sim/src", "bench/lab"];

/// Longer functions, by file and beginning, each with its reason.
const LONG_FUNCTIONS: [(&str, &str, &str); 4] = [
    (
        "bench/sim/src/event/draw.rs",
        "pub(crate) fn any(",
        "a table: how often each event is drawn",
    ),
    (
        "bench/sim/src/event/draw.rs",
        "fn setting(",
        "a table: the values of each annotation",
    ),
    (
        "bench/sim/src/event/effect.rs",
        "pub(crate) fn happen(",
        "a table: one arm per event",
    ),
    (
        "bench/sim/src/run/fault.rs",
        "pub(super) async fn fault(",
        "a table: one arm per fault",
    ),
];

/// Words that this project does not write: most readers of Kubernetes documents meet them nowhere else.
/// Spelt in two parts, so that this file does not find itself.
const WORDS: [[&str; 2]; 8] = [
    ["no", "body"],
    ["some", "body"],
    ["any", "body"],
    ["every", "body"],
    ["who", "ever"],
    ["an", "ew"],
    ["le", "st"],
    ["am", "id"],
];

/// A name, folders and files, their extension, and how often those words still stand there: in code,
/// comments, texts and pages. A ratchet: lower a figure when the text gets better, never raise one.
const WORDS_MAX: [(&str, &[&str], &str, usize); 5] = [
    ("src", &["src"], "rs", 0),
    ("tests", &["tests"], "rs", 0),
    ("bench", &["bench"], "rs", 1),
    ("manifests", &["manifests", ".github"], "yaml", 0),
    (
        "pages",
        &["README.md", "docs", "manifests", "bench", ".github"],
        "md",
        0,
    ),
];

/// Types that have the same name as another one: pairs that are the same word of the domain in two modules.
/// A ratchet: lower it when one goes, never raise it.
const TYPE_NAMES_TWICE_MAX: usize = 6;

struct Source {
    path: String,
    text: String,
}

fn sources(roots: &[&str]) -> Vec<Source> {
    files(roots, "rs")
}

fn files(roots: &[&str], extension: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending: Vec<PathBuf> = roots.iter().map(|dir| root.join(dir)).collect();
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a readable folder");
            pending.extend(entries.map(|entry| entry.expect("a readable entry").path()));
        } else if path.extension().is_some_and(|is| is == extension) {
            let text = fs::read_to_string(&path).expect("readable source");
            let path = path.strip_prefix(root).expect("within the root");
            found.push(Source {
                path: path.display().to_string(),
                text,
            });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no files under {roots:?}");
    found
}

/// The lines of a file before its tests; a file of tests, or of what only tests use, has none.
fn code(source: &Source) -> Vec<&str> {
    if source.path.ends_with("tests.rs")
        || source.path.contains("/tests/")
        || source.path.starts_with("src/logic/testkit")
        || source.path.starts_with("src/logic/props")
        || source.path == "src/logic/reflect/server.rs"
    {
        return Vec::new();
    }
    source
        .text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .collect()
}

fn fail_on(what: &str, rows: &[String]) {
    assert!(rows.is_empty(), "{what}:\n{}", rows.join("\n"));
}

#[test]
fn files_are_short() {
    let long = sources(&BOUNDED).into_iter().filter_map(|source| {
        let lines = code(&source).len();
        let is_listed = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        (lines > FILE_LINES_MAX && !is_listed).then(|| format!("{}: {lines} lines", source.path))
    });
    fail_on(
        "files that are two things in one",
        &long.collect::<Vec<_>>(),
    );
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for source in sources(&BOUNDED) {
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in code(&source).into_iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_start = line.contains("fn ")
                && !line.trim_start().starts_with("//")
                && !line.ends_with(';');
            match &open {
                None if is_start && !line.ends_with('}') => {
                    open = Some((number, indent, line.trim().to_owned()));
                }
                Some((start, at, name)) if indent == *at && line.trim_start().starts_with('}') => {
                    let lines = number + 1 - start;
                    let is_listed = LONG_FUNCTIONS
                        .iter()
                        .any(|(path, begins, _)| *path == source.path && name.starts_with(begins));
                    if lines > FUNCTION_LINES_MAX && !is_listed {
                        long.push(format!(
                            "{}:{}: {lines} lines: {name}",
                            source.path,
                            start + 1
                        ));
                    }
                    open = None;
                }
                _ => {}
            }
        }
    }
    fail_on("functions that hide a decision", &long);
}

/// A name that several types have leads to the wrong one in a search.
#[test]
fn names_of_types_are_unique() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources(&["src"]) {
        for (number, line) in code(&source).into_iter().enumerate() {
            let line = line.strip_prefix("pub").map_or(line, |rest| {
                let visibility = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
                visibility.map_or(rest, |(_, rest)| rest).trim_start()
            });
            let kinds = ["struct ", "enum ", "trait ", "type "];
            let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind));
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            if let Some(name) = rest.and_then(|rest| rest.split(|c| !is_part(c)).next()) {
                let place = format!("{}:{}", source.path, number + 1);
                places.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    assert!(places.len() > 100, "is this test reading?");
    places.retain(|_, places| places.len() > 1);
    if places.len() > TYPE_NAMES_TWICE_MAX {
        let twice = places.iter();
        let twice = twice.map(|(name, places)| format!("{name}: {}", places.join(", ")));
        fail_on(
            &format!("names of several types, {TYPE_NAMES_TWICE_MAX} allowed"),
            &twice.collect::<Vec<_>>(),
        );
    }
}

#[test]
fn news_flow_one_way() {
    let shell_leaves = ["api", "clock", "transport"];
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let forbidden: Vec<String> = if source.path.starts_with("src/logic") {
            [
                "crate::store",
                "crate::shell",
                "crate::metrics",
                "crate::run",
                "crate::config",
                "tokio",
                "kube_client",
                "tracing",
                "hyper",
            ]
            .map(str::to_owned)
            .to_vec()
        } else if source.path.starts_with("src/store") {
            [
                "crate::shell",
                "crate::metrics",
                "crate::run",
                "crate::config",
                "tokio",
                "kube_client",
                "tracing",
            ]
            .map(str::to_owned)
            .to_vec()
        } else if let Some(rest) = source.path.strip_prefix("src/shell/") {
            let own = rest.split(['/', '.']).next().unwrap_or_default();
            let siblings = [
                "events",
                "foreign_slices",
                "lease",
                "reconciler",
                "serve",
                "watch",
                "write",
            ];
            // The owner of effects knows those through which they leave.
            let is_outlet =
                |sibling: &str| own == "reconciler" && !["serve", "watch"].contains(&sibling);
            let others = siblings
                .iter()
                .filter(|sibling| **sibling != own && !shell_leaves.contains(sibling))
                .filter(|sibling| !is_outlet(sibling));
            others
                .flat_map(|other| [format!("super::{other}::"), format!("shell::{other}::")])
                .chain(["crate::run".to_owned()])
                .collect()
        } else {
            Vec::new()
        };
        for (number, line) in code(&source).into_iter().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            // Of a test module's `use super::…` only the file itself is meant.
            for name in forbidden
                .iter()
                .filter(|name| !is_comment && line.contains(&***name))
            {
                wrong.push(format!("{}:{}: {name}", source.path, number + 1));
            }
        }
    }
    fail_on("imports against the stream", &wrong);
}

#[test]
fn nothing_is_left_for_later() {
    // Spelt in two parts, so that this file does not find itself.
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["dbg", "!("],
    ]
    .map(|parts| parts.concat());
    let clocks = [
        ["thread::", "sleep"],
        ["System", "Time::now"],
        ["std::time::", "Instant::now"],
    ]
    .map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for source in sources(&["src", "tests", "bench"]) {
        // What runs against real processes may look at real clocks.
        let is_outside =
            source.path.starts_with("tests/e2e") || source.path.starts_with("tests/transport");
        for (number, line) in source.text.lines().enumerate() {
            let clocks = clocks.iter().filter(|_| !is_outside);
            for mark in marks
                .iter()
                .chain(clocks)
                .filter(|mark| line.contains(&***mark))
            {
                wrong.push(format!("{}:{}: {mark}", source.path, number + 1));
            }
        }
    }
    fail_on("unfinished work, or a clock that no test controls", &wrong);
}

/// What the simulation replays bit for bit must not depend on the process, the machine or luck.
#[test]
fn nothing_is_left_to_chance() {
    // A random start of `select!`; seeds of hashers; shards by the number of cores; a second receiver
    // of a `watch` channel, which tokio picks by a thread-local random number.
    let banned = [
        ["DashMap::", "new("],
        ["DashMap::", "default("],
        ["DashMap::", "with_capacity("],
        ["DashMap::", "with_hasher("],
        ["Random", "State"],
        [".subscr", "ibe("],
    ]
    .map(|parts| parts.concat());
    let maps = ["HashMap", "HashSet", "DashMap"].map(|name| format!("{name}<"));
    let mut wrong = Vec::new();
    for source in sources(&["src", "bench/simkube/src", "bench/sim/src"]) {
        // Where the one random number of a real process comes from.
        if source.path == "src/jitter.rs" {
            continue;
        }
        let lines = code(&source);
        for (number, line) in lines.iter().enumerate() {
            let next = lines.get(number + 1).copied().unwrap_or_default().trim();
            let hashes = maps.iter().any(|map| line.contains(map.as_str()));
            let found = if line.contains("select! {") && next != "biased;" {
                Some("select! without biased")
            } else if hashes && !line.contains("FixedState") && !line.contains(", S>") {
                Some("a map with a hasher whose seed differs in every process")
            } else {
                let found = banned.iter().find(|name| line.contains(name.as_str()));
                found.map(String::as_str)
            };
            wrong.extend(found.map(|what| format!("{}:{}: {what}", source.path, number + 1)));
        }
    }
    fail_on("what no seed decides", &wrong);
}

#[test]
fn words_are_plain() {
    let words = WORDS.map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for (name, roots, extension, max) in WORDS_MAX {
        let mut found = Vec::new();
        for source in files(roots, extension) {
            for (number, line) in source.text.lines().enumerate() {
                let of_line = line.split(|c: char| !c.is_alphanumeric() && c != '_');
                let plain = of_line.map(str::to_lowercase);
                let banned = plain.filter(|word| words.contains(word));
                found.extend(banned.map(|word| format!("{}:{}: {word}", source.path, number + 1)));
            }
        }
        if found.len() > max {
            wrong.push(format!("{name}: {} of them, {max} allowed:", found.len()));
            wrong.extend(found);
        }
    }
    fail_on("words that this project does not write", &wrong);
}

/// Each section of the contract is named by a test, so that none is a promise without a check.
#[test]
fn sections_of_the_contract_are_tested() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONTRACT.md");
    let contract = fs::read_to_string(page).expect("the page of the contract");
    let headings = contract
        .lines()
        .filter_map(|line| line.strip_prefix("## ")?.split_once(" · "));
    let sections: Vec<String> = headings.map(|(number, _)| format!("§{number}")).collect();
    assert!(
        sections.len() >= 7,
        "only {sections:?}: is this test reading?"
    );
    let tests = sources(&["src", "tests", "bench"]);
    let is_named = |section: &&String| {
        tests.iter().any(|source| {
            // §3 is not named by §3a.
            let mut after = source.text.split(section.as_str()).skip(1);
            after.any(|rest| !rest.starts_with(char::is_alphanumeric))
        })
    };
    let missing: Vec<String> = sections.iter().filter(|s| !is_named(s)).cloned().collect();
    fail_on("sections that no test names", &missing);
}

/// Each annotation (§1), reason of a failover (§3) and Event (§4) of the contract occurs in a test.
#[test]
fn names_of_the_contract_are_tested() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONTRACT.md");
    let contract = fs::read_to_string(page).expect("the page of the contract");
    let section = |number: &str| {
        let (_, after) = contract
            .split_once(&format!("\n## {number} · "))
            .expect("a section of the contract");
        after.split("\n## ").next().unwrap_or_default()
    };
    let quoted = |text: &'_ str| -> Vec<String> {
        let names = text.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    };
    let rows = section("1").lines().filter(|line| line.starts_with("| `"));
    let mut names: Vec<String> = rows
        .filter_map(|row| quoted(row).into_iter().next())
        .collect();
    let annotations = names.len();
    let (_, reasons) = section("3")
        .split_once("Reasons for a failover:")
        .expect("the reasons of the contract");
    names.extend(quoted(reasons.split('.').next().unwrap_or_default()));
    let reasons = names.len() - annotations;
    let is_event = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphabetic())
    };
    names.extend(quoted(section("4")).into_iter().filter(is_event));
    let events = names.len() - annotations - reasons;
    assert!(
        annotations >= 10 && reasons >= 9 && events >= 13,
        "{names:?}: is this test reading?"
    );

    let mut tests = sources(&["tests"]);
    tests.extend(
        sources(&["src"])
            .into_iter()
            .filter(|source| code(source).is_empty()),
    );
    tests.retain(|source| source.path != "tests/tidy.rs");
    let is_tested = |name: &str| {
        tests.iter().any(|source| {
            let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
            source.text.match_indices(name).any(|(at, _)| {
                let (before, after) = (&source.text[..at], &source.text[at + name.len()..]);
                !before.ends_with(is_part) && !after.starts_with(is_part)
            })
        })
    };
    names.retain(|name| !is_tested(name));
    fail_on("names of the contract in no test", &names);
}
