//! A binary's completions, held against its own help, in a real bash.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Holds the completions of `binary` to what its help tells of every command.
pub(crate) fn check(binary: &str) {
    let name = Path::new(binary).file_name().and_then(|name| name.to_str()).expect("a binary's name is UTF-8");
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("completions.bash");
    std::fs::write(&script, said(binary, &["completions", "bash"])).unwrap();
    let read = Command::new("bash").arg("-n").arg(&script).output().unwrap();
    assert!(read.status.success() && read.stderr.is_empty(), "{}", String::from_utf8_lossy(&read.stderr));
    for shell in ["elvish", "fish", "powershell", "zsh"] {
        assert!(said(binary, &["completions", shell]).contains(name), "{shell}");
    }

    let mut commands = BTreeMap::new();
    learn(binary, &mut Vec::new(), &mut commands);
    assert!(commands.contains_key(&vec!["completions".to_owned()]), "{:?}", commands.keys());
    let completed = complete(&script, name, commands.keys());
    for (path, words) in &commands {
        let missing: Vec<_> = words.iter().filter(|word| !completed[path].contains(*word)).collect();
        assert!(missing.is_empty(), "{name} {}: {missing:?} of {words:?} not in {:?}", path.join(" "), completed[path]);
    }
    assert!(completed[&vec!["completions".to_owned()]].contains("zsh"), "{completed:?}");
}

fn said(binary: &str, args: &[&str]) -> String {
    let output = Command::new(binary).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The flags and commands of `path` and of all below it, from their help.
fn learn(binary: &str, path: &mut Vec<String>, commands: &mut BTreeMap<Vec<String>, BTreeSet<String>>) {
    let args: Vec<_> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let (help, mut words, mut below, mut section) = (said(binary, &args), BTreeSet::new(), Vec::new(), "");
    for line in help.lines() {
        if !line.starts_with(' ') && line.ends_with(':') {
            section = line;
        }
        let first = |word: &str| word.trim_matches([',', '[', ']']).to_owned();
        match section {
            // Descriptions stand further to the right.
            "Commands:" if line.starts_with("  ") && !line.starts_with("   ") => {
                below.extend(line.split_whitespace().next().map(first));
            }
            "Options:" if line.trim_start().starts_with('-') && !line.trim_start().starts_with("- ") => {
                words.extend(line.split_whitespace().take(2).filter(|word| word.starts_with('-')).map(first));
            }
            _ => {}
        }
    }
    assert!(words.contains("--help"), "{args:?}: {help}");
    words.extend(below.iter().cloned());
    commands.insert(path.clone(), words);
    for command in below.into_iter().filter(|command| command != "help") {
        path.push(command);
        learn(binary, path, commands);
        path.pop();
    }
}

/// What a bash that has read `script` offers behind each of `paths`: words, and those that begin with a dash.
fn complete<'p>(
    script: &Path,
    name: &str,
    paths: impl Iterator<Item = &'p Vec<String>>,
) -> BTreeMap<Vec<String>, BTreeSet<String>> {
    let (mut driver, mut asked) = (format!("source {}\n", script.display()), Vec::new());
    driver.push_str("complete -p | grep -q -- ' -F [^ ]* .*");
    writeln!(driver, "{name}$' || exit 9").unwrap();
    writeln!(driver, "function=$(complete -p {name} | sed 's/.* -F \\([^ ]*\\) .*/\\1/')").unwrap();
    for path in paths {
        for begun in ["", "-"] {
            let line = std::iter::once(name).chain(path.iter().map(String::as_str)).collect::<Vec<_>>();
            let (words, last) = (line.join(" "), line[line.len() - 1]);
            writeln!(
                driver,
                "COMP_WORDS=({words} '{begun}'); COMP_CWORD={}; COMPREPLY=(); \"$function\" {name} '{begun}' {last}; \
                 echo \"${{COMPREPLY[*]}}\"",
                line.len()
            )
            .unwrap();
            asked.push(path.clone());
        }
    }
    let output = Command::new("bash").args(["--norc", "-c", &driver]).stdin(Stdio::null()).output().unwrap();
    let (answers, complaints) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && complaints.is_empty(), "{:?}: {complaints}", output.status);
    let answers: Vec<_> = answers.lines().collect();
    assert_eq!(answers.len(), asked.len());
    let mut offered = BTreeMap::<_, BTreeSet<_>>::new();
    for (path, answer) in asked.into_iter().zip(answers) {
        offered.entry(path).or_default().extend(answer.split_whitespace().map(str::to_owned));
    }
    offered
}
