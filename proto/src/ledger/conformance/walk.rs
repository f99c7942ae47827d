//! A random history of a ledger beside a model of it.

use super::samples::Feed;
use super::{Expected, Fixture, assert_lost, committed, recover};
use crate::ledger::{LedgerError, Mark, Source, Stream};
use crate::record::Record;

/// `steps` random steps on an empty store: submits good and stale, rivals, crashes, recoveries. The same seed walks
/// the same way.
///
/// # Panics
/// When the ledger is not what the model says; the message names the seed and the step.
pub fn walk(fixture: &mut dyn Fixture, seed: u64, steps: usize) {
    let mut random = Random(seed);
    let mut expected = Expected::default();
    let feeds: Vec<_> = match fixture.partition() {
        Some((topic, partition)) => vec![Feed::of_partition(topic, partition)],
        None => ["pi", "attic", "zero"]
            .into_iter()
            .flat_map(|agent| Stream::ALL.map(|stream| Feed::new(agent, 0xabcd, stream)))
            .collect(),
    };
    recover(fixture);
    for step in 0..steps {
        let why = format!("walk with seed {seed}, step {step}");
        let batch = Batch::choose(&mut random, &feeds, &expected);
        match random.below(10) {
            0 => stale(fixture, &mut random, &batch, &why),
            1 => rival(fixture, &batch, &mut expected, &why),
            2 => crash(fixture, &batch, &mut expected, &why),
            3 => {
                fixture.crash();
                recover(fixture);
            }
            4 => recover(fixture),
            5 => fixture.ledger().tend().unwrap_or_else(|error| panic!("{why}: tend: {error}")),
            _ => {
                let taken = fixture.ledger().submit(&batch.records, &batch.marks);
                taken.unwrap_or_else(|error| panic!("{why}: {error}"));
                expected.add(&batch.records, &batch.marks);
            }
        }
        expected.settle(fixture.ledger(), &why);
        if step % 10 == 9 || step + 1 == steps {
            expected.check(fixture, &why);
        }
    }
}

/// A submit that fits the model.
struct Batch<'a> {
    records: Vec<Record<'a>>,
    marks: Vec<Mark>,
}

impl<'a> Batch<'a> {
    fn choose(random: &mut Random, feeds: &'a [Feed], expected: &Expected) -> Self {
        let mut batch = Self { records: Vec::new(), marks: Vec::new() };
        let start = random.below(feeds.len() as u64) as usize;
        for feed in feeds.iter().cycle().skip(start).take(feeds.len().min(1 + random.below(3) as usize)) {
            let source = feed.source();
            let from = expected.positions.get(&source).copied().unwrap_or(0);
            let to = from + 1 + random.below(4);
            for seq in from + 1..=to {
                match random.below(8) {
                    0 if feed.has_gaps() => batch.records.push(feed.gap(seq, seq)),
                    1 => batch.records.extend(feed.odd(seq)),
                    _ => batch.records.extend(feed.frame(seq, random.below(4) as u32)),
                }
            }
            // A ledger of one source may hold a mark back that has no records.
            if feeds.len() == 1 && batch.records.is_empty() {
                batch.records.extend(feed.frame(to, 1));
            }
            batch.marks.push(expected.mark(&source, to));
        }
        batch
    }

    fn sources(&self) -> Vec<Source> {
        self.marks.iter().map(|mark| mark.source.clone()).collect()
    }
}

/// One mark comes from a position where its source is not.
fn stale(fixture: &mut dyn Fixture, random: &mut Random, batch: &Batch<'_>, why: &str) {
    let mut marks = batch.marks.clone();
    let mark = &mut marks[random.below(batch.marks.len() as u64) as usize];
    mark.from = match mark.from {
        Some(from) if random.below(2) == 0 => from.checked_sub(1),
        Some(_) => None,
        None => Some(0),
    };
    assert_lost(&fixture.ledger().submit(&batch.records, &marks), why);
    recover(fixture);
}

/// Another owner is faster.
fn rival(fixture: &mut dyn Fixture, batch: &Batch<'_>, expected: &mut Expected, why: &str) {
    let mut rival = fixture.rival();
    rival.recover().unwrap_or_else(|error| panic!("{why}: rival: {error}"));
    rival.submit(&batch.records, &batch.marks).unwrap_or_else(|error| panic!("{why}: rival: {error}"));
    expected.add(&batch.records, &batch.marks);
    expected.settle(&mut *rival, why);
    drop(rival);
    let lost = fixture.ledger().submit(&batch.records, &batch.marks);
    assert_lost(&lost, why);
    if matches!(lost, Err(LedgerError::Fenced(_))) {
        fixture.crash();
    }
    recover(fixture);
}

/// Killed right after a submit.
fn crash(fixture: &mut dyn Fixture, batch: &Batch<'_>, expected: &mut Expected, why: &str) {
    let taken = fixture.ledger().submit(&batch.records, &batch.marks);
    taken.unwrap_or_else(|error| panic!("{why}: {error}"));
    fixture.crash();
    recover(fixture);
    let found = committed(fixture, &batch.sources());
    if batch.marks.iter().any(|mark| found.get(&mark.source) == Some(&mark.to)) {
        expected.add(&batch.records, &batch.marks);
    }
}

/// splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
