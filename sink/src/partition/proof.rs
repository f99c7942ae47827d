//! The record at the token, by which a topic that was made anew is known.

use super::{Found, Print, Stop, Survey};

/// How much younger than the warehouse's mark the record there may seem, milliseconds: clocks differ.
pub(super) const CLOCKS: i64 = 3_600_000;

/// What the record at the token must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    pub(super) token: u64,
    /// The one that was stored, if that is known.
    pub(super) print: Option<Print>,
    /// Else it is as old as this mark.
    marked_at: Option<i64>,
}

impl Proof {
    /// None if the record may not be there any more. `at`: the record behind it. `memory`: a token and the record there.
    pub(super) fn of(at: i64, found: Found, survey: &Survey, memory: Option<(u64, Print)>) -> Option<Self> {
        let token = found.position?;
        if at <= survey.low || u64::try_from(at - 1) != Ok(token) {
            return None;
        }
        let told = survey.group.and_then(|group| group.told).filter(|told| told.token == Some(token));
        let memory = memory.filter(|(at, _)| *at == token).map(|(_, print)| print);
        let print = memory.or(told.and_then(|told| told.print));
        Some(Self { token, print, marked_at: found.marked_at })
    }

    /// Whether the record that is there now can be it.
    pub(super) fn holds(&self, seen: Print) -> Result<(), Stop> {
        let token = self.token;
        match (self.print, self.marked_at, seen.timestamp) {
            (Some(stored), ..) if stored != seen => {
                Err(Stop::Anew { token, how: "is another than the one that was stored" })
            }
            (None, Some(mark), Some(at)) if at > mark.saturating_add(CLOCKS) => {
                Err(Stop::Anew { token, how: "is younger than the warehouse's mark" })
            }
            _ => Ok(()),
        }
    }
}
