//! How the partitions stand, for health, metrics and the log.
//!
//! - The sink is ready when it is of its group and every partition that it owns moves.
//! - A trouble is told when it comes and once a minute while it lasts, however many partitions have it: sentences that differ
//!   in names with numbers (channels, partitions, offsets) or in brackets are the same trouble.
//! - When the last of them is over that is told once, if a trouble was told since.
//! - Dead letters are told once a minute: the last one, and how many there were.
//! - What the group was told is kept, so that it can be told again.

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
    /// With whether the group was told.
    hints: BTreeMap<Which, (Hint, bool)>,
    told: BTreeMap<String, Instant>,
    /// A trouble was told, and not that it is over.
    waits: bool,
    letters: Letters,
}

/// Dead letters that were not told.
#[derive(Debug, Default)]
struct Letters {
    count: usize,
    /// Place, offset and reason of the last one.
    last: Option<(Which, i64, String)>,
    told: Option<Instant>,
}

impl Letters {
    /// What is to be told now, with how many there were since that was done before.
    fn due(&mut self, now: Instant) -> Option<(Which, i64, String, usize)> {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < EVERY) {
            return None;
        }
        let (which, offset, reason) = self.last.take()?;
        self.told = Some(now);
        Some((which, offset, reason, std::mem::take(&mut self.count)))
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
        self.state().hints.insert(which.clone(), (hint, false));
    }

    /// `count` records of `which` were set aside, the last one at `offset` for this reason.
    pub(super) fn set_aside(&self, which: &Which, count: usize, offset: i64, reason: String) {
        let letters = &mut self.state().letters;
        letters.count += count;
        letters.last = Some((which.clone(), offset, reason));
    }

    /// `which` is another's.
    pub(super) fn remove(&self, which: &Which) {
        let mut state = self.state();
        state.standings.remove(which);
        state.hints.remove(which);
        let (topic, partition) = which.clone();
        self.metrics.lag.remove(&Of { topic, partition });
    }

    /// What the group was not told yet of those `of` which; it counts as told then.
    pub(super) fn take_hints(&self, of: impl Fn(&Which) -> bool) -> BTreeMap<Which, Hint> {
        let mut state = self.state();
        let due = state.hints.iter_mut().filter(|(which, (_, told))| !told && of(which));
        due.map(|(which, (hint, told))| {
            *told = true;
            (which.clone(), *hint)
        })
        .collect()
    }

    /// The group must be told again of those `of` which.
    pub(super) fn untell(&self, of: impl Fn(&Which) -> bool) {
        for (_, (_, told)) in self.state().hints.iter_mut().filter(|(which, _)| of(which)) {
            *told = false;
        }
    }

    /// Shows how things stand. `outside`: what keeps the sink from owning partitions. `joining`: it has only begun to join its
    /// group, which nobody has to hear of.
    pub(super) fn show(&self, now: Instant, outside: &[String], joining: bool) {
        let mut state = self.state();
        let (mut stopped, mut waiting, mut opening) = (Vec::new(), BTreeMap::<String, Vec<_>>::new(), 0);
        for ((topic, partition), standing) in &state.standings {
            match standing {
                Standing::Moving => {}
                Standing::Opening => opening += 1,
                Standing::Waiting(why) => waiting.entry(kind(why)).or_default().push((topic, partition, why)),
                Standing::Stopped(why) => stopped.push(format!("{topic}/{partition} is stopped: {why}")),
            }
        }
        let count = state.standings.len();
        self.metrics.owned.set(count as i64);
        self.metrics.stopped.set(stopped.len() as i64);
        let mut troubles: Vec<(String, String)> = outside.iter().map(|said| (kind(said), said.clone())).collect();
        troubles.extend(waiting.into_iter().filter_map(|(kind, who)| {
            let (topic, partition, why) = *who.first()?;
            let said = match who.len() {
                1 => format!("{topic}/{partition}: {why}"),
                many => format!("{many} partitions, {topic}/{partition} among them: {why}"),
            };
            Some((kind, said))
        }));
        for (kind, trouble) in &troubles {
            if state.told.get(kind).is_none_or(|told| now.saturating_duration_since(*told) >= EVERY) {
                tracing::warn!("the sink waits: {trouble}");
                state.told.insert(kind.clone(), now);
                state.waits = true;
            }
        }
        if troubles.is_empty() && opening == 0 && std::mem::take(&mut state.waits) {
            tracing::info!("the sink goes on: it waits for nothing any more");
        }
        if let Some(((topic, partition), offset, reason, records)) = state.letters.due(now) {
            tracing::warn!(
                topic,
                partition,
                offset,
                reason,
                records,
                "set aside as dead letters since this was last said"
            );
        }
        state.told.retain(|_, told| now.saturating_duration_since(*told) < EVERY);
        let why: Vec<_> = stopped.into_iter().chain(troubles.into_iter().map(|(_, said)| said)).collect();
        if !why.is_empty() {
            self.part.not_ready(why.join("; "));
        } else if joining || opening > 0 {
            self.part.not_ready("starting");
        } else {
            self.part.ready();
        }
        self.part.note(format!("{count} partitions"));
    }
}

/// What a sentence says, without what differs from partition to partition and from time to time: words with a number in them,
/// and what is in brackets.
fn kind(said: &str) -> String {
    let mut depth = 0_usize;
    let mut outside = String::with_capacity(said.len());
    for c in said.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            c if depth == 0 => outside.push(c),
            _ => {}
        }
    }
    let words = outside.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use gaitway_service::health::Health;
    use gaitway_service::metrics::Metrics;

    use super::*;

    #[test]
    fn a_trouble_of_many_partitions_is_one_and_is_told_once_a_minute() {
        let (health, now) = (Health::new(), Instant::now());
        let board = Board::new(health.part("sink"), SinkMetrics::register(&Metrics::new()));
        for partition in 0..3 {
            let why = format!("channel d_t_{partition}: no success for {partition}0 s: busy (try {partition})");
            board.set(&("t".to_owned(), partition), Standing::Waiting(why));
        }
        board.set(&("t".to_owned(), 3), Standing::Waiting("another (one)".to_owned()));
        board.show(now, &[], false);
        let said = health.report().to_text();
        assert!(
            said.contains("3 partitions, t/0 among them: channel d_t_0: no success for 00 s: busy (try 0)"),
            "{said}"
        );
        assert!(said.contains("t/3: another (one)"), "{said}");
        assert_eq!(board.state().told.len(), 2);
        let later = now + EVERY / 2;
        board.set(&("t".to_owned(), 3), Standing::Waiting("another (two)".to_owned()));
        board.show(later, &[], false);
        assert!(board.state().told.values().all(|told| *told == now), "it was told already");
        board.show(now + EVERY, &[], false);
        assert!(board.state().told.values().all(|told| *told == now + EVERY));
    }

    #[test]
    fn that_a_told_trouble_is_over_is_told_once() {
        let board = Board::new(Health::new().part("sink"), SinkMetrics::register(&Metrics::new()));
        let (which, now) = (("t".to_owned(), 0), Instant::now());
        board.set(&which, Standing::Waiting("no warehouse".to_owned()));
        board.show(now, &[], false);
        assert!(board.state().waits);
        board.set(&which, Standing::Opening);
        board.show(now, &[], false);
        assert!(board.state().waits, "it has not begun to read");
        board.set(&which, Standing::Moving);
        board.show(now, &[], false);
        assert!(!board.state().waits);
        board.set(&which, Standing::Waiting("no warehouse".to_owned()));
        board.show(now, &[], false);
        assert!(!board.state().waits, "what was not told again is not told to be over");
    }

    #[test]
    fn dead_letters_are_told_once_a_minute_with_how_many_there_were() {
        let (mut letters, now) = (Letters::default(), Instant::now());
        assert_eq!(letters.due(now), None);
        let board = Board::new(Health::new().part("sink"), SinkMetrics::register(&Metrics::new()));
        let which = ("t".to_owned(), 3);
        board.set_aside(&which, 2, 7, "no JSON".to_owned());
        std::mem::swap(&mut letters, &mut board.state().letters);
        assert_eq!(letters.due(now), Some((which.clone(), 7, "no JSON".to_owned(), 2)));
        std::mem::swap(&mut letters, &mut board.state().letters);
        for offset in 8..10 {
            board.set_aside(&which, 1, offset, "no JSON".to_owned());
        }
        std::mem::swap(&mut letters, &mut board.state().letters);
        assert_eq!(letters.due(now + EVERY / 2), None);
        assert_eq!(letters.due(now + EVERY), Some((which, 9, "no JSON".to_owned(), 2)));
        assert_eq!(letters.due(now + 3 * EVERY), None);
    }

    #[test]
    fn what_the_group_did_not_take_is_told_again() {
        let board = Board::new(Health::new().part("sink"), SinkMetrics::register(&Metrics::new()));
        let [one, other] = [0, 1].map(|partition| ("t".to_owned(), partition));
        let hint = |next| Hint { next, told: None };
        board.hint(&one, hint(5));
        board.hint(&other, hint(7));
        assert_eq!(board.take_hints(|which| *which == one), [(one.clone(), hint(5))].into());
        assert_eq!(board.take_hints(|_| true), [(other.clone(), hint(7))].into());
        assert!(board.take_hints(|_| true).is_empty());
        board.untell(|which| *which == other);
        board.hint(&one, hint(6));
        assert_eq!(board.take_hints(|_| true), [(one.clone(), hint(6)), (other.clone(), hint(7))].into());
        board.untell(|_| true);
        board.remove(&one);
        assert_eq!(board.take_hints(|_| true), [(other, hint(7))].into());
    }

    #[test]
    fn the_sink_is_ready_when_every_partition_moves() {
        let (health, now) = (Health::new(), Instant::now());
        let board = Board::new(health.part("sink"), SinkMetrics::register(&Metrics::new()));
        let [one, other] = [0, 1].map(|partition| ("t".to_owned(), partition));
        board.show(now, &["not of its group yet".to_owned()], false);
        assert_eq!(health.report().to_text(), "sink: not of its group yet (0 partitions)\n");
        board.set(&one, Standing::Moving);
        board.set(&other, Standing::Opening);
        board.show(now, &[], false);
        assert_eq!(health.report().to_text(), "sink: starting (2 partitions)\n");
        board.set(&other, Standing::Moving);
        board.show(now, &[], false);
        assert!(health.report().ready);
        board.set(&one, Standing::Waiting("no warehouse".to_owned()));
        board.show(now, &[], false);
        assert_eq!(health.report().to_text(), "sink: t/0: no warehouse (2 partitions)\n");
        board.set(&other, Standing::Waiting("no warehouse".to_owned()));
        board.show(now, &[], false);
        assert_eq!(health.report().to_text(), "sink: 2 partitions, t/0 among them: no warehouse (2 partitions)\n");
        board.set(&other, Standing::Stopped("look".to_owned()));
        board.remove(&one);
        board.show(now, &[], false);
        assert_eq!(health.report().to_text(), "sink: t/1 is stopped: look (1 partitions)\n");
        assert_eq!((board.metrics.owned.get(), board.metrics.stopped.get()), (1, 1));
    }
}
