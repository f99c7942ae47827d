//! Lives of processes on one data directory, and what phones pushed to them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::disk::{Disk, Image};
use super::phones::{Line, Messages, Name, Pusher};
use super::recorder::{End, Program, Recorder};
use super::trace::Event;
use crate::harness::process::Process;
use crate::harness::warehouse::count;
use crate::harness::{Random, await_that};

/// One life of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) program: Program,
    /// New messages of each phone.
    pub(crate) pushes: u64,
    /// It ends only after the relay has everything and the spool has let go of it.
    pub(crate) drains: bool,
    pub(crate) end: End,
}

/// Everything that happened.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) events: Vec<Event>,
    pub(crate) messages: Messages,
    /// Messages that were answered 200, each with the event of its first answer.
    pub(crate) answered: Vec<(usize, Name)>,
    pub(crate) pushers: Vec<Pusher>,
    /// The events after which the uplink may see more of the spool: a sync of it has ended, or a process begins.
    revealing: Vec<usize>,
    /// Events of before the first life, among which nothing is cut.
    given: usize,
}

impl Recording {
    /// Records `lives` of processes on a directory below `dir` in which `events` have happened, and holds the files they left against
    /// the record.
    pub(crate) fn make(dir: &Path, mut events: Vec<Event>, mut pushers: Vec<Pusher>, lives: &[Life]) -> Self {
        let dir = dir.canonicalize().unwrap();
        let root = dir.join("root");
        std::fs::create_dir(&root).unwrap();
        leave(&replay(&events).live(), &root);
        let recorder = Recorder::compile(&dir);
        let (given, mut answered) = (events.len(), BTreeMap::new());
        for life in lives {
            let mut lines = Vec::new();
            let recorded = recorder.record(&root, life.program, life.end, |address, process| {
                lines = push_all(&mut pushers, address, life.pushes);
                if life.drains {
                    await_quiet(&root.join("data/agent/spool.db"), process);
                }
            });
            for (name, at) in answers(&recorded, &lines) {
                answered.entry(name).or_insert(events.len() + at);
            }
            events.extend(recorded);
            assert_same(&replay(&events).live(), &root);
        }
        let messages = pushers.iter().flat_map(Pusher::messages).collect();
        let mut answered: Vec<_> = answered.into_iter().map(|(name, at)| (at, name)).collect();
        answered.sort();
        let revealing = revealing(&events);
        Self { events, messages, answered, pushers, revealing, given }
    }

    /// A moment to cut the power: after so many events. Each kind of event is as likely, so that rare ones are met.
    pub(crate) fn moment(&self, random: &mut Random) -> usize {
        let kinds: &[fn(&Event) -> bool] = &[
            |_| true,
            |event| matches!(event, Event::Answer { .. }),
            |event| matches!(event, Event::SyncBegin { .. } | Event::SyncEnd { .. }),
            |event| matches!(event, Event::Open { create: true, .. } | Event::Mkdir { .. } | Event::Unlink { .. }),
            |event| matches!(event, Event::Truncate { .. }),
            |event| matches!(event, Event::Start),
        ];
        let kind = kinds[random.below(kinds.len() as u64) as usize];
        let from = self.given + random.below((self.events.len() - self.given) as u64) as usize;
        let rest = self.events[from..].iter().position(kind).map(|at| from + at);
        // Just after it, or a little later.
        let at = rest.unwrap_or(from) + 1 + if random.below(2) == 0 { 0 } else { random.below(8) as usize };
        at.min(self.events.len())
    }

    /// A moment from `moment` on up to which a relay can have committed only what it could have been sent by then.
    pub(crate) fn moment_of_relay(&self, moment: usize, random: &mut Random) -> usize {
        let next = self.revealing.partition_point(|at| *at < moment);
        let end = self.revealing.get(next).copied().unwrap_or(self.events.len());
        moment + random.below((end - moment) as u64 + 1) as usize
    }

    /// How far a file of this name was ever written, bytes.
    pub(crate) fn reach(&self, file: &str) -> usize {
        let (mut open, mut reach) = (HashMap::new(), 0);
        for event in &self.events {
            match event {
                Event::Open { fd, path, .. } => drop(open.insert(*fd, path.last().is_some_and(|name| name == file))),
                Event::Write { fd, offset, bytes } if open[fd] => reach = reach.max(offset + bytes.len()),
                _ => {}
            }
        }
        reach
    }

    /// What had been answered by then.
    pub(crate) fn answered_by(&self, moment: usize) -> impl Iterator<Item = &Name> {
        self.answered.iter().take_while(move |(at, _)| *at < moment).map(|(_, name)| name)
    }
}

fn replay(events: &[Event]) -> Disk {
    let mut disk = Disk::new();
    for event in events {
        disk.apply(event);
    }
    disk
}

/// Makes the files and directories of `image` below `root`.
fn leave(image: &Image, root: &Path) {
    for (path, bytes) in image {
        match bytes {
            Some(bytes) => std::fs::write(root.join(path), bytes).unwrap(),
            None => std::fs::create_dir(root.join(path)).unwrap(),
        }
    }
}

fn revealing(events: &[Event]) -> Vec<usize> {
    let (mut open, mut syncs) = (HashMap::new(), HashSet::new());
    let mut is_revealing = |event: &Event| match event {
        Event::Open { fd, path, .. } => {
            open.insert(*fd, path.iter().any(|name| name == "agent"));
            false
        }
        Event::SyncBegin { fd, number } => {
            if open[fd] {
                syncs.insert(*number);
            }
            false
        }
        Event::SyncEnd { number } => syncs.remove(number),
        Event::Start => true,
        _ => false,
    };
    events.iter().enumerate().filter(|(_, event)| is_revealing(event)).map(|(at, _)| at).collect()
}

fn push_all(pushers: &mut [Pusher], address: &str, count: u64) -> Vec<Line> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            pushers.iter_mut().map(|pusher| scope.spawn(move || pusher.push(address, count))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Waits until the warehouse has what was pushed and the spool has let go of it, or the process ends.
fn await_quiet(spool: &Path, process: &mut Process) {
    await_that("the spool is drained", || {
        process.ended().is_some()
            || count(spool, "SELECT (SELECT count(*) FROM raw) + (SELECT count(*) FROM activity)") == 0
    });
}

/// The messages that were answered 200, each with the event.
fn answers<'a>(events: &[Event], lines: &'a [Line]) -> Vec<(Name, usize)> {
    let mut lines: BTreeMap<u16, std::slice::Iter<'a, Name>> =
        lines.iter().map(|line| (line.port, line.sent.iter())).collect();
    let mut answers = Vec::new();
    for (at, event) in events.iter().enumerate() {
        if let Event::Answer { status, port } = event {
            let name = lines.get_mut(port).and_then(Iterator::next).expect("only what was pushed is answered");
            if *status == 200 {
                answers.push((name.clone(), at));
            }
        }
    }
    answers
}

/// Asserts that nothing was missed: what the record says is there is there, byte for byte.
fn assert_same(replayed: &Image, root: &Path) {
    let mut found = Image::new();
    collect(root, "", &mut found);
    let mut replayed = replayed.clone();
    replayed.retain(|path, _| !is_shared_memory(path));
    assert_eq!(replayed.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "names differ from the record");
    for (path, bytes) in &found {
        assert!(replayed[path] == *bytes, "{path} differs from the record: a call was missed");
    }
}

/// `SQLite`'s index of a log: written to by nobody but through memory, made anew by whoever opens the file first.
pub(crate) fn is_shared_memory(path: &str) -> bool {
    path.ends_with("-shm")
}

fn collect(dir: &Path, below: &str, into: &mut Image) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            into.insert(path.clone(), None);
            collect(&entry.path(), &format!("{path}/"), into);
        } else if !is_shared_memory(&path) {
            into.insert(path, Some(std::fs::read(entry.path()).unwrap()));
        }
    }
}
