//! The one module that reads the wall clock. Nothing decides by it: it stamps what people read.
//!
//! - [`synchronised`] is true only where the machine's time service says so; what is unknown is not synchronised.
//!
//! A computer without a clock chip runs on a wrong time from boot until it has heard a time server. On Linux two time
//! services are asked: systemd-timesyncd, which leaves a file once it has set the clock since boot, and chrony, through
//! `chronyc`. With another time service, or in a container that sees neither, the answer is no: mount
//! `/run/systemd/timesync` read-only into the container. Other systems are trusted to keep their clock.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// systemd-timesyncd touches it after each synchronisation; `/run` is empty after a boot.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";

/// Where chrony keeps its socket while it runs.
const CHRONY: &str = "/run/chrony";

/// How old an answer may grow.
const FRESH: Duration = Duration::from_secs(10);

/// Microseconds since the Unix epoch; negative before it.
pub fn now_micros() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the module that reads the wall clock")]
    let now = SystemTime::now();
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }
}

/// Whether the wall clock has been set by a time service since boot, at most some ten seconds ago. Never blocks: where
/// chrony must be asked, the answer is no until it has come.
pub fn synchronised() -> bool {
    static WATCH: LazyLock<Watch> = LazyLock::new(|| Watch::new(TIMESYNCD.into(), CHRONY.into(), ask_chrony));
    if cfg!(target_os = "linux") { WATCH.synchronised(Instant::now()) } else { true }
}

/// As [`synchronised`], as of now. Blocks for some seconds where chrony runs and does not answer.
pub fn ask() -> bool {
    !cfg!(target_os = "linux") || exists(TIMESYNCD.as_ref()) || (exists(CHRONY.as_ref()) && ask_chrony())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Remembers the answer for [`FRESH`].
struct Watch {
    timesyncd: PathBuf,
    chrony: PathBuf,
    ask_chrony: fn() -> bool,
    asked: Mutex<Option<Instant>>,
    answer: Arc<AtomicBool>,
}

impl Watch {
    fn new(timesyncd: PathBuf, chrony: PathBuf, ask_chrony: fn() -> bool) -> Self {
        Self { timesyncd, chrony, ask_chrony, asked: Mutex::new(None), answer: Arc::default() }
    }

    fn synchronised(&self, now: Instant) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_none_or(|at| now.saturating_duration_since(at) >= FRESH) {
            *asked = Some(now);
            self.ask();
        }
        self.answer.load(Ordering::Relaxed)
    }

    fn ask(&self) {
        let timesyncd = exists(&self.timesyncd);
        if timesyncd || !exists(&self.chrony) {
            return self.answer.store(timesyncd, Ordering::Relaxed);
        }
        let (answer, ask) = (self.answer.clone(), self.ask_chrony);
        let thread = thread::Builder::new().name("chronyc".into());
        if thread.spawn(move || answer.store(ask(), Ordering::Relaxed)).is_err() {
            self.answer.store(false, Ordering::Relaxed);
        }
    }
}

fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}

/// `chronyc` gives up by itself after some seconds without an answer.
fn ask_chrony() -> bool {
    let asked =
        Command::new("chronyc").args(["-c", "-n", "tracking"]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    asked.is_ok_and(|answer| answer.status.success() && tracks(&String::from_utf8_lossy(&answer.stdout)))
}

/// Reads `chronyc -c tracking`: the first of its fourteen fields is the source's id (`00000000` none, `7F7F0101` this
/// machine's own clock), the last the leap status.
fn tracks(csv: &str) -> bool {
    let fields: Vec<_> = csv.trim().split(',').collect();
    fields.len() == 14
        && !matches!(fields[0], "00000000" | "7F7F0101")
        && matches!(fields[13], "Normal" | "Insert second" | "Delete second")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACKING: &str = "A29FC801,162.159.200.1,4,1718000000.123456789,-0.000012,0.000003,0.000040,-12.345,0.001,\
                            0.050,0.010,0.001,64.2,Normal\n";

    #[test]
    fn now_is_after_this_was_written() {
        assert!(now_micros() > 1_700_000_000_000_000);
    }

    #[test]
    fn what_is_unknown_is_not_synchronised() {
        let temp = tempfile::tempdir().unwrap();
        let watch = Watch::new(temp.path().join("none"), temp.path().join("none"), || panic!("not asked"));
        assert!(!watch.synchronised(Instant::now()));
    }

    #[test]
    fn an_answer_is_kept_for_ten_seconds() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("synchronized");
        let watch = Watch::new(file.clone(), temp.path().join("none"), || false);
        let start = Instant::now();
        assert!(!watch.synchronised(start));
        std::fs::write(&file, "").unwrap();
        assert!(!watch.synchronised(start + FRESH.saturating_sub(Duration::from_millis(1))));
        assert!(watch.synchronised(start + FRESH));
    }

    #[test]
    fn chrony_is_asked_where_it_runs_and_its_answer_comes_later() {
        let temp = tempfile::tempdir().unwrap();
        let watch = Watch::new(temp.path().join("none"), temp.path().into(), || true);
        let start = Instant::now();
        while !watch.synchronised(start) {
            assert!(start.elapsed() < Duration::from_secs(10), "no answer");
            thread::yield_now();
        }
    }

    #[test]
    fn chrony_tracks_a_source_that_is_not_this_machine() {
        assert!(tracks(TRACKING));
        assert!(!tracks(&TRACKING.replace("Normal", "Not synchronised")));
        assert!(!tracks(&TRACKING.replace("A29FC801", "00000000")));
        assert!(!tracks(&TRACKING.replace("A29FC801", "7F7F0101")));
        assert!(!tracks("506 Cannot talk to daemon"));
        assert!(!tracks(""));
    }
}
