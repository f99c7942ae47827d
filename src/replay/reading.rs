//! One reading as the app pushes it, and how a cell of an exported file becomes a value of it.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// One element of a push's `payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// Nanoseconds since the Unix epoch, phone's clock.
    pub(super) time: i64,
    /// The element as JSON: `{"name":…,"time":…,"values":{…}}`.
    pub(super) json: String,
}

/// Exported columns that hold text even where it looks like a number (`4e10` is a manufacturer's data, not 4·10¹⁰).
const TEXT_COLUMNS: [&str; 7] = ["bssid", "id", "image", "manufacturerData", "name", "ssid", "text"];

/// A reading whose values are still being gathered.
#[derive(Debug, Default)]
pub(super) struct Draft {
    values: String,
    accuracy: Option<String>,
}

impl Draft {
    /// Adds a measured field: its name as a JSON string, its value as JSON.
    pub(super) fn value(&mut self, quoted_name: &str, value: &str) {
        if !self.values.is_empty() {
            self.values.push(',');
        }
        self.values.push_str(quoted_name);
        self.values.push(':');
        self.values.push_str(value);
    }

    /// Sets `accuracy`, which the app pushes beside the values; anything but an integer stays away.
    pub(super) fn accuracy(&mut self, cell: &str) {
        self.accuracy = cell.trim().parse::<i64>().ok().map(|accuracy| accuracy.to_string());
    }

    /// The reading: its sensor as a JSON string, its time in nanoseconds.
    pub(super) fn finish(self, quoted_sensor: &str, time: i64) -> Reading {
        let accuracy = self.accuracy.map(|accuracy| format!(r#","accuracy":{accuracy}"#)).unwrap_or_default();
        let values = self.values;
        let json = format!(r#"{{"name":{quoted_sensor},"time":{time}{accuracy},"values":{{{values}}}}}"#);
        Reading { time, json }
    }
}

/// The name a sensor has in pushes, from the name it has in exports: `WristMotion`, `Heart Rate` → `wristmotion`,
/// `heartrate`.
pub(super) fn push_name(exported: &str) -> String {
    exported.split_whitespace().collect::<String>().to_lowercase()
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("any text is a JSON string")
}

/// The JSON value of an exported cell: what spells a JSON number, `true`, `false` or `null` stands for itself, digit by
/// digit; an empty cell is null; anything else is text.
pub(super) fn literal<'a>(column: &str, cell: &'a str) -> Cow<'a, str> {
    let trimmed = cell.trim();
    match trimmed {
        "" => Cow::Borrowed("null"),
        _ if TEXT_COLUMNS.contains(&column) => Cow::Owned(quoted(cell)),
        "true" | "false" | "null" => Cow::Borrowed(trimmed),
        _ if is_number(trimmed) => Cow::Borrowed(trimmed),
        _ => Cow::Owned(quoted(cell)),
    }
}

/// Whether `text` is a number as JSON spells one, of any size.
pub(super) fn is_number(text: &str) -> bool {
    // A JSON document that begins with a sign or digit and ends with a digit can only be one number.
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit())
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_its_digits() {
        for number in ["0", "-0.0040", "1e999", "0.10382747650146484", "12345678901234567890123", "2E-3"] {
            assert_eq!(literal("x", number), number);
        }
        for text in ["+1", ".5", "5.", "NaN", "0x1", "1 2", "01", "1,5", "-"] {
            assert_eq!(literal("x", text), quoted(text));
        }
    }

    #[test]
    fn other_cells_are_literals_null_or_text() {
        assert_eq!(literal("lowPowerMode", "false"), "false");
        assert_eq!(literal("batteryState", "un\"plugged"), r#""un\"plugged""#);
        assert_eq!(literal("rssi", " "), "null");
        assert_eq!(literal("manufacturerData", "4e10"), r#""4e10""#);
    }

    #[test]
    fn a_reading_is_json_of_the_apps_shape() {
        let mut draft = Draft::default();
        draft.value("\"z\"", "0.5");
        draft.value("\"x\"", "null");
        draft.accuracy("3");
        let reading = draft.finish(&quoted(&push_name("Wrist Motion")), 1_700_000_000_000_000_001);
        assert_eq!(
            reading.json,
            r#"{"name":"wristmotion","time":1700000000000000001,"accuracy":3,"values":{"z":0.5,"x":null}}"#
        );
        assert!(serde_json::from_str::<IgnoredAny>(&Draft::default().finish("\"a\"", -1).json).is_ok());
    }
}
