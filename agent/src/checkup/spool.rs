//! The spool: whether it is whole, what waits in it and since when, what was set aside.
//!
//! - SQLite looks at its pages, and each frame's own checksum is compared, both for so long and no longer: `gaitway agent spool check`
//!   takes its time and reads all of it.

use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::Stream;
use gaitway_service::checkup::{Checkup, folder};
use gaitway_service::clock;
use gaitway_service::config::bytes;

use crate::config::AgentConfig;
use crate::spool::check;
use crate::spool::look::{Held, Look};
use crate::spool::presence::log_of;
use crate::spool::quarantine;

/// How long pages, and then frames, are looked at.
const LONGEST: Duration = Duration::from_secs(10);

/// A frame that waits longer waits for something that does not happen by itself, microseconds.
const LONG: i64 = 3600 * 1_000_000;

const SUBJECT: &str = "spool";

/// Looks at it.
pub(super) fn examine(config: &AgentConfig, checkup: &mut Checkup) {
    let (dir, path) = (config.data_dir.as_path(), config.data_dir.join("spool.db"));
    of_what_was_set_aside(dir, checkup);
    let size = |path: &Path| std::fs::metadata(path).map(|file| file.len());
    let log = size(&log_of(&path)).unwrap_or(0);
    let file = match size(&path) {
        Ok(file) => file + log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if dir.is_dir() {
                let said = format!("{} is not there yet: the agent makes it when it starts", path.display());
                checkup.warn(SUBJECT, said);
            }
            return;
        }
        Err(error) => return checkup.warn(SUBJECT, folder::unseen(&path, &error)),
    };
    if let Some(error) = folder::denied(&path, dir) {
        return checkup.warn(SUBJECT, folder::unseen(&path, &error));
    }
    match pages(&path) {
        Ok(true) => checkup.ok(SUBJECT, "its pages are whole"),
        Ok(false) => {
            let said = format!("no page is damaged as far as it was read in {} s", LONGEST.as_secs());
            checkup.ok(SUBJECT, said);
        }
        Err(Pages::Damaged(what)) => {
            return checkup.fail(
                SUBJECT,
                format!(
                    "{} is damaged ({what}): the agent sets it aside when it meets that, and goes on with a new one; what can be got out \
                     then: gaitway agent spool salvage. If it comes again, replace the card",
                    path.display()
                ),
            );
        }
        Err(Pages::Hindered(why)) => {
            return checkup
                .warn(SUBJECT, format!("{} cannot be looked at ({why}): run this as its owner", path.display()));
        }
    }
    match Look::open(&path).and_then(|look| depth(&look)) {
        Ok(depth) => of_depth(&depth, file, config, checkup),
        Err(said) => checkup.fail(SUBJECT, said),
    }
}

fn of_what_was_set_aside(dir: &Path, checkup: &mut Checkup) {
    for aside in quarantine::aside_in(dir) {
        checkup.warn(
            "set aside",
            format!(
                "{}: gaitway agent spool salvage gets out what can be got out; delete it once it is no longer needed",
                aside.display()
            ),
        );
    }
    let folder = dir.join("damaged");
    let frames = std::fs::read_dir(&folder).map_or(0, |entries| entries.filter_map(Result::ok).count());
    if frames > 0 {
        checkup.warn(
            "set aside",
            format!(
                "{frames} damaged frame{} in {}, in whose place gaps were told: the disk changed what was written; delete them once nobody \
                 needs them",
                if frames == 1 { "" } else { "s" },
                folder.display()
            ),
        );
    }
}

/// Why pages cannot be vouched for.
enum Pages {
    Damaged(String),
    Hindered(String),
}

/// Whether all pages are whole, rather than those that could be read in time.
fn pages(path: &Path) -> Result<bool, Pages> {
    let connection = check::reading(path).map_err(|why| match why {
        check::WhyNot::Damaged(what) => Pages::Damaged(what),
        check::WhyNot::Hindered(why) => Pages::Hindered(why),
    })?;
    let interrupt = connection.get_interrupt_handle();
    let (done, wait) = sync_channel::<()>(0);
    let alarm = std::thread::Builder::new().name("end of look".to_owned()).spawn(move || {
        if wait.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    alarm.map_err(|error| Pages::Hindered(error.to_string()))?;
    let said = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    drop(done);
    match said {
        Ok(said) if said == "ok" => Ok(true),
        Ok(said) => Err(Pages::Damaged(said.replace('\n', " "))),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => Ok(false),
        Err(error) => Err(match check::WhyNot::from(error) {
            check::WhyNot::Damaged(what) => Pages::Damaged(what),
            check::WhyNot::Hindered(why) => Pages::Hindered(why),
        }),
    }
}

/// What waits for the relay.
#[derive(Debug, Default)]
struct Depth {
    frames: u64,
    readings: u64,
    damaged: u64,
    /// When the oldest message came, microseconds of the Unix epoch.
    oldest: Option<i64>,
    /// Time was up before all of it was seen.
    is_cut: bool,
}

fn depth(look: &Look) -> Result<Depth, String> {
    let (mut depth, end) = (Depth::default(), Instant::now() + LONGEST);
    for stream in Stream::ALL {
        let (mut after, last) = (0, look.before_last(stream, 0)?);
        loop {
            let frames = look.waiting(stream, after, last)?;
            let Some(furthest) = frames.last() else { break };
            after = furthest.id;
            for frame in &frames {
                depth.frames += 1;
                depth.readings += frame.readings;
                match &frame.held {
                    Held::Frame(bytes) if stream == Stream::Raw && depth.oldest.is_none() => {
                        depth.oldest = Frame::decode(bytes).ok().map(|frame| frame.header.received_at);
                    }
                    Held::Damaged => depth.damaged += 1,
                    Held::Frame(_) | Held::Gap { .. } => {}
                }
            }
            if Instant::now() > end {
                depth.is_cut = true;
                break;
            }
        }
    }
    Ok(depth)
}

fn of_depth(depth: &Depth, file: u64, config: &AgentConfig, checkup: &mut Checkup) {
    let Depth { frames, readings, damaged, oldest, is_cut } = *depth;
    if damaged > 0 {
        let s = if damaged == 1 { "" } else { "s" };
        checkup.fail(
            SUBJECT,
            format!(
                "{damaged} frame{s} that wait{} for the relay {} damaged: a gap is told in the place of each, and its bytes are kept under \
                 damaged/; the disk changes what was written: copy the folder to another card, and replace this one",
                if damaged == 1 { "s" } else { "" },
                if damaged == 1 { "is" } else { "are" }
            ),
        );
    }
    let most = config.spool.max_bytes;
    let [size, most_shown] =
        [file, most].map(|size| bytes::shown(if size < 1 << 20 { size } else { size >> 20 << 20 }));
    let sizes = format!("file and log have {size}, {most_shown} are the most");
    if frames == 0 {
        return checkup.ok("waiting", format!("nothing waits for the relay; {sizes}"));
    }
    let age = oldest.map(|oldest| clock::now_micros().saturating_sub(oldest).max(0));
    let since = age.map_or_else(String::new, |age| format!(", the oldest for {}", span(age / 1_000_000)));
    let atleast = if is_cut { "at least " } else { "" };
    let s = |count: u64| if count == 1 { "" } else { "s" };
    let said = format!(
        "{atleast}{frames} frame{} ({readings} reading{}) wait{} for the relay{since}; {sizes}",
        s(frames),
        s(readings),
        if frames == 1 { "s" } else { "" }
    );
    if file > most / 5 * 4 {
        checkup.warn("waiting", format!("{said}: it is nearly full; see why the relay does not take them"));
    } else if age.is_some_and(|age| age > LONG) {
        checkup.warn("waiting", format!("{said}: see why the relay does not take them"));
    } else {
        checkup.ok("waiting", said);
    }
}

fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use gaitway_service::checkup::Grade;

    use super::*;

    fn told(depth: &Depth, file: u64) -> (Option<Grade>, String) {
        let mut checkup = Checkup::new();
        of_depth(depth, file, &AgentConfig::default(), &mut checkup);
        (checkup.worst(), checkup.to_string())
    }

    #[test]
    fn what_waits_long_or_nearly_fills_the_spool_is_said() {
        let ago = |seconds: i64| Some(clock::now_micros() - seconds * 1_000_000);
        let waits = |oldest| Depth { frames: 12, readings: 3_600, oldest, ..Depth::default() };
        assert!(
            told(&Depth::default(), 5 << 20).1.contains("nothing waits for the relay; file and log have 5MiB, 2GiB")
        );
        let (worst, said) = told(&waits(ago(30)), 5 << 20);
        assert!(
            worst == Some(Grade::Ok) && said.contains("12 frames (3600 readings) wait for the relay, the oldest for 3"),
            "{said}"
        );
        let (worst, said) = told(&waits(ago(3 * 86_400)), 5 << 20);
        assert!(worst == Some(Grade::Warn) && said.contains("for 3 days"), "{said}");
        let (worst, said) = told(&waits(ago(30)), 2 << 30);
        assert!(worst == Some(Grade::Warn) && said.contains("nearly full"), "{said}");
        assert_eq!(told(&Depth { damaged: 1, ..waits(None) }, 0).0, Some(Grade::Fail));
        let one = told(&Depth { frames: 1, readings: 1, ..Depth::default() }, 0).1;
        assert!(one.contains("1 frame (1 reading) waits for the relay"), "{one}");
    }

    #[test]
    fn a_spool_that_cannot_be_looked_at_is_not_said_to_be_away() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut checkup = Checkup::new();
        examine(&AgentConfig { data_dir: file, ..AgentConfig::default() }, &mut checkup);
        let said = checkup.to_string();
        assert!(said.contains("cannot be looked at") && !said.contains("not there yet"), "{said}");
    }

    #[test]
    fn what_was_set_aside_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("spool.db.damaged-20260101T000000Z"), "x").unwrap();
        std::fs::create_dir(dir.path().join("damaged")).unwrap();
        std::fs::write(dir.path().join("damaged/1-raw-1.frame"), "x").unwrap();
        let mut checkup = Checkup::new();
        let config = AgentConfig { data_dir: dir.path().to_owned(), ..AgentConfig::default() };
        examine(&config, &mut checkup);
        let said = checkup.to_string();
        assert!(said.contains("spool.db.damaged-20260101T000000Z: gaitway agent spool salvage"), "{said}");
        assert!(said.contains("1 damaged frame in") && said.contains("is not there yet"), "{said}");
        assert_eq!(checkup.worst(), Some(Grade::Warn));
    }

    #[test]
    fn a_file_that_is_no_spool_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("spool.db"), vec![0x5a; 9_000]).unwrap();
        let mut checkup = Checkup::new();
        examine(&AgentConfig { data_dir: dir.path().to_owned(), ..AgentConfig::default() }, &mut checkup);
        assert_eq!(checkup.worst(), Some(Grade::Fail), "{checkup}");
        assert!(checkup.to_string().contains("gaitway agent spool salvage"), "{checkup}");
        assert_eq!(std::fs::read(dir.path().join("spool.db")).unwrap(), vec![0x5a; 9_000]);
    }
}
