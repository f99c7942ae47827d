//! Many cuts of one recording.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::audit::{Decoded, Fault, audit};
use super::disk::{Disk, Image};
use super::recording::{Recording, is_shared_memory};
use super::weather::Weather;
use crate::harness::Random;

/// Whose power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Struck {
    /// Agent and warehouse on one machine.
    Machine,
    /// The agent's; the relay's goes on and commits what it was sent.
    Agent,
    /// The relay's; the agent's goes on.
    Relay,
    /// The power is on.
    Nobody,
}

/// What the disk is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    /// A sync is a sync, and what is not written stays.
    Good,
    /// A sync is nothing.
    Lying,
    /// The 4 KiB block that is being written may be lost with what it held.
    Destroying,
}

/// One cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// After so many events.
    pub(crate) moment: usize,
    /// The relay's machine is as it was then.
    relay: usize,
    pub(crate) struck: Struck,
    seed: u64,
}

impl Cut {
    /// The end of a recording, the power on.
    pub(crate) fn none(recording: &Recording) -> Self {
        let moment = recording.events.len();
        Self { moment, relay: moment, struck: Struck::Nobody, seed: 0 }
    }
}

/// A cut after which something does not hold.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cut: Cut,
    pub(crate) faults: Vec<Fault>,
}

/// Draws the cuts of `numbers`, each from the seed and its number.
pub(crate) fn draw(recording: &Recording, seed: u64, numbers: Range<u64>) -> Vec<Cut> {
    let cut = |number| {
        let mut random = Random::new(seed.wrapping_mul(0x1_0000_0001) ^ number);
        let moment = recording.moment(&mut random);
        let struck = [Struck::Machine, Struck::Agent, Struck::Relay][random.below(3) as usize];
        let relay = if struck == Struck::Agent { recording.moment_of_relay(moment, &mut random) } else { moment };
        Cut { moment, relay, struck, seed: random.bits() }
    };
    numbers.map(cut).collect()
}

/// Makes every cut and audits what it leaves; gives those after which something does not hold.
pub(crate) fn audit_all(recording: &Recording, make: Make, mut cuts: Vec<Cut>) -> Vec<Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    cuts.sort_by_key(|cut| cut.moment);
    let share = |thread: usize| cuts.iter().skip(thread).step_by(threads).copied();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let cuts = share(thread);
                scope.spawn(move || audit_in_order(recording, make, cuts))
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

fn audit_in_order(recording: &Recording, make: Make, cuts: impl Iterator<Item = Cut>) -> Vec<Failure> {
    let dir = scratch();
    let mut failures = Vec::new();
    let (mut player, mut decoded) = (Player::new(recording, make), Decoded::default());
    for cut in cuts {
        player.leave(&cut, dir.path());
        let answered = recording.answered_by(cut.moment);
        let faults = audit(&dir.path().join("data"), &recording.messages, answered, &mut decoded);
        if !faults.is_empty() {
            failures.push(Failure { cut, faults });
        }
    }
    failures
}

/// Plays a recording forward, from cut to cut.
#[derive(Debug)]
pub(crate) struct Player<'a> {
    recording: &'a Recording,
    make: Make,
    disk: Disk,
    played: usize,
}

impl<'a> Player<'a> {
    pub(crate) fn new(recording: &'a Recording, make: Make) -> Self {
        let disk = if make == Make::Lying { Disk::lying() } else { Disk::new() };
        Self { recording, make, disk, played: 0 }
    }

    /// Leaves in `dir` what is there after the cut, and nothing else. No cut comes before the last one.
    pub(crate) fn leave(&mut self, cut: &Cut, dir: &Path) {
        let events = &self.recording.events;
        for event in &events[self.played..cut.moment] {
            self.disk.apply(event);
        }
        self.played = cut.moment;
        let mut weather = match self.make {
            Make::Destroying => Weather::destroying(cut.seed),
            Make::Good | Make::Lying => Weather::new(cut.seed),
        };
        let of_agent = |path: &str| path == "data/agent" || path.starts_with("data/agent/");
        let image = match cut.struck {
            Struck::Nobody => self.disk.live(),
            Struck::Machine => self.disk.cut(&mut weather, &|_| true),
            Struck::Relay => self.disk.cut(&mut weather, &|path| path != "data" && !of_agent(path)),
            Struck::Agent => {
                let mut image = self.disk.cut(&mut weather, &|path| path != "data" && of_agent(path));
                if cut.relay > cut.moment {
                    let mut later = self.disk.clone();
                    for event in &events[cut.moment..cut.relay] {
                        later.apply(event);
                    }
                    image.retain(|path, _| of_agent(path));
                    image.extend(later.live().into_iter().filter(|(path, _)| !of_agent(path)));
                }
                image
            }
        };
        write(&image, &mut weather, dir);
    }
}

fn write(image: &Image, weather: &mut Weather, dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    // A directory stands before what is in it.
    for (path, content) in image.iter().filter(|(path, _)| !is_shared_memory(path)) {
        let path = dir.join(path);
        match content {
            None => std::fs::create_dir(path).unwrap(),
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
        }
    }
    for path in image.keys().filter_map(|path| path.strip_suffix("-wal")) {
        if weather.one_in(4) {
            let mut garbage = vec![0; 32 * 1024];
            weather.garbage(&mut garbage);
            std::fs::write(dir.join(format!("{path}-shm")), garbage).unwrap();
        }
    }
}

/// A folder in memory, where there is enough of it: a thousand images are read there without waiting for a disk.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let room = nix::sys::statvfs::statvfs(memory).map_or(0, |disk| disk.blocks_available() * disk.fragment_size());
    if room > 1 << 30 { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

impl Failure {
    /// Keeps the files as the cut left them; says where.
    pub(crate) fn keep(&self, recording: &Recording, make: Make) -> PathBuf {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power-cut-{:016x}", self.cut.seed));
        std::fs::create_dir_all(&dir).unwrap();
        Player::new(recording, make).leave(&self.cut, &dir);
        dir
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: ", self.cut)?;
        self.faults.iter().take(5).try_for_each(|fault| write!(f, "{fault}; "))
    }
}
