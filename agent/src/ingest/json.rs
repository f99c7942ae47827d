//! JSON values out of a pull parser, with the numbers' rule and a bound on nesting.

use std::ops::{Deref, DerefMut};

use gaitway_proto::limits;
use gaitway_proto::value::{Fields, Value};
use jiter::{Jiter, JiterError, Peek};

use super::Refusal;

/// A pull parser that can step over what was read without it.
pub(super) struct Json<'b> {
    body: &'b [u8],
    /// Where in the body the parser began.
    base: usize,
    parser: Jiter<'b>,
}

impl<'b> Json<'b> {
    pub(super) fn new(body: &'b [u8]) -> Self {
        Self { body, base: 0, parser: Jiter::new(body) }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'b [u8] {
        &self.body[self.base + self.parser.current_index()..]
    }

    /// Goes on after the next `bytes`.
    pub(super) fn step_over(&mut self, bytes: usize) {
        self.base += self.parser.current_index() + bytes;
        self.parser = Jiter::new(&self.body[self.base..]);
    }

    fn describe(&self, error: &JiterError) -> String {
        let place = Jiter::new(self.body).error_position(self.base + error.index);
        format!("{} at {place}", error.error_type)
    }
}

impl<'b> Deref for Json<'b> {
    type Target = Jiter<'b>;

    fn deref(&self) -> &Jiter<'b> {
        &self.parser
    }
}

impl<'b> DerefMut for Json<'b> {
    fn deref_mut(&mut self) -> &mut Jiter<'b> {
        &mut self.parser
    }
}

/// What stops the reading of a body.
pub(super) enum Stop {
    Syntax(JiterError),
    TooDeep,
    TooMany,
    Refused(Refusal),
}

impl From<JiterError> for Stop {
    fn from(error: JiterError) -> Self {
        Self::Syntax(error)
    }
}

impl Stop {
    pub(super) fn into_refusal(self, json: &Json<'_>) -> Refusal {
        match self {
            Self::Syntax(error) => Refusal::NotJson(json.describe(&error)),
            Self::TooDeep => {
                Refusal::TooLarge { what: "the nesting of the body", limit: format!("{} levels", limits::MAX_DEPTH) }
            }
            Self::TooMany => Refusal::TooLarge {
                what: "what is nested in one field",
                limit: format!("{} values", limits::MAX_NESTED),
            },
            Self::Refused(refusal) => refusal,
        }
    }
}

/// The next value, whose first byte is `peek`, at nesting level `depth`.
pub(super) fn value(json: &mut Jiter<'_>, peek: Peek, depth: usize) -> Result<Value, Stop> {
    nested(json, peek, depth, &mut { limits::MAX_NESTED })
}

/// The same, while `left` more values may stand in it.
fn nested(json: &mut Jiter<'_>, peek: Peek, depth: usize, left: &mut usize) -> Result<Value, Stop> {
    if depth > limits::MAX_DEPTH {
        return Err(Stop::TooDeep);
    }
    *left = left.checked_sub(1).ok_or(Stop::TooMany)?;
    match peek {
        Peek::Null => json.known_null().map(|()| Value::Null).map_err(Stop::from),
        Peek::True | Peek::False => json.known_bool(peek).map(Value::Bool).map_err(Stop::from),
        Peek::String => json.known_str().map(Value::from).map_err(Stop::from),
        Peek::Array => {
            let mut items = Vec::new();
            let mut next = json.known_array()?;
            while let Some(peek) = next {
                items.push(nested(json, peek, depth + 1, left)?);
                next = json.array_step()?;
            }
            Ok(Value::Array(items))
        }
        Peek::Object => {
            let mut fields = Fields::new();
            let mut key = json.known_object()?.map(str::to_owned);
            while let Some(name) = key {
                let peek = json.peek()?;
                fields.insert(name, nested(json, peek, depth + 1, left)?);
                key = json.next_key()?.map(str::to_owned);
            }
            Ok(Value::Object(fields))
        }
        number => json.known_number_bytes(number).map(number_of).map_err(Stop::from),
    }
}

/// A number in JSON's grammar: an integer that fits, else a finite float, else its text.
fn number_of(digits: &[u8]) -> Value {
    let text = std::str::from_utf8(digits).expect("the parser found a number's ASCII characters");
    if text != "-0" && !digits.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        if let Ok(v) = text.parse() {
            return Value::I64(v);
        }
        if let Ok(v) = text.parse() {
            return Value::U64(v);
        }
    }
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() => Value::F64(v),
        _ => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_an_integer_that_fits_else_a_float_else_its_text() {
        assert_eq!(number_of(b"9223372036854775807"), Value::I64(i64::MAX));
        assert_eq!(number_of(b"18446744073709551615"), Value::U64(u64::MAX));
        assert_eq!(number_of(b"18446744073709551616"), Value::F64(18_446_744_073_709_551_616.0));
        assert_eq!(number_of(b"1.0"), Value::F64(1.0));
        assert_eq!(number_of(b"1e999"), Value::from("1e999"));
        assert!(matches!(number_of(b"-0"), Value::F64(v) if v.is_sign_negative()));
    }
}
