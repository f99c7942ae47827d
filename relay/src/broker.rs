//! The relay as the client of a broker that is not ours: a second way to the same intake.
//!
//! One connection carries all agents. What comes waits in [`Queues`], one for each agent, from which a task of each agent's own
//! (`carry`) hands it to the intake and publishes the intake's words.
//!
//! - The broker is read all the time, whatever the intake or one agent does: what is too much is dropped, and whose it is has to
//!   say hello again.
//! - Who an agent is says its topic, for which the broker's access lists stand.
//! - A lost connection ends all sessions. Nothing is resumed and nothing of the client's own queue is kept: agents have everything.
//! - It is made anew by itself, with pauses that grow.
//! - A PUBACK says that the relay took something off the wire and nothing more.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gaitway_proto::limits::MAX_PACKET;
use gaitway_proto::topic::{ALL_UP, AgentId, Up};
use gaitway_service::broker::{AccessError, explain};
use gaitway_service::health::Part;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing, Packet,
    Publish, QoS, StateError, SubscribeReasonCode, TlsConfiguration, Transport, mqttbytes,
};
use tokio_util::task::TaskTracker;

use crate::commit::Backoff;
use crate::config::BrokerConfig;
use crate::listener::Context;
use crate::throttle::{Before, Trouble};

mod carry;
mod queues;

use carry::carry;
use queues::Offered;
pub(crate) use queues::Queues;

const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The client's limit on connecting and on each write, seconds.
const CLIENT_TIMEOUT: u64 = 15;

/// Words not yet confirmed by a PUBACK of the broker.
const INFLIGHT: u16 = 1000;

/// Words not yet taken by the client.
const REQUESTS: usize = 64;

/// How often silent agents are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A connection that lasted so long has held: the next pause is the first again.
const HELD: Duration = Duration::from_secs(10);

/// How long the goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

type Poll = Pin<Box<dyn Future<Output = (EventLoop, Result<Event, ConnectionError>)> + Send>>;

/// How a connection ended.
enum End {
    Lost(String),
    Shutdown,
}

/// See the module.
pub(crate) struct Client {
    config: BrokerConfig,
    queues: Arc<Mutex<Queues>>,
    context: Arc<Context>,
    health: Part,
    backoff: Backoff,
    trouble: Trouble,
    links: TaskTracker,
}

impl Client {
    /// A client that hands what comes to the intake of `context`. `seed`: any number.
    pub(crate) fn new(config: BrokerConfig, queues: Queues, context: Arc<Context>, health: Part, seed: u64) -> Self {
        let queues = Arc::new(Mutex::new(queues));
        let (backoff, trouble, links) = (Backoff::new(seed), Trouble::default(), TaskTracker::new());
        Self { config, queues, context, health, backoff, trouble, links }
    }

    /// Works until shutdown; until then the broker is waited for.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        loop {
            let begun = Instant::now();
            let end = match self.options() {
                Ok(options) => self.connection(options).await,
                Err(error) => End::Lost(error.to_string()),
            };
            self.context.metrics.broker_up.set(0);
            self.locked().clear();
            let reason = match end {
                End::Shutdown => return Ok(()),
                End::Lost(reason) => reason,
            };
            if begun.elapsed() >= HELD {
                self.backoff.reset();
            }
            let (broker, pause) = (self.address(), self.backoff.next_pause());
            self.health.not_ready(format!("the broker {broker} is away: {reason}"));
            if let Some(before) = self.trouble.tell(Instant::now(), &reason) {
                let (retry_in, like_it_before) = (format!("{} ms", pause.as_millis()), before.count());
                tracing::warn!(%broker, reason, retry_in, like_it_before, "the broker is away, agents keep what they have");
            }
            tokio::select! {
                () = self.context.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn address(&self) -> String {
        self.config.url.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn locked(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn options(&self) -> Result<MqttOptions, AccessError> {
        let BrokerConfig { url, client_id, .. } = &self.config;
        let url = url.as_ref().expect("the configuration was checked");
        let access = self.config.access();
        let mut options = MqttOptions::new(client_id.as_str(), url.bare_host(), url.port());
        if url.is_secure() {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(access.tls()?)));
        }
        let user = access.username.as_deref().unwrap_or(client_id);
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_session(true)
            .set_max_packet_size(MAX_PACKET, MAX_PACKET)
            .set_inflight(INFLIGHT)
            .set_credentials(user, access.password()?.reveal());
        Ok(options)
    }

    /// One connection, from CONNECT to its end.
    async fn connection(&mut self, options: MqttOptions) -> End {
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CLIENT_TIMEOUT);
        event_loop.set_network_options(network);
        // Kept across turns: a poll dropped half way would leave half a packet unsent.
        let mut poll: Poll = Box::pin(step(event_loop));
        let mut look = tokio::time::interval(LOOK_EVERY);
        let (mut is_up, mut is_closing) = (false, false);
        let shutdown = self.context.shutdown.clone();
        loop {
            tokio::select! {
                (event_loop, event) = &mut poll => {
                    poll = Box::pin(step(event_loop));
                    match event {
                        Ok(Event::Incoming(Packet::Publish(publish))) if !is_closing => self.take(&publish, &client),
                        Ok(Event::Incoming(Packet::ConnAck(_))) => {
                            if client.try_subscribe(ALL_UP, QoS::AtLeastOnce).is_err() {
                                return End::Lost("the client takes no subscription".to_owned());
                            }
                        }
                        Ok(Event::Incoming(Packet::SubAck(ack))) => {
                            if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                                return End::Lost(format!(
                                    "it does not let the relay subscribe to {ALL_UP}: look at its access lists"
                                ));
                            }
                            is_up = true;
                            self.is_reached();
                        }
                        Ok(_) => {}
                        Err(error) => return End::Lost(lost(&error)),
                    }
                }
                () = shutdown.cancelled(), if !is_closing => {
                    if !is_up {
                        return End::Shutdown;
                    }
                    // The intake lets go of links once it has said what there is to say.
                    is_closing = true;
                    self.links.close();
                }
                () = self.links.wait(), if is_closing => {
                    let goodbye = tokio::time::timeout(GOODBYE_WITHIN, say_goodbye(&client, poll)).await;
                    tracing::debug!(?goodbye, "left the broker");
                    return End::Shutdown;
                }
                _ = look.tick() => {
                    self.locked().handle_timeout(Instant::now());
                }
            }
        }
    }

    fn is_reached(&mut self) {
        self.context.metrics.broker_up.set(1);
        self.context.metrics.broker_connections.inc();
        self.health.ready();
        if self.trouble.ends() {
            tracing::info!(broker = self.address(), "agents come in by this broker");
        }
    }

    /// Has a publish wait for its agent's turn, or drops it.
    fn take(&self, publish: &Publish, client: &AsyncClient) {
        let context = &self.context;
        let (agent, up) = match whose(publish) {
            Ok(found) => found,
            Err(why) => {
                context.metrics.count_dropped(why);
                if let Some(before) = context.tell(None, why) {
                    let (topic, like_it_before) = (publish.topic.as_str(), before.count());
                    tracing::warn!(
                        topic,
                        why,
                        like_it_before,
                        "the broker passed on what no agent sends: look at its access lists"
                    );
                }
                return;
            }
        };
        let offered = self.locked().offer(Instant::now(), &agent, up, &publish.payload, || context.links.next());
        match offered {
            Offered::Queued => {}
            Offered::Linked(guest) => {
                self.links.spawn(carry(guest, client.clone(), Arc::clone(&self.queues), Arc::clone(context)));
            }
            Offered::Dropped(why) => {
                context.metrics.count_dropped(why.label());
                if let Some(like_it_before) = context.tell(Some(&agent), why.label()).map(Before::count) {
                    tracing::warn!(%agent, why = why.label(), like_it_before, "dropped what an agent sent, it is asked to say hello again");
                }
            }
        }
    }
}

/// Whose a publish is and what it carries, or why it is nobody's.
fn whose(publish: &Publish) -> Result<(AgentId, Up), &'static str> {
    if publish.retain {
        return Err("retained");
    }
    if publish.qos != QoS::AtLeastOnce {
        return Err("quality_of_service");
    }
    Up::parse_any(&publish.topic).ok_or("topic")
}

async fn step(mut event_loop: EventLoop) -> (EventLoop, Result<Event, ConnectionError>) {
    let event = event_loop.poll().await;
    (event_loop, event)
}

/// Sends what waits and DISCONNECT behind it.
async fn say_goodbye(client: &AsyncClient, mut poll: Poll) -> Result<(), ConnectionError> {
    let (mut asking, mut is_asked) = (std::pin::pin!(client.disconnect()), false);
    loop {
        tokio::select! {
            _ = &mut asking, if !is_asked => is_asked = true,
            (event_loop, event) = &mut poll => {
                poll = Box::pin(step(event_loop));
                if matches!(event?, Event::Outgoing(Outgoing::Disconnect)) {
                    return Ok(());
                }
            }
        }
    }
}

/// What happened, and what to do about it.
fn lost(error: &ConnectionError) -> String {
    if let Some(why) = explain(error) {
        return why;
    }
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "it refuses the relay: look at username, password_file and certificate_file of relay.broker".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("it refuses the relay: {code:?}"),
        ConnectionError::MqttState(StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(size))) => {
            format!("it passed on a packet of {size} bytes: have it refuse packets above {MAX_PACKET}")
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "it closed the connection; another relay with the same client_id does that too".to_owned()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => "it does not answer pings".to_owned(),
        ConnectionError::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}
