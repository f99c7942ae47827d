//! A code with words beside it, for a terminal. Pure.
//!
//! - No line is longer than the terminal is wide: one that wraps tears the code.

use super::code::Code;

/// Columns between the code and the words.
const GAP: usize = 2;

/// Lines of a terminal of `columns`: the code, and `paragraphs` beside it, of which each that begins with blanks keeps
/// them. None if there is no room for both.
pub fn beside(code: &Code, paragraphs: &[String], columns: usize) -> Option<Vec<String>> {
    let pictured = code.lines();
    let room = columns.checked_sub(code.width() + GAP)?;
    let mut words = Vec::new();
    for paragraph in paragraphs {
        wrap(paragraph, room, &mut words)?;
    }
    if words.len() > pictured.len() {
        return None;
    }
    words.resize(pictured.len(), String::new());
    let lines = pictured.into_iter().zip(words);
    Some(lines.map(|(line, words)| format!("{line}{:GAP$}{words}", "").trim_end().to_owned()).collect())
}

/// Appends `paragraph` in lines of at most `room` characters; none if a word is longer.
fn wrap(paragraph: &str, room: usize, lines: &mut Vec<String>) -> Option<()> {
    let blanks = paragraph.chars().take_while(|letter| *letter == ' ').count();
    let mut line = " ".repeat(blanks);
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if blanks + length > room {
            return None;
        }
        let is_begun = line.chars().count() > blanks;
        if is_begun && line.chars().count() + 1 + length > room {
            lines.push(std::mem::replace(&mut line, " ".repeat(blanks)));
        } else if is_begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(lines: &[String]) -> Vec<&str> {
        lines.iter().map(|line| line.split_once("\x1b[0m").unwrap().1.trim_end()).collect()
    }

    #[test]
    fn words_stand_beside_the_code_within_the_terminal() {
        let code = Code::of("HTTP://192.168.1.20:8000/E/MWM3SVH2G7ZJFSJ3YW83").unwrap();
        assert_eq!(code.width(), 33);
        let said = ["Scan this with the camera of the phone, which is near.", "", "  http://192.168.1.20:8000/data"]
            .map(str::to_owned);
        let lines = beside(&code, &said, 80).unwrap();
        assert_eq!(lines.len(), 17);
        assert_eq!(
            words(&lines)[..4],
            ["  Scan this with the camera of the phone, which", "  is near.", "", "    http://192.168.1.20:8000/data"]
        );
        assert!(words(&lines).iter().all(|words| 33 + words.chars().count() <= 80));
        assert_eq!(beside(&code, &said, 65), None, "the URL has no room");
        assert_eq!(beside(&code, &said, 30), None, "nor has the code");
        assert_eq!(beside(&code, &vec!["line".to_owned(); 18], 80), None, "nor so many lines");
    }
}
