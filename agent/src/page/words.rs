//! Numbers, durations and names in words, as words.js has them: the page reads alike with and without scripts.

use crate::status::Sensor;

/// The activities, the least first.
pub(super) const ACTIVITIES: [&str; 4] = ["stationary", "walking", "running", "sprinting"];

/// A silent phone's seconds: twice the app's longest batch period.
pub(super) const SILENT: u64 = 10;

/// "Walking" for "walking".
pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The large word.
pub(super) fn activity(activity: Option<&str>, seconds_ago: u64) -> String {
    match activity {
        Some(activity) => capital(activity),
        None if seconds_ago < SILENT => "No movement data".to_owned(),
        None => "Not recording".to_owned(),
    }
}

/// "heard just now", "last heard 5 min ago".
pub(super) fn heard(seconds: u64) -> String {
    if seconds < SILENT { "heard just now".to_owned() } else { format!("last heard {} ago", duration(seconds)) }
}

/// "8 s", "3 min", "1 h 5 min", "2 days".
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..172_800 if minutes % 60 == 0 => format!("{hours} h"),
        3600..172_800 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} days", hours / 24),
    }
}

/// "512 B", "3.2 MB", "21 GB"; powers of ten.
pub(super) fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    let units = ["B", "kB", "MB", "GB", "TB"];
    while value >= 999.5 && unit < units.len() - 1 {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let digits = usize::from(unit > 0 && value < 9.95);
    format!("{value:.digits$} {}", units[unit])
}

/// "87 % sure"; never more than 99 %.
pub(super) fn sure(probability: f64) -> String {
    format!("{:.0}\u{202f}% sure", (probability * 100.0).min(99.0))
}

/// "3 pushes lost on the way".
pub(super) fn lost(holes: u64) -> String {
    format!("{} lost on the way", count(holes, "push", "pushes"))
}

/// "2 readings came late".
pub(super) fn late(late: u64) -> String {
    format!("{} came late", count(late, "reading", "readings"))
}

/// "No frame", "3 frames".
pub(super) fn frames(frames: u64) -> String {
    capital(&count(frames, "frame", "frames"))
}

/// "no push", "1 push", "3 pushes".
fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        0 => format!("no {one}"),
        1 => format!("1 {one}"),
        _ => format!("{} {many}", thousands(number)),
    }
}

/// "Accelerometer 100 Hz · Gyroscope 50 Hz".
pub(super) fn sensors(sensors: &[Sensor]) -> String {
    let told = sensors.iter().map(|sensor| format!("{} {}", sensor.name, hertz(sensor.hertz)));
    told.collect::<Vec<_>>().join(" · ")
}

/// "100 Hz", "0.5 Hz".
fn hertz(rate: f64) -> String {
    let digits = usize::from(rate < 9.95);
    let rate = format!("{rate:.digits$}");
    format!("{} Hz", rate.strip_suffix(".0").unwrap_or(&rate))
}

/// With spaces between groups of three digits.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let grouped = digits.bytes().enumerate().flat_map(|(at, digit)| {
        let gap = at > 0 && (digits.len() - at).is_multiple_of(3);
        gap.then_some('\u{202f}').into_iter().chain([char::from(digit)])
    });
    grouped.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Asserts what the page's scripts are held to as well (`tests/page_modules.rs`).
    fn assert_told(kind: &str, word: impl Fn(f64) -> String) {
        let told: Value = serde_json::from_str(include_str!("words.json")).unwrap();
        for case in told[kind].as_array().unwrap() {
            let number = case[0].as_f64().unwrap();
            assert_eq!(word(number), case[1].as_str().unwrap(), "{kind} of {number}");
        }
    }

    #[test]
    fn numbers_are_written_for_people_as_the_scripts_write_them() {
        assert_told("duration", |number| duration(number as u64));
        assert_told("size", |number| size(number as u64));
        assert_told("sure", sure);
        assert_told("thousands", |number| thousands(number as u64));
        assert_told("lost", |number| lost(number as u64));
        assert_told("late", |number| late(number as u64));
        assert_told("hertz", hertz);
    }

    #[test]
    fn sensors_and_frames_are_told_in_a_line() {
        let sensor = |name: &str, hertz| Sensor { name: name.to_owned(), hertz };
        let both = [sensor("Accelerometer", 99.8), sensor("Location", 0.5)];
        assert_eq!(sensors(&both), "Accelerometer 100 Hz · Location 0.5 Hz");
        assert_eq!((frames(1), frames(0)), ("1 frame".to_owned(), "No frame".to_owned()));
        assert_eq!([9, 300].map(heard), ["heard just now", "last heard 5 min ago"]);
    }

    #[test]
    fn a_phone_without_an_activity_says_whether_it_sends() {
        assert_eq!(activity(Some("walking"), 0), "Walking");
        assert_eq!(activity(None, 1), "No movement data");
        assert_eq!(activity(None, 60), "Not recording");
    }
}
