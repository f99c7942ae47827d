//! One connection: CONNECT, identity, seat, then publishes in and words out until it ends.
//!
//! - Until it is proven who is there it may be ended at any moment, in favour of others.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gaitway_proto::envelope::Down;
use gaitway_proto::topic::{self, AgentId};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish, SubAck, Subscribe, SubscribeReasonCode,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::access::{Access, FULL, Identity, PROTOCOL, Refusal, TAKEOVERS};
use super::enrol::{self, Outcome};
use super::lobby::Place;
use super::packets::{Expect, Violation};
use super::probe;
use super::seats::{NoSeat, Seat};
use super::tls::{NoHandshake, Shaken, Shown, Tls, Watch};
use super::wire::Wire;
use super::{Context, Door};
use crate::intake::{Closed, OUTBOX};
use crate::link::LinkId;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The longest keep-alive believed; also that of clients who want none.
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(120);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed by the agent")]
    Peer,
    #[error("disconnected by the agent")]
    Disconnect,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no CONNECT within {} s", CONNECT_WITHIN.as_secs())]
    NoConnect,
    #[error("newer connections needed the place before this one had said who it is")]
    PushedOut,
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("{refusal}")]
    Refused {
        refusal: Refusal,
        /// Who somebody said they are without proving it.
        claimed: Option<AgentId>,
    },
    #[error("forbidden: {0}")]
    Forbidden(&'static str),
    #[error("nothing heard for one and a half times the keep-alive")]
    Idle,
    #[error("a packet was not whole in time")]
    SlowPacket,
    #[error("a newer connection of the same agent took over")]
    TakenOver,
    #[error("{0}")]
    Dishonoured(&'static str),
    #[error("{0}")]
    NoHandshake(#[from] NoHandshake),
    #[error("closed by the relay")]
    Unlinked,
    #[error("{0}")]
    Shutdown(#[from] Closed),
}

impl End {
    /// The label of the counter.
    fn label(&self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Disconnect => "disconnect",
            Self::Io(error) if error.kind() == io::ErrorKind::TimedOut => "write_timeout",
            Self::Io(_) => "io",
            Self::NoConnect => "connect_timeout",
            Self::PushedOut => "pushed_out",
            Self::Violation(Violation::TooLarge(_)) => "too_large",
            Self::Violation(Violation::Unexpected(_)) => "unexpected_packet",
            Self::Violation(Violation::Protocol) | Self::Refused { refusal: PROTOCOL, .. } => "protocol",
            Self::Violation(Violation::Malformed(_)) => "malformed",
            Self::Refused { refusal: TAKEOVERS, .. } => "takeovers",
            Self::Refused { refusal: FULL, .. } => "capacity",
            Self::Refused { .. } => "identity",
            Self::Forbidden(_) => "forbidden",
            Self::Idle => "idle",
            Self::SlowPacket => "slow_packet",
            Self::TakenOver => "taken_over",
            Self::Dishonoured(_) => "dishonoured",
            Self::NoHandshake(no) => no.label(),
            Self::Unlinked => "unlinked",
            Self::Shutdown(_) => "shutdown",
        }
    }

    /// Whether the peer did what it must not do.
    fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Violation(_)
                | Self::Refused { .. }
                | Self::Forbidden(_)
                | Self::Dishonoured(_)
                | Self::NoHandshake(NoHandshake::Certificate(_))
        )
    }

    /// Whether strangers may do so as often as they like.
    fn is_noise(&self) -> bool {
        matches!(self, Self::NoHandshake(no) if !matches!(no, NoHandshake::Certificate(_)))
    }

    /// Who the peer claimed to be, where that is why the connection ended.
    fn claimed(&self) -> Option<&AgentId> {
        if let Self::Refused { claimed, .. } = self { claimed.as_ref() } else { None }
    }
}

/// Serves one connection to its end, and says how it ended.
pub(super) async fn serve<S>(stream: S, peer: SocketAddr, place: Place, door: &Door, context: &Context)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    match door {
        Door::Plain(access) => talk(stream, place, peer, access, None, context).await,
        // On the heap, so that a connection without TLS does not hold room for it.
        Door::Tls(tls) => Box::pin(serve_tls(stream, place, peer, tls, context)).await,
    }
}

async fn serve_tls<S>(stream: S, place: Place, peer: SocketAddr, tls: &Tls, context: &Context)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let shaken = tokio::select! {
        biased;
        () = place.lost() => Err(End::PushedOut),
        () = context.shutdown.cancelled() => Err(Closed.into()),
        shaken = tls.shake(stream) => shaken.map_err(End::from),
    };
    match shaken {
        Ok(Shaken::Mqtt(stream, Shown { serial, agent })) => {
            tls.desk.seen(serial);
            let followed = Followed { end: tls.watch(serial), replace: tls.watch(serial) };
            talk(stream, place, peer, &Access::Certified(agent), Some(followed), context).await;
        }
        Ok(Shaken::Enrol(stream, shown)) => certify(stream, place, peer, tls, shown, context).await,
        Err(end) => report(context, peer, None, &end),
    }
}

/// The certificate of a connection, as the book has it.
struct Followed {
    end: Watch,
    replace: Watch,
}

/// Speaks MQTT from CONNECT on.
async fn talk<S>(
    stream: S,
    place: Place,
    peer: SocketAddr,
    access: &Access,
    followed: Option<Followed>,
    context: &Context,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut wire = Wire::new(stream);
    let met = tokio::select! {
        biased;
        () = place.lost() => Err(End::PushedOut),
        met = meet(&mut wire, access, context) => met,
    };
    match met {
        Ok(visitor) => {
            if let Access::Open = access {
                drop(place);
            } else {
                place.leave_as_agent();
            }
            let agent = visitor.identity.agent.clone();
            let end = match seat(&mut wire, context, visitor).await {
                Ok(entered) => stay(&mut wire, peer, context, entered, followed).await,
                Err(end) => end,
            };
            report(context, peer, Some(&agent), &end);
            wire.close().await;
        }
        Err(end) => {
            report(context, peer, None, &end);
            tokio::select! {
                () = place.lost() => {}
                () = wire.close() => {}
            }
        }
    }
}

/// Answers who wants a certificate.
async fn certify<S>(mut stream: S, place: Place, peer: SocketAddr, tls: &Tls, shown: Option<Shown>, context: &Context)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let outcome = tokio::select! {
        biased;
        () = place.lost() => return report(context, peer, None, &End::PushedOut),
        () = context.shutdown.cancelled() => return report(context, peer, None, &Closed.into()),
        outcome = enrol::serve(&mut stream, peer, tls, shown) => outcome,
    };
    context.metrics.count_closed(outcome.label());
    match outcome {
        Outcome::Issued { agent, renewed: false } => tracing::info!(%peer, agent, "agent enrolled"),
        Outcome::Issued { agent, renewed: true } => tracing::info!(%peer, agent, "agent has a new certificate"),
        Outcome::Refused(refusal) => {
            if let Some(before) = context.tell(None, "not_enrolled") {
                let like_it_before = before.count();
                tracing::warn!(%peer, reason = %refusal, like_it_before, "no certificate issued");
            }
        }
        Outcome::Unreadable(error) => tracing::debug!(%peer, reason = %error, "no question for a certificate"),
        Outcome::Broken(error) => tracing::debug!(%peer, reason = %error, "question for a certificate broke off"),
    }
}

/// Counts how a connection ended, and logs it unless the like was logged a moment ago.
fn report(context: &Context, peer: SocketAddr, agent: Option<&AgentId>, end: &End) {
    context.metrics.count_closed(end.label());
    if end.is_noise() {
        tracing::debug!(%peer, reason = %end, "connection closed");
        return;
    }
    let claimed = end.claimed();
    let Some(before) = context.tell(agent.or(claimed), end.label()) else { return };
    let (agent, claimed) = (agent.map(AgentId::as_str), claimed.map(AgentId::as_str));
    let like_it_before = before.count();
    if end.is_fault() {
        tracing::warn!(%peer, agent, claimed, reason = %end, like_it_before, "connection closed");
    } else {
        tracing::info!(%peer, agent, reason = %end, like_it_before, "connection ended");
    }
}

/// Whoever has proven to be an agent.
struct Visitor {
    identity: Identity,
    /// How long it may be silent.
    patience: Duration,
}

/// An agent that has its seat.
struct Entered {
    visitor: Visitor,
    seat: Seat,
    link: LinkId,
}

async fn meet<S>(wire: &mut Wire<S>, access: &Access, context: &Context) -> Result<Visitor, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let connect = tokio::select! {
        () = context.shutdown.cancelled() => return Err(Closed.into()),
        connect = timeout(CONNECT_WITHIN, first_packet(wire)) => connect.unwrap_or(Err(End::NoConnect)),
    };
    let connect = match connect {
        Err(End::Violation(Violation::Protocol)) => return Err(turn_away(wire, PROTOCOL, None).await),
        connect => connect?,
    };
    let identity = match access.authenticate(&connect) {
        Ok(identity) => identity,
        Err(refusal) => return Err(turn_away(wire, refusal, connect.client_id.parse().ok()).await),
    };
    let wanted = Duration::from_secs(connect.keep_alive.into());
    let keep_alive = if wanted.is_zero() { LONGEST_KEEP_ALIVE } else { wanted.min(LONGEST_KEEP_ALIVE) };
    Ok(Visitor { identity, patience: keep_alive * 3 / 2 })
}

async fn seat<S>(wire: &mut Wire<S>, context: &Context, visitor: Visitor) -> Result<Entered, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let link = context.links.next();
    match Seat::take(&context.seats, &visitor.identity.agent, link).await {
        Ok(seat) => Ok(Entered { visitor, seat, link }),
        Err(NoSeat::Contested) => Err(turn_away(wire, TAKEOVERS, None).await),
        Err(NoSeat::Full) => Err(turn_away(wire, FULL, None).await),
    }
}

async fn first_packet<S>(wire: &mut Wire<S>) -> Result<Connect, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    loop {
        if let Some(packet) = wire.packet(Expect::Connect)? {
            // The first byte was CONNECT's, so nothing else was read.
            let Packet::Connect(connect) = packet else { return Err(End::Forbidden("first packet not CONNECT")) };
            return Ok(connect);
        }
        if !wire.fill().await? {
            return Err(End::Peer);
        }
    }
}

async fn turn_away<S>(wire: &mut Wire<S>, refusal: Refusal, claimed: Option<AgentId>) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    wire.put(&Packet::ConnAck(ConnAck::new(refusal.code, false)));
    match wire.flush().await {
        Ok(()) => End::Refused { refusal, claimed },
        Err(error) => error.into(),
    }
}

/// Links the connection to the intake, serves it, and unlinks it before its seat is free.
async fn stay<S>(
    wire: &mut Wire<S>,
    peer: SocketAddr,
    context: &Context,
    entered: Entered,
    followed: Option<Followed>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Entered { visitor: Visitor { identity, patience }, seat, link } = entered;
    let (outbox, words) = mpsc::channel(OUTBOX);
    let linked = context.inlet.linked(link, identity.agent.clone(), outbox);
    if let Err(closed) = linked.await {
        return closed.into();
    }
    if let Some(before) = context.tell(Some(&identity.agent), "connected") {
        tracing::info!(%peer, agent = %identity.agent, like_it_before = before.count(), "agent connected");
    }
    wire.put(&Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)));
    let turn = Arc::new(Semaphore::new(1));
    let (ends, replace) = followed.map(|followed| (followed.end, followed.replace)).unzip();
    let dishonoured = async {
        match ends {
            Some(watch) => watch.dishonoured().await,
            None => std::future::pending().await,
        }
    };
    let mut session = Session { wire, context, identity, link, words, turn, patience, subscribed: None, replace };
    let (end, newer) = tokio::select! {
        biased;
        why = dishonoured => (End::Dishonoured(why), None),
        newer = seat.taken_over() => (End::TakenOver, Some(newer)),
        end = session.run() => (end, None),
    };
    let newer = match newer {
        Some(newer) if session.is_alive().await => Some(newer),
        _ => None,
    };
    // At shutdown there is nobody left to tell.
    let _ = context.inlet.gone(link, newer).await;
    drop(seat);
    end
}

struct Session<'a, S> {
    wire: &'a mut Wire<S>,
    context: &'a Context,
    identity: Identity,
    link: LinkId,
    words: mpsc::Receiver<Down>,
    /// The intake has it while it wants to hear no more of this link.
    turn: Arc<Semaphore>,
    patience: Duration,
    /// To the words for the agent, with this quality of service at most.
    subscribed: Option<QoS>,
    /// Its certificate, until the agent was told that another is wanted.
    replace: Option<Watch>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<'_, S> {
    async fn run(&mut self) -> End {
        match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    /// Whether the agent gives a sign of life now.
    async fn is_alive(&mut self) -> bool {
        if self.subscribed != Some(QoS::AtLeastOnce) {
            return false;
        }
        tokio::select! {
            alive = probe::is_alive(self.wire, &self.identity.agent) => alive,
            () = self.context.shutdown.cancelled() => false,
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        self.wire.flush().await?;
        loop {
            while let Some(packet) = self.wire.packet(Expect::Session)? {
                self.handle(packet).await?;
            }
            self.wire.flush().await?;
            let silent = Instant::now() + self.patience;
            let due = self.wire.due();
            loop {
                tokio::select! {
                    biased;
                    word = self.words.recv() => {
                        self.say(word)?;
                        self.wire.flush().await?;
                    }
                    () = outdated(&mut self.replace), if self.subscribed.is_some() => {
                        self.replace = None;
                        self.put_word(&Down::Renew);
                        self.wire.flush().await?;
                    }
                    read = self.wire.fill() => {
                        if !read? {
                            return Err(End::Peer);
                        }
                        break;
                    }
                    () = sleep_until(due.map_or(silent, |due| due.min(silent))) => {
                        return Err(if due.is_some_and(|due| due < silent) { End::SlowPacket } else { End::Idle });
                    }
                }
            }
        }
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.hand_over(publish).await,
            Packet::Subscribe(subscribe) => {
                self.subscribe(&subscribe);
                Ok(())
            }
            Packet::PingReq => {
                self.wire.put(&Packet::PingResp);
                Ok(())
            }
            Packet::Disconnect => Err(End::Disconnect),
            _ => Err(End::Forbidden("packet that agents do not send")),
        }
    }

    /// Gives a publish to the intake, saying meanwhile what is to be said; then acknowledges to MQTT, which means
    /// that it was taken off the wire and nothing more.
    async fn hand_over(&mut self, publish: Publish) -> Result<(), End> {
        let up = self.identity.may_publish(&publish).map_err(End::Forbidden)?;
        let inlet = self.context.inlet.clone();
        let turn = Arc::clone(&self.turn);
        let mut handed = std::pin::pin!(inlet.publish(self.link, turn, up, publish.payload));
        loop {
            tokio::select! {
                biased;
                done = &mut handed => {
                    done?;
                    break;
                }
                word = self.words.recv() => {
                    self.say(word)?;
                    self.wire.flush().await?;
                }
            }
        }
        self.wire.put(&Packet::PubAck(PubAck::new(publish.pkid)));
        Ok(())
    }

    fn subscribe(&mut self, subscribe: &Subscribe) {
        let codes = subscribe.filters.iter().map(|filter| {
            if self.identity.may_subscribe(&filter.path) {
                let granted = if filter.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                self.subscribed = Some(granted);
                SubscribeReasonCode::Success(granted)
            } else {
                if let Some(before) = self.context.tell(Some(&self.identity.agent), "subscribe") {
                    let (agent, like_it_before) = (&self.identity.agent, before.count());
                    tracing::warn!(%agent, filter = filter.path, like_it_before, "refused to subscribe");
                }
                SubscribeReasonCode::Failure
            }
        });
        let codes = codes.collect();
        self.wire.put(&Packet::SubAck(SubAck::new(subscribe.pkid, codes)));
    }

    /// Puts a word of the intake on the wire, and those that wait behind it.
    fn say(&mut self, word: Option<Down>) -> Result<(), End> {
        let mut word = word.ok_or(End::Unlinked)?;
        loop {
            if self.subscribed.is_some() {
                self.put_word(&word);
            }
            match self.words.try_recv() {
                Ok(next) => word = next,
                Err(_) => return Ok(()),
            }
        }
    }

    fn put_word(&mut self, word: &Down) {
        let topic = topic::down(&self.identity.agent);
        self.wire.put(&Packet::Publish(Publish::new(topic, QoS::AtMostOnce, word.encode())));
    }
}

async fn outdated(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.outdated().await,
        None => std::future::pending().await,
    }
}
