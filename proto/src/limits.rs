//! The one table of sizes. What could not pass a later hop is refused with 413 at the first.

/// Greatest decoded HTTP body of a push, bytes.
pub const MAX_BODY: usize = 8 * 1024 * 1024;

/// Deepest nesting of JSON in a push body.
pub const MAX_DEPTH: usize = 64;

/// Most values nested in one field of a push body: in memory each takes many times its two bytes of JSON.
pub const MAX_NESTED: usize = MAX_BODY / 32;

/// Longest `deviceId`, `sessionId` or `userId`, bytes.
pub const MAX_ID: usize = 256;

/// Greatest encoded frame, bytes. Columns of incompressible text stay below their JSON plus framing.
pub const MAX_FRAME: usize = MAX_BODY + 256 * 1024;

/// Greatest frame body once decompressed, bytes. Short texts cost a little more as columns than as JSON.
pub const MAX_FRAME_DECODED: usize = 4 * MAX_BODY;

/// Most readings in one frame: as many as the shortest of the app's format, `{"name":"","time":0,"values":{}},`, fill a
/// body. Each becomes a row, so that a body of shorter elements would cost the warehouse far more than its bytes.
pub const MAX_READINGS: usize = MAX_BODY / 33;

/// Greatest payload of an MQTT publish, bytes: one frame and the batch around it.
pub const MAX_PAYLOAD: usize = MAX_FRAME + 4 * 1024;

/// Greatest MQTT packet, bytes: a payload, its topic and headers.
pub const MAX_PACKET: usize = MAX_PAYLOAD + 1024;

/// Greatest record value on Kafka and row of an append to Snowflake, bytes of JSON: Snowflake's limit is 4 MB
/// an append; the rest is left to keys and headers.
pub const MAX_RECORD: usize = 4_000_000 - 64 * 1024;

/// Greatest unknown fields of a push beside its payload, bytes of JSON as they are kept: they travel in its first record.
pub const MAX_MESSAGE_FIELDS: usize = 256 * 1024;

/// Greatest reading as its record spells it, bytes of JSON; the rest of [`MAX_RECORD`] is for the message's own fields, and for ids, times
/// and keys, of which each id takes at most six times [`MAX_ID`].
pub const MAX_READING: usize = MAX_RECORD - MAX_MESSAGE_FIELDS - 16 * 1024;

/// Bytes of batches that an agent aims at in one publish; a larger frame goes alone.
pub const BATCH_TARGET: usize = 128 * 1024;

/// Most (epoch, stream) pairs in a hello.
pub const MAX_HELLO_STREAMS: usize = 512;

/// Most earlier starts that a hello names.
pub const MAX_ANCESTORS: usize = 64;

/// Most items in one batch.
pub const MAX_BATCH_ITEMS: usize = 4096;

/// Longest name of an agent's software in a hello, bytes.
pub const MAX_SOFTWARE: usize = 128;

// What one hop takes, the next can carry.
const _: () = {
    assert!(MAX_BODY <= MAX_FRAME && MAX_FRAME <= MAX_FRAME_DECODED, "the greatest body makes a frame");
    assert!(MAX_FRAME < MAX_PAYLOAD && MAX_PAYLOAD < MAX_PACKET, "the greatest frame fits into a packet");
    assert!(MAX_PACKET < 1 << 28, "MQTT's remaining length ends at 256 MiB");
    assert!(MAX_READINGS < u32::MAX as usize, "readings are counted in a u32");
    assert!(BATCH_TARGET < MAX_PAYLOAD, "a batch of small frames fits where one great frame does");
};
