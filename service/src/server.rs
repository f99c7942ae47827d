//! An HTTP/1.1 server that strangers may talk to.
//!
//! - Connections are bounded, each in memory and in what it may leave undone.
//! - One address cannot lock the others out: see `places`. What an address may hold elsewhere is bounded by its
//!   [`Caller::share`].
//! - Who is sent away hears why, and has time to read it.
//! - Who takes nothing of its answer for 20 s is gone.
//! - Answers under way at shutdown are finished, within five seconds.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

mod caller;
mod connection;
mod parting;
mod places;
mod wire;

pub use caller::{Answering, Caller};

use crate::tls::Tls;

use connection::Connection;
use parting::{Lobby, Parting};
use places::{Admission, Places};

/// How long answers under way may take once the service shuts down.
const GRACE: Duration = Duration::from_secs(5);

/// How often slow connections are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often the same trouble is logged.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Connections that may wait to be accepted: who comes in a burst beyond it waits a second for the next try.
const BACKLOG: u32 = 4096;

/// What a server allows.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Connections at a time.
    pub connections: usize,
    /// Permits of each address, see [`Caller::share`].
    pub share: usize,
}

/// Where this machine itself reaches `listener`.
pub fn reachable(mut listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() {
        listener.set_ip(match listener {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listener
}

/// A listener on `address` that a burst of connections does not fill.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait until the system has forgotten the connections before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `router` until `shutdown`, then finishes what is under way; over `tls` alone if there is some. Every request carries
/// its [`Caller`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    allowance: Allowance,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut house = House {
        router,
        tls,
        allowance,
        places: Places::new(allowance.connections),
        shares: HashMap::new(),
        leave: HashMap::new(),
        connections: JoinSet::new(),
        lobby: Lobby::default(),
        began: Instant::now(),
        said: HashMap::new(),
        shutdown,
    };
    house.serve(listener).await;
    house.close().await;
    Ok(())
}

/// The server's connections. The pure [`Places`] decide who sits; this carries it out.
struct House {
    router: Router,
    tls: Option<Tls>,
    allowance: Allowance,
    places: Places<Id>,
    shares: HashMap<IpAddr, Arc<Semaphore>>,
    leave: HashMap<Id, oneshot::Sender<Parting>>,
    connections: JoinSet<()>,
    lobby: Lobby,
    began: Instant,
    said: HashMap<&'static str, Instant>,
    shutdown: CancellationToken,
}

impl House {
    async fn serve(&mut self, listener: TcpListener) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(ended) = self.connections.join_next_with_id() => self.ended(ended),
                _ = sweep.tick(), if !self.leave.is_empty() => {
                    for connection in self.places.overdue(self.now()) {
                        self.send_away(connection, Parting::Slow);
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => self.admit(stream, address),
                    Err(error) => {
                        self.say("accept", || tracing::warn!(%error, "connections cannot be accepted"));
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    fn now(&self) -> u64 {
        caller::millis_since(self.began)
    }

    fn admit(&mut self, stream: TcpStream, address: SocketAddr) {
        let neighbour = places::neighbour(address.ip());
        match self.places.admit(self.now(), neighbour) {
            Admission::Free => self.seat(stream, address.ip()),
            Admission::InsteadOf(connection) => {
                self.send_away(connection, Parting::MakeRoom);
                self.seat(stream, address.ip());
            }
            Admission::Full => {
                let connections = self.allowance.connections;
                self.say("full", || {
                    tracing::warn!(connections, %address, "all connections are busy, more are refused");
                });
                // A word in plain text means nothing to who waits for a handshake.
                if self.tls.is_none() {
                    self.lobby.refuse(stream, Parting::Full);
                }
            }
        }
    }

    fn seat(&mut self, stream: TcpStream, address: IpAddr) {
        let neighbour = places::neighbour(address);
        let share = self.shares.entry(neighbour).or_insert_with(|| Arc::new(Semaphore::new(self.allowance.share)));
        let caller = Caller::new(Arc::clone(share), address, Arc::clone(self.places.known()), self.began);
        let (leave, told) = oneshot::channel();
        let pulse = Arc::clone(caller.pulse());
        let tls = self.tls.as_ref().map(Tls::acceptor);
        let connection = Connection { caller, told, tls, lobby: self.lobby.clone(), shutdown: self.shutdown.clone() };
        let id = self.connections.spawn(connection.run(stream, self.router.clone())).id();
        self.leave.insert(id, leave);
        self.places.seat(id, neighbour, pulse);
    }

    /// Its place is free at once; the connection may still read why.
    fn send_away(&mut self, connection: Id, why: Parting) {
        if let Some(leave) = self.leave.remove(&connection) {
            // A connection that has ended meanwhile needs no reason.
            let _ = leave.send(why);
        }
        self.vacate(connection);
    }

    fn vacate(&mut self, connection: Id) {
        if let Some(neighbour) = self.places.vacate(connection)
            && self.places.of(neighbour) == 0
        {
            self.shares.remove(&neighbour);
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a connection's task died");
                error.id()
            }
        };
        self.leave.remove(&id);
        self.vacate(id);
    }

    /// Logs at most once in [`SAY_EVERY`] for each subject.
    fn say(&mut self, subject: &'static str, log: impl FnOnce()) {
        let now = Instant::now();
        if self.said.get(subject).is_none_or(|last| now.saturating_duration_since(*last) >= SAY_EVERY) {
            self.said.insert(subject, now);
            log();
        }
    }

    async fn close(mut self) {
        let connections = &mut self.connections;
        let finished = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, finished).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "connections were still busy and are dropped");
            self.connections.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests;
