//! Records that no well-behaved client writes: a batch is made of bytes, and sent over a socket.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// `Produce`, the oldest version that brokers still take; see `ProduceRequest.json` of Kafka.
const PRODUCE: (i16, i16) = (0, 3);

fn varint(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn sized(bytes: &mut Vec<u8>, content: &[u8]) {
    varint(bytes, content.len() as i64);
    bytes.extend_from_slice(content);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as i16).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// A batch of one record without a key; see `DefaultRecordBatch` and `DefaultRecord` of Kafka.
fn batch(value: &[u8], header: (&[u8], &[u8])) -> Vec<u8> {
    let mut record = vec![0, 0, 0];
    varint(&mut record, -1);
    sized(&mut record, value);
    varint(&mut record, 1);
    sized(&mut record, header.0);
    sized(&mut record, header.1);
    let mut summed = Vec::new();
    summed.extend_from_slice(&[0; 2 + 4]);
    let now = gaitway_service::clock::now_micros() / 1_000;
    summed.extend_from_slice(&now.to_be_bytes());
    summed.extend_from_slice(&now.to_be_bytes());
    // No producer's id, epoch or sequence.
    summed.extend_from_slice(&[0xff; 8 + 2 + 4]);
    summed.extend_from_slice(&1_i32.to_be_bytes());
    sized(&mut summed, &record);
    let mut batch = 0_i64.to_be_bytes().to_vec();
    batch.extend_from_slice(&(summed.len() as i32 + 4 + 1 + 4).to_be_bytes());
    batch.extend_from_slice(&(-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend_from_slice(&crc32c::crc32c(&summed).to_be_bytes());
    batch.extend_from_slice(&summed);
    batch
}

/// Writes a record whose one header has any bytes for a name.
pub(crate) fn write(broker: &str, topic: &str, partition: i32, value: &[u8], header: (&[u8], &[u8])) {
    let records = batch(value, header);
    let mut request = Vec::new();
    request.extend_from_slice(&PRODUCE.0.to_be_bytes());
    request.extend_from_slice(&PRODUCE.1.to_be_bytes());
    request.extend_from_slice(&7_i32.to_be_bytes());
    text(&mut request, "test");
    request.extend_from_slice(&(-1_i16).to_be_bytes());
    request.extend_from_slice(&(-1_i16).to_be_bytes());
    request.extend_from_slice(&30_000_i32.to_be_bytes());
    request.extend_from_slice(&1_i32.to_be_bytes());
    text(&mut request, topic);
    request.extend_from_slice(&1_i32.to_be_bytes());
    request.extend_from_slice(&partition.to_be_bytes());
    request.extend_from_slice(&(records.len() as i32).to_be_bytes());
    request.extend_from_slice(&records);
    let mut socket = TcpStream::connect(broker).unwrap();
    socket.write_all(&(request.len() as i32).to_be_bytes()).unwrap();
    socket.write_all(&request).unwrap();
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).unwrap();
    // Correlation, one topic, its name, one partition, its number; then the error.
    let error = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[error..error + 2], [0, 0], "the broker takes the record: {answer:?}");
}
