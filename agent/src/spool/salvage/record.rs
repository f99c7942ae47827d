//! Records of SQLite, read without SQLite. Format: <https://www.sqlite.org/fileformat2.html#record_format>

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A number.
    Int(i64),
    /// A number that is not whole.
    Real(f64),
    /// Bytes.
    Blob(&'a [u8]),
    /// Text.
    Text(&'a str),
}

/// Most columns of a table that a spool has, and some more.
const MAX_COLUMNS: usize = 32;

/// A variable-length integer at the front of `bytes`, and how many bytes it takes.
pub fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().enumerate().take(9) {
        if index == 8 {
            return Some(((value << 8) | u64::from(byte), 9));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// The columns of a record; none if it is not a record from its first byte to its last.
pub fn columns(payload: &[u8]) -> Option<Vec<Value<'_>>> {
    let (header_size, mut at) = varint(payload)?;
    let header = payload.get(..usize::try_from(header_size).ok()?)?;
    let mut body = payload.get(header.len()..)?;
    let mut columns = Vec::new();
    while at < header.len() {
        let (kind, size) = varint(&header[at..])?;
        at += size;
        if columns.len() == MAX_COLUMNS {
            return None;
        }
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            kind => usize::try_from((kind - 12) / 2).ok()?,
        };
        let (bytes, rest) = body.split_at_checked(length)?;
        body = rest;
        columns.push(match kind {
            0 => Value::Null,
            1..=6 => Value::Int(integer(bytes)),
            7 => Value::Real(f64::from_bits(integer(bytes) as u64)),
            8 => Value::Int(0),
            9 => Value::Int(1),
            kind if kind % 2 == 0 => Value::Blob(bytes),
            _ => Value::Text(std::str::from_utf8(bytes).ok()?),
        });
    }
    (at == header.len() && body.is_empty()).then_some(columns)
}

/// Big-endian two's complement of 1 to 8 bytes.
fn integer(bytes: &[u8]) -> i64 {
    let first = bytes.first().map_or(0, |first| i64::from(first.cast_signed()));
    bytes.iter().skip(1).fold(first, |value, byte| (value << 8) | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_is_read_column_by_column() {
        let payload = [6, 0, 1, 9, 15, 14, 0xfe, b'x', 7];
        let expected = [Value::Null, Value::Int(-2), Value::Int(1), Value::Text("x"), Value::Blob(&[7])];
        assert_eq!(columns(&payload).unwrap(), expected);
        assert_eq!(columns(&payload[..8]), None, "cut short");
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x80; 8]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            columns(&bytes);
            varint(&bytes);
        }
    }
}
