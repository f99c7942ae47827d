//! Whether the agent at the other end of a connection that is taken over is alive.
//!
//! - Only its PUBACK tells: to a message that was sent after the newer connection had come, from end to end.
//! - The answer is there within two seconds, whatever the other end does.
//! - Whatever else it sends meanwhile is dropped without an acknowledgement: it has it still.

use std::time::Duration;

use gaitway_proto::envelope::Down;
use gaitway_proto::topic::{self, AgentId};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::packets::Expect;
use super::wire::Wire;

const WITHIN: Duration = Duration::from_secs(2);

/// Any will do: nothing else that the relay sends is to be acknowledged.
const PACKET_ID: u16 = 1;

/// Asks `agent`, which subscribed to its words, for a sign of life.
pub(super) async fn is_alive<S>(wire: &mut Wire<S>, agent: &AgentId) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Agents ignore words for sessions other than theirs.
    let word = Down::HelloAgain { session: 0 }.encode();
    let mut probe = Publish::new(topic::down(agent), QoS::AtLeastOnce, word);
    probe.pkid = PACKET_ID;
    wire.put(&Packet::Publish(probe));
    timeout(WITHIN, is_answered(wire)).await.unwrap_or(false)
}

async fn is_answered<S>(wire: &mut Wire<S>) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if wire.flush().await.is_err() {
        return false;
    }
    loop {
        match wire.packet(Expect::Probed) {
            Ok(Some(Packet::PubAck(ack))) if ack.pkid == PACKET_ID => return true,
            Ok(Some(Packet::Disconnect)) | Err(_) => return false,
            Ok(Some(_)) => {}
            Ok(None) => {
                if !wire.fill().await.unwrap_or(false) {
                    return false;
                }
            }
        }
    }
}
