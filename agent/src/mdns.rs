//! The agent's name in the local network: `NAME.local` (mDNS, RFC 6762), and its page as a service that browsers of
//! services show (DNS-SD, RFC 6763).
//!
//! - `name` says what it may be called, `links` where it is told, `records` what is told, `responder` when; this file
//!   has the sockets.
//! - Nothing is told of a listener on loopback, and nothing ends the agent: where there is no network, or the port is
//!   another's alone, it warns once and tries again.
//! - The responder is the agent's own on purpose: a name must be given up or kept as RFC 6762 says, beside an Avahi on
//!   the same machine, and what neighbours send must not grow. Libraries keep what they hear, for as long as it says.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod kept;
mod links;
mod name;
mod records;
mod responder;
mod sockets;

pub(crate) use name::{LONGEST, is_name};

use links::Link;
use name::Candidates;
use records::Service;
use responder::{Effect, LinkId, Responder};
use sockets::Way;

/// How often the machine's interfaces are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Packets that may wait; what comes beyond is asked again by who sent it.
const MOST_WAITING: usize = 32;

/// The greatest packet of mDNS: RFC 6762, section 17.
const MAX_PACKET: usize = 9000;

/// How long a packet may take to be sent, and all goodbyes.
const SEND_WITHIN: Duration = Duration::from_millis(100);
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// What is announced.
#[derive(Debug)]
pub(crate) struct Announced {
    /// What the agent would be called.
    pub(crate) wanted: String,
    /// The listener.
    pub(crate) listener: SocketAddr,
    /// It speaks HTTPS.
    pub(crate) is_https: bool,
    /// Where the name in force is kept.
    pub(crate) data_dir: PathBuf,
}

impl Announced {
    /// Whether anybody but this machine reaches the listener.
    pub(crate) fn is_reached(listener: SocketAddr) -> bool {
        !listener.ip().is_loopback()
    }
}

/// A packet from a neighbour.
struct Heard {
    link: LinkId,
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// A socket in use.
struct Open {
    way: Way,
    socket: Arc<UdpSocket>,
    reader: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Announces until `shutdown`, then says goodbye; tells `in_force` the name in force, with `.local`.
pub(crate) async fn run(
    announced: Announced,
    in_force: watch::Sender<Option<String>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let host = gethostname::gethostname();
    let candidates = Candidates::new(&announced.wanted, &host.to_string_lossy());
    let wanted = candidates.base().to_owned();
    let taken = kept::read(&announced.data_dir, &wanted).and_then(|name| candidates.place_of(&name)).unwrap_or(0);
    let service = Service { port: announced.listener.port(), is_https: announced.is_https };
    let random = getrandom::u64().context("the system gives no random numbers")?;
    let (heard_out, mut heard) = mpsc::channel(MOST_WAITING);
    let mut shell = Shell {
        announced,
        wanted,
        responder: Responder::new(candidates, taken, service, random),
        links: BTreeMap::new(),
        open: BTreeMap::new(),
        readers: JoinSet::new(),
        heard_out,
        in_force,
        in_trouble: false,
    };
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = shell.responder.poll_timeout();
        let due_at = due.unwrap_or_else(Instant::now).into();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            _ = look.tick() => shell.look(),
            () = tokio::time::sleep_until(due_at), if due.is_some() => shell.responder.handle_timeout(Instant::now()),
            Some(heard) = heard.recv() => shell.hear(&heard),
        }
        shell.act().await;
    }
    shell.responder.say_goodbye();
    if tokio::time::timeout(GOODBYE_WITHIN, shell.act()).await.is_err() {
        tracing::debug!("not everybody in the network hears that the agent's name is gone");
    }
    Ok(())
}

/// The responder's sockets, and what it is told and tells.
struct Shell {
    announced: Announced,
    wanted: String,
    responder: Responder,
    links: BTreeMap<u32, Link>,
    open: BTreeMap<LinkId, Open>,
    readers: JoinSet<()>,
    heard_out: mpsc::Sender<Heard>,
    in_force: watch::Sender<Option<String>>,
    in_trouble: bool,
}

impl Shell {
    /// Looks at the machine's interfaces: those that came get a socket, those that went lose theirs.
    fn look(&mut self) {
        let (interfaces, mut trouble) = match if_addrs::get_if_addrs() {
            Ok(interfaces) => (interfaces, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        self.links = links::links(&interfaces, self.announced.listener.ip());
        let ways: BTreeMap<LinkId, Way> = self.links.iter().flat_map(|(index, link)| ways(*index, link)).collect();
        self.open.retain(|id, open| ways.get(id) == Some(&open.way) && !open.reader.is_finished());
        while self.readers.try_join_next().is_some() {}
        for (id, way) in ways {
            if self.open.contains_key(&id) {
                continue;
            }
            match self.open(id, way) {
                Ok(open) => drop(self.open.insert(id, open)),
                Err(error) => trouble = Some(error),
            }
        }
        self.complain(trouble.as_ref());
        let told = self.open.keys().filter_map(|id| Some((*id, self.links.get(&id.index)?.told.clone()))).collect();
        let own: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).collect();
        self.responder.handle_links(Instant::now(), &told, own);
    }

    fn open(&mut self, link: LinkId, way: Way) -> io::Result<Open> {
        let socket = Arc::new(sockets::open(link.index, way)?);
        let reader = self.readers.spawn(read(link, Arc::clone(&socket), self.heard_out.clone()));
        Ok(Open { way, socket, reader })
    }

    /// Says once that something is wrong, until nothing is.
    fn complain(&mut self, trouble: Option<&io::Error>) {
        if let Some(error) = trouble.filter(|_| !self.in_trouble) {
            tracing::warn!(
                %error,
                "the agent's name cannot be told on every link, which is tried again (mDNS, UDP port {}); its \
                 addresses work",
                responder::PORT
            );
        }
        self.in_trouble = trouble.is_some();
    }

    fn hear(&mut self, heard: &Heard) {
        if self.links.get(&heard.link.index).is_some_and(|link| link.is_near(heard.from.ip())) {
            self.responder.handle_packet(Instant::now(), heard.link, heard.from, &heard.bytes);
        }
    }

    async fn act(&mut self) {
        while let Some(effect) = self.responder.poll_effect() {
            match effect {
                Effect::Send { link, to, packet } => self.send(link, to, &packet).await,
                Effect::InForce(name) => self.take(name),
                Effect::Renamed { from, to, is_first: true } => {
                    tracing::warn!(
                        "{from}.local is another's in this network, so this agent asks for {to}.local, or for the next \
                         that is nobody's: set mdns.name to choose"
                    );
                }
                Effect::Renamed { from, to, .. } => {
                    tracing::debug!("{from}.local is another's in this network too: {to}.local is next");
                }
            }
        }
    }

    async fn send(&self, link: LinkId, to: Option<SocketAddr>, packet: &[u8]) {
        let Some(open) = self.open.get(&link) else { return };
        let to = to.unwrap_or_else(|| sockets::group(link.index, open.way));
        match tokio::time::timeout(SEND_WITHIN, open.socket.send_to(packet, to)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, %to, "a packet of mDNS was not sent"),
            Err(_) => tracing::debug!(%to, "a packet of mDNS was not sent in time"),
        }
    }

    fn take(&self, name: Option<String>) {
        if let Some(name) = &name {
            tracing::info!(name = format!("{name}.local"), "the agent is found in the network by this name");
            kept::keep(&self.announced.data_dir, &self.wanted, name);
        }
        self.in_force.send_replace(name.map(|name| format!("{name}.local")));
    }
}

/// How `link` is used: by each protocol that it has.
fn ways(index: u32, link: &Link) -> impl Iterator<Item = (LinkId, Way)> + use<> {
    let v4 = link.v4.map(|address| (LinkId { index, is_v6: false }, Way::V4(address)));
    let v6 = link.v6.then_some((LinkId { index, is_v6: true }, Way::V6));
    v4.into_iter().chain(v6)
}

/// Hands on what a socket hears, until it fails. What nobody has time for is lost.
async fn read(link: LinkId, socket: Arc<UdpSocket>, heard: mpsc::Sender<Heard>) {
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                // Full: the one who asked asks again.
                let _ = heard.try_send(Heard { link, from, bytes: buffer[..length].to_vec() });
            }
            Err(error) => {
                tracing::debug!(%error, "a link cannot be heard on");
                return;
            }
        }
    }
}
