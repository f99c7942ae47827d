//! Man pages and completions, from the commands themselves.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use gaitway_service::completions::script;

/// What a page says of files, variables and exits, by the first command after `gaitway`.
struct Notes {
    /// Service whose file and variables these are.
    service: &'static str,
    data: &'static str,
}

const NOTES: [(&str, Notes); 4] = [
    ("up", Notes { service: "up", data: "/var/lib/gaitway" }),
    ("agent", Notes { service: "agent", data: "/var/lib/gaitway-agent" }),
    ("relay", Notes { service: "relay", data: "/var/lib/gaitway-relay" }),
    ("sink", Notes { service: "sink", data: "/var/lib/gaitway-sink" }),
];

/// Every binary.
fn commands() -> [Command; 4] {
    [
        gaitway::command(),
        gaitway_agent::command::command(),
        gaitway_relay::command::command(),
        gaitway_sink::command::command(),
    ]
}

/// Writes a page for each binary, and for each command of `gaitway`, into `dir`.
pub fn man(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let mut written = Vec::new();
    for mut command in commands() {
        command.build();
        let is_whole = command.get_name() == "gaitway";
        let name = command.get_name().to_owned();
        pages(dir, &command, &name, is_whole, &mut written)?;
    }
    Ok(written)
}

fn pages(
    dir: &Path,
    command: &Command,
    name: &str,
    with_below: bool,
    written: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, page(command, name)?).with_context(|| format!("{} cannot be written", path.display()))?;
    written.push(path);
    for below in command.get_subcommands().filter(|below| with_below && below.get_name() != "help") {
        pages(dir, below, &format!("{name}-{}", below.get_name()), true, written)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str) -> anyhow::Result<Vec<u8>> {
    let man = Man::new(command.clone().disable_help_subcommand(true))
        .title(name.to_uppercase())
        .section("1")
        .manual("gaitway")
        .source(concat!("gaitway ", env!("CARGO_PKG_VERSION")))
        .date("");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    let mut roff = Roff::new();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    roff.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    roff.to_writer(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut out)?;
    }
    let below: Vec<&Command> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
    if !below.is_empty() {
        let mut roff = Roff::new();
        roff.control("SH", ["COMMANDS"]);
        for below in &below {
            roff.control("TP", []).text([bold(below.get_name())]);
            roff.text([roman(below.get_about().map(ToString::to_string).unwrap_or_default())]);
        }
        roff.to_writer(&mut out)?;
    }
    notes(command, name, &below).to_writer(&mut out)?;
    Ok(out)
}

fn notes(command: &Command, name: &str, below: &[&Command]) -> Roff {
    let mut roff = Roff::new();
    let first = name.strip_prefix("gaitway-").and_then(|rest| rest.split('-').next());
    let of_service = NOTES.iter().find(|(of, _)| Some(*of) == first).map(|(_, notes)| notes);
    if let Some(Notes { service, data }) = of_service {
        roff.control("SH", ["FILES"]);
        let file = format!("/etc/gaitway/{service}.toml");
        let every =
            "The configuration: every key is explained there. A file that is named by --config takes its place.";
        roff.control("TP", []).text([bold(file)]).text([roman(every)]);
        let kept = "What a service of the packages keeps. A command is told of another folder by its file or a flag.";
        roff.control("TP", []).text([bold(*data)]).text([roman(kept)]);
        roff.control("SH", ["ENVIRONMENT"]);
        let variables: Vec<String> = match *service {
            "up" => ["AGENT", "RELAY", "SINK"].map(|of| format!("GAITWAY_{of}__…")).to_vec(),
            service => vec![format!("GAITWAY_{}__…", service.to_uppercase())],
        };
        let each = "Every key in capitals, its tables divided by two underscores. They win over the file; flags win over them.";
        roff.control("TP", []).text([bold(variables.join(", "))]).text([roman(each)]);
        let log = "How much is logged, as in debug or info,gaitway_relay=debug; info if it is not set.";
        roff.control("TP", []).text([bold("GAITWAY_LOG")]).text([roman(log)]);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in statuses(command, name) {
        roff.control("TP", []).text([bold(status)]).text([roman(meaning)]);
    }
    // Of `completions` there is one page.
    let has_page = |below: &&&Command| name == "gaitway" || below.get_name() != "completions";
    let mut others: Vec<String> =
        below.iter().filter(has_page).map(|below| format!("{name}-{}(1)", below.get_name())).collect();
    if name != "gaitway" {
        let above = name.rsplit_once('-').map_or("gaitway", |(above, _)| above);
        others.insert(0, format!("{above}(1)"));
    }
    if matches!(name, "gaitway-agent" | "gaitway-relay" | "gaitway-sink") {
        others.push("systemd.service(5)".to_owned());
    }
    if !others.is_empty() {
        roff.control("SH", ["SEE ALSO"]).text([roman(others.join(", "))]);
    }
    roff
}

fn statuses(command: &Command, name: &str) -> Vec<(String, &'static str)> {
    let mut all = vec![("0".to_owned(), "It is done, or a service was asked to end.")];
    let failed = "It failed; what happened and what to do stands on standard error.";
    let unreadable = "The configuration cannot be read, or the command line makes no sense.";
    let unasked = "Not every place could be asked, or the command line makes no sense.";
    let nonsense = "The command line makes no sense.";
    let (one, two) = match (name, command.get_name()) {
        (_, "doctor") => ("Something is wrong: what and what to do stands in the answer.", unreadable),
        ("gaitway-audit", _) => ("Something is missing or there twice: the answer says what.", unasked),
        ("gaitway-forget" | "gaitway-reclassify", _) => (failed, unasked),
        _ => (failed, nonsense),
    };
    all.push(("1".to_owned(), one));
    all.push(("2".to_owned(), two));
    if matches!(name, "gaitway-up" | "gaitway-relay") {
        let fenced = "Another relay owns the ledger: this one must not be started again beside it.";
        all.push((gaitway_relay::EXIT_FENCED.to_string(), fenced));
    }
    if name == "gaitway-replay" {
        all.push(("130".to_owned(), "It was interrupted by Ctrl-C."));
    }
    all
}

/// Writes `bash/NAME`, `zsh/_NAME` and `fish/NAME.fish` of each binary into `dir`.
pub fn completions(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for command in commands() {
        let name = command.get_name().to_owned();
        let places = [
            (Shell::Bash, format!("bash/{name}")),
            (Shell::Zsh, format!("zsh/_{name}")),
            (Shell::Fish, format!("fish/{name}.fish")),
        ];
        for (shell, place) in places {
            let path = dir.join(place);
            let parent = path.parent().context("a file without a folder")?;
            fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
            fs::write(&path, script(shell, command.clone()))
                .with_context(|| format!("{} cannot be written", path.display()))?;
            written.push(path);
        }
    }
    Ok(written)
}
