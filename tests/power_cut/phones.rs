//! Phones that push one message after the other over one connection each, so that the recorder's n-th answer at a port
//! is the answer to the n-th push from it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::Random;
use crate::harness::phone::{Phone, Pushed, Reading};

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Device and messageId.
pub(crate) type Name = (String, u64);

/// What a phone pushes under one name.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) readings: Vec<Reading>,
    /// An unknown field of the message, which makes it large.
    pub(crate) note: Option<String>,
}

/// All messages that anybody may push, by name.
pub(crate) type Messages = BTreeMap<Name, Message>;

/// What was sent over one connection, in order.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) port: u16,
    pub(crate) sent: Vec<Name>,
}

/// A phone with what it has still to push.
#[derive(Debug)]
pub(crate) struct Pusher {
    pub(crate) phone: Phone,
    seed: u64,
    next: u64,
    /// Pushed, and not answered 200 yet.
    open: Vec<u64>,
    /// Bytes that each message carries besides its readings.
    note: usize,
}

impl Pusher {
    /// `note`: bytes that each message carries besides its few readings.
    pub(crate) fn new(number: u64, seed: u64, note: usize) -> Self {
        Self { phone: Phone::new(number, seed), seed: seed ^ number, next: 0, open: Vec::new(), note }
    }

    /// The message `id`: every tenth reading of the phone's, so that thousands of images can be read.
    pub(crate) fn message(&self, id: u64) -> Message {
        let mut readings: Vec<_> = self.phone.message(id).into_iter().step_by(10).collect();
        let mut note = None;
        if self.note > 0 {
            readings.truncate(1);
            let mut random = Random::new(self.seed ^ id);
            note = Some((0..self.note).map(|_| char::from(LETTERS[random.below(64) as usize])).collect());
        }
        Message { readings, note }
    }

    fn body(&self, id: u64, message: &Message) -> String {
        let body = self.phone.body(id, &message.readings);
        match &message.note {
            Some(note) => format!("{},\"note\":\"{note}\"}}", &body[..body.len() - 1]),
            None => body,
        }
    }

    /// Pushes what was not answered before and `count` more, some in another order, some twice, until that is done or
    /// the connection ends.
    pub(crate) fn push(&mut self, address: &str, count: u64) -> Option<Line> {
        let mut random = Random::new(self.seed ^ !self.next);
        let mut ids = std::mem::take(&mut self.open);
        ids.extend(self.next..self.next + count);
        self.next += count;
        for at in 1..ids.len() {
            match random.below(8) {
                0 => ids.swap(at - 1, at),
                1 => ids.push(ids[at]),
                _ => {}
            }
        }
        self.open.clone_from(&ids);
        self.open.sort_unstable();
        self.open.dedup();

        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).unwrap();
        let mut line = Line { port: stream.local_addr().unwrap().port(), sent: Vec::new() };
        let mut stream = BufReader::new(stream);
        for id in ids {
            line.sent.push((self.phone.device.clone(), id));
            match request(&mut stream, &self.body(id, &self.message(id))) {
                Ok(200) => self.open.retain(|open| *open != id),
                Ok(503) | Err(_) => break,
                Ok(status) => panic!("a good push was answered {status}"),
            }
        }
        Some(line)
    }

    /// The same phone, which has nothing to push but what is not among the `answered`.
    pub(crate) fn after(&self, answered: &BTreeSet<&Name>) -> Self {
        let is_open = |id: &u64| !answered.contains(&(self.phone.device.clone(), *id));
        Self { phone: self.phone.clone(), open: (0..self.next).filter(is_open).collect(), ..*self }
    }

    /// Whether it was answered 200 for everything.
    pub(crate) fn has_all_answers(&self) -> bool {
        self.open.is_empty()
    }

    /// All its messages as answered, if they are as plain as [`Phone`]'s.
    pub(crate) fn pushed(&self) -> Option<Pushed> {
        (self.note == 0).then(|| (0..self.next).map(|id| (id, self.message(id).readings)).collect())
    }

    /// Everything that it may have pushed.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (Name, Message)> + '_ {
        (0..self.next).map(|id| ((self.phone.device.clone(), id), self.message(id)))
    }
}

/// Posts `body`; the status.
fn request(stream: &mut BufReader<TcpStream>, body: &str) -> std::io::Result<u16> {
    let length = body.len();
    let head = "POST /data HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: ";
    stream.get_mut().write_all(format!("{head}{length}\r\n\r\n{body}").as_bytes())?;
    let (mut status, mut left) = (None, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if status.is_none() {
            status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        } else if let Some(length) = line.strip_prefix("content-length: ") {
            left = length.parse().map_err(std::io::Error::other)?;
        } else if line.is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; left])?;
    status.ok_or_else(|| std::io::Error::other("no status"))
}
