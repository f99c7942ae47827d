//! What valid JSON may have that `jsonb` cannot hold.
//!
//! - Linear in the text, no recursion.

/// What `jsonb` cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// U+0000 in a text.
    Null,
    /// `\ud800` without its other half.
    Surrogate,
    /// A number of more digits than `numeric` has.
    Number,
    /// More levels than [`MAX_DEPTH`].
    Depth,
}

/// Deepest nesting: well within what PostgreSQL's default `max_stack_depth` of 2 MB takes, and eight times what a push
/// may have.
pub(super) const MAX_DEPTH: usize = 512;

/// Most decimal digits of a `numeric` before the point.
const MAX_WEIGHT: i64 = 131_072;

/// Most digits behind it.
const MAX_SCALE: i64 = 16_383;

/// From this exponent on PostgreSQL refuses even a zero: `INT_MAX / 2`.
const MAX_EXPONENT: u64 = (i32::MAX / 2) as u64;

/// The first fault of `json`, which is valid JSON.
pub(super) fn fault(json: &str) -> Option<Fault> {
    let (mut rest, mut depth) = (json.as_bytes(), 0_usize);
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'"' => match text(after) {
                Ok(behind) => rest = behind,
                Err(fault) => return Some(fault),
            },
            b'-' | b'0'..=b'9' => {
                let length =
                    after.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')).count();
                let (more, behind) = after.split_at(length);
                if !is_numeric(*byte, more) {
                    return Some(Fault::Number);
                }
                rest = behind;
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(Fault::Depth);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// What stands behind the text whose opening quote is before `rest`.
fn text(mut rest: &[u8]) -> Result<&[u8], Fault> {
    let mut high = false;
    loop {
        let unit = match rest {
            [b'\\', b'u', a, b, c, d, after @ ..] => {
                rest = after;
                Some([a, b, c, d].iter().fold(0, |unit, digit| unit << 4 | hex(**digit)))
            }
            [b'"', after @ ..] => return if high { Err(Fault::Surrogate) } else { Ok(after) },
            [0, ..] => return Err(Fault::Null),
            [b'\\', _, after @ ..] | [_, after @ ..] => {
                rest = after;
                None
            }
            [] => return Ok(rest),
        };
        high = match (unit, high) {
            (Some(0), false) => return Err(Fault::Null),
            (Some(0xd800..0xdc00), false) => true,
            (Some(0xdc00..0xe000), true) => false,
            (Some(0xdc00..0xe000), false) | (_, true) => return Err(Fault::Surrogate),
            _ => false,
        };
    }
}

fn hex(digit: u8) -> u32 {
    char::from(digit).to_digit(16).unwrap_or(0)
}

/// Whether a JSON number fits `numeric`, as `numeric_in` of PostgreSQL 15 counts its digits.
fn is_numeric(first: u8, more: &[u8]) -> bool {
    let digits = if first == b'-' { None } else { Some(first) };
    let (mut scale, mut before, mut leading, mut met_point) = (0_i64, 0_i64, None, false);
    let mut bytes = digits.into_iter().chain(more.iter().copied());
    let mut exponent = String::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'.' => met_point = true,
            b'e' | b'E' => {
                exponent.extend(bytes.by_ref().map(char::from));
                break;
            }
            digit => {
                if digit != b'0' && leading.is_none() {
                    // How far it stands from the point: 1 is the last digit before it, 0 the first behind it.
                    leading = Some((before, scale));
                }
                if met_point { scale += 1 } else { before += 1 }
            }
        }
    }
    let exponent = if exponent.is_empty() { Ok(0) } else { exponent.parse::<i64>() };
    let Some(exponent) = exponent.ok().filter(|exponent| exponent.unsigned_abs() < MAX_EXPONENT) else { return false };
    // Digits before the point from the first that is not zero.
    let weight = leading.map_or(0, |(place, behind)| before - place - behind + exponent);
    weight <= MAX_WEIGHT && scale - exponent <= MAX_SCALE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_and_nothing_else() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for (json, expected) in [
            (r#"{"a":"\u0000"}"#, Some(Fault::Null)),
            (r#"{"\u0000":1}"#, Some(Fault::Null)),
            (r#"{"a":"\\u0000 \"\u0001"}"#, None),
            (r#"["\ud83c\udfc3","\ud800\udc00"]"#, None),
            (r#"["\ud800"]"#, Some(Fault::Surrogate)),
            (r#"["\ud800x"]"#, Some(Fault::Surrogate)),
            (r#"["\ud800\n"]"#, Some(Fault::Surrogate)),
            (r#"["\ud800\ud800"]"#, Some(Fault::Surrogate)),
            (r#"["\udc00"]"#, Some(Fault::Surrogate)),
            ("[1e131071,-9.9e131071,1e-16383,0e200000,5e-324,1.7976931348623157e308]", None),
            ("[1e131072]", Some(Fault::Number)),
            ("[-10e131071]", Some(Fault::Number)),
            ("[0.01e131073]", None),
            ("[0.01e131074]", Some(Fault::Number)),
            ("[1e-16384]", Some(Fault::Number)),
            ("[1.5e-16383]", Some(Fault::Number)),
            ("[0e-16384]", Some(Fault::Number)),
            ("[0e1073741823]", Some(Fault::Number)),
            ("[1e99999999999999999999]", Some(Fault::Number)),
            (&deep(MAX_DEPTH), None),
            (&deep(MAX_DEPTH + 1), Some(Fault::Depth)),
            ("{}", None),
        ] {
            assert_eq!(fault(json), expected, "{}", json.chars().take(60).collect::<String>());
        }
    }
}
