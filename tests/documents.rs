//! Links of the documents lead somewhere: to a file of the project, and to a heading that is in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The project's documents.
fn documents() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z", "*.md"]).current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    names.split_terminator('\0').map(|name| root().join(name)).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text without what is code: in fences, and between backticks.
fn prose(text: &str) -> String {
    let (mut prose, mut is_fenced) = (String::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}

/// What stands in the round brackets of `[words](target)`.
fn targets(prose: &str) -> impl Iterator<Item = &str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// A heading as links name it: small letters, digits, dashes and underscores; blanks are dashes. One that comes again gets a number.
fn anchors(text: &str) -> BTreeSet<String> {
    let (mut anchors, mut is_fenced) = (BTreeSet::new(), false);
    for line in text.lines() {
        is_fenced ^= line.trim_start().starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_fenced) else { continue };
        let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
        let name = heading.trim_start_matches('#').trim().chars().filter(kept).collect::<String>();
        let name = name.to_lowercase().replace(' ', "-");
        let numbered = (1..).map(|number| format!("{name}-{number}"));
        let first = std::iter::once(name.clone()).chain(numbered).find(|name| !anchors.contains(name)).unwrap();
        anchors.insert(first);
    }
    anchors
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_of_the_project() {
    let (mut wrong, mut followed) = (Vec::new(), 0);
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        let prose = prose(&text);
        for target in targets(&prose).filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
            followed += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            let is_there = there.exists();
            let is_heading =
                anchor.is_empty() || std::fs::read_to_string(&there).is_ok_and(|text| anchors(&text).contains(anchor));
            if !is_there || !is_heading {
                wrong.push(format!("{}: {target}", document.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(followed > 50, "{followed}");
}

#[test]
fn headings_are_named_as_links_name_them() {
    let text = "# What is `data_dir`?\n## A-b\n```\n# no heading\n```\n## A-b\n";
    let expected = ["what-is-data_dir", "a-b", "a-b-1"].map(str::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(expected));
    assert_eq!(targets(&prose("[a](b.md#c) `[no](link)`\n```\n[no](link)\n```\n")).collect::<Vec<_>>(), ["b.md#c"]);
}

/// Every source of what people read, and the dispatcher of the packages: without line ends inside of sentences.
fn said() -> String {
    let sources = ["ls-files", "-z", "*/src/*.rs", "src/*.rs", "deploy/package/dispatch.sh"];
    let listed = Command::new("git").args(sources).current_dir(root()).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    let texts = names.split_terminator('\0').map(|name| std::fs::read_to_string(root().join(name)).unwrap());
    let joined = texts.collect::<Vec<_>>().join("\n").replace("\\\n", " ").replace('`', "");
    joined.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn troubleshooting_quotes_what_the_programs_say() {
    let (said, text) = (said(), std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap());
    let symptoms =
        text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |")).map(|(symptom, _)| symptom);
    let quoted: Vec<&str> = symptoms.flat_map(|symptom| symptom.split('"').skip(1).step_by(2)).collect();
    let pieces = quoted.iter().flat_map(|sentence| sentence.split('…').map(str::trim));
    let unknown: Vec<&str> = pieces.filter(|piece| !said.contains(*piece)).collect();
    assert!(unknown.is_empty(), "no program says {unknown:#?}");
    assert!(quoted.len() > 5, "{quoted:?}");
}
