//! The short way for a value that is spelled as [`Record::write_json`](crate::record::Record::write_json) spells it: every
//! key, in the table's order, nothing between.
//!
//! - It gives what the long way would, or nothing: then the long way has to be gone.
//! - What it reads may be passed on as it is. Numbers with an exponent, or with more digits than an `f64` needs, are left to
//!   the long way: readers of JSON differ in what they make of the odd ones.

use std::borrow::Cow;

use super::Time;
use crate::schema::{Cell, FieldType, Table};

/// Of the longest number that is read here, `-0.0000012345678901234567` or 20 digits and a sign.
const LONGEST_NUMBER: usize = 24;

/// The cells of `json`; none if it is spelled otherwise, or has an object, an escape, or a time that is not the last one.
pub(super) fn read<'a>(table: &Table, json: &'a str, last: Option<Time<'_>>) -> Option<Vec<Cell<'a>>> {
    let mut cells = Vec::with_capacity(table.fields.len());
    let (mut opening, mut rest) = (b'{', json);
    for field in table.fields {
        let [first, b'"', key @ ..] = rest.as_bytes() else { return None };
        let (name, [b'"', b':', ..]) = key.split_at_checked(field.name.len())? else { return None };
        if *first != std::mem::replace(&mut opening, b',') || name != field.name.as_bytes() {
            return None;
        }
        let (cell, behind) = value(field.kind, &rest[name.len() + 4..], last)?;
        cells.push(cell);
        rest = behind;
    }
    (rest == "}").then_some(cells)
}

fn value<'a>(kind: FieldType, text: &'a str, last: Option<Time<'_>>) -> Option<(Cell<'a>, &'a str)> {
    match text.as_bytes().first()? {
        b'n' => Some((Cell::Null, text.strip_prefix("null")?)),
        b'"' => {
            let text = &text[1..];
            let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
            if text.as_bytes()[end] == b'\\' {
                return None;
            }
            let (text, behind) = (&text[..end], &text[end + 1..]);
            let cell = match kind {
                FieldType::Text if text.bytes().all(|byte| byte >= b' ') => Cell::Text(Cow::Borrowed(text)),
                FieldType::Instant | FieldType::SeedInstant => {
                    Cell::Instant(last.filter(|last| last.ours && last.kind == kind && last.text == text)?.at)
                }
                _ => return None,
            };
            Some((cell, behind))
        }
        b'-' | b'0'..=b'9' => {
            let end = text.bytes().position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'.'))?;
            let (number, behind) = text.split_at(end);
            if number.len() > LONGEST_NUMBER {
                return None;
            }
            let cell = match kind {
                FieldType::Int if is_integer(number) => Cell::Int(number.parse().ok()?),
                FieldType::Float if is_number(number) => {
                    Cell::Float(number.parse().ok().filter(|number: &f64| number.is_finite())?)
                }
                _ => return None,
            };
            Some((cell, behind))
        }
        _ => None,
    }
}

/// Whether `text` is a JSON number without fraction and exponent, and not `-0`, which is a float.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match digits.as_bytes() {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', more @ ..] => more.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Whether `text` is a JSON number (RFC 8259, section 6) without exponent.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    digits(whole) && (whole.len() == 1 || !whole.starts_with('0')) && fraction.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use std::cell;

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::super::Parser;
    use super::*;
    use crate::schema::{ACTIVITY, GAPS, RAW, push_instant};
    use crate::spelling;

    const AT: i64 = 1_700_000_000_500_000_000;

    /// Mostly what goes the short way, sometimes anything.
    fn value_of(kind: FieldType) -> BoxedStrategy<String> {
        let quoted = |text: &String| serde_json::to_string(text).unwrap();
        let time = move |at: i64| {
            let mut text = String::new();
            push_instant(&mut text, kind, at);
            quoted(&text)
        };
        let (usual, odd) = match kind {
            FieldType::Int => (any::<i64>().prop_map(|v| v.to_string()).boxed(), "-?[0-9]{1,20}".boxed()),
            FieldType::Float => (
                prop_oneof![-1e3..1e3, any::<f64>()].prop_map(|v| serde_json::to_string(&v).unwrap()).boxed(),
                "-?[0-9]{1,3}(\\.[0-9]{0,30})?([eE][+-]?[0-9]{0,3})?".boxed(),
            ),
            FieldType::Text => (
                "[a-zé ]{0,8}".prop_map(move |v| quoted(&v)).boxed(),
                any::<String>().prop_map(move |v| quoted(&v)).boxed(),
            ),
            FieldType::Object => (Just("null".to_owned()).boxed(), Just("{\"a\":1}".to_owned()).boxed()),
            _ => (Just(time(AT)).boxed(), (AT - 2..AT + 2).prop_map(time).boxed()),
        };
        prop_oneof![30 => usual, 1 => odd, 4 => Just("null".to_owned())].boxed()
    }

    fn json(table: &'static Table) -> impl Strategy<Value = String> {
        let fields: Vec<_> = table.fields.iter().map(|field| value_of(field.kind)).collect();
        fields.prop_map(|values| {
            let mut out = String::new();
            for (field, value) in table.fields.iter().zip(values) {
                out.push(if out.is_empty() { '{' } else { ',' });
                spelling::push_text(&mut out, field.name);
                out.push(':');
                out.push_str(&value);
            }
            out + "}"
        })
    }

    /// Holds the short way to the long one. `last` is a time that was read.
    fn compare(table: &'static Table, json: &str, last: Option<Time<'_>>) -> Result<bool, TestCaseError> {
        let Some(cells) = read(table, json, last) else { return Ok(false) };
        let (row, unknown) = Parser::long(table, json, &mut None).expect("what goes the short way is readable");
        prop_assert_eq!(format!("{:?}", &cells), format!("{:?}", &row.cells), "{}", json);
        prop_assert!(row.json == Some(json) && unknown.is_none(), "{}", json);
        Ok(true)
    }

    type Written = (&'static Table, String);
    type Change = (prop::sample::Index, char, u8);

    #[test]
    fn the_short_way_leads_where_the_long_one_does() {
        let records = prop_oneof![
            json(&RAW).prop_map(|json| (&RAW, json)),
            json(&ACTIVITY).prop_map(|json| (&ACTIVITY, json)),
            json(&GAPS).prop_map(|json| (&GAPS, json)),
        ];
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0_u8..3), 1..3);
        let taken = cell::Cell::new(0);
        let run = |((table, json), changes): (Written, Vec<Change>)| {
            for kind in [FieldType::Instant, FieldType::SeedInstant] {
                let mut text = String::new();
                push_instant(&mut text, kind, AT);
                let at = if kind == FieldType::Instant { AT } else { AT / 1_000_000_000 * 1_000_000_000 };
                let last = Some(Time { text: &text, kind, at, ours: true });
                taken.set(taken.get() + u32::from(compare(table, &json, last)?));
                let mut chars: Vec<char> = json.chars().collect();
                for (place, char, change) in &changes {
                    let place = place.index(chars.len());
                    match change {
                        0 => chars[place] = *char,
                        1 => chars.insert(place, *char),
                        _ => drop(chars.remove(place)),
                    }
                }
                compare(table, &chars.into_iter().collect::<String>(), last)?;
            }
            Ok(())
        };
        let mut runner = TestRunner::new(ProptestConfig::with_cases(2_000));
        runner.run(&(records, changes), run).unwrap();
        assert!(taken.get() > 500, "{} of 4,000 went the short way", taken.get());
    }

    #[test]
    fn what_the_relay_writes_goes_the_short_way_once_its_time_is_known() {
        let json = r#"{"messageId":7,"sessionId":"s","deviceId":"dé","sensorType":"accelerometer","x":0.1,"y":-9.81,"z":0.0000001,"accuracy":null,"timestamp":1700000000000000000,"reading":null,"readingIndex":0,"userId":null,"agentId":"pi","receivedAt":"2023-11-14T22:13:20.5Z"}"#;
        let last = Time { text: "2023-11-14T22:13:20.5Z", kind: FieldType::Instant, at: AT, ours: true };
        assert!(compare(&RAW, json, Some(last)).unwrap());
        assert!(!compare(&RAW, json, None).unwrap());
        for odd in ["\"x\":01", "\"x\":1.", "\"x\":.5", "\"x\":1e", "\"x\":-", "\"x\":1e5", "\"x\":\"1\""] {
            assert_eq!(read(&RAW, &json.replace("\"x\":0.1", odd), Some(last)), None, "{odd}");
        }
        for odd in ["\"messageId\":-0", "\"messageId\":7.0", "\"messageId\":9223372036854775808", "\"messageId\":07"] {
            assert_eq!(read(&RAW, &json.replace("\"messageId\":7", odd), Some(last)), None, "{odd}");
        }
    }
}
