//! What adds up. Pure.
//!
//! - What was accepted is in the spool, in the next place, in a gap that tells of it, or no longer kept; else it is missing.
//!   What a phone's owner does not want kept is not looked for.
//! - What the warehouse says that it has read of Kafka is in it, or no longer kept; what it has not read is under way.
//! - What was deleted on request is owed to nobody: of a device of which the warehouse has no row up to the last seq that a
//!   notice tells of, as many as that notice tells of may be missing. Who has a row there was not deleted: a whole device is.
//! - A Kafka that keeps all its records lacks nothing because the warehouse's rows were deleted.
//! - A Kafka that does not keep its oldest records proves no loss; a warehouse that keeps all of its own does.
//! - A name stands once.
//! - What moves while it is asked is no mistake: a frame is looked for in the next place after the spool was asked, and
//!   nothing is held against more than was accepted when all had been asked.

use std::collections::{BTreeMap, BTreeSet};

use gaitway_proto::ledger::Stream;
use serde::Serialize;

use super::book::{Agent, Forgotten, Key, Store, StreamName, Tally};

/// All that was asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    pub(super) agent: Option<Agent>,
    pub(super) kafka: Option<Store>,
    pub(super) warehouse: Option<Store>,
    /// The warehouse is filled from Kafka, by a sink.
    pub(super) is_fed: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    pub(super) sessions: Vec<Line>,
    pub(super) mistakes: Vec<Mistake>,
    /// What is to be known besides.
    pub(super) notes: Vec<String>,
}

/// A session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) device: String,
    pub(super) session: String,
    pub(super) messages: u64,
    /// Readings that the agent accepted; null of one whose spool was not asked.
    pub(super) accepted: Option<u64>,
    pub(super) spooled: Option<u64>,
    pub(super) kafka: Option<u64>,
    pub(super) warehouse: Option<u64>,
    pub(super) windows: u64,
    pub(super) twice: u64,
    /// Ids below the greatest that never came from the phone.
    pub(super) lost_by_phone: u64,
    /// Readings in Kafka that the warehouse has not read yet.
    pub(super) to_warehouse: u64,
    /// Readings lost on the way and told of in gaps.
    pub(super) in_gaps: u64,
    /// Readings that were there and are not kept any more.
    pub(super) no_longer_kept: u64,
    /// Readings that were never kept because the phone's owner wants it so; null of one whose spool was not asked.
    pub(super) withheld: Option<u64>,
    /// Readings that were deleted on request.
    pub(super) forgotten: u64,
    pub(super) missing: u64,
}

/// Something that does not add up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Mistake {
    pub(super) kind: Kind,
    pub(super) device: Option<String>,
    pub(super) session: Option<String>,
    pub(super) count: u64,
    pub(super) said: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Accepted, and nowhere.
    Missing,
    /// In Kafka, and not in the warehouse.
    NotStored,
    /// There, and never accepted.
    Foreign,
    /// A name that is there again.
    Twice,
    /// Frames missing in a stream.
    Hole,
    /// Records missing inside frames.
    Torn,
}

/// Readings that may be missing for a reason; none: nobody knows how many.
struct Pool(Option<u64>);

impl Pool {
    fn take(&mut self, wanted: u64) -> u64 {
        let taken = self.0.map_or(wanted, |left| left.min(wanted));
        self.0 = self.0.map(|left| left - taken);
        taken
    }
}

/// Rows that were deleted from the warehouse on request, notice by notice.
struct Gone<'a>(Vec<Notice<'a>>);

struct Notice<'a> {
    name: &'a StreamName,
    to: u64,
    left: u64,
}

impl<'a> Gone<'a> {
    fn told_by(warehouse: Option<&'a Store>, stream: Stream) -> Self {
        let all = warehouse.into_iter().flat_map(|store| &store.forgotten).filter(|(name, _)| name.stream == stream);
        let notices = all.flat_map(|(name, told)| told.iter().map(move |told| (name, told)));
        Self(notices.map(|(name, told)| Notice { name, to: told.to, left: told.rows }).collect())
    }

    /// Takes up to `wanted` from the notices that may tell of its rows: from `is_its(stream, last seq)`.
    fn take(&mut self, wanted: u64, is_its: impl Fn(&StreamName, u64) -> bool) -> u64 {
        let mut due = wanted;
        for notice in self.0.iter_mut().filter(|notice| is_its(notice.name, notice.to)) {
            let taken = notice.left.min(due);
            notice.left -= taken;
            due -= taken;
        }
        wanted - due
    }
}

/// The lowest seq that a place has of a device, stream by stream.
struct Firsts<'a>(BTreeMap<(&'a str, &'a StreamName), u64>);

impl<'a> Firsts<'a> {
    fn of(store: Option<&'a Store>) -> Self {
        let mut firsts = BTreeMap::new();
        for (key, tally) in store.into_iter().flat_map(|store| &store.sessions) {
            for (name, seq) in &tally.first {
                let first = firsts.entry((key.device.as_str(), name)).or_insert(*seq);
                *first = (*first).min(*seq);
            }
        }
        Self(firsts)
    }

    fn has(&self, device: &str, name: &StreamName, up_to: u64) -> bool {
        self.0.get(&(device, name)).is_some_and(|first| *first <= up_to)
    }
}

const KAFKA: &str = "Kafka";
const WAREHOUSE: &str = "the warehouse";

/// Holds the books against each other; of sessions only those whose id begins with `only`.
pub(super) fn judge(books: &Books, only: Option<&str>) -> Report {
    let mut report = Report::default();
    let next = match (&books.kafka, &books.warehouse) {
        (Some(kafka), _) => Some((KAFKA, kafka)),
        // What is not in it may still be in a Kafka that was not asked.
        (None, Some(warehouse)) if !books.is_fed => Some((WAREHOUSE, warehouse)),
        (None, _) => None,
    };
    let mut pools = next.map(|(_, store)| (gaps(books.agent.as_ref(), store), retired(store)));
    let waiting = spooled(books.agent.as_ref(), next.map(|(_, store)| store));
    let mut retired_rows = books.warehouse.as_ref().map(retired);
    let gone = |stream| Gone::told_by(books.warehouse.as_ref(), stream);
    let (mut gone_on_the_way, mut gone_rows) = (gone(Stream::Raw), [Stream::Raw, Stream::Activity].map(gone));
    let firsts = [&books.kafka, &books.warehouse].map(|store| Firsts::of(store.as_ref()));
    let stores = [(KAFKA, &books.kafka), (WAREHOUSE, &books.warehouse)];
    let stores: Vec<(&str, &Store)> = stores.iter().filter_map(|(name, s)| s.as_ref().map(|s| (*name, s))).collect();

    let told = books.agent.iter().flat_map(|agent| agent.sessions.keys());
    let keys: BTreeSet<&Key> = told.chain(stores.iter().flat_map(|(_, store)| store.sessions.keys())).collect();
    let mut lags = false;
    for key in keys {
        let mut line = line(books, &stores, key, waiting.get(key).copied().unwrap_or(0));
        let mut said = Vec::new();
        if let (Some(agent), Some((place, store)), Some(pools)) = (&books.agent, next, &mut pools) {
            let proof = proof(books, &agent.id, key, &line);
            let gone = (&mut gone_on_the_way, &firsts[1]);
            accepted(agent, (place, store), key, (pools, proof, gone), &mut line, &mut said);
        }
        if let (Some(kafka), Some(warehouse), Some(pool)) = (&books.kafka, &books.warehouse, &mut retired_rows) {
            stored((kafka, warehouse), key, (pool, &mut gone_rows, &firsts), &mut line, &mut said);
        }
        for (place, store) in &stores {
            if let Some(tally) = store.sessions.get(key) {
                itself(place, store, key, tally, &mut said);
            }
        }
        lags |= line.to_warehouse > 0;
        if only.is_none_or(|only| key.session.starts_with(only)) {
            report.sessions.push(line);
            report.mistakes.extend(said);
        }
    }
    let mut of_streams = Report::default();
    for (place, store) in &stores {
        let fed = books.is_fed && *place == WAREHOUSE;
        // What a warehouse misses of a whole Kafka was found above, session by session.
        let may_lag = fed && (lags || books.kafka.as_ref().is_none_or(|kafka| !kafka.is_shortened));
        let met = if fed { books.kafka.as_ref().unwrap_or(store) } else { store };
        streams(place, (store, met), books.agent.as_ref(), may_lag, &mut of_streams);
    }
    if only.is_none() {
        report.notes = of_streams.notes;
        report.mistakes.extend(of_streams.mistakes);
    } else if report.sessions.iter().any(|line| line.forgotten > 0) {
        // More frames than were deleted on request are gone, and nobody knows whose.
        report.mistakes.extend(of_streams.mistakes.into_iter().filter(|mistake| mistake.kind == Kind::Hole));
    }
    report
}

/// Readings that gaps tell of.
fn gaps(agent: Option<&Agent>, store: &Store) -> Pool {
    let mut sum = Some(agent.map_or(0, |agent| agent.lost));
    for ((name, _), gap) in &store.gaps {
        let is_ours = agent.is_none_or(|agent| agent.id == name.agent);
        if is_ours && name.stream == Stream::Raw {
            sum = sum.zip(gap.readings).map(|(sum, readings)| sum + readings);
        }
    }
    Pool(sum)
}

fn retired(store: &Store) -> Pool {
    Pool(if store.is_shortened { None } else { Some(store.retired) })
}

fn line(books: &Books, stores: &[(&str, &Store)], key: &Key, waiting: u64) -> Line {
    let tally = |place: &str| {
        let (_, store) = stores.iter().find(|(name, _)| *name == place)?;
        Some(store.sessions.get(key).cloned().unwrap_or_default())
    };
    let (kafka, warehouse) = (tally(KAFKA), tally(WAREHOUSE));
    let tallies = || kafka.iter().chain(&warehouse);
    let told = books.agent.as_ref().and_then(|agent| agent.sessions.get(key));
    let most = |count: fn(&Tally) -> u64| tallies().map(count).max().unwrap_or(0);
    Line {
        device: key.device.clone(),
        session: key.session.clone(),
        messages: told.map_or_else(|| most(|t| t.messages), |told| told.messages),
        accepted: told.map(|told| told.readings + told.withheld),
        withheld: told.map(|told| told.withheld),
        spooled: books.agent.as_ref().map(|_| waiting),
        windows: most(|t| t.windows),
        twice: tallies().map(|t| t.readings_again + t.windows_again).sum(),
        lost_by_phone: told.map_or_else(|| most(|t| t.ids.missing()), |told| told.holes),
        to_warehouse: match (&kafka, &warehouse) {
            (Some(kafka), Some(_)) => kafka.readings.saturating_sub(kafka.due_readings),
            _ => 0,
        },
        kafka: kafka.map(|t| t.readings),
        warehouse: warehouse.map(|t| t.readings),
        ..Line::default()
    }
}

/// Readings by session that were in the spool and are not in the next place yet.
fn spooled<'a>(agent: Option<&'a Agent>, next: Option<&Store>) -> BTreeMap<&'a Key, u64> {
    let mut sums = BTreeMap::new();
    for frame in agent.iter().flat_map(|agent| &agent.spooled) {
        if !next.is_some_and(|next| next.has(&frame.name, frame.seq)) {
            *sums.entry(&frame.key).or_default() += frame.readings;
        }
    }
    sums
}

/// Readings of a session that came from `agent`, if Kafka does not keep its oldest any more and the warehouse keeps all that it
/// ever had: what is in it, and what it has not read yet.
fn proof(books: &Books, agent: &str, key: &Key, line: &Line) -> Option<u64> {
    let (kafka, warehouse) = (books.kafka.as_ref()?, books.warehouse.as_ref()?);
    if !kafka.is_shortened || warehouse.is_shortened || warehouse.retired > 0 {
        return None;
    }
    let stored = warehouse.sessions.get(key).and_then(|tally| tally.by_agent.get(agent)).copied().unwrap_or(0);
    Some(stored + line.to_warehouse)
}

/// What was accepted against what is in the next place.
fn accepted(
    agent: &Agent,
    (place, store): (&str, &Store),
    key: &Key,
    ((gaps, retired), proof, (gone, firsts)): (&mut (Pool, Pool), Option<u64>, (&mut Gone<'_>, &Firsts<'_>)),
    line: &mut Line,
    said: &mut Vec<Mistake>,
) {
    let Some(told) = agent.sessions.get(key) else { return };
    let there = store.sessions.get(key).and_then(|tally| tally.by_agent.get(&agent.id)).copied().unwrap_or(0);
    let came = proof.map_or(there, |proof| proof.max(there));
    let mut missing = told.readings.saturating_sub(came + line.spooled.unwrap_or(0));
    let in_gaps = gaps.take(missing);
    missing -= in_gaps;
    let is_its = |name: &StreamName, to| name.agent == agent.id && !firsts.has(&key.device, name, to);
    // What was deleted from the warehouse was not deleted from Kafka.
    let is_due = place == KAFKA && !store.is_shortened;
    let forgotten = if is_due { 0 } else { gone.take(missing, is_its) };
    missing -= forgotten;
    let retired = if proof.is_some() { 0 } else { retired.take(missing) };
    missing -= retired;
    line.in_gaps += in_gaps;
    line.forgotten += forgotten;
    line.no_longer_kept += retired;
    line.missing += missing;
    if missing > 0 {
        let them = if missing == 1 { "it" } else { "them" };
        let readings = were(missing, "reading", key);
        let places = if proof.is_some() { "Kafka or the warehouse" } else { place };
        let what = format!("{readings} accepted by the agent, and neither its spool nor {places} has {them}");
        said.push(mistake(Kind::Missing, key, missing, what));
    }
    let most = agent.later.get(key).copied().unwrap_or(told.readings).max(told.readings);
    // Of a session that was forgotten and goes on, the next place may still have the beginning.
    let foreign = there.saturating_sub(most);
    let foreign = foreign - gone.take(foreign, is_its);
    if foreign > 0 && !agent.is_patchwork {
        let what = format!("{} in {place} and the agent did not accept them", are(foreign, "reading", key));
        said.push(mistake(Kind::Foreign, key, foreign, what));
    }
}

/// What the warehouse has read of Kafka against what is in it.
fn stored(
    (kafka, warehouse): (&Store, &Store),
    key: &Key,
    (retired, [gone_readings, gone_windows], [in_kafka, in_warehouse]): (
        &mut Pool,
        &mut [Gone<'_>; 2],
        &[Firsts<'_>; 2],
    ),
    line: &mut Line,
    said: &mut Vec<Mistake>,
) {
    let Some(due) = kafka.sessions.get(key) else { return };
    let nothing = Tally::default();
    let there = warehouse.sessions.get(key).unwrap_or(&nothing);
    let mut readings = due.due_readings.saturating_sub(there.readings);
    let is_its =
        |name: &StreamName, to| in_kafka.has(&key.device, name, to) && !in_warehouse.has(&key.device, name, to);
    let forgotten = gone_readings.take(readings, is_its);
    readings -= forgotten;
    line.forgotten = line.forgotten.max(forgotten);
    let mut windows = due.due_windows.saturating_sub(there.windows);
    windows -= gone_windows.take(windows, is_its);
    let no_longer = retired.take(readings);
    readings -= no_longer;
    line.no_longer_kept += no_longer;
    line.missing += readings;
    for (count, what) in [(readings, "reading"), (windows, "window")] {
        if count > 0 {
            let what = format!("{} in Kafka and not in the warehouse", are(count, what, key));
            said.push(mistake(Kind::NotStored, key, count, what));
        }
    }
}

/// What one place says against itself.
fn itself(place: &str, store: &Store, key: &Key, tally: &Tally, said: &mut Vec<Mistake>) {
    let example = tally.again.as_deref().unwrap_or_default();
    for (count, what) in [(tally.readings_again, "reading"), (tally.windows_again, "window")] {
        if count > 0 {
            let what = format!("{} more than once in {place}, such as {example}", are(count, what, key));
            said.push(mistake(Kind::Twice, key, count, what));
        }
    }
    // Where the oldest are not kept, a frame may have lost its beginning.
    let is_whole = store.retired == 0 && !store.is_shortened;
    if tally.torn > 0 && is_whole && said.iter().all(|mistake| mistake.kind == Kind::Twice) {
        let what = format!("{} missing inside their frames in {place}", are(tally.torn, "record", key));
        said.push(mistake(Kind::Torn, key, tally.torn, what));
    }
}

/// Frames that are missing in a place, and what is to be known of it. `met` tells which ones must be there.
fn streams(place: &str, (store, met): (&Store, &Store), agent: Option<&Agent>, may_lag: bool, report: &mut Report) {
    for ((name, from), gap) in &store.gaps {
        let readings = gap.readings.map_or_else(|| "nobody knows how many".to_owned(), |n| n.to_string());
        let reason = gap.reason.as_deref().map_or_else(String::new, |reason| format!(", reason: {reason}"));
        report
            .notes
            .push(format!("{place} tells of a gap: {name} seq {from} to {}, {readings} readings{reason}", gap.to));
    }
    for name in store.forgotten.keys() {
        let Forgotten { frames, rows, .. } = store.forgotten_of(name);
        report
            .notes
            .push(format!("{place} tells that {rows} rows of {frames} frames of {name} were deleted on request"));
    }
    if store.gaps_again > 0 {
        let said = format!("{} gaps are more than once in {place}", store.gaps_again);
        report.mistakes.push(Mistake { kind: Kind::Twice, device: None, session: None, count: store.gaps_again, said });
    }
    if store.nameless > 0 {
        report.notes.push(format!("{} records in {place} were told by no agent and are not counted", store.nameless));
    }
    if store.is_shortened {
        let note = format!("{place} does not keep the oldest records any more: what is missing there may have been");
        report.notes.push(note);
    }
    if store.retired > 0 {
        report.notes.push(format!("{place} does not keep its oldest {} readings any more", store.retired));
    }
    for (name, seqs) in &store.streams {
        let is_whole = match name.stream {
            Stream::Raw => store.retired == 0 && !store.is_shortened,
            // A copy of an agent may tell frames without windows, of which nothing is stored.
            Stream::Activity => {
                !store.is_shortened && agent.is_some_and(|agent| agent.id == name.agent && !agent.is_patchwork)
            }
        };
        if !is_whole || may_lag {
            continue;
        }
        let mut gone = store.forgotten_of(name);
        for (from, to) in seqs.holes(1).into_iter().filter(|(from, _)| met.is_settled(name, *from)) {
            let count = to - from + 1;
            if gone.from <= from && to <= gone.to && count <= gone.frames {
                gone.frames -= count;
                continue;
            }
            let said = match count {
                1 => format!("frame {from} of {name} is not in {place}"),
                _ => format!("frames {from} to {to} of {name} are not in {place}"),
            };
            report.mistakes.push(Mistake { kind: Kind::Hole, device: None, session: None, count, said });
        }
    }
}

fn mistake(kind: Kind, key: &Key, count: u64, said: String) -> Mistake {
    Mistake { kind, device: Some(key.device.clone()), session: Some(key.session.clone()), count, said }
}

fn are(count: u64, what: &str, key: &Key) -> String {
    let (s, are) = if count == 1 { ("", "is") } else { ("s", "are") };
    format!("{count} {what}{s} of session {} ({}) {are}", key.session, key.device)
}

fn were(count: u64, what: &str, key: &Key) -> String {
    let (s, were) = if count == 1 { ("", "was") } else { ("s", "were") };
    format!("{count} {what}{s} of session {} ({}) {were}", key.session, key.device)
}
