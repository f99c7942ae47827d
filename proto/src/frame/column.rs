//! One field of all readings of a block, in the narrowest form that gives back every bit.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::budget;
use super::times::{count_varints, push_varint, read_varints};
use crate::value::Value;
use crate::wire::WireError;

/// iOS gives acceleration as an f32 in g, multiplied in f64.
const STANDARD_GRAVITY: f64 = 9.80665;

/// Integers up to this magnitude are exact as f64.
const EXACT_INT: u64 = 1 << 53;

const LENGTH: WireError = WireError::Malformed("length of a column");

/// A column as stored. Floats are split into byte planes, the first holding the first (little endian) byte of every
/// value: signs and exponents then lie together, where zstd finds them alike. `ints` are the rows, ascending, that were
/// written as integers among floats.
#[derive(Serialize, Deserialize)]
pub(super) enum WireColumn {
    Null,
    F32 {
        #[serde(deserialize_with = "budget::list")]
        ints: Vec<u32>,
        planes: ByteBuf,
    },
    F32Gravity {
        #[serde(deserialize_with = "budget::list")]
        ints: Vec<u32>,
        planes: ByteBuf,
    },
    F64 {
        #[serde(deserialize_with = "budget::list")]
        ints: Vec<u32>,
        planes: ByteBuf,
    },
    /// Zigzag LEB128.
    Int(ByteBuf),
    Bool(ByteBuf),
    Text(#[serde(deserialize_with = "budget::list")] Vec<String>),
    /// JSON texts.
    Json(#[serde(deserialize_with = "budget::list")] Vec<String>),
}

/// A column in memory.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Column {
    Null(usize),
    Float { values: Vec<f64>, ints: Vec<u32> },
    Int(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
    Mixed(Vec<Value>),
}

impl Column {
    /// A column of one row.
    pub(super) fn of(value: Value) -> Self {
        match value {
            Value::Null => Self::Null(1),
            Value::F64(v) => Self::Float { values: vec![v], ints: Vec::new() },
            Value::I64(v) => Self::Int(vec![v]),
            Value::Bool(v) => Self::Bool(vec![v]),
            Value::Text(v) => Self::Text(vec![v]),
            other => Self::Mixed(vec![other]),
        }
    }

    pub(super) fn push(&mut self, value: Value) {
        match (&mut *self, value) {
            (Self::Float { values, .. }, Value::F64(v)) => values.push(v),
            (Self::Float { values, ints }, Value::I64(v)) if v.unsigned_abs() <= EXACT_INT => {
                ints.push(values.len() as u32);
                values.push(v as f64);
            }
            (Self::Int(values), Value::I64(v)) => values.push(v),
            (Self::Int(ints), Value::F64(v)) if ints.iter().all(|i| i.unsigned_abs() <= EXACT_INT) => {
                let mut values: Vec<f64> = ints.iter().map(|&i| i as f64).collect();
                let ints = (0..values.len() as u32).collect();
                values.push(v);
                *self = Self::Float { values, ints };
            }
            (Self::Bool(values), Value::Bool(v)) => values.push(v),
            (Self::Text(values), Value::Text(v)) => values.push(v),
            (Self::Null(rows), Value::Null) => *rows += 1,
            (Self::Mixed(values), v) => values.push(v),
            (_, v) => {
                let mut values: Vec<Value> = (0..self.len()).map(|row| self.value(row)).collect();
                values.push(v);
                *self = Self::Mixed(values);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Null(rows) => *rows,
            Self::Float { values, .. } => values.len(),
            Self::Int(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Mixed(values) => values.len(),
        }
    }

    pub(super) fn value(&self, row: usize) -> Value {
        match self {
            Self::Null(_) => Value::Null,
            Self::Float { values, ints } if ints.binary_search(&(row as u32)).is_ok() => Value::I64(values[row] as i64),
            Self::Float { values, .. } => Value::F64(values[row]),
            Self::Int(values) => Value::I64(values[row]),
            Self::Bool(values) => Value::Bool(values[row]),
            Self::Text(values) => Value::Text(values[row].clone()),
            Self::Mixed(values) => values[row].clone(),
        }
    }

    /// The value as a finite number: numbers, and strings that spell one.
    pub(super) fn number(&self, row: usize) -> Option<f64> {
        match self {
            Self::Float { values, .. } => Some(values[row]),
            Self::Int(values) => Some(values[row] as f64),
            Self::Null(_) | Self::Bool(_) => None,
            Self::Text(_) | Self::Mixed(_) => self.value(row).as_number(),
        }
    }

    /// Whether the value was written as a JSON number.
    pub(super) fn is_number(&self, row: usize) -> bool {
        match self {
            Self::Float { .. } | Self::Int(_) => true,
            Self::Mixed(values) => values[row].is_number(),
            Self::Null(_) | Self::Bool(_) | Self::Text(_) => false,
        }
    }

    pub(super) fn encode(self) -> WireColumn {
        match self {
            Self::Null(_) => WireColumn::Null,
            Self::Float { values, ints } => encode_floats(&values, ints),
            Self::Int(values) => WireColumn::Int(ByteBuf::from(values.iter().fold(Vec::new(), |mut out, &v| {
                push_varint(&mut out, v);
                out
            }))),
            Self::Bool(values) => WireColumn::Bool(values.into_iter().map(u8::from).collect::<Vec<_>>().into()),
            Self::Text(values) => WireColumn::Text(values),
            Self::Mixed(values) => WireColumn::Json(values.iter().map(Value::to_json).collect()),
        }
    }
}

impl WireColumn {
    /// What the elements of its lists take, bytes.
    pub(super) fn elements(&self) -> usize {
        match self {
            Self::F32 { ints, .. } | Self::F32Gravity { ints, .. } | Self::F64 { ints, .. } => {
                size_of_val(ints.as_slice())
            }
            Self::Text(texts) | Self::Json(texts) => size_of_val(texts.as_slice()),
            Self::Null | Self::Int(_) | Self::Bool(_) => 0,
        }
    }

    pub(super) fn decode(self, rows: usize) -> Result<Column, WireError> {
        let column = match self {
            Self::Null => Column::Null(rows),
            Self::F32 { ints, planes } => {
                Column::Float { values: join(&planes, |b| f64::from(f32::from_le_bytes(b))), ints }
            }
            Self::F32Gravity { ints, planes } => {
                Column::Float { values: join(&planes, |b| f64::from(f32::from_le_bytes(b)) * STANDARD_GRAVITY), ints }
            }
            Self::F64 { ints, planes } => Column::Float { values: join(&planes, f64::from_le_bytes), ints },
            // Counted first: eight bytes are made of each.
            Self::Int(bytes) if count_varints(&bytes) != rows => return Err(LENGTH),
            Self::Int(bytes) => Column::Int(read_varints(&bytes)?),
            Self::Bool(bytes) => Column::Bool(bytes.iter().map(|&b| b != 0).collect()),
            Self::Text(values) => Column::Text(values),
            Self::Json(texts) => Column::Mixed(texts.iter().map(|t| super::json(t)).collect::<Result<_, _>>()?),
        };
        if let Column::Float { values, ints } = &column {
            let ascending = ints.windows(2).all(|pair| pair[0] < pair[1]);
            let exact =
                |&row: &u32| values.get(row as usize).is_some_and(|v| v.fract() == 0.0 && v.abs() <= EXACT_INT as f64);
            if !ascending || !ints.iter().all(exact) || !values.iter().all(|v| v.is_finite()) {
                return Err(WireError::Malformed("number column"));
            }
        }
        if column.len() == rows { Ok(column) } else { Err(LENGTH) }
    }
}

fn encode_floats(values: &[f64], ints: Vec<u32>) -> WireColumn {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    if values.iter().all(|&v| same(f64::from(v as f32), v)) {
        return WireColumn::F32 { ints, planes: split(values, |v| (v as f32).to_le_bytes()) };
    }
    let in_g = |v: f64| (v / STANDARD_GRAVITY) as f32;
    if values.iter().all(|&v| same(f64::from(in_g(v)) * STANDARD_GRAVITY, v)) {
        return WireColumn::F32Gravity { ints, planes: split(values, |v| in_g(v).to_le_bytes()) };
    }
    WireColumn::F64 { ints, planes: split(values, f64::to_le_bytes) }
}

fn split<const N: usize>(values: &[f64], bytes: impl Fn(f64) -> [u8; N]) -> ByteBuf {
    let rows = values.len();
    let mut planes = vec![0; N * rows];
    for (row, &value) in values.iter().enumerate() {
        for (plane, byte) in bytes(value).into_iter().enumerate() {
            planes[plane * rows + row] = byte;
        }
    }
    planes.into()
}

/// Bytes that do not fill all planes are left over; the length check of the caller refuses the column then.
fn join<const N: usize>(planes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let rows = planes.len() / N;
    (0..rows).map(|row| value(std::array::from_fn(|plane| planes[plane * rows + row]))).collect()
}
