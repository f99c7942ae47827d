//! From Kafka into the warehouse. One record's path, in the order of these modules:
//!
//! 1. `group`, a client that reads nothing, learns which partitions are ours; `crew` gives each a thread of its own.
//! 2. On it `worker` asks the partition's [`Machine`](crate::partition::Machine) what is to be done: recover the ledger, read
//!    the token, find it in the log, begin behind it.
//! 3. `reader` reads from that offset on; `taken` copies the record; `budget` bounds what waits.
//! 4. What cannot be stored goes to `dead_letter`, the rest in one submit to the [`Ledger`](gaitway_proto::ledger::Ledger)
//!    that [`Ledgers`] gave, with the mark of its last offset.
//! 5. What is durable there is told to the group, as a hint.
//!
//! `board` shows how the partitions stand. [`run`] puts it all to work.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use gaitway_kafka::KafkaConfig;
use gaitway_proto::schema;
use gaitway_service::config::Check as _;
use gaitway_service::health::Health;
use gaitway_service::metrics::Metrics;
use gaitway_service::tasks::Tasks;
use gaitway_service::{http, notify, server};
use rdkafka::config::ClientConfig;
use tokio_util::sync::CancellationToken;

use crate::config::SinkConfig;
use crate::ledgers::Ledgers;
use crate::partition::Limits;

mod board;
mod budget;
mod crew;
mod dead_letter;
mod group;
mod metrics;
mod reader;
mod taken;
mod worker;

use board::Board;
use budget::Budget;
use crew::Crew;
use dead_letter::DeadLetters;
use group::Member;
use metrics::SinkMetrics;
use reader::Source;
use worker::Shop;

/// The name of the sink's clients.
const CLIENT: &str = "gaitway-sink";

/// How often the group is served while nothing happens.
const SERVE: Duration = Duration::from_millis(50);

/// How often it is shown how things stand, and hints are committed.
const SHOW_EVERY: Duration = Duration::from_secs(1);
const HINT_EVERY: Duration = Duration::from_secs(5);

/// How often topics that are not there are looked for, and Kafka is tried again where it does not answer.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long one look may take: nobody serves the group meanwhile.
const LOOK: Duration = Duration::from_secs(2);

/// At the end: for the workers, for the group's offsets, and for leaving the group. Together below the service's grace.
const END: [Duration; 3] = [Duration::from_secs(6), Duration::from_secs(1), Duration::from_secs(2)];

/// Submits of a partition that may be accepted and not committed.
const MOST_ACCEPTED: usize = 8;

/// Sets `property` where the operator has not.
fn unless_set(client: &mut ClientConfig, config: &KafkaConfig, property: &str, value: usize) {
    if !config.properties.0.contains_key(property) {
        client.set(property, value.to_string());
    }
}

/// Stores what comes from Kafka in the ledgers of `ledgers` until `shutdown`; submits under way are finished then. Needs a
/// runtime around it. Kafka or a warehouse that cannot be reached is waited for; the error is a part that broke.
pub async fn run(
    config: SinkConfig,
    ledgers: Arc<dyn Ledgers>,
    health: &Health,
    metrics: &Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.check()?;
    let board = Arc::new(Board::new(health.part("sink"), SinkMetrics::register(metrics)));
    let mut tasks = Tasks::new();
    if let Some(admin) = config.admin {
        let listener = server::bind(admin)
            .with_context(|| format!("cannot serve health and metrics on {admin}; set admin to a free address"))?;
        let address = listener.local_addr().context("the admin listener has no address")?;
        tracing::info!(%address, "health and metrics are served here");
        tasks.spawn("sink admin", http::serve(listener, health.clone(), metrics.clone(), shutdown.clone()));
    }
    let stop = shutdown.clone();
    tasks.spawn_blocking("sink group", move || {
        Watch::new(config, ledgers, board, stop).run().map_err(|said| anyhow!(said))
    })?;
    tasks.spawn("watchdog", notify::watchdog(shutdown.clone()));
    notify::ready();
    tasks.join(shutdown).await
}

/// The thread that serves the group and watches over the workers.
struct Watch {
    config: SinkConfig,
    kafka: Arc<KafkaConfig>,
    board: Arc<Board>,
    crew: Arc<Mutex<Crew>>,
    budget: Budget,
    stop: CancellationToken,
}

impl Watch {
    fn new(config: SinkConfig, ledgers: Arc<dyn Ledgers>, board: Arc<Board>, stop: CancellationToken) -> Self {
        let kafka = Arc::new(config.kafka.clone());
        let batch = &config.batch;
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let budget = Budget::new(size(batch.memory / 2));
        let limits = Limits {
            max_rows: batch.max_rows,
            max_bytes: size(batch.max_bytes),
            linger: batch.linger,
            max_accepted: MOST_ACCEPTED,
        };
        let shop = Shop {
            ledgers,
            letters: DeadLetters::new(Arc::clone(&kafka), CLIENT),
            board: Arc::clone(&board),
            budget: budget.clone(),
            limits,
            adopt: config.adopt_from_group,
        };
        let crew = Arc::new(Mutex::new(Crew::new(Arc::clone(&kafka), shop)));
        Self { config, kafka, board, crew, budget, stop }
    }

    fn run(self) -> Result<(), String> {
        if !self.prepare() {
            return Ok(());
        }
        let topics = schema::TABLES.map(|table| self.kafka.topics.of(table));
        let member = Member::join(&self.kafka, CLIENT, &self.config.group, &topics, Arc::clone(&self.crew))?;
        tracing::info!(brokers = self.kafka.brokers, group = self.config.group, "the sink has asked to join its group");
        let mut source = None;
        let outcome = self.watch(&member, &topics, &mut source);
        self.leave(member, source);
        outcome
    }

    /// Waits for Kafka and for the topic of dead letters; whether there is still somebody who wants it.
    fn prepare(&self) -> bool {
        while !self.stop.is_cancelled() {
            match dead_letter::ensure(&self.kafka, CLIENT, &self.stop) {
                Ok(()) => return true,
                Err(said) => self.board.show(Instant::now(), &[said]),
            }
            let again = Instant::now() + LOOK_EVERY;
            while Instant::now() < again && !self.stop.is_cancelled() {
                std::thread::sleep(SERVE);
            }
        }
        false
    }

    fn watch(&self, member: &Member, topics: &[&str], source: &mut Option<Source>) -> Result<(), String> {
        let (mut shown, mut hinted, mut looked) = (None, Instant::now(), None);
        let mut absent: Vec<String> = Vec::new();
        let due = |last: Option<Instant>, every: Duration| last.is_none_or(|last: Instant| last.elapsed() >= every);
        while !self.stop.is_cancelled() {
            member.serve(SERVE);
            let assigned = member.take_assigned();
            if source.is_none() && !assigned.is_empty() {
                *source = Some(self.source(member, topics)?);
            }
            let mut crew = self.crew.lock().unwrap_or_else(PoisonError::into_inner);
            crew.hire(assigned);
            crew.reap()?;
            if let Some(source) = &*source {
                source.serve()?;
                crew.start(source)?;
            }
            drop(crew);
            if due(looked, LOOK_EVERY) && (looked.is_none() || !absent.is_empty() || !member.has_joined()) {
                absent = self.absent(member, topics);
                looked = Some(Instant::now());
            }
            if due(shown, SHOW_EVERY) {
                shown = Some(Instant::now());
                self.show(member, &absent, source.as_ref());
            }
            if hinted.elapsed() >= HINT_EVERY {
                hinted = Instant::now();
                member.commit(&self.board.take_hints());
            }
        }
        Ok(())
    }

    /// The client that reads, its memory divided by all partitions that there are: one sink may come to own them all.
    fn source(&self, member: &Member, topics: &[&str]) -> Result<Source, String> {
        let counted = member.partitions(&self.kafka, topics, LOOK).unwrap_or_default().iter().sum::<usize>();
        let partitions = counted.max(topics.len());
        let memory = self.config.batch.memory / 2;
        Source::new(Arc::clone(&self.kafka), CLIENT, &self.config.group, memory, partitions)
    }

    /// A sentence for each topic that is not there.
    fn absent(&self, member: &Member, topics: &[&str]) -> Vec<String> {
        match member.partitions(&self.kafka, topics, LOOK) {
            Ok(counts) => {
                let absent = topics.iter().zip(counts).filter(|(_, count)| *count == 0);
                absent.map(|(topic, _)| format!("topic {topic} is not there yet: the relay creates it")).collect()
            }
            Err(said) => vec![said],
        }
    }

    fn show(&self, member: &Member, absent: &[String], source: Option<&Source>) {
        let mut outside = absent.to_vec();
        if outside.is_empty() && !member.has_joined() {
            let heard = member.trouble().map(|said| format!(" ({said})")).unwrap_or_default();
            outside.push(format!("not in the group {} yet{heard}", self.config.group));
        }
        self.board.show(Instant::now(), &outside);
        self.board.metrics.held.set(self.budget.held() as i64);
        self.board.metrics.prefetched.set(source.map_or(0, |source| source.seen().queued()) as i64);
    }

    /// Ends the workers, tells the group what is stored, and leaves it.
    fn leave(&self, member: Member, source: Option<Source>) {
        let [workers, offsets, leaving] = END;
        let mut crew = self.crew.lock().unwrap_or_else(PoisonError::into_inner);
        let all = crew.all();
        let hints = crew.dismiss(&all, workers);
        drop(crew);
        member.commit(&hints);
        member.finish(offsets);
        // Without brokers this takes as long as their time-outs, and nobody waits for that.
        let (left, heard) = sync_channel::<()>(1);
        let leave = move || {
            drop((member, source));
            let _ = left.send(());
        };
        match std::thread::Builder::new().name("sink leaves".to_owned()).spawn(leave) {
            Ok(_) if heard.recv_timeout(leaving) == Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("the group could not be told that this sink leaves: it will notice");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the group could not be left in order"),
        }
    }
}
