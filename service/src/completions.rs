//! A binary's command line, and its `completions` for shells, which every binary has.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::builder::EnumValueParser;
use clap::{Arg, Command, CommandFactory, Parser};
use clap_complete::Shell;

const COMPLETIONS: &str = "completions";
const SHELL: &str = "shell";

/// The command line. `Err` is how the process ends where completions were asked for and printed; a command line that
/// makes no sense ends it at once.
pub fn parse<C: Parser>() -> Result<C, ExitCode> {
    let mut command = command::<C>();
    let matches = command.clone().get_matches();
    let asked = matches.subcommand_matches(COMPLETIONS).and_then(|matches| matches.get_one::<Shell>(SHELL));
    if let Some(shell) = asked {
        return Err(print(*shell, command));
    }
    C::from_arg_matches(&matches).or_else(|error| error.format(&mut command).exit())
}

/// Every command of the command line, `completions` too.
pub fn command<C: CommandFactory>() -> Command {
    with_completions(C::command())
}

fn with_completions(command: Command) -> Command {
    let shell = Arg::new(SHELL)
        .value_name("SHELL")
        .required(true)
        .value_parser(EnumValueParser::<Shell>::new())
        .help("The shell's name");
    command
        .subcommand(Command::new(COMPLETIONS).about("Print what a shell needs to complete these commands").arg(shell))
}

fn print(shell: Shell, command: Command) -> ExitCode {
    match io::stdout().write_all(script(shell, command).as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("the completions cannot be written: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// What `shell` needs to complete `command`.
pub fn script(shell: Shell, mut command: Command) -> String {
    let name = command.get_name().to_owned();
    // In a script for bash the commands of a binary with a dash in its name would not be found: so the dash stands
    // where bash is told of the name, at the ends of lines, and nowhere else.
    let plain = if shell == Shell::Bash { name.replace('-', "_") } else { name.clone() };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, plain.clone(), &mut script);
    String::from_utf8_lossy(&script).replace(&format!(" {plain}\n"), &format!(" {name}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_its_value_as_others_do() {
        let mut command = with_completions(Command::new("gaitway"));
        let completions = command.find_subcommand_mut(COMPLETIONS).unwrap();
        assert!(completions.render_usage().to_string().ends_with(" <SHELL>"), "{}", completions.render_usage());
    }
}
