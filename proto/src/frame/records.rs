//! From columns to records.

use std::borrow::Cow;

use super::{Block, Frame};
use crate::record::{Body, Origin, Raw, Record};
use crate::value::{Fields, Value};

/// Where the columns x, y, z of a block stand.
type Axes = [Option<usize>; 3];

impl Frame {
    /// Appends one record a reading, in order.
    ///
    /// `reading` is absent where the columns say it all; else it holds `values` unless they are exactly three numbers
    /// x y z, and the unknown fields. Of a reading outside the app's format it is the whole original, under the key
    /// `original` if that is no object. Unknown fields of the message stand in the first reading's, under `message`.
    pub fn records<'a>(&'a self, origin: Origin<'a>, out: &mut Vec<Record<'a>>) {
        let axes: Vec<Axes> = self.blocks.iter().map(Block::axes).collect();
        out.reserve(self.readings());
        for (index, (&place, (block, row))) in self.order.iter().zip(self.walk()).enumerate() {
            let mut raw = match block {
                Some(block) => self.plain(block, row, axes[place as usize]),
                None => self.odd(&self.odd[row]),
            };
            if index == 0 && !self.extra.is_empty() {
                let kept = match block {
                    Some(block) => block.kept(row, axes[place as usize]),
                    None => Some(as_object(&self.odd[row])),
                };
                raw.reading = Some(Cow::Owned(self.with_message_fields(kept.unwrap_or_default())));
            }
            raw.reading_index = index as u32;
            let metadata = origin.metadata(index as u32, Some(self.header.clock_synced));
            out.push(Record { metadata, body: Body::Raw(raw) });
        }
    }

    fn raw(&self) -> Raw<'_> {
        Raw {
            message_id: self.header.message_id,
            session: &self.header.session,
            device: &self.header.device,
            sensor: None,
            xyz: [None; 3],
            accuracy: None,
            timestamp: None,
            reading: None,
            reading_index: 0,
            user: self.header.user.as_deref(),
            received_at: self.header.received_at,
        }
    }

    fn plain<'a>(&'a self, block: &'a Block, row: usize, axes: Axes) -> Raw<'a> {
        Raw {
            sensor: Some(&block.name),
            xyz: axes.map(|axis| axis.and_then(|column| block.columns[column].number(row))),
            accuracy: block.accuracy.as_ref().map(|a| a[row]),
            timestamp: Some(block.times[row]),
            reading: block.kept(row, axes).map(|fields| Cow::Owned(Value::Object(fields).to_json())),
            ..self.raw()
        }
    }

    fn odd<'a>(&'a self, original: &'a Value) -> Raw<'a> {
        let empty = Fields::new();
        let (fields, reading) = match original {
            Value::Object(fields) => (fields, original.to_json()),
            other => (&empty, format!("{{\"original\":{}}}", other.to_json())),
        };
        let axis = |key: &str| match fields.get("values") {
            Some(Value::Object(values)) => values.get(key).and_then(Value::as_number),
            _ => None,
        };
        let sensor = match original {
            Value::Object(fields) => fields.get("name"),
            _ => None,
        };
        Raw {
            sensor: sensor.and_then(|name| if let Value::Text(name) = name { Some(name.as_str()) } else { None }),
            xyz: ["x", "y", "z"].map(axis),
            accuracy: fields.get("accuracy").and_then(Value::as_integer),
            timestamp: fields.get("time").and_then(Value::as_integer),
            reading: Some(Cow::Owned(reading)),
            ..self.raw()
        }
    }

    fn with_message_fields(&self, mut fields: Fields) -> String {
        let mut key = "message".to_owned();
        while fields.contains_key(&key) {
            key.push('_');
        }
        fields.insert(key, Value::Object(self.extra.clone()));
        Value::Object(fields).to_json()
    }
}

fn as_object(original: &Value) -> Fields {
    match original {
        Value::Object(fields) => fields.clone(),
        other => [("original".to_owned(), other.clone())].into(),
    }
}

impl Block {
    /// What the columns of a record do not say.
    fn kept(&self, row: usize, axes: Axes) -> Option<Fields> {
        let all_in_columns = self.keys.len() == 3
            && axes.iter().all(|axis| axis.is_some_and(|column| self.columns[column].is_number(row)));
        let extra = self.extras.as_ref().map(|extras| &extras[row]);
        if all_in_columns {
            return extra.cloned();
        }
        let mut fields = extra.cloned().unwrap_or_default();
        fields.insert("values".to_owned(), Value::Object(self.values(row)));
        Some(fields)
    }

    fn axes(&self) -> Axes {
        ["x", "y", "z"].map(|axis| self.keys.iter().position(|key| key == axis))
    }
}
