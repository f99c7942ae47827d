//! Starts the agent's parts and holds them together.
//!
//! - A spool that is lost while in use ends the parts that use it, not the process: what is left of it is set aside, they
//!   begin again with a new one, and pushes that were under way are answered from there.
//! - Spools that are lost again and again end the process: then it is the disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use axum::Router;
use gaitway_proto::topic::AgentId;
use gaitway_service::health::{Health, Part};
use gaitway_service::lock::DataDir;
use gaitway_service::metrics::Metrics;
use gaitway_service::tasks::Tasks;
use gaitway_service::tls::Tls;
use gaitway_service::{clock, notify, server};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::addresses::{self, Listens};
use crate::api::live::Live;
use crate::api::{self, Api};
use crate::config::AgentConfig;
use crate::control;
use crate::identity::{self, Identity, Route};
use crate::ingest::http::{self, Door, Quotas};
use crate::kept::KeptFile;
use crate::mdns::{self, Announced};
use crate::metrics::AgentMetrics;
use crate::metrics::now::Now;
use crate::names::Names;
use crate::page::{self, Page};
use crate::phones::PhonesFile;
use crate::recent::{Feed, Recent};
use crate::setup::Setup;
use crate::spool::damage::{self, Loss};
use crate::spool::presence::Presence;
use crate::spool::quarantine;
use crate::spool::reader::Reader;
use crate::status::AgentStatus;
use crate::uplink::{self, ToAgent, UplinkConfig, UplinkMetrics};
use crate::writer::state::Settings;
use crate::writer::{self, Command, Ended, Inbox, Outlets};

mod beginning;
pub(crate) mod door;
pub(crate) mod kept_id;

use beginning::{Begun, Former, begin};
use door::OpenDoor;

/// Words of the uplink that may wait for the writer.
const WORDS: usize = 64;

/// So many spools lost within [`WITHIN`] end the process.
const MOST_LOST: usize = 3;
const WITHIN: Duration = Duration::from_secs(60);

/// The listener for phones. Needs a runtime around it.
pub fn bind(config: &AgentConfig) -> anyhow::Result<TcpListener> {
    server::bind(config.http).with_context(|| {
        format!("cannot listen on {}: another program may use it; choose another address with --http", config.http)
    })
}

/// Runs an agent until `shutdown`, then finishes what is under way. `tls` is what [`https`](AgentConfig::https) loads. Errors
/// name what failed.
pub async fn run(
    config: AgentConfig,
    listener: TcpListener,
    tls: Option<Tls>,
    status: Arc<AgentStatus>,
    health: &Health,
    metrics: &Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let by_broker = config.relay.by_broker()?;
    let settings = Settings {
        path: config.data_dir.join("spool.db"),
        spool: config.spool.clone(),
        windows: config.windows.params()?,
        silence: config.windows.silence,
        wall_clock,
    };
    status.begin(settings.spool.max_bytes, settings.windows.classifier().bounds());
    let (agent_metrics, uplink_metrics) = (AgentMetrics::default(), UplinkMetrics::default());
    agent_metrics.register(metrics);
    uplink_metrics.register(metrics);
    let (data_dir, flag, at_socket) = (config.data_dir.clone(), addresses::command_flag(&config), config.clone());
    let phones = Arc::new(PhonesFile::new(&data_dir));
    let quotas = Quotas::new(&config.limits);
    let (commands, inbox) = mpsc::channel(writer::QUEUE);
    Identity::sweep(&config.data_dir)?;
    let identity = Identity::load(&config.data_dir)?;
    let config = if by_broker.is_some() { config } else { named(config, identity.as_ref())? };
    let configured = config.relay.address.clone();
    let is_by_broker = by_broker.is_some();
    let route = by_broker.unwrap_or_else(|| Route::choose(configured.as_ref(), identity.as_ref()));
    let (routes_out, routes) = watch::channel(route);
    Now::new(&status, &data_dir, &settings.spool, &routes, tls.as_ref()).register(metrics);
    let (agent_out, agent) = watch::channel(None);
    let (shown_agent, shown_status, status_at_door) = (agent.clone(), Arc::clone(&status), Arc::clone(&status));
    let (mdns, local_name, shown_name) =
        (config.mdns.clone(), status.local_name.clone(), status.local_name.subscribe());
    let (push_host, open_is_told) = (config.push_host.clone(), config.open_is_told);
    let names = Names::of_this_machine(push_host.as_deref());
    let wanted = Arc::default();
    let identities = identity::Keeper {
        dir: config.data_dir.clone(),
        configured,
        agent,
        identity,
        routes: routes_out,
        wanted: Arc::clone(&wanted),
    };
    let recent = Recent::of(&data_dir);
    let (feed, filling) = recent.filled(settings.spool.min_free_percent, agent_metrics.forgone_windows.clone());
    recall(recent.clone(), &status).await?;
    let keeper = Keeper {
        settings,
        recent: feed,
        config,
        routes,
        wanted,
        agent: agent_out,
        commands: commands.downgrade(),
        status,
        metrics: agent_metrics.clone(),
        uplink_metrics,
        spool: health.part("spool"),
        link: health.part("relay link"),
    };

    // Nobody is let in before the first spool is in use.
    let (begun, locked) = keeper.begin(Former::default()).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "taking pushes at /data");
    addresses::note(&data_dir, &Listens { address, is_https: tls.is_some(), host: push_host.clone() });
    let mut tasks = Tasks::new();
    let stop = shutdown.clone();
    if !is_by_broker {
        tasks.spawn("identity", identity::keep(identities, shutdown.clone()));
    }
    // It ends once the writer has, with what that told last.
    tasks.spawn_blocking("today's windows", move || filling.run())?;
    let wanted = mdns.name.unwrap_or_else(|| begun.agent.to_string());
    let announced = Announced { wanted, listener: address, is_https: tls.is_some(), data_dir: data_dir.clone() };
    if mdns.enabled && Announced::is_reached(address) {
        tasks.spawn("mdns", mdns::run(announced, local_name, shutdown.clone()));
    } else {
        mdns::kept::forget(&data_dir);
    }
    tasks.spawn("spool", async move { keeper.run(begun, locked, inbox.into(), stop).await });
    control::open(&mut tasks, &at_socket, &shutdown);
    let readers = Arc::new(KeptFile::new(&data_dir));
    let lists = (Arc::clone(&phones), Arc::clone(&readers));
    let open = OpenDoor::of(address, &flag);
    tasks.spawn("door", door::watch(lists, open, open_is_told, health.part("phones"), shutdown.clone()));
    let page = Arc::new(Page {
        readers,
        phones: Arc::clone(&phones),
        status: shown_status,
        agent: shown_agent,
        listener: address,
        flag: flag.clone(),
        is_https: tls.is_some(),
        setup: Setup::new(push_host, shown_name),
    });
    let live = Arc::new(Live::default());
    let api = Api::new(Arc::clone(&page), recent, Arc::clone(&live), shutdown.clone());
    let (shown, stop) = (Arc::clone(&page), shutdown.clone());
    tasks.spawn("live view", async move { live.tell(&shown.status, || shown.now(), stop).await });
    let shown = page::router(page, api::router(api)).merge(gaitway_service::http::router(health, metrics));
    let shown = page::under_own_names(shown, names.clone());
    let door = Door { writer: commands, metrics: agent_metrics, status: status_at_door, phones, quotas, names };
    serve(&mut tasks, listener, http::router(door).merge(shown), tls, &shutdown);
    tasks.join(shutdown).await
}

/// Tells `status` what phones did before this start.
async fn recall(recent: Recent, status: &AgentStatus) -> anyhow::Result<()> {
    match tokio::task::spawn_blocking(move || recent.doings()).await? {
        Ok(doings) => status.recall(doings),
        Err(error) => tracing::warn!(
            error = format!("{:#}", anyhow::Error::from(error)),
            "what phones did before this start is not known"
        ),
    }
    Ok(())
}

/// Serves `router` and tells the service manager that it is there.
fn serve(tasks: &mut Tasks, listener: TcpListener, router: Router, tls: Option<Tls>, shutdown: &CancellationToken) {
    tasks.spawn("http", http::serve(listener, router, tls, shutdown.clone()));
    tasks.spawn("watchdog", notify::watchdog(shutdown.clone()));
    notify::ready();
}

/// The configuration with the name under which the agent has enrolled.
fn named(mut config: AgentConfig, identity: Option<&Identity>) -> anyhow::Result<AgentConfig> {
    let Some(enrolled) = identity.map(|identity| &identity.agent) else { return Ok(config) };
    let is_plain = config.relay.address.as_ref().is_some_and(|relay| !relay.is_secure());
    if is_plain {
        return Ok(config);
    }
    let configured = config.agent_id.get_or_insert_with(|| enrolled.clone());
    ensure!(
        configured == enrolled,
        "agent_id is {configured}, but this agent has enrolled as {enrolled}: remove agent_id, or enrol again with a code \
         for {configured}"
    );
    Ok(config)
}

fn wall_clock() -> Option<i64> {
    clock::synchronised().then(clock::now_micros)
}

/// Keeps a spool in use.
struct Keeper {
    settings: Settings,
    config: AgentConfig,
    routes: watch::Receiver<Route>,
    /// For whoever has the certificate replaced.
    wanted: Arc<Notify>,
    /// Told of the agent's name.
    agent: watch::Sender<Option<AgentId>>,
    /// The door's end keeps the channel open.
    commands: mpsc::WeakSender<Command>,
    status: Arc<AgentStatus>,
    recent: Feed,
    metrics: AgentMetrics,
    uplink_metrics: UplinkMetrics,
    spool: Part,
    link: Part,
}

/// A spool that was lost while in use.
struct Lost {
    loss: Loss,
    presence: Presence,
    inbox: Inbox,
}

type Locked = gaitway_service::lock::Locked;

impl Keeper {
    async fn run(
        &self,
        mut begun: Begun,
        mut locked: Locked,
        mut inbox: Inbox,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut losses = VecDeque::new();
        loop {
            let (agent, ordinal) = (begun.agent.clone(), begun.state.ordinal());
            let Some(lost) = self.live(begun, inbox, locked, &shutdown).await? else { return Ok(()) };
            let happened = damage::sentence(&self.settings.path, &lost.loss);
            self.spool.not_ready(happened.as_str());
            self.metrics.lost_spools.inc();
            losses.push_back(Instant::now());
            if losses.len() > MOST_LOST {
                losses.pop_front();
            }
            if losses.len() == MOST_LOST && losses.front().is_some_and(|first| first.elapsed() < WITHIN) {
                bail!(
                    "{happened}; that is the third spool lost within {} s: its disk fails, or another program meddles",
                    WITHIN.as_secs()
                );
            }
            let former = Former::lost(lost.loss, lost.presence, agent, ordinal);
            (begun, locked) = self.begin(former).await?;
            inbox = lost.inbox.settled();
        }
    }

    /// Locks the data directory and opens a spool in it.
    async fn begin(&self, former: Former) -> anyhow::Result<(Begun, Locked)> {
        let locked = DataDir::lock(&self.config.data_dir)?;
        let (dir, settings) = (self.config.data_dir.clone(), self.settings.clone());
        let configured = self.config.agent_id.clone();
        let begin = move || {
            let begun = begin(&dir, &settings, configured.as_ref(), former)?;
            Ok::<_, anyhow::Error>((begun, quarantine::aside_in(&dir)))
        };
        let (begun, aside) = tokio::task::spawn_blocking(begin).await??;
        for notice in &begun.notices {
            tracing::error!("{notice}");
        }
        let notice = begun.notices.last().cloned().or_else(|| remainder(&aside));
        if let Some(notice) = notice {
            if begun.notices.is_empty() {
                tracing::warn!("{notice}");
            }
            self.spool.note(notice.as_str());
            self.status.notice(notice);
        }
        tracing::info!(
            agent = %begun.agent,
            epoch = %begun.state.spool_state().epoch,
            spool = %self.settings.path.display(),
            "agent starts"
        );
        Ok((begun, locked))
    }

    /// Uses a spool until `shutdown`, or until it is lost.
    async fn live(
        &self,
        begun: Begun,
        inbox: Inbox,
        locked: Locked,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Lost>> {
        let Begun { connection, state, agent, .. } = begun;
        let Some(commands) = self.commands.upgrade() else { return Ok(None) };
        let (state_out, state_in) = watch::channel(state.spool_state());
        let (marks_out, marks_in) = watch::channel(state.sent_marks());
        let marks = self.settings.tracks_sent().then_some(marks_in);
        let reader = Reader::open(&self.settings.path, state_in.clone(), marks, commands.clone())?;
        let outlets = Outlets {
            state: state_out,
            marks: marks_out,
            status: self.status.clone(),
            recent: Some(self.recent.clone()),
            metrics: self.metrics.clone(),
            health: self.spool.clone(),
        };

        let mut tasks = Tasks::new();
        let life = shutdown.child_token();
        let (runtime, end, (lost_out, mut lost)) = (Handle::current(), life.clone(), oneshot::channel());
        tasks.spawn_blocking("spool writer", move || {
            let _locked = locked;
            if let Ended::Lost { loss, presence, inbox } = writer::run(connection, state, inbox, &runtime, &outlets)? {
                // The others hear of it before the writer's own ends of their channels are gone.
                drop(lost_out.send(Lost { loss, presence, inbox }));
                end.cancel();
            }
            Ok(())
        })?;
        let (words, words_in) = mpsc::channel(WORDS);
        tasks.spawn("uplink words", pass_on(words_in, commands));
        self.agent.send_replace(Some(agent.clone()));
        let (routes, word, wanted) = (self.routes.clone(), self.config.relay.word.clone(), self.wanted.clone());
        let config = UplinkConfig { routes, agent, word, wanted };
        let (status, link, counters) = (self.status.uplink.clone(), self.link.clone(), self.uplink_metrics.clone());
        tasks.spawn("uplink", uplink::run(config, reader, state_in, words, status, link, counters, life.clone()));

        let ended = tasks.join(life);
        tokio::pin!(ended);
        tokio::select! {
            biased;
            Ok(mut lost) = &mut lost => {
                let outcome = tokio::select! {
                    outcome = &mut ended => outcome,
                    () = lost.inbox.hold() => ended.await,
                };
                // What a part says of the spool's end is said by its loss.
                if let Err(error) = outcome {
                    tracing::debug!(error = format!("{error:#}"), "a part did not end well with its spool");
                }
                Ok(Some(lost))
            }
            outcome = &mut ended => outcome.map(|()| None),
        }
    }
}

/// What to say of files that were set aside earlier and still lie there.
fn remainder(aside: &[std::path::PathBuf]) -> Option<String> {
    let first = aside.first()?.display();
    let others = match aside.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "{first}{others} was set aside earlier: `gaitway agent spool salvage` gets out what can be got out; delete it once it \
         is no longer needed"
    ))
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
