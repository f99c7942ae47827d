//! Spools filled by real pushes while no relay is there.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use super::body::{Phone, Push};
use super::serve::{Agent, Connection, NO_RELAY};

/// Different seconds of each phone.
const BODIES: usize = 16;

/// Lets an agent on `data_dir` take `pushes` of each phone, all phones at a time, and ends it.
pub(crate) fn fill(data_dir: &Path, phones: &[Phone<'_>], pushes: u64) {
    let agent = Agent::start(data_dir, NO_RELAY);
    std::thread::scope(|scope| {
        for phone in phones {
            let to = agent.address;
            scope.spawn(move || {
                let mut bodies: Vec<Push> = (0..BODIES).map(|second| phone.push(second)).collect();
                let mut connection = Connection::open(to).unwrap();
                for number in 0..pushes {
                    let push = &mut bodies[number as usize % BODIES];
                    push.renumber(phone, number);
                    connection.push(push.request(), push.readings).unwrap();
                }
            });
        }
    });
    assert!(agent.process.terminate(Signal::SIGTERM).success());
}

/// A copy of an ended agent's data directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
