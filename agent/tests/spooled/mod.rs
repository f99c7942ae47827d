//! A spool with its writer, without HTTP and relay.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gaitway_agent::ingest::{Refusal, parse_keeping};
use gaitway_agent::metrics::AgentMetrics;
use gaitway_agent::phones::Privacy;
use gaitway_agent::recent::Recent;
use gaitway_agent::spool::cap::SpoolConfig;
use gaitway_agent::spool::reader::Reader;
use gaitway_agent::spool::rows::Rows;
use gaitway_agent::spool::schema;
use gaitway_agent::status::AgentStatus;
use gaitway_agent::uplink::{Frames as _, SpoolState};
use gaitway_agent::windows::Params;
use gaitway_agent::writer::state::{Settings, State};
use gaitway_agent::writer::{self, Accepted, Command, Ended, Inbox, Outlets, Received};
use gaitway_proto::activity::{ActivityFrame, Window};
use gaitway_proto::envelope::{Gap, Item};
use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::message::Message;
use gaitway_service::health::Health;
use gaitway_service::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) const SECOND: i64 = 1_000_000_000;

/// How it is set.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) spool: SpoolConfig,
    pub(crate) silence: Duration,
    pub(crate) wall_clock: fn() -> Option<i64>,
    /// Closed windows go to `recent.db`, and what phones did before is remembered.
    pub(crate) keeps_today: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            spool: SpoolConfig::default(),
            silence: Duration::from_secs(3600),
            wall_clock: || None,
            keeps_today: false,
        }
    }
}

/// One start of the writer.
pub(crate) struct Spooled {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) state: watch::Receiver<SpoolState>,
    pub(crate) metrics: Metrics,
    pub(crate) status: Arc<AgentStatus>,
    reader: Reader,
    thread: std::thread::JoinHandle<Ended>,
    today: Option<std::thread::JoinHandle<()>>,
    _runtime: Runtime,
}

impl Spooled {
    pub(crate) fn start(dir: &Path, setup: &Setup) -> Self {
        Self::start_in_place_of(dir, setup, None)
    }

    /// Begins with what a lost spool left unanswered.
    pub(crate) fn start_in_place_of(dir: &Path, setup: &Setup, lost: Option<Inbox>) -> Self {
        let path = dir.join("spool.db");
        let settings = Settings {
            path: path.clone(),
            spool: setup.spool.clone(),
            windows: Params::default(),
            silence: setup.silence,
            wall_clock: setup.wall_clock,
        };
        let mut connection = schema::open(&path).unwrap();
        let transaction = connection.transaction().unwrap();
        let rows = Rows(&transaction);
        let epoch = Epoch::from_random(getrandom::u64().unwrap());
        let queue = rows.begin_start(epoch, "now", settings.tracks_sent()).unwrap();
        rows.agent(|| "test".parse().unwrap()).unwrap();
        let tracks = settings.tracks_sent();
        let state = State::load(settings, queue, &rows, Instant::now()).unwrap();
        transaction.commit().unwrap();

        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (commands, inbox) = mpsc::channel(writer::QUEUE);
        let inbox = lost.unwrap_or(inbox.into());
        let (state_out, state_in) = watch::channel(state.spool_state());
        let (marks_out, marks_in) = watch::channel(state.sent_marks());
        let reader = Reader::open(&path, state_in.clone(), tracks.then_some(marks_in), commands.clone()).unwrap();
        let (counters, metrics) = (AgentMetrics::default(), Metrics::new());
        counters.register(&metrics);
        let (status, recent) = (Arc::<AgentStatus>::default(), Recent::of(dir));
        let (feed, today) = if setup.keeps_today {
            status.recall(recent.doings().unwrap_or_default());
            let (feed, keeper) = recent.filled(0.0, Counter::default());
            let today = std::thread::Builder::new().name("today".to_owned());
            (Some(feed), Some(today.spawn(move || keeper.run().unwrap()).unwrap()))
        } else {
            (None, None)
        };
        let outlets = Outlets {
            state: state_out,
            marks: marks_out,
            status: status.clone(),
            recent: feed,
            metrics: counters,
            health: Health::new().part("spool"),
        };
        let handle = runtime.handle().clone();
        let run = move || writer::run(connection, state, inbox, &handle, &outlets).unwrap();
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(run).unwrap();
        Self { commands, state: state_in, metrics, status, reader, thread, today, _runtime: runtime }
    }

    /// Ends this start, everything kept.
    pub(crate) fn stop(self) {
        let Self { commands, state, reader, thread, today, .. } = self;
        drop((commands, state, reader));
        thread.join().unwrap();
        today.map_or(Ok(()), std::thread::JoinHandle::join).unwrap();
    }

    /// How it ends once nobody asks for anything more.
    pub(crate) fn closed(self) -> Ended {
        let Self { commands, state, reader, thread, .. } = self;
        drop((commands, state, reader));
        thread.join().unwrap()
    }

    /// How the writer ends by itself.
    pub(crate) fn ended(self) -> Ended {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.thread.is_finished() {
            assert!(Instant::now() < end, "the writer goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.thread.join().unwrap()
    }

    pub(crate) fn send(&self, body: &str) -> oneshot::Receiver<Result<Accepted, Refusal>> {
        self.send_at(body, 1_760_000_000_000_000, true)
    }

    pub(crate) fn send_at(
        &self,
        body: &str,
        received_at: i64,
        clock_synced: bool,
    ) -> oneshot::Receiver<Result<Accepted, Refusal>> {
        self.hand_over(body, received_at, clock_synced, Privacy::default())
    }

    fn hand_over(
        &self,
        body: &str,
        received_at: i64,
        clock_synced: bool,
        privacy: Privacy,
    ) -> oneshot::Receiver<Result<Accepted, Refusal>> {
        let body = Bytes::from(body.to_owned());
        let push = parse_keeping(&body, privacy).unwrap();
        let (answer, answered) = oneshot::channel();
        let bins = self.status.bins(&push);
        let received = Box::new(Received { push, body, received_at, clock_synced, bins, lost: Vec::new() });
        self.commands.blocking_send(Command::Push(received, answer)).unwrap();
        answered
    }

    pub(crate) fn push(&self, body: &str) -> Result<Accepted, Refusal> {
        self.send(body).blocking_recv().unwrap()
    }

    /// Of a phone of which is kept what `privacy` says.
    pub(crate) fn push_keeping(&self, body: &str, privacy: Privacy) -> Result<Accepted, Refusal> {
        self.hand_over(body, 1_760_000_000_000_000, true, privacy).blocking_recv().unwrap()
    }

    pub(crate) fn welcomed(&self) {
        self.commands.blocking_send(Command::Welcomed).unwrap();
    }

    /// Another data directory has the starts up to `common` too.
    pub(crate) fn copied(&self, common: u64) {
        let (done, is_done) = oneshot::channel();
        self.commands.blocking_send(Command::Copied { common, done }).unwrap();
        is_done.blocking_recv().unwrap();
    }

    pub(crate) fn acknowledge(&self, epoch: Epoch, stream: Stream, up_to: u64) {
        self.commands.blocking_send(Command::Acknowledged { epoch, stream, up_to }).unwrap();
    }

    /// Waits for the state to become as wanted.
    pub(crate) fn await_state(&self, wanted: impl Fn(&SpoolState) -> bool) -> SpoolState {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let state = self.state.borrow().clone();
            if wanted(&state) {
                return state;
            }
            assert!(Instant::now() < end, "the spool never came to be as wanted: {state:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for something to be so.
    pub(crate) fn await_that(&self, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(Instant::now() < end, "it never came to be so");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Everything that waits of a stream, oldest first, with its seq.
    pub(crate) fn waiting(&mut self, stream: Stream) -> Vec<(u64, Item)> {
        let offers: Vec<_> = self.state.borrow().streams.iter().copied().filter(|o| o.stream == stream).collect();
        let mut waiting = Vec::new();
        for offer in offers {
            let mut next = offer.first;
            while next < offer.next {
                for item in self.reader.read(offer.epoch, stream, next, 1 << 20, 100).unwrap() {
                    let span = item.span();
                    waiting.push((next, item));
                    next += span;
                }
            }
        }
        waiting
    }

    pub(crate) fn messages(&mut self) -> Vec<Message> {
        let frame = |item| match item {
            Item::Frame(bytes) => Some(Frame::decode(&bytes).unwrap().to_message()),
            Item::Gap(_) => None,
        };
        self.waiting(Stream::Raw).into_iter().filter_map(|(_, item)| frame(item)).collect()
    }

    pub(crate) fn gaps(&mut self) -> Vec<(u64, Gap)> {
        let gap = |(seq, item)| match item {
            Item::Gap(gap) => Some((seq, gap)),
            Item::Frame(_) => None,
        };
        self.waiting(Stream::Raw).into_iter().filter_map(gap).collect()
    }

    pub(crate) fn activity_gaps(&mut self) -> Vec<(u64, Gap)> {
        let gap = |(seq, item)| match item {
            Item::Gap(gap) => Some((seq, gap)),
            Item::Frame(_) => None,
        };
        self.waiting(Stream::Activity).into_iter().filter_map(gap).collect()
    }

    pub(crate) fn windows(&mut self) -> Vec<Window> {
        let windows = |item| match item {
            Item::Frame(bytes) => ActivityFrame::decode(&bytes).unwrap().windows,
            Item::Gap(_) => panic!("no activity is ever dropped"),
        };
        self.waiting(Stream::Activity).into_iter().flat_map(|(_, item)| windows(item)).collect()
    }
}

/// One reading a second of phone time from `from` for `seconds`.
pub(crate) fn body(session: &str, id: u64, from: i64, seconds: i64) -> String {
    let readings: Vec<String> = (from..from + seconds)
        .map(|at| format!(r#"{{"name":"accelerometer","time":{},"values":{{"x":3,"y":4,"z":0}}}}"#, at * SECOND))
        .collect();
    let readings = readings.join(",");
    format!(r#"{{"messageId":{id},"deviceId":"phone","sessionId":"{session}","payload":[{readings}]}}"#)
}
