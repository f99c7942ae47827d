//! One MQTT connection, from CONNECT to its end. It is never mended: what was under way is in the spool.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use gaitway_proto::envelope::Down;
use gaitway_proto::limits::MAX_PACKET;
use gaitway_proto::topic::{self, AgentId, Up};
use gaitway_service::broker::{self, AccessError};
use gaitway_service::secret::Secret;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing, Packet,
    QoS, StateError, SubscribeReasonCode, TlsConfiguration, Transport, mqttbytes,
};

use crate::identity::{Route, Security, explain};
use crate::uplink::UplinkConfig;
use crate::uplink::session::BatchId;

const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Publishes not yet confirmed by a PUBACK. The session keeps far fewer under way.
const INFLIGHT: u16 = 64;

/// Publishes not yet taken by the event loop: two batches and the hellos of a stalled link.
const REQUESTS: usize = 16;

/// The socket's own buffer: small, so that a batch the socket has taken is soon on the wire.
const SEND_BUFFER: u32 = 128 * 1024;

/// The client's limit on connecting and on each write, seconds; the session's own limits are tighter.
const CLIENT_TIMEOUT: u64 = 3600;

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The relay turned this agent away.
    Refused(String),
    /// Anything else.
    Failed(String),
}

/// What a connection reports.
#[derive(Debug)]
pub(super) enum Said {
    /// Connected and subscribed.
    Up,
    /// The socket has taken a batch.
    Written(BatchId),
    /// The relay spoke.
    Down(Down),
    /// The goodbye is out.
    Closed,
}

/// Who lets the agent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Relay,
    Broker,
}

type Poll = Pin<Box<dyn Future<Output = (EventLoop, Result<Event, ConnectionError>)> + Send>>;

pub(super) struct Connection {
    agent: AgentId,
    door: Door,
    client: AsyncClient,
    /// Kept across calls: a poll dropped half way would leave half a packet unsent.
    poll: Poll,
    underway: VecDeque<Option<BatchId>>,
}

impl Connection {
    /// A connection that is made once [`next`](Self::next) is awaited. The host's name is resolved then.
    pub(super) fn open(config: &UplinkConfig, route: &Route) -> Result<Self, Lost> {
        let Route { relay, security, until: _ } = route;
        let mut options = MqttOptions::new(config.agent.as_str(), relay.bare_host(), relay.port());
        let word = config.word.as_deref().map_or("", String::as_str);
        let (mut user, mut password, mut door) = (config.agent.as_str(), Secret::new(word), Door::Relay);
        match security {
            Security::Plain => {}
            Security::Tls(tls) => {
                options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
            }
            Security::Missing => {
                return Err(Lost::Refused(
                    "this agent has no certificate: get a code with `gaitway relay agent add NAME` at the relay, then run \
                     `gaitway agent enroll`"
                        .into(),
                ));
            }
            Security::Broker(access) => {
                let failed = |error: AccessError| Lost::Failed(error.to_string());
                if relay.is_secure() {
                    let tls = access.tls().map_err(failed)?;
                    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
                }
                user = access.username.as_deref().unwrap_or(user);
                password = access.password().map_err(|error| failed(error.into()))?;
                door = Door::Broker;
            }
        }
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_session(true)
            .set_max_packet_size(MAX_PACKET, MAX_PACKET)
            .set_inflight(INFLIGHT)
            .set_credentials(user, password.reveal());
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_tcp_send_buffer_size(SEND_BUFFER);
        network.set_connection_timeout(CLIENT_TIMEOUT);
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
        event_loop.set_network_options(network);
        let (agent, poll) = (config.agent.clone(), Box::pin(step(event_loop)));
        Ok(Self { agent, door, client, poll, underway: VecDeque::new() })
    }

    /// Hands a payload to the client; a batch is reported as [`Said::Written`] later.
    pub(super) fn publish(&mut self, up: Up, payload: Vec<u8>, batch: Option<BatchId>) -> Result<(), Lost> {
        self.client
            .try_publish(up.topic(&self.agent), QoS::AtLeastOnce, false, payload)
            .map_err(|_| Lost::Failed("the connection takes no more packets".into()))?;
        self.underway.push_back(batch);
        Ok(())
    }

    /// Asks for a goodbye, behind everything published.
    pub(super) fn close(&self) -> Result<(), Lost> {
        self.client.try_disconnect().map_err(|_| Lost::Failed("the connection takes no more packets".into()))
    }

    /// What happens next. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Said, Lost> {
        loop {
            let (event_loop, event) = self.poll.as_mut().await;
            self.poll = Box::pin(step(event_loop));
            let event = event.map_err(|error| lost(self.door, &self.agent, &error))?;
            if let Some(said) = self.take(event)? {
                return Ok(said);
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<Option<Said>, Lost> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                let subscribed = self.client.try_subscribe(topic::down(&self.agent), QoS::AtLeastOnce);
                subscribed.map_err(|_| Lost::Failed("the connection takes no more packets".into()))?;
                Ok(None)
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                    let topic = topic::down(&self.agent);
                    return Err(Lost::Refused(format!("{} does not let this agent subscribe to {topic}", self.door)));
                }
                Ok(Some(Said::Up))
            }
            Event::Incoming(Packet::Publish(publish)) if publish.topic == topic::down(&self.agent) => {
                let down = Down::decode(&publish.payload)
                    .map_err(|error| Lost::Failed(format!("the relay's answer cannot be read: {error}")))?;
                Ok(Some(Said::Down(down)))
            }
            Event::Outgoing(Outgoing::Publish(_)) => Ok(self.underway.pop_front().flatten().map(Said::Written)),
            Event::Outgoing(Outgoing::Disconnect) => Ok(Some(Said::Closed)),
            Event::Incoming(_) | Event::Outgoing(_) => Ok(None),
        }
    }
}

async fn step(mut event_loop: EventLoop) -> (EventLoop, Result<Event, ConnectionError>) {
    let event = event_loop.poll().await;
    (event_loop, event)
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "the relay",
            Self::Broker => "the broker",
        })
    }
}

fn lost(door: Door, agent: &AgentId, error: &ConnectionError) -> Lost {
    let explained = match door {
        Door::Relay => explain(error),
        Door::Broker => broker::explain(error),
    };
    if let Some(why) = explained {
        return Lost::Refused(why);
    }
    match error {
        ConnectionError::ConnectionRefused(code) => Lost::Refused(match code {
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => match door {
                Door::Relay => format!("the relay refuses agent {agent}: it has another one's certificate"),
                Door::Broker => {
                    format!("the broker refuses agent {agent}: look at its user name, password and certificate")
                }
            },
            ConnectReturnCode::ServiceUnavailable => {
                format!("{door} refuses agent {agent} for now: it is full, or a second agent uses this id")
            }
            code => format!("{door} refuses agent {agent}: {code:?}"),
        }),
        ConnectionError::MqttState(StateError::ConnectionAborted) => Lost::Failed(format!("{door} closed the link")),
        ConnectionError::MqttState(StateError::AwaitPingResp) => Lost::Failed(format!("{door} does not answer pings")),
        ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        ) => Lost::Failed(format!("the link to {door} broke: {error}")),
        ConnectionError::Io(error) => Lost::Failed(error.to_string()),
        error => Lost::Failed(error.to_string()),
    }
}
