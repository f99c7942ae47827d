//! From readings to columns, one reading at a time.

use std::borrow::Cow;
use std::collections::HashMap;

use xxhash_rust::xxh3::Xxh3;

use super::{Body, Column, Packed, WireBlock, WireTimes};
use crate::value::{Fields, Value};

/// Collects the readings of one message.
#[derive(Default)]
pub struct Builder {
    extra: Fields,
    blocks: Vec<Open>,
    by_shape: HashMap<u64, u32>,
    odd: Vec<String>,
    order: Vec<Option<u32>>,
    last: Option<u32>,
}

struct Open {
    name: String,
    keys: Vec<String>,
    times: Vec<i64>,
    accuracy: Option<Column>,
    columns: Vec<Column>,
    extras: Option<Vec<String>>,
    /// The block that came after this one last time: sensors take turns.
    follower: Option<u32>,
}

/// The name and values of a reading in the app's format.
pub struct Plain<'a> {
    /// `name`
    pub name: &'a str,
    /// `time`, nanoseconds since the Unix epoch.
    pub time: i64,
    /// `accuracy`
    pub accuracy: Option<i64>,
    /// Fields beside the known four.
    pub extra: Fields,
}

impl Builder {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the unknown fields of the message itself.
    pub fn set_extra(&mut self, extra: Fields) {
        self.extra = extra;
    }

    /// How many readings it holds so far.
    pub fn readings(&self) -> usize {
        self.order.len()
    }

    /// Appends a reading in the app's format; takes the values, whose keys must differ from each other. Gives the
    /// number of its shape, by which [`push_alike`](Self::push_alike) adds more of it.
    pub fn push_plain(&mut self, reading: Plain<'_>, values: &mut Vec<(Cow<'_, str>, Value)>) -> u32 {
        let index = self.block_of(&reading, values);
        let block = &mut self.blocks[index as usize];
        let first = block.times.is_empty();
        block.times.push(reading.time);
        if let Some(accuracy) = reading.accuracy {
            let value = Value::I64(accuracy);
            match &mut block.accuracy {
                Some(column) => column.push(value),
                none => *none = Some(Column::of(value)),
            }
        }
        if let Some(extras) = &mut block.extras {
            extras.push(Value::Object(reading.extra).to_json());
        }
        if first {
            block.columns = values.drain(..).map(|(_, value)| Column::of(value)).collect();
        } else {
            for (column, (_, value)) in block.columns.iter_mut().zip(values.drain(..)) {
                column.push(value);
            }
        }
        self.order.push(Some(index));
        index
    }

    /// Appends a reading of the same `shape` as an earlier one: same name, keys of `values` in the same order, as many,
    /// `accuracy` if that one had it, no unknown fields.
    pub fn push_alike(&mut self, shape: u32, time: i64, accuracy: Option<i64>, values: impl Iterator<Item = Value>) {
        let block = &mut self.blocks[shape as usize];
        block.times.push(time);
        if let (Some(column), Some(accuracy)) = (&mut block.accuracy, accuracy) {
            column.push(Value::I64(accuracy));
        }
        for (column, value) in block.columns.iter_mut().zip(values) {
            column.push(value);
        }
        if let Some(last) = self.last.replace(shape) {
            self.blocks[last as usize].follower = Some(shape);
        }
        self.order.push(Some(shape));
    }

    /// Appends a reading outside the app's format.
    pub fn push_odd(&mut self, reading: &Value) {
        self.odd.push(reading.to_json());
        self.order.push(None);
        self.last = None;
    }

    /// The names of its readings and their times so far; one name may come several times.
    pub fn sensors(&self) -> impl Iterator<Item = (&str, &[i64])> {
        self.blocks.iter().map(|block| (block.name.as_str(), block.times.as_slice()))
    }

    /// The columns, compressed.
    pub fn finish(self) -> Packed {
        let odd = self.blocks.len() as u32;
        let order: Vec<u32> = self.order.into_iter().map(|block| block.unwrap_or(odd)).collect();
        let readings = order.len() as u32;
        let extra = if self.extra.is_empty() { String::new() } else { Value::Object(self.extra).to_json() };
        let blocks = self.blocks.into_iter().map(Open::close).collect();
        Packed::compress(readings, &Body { extra, blocks, odd: self.odd, order })
    }

    fn block_of(&mut self, reading: &Plain<'_>, values: &[(Cow<'_, str>, Value)]) -> u32 {
        let guess = self.last.and_then(|last| self.blocks[last as usize].follower);
        let index = match guess {
            Some(guess) if self.blocks[guess as usize].fits(reading, values) => guess,
            _ => self.find_or_open(reading, values),
        };
        if let Some(last) = self.last.replace(index) {
            self.blocks[last as usize].follower = Some(index);
        }
        index
    }

    fn find_or_open(&mut self, reading: &Plain<'_>, values: &[(Cow<'_, str>, Value)]) -> u32 {
        let hash = shape_hash(reading, values);
        if let Some(&index) = self.by_shape.get(&hash)
            && self.blocks[index as usize].fits(reading, values)
        {
            return index;
        }
        let index = self.blocks.len() as u32;
        self.blocks.push(Open {
            name: reading.name.to_owned(),
            keys: values.iter().map(|(key, _)| key.clone().into_owned()).collect(),
            times: Vec::new(),
            accuracy: None,
            columns: Vec::new(),
            extras: (!reading.extra.is_empty()).then(Vec::new),
            follower: None,
        });
        self.by_shape.insert(hash, index);
        index
    }
}

impl Open {
    fn fits(&self, reading: &Plain<'_>, values: &[(Cow<'_, str>, Value)]) -> bool {
        self.name == reading.name
            && self.accuracy.is_some() == reading.accuracy.is_some()
            && self.extras.is_some() != reading.extra.is_empty()
            && self.keys.len() == values.len()
            && self.keys.iter().zip(values).all(|(mine, (theirs, _))| mine == theirs)
    }

    fn close(self) -> WireBlock {
        WireBlock {
            name: self.name,
            keys: self.keys,
            times: WireTimes::encode(&self.times),
            accuracy: self.accuracy.map(Column::encode),
            columns: self.columns.into_iter().map(Column::encode).collect(),
            extras: self.extras,
        }
    }
}

/// Two shapes with one hash get blocks of their own, only less well found again.
fn shape_hash(reading: &Plain<'_>, values: &[(Cow<'_, str>, Value)]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(reading.name.as_bytes());
    hasher.update(&[0xff, u8::from(reading.accuracy.is_some()), u8::from(reading.extra.is_empty())]);
    for (key, _) in values {
        hasher.update(key.as_bytes());
        hasher.update(&[0xff]);
    }
    hasher.digest()
}
