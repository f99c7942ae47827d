//! Words of commands that people paste into a shell. Pure.
//!
//! - What a POSIX shell reads is the text as it was given, whatever stands in it.

/// `text` as one word: as it is where a shell takes it so, else in single quotes.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-./:@%+,".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// `command` about `name`; `flag` is how commands name the agent.
pub(crate) fn command(command: &str, name: &str, flag: &str) -> String {
    let word = word(name);
    // After the two dashes nothing is a flag.
    if name.starts_with('-') { format!("{command}{flag} -- {word}") } else { format!("{command} {word}{flag}") }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_the_words_as_they_were_given() {
        let names =
            ["anna", "Jürgen", "Anna's phone", "", "-x", "$(id) `id` \"a\" \\ ~ *; #", "a\nb", "~", "''", "a=b"];
        let line = names.map(word).join(" ");
        let read = Command::new("sh").args(["-c", &format!("printf '%s\\0' {line}")]).output().unwrap().stdout;
        assert_eq!(String::from_utf8(read).unwrap(), names.map(|name| format!("{name}\0")).concat());
        assert_eq!((word("anna"), word("/srv/my data")), ("anna".to_owned(), "'/srv/my data'".to_owned()));
    }

    #[test]
    fn a_name_that_looks_like_a_flag_comes_after_all_flags() {
        assert_eq!(command("phone revoke", "Ben B", " --data-dir /a"), "phone revoke 'Ben B' --data-dir /a");
        assert_eq!(command("phone revoke", "-b", " --data-dir /a"), "phone revoke --data-dir /a -- -b");
    }
}
