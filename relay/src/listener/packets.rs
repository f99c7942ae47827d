//! From bytes to packets, strictly: what agents have no use for is not read at all.
//!
//! - Nothing is read beyond the limit of its packet type; only PUBLISH may be large.
//! - No sequence of bytes panics.

use bytes::BytesMut;
use gaitway_proto::limits;
use rumqttc::mqttbytes::Error;
use rumqttc::mqttbytes::v4::Packet;

/// Greatest packet other than PUBLISH, bytes after its fixed header.
const MAX_SMALL: usize = 1024;

const CONNECT: u8 = 0x10;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const PINGREQ: u8 = 0xc0;
const DISCONNECT: u8 = 0xe0;
const PUBLISH_TYPE: u8 = 0x30;

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// CONNECT and nothing else.
    Connect,
    /// Whatever an agent says once connected.
    Session,
    /// That, and PUBACK: something was sent that is to be acknowledged.
    Probed,
}

/// What the buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A packet, now taken out of the buffer.
    Packet(Packet),
    /// Not yet a whole packet: at least this many bytes more.
    Partial(usize),
}

/// Why the bytes are no packet that an agent sends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    /// A type or flags that have no place here.
    #[error("unexpected packet, first byte {0:#04x}")]
    Unexpected(u8),
    /// Above its limit.
    #[error("packet of {0} bytes is too large")]
    TooLarge(usize),
    /// Another MQTT.
    #[error("not MQTT 3.1.1")]
    Protocol,
    /// Not MQTT at all.
    #[error("malformed packet: {0}")]
    Malformed(Error),
}

/// Takes the next packet out of `buffer`.
pub(super) fn read(buffer: &mut BytesMut, expect: Expect) -> Result<Read, Violation> {
    let Some(&first) = buffer.first() else { return Ok(Read::Partial(2)) };
    let limit = match expect {
        Expect::Connect if first == CONNECT => MAX_SMALL,
        Expect::Session | Expect::Probed if first & 0xf0 == PUBLISH_TYPE => limits::MAX_PACKET,
        Expect::Session | Expect::Probed if [SUBSCRIBE, PINGREQ, DISCONNECT].contains(&first) => MAX_SMALL,
        Expect::Probed if first == PUBACK => MAX_SMALL,
        _ => return Err(Violation::Unexpected(first)),
    };
    match Packet::read(buffer, limit) {
        Ok(packet) => Ok(Read::Packet(packet)),
        Err(Error::InsufficientBytes(more)) => Ok(Read::Partial(more)),
        Err(Error::PayloadSizeLimitExceeded(size)) => Err(Violation::TooLarge(size)),
        Err(Error::InvalidProtocol | Error::InvalidProtocolLevel(_)) => Err(Violation::Protocol),
        Err(error) => Err(Violation::Malformed(error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_limit_of_its_packet_type() {
        let header = |first: u8, length: [u8; 4]| BytesMut::from(&[&[first][..], &length].concat()[..]);
        let eight_kib = [0x80, 0x40, 0, 0];
        for small in [SUBSCRIBE, PINGREQ, DISCONNECT] {
            let read = read(&mut header(small, eight_kib), Expect::Session);
            assert!(matches!(read, Err(Violation::TooLarge(8192))), "{small:#x}: {read:?}");
        }
        assert!(matches!(read(&mut header(CONNECT, eight_kib), Expect::Connect), Err(Violation::TooLarge(8192))));
        assert!(matches!(read(&mut header(0x32, eight_kib), Expect::Session), Ok(Read::Partial(8190))));
        let most = [0xff, 0xff, 0xff, 0x7f];
        assert!(matches!(read(&mut header(0x32, most), Expect::Session), Err(Violation::TooLarge(_))));
    }

    #[test]
    fn connect_comes_first_and_once() {
        let ping = || BytesMut::from(&[PINGREQ, 0][..]);
        let connect = || BytesMut::from(&[CONNECT, 0][..]);
        assert!(matches!(read(&mut ping(), Expect::Connect), Err(Violation::Unexpected(PINGREQ))));
        assert!(matches!(read(&mut connect(), Expect::Session), Err(Violation::Unexpected(CONNECT))));
        assert_eq!(read(&mut ping(), Expect::Session).unwrap(), Read::Packet(Packet::PingReq));
    }

    #[test]
    fn puback_comes_only_where_something_is_to_be_acknowledged() {
        let ack = || BytesMut::from(&[PUBACK, 2, 0, 1][..]);
        assert!(matches!(read(&mut ack(), Expect::Session), Err(Violation::Unexpected(PUBACK))));
        assert!(matches!(read(&mut ack(), Expect::Probed), Ok(Read::Packet(Packet::PubAck(ack))) if ack.pkid == 1));
    }

    proptest! {
        #[test]
        fn no_sequence_of_bytes_panics(
            first in prop::sample::select(vec![CONNECT, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT, 0x30, 0x32, 0x3d, 0]),
            rest in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            // The length fits the bytes, so that the bodies are read too.
            let whole = [&[first, rest.len() as u8][..], &rest].concat();
            let torn = [&[first][..], &rest].concat();
            for bytes in [whole, torn] {
                for expect in [Expect::Connect, Expect::Session, Expect::Probed] {
                    let mut buffer = BytesMut::from(&bytes[..]);
                    while let Ok(Read::Packet(_)) = read(&mut buffer, expect) {}
                }
            }
        }
    }
}
