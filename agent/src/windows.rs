//! Windows of one session: from readings in any order to classified windows, each told once.
//!
//! - A reading counts for every window that holds its time, except those whose end is at or below the watermark before
//!   its message: greatest eligible time so far − lateness, never below what silence raised it to.
//! - After a message the windows whose end is at or below the new watermark are told; silence tells all that are open.
//!   No window is told twice, whatever arrives later.
//! - A message more than an hour past the greatest time waits for the next one to confirm it: nothing it says moves the
//!   watermark before.
//! - New parameters hold for windows that start after the greatest time seen; the others keep theirs.
//! - State is small: sums per pane, kept from the watermark − window on. A held message spans at most two hours.
//! - Neither the wall clock nor the order of readings within a message decides anything.
//!
//! [`SessionWindows`] is durable: the caller stores its bytes in the transaction that makes the message durable.
//! Windows are those of Spark 3.3's `window` with a watermark, per session, over times as Spark reads them
//! ([`event_time`]).

mod generation;
mod message;
mod params;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
mod state;
#[cfg(test)]
mod tests;

use gaitway_proto::activity::Window;
use serde::{Deserialize, Serialize};

use crate::classify::Threshold;

use generation::{Generation, Progress};
use message::{JUMP, Message, Panes};

pub use generation::{RATE_PANES, SLOWEST};
pub use message::{Batch, Sample, event_time, is_usable_time, lower_median};
pub(crate) use params::LONGEST;
pub use params::{Params, ParamsError};
pub use state::StateError;

/// The windows of one (device, session). Durable as [`encode`](Self::encode)d bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionWindows {
    progress: Progress,
    /// One per set of parameters with open windows, in order of their starts; the newest has no end yet.
    generations: Vec<Generation>,
    held: Option<Held>,
    /// Ordinal of the agent start that used this state last.
    epoch: Option<u64>,
    /// Ordinal of the agent start in which a message was taken in last.
    joined: Option<u64>,
    /// Windows with a start up to here may have been opened before that start.
    inherited_until: Option<i64>,
}

/// A message that waits for the next one to confirm its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Held {
    params: Params,
    median: i64,
    greatest: i64,
    /// By the greatest length that fits the panes of every generation it can meet.
    panes: Panes,
    inherited: bool,
}

impl Held {
    fn readings(&self) -> u64 {
        self.panes.values().map(|sum| sum.count).sum()
    }
}

/// A window that is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// The window.
    pub window: Window,
    /// The rule that labelled it.
    pub classifier: Threshold,
    /// From its start to the next window's, ns.
    pub slide: i64,
    /// How much of its last slide readings go through, ns: all of it while the session goes on, less at the session's last
    /// reading, nothing where the last slide has none.
    pub covered: i64,
    /// Whether it may have been opened before this start of the agent.
    pub inherited: bool,
}

/// What a message did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The windows it closed, in order of their start.
    pub closed: Vec<Closed>,
    /// Readings left out of at least one window because they came late.
    pub late: u64,
    /// Readings whose time is not believed: of this message, and of a held one that it did not confirm.
    pub wild: u64,
    /// Samples whose time or magnitude no window can use.
    pub unusable: u64,
    /// Whether the message now waits for the next one.
    pub held: bool,
}

/// What [`SessionWindows::let_go`] dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LetGo {
    /// Windows that will not be told.
    pub windows: u64,
    /// Readings of a held message.
    pub held: u64,
}

impl SessionWindows {
    /// A session without a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Called with the ordinal of the agent's start before everything else of that start: windows opened before, and
    /// those that the first message of this start may have found open, are told as inherited. (If this state is an old
    /// copy, what went on from it elsewhere was heard up to that message.)
    pub fn begin_epoch(&mut self, ordinal: u64) {
        if self.epoch == Some(ordinal) {
            return;
        }
        self.epoch = Some(ordinal);
        self.inherited_until = self.progress.greatest;
        if let Some(held) = &mut self.held {
            held.inherited = true;
        }
    }

    /// Takes in one message.
    pub fn observe(&mut self, params: &Params, batch: &Batch<'_>) -> Observed {
        let (message, refused) = Message::read(batch);
        let mut observed = Observed { wild: refused.wild, unusable: refused.unusable, ..Observed::default() };
        let Some(mut message) = message else { return observed };

        let jumps = self.progress.greatest.is_some_and(|greatest| message.median - greatest > JUMP);
        if jumps || self.progress.greatest.is_none() {
            observed.wild += message.drop_scattered();
        }
        let mut confirmed = false;
        if let Some(held) = self.held.take() {
            confirmed = jumps && held.median.abs_diff(message.median) <= JUMP.unsigned_abs();
            if confirmed {
                if held.inherited {
                    self.inherited_until = self.inherited_until.max(Some(held.greatest));
                }
                self.take_in(&held.params, &held.panes, held.greatest, &mut observed);
            } else {
                observed.wild += held.readings();
            }
        }
        let panes = message.panes(self.common_pane(params));
        if jumps && !confirmed {
            let Message { median, greatest, .. } = message;
            self.held = Some(Held { params: params.clone(), median, greatest, panes, inherited: false });
            observed.held = true;
        } else {
            if self.joined != self.epoch {
                self.joined = self.epoch;
                let known = self.progress.greatest.max(Some(message.greatest));
                self.inherited_until = self.inherited_until.max(known);
            }
            self.take_in(params, &panes, message.greatest, &mut observed);
        }
        observed.closed.sort_by_key(|closed| closed.window.start);
        observed
    }

    /// Ordinal of the agent start in which a message was taken in last.
    pub fn joined(&self) -> Option<u64> {
        self.joined
    }

    /// Silence: tells every open window and raises the watermark to the greatest end told. A held message stays held.
    pub fn flush(&mut self) -> Vec<Closed> {
        let before = self.progress;
        let closed = self.closed(before, |_| i64::MAX);
        self.progress.floor = before.floor.max(closed.iter().map(|closed| closed.window.end).max());
        self.forget();
        closed
    }

    /// Drops what was inherited from before this start without telling it: the state is an old copy, and what
    /// continued from it elsewhere may have told it. No such window opens again.
    pub fn let_go(&mut self) -> LetGo {
        let Some(until) = self.inherited_until.take() else { return LetGo::default() };
        let open = self.closed(self.progress, |_| i64::MAX);
        let windows = open.iter().filter(|closed| closed.window.start <= until).count() as u64;
        for generation in &mut self.generations {
            generation.after = generation.after.max(Some(until));
        }
        self.forget();
        let held = self.held.take_if(|held| held.inherited).map_or(0, |held| held.readings());
        LetGo { windows, held }
    }

    /// [`let_go`](Self::let_go) of everything that is open: another continues this very start.
    pub fn let_go_of_all(&mut self) -> LetGo {
        self.inherited_until = self.inherited_until.max(self.progress.greatest);
        if let Some(held) = &mut self.held {
            held.inherited = true;
        }
        self.let_go()
    }

    /// The youngest open window that is nearly as full as the fullest one: what the phone does now.
    pub fn running(&self) -> Option<Window> {
        self.present().pop().map(|closed| closed.window)
    }

    /// The open windows up to the [`running`](Self::running) one, in order of their start, as they would be told now.
    pub fn present(&self) -> Vec<Closed> {
        let mut open = self.closed(self.progress, |_| i64::MAX);
        let rate = |window: &Window| window.count as f64 / (window.end - window.start) as f64;
        let fullest = open.iter().map(|closed| rate(&closed.window)).fold(0.0, f64::max);
        let running = open.iter().rposition(|closed| rate(&closed.window) >= NEARLY_FULL * fullest);
        open.truncate(running.map_or(0, |running| running + 1));
        open
    }

    /// Whether silence would tell a window.
    pub fn has_open(&self) -> bool {
        self.generations.iter().any(|generation| !generation.panes.is_empty())
    }

    fn take_in(&mut self, params: &Params, panes: &Panes, greatest: i64, observed: &mut Observed) {
        self.adopt(params);
        let before = self.progress;
        self.progress.greatest = before.greatest.max(Some(greatest));
        observed.late +=
            panes.iter().filter(|(pane, _)| self.is_late(**pane, before)).map(|(_, s)| s.count).sum::<u64>();
        for generation in &mut self.generations {
            generation.add(panes, before);
        }
        let now = self.progress;
        let closed = self.closed(before, |generation| generation.watermark(now).unwrap_or(i64::MIN));
        observed.closed.extend(closed);
        self.forget();
    }

    /// Windows above the watermark of `before`, in order of their start: generations follow each other.
    fn closed(&self, before: Progress, up_to: impl Fn(&Generation) -> i64) -> Vec<Closed> {
        let mut closed = Vec::new();
        for generation in &self.generations {
            let slide = generation.params.slide();
            closed.extend(generation.windows(before, up_to(generation)).into_iter().map(|window| Closed {
                inherited: Some(window.start) <= self.inherited_until,
                classifier: generation.params.classifier(),
                slide,
                covered: generation.covered(window.end, self.progress),
                window,
            }));
        }
        closed
    }

    /// Windows of retired generations are closed, so what is not after the oldest one's start is late too.
    fn is_late(&self, pane: i64, before: Progress) -> bool {
        let retired = self.generations.first().is_some_and(|oldest| oldest.after >= Some(pane));
        retired || self.generations.iter().any(|generation| generation.leaves_out(pane, before))
    }

    /// Windows that start after the greatest time seen are the business of `params`.
    fn adopt(&mut self, params: &Params) {
        if let Some(newest) = self.generations.last_mut() {
            if newest.params == *params {
                return;
            }
            newest.until = self.progress.greatest;
        }
        self.generations.push(Generation::new(params.clone(), self.progress.greatest));
        self.forget();
    }

    /// Drops panes and generations whose windows are all closed.
    fn forget(&mut self) {
        let progress = self.progress;
        for generation in &mut self.generations {
            generation.drop_panes(progress);
        }
        self.generations.retain(|generation| !generation.is_spent(progress));
    }

    fn common_pane(&self, params: &Params) -> i64 {
        let slides = self.generations.iter().map(|generation| generation.params.slide());
        slides.fold(params.slide(), greatest_common_divisor)
    }
}

/// Share of the fullest open window's readings that the running window has at least: of its five panes, the last one
/// may just have begun.
const NEARLY_FULL: f64 = 0.75;

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
