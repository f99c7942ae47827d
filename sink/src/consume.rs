//! From Kafka into the warehouse. One record's path, in the order of these modules:
//!
//! 1. `group`, a client that reads nothing, learns which partitions are ours; `crew` gives each a thread of its own.
//! 2. On it `worker` asks the partition's [`Machine`](crate::partition::Machine) what is to be done: recover the ledger, read
//!    the token, find it in the log, begin behind it.
//! 3. `reader` reads from that offset on; `taken` copies the record; `budget` bounds what waits.
//! 4. On a thread beside it `submitter` sends what cannot be stored to `dead_letter`, the rest in one submit to the
//!    [`Ledger`](gaitway_proto::ledger::Ledger) that [`Ledgers`] gave, with the mark of its last offset.
//! 5. What is durable there is told to the group, as a hint.
//!
//! `board` shows how the partitions stand. [`run`] puts it all to work. `redrive` lets a range of offsets go this way again.

use std::cell::Cell;
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
pub(crate) mod redrive;
mod submitter;
mod taken;
mod worker;

use board::Board;
use budget::Budget;
use crew::Crew;
use dead_letter::DeadLetters;
use group::Member;
pub use metrics::describe;

use metrics::SinkMetrics;
use reader::Source;
pub(crate) use reader::told_in;
use worker::{Memories, Shop};

/// The name of the sink's clients.
const CLIENT: &str = "gaitway-sink";

/// How often the group is served while nothing happens.
const SERVE: Duration = Duration::from_millis(50);

/// How often it is shown how things stand, and hints are committed.
const SHOW_EVERY: Duration = Duration::from_secs(1);
const HINT_EVERY: Duration = Duration::from_secs(5);

/// How often hints are committed again that did not change.
const HINT_AGAIN: Duration = Duration::from_secs(60);

/// How often, about, topics that are not there are looked for, and Kafka is tried again where it does not answer.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long one look may take: nobody serves the group meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// So long after everything is there it is nothing to speak of that the group has not let the sink in: it waits for others first.
const JOINING: Duration = Duration::from_secs(10);

/// All of the end, from when it was asked for: below the service's grace. Its last parts are for the group's offsets, and for
/// leaving the group.
const END: Duration = Duration::from_secs(9);
const OFFSETS: Duration = Duration::from_secs(1);
const LEAVING: Duration = Duration::from_secs(2);

/// Submits of a partition that may be accepted and not committed.
const MOST_ACCEPTED: usize = 256;

/// Sets `property`, by librdkafka's first name of it, where the operator has not.
fn unless_set(client: &mut ClientConfig, property: &str, value: usize) {
    if client.get(property).is_none() {
        client.set(property, value.to_string());
    }
}

/// About `long`: many that wait for the same do not come all at once.
fn about(long: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    long.mul_f64(0.75 + f64::from(random) / f64::from(u32::MAX) / 2.0)
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
    config.kafka.check_files()?;
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
    /// When there last was something else to wait for than the group.
    hindered: Cell<Instant>,
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
            memories: Memories::default(),
        };
        let crew = Arc::new(Mutex::new(Crew::new(Arc::clone(&kafka), shop)));
        Self { config, kafka, board, crew, budget, hindered: Cell::new(Instant::now()), stop }
    }

    fn run(self) -> Result<(), String> {
        if !self.prepare()? {
            return Ok(());
        }
        let topics = schema::TABLES.map(|table| self.kafka.topics.of(table));
        let (crew, board) = (Arc::clone(&self.crew), Arc::clone(&self.board));
        let member = Member::join(&self.kafka, CLIENT, &self.config.group, &topics, crew, board)?;
        tracing::info!(brokers = self.kafka.brokers, group = self.config.group, "the sink has asked to join its group");
        let (mut source, mut alive) = (None, Instant::now());
        let outcome = self.watch(&member, &topics, &mut source, &mut alive);
        self.leave(member, source, alive + END);
        outcome
    }

    /// Waits for Kafka and for the topic of dead letters; whether there is still somebody who wants it. The error is a
    /// thread that cannot be had.
    fn prepare(&self) -> Result<bool, String> {
        while !self.stop.is_cancelled() {
            // Apart, because Kafka may take longer to answer than the end may.
            let (told, answer) = sync_channel(1);
            let (kafka, stop) = (Arc::clone(&self.kafka), self.stop.clone());
            let ensure = move || drop(told.send(dead_letter::ensure(&kafka, CLIENT, &stop)));
            let thread = std::thread::Builder::new().name("sink prepares".to_owned()).spawn(ensure);
            thread.map_err(|error| format!("cannot start a thread to look for Kafka: {error}"))?;
            let outcome = loop {
                match answer.recv_timeout(SERVE) {
                    Err(RecvTimeoutError::Timeout) if self.stop.is_cancelled() => return Ok(false),
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(outcome) => break outcome,
                    Err(RecvTimeoutError::Disconnected) => return Err("looking for Kafka panicked".to_owned()),
                }
            };
            match outcome {
                Ok(()) => return Ok(true),
                Err(said) => self.board.show(Instant::now(), &[said], false),
            }
            let again = Instant::now() + about(LOOK_EVERY);
            while Instant::now() < again && !self.stop.is_cancelled() {
                std::thread::sleep(SERVE);
            }
        }
        Ok(false)
    }

    /// `alive`: when the end had not been asked for.
    fn watch(
        &self,
        member: &Member,
        topics: &[&str],
        source: &mut Option<Source>,
        alive: &mut Instant,
    ) -> Result<(), String> {
        let (mut shown, mut hinted, mut told_again) = (None, Instant::now(), Instant::now());
        let mut look = Instant::now();
        let mut absent: Option<Vec<String>> = None;
        while !self.stop.is_cancelled() {
            *alive = Instant::now();
            member.serve(SERVE)?;
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
            let trouble = member.trouble();
            let wanting = absent.as_ref().is_none_or(|absent| !absent.is_empty()) || trouble.is_some();
            if Instant::now() >= look && (wanting || !member.has_joined()) {
                absent = Some(Self::absent(member, topics));
                look = Instant::now() + about(LOOK_EVERY);
            }
            if shown.is_none_or(|shown: Instant| shown.elapsed() >= SHOW_EVERY) {
                shown = Some(Instant::now());
                self.show(member, absent.as_deref().unwrap_or_default(), trouble, source.as_ref());
            }
            if hinted.elapsed() >= HINT_EVERY {
                hinted = Instant::now();
                if told_again.elapsed() >= HINT_AGAIN {
                    told_again = Instant::now();
                    self.board.untell(|_| true);
                }
                member.commit(&self.board.take_hints(|_| true));
            }
        }
        Ok(())
    }

    /// The client that reads, its memory divided by all partitions that there are: one sink may come to own them all.
    fn source(&self, member: &Member, topics: &[&str]) -> Result<Source, String> {
        let counts = member.partitions(topics, LOOK);
        let partitions = counts.into_iter().map(|count| count.unwrap_or(1).max(1)).sum();
        let memory = self.config.batch.memory / 2;
        Source::new(Arc::clone(&self.kafka), CLIENT, &self.config.group, memory, partitions)
    }

    /// A sentence for each topic that is not there, or of which Kafka does not tell.
    fn absent(member: &Member, topics: &[&str]) -> Vec<String> {
        let counts = member.partitions(topics, LOOK);
        let sentence = |(topic, count)| match count {
            Ok(0) => Some(format!("topic {topic} is not there yet: the relay creates it")),
            Ok(_) => None,
            Err(said) => Some(said),
        };
        topics.iter().zip(counts).filter_map(sentence).collect()
    }

    fn show(&self, member: &Member, absent: &[String], trouble: Option<String>, source: Option<&Source>) {
        let (mut outside, group) = (absent.to_vec(), &self.config.group);
        if trouble.is_some() || !outside.is_empty() {
            self.hindered.set(Instant::now());
        }
        let joining = !member.has_joined() && self.hindered.get().elapsed() < JOINING;
        match (member.has_joined(), trouble) {
            (true, Some(said)) => outside.push(format!("the group {group}: {said}")),
            (false, said) if outside.is_empty() && (said.is_some() || !joining) => {
                let heard = said.map(|said| format!(" ({said})")).unwrap_or_default();
                outside.push(format!("not in the group {group} yet{heard}"));
            }
            _ => {}
        }
        self.board.show(Instant::now(), &outside, joining);
        self.board.metrics.held.set(self.budget.held() as i64);
        self.board.metrics.prefetched.set(source.map_or(0, |source| source.seen().queued()) as i64);
    }

    /// Ends the workers, tells the group what is stored, and leaves it, until `end`.
    fn leave(&self, member: Member, source: Option<Source>, end: Instant) {
        let left = || end.saturating_duration_since(Instant::now());
        let mut crew = self.crew.lock().unwrap_or_else(PoisonError::into_inner);
        let all = crew.all();
        let hints = crew.dismiss(&all, left().saturating_sub(OFFSETS + LEAVING));
        drop(crew);
        member.commit(&hints);
        member.finish(left().min(OFFSETS));
        // Without brokers this takes as long as their time-outs, and nobody waits for that.
        let (gone, heard) = sync_channel::<()>(1);
        let leave = move || {
            drop((member, source));
            let _ = gone.send(());
        };
        match std::thread::Builder::new().name("sink leaves".to_owned()).spawn(leave) {
            Ok(_) if heard.recv_timeout(left().min(LEAVING)) == Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("the group could not be told that this sink leaves: it will notice");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the group could not be left in order"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_set_is_left_by_whichever_name() {
        let mut config = KafkaConfig::default();
        config.properties.0.insert("max.partition.fetch.bytes".to_owned(), "1".to_owned());
        let mut client = gaitway_kafka::client::base(&config, CLIENT).unwrap();
        unless_set(&mut client, "fetch.message.max.bytes", 2);
        unless_set(&mut client, "fetch.wait.max.ms", 3);
        assert_eq!((client.get("fetch.message.max.bytes"), client.get("fetch.wait.max.ms")), (Some("1"), Some("3")));
    }

    #[test]
    fn waits_are_spread() {
        let waits: Vec<Duration> = (0..20).map(|_| about(LOOK_EVERY)).collect();
        assert!(waits.iter().all(|wait| (LOOK_EVERY * 3 / 4..=LOOK_EVERY * 5 / 4).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }
}
