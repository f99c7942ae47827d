//! The durable form of a session's windows: version byte, postcard body.
//!
//! - An unknown version is an error that names it, never a guess.
//! - Whatever bytes are read, what comes out can be used: every time, order and sum that later steps rely on is checked.

use super::generation::{Generation, Progress, RATE_PANES};
use super::message::{MAX_MAGNITUDE, Panes, is_usable_time};
use super::params::{LONGEST, MAX_PANES};
use super::{Held, SessionWindows};

const VERSION: u8 = 1;

/// Most readings a pane can be said to have, so that sums of counts cannot overflow.
const MAX_COUNT: u64 = 1 << 40;

/// Why the stored state of a session cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by a version this program does not know.
    #[error("windows are stored in version {0}, this program reads version {VERSION}; use the release that wrote them")]
    Version(u8),
    /// Not what it claims to be.
    #[error("stored windows are damaged: {0}")]
    Malformed(&'static str),
}

impl SessionWindows {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("postcard writes any value of our own types to a Vec")
    }

    /// From bytes of [`encode`](Self::encode).
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let (&version, body) = bytes.split_first().ok_or(StateError::Malformed("empty"))?;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        match postcard::take_from_bytes::<Self>(body) {
            Ok((state, [])) => check(&state).map_err(StateError::Malformed).map(|()| state),
            Ok(_) => Err(StateError::Malformed("bytes after the end")),
            Err(_) => Err(StateError::Malformed("body does not parse")),
        }
    }
}

fn check(state: &SessionWindows) -> Result<(), &'static str> {
    let Progress { greatest, floor } = state.progress;
    let floor_fits = floor.is_none_or(|floor| 0 <= floor && Some(floor - LONGEST) <= greatest);
    if !floor_fits || ![greatest, state.inherited_until].into_iter().flatten().all(is_usable_time) {
        return Err("times");
    }
    if state.generations.is_empty() != greatest.is_none() || state.inherited_until > greatest {
        return Err("progress");
    }
    let mut former: Option<&Generation> = None;
    for generation in &state.generations {
        check_generation(generation)?;
        let follows = former.is_none_or(|former| former.until.is_some() && former.until <= generation.after);
        if !follows || generation.until.or(generation.after) > greatest {
            return Err("generations");
        }
        former = Some(generation);
    }
    if former.is_some_and(|newest| newest.until.is_some()) {
        return Err("generations");
    }
    state.held.as_ref().map_or(Ok(()), |held| check_held(held, greatest))
}

fn check_generation(generation: &Generation) -> Result<(), &'static str> {
    let Generation { params, after, until, panes, former } = generation;
    if ![after, until].into_iter().copied().flatten().all(is_usable_time) || until.is_some_and(|_| after > until) {
        return Err("generations");
    }
    let aligned = panes.keys().all(|start| params.align(*start) == *start);
    let rates = former.len() <= RATE_PANES && former.iter().all(|count| (1..=MAX_COUNT).contains(count));
    if !aligned || !rates || panes.len() as i64 > MAX_PANES + 1 {
        return Err("panes");
    }
    check_panes(panes)
}

fn check_held(held: &Held, greatest: Option<i64>) -> Result<(), &'static str> {
    let latest = held.panes.last_key_value().map(|(start, _)| *start);
    if greatest.is_none() || latest.is_none_or(|latest| latest > held.greatest) {
        return Err("held message");
    }
    if ![held.median, held.greatest].into_iter().all(is_usable_time) {
        return Err("held message");
    }
    check_panes(&held.panes)
}

fn check_panes(panes: &Panes) -> Result<(), &'static str> {
    let sound = panes.iter().all(|(start, sum)| {
        let most = sum.count as f64 * MAX_MAGNITUDE;
        is_usable_time(*start) && (1..=MAX_COUNT).contains(&sum.count) && (0.0..=most).contains(&sum.total)
    });
    if sound { Ok(()) } else { Err("panes") }
}
