//! How long it takes from a push until it is committed, and how many descriptors processes hold.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::warehouse::open;
use crate::house::Pushing;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// An agent with one phone, each of whose pushes becomes one frame.
pub(crate) struct Subject {
    pub(crate) agent: &'static str,
    pub(crate) pushing: Arc<Pushing>,
}

/// When a push began and when it was seen to be committed.
type Commit = (Instant, Instant);

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    /// Of each subject, in the order of its pushes.
    commits: Mutex<Vec<Vec<Commit>>>,
    /// The most that each process held.
    descriptors: Mutex<Vec<usize>>,
}

/// See the module.
pub(crate) struct Watch {
    seen: Arc<Seen>,
    thread: JoinHandle<()>,
}

/// Times from push to commit.
pub(crate) struct Times(Vec<Duration>);

impl Watch {
    /// Watches what `subjects` have in `warehouse`, and the processes `pids`.
    pub(crate) fn begin(warehouse: PathBuf, subjects: Vec<Subject>, pids: Vec<u32>) -> Self {
        let seen = Arc::new(Seen::default());
        *seen.commits.lock().unwrap() = subjects.iter().map(|_| Vec::new()).collect();
        *seen.descriptors.lock().unwrap() = vec![0; pids.len()];
        let of_thread = Arc::clone(&seen);
        let watch = move || {
            let connection = open(&warehouse);
            let sql = "SELECT coalesce(sum(position), 0) FROM gaitway_progress WHERE source GLOB ?1";
            let mut position = connection.prepare(sql).unwrap();
            while !of_thread.stop.load(Ordering::Relaxed) {
                for (index, subject) in subjects.iter().enumerate() {
                    let source = format!("{}/*/raw", subject.agent);
                    let committed: i64 = position.query_row([source], |row| row.get(0)).unwrap();
                    let now = Instant::now();
                    let begun = subject.pushing.begun.lock().unwrap();
                    let commits = &mut of_thread.commits.lock().unwrap()[index];
                    // The last may be committed before its phone has read the answer.
                    let known = begun[commits.len()..(committed as usize).clamp(commits.len(), begun.len())].iter();
                    commits.extend(known.map(|begun| (*begun, now)));
                }
                for (pid, most) in pids.iter().zip(of_thread.descriptors.lock().unwrap().iter_mut()) {
                    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
                    *most = open.max(*most);
                }
                std::thread::sleep(LOOK_EVERY);
            }
        };
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(watch).unwrap();
        Self { seen, thread }
    }

    /// How many pushes of the subject that has the fewest were committed.
    pub(crate) fn fewest_committed(&self) -> usize {
        self.seen.commits.lock().unwrap().iter().map(Vec::len).min().unwrap()
    }

    /// Of each subject: what was committed before `quiet_until`, and what was pushed and committed from `begun` to `over`.
    pub(crate) fn beside(&self, quiet_until: Instant, begun: Instant, over: Instant) -> Vec<[Times; 2]> {
        let commits = self.seen.commits.lock().unwrap();
        let times = |commits: &[Commit], counts: &dyn Fn(&Commit) -> bool| {
            Times(commits.iter().filter(|commit| counts(commit)).map(|(pushed, seen)| *seen - *pushed).collect())
        };
        let both = commits.iter().map(|commits| {
            [
                times(commits, &|(_, seen)| *seen < quiet_until),
                times(commits, &|(pushed, seen)| *pushed >= begun && *seen <= over),
            ]
        });
        both.collect()
    }

    /// Stops; the most descriptors that each process held.
    pub(crate) fn end(self) -> Vec<usize> {
        self.seen.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.seen.descriptors.lock().unwrap().clone()
    }
}

impl Times {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let Some(last) = sorted.len().checked_sub(1) else { return f.write_str("nothing") };
        let [half, most] = [50, 99].map(|share| sorted[last * share / 100]);
        write!(f, "p50 {half:.1?} p99 {most:.1?} of {}", sorted.len())
    }
}
