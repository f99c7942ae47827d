//! The recordings that are cut. Each is made once; nobody changes it.

use std::ops::Range;
use std::sync::LazyLock;

use super::phones::Pusher;
use super::recorder::{End, Program};
use super::recording::{Life, Recording};
use super::seed;
use super::trace::Event;
use crate::harness::Random;

fn phones(numbers: Range<u64>) -> Vec<Pusher> {
    numbers.map(|number| Pusher::new(number, seed(), 0)).collect()
}

fn up(pushes: u64, end: End) -> Life {
    Life { program: Program::Up, pushes, drains: false, end }
}

/// First start, clean stops, kills, restarts, three phones at once.
pub(crate) static DAYS: LazyLock<Recording> = LazyLock::new(|| {
    let mut random = Random::new(seed());
    let mut killed = |from: u64, to: u64| End::Killed(from + random.below(to - from));
    let lives = [
        Life { drains: true, ..up(12, End::Asked) },
        up(0, killed(1, 60)),
        up(15, killed(200, 900)),
        up(15, killed(300, 1200)),
        up(6, End::Asked),
        up(15, killed(200, 1200)),
        Life { drains: true, ..up(8, End::Asked) },
    ];
    record(phones(0..3), &lives)
});

/// Killed while it makes its files, several times over.
pub(crate) static BEGINNINGS: LazyLock<Recording> = LazyLock::new(|| {
    let mut random = Random::new(seed());
    let mut lives: Vec<_> = (0..6).map(|_| up(0, End::Killed(1 + random.below(150)))).collect();
    lives.push(up(4, End::Killed(200 + random.below(100))));
    lives.push(up(4, End::Asked));
    record(phones(0..2), &lives)
});

/// Many megabytes are spooled while there is no relay; then there is one. Both logs grow until they are copied into
/// their files, the spool gives its space back.
pub(crate) static BACKLOG: LazyLock<Recording> = LazyLock::new(|| {
    let mut pushers = phones(0..1);
    pushers.push(Pusher::new(1, seed(), 220_000));
    let alone = Life { program: Program::Agent, pushes: 25, drains: false, end: End::Asked };
    let lives = [alone, up(1, End::Killed(900)), Life { drains: true, ..up(2, End::Asked) }];
    record(pushers, &lives)
});

fn record(pushers: Vec<Pusher>, lives: &[Life]) -> Recording {
    let dir = tempfile::tempdir().unwrap();
    Recording::make(dir.path(), Vec::new(), pushers, lives)
}

/// Killed while SQLite took its first pages back: the files are empty, which the disk does not know yet, and their journals are there.
pub(crate) static REMNANTS: LazyLock<Recording> = LazyLock::new(|| {
    let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let open = |fd, create, text: &str| Event::Open { fd, create, truncate: false, path: path(text) };
    // https://www.sqlite.org/fileformat.html, "The Rollback Journal": no page is to be restored, and there was none.
    let mut journal = vec![0; 512];
    journal[..8].copy_from_slice(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    journal[20..28].copy_from_slice(&[0, 0, 2, 0, 0, 0, 4, 0]);
    let written = |fd, text: &str, bytes: &[u8]| {
        let bytes = bytes.into();
        let sync = [Event::SyncBegin { fd, number: 0 }, Event::SyncEnd { number: 0 }];
        [open(fd, true, text), Event::Write { fd, offset: 0, bytes }].into_iter().chain(sync)
    };
    let mut events = vec![Event::Mkdir { path: path("data") }, Event::Mkdir { path: path("data/agent") }];
    for file in ["data/agent/spool.db", "data/warehouse.db"] {
        events.extend(written(4, &format!("{file}-journal"), &journal));
        events.extend(written(3, file, &[b'x'; 4096]));
        events.extend([Event::Truncate { fd: 3, length: 0 }, Event::Close { fd: 3 }, Event::Close { fd: 4 }]);
    }
    for directory in ["data/agent", "data"] {
        events.extend([open(3, false, directory), Event::SyncBegin { fd: 3, number: 0 }]);
        events.extend([Event::SyncEnd { number: 0 }, Event::Close { fd: 3 }]);
    }
    let dir = tempfile::tempdir().unwrap();
    Recording::make(dir.path(), events, phones(0..2), &[up(4, End::Asked)])
});
