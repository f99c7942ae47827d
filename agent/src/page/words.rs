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
pub(super) fn duration(seconds: u64) -> String {
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
    format!("{} {} lost on the way", thousands(holes), if holes == 1 { "push" } else { "pushes" })
}

/// "2 readings came late".
pub(super) fn late(late: u64) -> String {
    format!("{} {} came late", thousands(late), if late == 1 { "reading" } else { "readings" })
}

/// "3 frames".
pub(super) fn frames(frames: u64) -> String {
    format!("{} {}", thousands(frames), if frames == 1 { "frame" } else { "frames" })
}

/// "Accelerometer 100 Hz · Gyroscope 50 Hz".
pub(super) fn sensors(sensors: &[Sensor]) -> String {
    let told = sensors.iter().map(|Sensor { name, hertz }| {
        let digits = usize::from(*hertz > 0.0 && *hertz < 9.95);
        format!("{name} {hertz:.digits$} Hz")
    });
    told.collect::<Vec<_>>().join(" · ")
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
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(["0", "999", "1\u{202f}000", "12\u{202f}345\u{202f}678"], [0, 999, 1000, 12_345_678].map(thousands));
        assert_eq!(["0 B", "1.0 kB", "3.2 MB", "21 GB"], [0, 1000, 3_160_000, 21_000_000_000].map(size));
        assert_eq!(["87\u{202f}% sure", "99\u{202f}% sure"], [0.874, 0.9999].map(sure));
        let sensor = |name: &str, hertz| Sensor { name: name.to_owned(), hertz };
        let both = [sensor("Accelerometer", 99.8), sensor("Location", 0.5)];
        assert_eq!(sensors(&both), "Accelerometer 100 Hz · Location 0.5 Hz");
    }

    #[test]
    fn what_is_one_is_not_many() {
        assert_eq!((lost(1), lost(3)), ("1 push lost on the way".to_owned(), "3 pushes lost on the way".to_owned()));
        assert_eq!((late(1), late(0)), ("1 reading came late".to_owned(), "0 readings came late".to_owned()));
        assert_eq!((frames(1), frames(2)), ("1 frame".to_owned(), "2 frames".to_owned()));
    }

    #[test]
    fn times_are_as_exact_as_somebody_wants_them() {
        let told = [8, 119, 3600, 3900, 259_200].map(duration);
        assert_eq!(told, ["8 s", "1 min", "1 h", "1 h 5 min", "3 days"]);
        assert_eq!([9, 300].map(heard), ["heard just now", "last heard 5 min ago"]);
    }

    #[test]
    fn a_phone_without_an_activity_says_whether_it_sends() {
        assert_eq!(activity(Some("walking"), 0), "Walking");
        assert_eq!(activity(None, 1), "No movement data");
        assert_eq!(activity(None, 60), "Not recording");
    }
}
