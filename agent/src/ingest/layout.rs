//! Reading a reading by what an earlier one looked like: an app prints all readings of a sensor alike.
//!
//! - A reading is taken only if its bytes are those of an earlier one but for its numbers: it is what the parser would
//!   make of it.
//! - Whatever differs, and every number that is neither an `i64` nor a finite float, is left to the parser.

use std::ops::Range;

use gaitway_proto::value::Value;

/// Most sensors of a message that are read so.
const MOST: usize = 64;

/// Longest number that is read here, bytes.
const LONGEST_NUMBER: usize = 40;

/// What a number of a reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Time,
    Accuracy,
    /// The next of `values`.
    Value,
}

/// Where the numbers of one reading stand, in their order.
#[derive(Debug, Default)]
pub(super) struct Spans {
    found: Vec<(Slot, Range<usize>)>,
    /// Something beside the numbers varies.
    spoiled: bool,
}

impl Spans {
    pub(super) fn clear(&mut self) {
        self.found.clear();
        self.spoiled = false;
    }

    pub(super) fn note(&mut self, slot: Slot, span: Range<usize>) {
        self.found.push((slot, span));
    }

    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }
}

/// The layouts of the readings of one message.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    known: Vec<Layout>,
    /// Of the last reading.
    last: Option<usize>,
    values: Vec<Value>,
}

#[derive(Debug)]
struct Layout {
    block: u32,
    /// The bytes before each number, and what the number is.
    parts: Vec<(Box<[u8]>, Slot)>,
    end: Box<[u8]>,
    /// Where x, y, z stand among the values.
    axes: Option<[usize; 3]>,
    /// The layout that came after this one last time: sensors take turns.
    follower: Option<usize>,
}

/// A reading that is like an earlier one.
pub(super) struct Alike<'l> {
    /// Its block in the frame.
    pub(super) block: u32,
    pub(super) time: i64,
    pub(super) accuracy: Option<i64>,
    /// In the order of the earlier reading's.
    pub(super) values: std::vec::Drain<'l, Value>,
    /// x, y, z of a reading that is classified.
    pub(super) axes: Option<[f64; 3]>,
}

impl Layouts {
    /// Remembers what a reading looked like that the parser put into `block`: its `bytes`, which began at `start` of the
    /// same text as `spans`.
    pub(super) fn learn(&mut self, block: u32, bytes: &[u8], start: usize, spans: &Spans, axes: Option<[usize; 3]>) {
        let known = self.known.iter().position(|layout| layout.block == block);
        let index = match known {
            Some(index) => index,
            None if spans.spoiled || self.known.len() == MOST => {
                self.last = None;
                return;
            }
            None => {
                self.known.push(Layout::of(block, bytes, start, spans, axes));
                self.known.len() - 1
            }
        };
        self.came(index);
    }

    /// The reading at the start of `rest` and its length, if it is like the one that came at this turn before.
    pub(super) fn read(&mut self, rest: &[u8]) -> Option<(Alike<'_>, usize)> {
        let last = self.last?;
        let follower = self.known[last].follower;
        let guesses = [follower, Some(last).filter(|last| Some(*last) != follower)];
        let (index, read) = guesses.into_iter().flatten().find_map(|index| {
            self.values.clear();
            self.known[index].read(rest, &mut self.values).map(|read| (index, read))
        })?;
        self.came(index);
        let layout = &self.known[index];
        let axes = layout.axes.and_then(|[x, y, z]| {
            let axis = |column: usize| self.values[column].as_number();
            Some([axis(x)?, axis(y)?, axis(z)?])
        });
        let Found { time, accuracy, bytes } = read;
        let alike = Alike { block: layout.block, time, accuracy, values: self.values.drain(..), axes };
        Some((alike, bytes))
    }

    fn came(&mut self, index: usize) {
        if let Some(last) = self.last.replace(index) {
            self.known[last].follower = Some(index);
        }
    }
}

struct Found {
    time: i64,
    accuracy: Option<i64>,
    bytes: usize,
}

impl Layout {
    fn of(block: u32, bytes: &[u8], start: usize, spans: &Spans, axes: Option<[usize; 3]>) -> Self {
        let mut at = 0;
        let mut parts = Vec::with_capacity(spans.found.len());
        for (slot, span) in &spans.found {
            parts.push((bytes[at..span.start - start].into(), *slot));
            at = span.end - start;
        }
        Self { block, parts, end: bytes[at..].into(), axes, follower: None }
    }

    fn read(&self, text: &[u8], values: &mut Vec<Value>) -> Option<Found> {
        let (mut rest, mut time, mut accuracy) = (text, None, None);
        for (before, slot) in &self.parts {
            rest = rest.strip_prefix(&**before)?;
            let (number, length) = number(rest)?;
            match (slot, number) {
                (Slot::Time, Value::I64(v)) => time = Some(v),
                (Slot::Accuracy, Value::I64(v)) => accuracy = Some(v),
                (Slot::Time | Slot::Accuracy, _) => return None,
                (Slot::Value, number) => values.push(number),
            }
            rest = &rest[length..];
        }
        rest = rest.strip_prefix(&*self.end)?;
        Some(Found { time: time?, accuracy, bytes: text.len() - rest.len() })
    }
}

/// The JSON number at the start of `text` and its length, if it is an `i64` or a finite float.
fn number(text: &[u8]) -> Option<(Value, usize)> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let negative = usize::from(text.first() == Some(&b'-'));
    let whole = digits(negative);
    if whole == 0 || (whole > 1 && text[negative] == b'0') {
        return None;
    }
    let mut end = negative + whole;
    let mut is_integer = true;
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
        is_integer = false;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits((end + 1 + sign).min(text.len()));
        if exponent == 0 {
            return None;
        }
        end += 1 + sign + exponent;
        is_integer = false;
    }
    if end > LONGEST_NUMBER {
        return None;
    }

    let token = &text[..end];
    if is_integer && token != b"-0" {
        let value = token[negative..].iter().try_fold(0_i64, |value, digit| {
            let digit = i64::from(digit - b'0');
            let digit = if negative == 1 { -digit } else { digit };
            value.checked_mul(10)?.checked_add(digit)
        });
        return value.map(|value| (Value::I64(value), end));
    }
    let value: f64 = fast_float2::parse(token).ok()?;
    value.is_finite().then_some((Value::F64(value), end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::json;

    /// What the parser makes of the whole of `text`.
    fn parsed(text: &str) -> Option<Value> {
        let mut parser = json::Json::new(text.as_bytes());
        let peek = parser.peek().ok().filter(|peek| peek.is_num())?;
        let value = json::value(&mut parser, peek, 1).ok()?;
        parser.finish().ok().map(|()| value)
    }

    proptest! {
        #[test]
        fn a_number_is_what_the_parser_makes_of_it(text in r"-?[0-9]{0,21}(\.[0-9]{0,20})?([eE][+-]?[0-9]{0,3})?") {
            match number(text.as_bytes()) {
                Some((value, length)) if length == text.len() => prop_assert_eq!(Some(value), parsed(&text)),
                Some((_, length)) => prop_assert!(parsed(&text[..length]).is_some()),
                None => {
                    let left = matches!(parsed(&text), None | Some(Value::Text(_) | Value::U64(_)))
                        || text.len() > LONGEST_NUMBER
                        || matches!(parsed(&text), Some(Value::F64(_)) if !text.contains(['.', 'e', 'E']));
                    prop_assert!(left, "{}", text);
                }
            }
        }

        #[test]
        fn floats_keep_every_bit(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = format!("{value:?}");
            let Some((Value::F64(read), _)) = number(text.as_bytes()) else { return Err(TestCaseError::fail(text)) };
            prop_assert_eq!(read.to_bits(), bits);
        }
    }
}
