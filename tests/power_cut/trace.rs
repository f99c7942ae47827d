//! What a process did to its files, as the recorder wrote it down.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// One thing that happened. Paths are below the recorded directory, split at slashes.
#[derive(Clone, PartialEq)]
pub(crate) enum Event {
    /// A process began: no descriptor of an earlier one is open.
    Start,
    Open {
        fd: i32,
        create: bool,
        truncate: bool,
        path: Vec<String>,
    },
    Close {
        fd: i32,
    },
    Write {
        fd: i32,
        offset: usize,
        bytes: Arc<[u8]>,
    },
    Truncate {
        fd: i32,
        length: usize,
    },
    SyncBegin {
        fd: i32,
        number: u64,
    },
    SyncEnd {
        number: u64,
    },
    Unlink {
        path: Vec<String>,
    },
    Mkdir {
        path: Vec<String>,
    },
    Rename {
        from: Vec<String>,
        to: Vec<String>,
    },
    /// An HTTP answer to whoever sits at a port of this machine.
    Answer {
        status: i32,
        port: u16,
    },
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => write!(f, "start"),
            Self::Open { fd, path, .. } => write!(f, "open {fd} {}", path.join("/")),
            Self::Close { fd } => write!(f, "close {fd}"),
            Self::Write { fd, offset, bytes } => write!(f, "write {fd} at {offset} {} bytes", bytes.len()),
            Self::Truncate { fd, length } => write!(f, "truncate {fd} to {length}"),
            Self::SyncBegin { fd, number } => write!(f, "sync {fd} begins as {number}"),
            Self::SyncEnd { number } => write!(f, "sync {number} ends"),
            Self::Unlink { path } => write!(f, "unlink {}", path.join("/")),
            Self::Mkdir { path } => write!(f, "mkdir {}", path.join("/")),
            Self::Rename { from, to } => write!(f, "rename {} to {}", from.join("/"), to.join("/")),
            Self::Answer { status, port } => write!(f, "answer {status} to {port}"),
        }
    }
}

/// Reads the trace of one process that was recorded below `root`.
pub(crate) fn read(path: &Path, root: &Path) -> Vec<Event> {
    let bytes = std::fs::read(path).unwrap();
    let root = root.to_str().unwrap();
    let mut events = vec![Event::Start];
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(17);
        let length = u32::from_le_bytes(head[13..17].try_into().unwrap()) as usize;
        let (payload, tail) = tail.split_at(length);
        rest = tail;
        let fd = i32::from_le_bytes(head[1..5].try_into().unwrap());
        let number = u64::from_le_bytes(head[5..13].try_into().unwrap());
        events.push(event(head[0], fd, number, payload, root));
    }
    events
}

fn event(kind: u8, fd: i32, number: u64, payload: &[u8], root: &str) -> Event {
    let path = |bytes: &[u8]| {
        let path = std::str::from_utf8(bytes).unwrap().strip_prefix(root).expect("only paths below it are recorded");
        path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    match kind {
        b'O' => {
            let has = |flag: i32| number & flag as u64 != 0;
            Event::Open { fd, create: has(nix::libc::O_CREAT), truncate: has(nix::libc::O_TRUNC), path: path(payload) }
        }
        b'C' => Event::Close { fd },
        b'W' => Event::Write { fd, offset: number as usize, bytes: payload.into() },
        b'T' => Event::Truncate { fd, length: number as usize },
        b'B' => Event::SyncBegin { fd, number },
        b'E' => Event::SyncEnd { number },
        b'U' => Event::Unlink { path: path(payload) },
        b'M' => Event::Mkdir { path: path(payload) },
        b'R' => {
            let (from, to) = payload.split_at(number as usize);
            Event::Rename { from: path(from), to: path(to) }
        }
        b'A' => Event::Answer { status: fd, port: number as u16 },
        other => panic!("the trace holds a record of kind {other}"),
    }
}
