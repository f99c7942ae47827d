//! The gaitway relay: what agents send over MQTT goes into a ledger, each frame once, and only then is acknowledged.
//!
//! One batch's path, in the order of these modules:
//!
//! 1. `listener` accepts the agent's connection, proves who it is (by its certificate: [`identity`]), and reads the batch off the wire. The PUBACK that
//!    follows says nothing about delivery.
//!    Where agents come in by a broker that is not ours, `broker` is its client and stands in the listener's place.
//! 2. `intake` decodes it and gives it to the commit machine; it knows links and agents, not sockets.
//! 3. `commit`, the pure machine, takes what continues the stream, drops what it has, asks for what is missing, and
//!    puts the next commit together, fairly over all agents.
//! 4. `ledger`, a thread of its own, turns frames into records, submits records and marks in one atomic step to a
//!    [`Ledger`], and reads back which positions are durable.
//! 5. From these, and from nothing else, the commit machine makes the acknowledgements.
//!
//! `agents` keeps what people ask of each agent, and shows it at `/agents` beside health and metrics.
//! Beside this path, `registry` tells a schema registry what the records look like, if one is configured.
//!
//! [`checkup`] looks whether all of it is as it should be.
//!
//! [`run`] puts it all to work on a listener from [`bind`]. Which ledger it is, is the caller's: [`kafka`] has the one
//! of a relay in the cloud.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use anyhow::Context as _;
use gaitway_proto::ledger::Ledger;
use gaitway_service::health::Health;
use gaitway_service::lock::DataDir;
use gaitway_service::metrics::Metrics;
use gaitway_service::secret::Secret;
use gaitway_service::tasks::Tasks;
use gaitway_service::{clock, http, server};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

mod agents;
mod broker;
pub mod checkup;
pub mod command;
mod commit;
mod config;
mod descriptors;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "kafka")]
mod http_client;
pub mod identity;
mod intake;
#[cfg(feature = "kafka")]
pub mod kafka;
mod ledger;
mod link;
mod listener;
#[cfg(any(test, feature = "fuzzing"))]
#[path = "../tests/memory/mod.rs"]
mod memory;
mod metrics;
#[cfg(feature = "kafka")]
mod registry;
mod status;
mod throttle;

pub use config::{BrokerConfig, CommitConfig, RelayConfig};
#[cfg(feature = "kafka")]
pub use config::{Compatibility, SchemaRegistryConfig};
pub use metrics::describe;
pub use status::RelayStatus;

use agents::{Agents, Measures};
use broker::{Client, Queues};
use commit::Machine;
use identity::{Clerk, Desk, Store, StoreError};
use intake::{Intake, inlet};
use listener::{Access, Context, Door, Tls};
use metrics::RelayMetrics;
use throttle::{Throttle, Trouble};

/// The ledger has another owner now. The error of [`run`] can be downcast to it; the process then exits with
/// [`EXIT_FENCED`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("another relay owns the ledger now, this one must not be started again beside it: {0}")]
pub struct Fenced(pub String);

/// Exit status after [`Fenced`], on which no unit restarts: `EX_CONFIG` of `sysexits.h`.
pub const EXIT_FENCED: u8 = 78;

/// Requests that may be under way to the ledger's thread: a recovery, a look-up and a commit.
const REQUESTS: usize = 4;

/// Opens the listener that [`run`] serves. Refuses to listen without TLS where others can connect. Needs a
/// runtime around it.
pub fn bind(config: &RelayConfig) -> anyhow::Result<TcpListener> {
    config.check_exposure(config.mqtt)?;
    server::bind(config.mqtt).with_context(|| {
        format!(
            "cannot listen for agents on {}; another relay or a broker may run there: choose another address with \
             --mqtt or the key mqtt",
            config.mqtt
        )
    })
}

/// Where agents come in.
#[derive(Debug, Default)]
pub struct Doors {
    /// None where they come in by a broker.
    agents: Option<TcpListener>,
    own: Option<(TcpListener, Secret)>,
}

impl From<TcpListener> for Doors {
    fn from(agents: TcpListener) -> Self {
        Self { agents: Some(agents), own: None }
    }
}

impl Doors {
    /// As configured: a listener, or none where agents come in by a broker. Needs a runtime around it.
    pub fn open(config: &RelayConfig) -> anyhow::Result<Self> {
        if config.broker.is_some() { Ok(Self::default()) } else { bind(config).map(Self::from) }
    }

    /// Where agents connect; none where they come in by a broker.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        self.agents.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Beside these doors one on a loopback address, without TLS, for the agent of this process: it gives the
    /// word, which nobody else knows, as its password.
    #[must_use]
    pub fn with_own(mut self, own: TcpListener, word: Secret) -> Self {
        self.own = Some((own, word));
        self
    }
}

/// Serves agents who come in by `doors` and commits to `ledger` until `shutdown`; then finishes and acknowledges the commit
/// under way. The error says which part failed; see [`Fenced`].
pub async fn run(
    config: RelayConfig,
    doors: impl Into<Doors>,
    ledger: Box<dyn Ledger>,
    status: Arc<RelayStatus>,
    health: &Health,
    metrics: &Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let doors: Doors = doors.into();
    let address = doors.address().context("the relay's listener has no address")?;
    if let Some(address) = address {
        config.check_exposure(address)?;
    }
    let limits = config.limits()?;
    if let Some(broker) = &config.broker {
        broker.access().check_files().context("the relay has nothing to show its broker (relay.broker)")?;
    }
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &config.kafka {
        kafka.check_files()?;
    }
    #[cfg(feature = "kafka")]
    let kafka = config.kafka.as_ref().map(|kafka| kafka.brokers.clone());
    #[cfg(not(feature = "kafka"))]
    let kafka = None;
    #[cfg(feature = "kafka")]
    config.schema_registry.credentials()?;
    descriptors::provide(config.max_connections);
    let seed = getrandom::u64().context("the system gives no random numbers")?;
    let counters = RelayMetrics::register(metrics);
    let (way_in, events) = inlet();
    let (requests, asked) = sync_channel(REQUESTS);
    let (tells, outcomes) = mpsc::channel(REQUESTS);

    let agents = Arc::new(Agents::default());
    Measures::register(&agents, metrics);
    let intake = Intake {
        machine: Machine::new(limits, seed),
        requests,
        most_held: config.most_held(),
        metrics: counters.clone(),
        status: Arc::clone(&status),
        agents: Arc::clone(&agents),
        health: health.part("relay ledger"),
        links: HashMap::new(),
        throttle: Throttle::default(),
        trouble: Trouble::default(),
        patience: intake::Patience::default(),
    };
    let opened = Arc::clone(&status);
    let context = Arc::new(Context::new(way_in, config.max_connections, counters, status, shutdown.clone()));

    let mut tasks = Tasks::new();
    let door = match address {
        Some(address) if config.wants_tls(address) => {
            Door::Tls(Arc::new(certified(&config, address, health, &mut tasks, shutdown.clone()).await?))
        }
        _ => Door::Plain(Access::Open),
    };
    let is_tls = matches!(door, Door::Tls(_));
    tasks.spawn_blocking("ledger", move || {
        ledger::serve(ledger, &asked, &tells, clock::now_micros);
        Ok(())
    })?;
    tasks.spawn("relay intake", intake.run(events, outcomes, shutdown.clone()));
    let Doors { agents: listener, own } = doors;
    if let Some(listener) = listener {
        tasks.spawn("relay listener", listener::listen(listener, door, context.clone()));
    }
    if let Some(broker) = config.broker.clone() {
        let queues = Queues::new(config.max_connections, config.most_held());
        let client = Client::new(broker, queues, context.clone(), health.part("broker"), seed);
        tasks.spawn("broker", client.run());
    }
    if let Some((listener, word)) = own {
        tasks.spawn("own listener", listener::listen(listener, Door::Plain(Access::Word(word)), context));
    }
    if let Some(admin) = config.admin {
        let listener = server::bind(admin)
            .with_context(|| format!("cannot serve health and metrics on {admin}; set admin to a free address"))?;
        let address = listener.local_addr().context("the admin listener has no address")?;
        tracing::info!(%address, "health and metrics are served here");
        let routes = http::router(health, metrics).merge(agents::route(agents, clock::now_micros, kafka));
        tasks.spawn("relay admin", http::serve_router(listener, routes, shutdown.clone()));
    }
    #[cfg(feature = "kafka")]
    if let Some(base) = config.schema_registry.base() {
        let topics = config.kafka.unwrap_or_default().topics;
        let open = registry::registrations(&topics, config.schema_registry.compatibility);
        let part = health.part("schema registry");
        tasks
            .spawn("schema registry", registry::keep(config.schema_registry, base, open, part, seed, shutdown.clone()));
    }
    if let Some(address) = address {
        tracing::info!(%address, tls = is_tls, "relay listening for agents");
    }
    opened.is_open();
    tasks.join(shutdown).await
}

/// Opens the relay's authority and its book of certificates, and begins to keep them.
async fn certified(
    config: &RelayConfig,
    address: SocketAddr,
    health: &Health,
    tasks: &mut Tasks,
    shutdown: CancellationToken,
) -> anyhow::Result<Tls> {
    let now = || clock::now_micros().div_euclid(1_000_000);
    let dir = config.data_dir.clone();
    let locked = DataDir::lock(&dir)?;
    let public = config.public_address.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let mut store = Store::open(&dir, now())?;
        store.note_listener(&public.clone().unwrap_or_else(|| address.to_string()), public.is_some())?;
        let book = store.book(now())?;
        Ok::<_, StoreError>((store, book))
    });
    let (store, book) = opened.await?.context("agents cannot be told from others")?;
    let (book, books) = watch::channel(Arc::new(book));
    let (desk, inbox) = Desk::new();
    let tls = Tls::new(store.authority(), books, desk, now)?;
    let (own, health) = (tls.own().clone(), health.part("identities"));
    let clerk = Clerk { store, inbox, book, own, health, now, shutdown };
    tasks.spawn_blocking("identities", move || {
        let _locked = locked;
        clerk.work();
        Ok(())
    })?;
    Ok(tls)
}
