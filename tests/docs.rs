//! Documents as code: links, scenarios, annotations, versions and pins that the pages name exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zen_lead::logic::follow::Follow;
use zen_lead::logic::model::Labels;
use zen_lead::logic::settings::{self, Settings};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
}

fn pages() -> Vec<PathBuf> {
    let mut found = ["README.md", "bench/README.md", "manifests/README.md"]
        .map(|page| root().join(page))
        .to_vec();
    for folder in ["docs", ".github"] {
        files(&root().join(folder), "md", &mut found);
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// The anchor that a heading gets, as the forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// The targets of `[text](target)`.
fn links(page: &str) -> impl Iterator<Item = &str> {
    page.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

#[test]
fn every_link_leads_somewhere() {
    let mut dead = Vec::new();
    for page in pages() {
        let text = read(&page);
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().expect("a file has a folder").join(file),
            };
            let is_there = target.exists()
                && (heading.is_empty() || anchors(&read(&target)).contains(heading));
            if !is_there {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// A page that leans on a test names it; a test that is renamed takes its pages along.
#[test]
fn every_scenario_that_is_named_exists() {
    let mut sources = Vec::new();
    files(&root().join("tests"), "rs", &mut sources);
    let code: String = sources.iter().map(|path| read(path)).collect();
    let mut unknown = Vec::new();
    let mut named = 0;
    for page in ["PROMISES.md", "MIGRATION.md", "GITOPS.md"] {
        let text = read(&root().join("docs").join(page));
        for word in text.split('`').skip(1).step_by(2) {
            let is_name = word.matches('_').count() >= 2
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && !word.starts_with("zen_lead_");
            if is_name {
                named += 1;
                if !code.contains(&format!("fn {word}(")) {
                    unknown.push(format!("{page}: {word}"));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "no such test: {unknown:#?}");
    assert!(named > 20, "only {named} found: is this test reading?");
}

/// What a source may be told is in the contract and in the README, key by key.
#[test]
fn every_annotation_is_told_of() {
    for page in ["docs/CONTRACT.md", "README.md"] {
        let text = read(&root().join(page));
        for key in zen_lead::logic::well_known::INPUTS {
            let name = key.strip_prefix("zen-lead.io/").expect("ours");
            let is_row =
                |line: &str| line.starts_with("| `") && line.contains(&format!("{name}` |"));
            assert!(text.lines().any(is_row), "{page}: {key}");
        }
    }
}

/// The fenced blocks of a page in one language.
fn blocks<'a>(page: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let opening = format!("\n```{language}\n");
    let starts: Vec<_> = page.match_indices(&opening).collect();
    starts.into_iter().map(move |(at, fence)| {
        let block = &page[at + fence.len()..];
        let end = block.find("\n```").expect("a fence that is closed");
        &block[..=end]
    })
}

/// The examples are copied into clusters: each is read without a complaint, follows something, and selects
/// every member instead of the leader.
#[test]
fn the_examples_of_following_are_read() {
    let page = read(&root().join("docs/FOLLOW.md"));
    let mut examples = 0;
    for block in blocks(&page, "yaml") {
        let objects: Vec<Value> = serde_saphyr::from_multiple(block).expect(block);
        for service in objects.iter().filter(|object| object["kind"] == "Service") {
            let pairs = |pointer: &str| {
                let all = service.pointer(pointer).and_then(Value::as_object);
                let texts = all.into_iter().flatten();
                texts
                    .map(move |(key, value)| (key.clone(), value.as_str().expect(block).to_owned()))
            };
            let annotations: Labels = pairs("/metadata/annotations").collect();
            let (settings, problems) = settings::read(&annotations, &Settings::default());
            assert!(problems.is_empty(), "{problems:?} in\n{block}");
            assert_eq!(annotations.get("zen-lead.io/enabled"), Some("true"));
            match settings.follow.as_ref().expect(block) {
                Follow::Label { key, .. } => {
                    assert!(pairs("/spec/selector").count() > 0, "{block}");
                    assert!(
                        pairs("/spec/selector").all(|(one, _)| *one != **key),
                        "{block}"
                    );
                }
                Follow::Lease { .. } => {}
                Follow::Unclear => panic!("unclear in\n{block}"),
            }
            examples += 1;
        }
    }
    assert!(
        examples >= 6,
        "only {examples} found: is this test reading?"
    );
}

/// A release has a section of its own, and what comes next has a place.
#[test]
fn the_changelog_has_this_version() {
    let text = read(&root().join("docs/CHANGELOG.md"));
    for wanted in ["Unreleased", env!("CARGO_PKG_VERSION")] {
        let is_there = text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .any(|heading| heading.split(' ').next() == Some(wanted));
        assert!(is_there, "docs/CHANGELOG.md has no section for {wanted}");
    }
}

/// A tag of an action can be moved to other code, a commit cannot.
#[test]
fn actions_are_pinned_by_commit() {
    let mut workflows = Vec::new();
    files(&root().join(".github/workflows"), "yaml", &mut workflows);
    let mut pinned = 0;
    let mut wrong = Vec::new();
    for workflow in workflows {
        let text = read(&workflow);
        let used = text.lines().filter_map(|line| line.split_once("uses: "));
        for (_, action) in used.filter(|(_, action)| !action.starts_with("./")) {
            let (_, version) = action.split_once('@').unwrap_or((action, ""));
            let (commit, tag) = version.split_once(" # v").unwrap_or((version, ""));
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            if is_commit && !tag.is_empty() {
                pinned += 1;
            } else {
                wrong.push(format!("{}: {action}", workflow.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "expected ACTION@COMMIT # vTAG: {wrong:#?}"
    );
    assert!(pinned > 5, "only {pinned} found: is this test reading?");
}

/// The way of a frame to its request, as ARCHITECTURE lists it: few functions, each where the table says.
#[test]
fn the_way_of_a_frame_is_as_described() {
    let page = read(&root().join("docs/ARCHITECTURE.md"));
    let section = page.split("## From frame to PATCH").nth(1);
    let section = section.and_then(|rest| rest.split("\n## ").next());
    let rows: Vec<Vec<&str>> = section
        .expect("the section")
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains(".rs`"))
        .map(|line| line.split('`').collect())
        .collect();
    assert!((10..=30).contains(&rows.len()), "{} functions", rows.len());
    for row in rows {
        let [_, function, _, file, ..] = row[..] else {
            panic!("{row:?}");
        };
        let code = read(&root().join(file));
        let forms = [format!("fn {function}("), format!("fn {function}<")];
        let is_there = forms.iter().any(|form| code.contains(form));
        assert!(is_there, "{file} has no function {function}");
    }
}
