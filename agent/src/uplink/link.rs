//! The shell around the session machine: MQTT, the reader's thread, the agent's writer, the clock.
//!
//! - Every connection has a client of its own, so a client's queue never decides what is sent.
//! - Once there is another way to the relay, such as another certificate, the link is made anew on it.
//! - Why the relay is waited for is logged at once when it changes, and once a minute while it does not.

mod complaints;
mod connection;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use gaitway_proto::envelope::Down;
use gaitway_proto::ledger::Stream;
use gaitway_proto::topic::Up;
use gaitway_service::health::Part;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::outlet::{Exchange, Outlet};
use super::pace::Pace;
use super::reader::Reader;
use super::session::{Effect, Uplink};
use super::status::{Gauges, UplinkMetrics, UplinkStatus};
use super::{Frames, RelayAddress, SpoolState, ToAgent, UplinkConfig};
use complaints::Complaints;
use connection::{Connection, Lost, Said};

/// Name resolution, TCP, CONNECT and SUBSCRIBE together.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// A link welcomed for this long has held, even if there was nothing to send.
const HELD: Duration = Duration::from_secs(10);

/// How long the end waits for acknowledgements.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Forwards the spool to the relay until `shutdown`, then waits up to 2 s for acknowledgements under way.
///
/// Errors only if the agent's own parts are gone (writer, reader thread); a relay that is away is waited for.
#[expect(clippy::too_many_arguments, reason = "each is a seam of its own, given by the agent or a test")]
pub async fn run(
    config: UplinkConfig,
    frames: impl Frames,
    state: watch::Receiver<SpoolState>,
    to_agent: mpsc::Sender<ToAgent>,
    status: Arc<UplinkStatus>,
    health: Part,
    metrics: UplinkMetrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let random = || getrandom::u64().context("the system gives no random numbers");
    let uplink = Uplink::new(env!("CARGO_PKG_VERSION"), random()?, &state.borrow());
    let mut shell = Shell {
        uplink,
        pace: Pace::new(random()?),
        reader: Reader::spawn(frames)?,
        outlet: Outlet::new(to_agent),
        gauges: Gauges::new(status, health, metrics),
        waiting: format!("waiting for relay {}: connecting", config.routes.borrow().relay),
        complaints: Complaints::default(),
        config,
        state,
        shutdown,
    };
    let ended = shell.run().await;
    shell.reader.stop().await;
    // Whoever ends the service may end the writer before the uplink.
    if shell.shutdown.is_cancelled() { Ok(()) } else { ended }
}

/// How a connection ended.
enum End {
    Lost(Lost),
    /// There is another way to the relay.
    Rerouted,
    Closed,
}

struct Shell {
    config: UplinkConfig,
    uplink: Uplink,
    pace: Pace,
    reader: Reader,
    outlet: Outlet,
    state: watch::Receiver<SpoolState>,
    gauges: Gauges,
    waiting: String,
    complaints: Complaints,
    shutdown: CancellationToken,
}

impl Shell {
    async fn run(&mut self) -> anyhow::Result<()> {
        while !self.shutdown.is_cancelled() {
            let acknowledged = self.uplink.tally().acknowledged;
            let mut welcomed = None;
            let end = self.link(&mut welcomed).await?;
            self.uplink.handle_disconnected();
            self.perform(None)?;
            let lost = match end {
                End::Lost(lost) => lost,
                End::Rerouted => continue,
                End::Closed => return Ok(()),
            };
            let held = welcomed.is_some_and(|at: Instant| at.elapsed() >= HELD);
            if held || self.uplink.tally().acknowledged > acknowledged {
                self.pace.held();
            }
            let (wait, reason) = match lost {
                Lost::Refused(reason) => (self.pace.refused(), reason),
                Lost::Failed(reason) => (self.pace.failed(), reason),
            };
            self.gauges.disconnected();
            self.complain(&reason);
            self.wait(Instant::now() + wait).await?;
        }
        Ok(())
    }

    /// One connection, from its first packet to its end.
    async fn link(&mut self, welcomed: &mut Option<Instant>) -> anyhow::Result<End> {
        let route = self.config.routes.borrow_and_update().clone();
        let mut connection = match Connection::open(&self.config, &route) {
            Ok(connection) => connection,
            Err(lost) => return Ok(End::Lost(lost)),
        };
        let mut connect_by = Some(Instant::now() + CONNECT_WITHIN);
        let mut close_by = None;
        loop {
            if let Some(lost) = self.perform(Some(&mut connection))? {
                return Ok(End::Lost(lost));
            }
            self.show(welcomed);
            if close_by.is_some() && self.uplink.in_flight() == 0 && self.outlet.is_empty() {
                break;
            }
            let wake = [self.uplink.poll_timeout(), connect_by, close_by].into_iter().flatten().min();
            tokio::select! {
                said = connection.next() => match said {
                    Ok(Said::Up) => {
                        connect_by = None;
                        self.uplink.handle_connected(Instant::now());
                    }
                    Ok(Said::Written(batch)) => self.uplink.handle_written(Instant::now(), batch),
                    Ok(Said::Down(Down::Renew)) => self.config.wanted.notify_one(),
                    Ok(Said::Down(down)) => self.uplink.handle_down(Instant::now(), down),
                    Ok(Said::Closed) => return Ok(End::Closed),
                    Err(lost) => return Ok(End::Lost(lost)),
                },
                frames = self.reader.frames() => {
                    let frames = frames?.map_err(|error| format!("{error:#}"));
                    self.uplink.handle_frames(Instant::now(), frames);
                }
                change = self.state.changed() => self.follow(change)?,
                Ok(()) = self.config.routes.changed(), if close_by.is_none() => {
                    self.goodbye(connection).await;
                    return Ok(End::Rerouted);
                }
                passed = self.outlet.exchange() => self.exchanged(&passed?),
                () = until(wake) => {
                    let now = Instant::now();
                    if close_by.is_some_and(|by| by <= now) {
                        break;
                    }
                    if connect_by.is_some_and(|by| by <= now) {
                        let reason = format!("no connection within {} s", CONNECT_WITHIN.as_secs());
                        return Ok(End::Lost(Lost::Failed(reason)));
                    }
                    self.uplink.handle_timeout(now);
                }
                () = self.shutdown.cancelled(), if close_by.is_none() => {
                    self.uplink.handle_closing();
                    close_by = Some(Instant::now() + CLOSE_WITHIN);
                    if connect_by.is_some() {
                        return Ok(End::Closed);
                    }
                }
            }
        }
        self.goodbye(connection).await;
        Ok(End::Closed)
    }

    /// Does what the machine wants; tells whether that ends the connection.
    fn perform(&mut self, mut connection: Option<&mut Connection>) -> anyhow::Result<Option<Lost>> {
        let mut publish = |up, payload, batch| match &mut connection {
            Some(connection) => connection.publish(up, payload, batch),
            None => Err(Lost::Failed("there is no connection".into())),
        };
        while let Some(effect) = self.uplink.poll_effect() {
            let published = match effect {
                Effect::Hello(hello) => publish(Up::Hello, hello.encode(), None),
                Effect::Batch(id, batch) => {
                    let up = match batch.stream {
                        Stream::Raw => Up::Raw,
                        Stream::Activity => Up::Activity,
                    };
                    publish(up, batch.encode(), Some(id))
                }
                Effect::Read(read) => self.reader.ask(read).map(Ok)?,
                Effect::Acknowledged { epoch, stream, up_to } => {
                    self.outlet.acknowledged(epoch, stream, up_to);
                    Ok(())
                }
                Effect::Welcomed => {
                    self.outlet.welcomed();
                    Ok(())
                }
                Effect::Copied { common, why } => {
                    tracing::warn!(why, "letting go of inherited windows");
                    self.outlet.copied(common, why);
                    Ok(())
                }
                Effect::Reconnect { reason } => Err(Lost::Failed(reason)),
            };
            if let Err(lost) = published {
                return Ok(Some(lost));
            }
        }
        Ok(None)
    }

    /// Waits without a link; what the writer has to hear still goes out.
    async fn wait(&mut self, end: Instant) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = until(Some(end)) => return Ok(()),
                Ok(()) = self.config.routes.changed() => return Ok(()),
                () = self.shutdown.cancelled() => return Ok(()),
                frames = self.reader.frames() => {
                    let frames = frames?.map_err(|error| format!("{error:#}"));
                    self.uplink.handle_frames(Instant::now(), frames);
                }
                change = self.state.changed() => self.follow(change)?,
                passed = self.outlet.exchange() => self.exchanged(&passed?),
            }
        }
    }

    fn exchanged(&mut self, passed: &Exchange) {
        if *passed == Exchange::LetGo {
            self.uplink.handle_copied_done(Instant::now());
        }
    }

    fn follow(&mut self, change: Result<(), watch::error::RecvError>) -> anyhow::Result<()> {
        change.context("the agent's writer has ended")?;
        let state = self.state.borrow_and_update().clone();
        self.uplink.handle_spool(Instant::now(), &state);
        Ok(())
    }

    async fn goodbye(&mut self, mut connection: Connection) {
        let out = async {
            connection.close()?;
            while !matches!(connection.next().await?, Said::Closed) {}
            Ok::<(), Lost>(())
        };
        let said = tokio::time::timeout(Duration::from_millis(500), out).await;
        tracing::debug!(?said, "link closed");
    }

    fn show(&mut self, welcomed: &mut Option<Instant>) {
        let now = Instant::now();
        if self.uplink.is_welcomed() && welcomed.is_none() {
            *welcomed = Some(now);
            tracing::info!(relay = %self.relay(), "relay link is up");
        }
        if let Some(trouble) = self.uplink.trouble().map(str::to_owned) {
            self.warn(&trouble, "frames do not move");
        }
        self.gauges.show(&self.uplink, now, &self.waiting);
    }

    fn relay(&self) -> RelayAddress {
        self.config.routes.borrow().relay.clone()
    }

    fn complain(&mut self, reason: &str) {
        self.waiting = format!("waiting for relay {}: {reason}", self.relay());
        self.warn(reason, "waiting for relay");
        self.gauges.show(&self.uplink, Instant::now(), &self.waiting);
    }

    fn warn(&mut self, reason: &str, message: &'static str) {
        if self.complaints.is_due(Instant::now(), reason) {
            tracing::warn!(relay = %self.relay(), reason, "{message}");
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}
