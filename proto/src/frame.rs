//! A message as columns: what the spool stores and MQTT carries.
//!
//! - Decoding gives back every value of the message; nothing is rounded.
//! - Readings of one shape (sensor, keys of `values`, presence of `accuracy` and unknown fields) share a block of
//!   columns; readings outside the app's format are kept as JSON; `order` tells how they were interleaved.
//! - A frame that claims more than [`limits`] allow is refused before memory is spent on it.
//! - What [`Packed::check`] lets pass, decoding takes: whatever it refuses is known before a push is answered.
//!
//! Version 1 on the wire: version byte, postcard of `Envelope` (header, sizes, zstd of postcard of `Body`), CRC32C. Golden
//! files in `proto/tests/golden` pin it.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::limits;
use crate::message::{Header, Message, PlainReading, Reading};
use crate::value::{Fields, Value, spelling};
use crate::wire::{VERSION, WireError, open, seal};

mod budget;
mod builder;
mod column;
mod records;
mod times;

pub use builder::{Builder, Plain};
use column::{Column, WireColumn};
use times::WireTimes;

/// zstd's fastest level: what is left after the column coding is mostly noise, and the Pi's cores are others' too.
const ZSTD_LEVEL: i32 = 1;

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// A decoded frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Who sent the message and when.
    pub header: Header,
    extra: Fields,
    blocks: Vec<Block>,
    odd: Vec<Value>,
    /// For each reading its block; `blocks.len()` stands for `odd`.
    order: Vec<u32>,
}

/// Readings of one shape.
#[derive(Debug, Clone, PartialEq)]
struct Block {
    name: String,
    keys: Vec<String>,
    times: Vec<i64>,
    accuracy: Option<Vec<i64>>,
    columns: Vec<Column>,
    extras: Option<Vec<Fields>>,
}

/// The columns of a message, compressed, without its header.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    readings: u32,
    decoded_len: u32,
    body: Vec<u8>,
    /// What [`Frame::decode`] finds of the columns once they are decompressed.
    within: Result<(), WireError>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    header: Header,
    readings: u32,
    decoded_len: u32,
    body: ByteBuf,
}

#[derive(Serialize, Deserialize)]
struct Body {
    /// JSON object, empty for none.
    extra: String,
    #[serde(deserialize_with = "budget::list")]
    blocks: Vec<WireBlock>,
    /// JSON texts.
    #[serde(deserialize_with = "budget::list")]
    odd: Vec<String>,
    #[serde(deserialize_with = "budget::list")]
    order: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct WireBlock {
    name: String,
    #[serde(deserialize_with = "budget::list")]
    keys: Vec<String>,
    times: WireTimes,
    accuracy: Option<WireColumn>,
    #[serde(deserialize_with = "budget::list")]
    columns: Vec<WireColumn>,
    /// JSON objects, one a reading.
    #[serde(deserialize_with = "budget::optional")]
    extras: Option<Vec<String>>,
}

impl Body {
    /// Refuses what no push within the limits can have said.
    fn check(&self) -> Result<(), WireError> {
        check("size of a frame in memory", self.elements(), budget::MOST)?;
        check("JSON in a frame", self.spelling(), limits::MAX_BODY)?;
        // What a block holds once stood in every row of it.
        let spread = self.blocks.iter().fold(0, |bytes: usize, block| bytes.saturating_add(block.spread()));
        check("size of a frame as readings", spread, limits::MAX_BODY)
    }

    /// What the elements of its lists take, bytes.
    fn elements(&self) -> usize {
        let blocks = self.blocks.iter().map(WireBlock::elements).sum::<usize>();
        size_of_val(self.blocks.as_slice())
            + blocks
            + size_of_val(self.odd.as_slice())
            + size_of_val(self.order.as_slice())
    }

    /// The fewest bytes that its JSON can have had in a push.
    fn spelling(&self) -> usize {
        let of = |texts: &[String], aside: usize| -> usize {
            texts.iter().map(|text| spelling(text).saturating_sub(aside)).sum()
        };
        let of_block = |block: &WireBlock| -> usize {
            // Unknown fields stood among the others, without braces.
            let extras = block.extras.as_ref().map_or(0, |extras| of(extras, 2));
            let json = |column: &WireColumn| if let WireColumn::Json(texts) = column { of(texts, 0) } else { 0 };
            extras + block.columns.iter().map(json).sum::<usize>()
        };
        of(std::slice::from_ref(&self.extra), 2) + of(&self.odd, 0) + self.blocks.iter().map(of_block).sum::<usize>()
    }
}

impl WireBlock {
    fn elements(&self) -> usize {
        let columns = self.columns.iter().chain(&self.accuracy).map(WireColumn::elements).sum::<usize>();
        let extras = self.extras.as_ref().map_or(0, |extras| size_of_val(extras.as_slice()));
        size_of_val(self.keys.as_slice()) + size_of_val(self.columns.as_slice()) + columns + extras
    }

    /// The fewest bytes that its rows can have had in a push, their values aside.
    fn spread(&self) -> usize {
        let row = self.keys.iter().fold(32 + self.name.len(), |bytes, key| bytes.saturating_add(key.len() + 4));
        row.saturating_mul(self.times.rows())
    }
}

impl Packed {
    /// How many readings it holds.
    pub fn readings(&self) -> u32 {
        self.readings
    }

    /// Whether [`Frame::decode`] will take it, under any header within the limits.
    pub fn check(&self) -> Result<(), WireError> {
        check("size of a frame", self.body.len(), limits::MAX_FRAME - 4 * limits::MAX_ID)?;
        Claims { decoded: self.decoded_len as usize, readings: self.readings as usize }.check()?;
        self.within.clone()
    }

    /// The whole frame under `header`, bytes.
    pub fn seal(&self, header: &Header) -> Vec<u8> {
        seal(&Envelope {
            header: header.clone(),
            readings: self.readings,
            decoded_len: self.decoded_len,
            body: ByteBuf::from(self.body.as_slice()),
        })
    }

    fn compress(readings: u32, body: &Body) -> Self {
        let within = body.check();
        let plain = postcard::to_stdvec(body).expect("postcard writes any value of our own types to a Vec");
        let body = COMPRESSOR.with_borrow_mut(|slot| {
            let compressor = match slot {
                Some(compressor) => compressor,
                None => slot.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("zstd has this level")),
            };
            compressor.compress(&plain).expect("zstd compresses any bytes into a buffer of its own bound")
        });
        Self { readings, decoded_len: plain.len() as u32, body, within }
    }
}

impl Frame {
    /// From the bytes of [`Packed::seal`]. Bounded in memory whatever the bytes are.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let envelope: Envelope = open(bytes)?;
        Claims { decoded: envelope.decoded_len as usize, readings: envelope.readings as usize }.check()?;
        check_ids(&envelope.header)?;
        let plain = zstd::bulk::decompress(&envelope.body, envelope.decoded_len as usize)
            .map_err(|_| WireError::Malformed("frame does not decompress"))?;
        let (body, rest) = budget::read::<Body>(&plain)?;
        if plain.len() != envelope.decoded_len as usize || !rest.is_empty() {
            return Err(WireError::Malformed("size of a frame"));
        }
        body.check()?;

        let frame = Self {
            header: envelope.header,
            extra: if body.extra.is_empty() { Fields::new() } else { fields(&body.extra)? },
            blocks: body.blocks.into_iter().map(Block::from_wire).collect::<Result<_, _>>()?,
            odd: body.odd.iter().map(|text| json(text)).collect::<Result<_, _>>()?,
            order: body.order,
        };
        frame.check_order(envelope.readings as usize)?;
        Ok(frame)
    }

    /// Who sent the message in `bytes`, without its readings.
    pub fn header_in(bytes: &[u8]) -> Result<Header, WireError> {
        open::<Envelope>(bytes).map(|envelope| envelope.header)
    }

    /// The frame in `bytes` with a header that tells no message id.
    pub fn without_id(bytes: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut envelope: Envelope = open(bytes)?;
        envelope.header.message_id = None;
        Ok(seal(&envelope))
    }

    fn check_order(&self, readings: usize) -> Result<(), WireError> {
        let mut counts = vec![0_usize; self.blocks.len() + 1];
        for &block in &self.order {
            *counts.get_mut(block as usize).ok_or(WireError::Malformed("order of readings"))? += 1;
        }
        let sizes = self.blocks.iter().map(|b| b.times.len()).chain([self.odd.len()]);
        if self.order.len() != readings || !counts.into_iter().eq(sizes) {
            return Err(WireError::Malformed("order of readings"));
        }
        Ok(())
    }

    /// How many readings it holds.
    pub fn readings(&self) -> usize {
        self.order.len()
    }

    /// The message, row by row.
    pub fn to_message(&self) -> Message {
        let readings = self.walk().map(|(block, row)| match block {
            Some(block) => Reading::Plain(block.reading(row)),
            None => Reading::Odd(self.odd[row].clone()),
        });
        Message { header: self.header.clone(), extra: self.extra.clone(), readings: readings.collect() }
    }

    /// For each reading in order its block (none for an odd one) and its row there.
    fn walk(&self) -> impl Iterator<Item = (Option<&Block>, usize)> {
        let mut cursors = vec![0_usize; self.blocks.len() + 1];
        self.order.iter().map(move |&block| {
            let row = cursors[block as usize];
            cursors[block as usize] += 1;
            (self.blocks.get(block as usize), row)
        })
    }
}

impl Block {
    fn from_wire(wire: WireBlock) -> Result<Self, WireError> {
        let times = wire.times.decode()?;
        let rows = times.len();
        if rows == 0 || wire.columns.len() != wire.keys.len() {
            return Err(WireError::Malformed("shape of a block"));
        }
        let accuracy = match wire.accuracy.map(|column| column.decode(rows)).transpose()? {
            Some(Column::Int(values)) => Some(values),
            Some(_) => return Err(WireError::Malformed("accuracy column")),
            None => None,
        };
        let extras: Option<Vec<Fields>> =
            wire.extras.map(|texts| texts.iter().map(|t| fields(t)).collect()).transpose()?;
        if extras.as_ref().is_some_and(|e| e.len() != rows) {
            return Err(WireError::Malformed("shape of a block"));
        }
        let columns = wire.columns.into_iter().map(|c| c.decode(rows)).collect::<Result<_, _>>()?;
        Ok(Self { name: wire.name, keys: wire.keys, times, accuracy, columns, extras })
    }

    fn values(&self, row: usize) -> Fields {
        self.keys.iter().zip(&self.columns).map(|(key, column)| (key.clone(), column.value(row))).collect()
    }

    fn reading(&self, row: usize) -> PlainReading {
        PlainReading {
            name: self.name.clone(),
            time: self.times[row],
            accuracy: self.accuracy.as_ref().map(|a| a[row]),
            values: self.values(row),
            extra: self.extras.as_ref().map_or_else(Fields::new, |e| e[row].clone()),
        }
    }
}

fn check(what: &'static str, size: usize, limit: usize) -> Result<(), WireError> {
    if size > limit { Err(WireError::TooLarge { what, limit }) } else { Ok(()) }
}

fn check_ids(header: &Header) -> Result<(), WireError> {
    let Header { device, session, user, .. } = header;
    let mut ids = [Some(device), Some(session), user.as_ref()].into_iter().flatten();
    ids.try_for_each(|id| check("length of an id", id.len(), limits::MAX_ID))
}

fn json(text: &str) -> Result<Value, WireError> {
    serde_json::from_str(text).map_err(|_| WireError::Malformed("nested value"))
}

fn fields(text: &str) -> Result<Fields, WireError> {
    serde_json::from_str(text).map_err(|_| WireError::Malformed("unknown fields"))
}

/// What a frame says of its size, before anything is decompressed. [`Frame::decode`] refuses a frame that holds more
/// bytes than it claims, and one that holds another number of readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// Bytes of the columns once decompressed.
    pub decoded: usize,
    /// Readings.
    pub readings: usize,
}

impl Claims {
    /// Of the bytes of [`Packed::seal`]. The checksum is left to [`Frame::decode`].
    pub fn read(bytes: &[u8]) -> Result<Self, WireError> {
        type HeaderParts<'a> = (&'a str, &'a str, Option<&'a str>, Option<u64>, i64, bool);
        let Some((&VERSION, body)) = bytes.split_first() else { return Err(WireError::Malformed("version")) };
        let ((_, readings, decoded), _) = postcard::take_from_bytes::<(HeaderParts<'_>, u32, u32)>(body)
            .map_err(|_| WireError::Malformed("body does not parse"))?;
        let claims = Self { decoded: decoded as usize, readings: readings as usize };
        claims.check()?;
        Ok(claims)
    }

    fn check(self) -> Result<(), WireError> {
        check("size of a frame", self.decoded, limits::MAX_FRAME_DECODED)?;
        check("number of readings in a frame", self.readings, limits::MAX_READINGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of these columns, as somebody may write it who has the agent's password.
    fn frame(columns: &[u8]) -> Vec<u8> {
        let header = Header {
            device: "d".to_owned(),
            session: "s".to_owned(),
            user: None,
            message_id: None,
            received_at: 0,
            clock_synced: false,
        };
        let body = ByteBuf::from(zstd::bulk::compress(columns, 1).unwrap());
        seal(&Envelope { header, readings: 0, decoded_len: columns.len() as u32, body })
    }

    fn claiming(before: &[u8], elements: usize, bytes_each: usize) -> Vec<u8> {
        let mut columns = postcard::to_extend(&elements, before.to_vec()).unwrap();
        columns.resize(columns.len() + elements * bytes_each + 2, 0);
        columns
    }

    #[test]
    fn lists_larger_than_any_push_makes_them_are_refused_before_they_take_memory() {
        let refused = Err(WireError::Malformed("columns do not parse"));
        let texts = budget::MOST / size_of::<String>() + 1;
        let blocks = budget::MOST / size_of::<WireBlock>() + 1;
        // No unknown fields, no blocks, then texts; no unknown fields, then blocks.
        for columns in [claiming(&[0, 0], texts, 1), claiming(&[0], blocks, 9), claiming(&[0, 0], 1 << 40, 0)] {
            assert_eq!(Frame::decode(&frame(&columns)).map(|frame| frame.readings()), refused);
        }
    }
}
