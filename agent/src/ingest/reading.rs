//! One element of a push's `payload`.

use std::borrow::Cow;

use gaitway_proto::frame::{Builder, Plain};
use gaitway_proto::limits;
use gaitway_proto::value::{Fields, Value};
use jiter::{Jiter, Peek};

use super::Refusal;
use super::json::{Stop, value};
use super::layout::{Layouts, Slot, Spans};
use super::place::{self, Kept};
use crate::phones::Decimals;
use crate::windows::{Sample, is_usable_time};

/// Level of nesting at which a reading stands: body, payload, reading.
const DEPTH: usize = 2;

/// The sensor whose readings are classified.
const CLASSIFIED: &str = "accelerometer";

/// The name of what the app's "Tap to Test Pushing" sends.
const TEST: &str = "test";

/// Most fields in `values`: each costs a column.
const MAX_FIELDS: usize = 1000;

/// A reading longer than this could become one above [`limits::MAX_READING`]: its size is measured.
const MEASURED_FROM: usize = limits::MAX_READING / 16;

/// Reads readings one after the other; what one looked like helps to read the next.
pub(super) struct Reader {
    name: String,
    values: Vec<(Cow<'static, str>, Value)>,
    /// Where the numbers of the reading stand.
    spans: Spans,
    layouts: Layouts,
    /// To how many decimals places are rounded; none: not at all.
    location: Option<Decimals>,
}

/// What the windows need to know of a reading.
pub(super) struct Read {
    pub(super) time: Option<i64>,
    pub(super) sample: Option<Sample>,
    /// Whether the name is the test button's.
    pub(super) test: bool,
    /// Whether the frame has it, and how.
    pub(super) kept: Kept,
}

/// The known fields as far as they have the app's form.
#[derive(Default)]
struct Known {
    name: bool,
    time: Option<i64>,
    accuracy: Option<i64>,
    values: bool,
    /// A known field came in another form, or twice.
    odd: bool,
    /// How often it says a name.
    names: usize,
    extra: Fields,
}

impl Reader {
    /// One that rounds places to `location` decimals.
    pub(super) fn new(location: Option<Decimals>) -> Self {
        Self {
            location,
            name: String::new(),
            values: Vec::with_capacity(16),
            spans: Spans::default(),
            layouts: Layouts::default(),
        }
    }

    /// Reads the reading at the start of `rest` into `frame` if it differs from an earlier one in nothing but its
    /// numbers; gives its length too.
    pub(super) fn read_alike(&mut self, rest: &[u8], frame: &mut Builder) -> Option<(Read, usize)> {
        let (alike, bytes) = self.layouts.read(rest)?;
        // Of an accuracy alone it depends on a number whether a reading is kept.
        if self.location.is_some() && !alike.accuracy.is_none_or(place::is_class) {
            return None;
        }
        let time = alike.time;
        let sample = alike.axes.and_then(|axes| Sample::from_axes(time, axes));
        frame.push_alike(alike.block, time, alike.accuracy, alike.values);
        Some((Read { time: usable(Some(time)), sample, test: false, kept: Kept::Whole }, bytes))
    }

    /// Reads one element of `payload` into `frame`.
    pub(super) fn read(&mut self, json: &mut Jiter<'_>, peek: Peek, frame: &mut Builder) -> Result<Read, Stop> {
        let start = json.current_index();
        if peek != Peek::Object {
            let original = value(json, peek, DEPTH)?;
            return self.odd(original, json.current_index() - start, false, frame);
        }

        let mut known = self.known_fields(json)?;
        let length = json.current_index() - start;
        if let (true, true, Some(time), false) = (known.name, known.values, known.time, known.odd) {
            if length > MEASURED_FROM {
                let values = self.values.iter().map(|(k, v)| (k.clone().into_owned(), v.clone())).collect();
                measure(&self.name, [&Value::Object(values), &Value::Object(known.extra.clone())])?;
            }
            let sample = self.sample(time);
            let test = self.name == TEST;
            let kept = match self.location {
                None => Kept::Whole,
                Some(decimals) => {
                    let Known { accuracy, extra, .. } = &mut known;
                    place::of_plain(&self.name, &mut self.values, accuracy, extra, decimals)
                }
            };
            if kept == Kept::Nothing {
                return Ok(Read { time: usable(Some(time)), sample, test, kept });
            }
            // What was rounded is read anew each time.
            let regular = known.extra.is_empty() && !test && kept == Kept::Whole;
            let axes = if self.name == CLASSIFIED { self.axes() } else { None };
            let head = Plain { name: &self.name, time, accuracy: known.accuracy, extra: known.extra };
            let block = frame.push_plain(head, &mut self.values);
            if regular {
                self.layouts.learn(block, json.slice_to_current(start), start, &self.spans, axes);
            }
            return Ok(Read { time: usable(Some(time)), sample, test, kept });
        }

        // Rare enough to read it twice: the original is kept whole.
        let mut again = Jiter::new(json.slice_to_current(start));
        let peek = again.peek()?;
        self.odd(value(&mut again, peek, DEPTH)?, length, known.names > 1, frame)
    }

    /// A reading outside the app's format: kept whole, and used as far as it can be.
    fn odd(&self, mut original: Value, length: usize, renamed: bool, frame: &mut Builder) -> Result<Read, Stop> {
        measure_odd(&original, length)?;
        let read = read_odd(&original);
        let kept = match self.location {
            None => Kept::Whole,
            Some(_) if renamed => Kept::Nothing,
            Some(decimals) => place::of_odd(&mut original, decimals),
        };
        if kept != Kept::Nothing {
            frame.push_odd(&original);
        }
        Ok(Read { kept, ..read })
    }

    fn known_fields(&mut self, json: &mut Jiter<'_>) -> Result<Known, Stop> {
        self.values.clear();
        self.spans.clear();
        let mut known = Known::default();
        let mut field = json.known_object()?.map(Field::of);
        while let Some(name) = field {
            let peek = json.peek()?;
            let from = json.current_index();
            known.names += usize::from(matches!(name, Field::Name));
            match name {
                Field::Name if peek == Peek::String && !known.name => {
                    self.name.clear();
                    self.name.push_str(json.known_str()?);
                    known.name = true;
                }
                Field::Time if peek.is_num() && known.time.is_none() => {
                    known.time = value(json, peek, DEPTH + 1)?.as_integer();
                    known.odd |= known.time.is_none();
                    self.spans.note(Slot::Time, from..json.current_index());
                }
                Field::Accuracy if peek.is_num() && known.accuracy.is_none() => {
                    known.accuracy = value(json, peek, DEPTH + 1)?.as_integer();
                    known.odd |= known.accuracy.is_none();
                    self.spans.note(Slot::Accuracy, from..json.current_index());
                }
                Field::Values if peek == Peek::Object && !known.values => {
                    self.values(json)?;
                    known.values = true;
                }
                Field::Other(name) => {
                    known.extra.insert(name, value(json, peek, DEPTH + 1)?);
                }
                _ => {
                    value(json, peek, DEPTH + 1)?;
                    known.odd = true;
                }
            }
            field = json.next_key()?.map(Field::of);
        }
        Ok(known)
    }

    fn values(&mut self, json: &mut Jiter<'_>) -> Result<(), Stop> {
        let mut key = json.known_object()?.map(common_key);
        while let Some(name) = key {
            let peek = json.peek()?;
            let from = json.current_index();
            let value = value(json, peek, DEPTH + 2)?;
            if peek.is_num() {
                self.spans.note(Slot::Value, from..json.current_index());
            } else {
                self.spans.spoil();
            }
            if let Some((_, first)) = self.values.iter_mut().find(|(k, _)| *k == name) {
                *first = value;
                self.spans.spoil();
            } else {
                self.values.push((name, value));
            }
            if self.values.len() > MAX_FIELDS {
                return Err(Stop::Refused(Refusal::TooLarge {
                    what: "the number of values of a reading",
                    limit: MAX_FIELDS.to_string(),
                }));
            }
            key = json.next_key()?.map(common_key);
        }
        Ok(())
    }

    fn sample(&self, time: i64) -> Option<Sample> {
        if self.name != CLASSIFIED {
            return None;
        }
        let axis = |column: usize| self.values[column].1.as_number();
        let [x, y, z] = self.axes()?;
        Sample::from_axes(time, [axis(x)?, axis(y)?, axis(z)?])
    }

    /// Where x, y, z stand among the values.
    fn axes(&self) -> Option<[usize; 3]> {
        let axis = |axis: &str| self.values.iter().position(|(key, _)| key == axis);
        Some([axis("x")?, axis("y")?, axis("z")?])
    }
}

enum Field {
    Name,
    Time,
    Accuracy,
    Values,
    Other(String),
}

impl Field {
    fn of(key: &str) -> Self {
        match key {
            "name" => Self::Name,
            "time" => Self::Time,
            "accuracy" => Self::Accuracy,
            "values" => Self::Values,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// The keys that make up nearly all values need no allocation.
fn common_key(key: &str) -> Cow<'static, str> {
    Cow::Borrowed(match key {
        "x" => "x",
        "y" => "y",
        "z" => "z",
        "qw" => "qw",
        "qx" => "qx",
        "qy" => "qy",
        "qz" => "qz",
        "roll" => "roll",
        "pitch" => "pitch",
        "yaw" => "yaw",
        other => return Cow::Owned(other.to_owned()),
    })
}

fn measure_odd(original: &Value, length: usize) -> Result<(), Stop> {
    if length <= MEASURED_FROM {
        return Ok(());
    }
    let name = match original {
        Value::Object(fields) => fields.get("name"),
        _ => None,
    };
    // The name stands in the original and in a column.
    measure(if let Some(Value::Text(name)) = name { name } else { "" }, [original])
}

/// What a reading outside the app's format says all the same.
fn read_odd(original: &Value) -> Read {
    let kept = Kept::Whole;
    let Value::Object(fields) = original else { return Read { time: None, sample: None, test: false, kept } };
    let time = usable(fields.get("time").and_then(Value::as_integer));
    let named = |name: &str| matches!(fields.get("name"), Some(Value::Text(text)) if text == name);
    let sample = match (named(CLASSIFIED), time, fields.get("values")) {
        (true, Some(time), Some(Value::Object(values))) => {
            let axis = |axis: &str| values.get(axis).and_then(Value::as_number);
            match (axis("x"), axis("y"), axis("z")) {
                (Some(x), Some(y), Some(z)) => Sample::from_axes(time, [x, y, z]),
                _ => None,
            }
        }
        _ => None,
    };
    Read { time, sample, test: named(TEST), kept }
}

/// A time that windows can be built around.
fn usable(time: Option<i64>) -> Option<i64> {
    time.filter(|time| is_usable_time(*time))
}

/// Refuses what its record could not hold: `name` in a column, `kept` in `reading`.
fn measure<const N: usize>(name: &str, kept: [&Value; N]) -> Result<(), Stop> {
    let name = Value::Text(name.to_owned()).to_json().len();
    if name + kept.map(|value| value.to_json().len()).iter().sum::<usize>() > limits::MAX_READING {
        return Err(Stop::Refused(Refusal::too_large("a reading", limits::MAX_READING)));
    }
    Ok(())
}
