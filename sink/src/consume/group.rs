//! The client that is a member of the group: it learns which partitions are ours, and reads none of them.
//!
//! - Its partitions are paused as soon as they are assigned.
//! - Before a partition is given up its worker has ended, or had [`PATIENCE`] to end: its submit is then the warehouse's
//!   compare-and-set's to judge.
//! - The group's offsets are hints, committed behind the warehouse's token; what did not come through is committed again.
//! - What keeps it from its partitions is said until it has some again, what else goes wrong for [`FRESH`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gaitway_kafka::KafkaConfig;
use gaitway_kafka::client::{self, Trouble};
use gaitway_kafka::rights::{self, Right};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::board::{Board, Which};
use super::crew::Crew;
use super::reader;
use crate::partition::Hint;

/// How long a worker may take to end before its partition is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an error of the group's is said after it was heard.
const FRESH: Duration = Duration::from_secs(60);

/// Defaults of librdkafka that do not suit: partitions that are new, and members that were killed, are to be noticed soon.
const DEFAULTS: [(&str, usize); 3] =
    [("topic.metadata.refresh.interval.ms", 10_000), ("session.timeout.ms", 10_000), ("heartbeat.interval.ms", 2_000)];

/// Hears of assignments.
pub(super) struct Context {
    inner: client::Context,
    /// The workers; used by the thread that polls, in whose polls the callbacks come.
    crew: Arc<Mutex<Crew>>,
    board: Arc<Board>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    assigned: Vec<Which>,
    joined: bool,
    /// Commits under way.
    committing: usize,
    /// What librdkafka said beside its last error.
    reason: Option<String>,
    heard: Option<Heard>,
}

/// An error.
#[derive(Debug)]
struct Heard {
    said: String,
    at: Instant,
    /// A broker that does not answer: whoever needs it says so.
    passing: bool,
}

impl State {
    fn lose(&mut self, said: &str) {
        self.joined = false;
        self.heard = Some(Heard { said: said.to_owned(), at: Instant::now(), passing: false });
    }
}

impl Context {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.inner.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.state().reason = Some(reason.to_owned());
        self.inner.error(error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, member: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let which: Vec<Which> =
            list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Where reading would begin does not matter, but asking for the group's offsets could fail.
            let told = list
                .set_all_offsets(Offset::End)
                .and_then(|()| member.incremental_assign(list))
                .and_then(|()| member.pause(list));
            if let Err(error) = told {
                tracing::debug!(%error, "assigned partitions could not be paused");
            }
            let mut state = self.state();
            (state.joined, state.heard) = (true, None);
            state.assigned.extend(which);
        } else {
            self.state().assigned.retain(|assigned| !which.contains(assigned));
            let left = self.crew.lock().unwrap_or_else(PoisonError::into_inner).dismiss(&which, PATIENCE);
            if member.assignment_lost() {
                self.state().lose("its partitions were given to others, because it was not heard of in time");
            } else {
                self.commit(member, &left);
            }
            if let Err(error) = member.incremental_unassign(list) {
                tracing::debug!(%error, "revoked partitions could not be let go of");
            }
        }
    }

    fn commit_callback(&self, outcome: KafkaResult<()>, offsets: &TopicPartitionList) {
        let mut state = self.state();
        state.committing = state.committing.saturating_sub(1);
        drop(state);
        let elements = offsets.elements();
        let failed = elements.iter().filter(|element| outcome.is_err() || element.error().is_err());
        let failed: Vec<Which> = failed.map(|element| (element.topic().to_owned(), element.partition())).collect();
        if !failed.is_empty() {
            tracing::debug!(?outcome, "the group's offsets were not committed");
            self.board.untell(|which| failed.contains(which));
        }
    }
}

impl Context {
    fn commit(&self, member: &BaseConsumer<Self>, hints: &BTreeMap<Which, Hint>) {
        let mut offsets = TopicPartitionList::with_capacity(hints.len());
        for ((topic, partition), hint) in hints {
            let mut element = offsets.add_partition(topic, *partition);
            let metadata = hint.told.as_ref().map(reader::metadata_of).unwrap_or_default();
            let said = element.set_offset(Offset::Offset(hint.next)).map(|()| element.set_metadata(metadata));
            if let Err(error) = said {
                tracing::debug!(%error, "a hint is no offset");
            }
        }
        if hints.is_empty() {
            return;
        }
        match member.commit(&offsets, CommitMode::Async) {
            Ok(()) => self.state().committing += 1,
            Err(error) => {
                tracing::debug!(%error, "the group's offsets were not committed");
                self.board.untell(|which| hints.contains_key(which));
            }
        }
    }
}

/// The member. It leaves the group when it is dropped, which can take a while.
pub(super) struct Member {
    config: Arc<KafkaConfig>,
    group: String,
    consumer: BaseConsumer<Context>,
    trouble: Trouble,
}

impl Member {
    /// Joins `group` for `topics`, which need not be there yet.
    pub(super) fn join(
        config: &Arc<KafkaConfig>,
        client_id: &str,
        group: &str,
        topics: &[&str],
        crew: Arc<Mutex<Crew>>,
        board: Arc<Board>,
    ) -> Result<Self, String> {
        let inner = client::Context::default();
        let trouble = inner.trouble.clone();
        let context = Context { inner, crew, board, state: Mutex::default() };
        let unmade = |error: &KafkaError| client::sentence(config, "make a member of the group", error, &trouble);
        let mut member = client::reader(config, client_id).map_err(|error| unmade(&error))?;
        member
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            // Its position is nowhere near a record.
            .set("auto.offset.reset", "latest");
        for (property, value) in DEFAULTS {
            super::unless_set(&mut member, property, value);
        }
        let consumer: BaseConsumer<Context> = member.create_with_context(context).map_err(|error| unmade(&error))?;
        consumer.subscribe(topics).map_err(|error| client::sentence(config, "join the group", &error, &trouble))?;
        Ok(Self { config: Arc::clone(config), group: group.to_owned(), consumer, trouble })
    }

    /// Serves the group for at most `long`. The error is one after which it can never be a member again; a sentence.
    pub(super) fn serve(&self, long: Duration) -> Result<(), String> {
        let Some(Err(error)) = self.consumer.poll(long) else { return Ok(()) };
        let mut state = self.consumer.context().state();
        let code = error.rdkafka_error_code();
        let reason = state.reason.take().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let topics = &self.config.topics;
        let [raw, activity, gaps] = [&topics.raw, &topics.activity, &topics.gaps].map(|topic| Right::Read(topic));
        let needed = [Right::Group(&self.group), raw, activity, gaps];
        let lacks = code.and_then(|code| rights::missing(&self.config, code, &needed, None));
        let said = lacks
            .unwrap_or_else(|| format!("{}{reason}", code.map_or_else(|| error.to_string(), |code| code.to_string())));
        tracing::debug!(said, "the group");
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(format!("this sink cannot be in its group any more: {said}"));
        }
        let passing = code.is_some_and(is_passing);
        if !passing || !state.joined {
            state.heard = Some(Heard { said, at: Instant::now(), passing });
        }
        Ok(())
    }

    /// Partitions that have become ours since this was asked.
    pub(super) fn take_assigned(&self) -> Vec<Which> {
        std::mem::take(&mut self.consumer.context().state().assigned)
    }

    /// Whether it was told what is its, and has not lost that.
    pub(super) fn has_joined(&self) -> bool {
        self.consumer.context().state().joined
    }

    /// What is wrong with the group or its brokers, if something is.
    pub(super) fn trouble(&self) -> Option<String> {
        let state = self.consumer.context().state();
        let Heard { said, at, passing } = state.heard.as_ref()?;
        let counts = if state.joined { !passing && at.elapsed() < FRESH } else { true };
        counts.then(|| said.clone())
    }

    /// Commits hints, some time.
    pub(super) fn commit(&self, hints: &BTreeMap<Which, Hint>) {
        self.consumer.context().commit(&self.consumer, hints);
    }

    /// Waits until what was committed is, at most `long`.
    pub(super) fn finish(&self, long: Duration) {
        let end = Instant::now() + long;
        while self.consumer.context().state().committing > 0 && Instant::now() < end {
            if self.serve(Duration::from_millis(20)).is_err() {
                return;
            }
        }
    }

    /// How many partitions each of `topics` has; 0 for one that is not there. Takes at most `long` for all. Errors are
    /// sentences.
    pub(super) fn partitions(&self, topics: &[&str], long: Duration) -> Vec<Result<usize, String>> {
        let end = Instant::now() + long;
        let of = |topic: &&str| {
            let said = |error: &KafkaError| {
                let doing = format!("look for topic {topic}");
                client::sentence_needing(&self.config, &doing, &[Right::Read(topic)], error, &self.trouble)
            };
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let metadata = self.consumer.fetch_metadata(Some(topic), left).map_err(|error| said(&error))?;
            let Some(found) = metadata.topics().iter().find(|found| found.name() == *topic) else { return Ok(0) };
            match found.error().map(RDKafkaErrorCode::from) {
                None => Ok(found.partitions().len()),
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::LeaderNotAvailable) => Ok(0),
                Some(code) => Err(said(&KafkaError::MetadataFetch(code))),
            }
        };
        topics.iter().map(of).collect()
    }
}

/// Whether librdkafka goes on by itself, and whoever needs the broker says so.
fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
    matches!(code, AllBrokersDown | BrokerTransportFailure | OperationTimedOut | Resolve)
}
