//! How the partitions stand, for health, metrics and the log.
//!
//! - The sink is ready when it is of its group and every partition that it owns moves.
//! - A trouble is told when it comes and once a minute while it lasts, however many partitions come to have it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gaitway_service::health::Part;

use super::metrics::{Of, SinkMetrics};
use crate::partition::Hint;

const EVERY: Duration = Duration::from_secs(60);

/// A partition: its topic and number.
pub(super) type Which = (String, i32);

/// How a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has just become ours.
    Opening,
    /// Records move, or there are none.
    Moving,
    /// They do not, and why.
    Waiting(String),
    /// Somebody must look.
    Stopped(String),
}

/// Written by the workers, shown by whoever watches over them.
pub(super) struct Board {
    state: Mutex<State>,
    part: Part,
    pub(super) metrics: SinkMetrics,
}

#[derive(Default)]
struct State {
    standings: BTreeMap<Which, Standing>,
    hints: BTreeMap<Which, Hint>,
    /// Reasons, and when they were told last.
    told: BTreeMap<String, Instant>,
}

/// Why partitions wait, and the sentence that names some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    why: String,
    said: String,
}

impl State {
    /// What of `troubles` is to be told now.
    fn due<'t>(&mut self, now: Instant, troubles: &'t [Trouble]) -> Vec<&'t Trouble> {
        self.told.retain(|_, told| now.saturating_duration_since(*told) < EVERY);
        let due: Vec<_> = troubles.iter().filter(|trouble| !self.told.contains_key(&trouble.why)).collect();
        self.told.extend(due.iter().map(|trouble| (trouble.why.clone(), now)));
        due
    }
}

impl Board {
    pub(super) fn new(part: Part, metrics: SinkMetrics) -> Self {
        Self { state: Mutex::default(), part, metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How `which` stands now.
    pub(super) fn set(&self, which: &Which, standing: Standing) {
        let mut state = self.state();
        if state.standings.get(which) != Some(&standing) {
            state.standings.insert(which.clone(), standing);
        }
    }

    /// What the group may be told of `which`.
    pub(super) fn hint(&self, which: &Which, hint: Hint) {
        self.state().hints.insert(which.clone(), hint);
    }

    /// `which` is another's.
    pub(super) fn remove(&self, which: &Which) {
        let mut state = self.state();
        state.standings.remove(which);
        state.hints.remove(which);
        let (topic, partition) = which.clone();
        self.metrics.lag.remove(&Of { topic, partition });
    }

    /// What the group was not told yet.
    pub(super) fn take_hints(&self) -> BTreeMap<Which, Hint> {
        std::mem::take(&mut self.state().hints)
    }

    /// Shows how things stand. `outside`: what keeps the sink from owning partitions.
    pub(super) fn show(&self, now: Instant, outside: &[String]) {
        let mut state = self.state();
        let (mut stopped, mut waiting, mut opening) = (Vec::new(), BTreeMap::<&str, Vec<String>>::new(), 0);
        for ((topic, partition), standing) in &state.standings {
            match standing {
                Standing::Moving => {}
                Standing::Opening => opening += 1,
                Standing::Waiting(why) => waiting.entry(why).or_default().push(format!("{topic}/{partition}")),
                Standing::Stopped(why) => stopped.push(format!("{topic}/{partition} is stopped: {why}")),
            }
        }
        let count = state.standings.len();
        self.metrics.owned.set(count as i64);
        self.metrics.stopped.set(stopped.len() as i64);
        let mut troubles: Vec<Trouble> =
            outside.iter().map(|why| Trouble { why: why.clone(), said: why.clone() }).collect();
        troubles.extend(waiting.into_iter().map(|(why, who)| {
            let said = match who.as_slice() {
                [one] => format!("{one}: {why}"),
                [first, ..] => format!("{} partitions, {first} among them: {why}", who.len()),
                [] => why.to_owned(),
            };
            Trouble { why: why.to_owned(), said }
        }));
        for Trouble { said, .. } in state.due(now, &troubles) {
            tracing::warn!("the sink waits: {said}");
        }
        let why: Vec<_> = stopped.into_iter().chain(troubles.into_iter().map(|trouble| trouble.said)).collect();
        if !why.is_empty() {
            self.part.not_ready(why.join("; "));
        } else if opening > 0 {
            self.part.not_ready("starting");
        } else {
            self.part.ready();
        }
        self.part.note(format!("{count} partitions"));
    }
}

#[cfg(test)]
mod tests {
    use gaitway_service::health::Health;
    use gaitway_service::metrics::Metrics;

    use super::*;

    #[test]
    fn the_sink_is_ready_when_every_partition_moves() {
        let (health, now) = (Health::new(), Instant::now());
        let board = Board::new(health.part("sink"), SinkMetrics::register(&Metrics::new()));
        let [one, other] = [0, 1].map(|partition| ("t".to_owned(), partition));
        board.show(now, &["not of its group yet".to_owned()]);
        assert_eq!(health.report().to_text(), "sink: not of its group yet (0 partitions)\n");
        board.set(&one, Standing::Moving);
        board.set(&other, Standing::Opening);
        board.show(now, &[]);
        assert_eq!(health.report().to_text(), "sink: starting (2 partitions)\n");
        board.set(&other, Standing::Moving);
        board.show(now, &[]);
        assert!(health.report().ready);
        board.set(&one, Standing::Waiting("no warehouse".to_owned()));
        board.show(now, &[]);
        assert_eq!(health.report().to_text(), "sink: t/0: no warehouse (2 partitions)\n");
        board.set(&other, Standing::Waiting("no warehouse".to_owned()));
        board.show(now, &[]);
        assert_eq!(health.report().to_text(), "sink: 2 partitions, t/0 among them: no warehouse (2 partitions)\n");
        board.set(&other, Standing::Stopped("look".to_owned()));
        board.remove(&one);
        board.show(now, &[]);
        assert_eq!(health.report().to_text(), "sink: t/1 is stopped: look (1 partitions)\n");
        assert_eq!((board.metrics.owned.get(), board.metrics.stopped.get()), (1, 1));
    }

    #[test]
    fn a_trouble_is_told_once_a_minute_however_many_partitions_have_it() {
        let (mut state, now) = (State::default(), Instant::now());
        let trouble = |why: &str, said: &str| Trouble { why: why.to_owned(), said: said.to_owned() };
        let one = [trouble("no warehouse", "t/0: no warehouse")];
        let more = [trouble("no warehouse", "2 partitions: no warehouse"), trouble("full", "t/2: full")];
        assert_eq!(state.due(now, &one), [&one[0]]);
        assert_eq!(state.due(now + EVERY / 2, &more), [&more[1]]);
        assert_eq!(state.due(now + EVERY, &more), [&more[0]]);
        assert_eq!(state.due(now + EVERY, &more), Vec::<&Trouble>::new());
    }
}
