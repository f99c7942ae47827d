//! Spools that are hurt: what is noticed, what is kept, what is got out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gaitway_agent::phones::{Keep, Privacy};
use gaitway_agent::spool::check::{Hold, check};
use gaitway_agent::spool::damage::Loss;
use gaitway_agent::spool::export::export;
use gaitway_agent::spool::presence::log_of;
use gaitway_agent::spool::queue::{ordinal_of, row_id, seq_of};
use gaitway_agent::spool::salvage::bring::{Brought, bring};
use gaitway_agent::spool::salvage::found::{Found, Kind};
use gaitway_agent::spool::salvage::image::{Image, Standing};
use gaitway_agent::spool::salvage::plan::{Step, steps};
use gaitway_agent::spool::salvage::source::Source;
use gaitway_agent::spool::schema::{self, OpenError};
use gaitway_agent::writer::Ended;
use gaitway_proto::envelope::is_whole;
use gaitway_proto::ledger::Stream;
use proptest::prelude::*;
use rusqlite::Connection;

mod spooled;
use spooled::{SECOND, Setup, Spooled, body};

/// The files of a spool and the frames that are in it, by stream and row id.
#[derive(Debug, Clone, Default)]
struct Sample {
    file: Vec<u8>,
    log: Vec<u8>,
    frames: BTreeMap<(Stream, i64), Vec<u8>>,
    /// Those and the ones deleted before.
    ever: Vec<(Stream, Vec<u8>)>,
}

impl Sample {
    /// As they lie in `dir`, of a running agent or a stopped one.
    fn of(dir: &Path) -> Self {
        let path = dir.join("spool.db");
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        let mut frames = BTreeMap::new();
        let connection = schema::open_to_read(&path).unwrap();
        for stream in Stream::ALL {
            let mut rows =
                connection.prepare(&format!("SELECT id, frame FROM {stream} WHERE frame IS NOT NULL")).unwrap();
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            frames.extend(rows.map(|row| row.map(|(id, frame): (i64, Vec<u8>)| ((stream, id), frame)).unwrap()));
        }
        let (file, log) = (read(&path), read(&log_of(&path)));
        let image = Image::new(&file, &log);
        let found = Found::gather(&image);
        let of =
            |stream| found.frames(stream).values().filter_map(|frame| frame.bytes(&image)).map(move |f| (stream, f));
        let ever = Stream::ALL.into_iter().flat_map(of).collect();
        drop(image);
        Self { file, log, frames, ever }
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, &self.file).unwrap();
        if !self.log.is_empty() {
            std::fs::write(log_of(path), &self.log).unwrap();
        }
    }

    fn gather(&self) -> (Found, BTreeMap<(Stream, i64), Vec<u8>>) {
        let image = Image::new(&self.file, &self.log);
        let found = Found::gather(&image);
        let frames = whole(&image, &found);
        (found, frames)
    }
}

/// The whole frames that are not deleted.
fn whole(image: &Image<'_>, found: &Found) -> BTreeMap<(Stream, i64), Vec<u8>> {
    let of = |stream| {
        let kept = found.frames(stream).iter().filter(move |(id, frame)| {
            let acked = found.acked.get(&(ordinal_of(**id), stream)).copied().unwrap_or(0);
            frame.standing() != Standing::Free || seq_of(**id) > acked
        });
        kept.filter_map(move |(id, frame)| Some(((stream, *id), frame.bytes(image)?)))
    };
    Stream::ALL.into_iter().flat_map(of).collect()
}

/// Like [`body`], with values that do not compress: frames of one page and of several.
fn noisy(id: u64, from: i64, readings: i64) -> String {
    let mut x = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x % 20_000_000) as f64 / 1e6
    };
    let reading = |at: i64| {
        let (time, [x, y, z]) = (from * SECOND + at * 10_000_000, [(); 3].map(|()| next()));
        format!(r#"{{"name":"accelerometer","time":{time},"values":{{"x":{x},"y":{y},"z":{z}}}}}"#)
    };
    let readings = (0..readings).map(reading).collect::<Vec<_>>().join(",");
    format!(r#"{{"messageId":{id},"deviceId":"phone","sessionId":"walk","payload":[{readings}]}}"#)
}

/// A spool of two starts with small and large pushes, acknowledged ones deleted; the second sample's newest pages are
/// in its log.
fn samples() -> &'static [Sample; 2] {
    static SAMPLES: OnceLock<[Sample; 2]> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let agent = Spooled::start(dir.path(), &Setup::default());
        for id in 0..40 {
            agent.push(&noisy(id, 100 + 3 * id as i64, 10 + 150 * (id as i64 % 3))).unwrap();
        }
        let epoch = agent.state.borrow().epoch;
        agent.acknowledge(epoch, Stream::Raw, 9);
        agent.await_state(|state| state.streams.iter().any(|o| o.stream == Stream::Raw && o.first == 10));
        agent.stop();
        let stopped = Sample::of(dir.path());
        let agent = Spooled::start(dir.path(), &Setup::default());
        for id in 40..70 {
            agent.push(&noisy(id, 100 + 3 * id as i64, 300 * (id as i64 % 2) + 5)).unwrap();
        }
        let running = Sample::of(dir.path());
        agent.stop();
        assert!(stopped.log.is_empty() && running.log.len() > 30_000);
        assert!(stopped.frames.len() > 40 && running.frames.len() > 80);
        assert!(running.frames.values().any(|frame| frame.len() > 5_000), "overflow pages");
        [stopped, running]
    })
}

#[test]
fn everything_in_a_whole_spool_is_found_without_sqlite() {
    for sample in samples() {
        let (found, frames) = sample.gather();
        assert_eq!(frames, sample.frames);
        assert_eq!(found.agent.as_deref(), Some("test"));
        assert_eq!(found.acked[&(1, Stream::Raw)], 9);
        assert_eq!(found.sessions.len(), 1);
        let (begin, raw) = steps(&found, 1, Stream::Raw);
        assert_eq!((begin, raw.len()), (9, 31));
        assert!(raw.values().all(|step| matches!(step, Step::Row(_))));
    }
}

/// A source of which some pages cannot be read.
struct Holed {
    bytes: Vec<u8>,
    page_size: u64,
    holes: Vec<u64>,
}

impl Source for Holed {
    fn length(&self) -> u64 {
        self.bytes.length()
    }

    fn fill(&self, at: u64, into: &mut [u8]) -> bool {
        !self.holes.contains(&(at / self.page_size)) && self.bytes.fill(at, into)
    }
}

#[derive(Debug, Clone)]
enum Hurt {
    Flip(prop::sample::Index, u8),
    Zero(prop::sample::Index, usize),
    Noise(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index),
}

fn hurt() -> impl Strategy<Value = Hurt> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), 0_u8..8).prop_map(|(at, bit)| Hurt::Flip(at, bit)),
        2 => (at(), 1_usize..9000).prop_map(|(at, length)| Hurt::Zero(at, length)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..600)).prop_map(|(at, noise)| Hurt::Noise(at, noise)),
        1 => at().prop_map(Hurt::Cut),
    ]
}

impl Hurt {
    /// Hurts `bytes`; gives the first and the last byte that is.
    fn apply(&self, bytes: &mut Vec<u8>) -> (usize, usize) {
        let whole = bytes.len();
        match self {
            Self::Flip(at, bit) => {
                let at = at.index(whole);
                bytes[at] ^= 1 << bit;
                (at, at)
            }
            Self::Zero(at, length) => {
                let (at, end) = (at.index(whole), whole.min(at.index(whole) + length));
                bytes[at..end].fill(0);
                (at, end - 1)
            }
            Self::Noise(at, noise) => {
                let (at, end) = (at.index(whole), whole.min(at.index(whole) + noise.len()));
                bytes[at..end].copy_from_slice(&noise[..end - at]);
                (at, end - 1)
            }
            Self::Cut(at) => {
                let at = at.index(whole);
                bytes.truncate(at);
                // What was left of a row of pages ends before this one.
                (at, whole - 1)
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_on_undamaged_pages_is_got_out_and_never_a_wrong_one(hurts in prop::collection::vec(hurt(), 1..6)) {
        let sample = &samples()[0];
        let page_size = u64::from(u16::from_be_bytes([sample.file[16], sample.file[17]]));
        let (mut bytes, mut holes) = (sample.file.clone(), Vec::new());
        for hurt in hurts {
            if !bytes.is_empty() {
                let (first, last) = hurt.apply(&mut bytes);
                holes.extend(first as u64 / page_size..=last as u64 / page_size);
            }
        }
        let none = Vec::new();
        let holed = Holed { bytes: sample.file.clone(), page_size, holes };
        let image = Image::new(&holed, &none);
        let undamaged = whole(&image, &Found::gather(&image));

        let image = Image::new(&bytes, &none);
        let found = Found::gather(&image);
        let got = whole(&image, &found);
        // Without the list of free pages what was deleted is found too.
        for (name, frame) in undamaged.iter().filter(|(name, _)| sample.frames.contains_key(name)) {
            // A row that is named as this one by damage leaves it in doubt; it is never told wrongly.
            let doubtful = found.frames(name.0).get(&name.1).is_some_and(|frame| frame.kind == Kind::Damaged);
            prop_assert!(got.get(name) == Some(frame) || doubtful, "{:?} is not got out but {:?}; pages hurt {:?}", name, found.frames(name.0).get(&name.1), holed.holes);
        }
        for ((stream, id), frame) in &got {
            prop_assert!(is_whole(frame));
            prop_assert!(sample.ever.iter().any(|(of, original)| of == stream && original == frame));
            if let Some(original) = sample.frames.get(&(*stream, *id)) {
                prop_assert!(original == frame, "another frame's name");
            }
        }
        for ordinal in found.starts.keys() {
            for stream in Stream::ALL {
                let (begin, steps) = steps(&found, *ordinal, stream);
                let mut next = begin + 1;
                for (seq, step) in steps {
                    prop_assert_eq!(seq, next, "a hole");
                    next += match step { Step::Row(row) => row.span, Step::Lost(hole) => hole.span };
                }
            }
        }
    }

    #[test]
    fn a_damaged_log_does_no_harm_and_gives_what_stands_behind_the_damage(hurts in prop::collection::vec(hurt(), 1..4)) {
        let sample = &samples()[1];
        let mut hurt_sample = sample.clone();
        for hurt in &hurts {
            if !hurt_sample.log.is_empty() {
                hurt.apply(&mut hurt_sample.log);
            }
        }
        let (_, got) = hurt_sample.gather();
        for ((stream, id), frame) in &got {
            if let Some(original) = sample.frames.get(&(*stream, *id)) {
                prop_assert!(original == frame, "another frame's name");
            }
        }
        if let [Hurt::Flip(..)] = hurts.as_slice() {
            let missing = sample.frames.keys().filter(|name| !got.contains_key(name)).count();
            prop_assert!(missing <= 8, "{missing} frames for one page of the log");
        }
    }

    #[test]
    fn any_bytes_are_looked_at_without_harm(file in prop::collection::vec(any::<u8>(), 0..20_000), log in prop::collection::vec(any::<u8>(), 0..5_000)) {
        let image = Image::new(&file, &log);
        let found = Found::gather(&image);
        prop_assert!(whole(&image, &found).is_empty());
    }
}

#[test]
fn a_log_that_breaks_off_before_synced_commits_is_noticed_and_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    let mut sample = samples()[1].clone();
    sample.write(&path);
    drop(schema::open_to_read(&path).unwrap());
    sample.log[32 + 24 + 1000] ^= 1;
    sample.write(&path);
    assert!(matches!(schema::open(&path), Err(OpenError::Damaged { .. })));
    assert_eq!(std::fs::read(log_of(&path)).unwrap(), sample.log, "left as it is");
    // The end of a log that was being written when the power was cut is no damage.
    let mut torn = samples()[1].clone();
    let end = torn.log.len();
    torn.log[end - 100] ^= 1;
    torn.write(&path);
    schema::open(&path).unwrap();
}

#[test]
fn a_newer_version_and_a_foreign_file_are_refused_and_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    drop(schema::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(schema::open(&path), Err(OpenError::Newer { found: 99, .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let foreign = dir.path().join("other.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    assert!(matches!(schema::open(&foreign), Err(OpenError::Foreign { .. })));
    assert_eq!(std::fs::read(&foreign).unwrap(), before);
}

#[test]
fn a_garbage_header_and_a_spool_without_its_tables_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    for hurt in [0..100, 60..72] {
        let mut sample = samples()[0].clone();
        sample.file[hurt.clone()].fill(0);
        sample.write(&path);
        assert!(matches!(schema::open(&path), Err(OpenError::Damaged { .. })), "{hurt:?}");
    }
    std::fs::write(&path, "").unwrap();
    std::fs::write(log_of(&path), &samples()[1].log).unwrap();
    assert!(matches!(schema::open(&path), Err(OpenError::Damaged { .. })), "nothing but its log");
    assert_eq!(std::fs::read(log_of(&path)).unwrap().len(), samples()[1].log.len());
}

#[test]
fn a_damaged_frame_becomes_a_gap_that_travels_and_its_bytes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &Setup::default());
    for id in 0..6 {
        agent.push(&body("walk", id, 100 + 30 * id as i64, 30)).unwrap();
    }
    agent.stop();
    let file = Connection::open(dir.path().join("spool.db")).unwrap();
    let activity: i64 = file.query_row("SELECT max(id) FROM activity", [], |row| row.get(0)).unwrap();
    let flip = |table: &str, id: i64| {
        let sql = format!("UPDATE {table} SET frame = substr(frame, 1, 9) || x'55' || substr(frame, 11) WHERE id = ?1");
        assert_eq!(file.execute(&sql, [id]).unwrap(), 1);
    };
    flip("raw", row_id(1, 3));
    flip("activity", activity);
    file.execute("DELETE FROM raw WHERE id = ?1", [row_id(1, 5)]).unwrap();
    file.close().unwrap();
    assert!(!check(&dir.path().join("spool.db")).unwrap().is_whole());

    let mut agent = Spooled::start(dir.path(), &Setup::default());
    let gaps = agent.gaps();
    let told: Vec<_> = gaps.iter().map(|(seq, gap)| (*seq, gap.span, gap.messages, gap.readings)).collect();
    assert_eq!(told, [(3, 1, 1, 30), (5, 1, 1, 0)]);
    assert!(gaps[0].1.reason.contains("damaged frame") && gaps[1].1.reason.contains("missing"), "{gaps:?}");
    assert_eq!(agent.messages().len(), 4);
    let activity_gaps = agent.activity_gaps();
    assert_eq!(
        activity_gaps.iter().map(|(seq, gap)| (*seq, gap.messages)).collect::<Vec<_>>(),
        [(seq_of(activity), 0)]
    );
    let kept: Vec<PathBuf> =
        std::fs::read_dir(dir.path().join("damaged")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|path| std::fs::read(path).unwrap()[9] == 0x55));
    let counted = "gaitway_agent_damaged_frames_total 3\n";
    assert!(agent.metrics.encode().contains(counted), "{}", agent.metrics.encode());
    agent.stop();

    let mut agent = Spooled::start(dir.path(), &Setup::default());
    assert_eq!(agent.gaps(), gaps, "durably");
    agent.stop();
    assert!(check(&dir.path().join("spool.db")).unwrap().is_whole());
}

/// Zeroes the pages of a spool in use, but the first.
fn wreck(path: &Path) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len() as usize;
    file.write_all_at(&vec![0xa5; length.saturating_sub(4096)], 4096).unwrap();
}

#[test]
fn what_a_lost_file_left_unanswered_is_kept_for_the_next_one() {
    let push = |session: &str| body(session, 0, 100, 1);
    let lost = |agent: Spooled, answer: tokio::sync::oneshot::Receiver<_>| {
        let ended = agent.ended();
        let Ended::Lost { loss, .. } = &ended else { panic!("{ended:?}") };
        let loss = loss.clone();
        drop(ended);
        assert!(answer.blocking_recv().is_err(), "nobody was answered");
        loss
    };

    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &Setup::default());
    agent.push(&push("a")).unwrap();
    std::fs::rename(dir.path().join("spool.db"), dir.path().join("elsewhere")).unwrap();
    let answer = agent.send(&push("b"));
    assert_eq!(lost(agent, answer), Loss::Vanished);

    let dir = tempfile::tempdir().unwrap();
    samples()[0].write(&dir.path().join("spool.db"));
    let agent = Spooled::start(dir.path(), &Setup::default());
    // Pages that are not in memory yet.
    wreck(&dir.path().join("spool.db"));
    let answer = agent.send(&body("walk", 3, 130, 1));
    assert!(matches!(lost(agent, answer), Loss::Damaged(_)));
}

fn salvage(sample: &Sample, into: &Path) -> Brought {
    let image = Image::new(&sample.file, &sample.log);
    let found = Found::gather(&image);
    let mut connection = schema::open(&into.join("spool.db")).unwrap();
    bring(&mut connection, &image, &found, 7).unwrap()
}

fn dump(path: &Path) -> Vec<String> {
    let connection = schema::open_to_read(path).unwrap();
    let mut rows = Vec::new();
    for table in ["start", "stream", "raw", "activity", "session", "seen_range", "agent"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = statement.column_count();
        let read = |row: &rusqlite::Row<'_>| {
            (0..columns).map(|column| row.get(column)).collect::<Result<Vec<rusqlite::types::Value>, _>>()
        };
        rows.extend(statement.query_map([], read).unwrap().map(|row| format!("{table} {:?}", row.unwrap())));
    }
    rows
}

#[test]
fn salvaged_frames_keep_their_names_and_salvaging_twice_changes_nothing() {
    let sample = &samples()[1];
    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &Setup::default());
    agent.push(&body("run", 0, 900, 3)).unwrap();
    agent.stop();
    let brought = salvage(sample, dir.path());
    assert_eq!((brought.lost, brought.unnamed, brought.accepted_again), (0, 0, 0));
    assert_eq!((brought.raw + brought.activity) as usize, sample.frames.len());
    let once = dump(&dir.path().join("spool.db"));
    let again = salvage(sample, dir.path());
    assert_eq!((again.raw, again.activity, again.known as usize), (0, 0, sample.frames.len()));
    assert_eq!(dump(&dir.path().join("spool.db")), once);

    // Start 1 is taken here; the salvaged ones come behind it, and nothing continues them.
    let mut agent = Spooled::start(dir.path(), &Setup::default());
    let state = agent.state.borrow().clone();
    let present = state.streams.iter().map(|offer| offer.ordinal).max().unwrap();
    assert!(present > 2);
    assert_eq!(state.ancestors.len(), 1, "the start before, not the salvaged ones");
    assert_eq!(agent.messages().len(), 1 + 31 + 30);
    assert!(agent.push(&noisy(3, 109, 10)).unwrap().duplicate, "accepted before, acknowledged and gone");
    assert!(agent.push(&noisy(69, 307, 305)).unwrap().duplicate, "accepted before, salvaged");
    assert!(!agent.push(&body("walk", 70, 800, 5)).unwrap().duplicate);
}

#[test]
fn of_a_phone_that_keeps_activity_alone_salvage_brings_its_windows_and_what_it_accepted() {
    let activity = Privacy { keep: Keep::Activity, location: None };
    let (from, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut agent = Spooled::start(from.path(), &Setup::default());
    for id in 0..5 {
        agent.push_keeping(&body("walk", id, 1_000 + 20 * id as i64, 20), activity).unwrap();
    }
    let told = agent.windows();
    agent.stop();
    let brought = salvage(&Sample::of(from.path()), into.path());
    assert_eq!((brought.raw, brought.activity, brought.lost, brought.doubtful_sessions), (0, 5, 0, 0));
    let mut agent = Spooled::start(into.path(), &Setup::default());
    assert_eq!(agent.windows(), told);
    for id in 0..5 {
        let again = agent.push_keeping(&body("walk", id, 1_000 + 20 * id as i64, 20), activity);
        assert!(again.unwrap().duplicate, "message {id} was accepted there");
    }
    assert!(!agent.push_keeping(&body("walk", 5, 1_100, 20), activity).unwrap().duplicate);
    assert_eq!(agent.waiting(Stream::Raw), [], "neither frames nor gaps");
    agent.stop();
}

#[test]
fn what_was_accepted_again_meanwhile_is_not_brought_a_second_time() {
    let sample = &samples()[0];
    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &Setup::default());
    agent.push(&noisy(20, 160, 310)).unwrap();
    agent.stop();
    let brought = salvage(sample, dir.path());
    assert_eq!((brought.accepted_again, brought.raw, brought.lost), (1, 30, 0));
    let mut agent = Spooled::start(dir.path(), &Setup::default());
    let mut ids: Vec<_> = agent.messages().iter().map(|message| message.header.message_id.unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (9..40).collect::<Vec<_>>());
}

/// A push of one reading.
fn single(id: u64, x: u64) -> String {
    let values = format!(r#"{{"name":"accelerometer","time":900000000000,"values":{{"x":{x},"y":4,"z":0}}}}"#);
    format!(r#"{{"messageId":{id},"deviceId":"phone","sessionId":"run","payload":[{values}]}}"#)
}

#[test]
fn a_message_that_shares_no_more_than_an_id_with_one_accepted_meanwhile_is_brought_without_it() {
    let from = tempfile::tempdir().unwrap();
    let agent = Spooled::start(from.path(), &Setup::default());
    for id in 0..3 {
        agent.push(&single(id, id)).unwrap();
    }
    agent.stop();
    let sample = Sample::of(from.path());
    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &Setup::default());
    agent.push(&single(0, 0)).unwrap();
    agent.push(&single(1, 77)).unwrap();
    agent.stop();
    let brought = salvage(&sample, dir.path());
    assert_eq!((brought.raw, brought.accepted_again, brought.lost), (2, 1, 0));
    let once = dump(&dir.path().join("spool.db"));
    assert_eq!(salvage(&sample, dir.path()).raw, 0);
    assert_eq!(dump(&dir.path().join("spool.db")), once);

    let mut agent = Spooled::start(dir.path(), &Setup::default());
    let mut ids: Vec<_> = agent.messages().iter().map(|message| message.header.message_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [None, Some(0), Some(1), Some(2)]);
    assert!(agent.push(&single(2, 2)).unwrap().duplicate);
    assert!(agent.push(&single(1, 1)).unwrap().duplicate, "known by its body");
    assert!(!agent.push(&single(2, 78)).unwrap().duplicate, "another body than the salvaged one's");
}

#[test]
fn what_a_lost_file_holds_of_unanswered_pushes_is_told_once() {
    let with_id = body("new", 0, 100, 60);
    let nameless = with_id.replacen(r#""messageId":0,"#, "", 1);
    for push in [with_id, nameless] {
        let [dir, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let path = dir.path().join("spool.db");
        let agent = Spooled::start(dir.path(), &Setup::default());
        agent.push(&single(0, 0)).unwrap();
        // The file goes away between the writer's look at it and its commit.
        let busy = Connection::open(&path).unwrap();
        busy.execute_batch("BEGIN IMMEDIATE").unwrap();
        let answer = agent.send(&push);
        std::thread::sleep(std::time::Duration::from_millis(500));
        std::fs::rename(&path, dir.path().join("moved.db")).unwrap();
        busy.execute_batch("ROLLBACK").unwrap();
        let Ended::Lost { loss: Loss::Vanished, inbox, .. } = agent.ended() else { panic!("it is not lost") };
        let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let sample = Sample { file: read("moved.db"), log: read("spool.db-wal"), ..Sample::default() };
        drop(busy);
        Spooled::start_in_place_of(other.path(), &Setup::default(), Some(inbox)).ended();
        assert!(!answer.blocking_recv().unwrap().unwrap().duplicate);

        let brought = salvage(&sample, other.path());
        assert_eq!(brought.accepted_again, 1, "it was committed there: {brought:?}");
        let got = (brought.raw, brought.activity, brought.lost);
        assert_eq!(got, (1, 0, 0), "what was answered before, no more: {brought:?}");
        let mut agent = Spooled::start(other.path(), &Setup::default());
        assert_eq!(agent.messages().len(), 2);
    }
}

#[test]
fn a_better_copy_brings_what_a_worse_one_had_lost() {
    let whole = &samples()[0];
    let mut worse = whole.clone();
    // The frame that the file's last pages would have held.
    let last = whole.frames.keys().filter(|(stream, _)| *stream == Stream::Raw).max().unwrap();
    let at = worse.file.windows(40).position(|bytes| *bytes == whole.frames[last][..40]).unwrap();
    worse.file[at - 30..at].fill(0);
    let dir = tempfile::tempdir().unwrap();
    Spooled::start(dir.path(), &Setup::default()).stop();
    let first = salvage(&worse, dir.path());
    let second = salvage(whole, dir.path());
    assert!(first.raw < 31, "{first:?}");
    assert_eq!((first.raw + first.lost + second.raw, second.accepted_again), (31, 0), "{first:?} {second:?}");
}

#[test]
fn frames_that_cannot_be_got_out_become_gaps() {
    let mut sample = samples()[0].clone();
    let damaged: Vec<u64> = vec![15, 22];
    for seq in &damaged {
        let frame = &sample.frames[&(Stream::Raw, row_id(1, *seq))];
        // Not every frame stands in one piece; its first bytes do.
        let at = sample.file.windows(40).position(|bytes| *bytes == frame[..40]).unwrap();
        sample.file[at + 20] ^= 0x10;
    }
    let dir = tempfile::tempdir().unwrap();
    Spooled::start(dir.path(), &Setup::default()).stop();
    let brought = salvage(&sample, dir.path());
    assert_eq!((brought.raw, brought.lost), (29, 2));
    let mut agent = Spooled::start(dir.path(), &Setup::default());
    let gaps = agent.gaps();
    assert_eq!(gaps.iter().map(|(seq, gap)| (*seq, gap.messages)).collect::<Vec<_>>(), [(15, 1), (22, 1)]);
    assert!(gaps.iter().all(|(_, gap)| gap.readings > 0 && gap.reason == "damaged spool"), "{gaps:?}");
    assert_eq!(agent.messages().len(), 29);
}

#[test]
fn frames_are_exported_as_the_contract_has_them_with_a_null_epoch_where_their_start_is_lost() {
    let sample = &samples()[0];
    let image = Image::new(&sample.file, &sample.log);
    let mut found = Found::gather(&image);
    let lines = |found: &Found| {
        let mut out = Vec::new();
        let agent = "unknown".parse().unwrap();
        let exported = export(&image, found, &[Stream::Raw, Stream::Activity], &agent, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((exported.frames as usize, exported.records), (sample.frames.len(), lines.len() as u64));
        lines
    };
    let records = lines(&found);
    let [first, last] = [records.first().unwrap(), records.last().unwrap()];
    assert_eq!((&first["deviceId"], &first["readingIndex"]), (&"phone".into(), &0.into()));
    assert_eq!((&first["RECORD_METADATA"]["agent"], &first["RECORD_METADATA"]["seq"]), (&"test".into(), &10.into()));
    assert!(last["activity"].is_string(), "{last}");
    assert!(records.iter().all(|record| record["RECORD_METADATA"]["epoch"].is_string()));
    found.starts.clear();
    assert!(lines(&found).iter().all(|record| record["RECORD_METADATA"]["epoch"].is_null()));
}

#[test]
fn a_check_tells_what_is_there_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    samples()[0].write(&path);
    let report = check(&path).unwrap();
    assert!(report.is_whole(), "{:?}", report.problems);
    let raw = report.streams.iter().find(|stream| stream.stream == "raw").unwrap();
    assert_eq!((raw.ordinal, raw.frames, raw.messages, raw.waiting), (1, 31, 31, 31));
    assert!(raw.readings > 4_000 && raw.bytes > 60_000, "{raw:?}");
    assert_eq!((report.sessions, report.version), (1, Some(2)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    std::fs::write(&path, &samples()[0].file[..30_000]).unwrap();
    let report = check(&path).unwrap();
    assert!(!report.is_whole());
    assert!(report.streams.iter().all(|stream| ordinal_of(row_id(stream.ordinal, 1)) == 1));
}

/// What lies in `dir`, but for what SQLite makes anew from the log.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|p| !p.to_str().unwrap().ends_with("-shm")).map(|p| (p.clone(), std::fs::read(p).unwrap())).collect()
}

#[test]
fn whatever_is_damaged_a_look_at_it_changes_nothing() {
    type Hurting = fn(&mut Sample);
    let hurts: [(&str, Hurting); 7] = [
        ("whole", |_| {}),
        ("empty", |sample| sample.file.clear()),
        ("cut short", |sample| sample.file.truncate(30_000)),
        ("noise", |sample| sample.file.iter_mut().for_each(|byte| *byte ^= 0xa5)),
        ("zeroed header", |sample| sample.file[..100].fill(0)),
        ("cut log", |sample| sample.log.truncate(sample.log.len() / 2)),
        ("damaged log", |sample| sample.log[32 + 24 + 1000] ^= 1),
    ];
    for (what, hurt) in hurts {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        let mut sample = samples()[1].clone();
        hurt(&mut sample);
        sample.write(&path);
        let before = contents(dir.path());
        let report = check(&path).unwrap();
        drop(Hold::of(&path));
        assert!(contents(dir.path()) == before, "{what}");
        // The newest header is the log's.
        let may_be_whole = ["whole", "zeroed header", "cut log"].contains(&what);
        assert_eq!(report.is_whole(), may_be_whole, "{what}: {:?}", report.problems);
    }
    // Nor is the log of a running agent deleted.
    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &Setup::default());
    agent.push(&single(0, 0)).unwrap();
    let path = dir.path().join("spool.db");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    let before = contents(dir.path());
    assert!(!check(&path).unwrap().is_whole());
    assert!(contents(dir.path()) == before);
}

#[test]
fn a_spool_in_the_place_of_another_lets_go_of_windows_that_may_have_been_told_but_for_new_recordings() {
    let dir = tempfile::tempdir().unwrap();
    Spooled::start(dir.path(), &Setup::default()).stop();
    let file = Connection::open(dir.path().join("spool.db")).unwrap();
    file.execute("UPDATE agent SET replaced = 1", []).unwrap();
    file.close().unwrap();
    // Not only the first start of the file.
    let mut agent = Spooled::start(dir.path(), &Setup::default());
    agent.push(&body("goes on", 5, 100, 40)).unwrap();
    agent.push(&body("goes on", 6, 140, 40)).unwrap();
    let starts: Vec<i64> = agent.windows().iter().map(|window| window.start / SECOND).collect();
    assert_eq!(starts.first(), Some(&140), "{starts:?}");
    assert!(!agent.metrics.encode().contains("gaitway_agent_let_go_windows_total 0\n"), "and counted");
    let before = starts.len();
    agent.push(&body("new", 0, 100, 40)).unwrap();
    assert_eq!(agent.windows()[before].start / SECOND, 92);
}
