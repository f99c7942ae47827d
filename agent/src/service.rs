//! Starts the agent's parts and holds them together.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::topic::AgentId;
use gaitway_service::health::Health;
use gaitway_service::lock::DataDir;
use gaitway_service::metrics::Metrics;
use gaitway_service::tasks::Tasks;
use gaitway_service::{clock, notify};
use rusqlite::{Connection, TransactionBehavior};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
use crate::ingest::http::{self, Door};
use crate::metrics::AgentMetrics;
use crate::spool::reader::Reader;
use crate::spool::rows::Rows;
use crate::spool::schema;
use crate::status::AgentStatus;
use crate::uplink::{self, ToAgent, UplinkConfig};
use crate::writer::state::{Settings, State};
use crate::writer::{self, Command, Outlets};

/// Words of the uplink that may wait for the writer.
const WORDS: usize = 64;

/// The listener for phones.
pub async fn bind(config: &AgentConfig) -> anyhow::Result<TcpListener> {
    TcpListener::bind(config.http).await.with_context(|| {
        format!("cannot listen on {}: another program may use it; choose another address with --http", config.http)
    })
}

/// Runs an agent until `shutdown`, then finishes what is under way. Errors name what failed.
pub async fn run(
    config: AgentConfig,
    listener: TcpListener,
    status: Arc<AgentStatus>,
    health: &Health,
    metrics: &Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let params = config.windows.params()?;
    let locked = DataDir::lock(&config.data_dir)?;
    let path = locked.path().join("spool.db");
    let settings = Settings {
        path: path.clone(),
        spool: config.spool,
        windows: params,
        silence: config.windows.silence,
        wall_clock,
    };
    let tracks_sent = settings.tracks_sent();
    let configured = config.agent_id;
    let spool_path = path.clone();
    let (connection, state, agent) =
        tokio::task::spawn_blocking(move || begin(&spool_path, settings, configured)).await??;
    tracing::info!(%agent, epoch = %state.spool_state().epoch, spool = %path.display(), "agent starts");

    let agent_metrics = AgentMetrics::default();
    agent_metrics.register(metrics);
    let (commands, inbox) = mpsc::channel(writer::QUEUE);
    let (state_out, state_in) = watch::channel(state.spool_state());
    let (marks_out, marks_in) = watch::channel(state.sent_marks());
    let reader = Reader::open(&path, state_in.clone(), tracks_sent.then_some(marks_in), commands.clone())?;
    let outlets = Outlets {
        state: state_out,
        marks: marks_out,
        status: status.clone(),
        metrics: agent_metrics.clone(),
        health: health.part("spool"),
    };

    let mut tasks = Tasks::new();
    let runtime = Handle::current();
    tasks.spawn_blocking("spool writer", move || {
        let _locked = locked;
        writer::run(connection, state, inbox, &runtime, &outlets)
    })?;
    let (words, words_in) = mpsc::channel(WORDS);
    tasks.spawn("uplink words", pass_on(words_in, commands.clone()));
    let password = config.relay.read_password(&agent)?;
    let uplink_config = UplinkConfig { relay: config.relay.address, agent, password };
    let (part, uplink_metrics, stop) = (health.part("relay link"), metrics.clone(), shutdown.clone());
    tasks.spawn("uplink", async move {
        let status = status.uplink.clone();
        uplink::run(uplink_config, reader, state_in, words, status, part, &uplink_metrics, stop).await
    });
    let door = Door { writer: commands, metrics: agent_metrics };
    let router = http::router(door).merge(gaitway_service::http::router(health, metrics));
    tasks.spawn("http", http::serve(listener, router, shutdown.clone()));
    tasks.spawn("watchdog", notify::watchdog(shutdown.clone()));
    notify::ready();
    tasks.join(shutdown).await
}

fn wall_clock() -> Option<i64> {
    clock::synchronised().then(clock::now_micros)
}

/// Opens the spool and names this start in it.
fn begin(path: &Path, settings: Settings, configured: Option<AgentId>) -> anyhow::Result<(Connection, State, AgentId)> {
    let mut connection = schema::open(path)?;
    let epoch = Epoch::from_random(getrandom::u64().context("the system gives no random numbers")?);
    let started_at = gaitway_proto::schema::rfc3339(clock::now_micros().saturating_mul(1000));
    let fresh = fresh_agent_id()?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let rows = Rows(&transaction);
    let mut queue = rows.begin_start(epoch, &started_at, settings.tracks_sent())?;
    let kept = rows.agent(|| configured.clone().unwrap_or(fresh))?;
    let agent = match configured {
        Some(configured) if configured != kept => {
            let waiting: u64 = Stream::ALL.iter().map(|stream| queue.waiting(*stream)).sum();
            if waiting > 0 {
                bail!(
                    "the spool {} holds {waiting} frames named by agent {kept}: run it with that agent_id until the \
                     relay has them, then change it to {configured}",
                    path.display()
                );
            }
            // Its earlier starts have another's name: to the relay of this one they never were.
            for ordinal in queue.forget_earlier() {
                rows.forget_start(ordinal)?;
            }
            rows.set_agent(&configured)?;
            configured
        }
        _ => kept,
    };
    let state = State::load(settings, queue, &rows, Instant::now())?;
    transaction.commit()?;
    Ok((connection, state, agent))
}

/// The host's name and four random digits: two machines made from one image get names of their own.
fn fresh_agent_id() -> anyhow::Result<AgentId> {
    let host = gethostname::gethostname().to_string_lossy().chars().take(50).collect::<String>();
    let digits = getrandom::u32().context("the system gives no random numbers")? & 0xffff;
    let id = AgentId::from_free_text(&format!("{host}-{digits:04x}"));
    id.context("the host's name makes no agent id; set agent_id")
}

/// Hands the uplink's words to the writer, in their order.
async fn pass_on(mut words: mpsc::Receiver<ToAgent>, commands: mpsc::Sender<Command>) -> anyhow::Result<()> {
    while let Some(word) = words.recv().await {
        let command = match word {
            ToAgent::Acknowledged { epoch, stream, up_to } => Command::Acknowledged { epoch, stream, up_to },
            ToAgent::Welcomed => Command::Welcomed,
            ToAgent::Copied { common, why, done } => {
                tracing::warn!(why, "the relay says that this data directory is a copy of another agent's");
                Command::Copied { common, done }
            }
        };
        commands.send(command).await.context("the writer has stopped")?;
    }
    Ok(())
}
