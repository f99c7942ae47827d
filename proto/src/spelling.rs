//! JSON scalars as `serde_json` spells them, written behind what a buffer holds.

/// Appends a text.
pub fn push_text(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).expect("a text serialises"));
    }
}

/// Appends an integer.
pub fn push_int(out: &mut String, number: impl itoa::Integer) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// Appends a float, with the fewest digits that give it back; `null` for one that is not finite.
pub fn push_float(out: &mut String, number: f64) {
    if number.is_finite() {
        out.push_str(zmij::Buffer::new().format_finite(number));
    } else {
        out.push_str("null");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spelled(push: impl FnOnce(&mut String)) -> String {
        let mut out = "before ".to_owned();
        push(&mut out);
        out.strip_prefix("before ").unwrap().to_owned()
    }

    proptest! {
        #[test]
        fn scalars_are_spelled_as_serde_json_does(text: String, int: i64, float: f64, bits: u64) {
            prop_assert_eq!(spelled(|out| push_text(out, &text)), serde_json::to_string(&text).unwrap());
            prop_assert_eq!(spelled(|out| push_int(out, int)), serde_json::to_string(&int).unwrap());
            for float in [float, f64::from_bits(bits), (int >> 40) as f64, f64::from(float as f32)] {
                prop_assert_eq!(spelled(|out| push_float(out, float)), serde_json::to_string(&float).unwrap());
            }
        }
    }

    #[test]
    fn what_json_escapes_is_escaped() {
        for byte in 0..=127_u8 {
            let text = format!("a{}b", char::from(byte));
            assert_eq!(spelled(|out| push_text(out, &text)), serde_json::to_string(&text).unwrap());
        }
    }
}
