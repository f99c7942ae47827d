//! The recordings that are cut. Each is made once; nobody changes it.

use std::ops::Range;
use std::sync::LazyLock;

use super::phones::Pusher;
use super::recorder::{End, Program};
use super::recording::{Life, Recording};
use super::seed;
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
    Recording::make(dir.path(), pushers, lives)
}
