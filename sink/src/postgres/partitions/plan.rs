//! Which partitions are made, and which are dropped. Pure: no clock, no database.
//!
//! - Partitions lie end to end on whole hours, each a span that follows from how long readings are kept, and reach ahead of
//!   the server's clock. Only what no partition covers is made. What is there is left as it is, but for what this program made
//!   ahead, longer than a span is by now: while that has no rows it is dropped, and made anew.
//! - Where the default partition has rows, what is made begins in the future: no row of it can belong there.
//! - Only a partition that this program made is dropped, once its last moment is older than what is kept, and only while
//!   the clocks of server and sink agree: a server that wakes up in another year loses nothing.
//! - Where both share one clock, a jump leaves a hole: partitions were not made in the time that it left out. Nothing is
//!   dropped until partitions lie end to end over a tenth of what is kept again. A jump within what was made ahead leaves none,
//!   and ages readings by no more than that.
//!
//! Times are seconds since the Unix epoch.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

pub(super) const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Spans of a partition. Each is a multiple of an hour.
const SPANS: [i64; 12] =
    [HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 3 * DAY, 5 * DAY, 10 * DAY, 15 * DAY, 30 * DAY];

/// So many spans hold what is kept; those that begin, end and lie ahead come besides.
const KEPT: i64 = 30;

/// How much is made ahead: spans, and at least so long.
const SPANS_AHEAD: i64 = 2;
const LEAST_AHEAD: i64 = 6 * HOUR;

/// How far the clocks of server and sink may lie apart before nothing is dropped.
const AGREE: i64 = HOUR;

/// A partition by ranges of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Its name in the schema of raw readings.
    pub(super) name: String,
    /// Its first moment; the least number if it has none.
    pub(super) from: i64,
    /// The moment after its last; the greatest number if it has none.
    pub(super) to: i64,
    /// Whether this program made it.
    pub(super) ours: bool,
    /// Whether it has no rows. Looked at where it is [`long`] and lies ahead, else false.
    pub(super) empty: bool,
}

/// How things stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// By the server's clock.
    pub(super) now: i64,
    /// By the sink's.
    pub(super) here: i64,
    pub(super) parts: Vec<Part>,
    /// Partitions whose bounds cannot be read, by name, with the bound as it is written.
    pub(super) unreadable: Vec<String>,
    /// What cannot be the name of a table any more.
    pub(super) names: BTreeSet<String>,
    /// Whether the default partition has rows.
    pub(super) strays: bool,
    /// How long readings are kept, seconds.
    pub(super) keep: Option<i64>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be dropped first, if they are empty still: they were made for a longer time of keeping, and lie ahead. What is to
    /// be made follows from what is there then.
    pub(super) shorten: Vec<Part>,
    /// To be made, in order of time.
    pub(super) make: Vec<Part>,
    /// To be dropped.
    pub(super) drop: Vec<Part>,
    /// What the operator must know.
    pub(super) notices: Vec<String>,
}

/// The span of a partition where readings are kept for `keep` seconds.
pub(super) fn span(keep: Option<i64>) -> i64 {
    let longest = SPANS[SPANS.len() - 1];
    keep.map_or(longest, |keep| SPANS.into_iter().find(|span| span * KEPT >= keep).unwrap_or(longest))
}

/// How long ahead of now partitions are made.
pub(super) fn ahead(keep: Option<i64>) -> i64 {
    (SPANS_AHEAD * span(keep)).max(LEAST_AHEAD)
}

/// What is to be done where things stand so.
pub(super) fn plan(standing: &Standing) -> Plan {
    let mut plan = Plan::default();
    plan.notices.extend(unreadable(standing));
    if !plan.notices.is_empty() {
        return plan;
    }
    shorten(standing, &mut plan);
    make(standing, &mut plan);
    drop_old(standing, &mut plan);
    plan
}

/// Why nothing is made or dropped: what such a partition holds is not known.
pub(super) fn unreadable(standing: &Standing) -> Option<String> {
    (!standing.unreadable.is_empty()).then(|| {
        format!(
            "bounds of partitions of raw_data.activity_records cannot be read: {}: no partition is made and none dropped until \
             these are detached (ALTER TABLE raw_data.activity_records DETACH PARTITION), or attached with bounds that are \
             moments, MINVALUE or MAXVALUE",
            standing.unreadable.join(", ")
        )
    })
}

/// Whether this program made `part` for a longer time of keeping, so that its readings stay longer than they should. One
/// without a beginning is a table that somebody attached.
pub(super) fn is_long(part: &Part, keep: Option<i64>) -> bool {
    part.ours && part.from > i64::MIN && part.to.saturating_sub(part.from) > span(keep)
}

/// Whether `part` begins so late that nobody can be writing into it by now.
pub(super) fn lies_ahead(part: &Part, now: i64) -> bool {
    part.from > now.saturating_add(HOUR)
}

/// Where the default partition has rows nothing is shortened: whether anything can be made beside it is not known.
fn shorten(standing: &Standing, plan: &mut Plan) {
    let Standing { now, keep, strays, .. } = standing;
    if *strays || !agree(standing) {
        return;
    }
    let parts = standing.parts.iter().filter(|part| part.empty && is_long(part, *keep) && lies_ahead(part, *now));
    plan.shorten = parts.cloned().collect();
}

/// Which partitions keep their readings longer than they should, and until when.
pub(super) fn kept_longer(standing: &Standing) -> Option<String> {
    const NAMED: usize = 5;
    let Standing { now, keep, parts, .. } = standing;
    let keep = (*keep)?;
    let mut long: Vec<_> = parts.iter().filter(|part| is_long(part, Some(keep)) && !part.empty).collect();
    long.retain(|part| part.to.saturating_add(keep) > *now);
    long.sort_by_key(|part| part.from);
    let until = |part: &&Part| format!("raw_data.{} until {}", part.name, shown(part.to.saturating_add(keep)));
    let mut named: Vec<String> = long.iter().take(NAMED).map(until).collect();
    if let Some(last) = long.last().filter(|_| long.len() > NAMED) {
        named.push(format!("and {} more, the last {}", long.len() - NAMED, until(last)));
    }
    (!named.is_empty()).then(|| {
        format!(
            "partitions of an earlier, longer keep_raw hold their readings together for longer: {}",
            named.join(", ")
        )
    })
}

fn make(standing: &Standing, plan: &mut Plan) {
    let Standing { now, parts, names, strays, keep, .. } = standing;
    let first = parts.iter().filter(|part| part.ours).map(|part| part.from).min();
    if first.is_some_and(|first| *now < first) && !agree(standing) {
        plan.notices.push(format!(
            "{}, and the database's lies before the first partition of raw_data.activity_records: no partition is made until \
             one of them is set right",
            apart(standing)
        ));
        return;
    }
    let (span, until) = (span(*keep), now.saturating_add(ahead(*keep)));
    // Rows in the default partition came up to now: what is made begins at least an hour later.
    let mut at = if *strays { ceil(now.saturating_add(HOUR), HOUR) } else { floor(*now, span) };
    while at < until {
        if let Some(part) = parts.iter().find(|part| part.from <= at && at < part.to) {
            at = ceil(part.to, HOUR);
            continue;
        }
        let next = parts.iter().map(|part| part.from).filter(|from| *from > at).min();
        let to = floor(at, span).saturating_add(span).min(next.map_or(i64::MAX, |next| floor(next, HOUR)));
        if to <= at {
            // Less than an hour lies before the next one.
            at = at.saturating_add(HOUR);
            continue;
        }
        let name = name(at);
        if names.contains(&name) {
            plan.notices.push(format!(
                "raw_data.{name} is not the partition of raw_data.activity_records that it should be: its readings go into \
                 the default partition; attach it, rename it, or drop it"
            ));
        } else {
            plan.make.push(Part { name, from: at, to, ours: true, empty: true });
        }
        at = to;
    }
}

fn drop_old(standing: &Standing, plan: &mut Plan) {
    let Some(keep) = standing.keep else { return };
    let last = standing.now.saturating_sub(keep);
    let old = |part: &&Part| part.ours && part.to <= last;
    let old: Vec<Part> = standing.parts.iter().filter(old).cloned().collect();
    if old.is_empty() {
    } else if !agree(standing) {
        plan.notices.push(format!("{}: no old readings are dropped until they agree within an hour", apart(standing)));
    } else if reach_back(standing) > standing.now.saturating_sub(settled(keep)) {
        plan.notices.push(format!(
            "the sink was away for long, or the clock of the database and of this machine has jumped: no old readings are \
             dropped until partitions were made for {} hours in a row",
            settled(keep) / HOUR
        ));
    } else {
        plan.drop = old;
    }
}

/// For how long partitions must lie end to end before one is dropped.
fn settled(keep: i64) -> i64 {
    (keep / 10).max(span(Some(keep)))
}

/// The moment from which on partitions that have a beginning lie end to end up to now; edges of others may be less than an hour apart.
fn reach_back(standing: &Standing) -> i64 {
    let mut at = standing.now;
    let covering = |at: i64| {
        let parts = standing.parts.iter().filter(|part| part.from > i64::MIN && part.from < at);
        parts.filter(|part| part.to > at.saturating_sub(HOUR)).map(|part| part.from).min()
    };
    while let Some(from) = covering(at) {
        at = from;
    }
    at
}

/// The first time ahead that no partition takes although one after it does, and that begins before partitions are made up to.
pub(super) fn hole(standing: &Standing) -> Option<(i64, i64)> {
    let Standing { now, parts, keep, .. } = standing;
    let mut at = *now;
    while let Some(part) = parts.iter().find(|part| part.from <= at && at < part.to) {
        at = part.to;
    }
    let next = parts.iter().filter(|part| part.from > at && part.from < part.to).map(|part| part.from).min()?;
    (at < now.saturating_add(ahead(*keep))).then_some((at, next))
}

fn agree(standing: &Standing) -> bool {
    standing.now.abs_diff(standing.here) <= AGREE.unsigned_abs()
}

/// The same words for as long as it is so: they are told once.
fn apart(standing: &Standing) -> String {
    let hours = standing.now.abs_diff(standing.here) / HOUR.unsigned_abs();
    let way = if standing.now < standing.here { "behind" } else { "ahead of" };
    format!("the database's clock is {hours} hours {way} this machine's")
}

/// `raw_YYYYMMDD`, with the hour where it begins at another than the day's first.
fn name(from: i64) -> String {
    let form = if from.rem_euclid(DAY) == 0 { "raw_%Y%m%d" } else { "raw_%Y%m%d%H" };
    Timestamp::from_second(from).map_or_else(|_| format!("raw_{from}"), |from| from.strftime(form).to_string())
}

/// A moment as PostgreSQL reads it, and people.
pub(super) fn shown(at: i64) -> String {
    Timestamp::from_second(at).map_or_else(|_| format!("{at} s"), |at| at.strftime("%Y-%m-%d %H:%M:%S+00").to_string())
}

/// How many seconds `keep` is.
pub(super) fn seconds(keep: Duration) -> i64 {
    i64::try_from(keep.as_secs()).unwrap_or(i64::MAX)
}

fn floor(at: i64, span: i64) -> i64 {
    at.saturating_sub(at.rem_euclid(span))
}

fn ceil(at: i64, span: i64) -> i64 {
    floor(at.saturating_add(span - 1), span)
}

#[cfg(test)]
mod tests;
