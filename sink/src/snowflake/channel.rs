//! One channel, the ledger of one Kafka partition: what its machine asks for is done here.
//!
//! - An append's bytes and request id are made once and kept until it is accepted or given up.
//! - An append is cut so that it compresses to about a megabyte, by what the last one came to; none of several rows is
//!   sent above [`MOST_WIRE`].

use std::time::Instant;

use bytes::Bytes;
use gaitway_proto::ledger::{Ledger, LedgerError, Mark, Source, Watermark, check};
use gaitway_proto::record::Record;
use gaitway_proto::schema::Table;
use reqwest::Method;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::answer::{Call, Failure};
use super::client::{Body, Client, Reply, Request};
use super::machine::{Answer, Effect, Identity, Machine, Next};
use super::rows::{self, Partition, Piece, Rows};
use super::session::Session;
use super::status::{Appended, Opened, Statuses};

/// What an append should come to on the wire, bytes.
const AIM_WIRE: f64 = 1_000_000.0;

/// Most that an append of several rows may come to on the wire, bytes: Snowflake's limit is 4 MB.
const MOST_WIRE: usize = 4_000_000;

/// Least and most of an append before compression, bytes.
const LEAST_TEXT: f64 = 1_000_000.0;
const MOST_TEXT: f64 = 16_000_000.0;

/// zstd's fastest of those that count: rows repeat so much that its default takes twice the time and comes out no smaller.
const LEVEL: i32 = 1;

/// The ledger of one Kafka partition. Positions are offsets.
///
/// - Every append is stored whole or not at all, with its token. A submit larger than one append is several, so that a
///   failure may leave the first of them stored: the position says so, and always fits what is stored.
/// - A mark without rows moves the position here and not at Snowflake: after a crash, or [`Ledger::recover`], the position
///   is that of the last rows again, and what lies between had none.
pub struct Channel {
    client: Client,
    of: Partition,
    source: Source,
    /// `/databases/…/pipes/<TABLE>-STREAMING`
    pipe: String,
    name: String,
    names: String,
    machine: Machine,
    rows: Rows,
    zstd: zstd::bulk::Compressor<'static>,
    /// Bytes of text for one on the wire.
    ratio: f64,
    opening: Option<(Uuid, u32)>,
    sending: Option<Sending>,
    /// What was used for the last call, so that it can be replaced.
    token: Option<String>,
    generation: u64,
    /// Snowflake's own name for the connection, which its client gives back.
    session: Option<String>,
}

/// An append on its way.
struct Sending {
    piece: Piece,
    id: Uuid,
    zstd: Bytes,
    since_ms: i64,
}

impl Client {
    /// The ledger of `topic`'s `partition`, for rows of `table`.
    pub fn channel(&self, table: &'static Table, topic: &str, partition: i32) -> Channel {
        Channel::named(self.clone(), table, topic, partition, "")
    }
}

impl Channel {
    pub(super) fn named(client: Client, table: &'static Table, topic: &str, partition: i32, suffix: &str) -> Self {
        let options = client.options();
        let name = format!("{}_{topic}_{partition}{suffix}", options.deployment);
        let redrive = format!("{name}_redrive");
        let source = Source::partition(topic, partition);
        let identity = Identity {
            source: source.clone(),
            channel: name.clone(),
            redrive: redrive.clone(),
            table: format!("{}.{}.{}", options.database, table.schema, table.name),
        };
        let chance = || getrandom::u64().unwrap_or(u64::MAX);
        Self {
            of: Partition { table, topic: topic.to_owned(), number: partition },
            source,
            pipe: format!("/databases/{}/schemas/{}/pipes/{}-STREAMING", options.database, table.schema, table.name),
            names: serde_json::json!({"channel_names": [name, redrive]}).to_string(),
            name,
            machine: Machine::new(identity, client.pace(), chance),
            rows: Rows::default(),
            zstd: zstd::bulk::Compressor::new(LEVEL).expect("zstd has this level"),
            ratio: 8.0,
            opening: None,
            sending: None,
            token: None,
            generation: 0,
            session: None,
            client,
        }
    }

    /// The channel's name at Snowflake.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens the channel and sets its token: the caller vouches that of its partition everything up to `offset` is stored
    /// and nothing beyond. For taking over from another program, and after a channel was deleted.
    pub fn adopt(&mut self, offset: u64) -> Result<(), LedgerError> {
        self.opening = None;
        let next = self.machine.adopt(Instant::now(), offset);
        self.drive(next)
    }

    /// The token that Snowflake told last.
    pub(super) fn known(&self) -> Option<u64> {
        self.machine.known()
    }

    /// The position of the last mark, durable or not.
    pub(super) fn reached(&self) -> Option<u64> {
        self.machine.reached()
    }

    /// Deletes the channel at Snowflake with its token; what is not committed is lost.
    pub(super) fn delete(&mut self) -> Result<(), LedgerError> {
        self.machine.close();
        let path = format!("{}/channels/{}", self.pipe, self.name);
        let deleted = self.client.session().and_then(|session| {
            let request = Request::json(Call::Open, Method::DELETE, &path, (Uuid::new_v4(), 0), String::new());
            self.client.send(&session, request)
        });
        match deleted {
            Ok(_) | Err(Failure::Missing(_)) => Ok(()),
            Err(failure) => Err(LedgerError::Unavailable(format!("channel {}: {}", self.name, failure.why()))),
        }
    }

    fn drive(&mut self, mut next: Next) -> Result<(), LedgerError> {
        loop {
            match next {
                Next::Done(outcome) => return outcome,
                Next::Do(effect) => {
                    let answer = self.execute(effect);
                    match &answer {
                        Answer::Failed(Failure::Taken(why)) => {
                            tracing::warn!(channel = self.name, why, "channel is lost");
                        }
                        Answer::Failed(failure) => {
                            tracing::debug!(channel = self.name, why = failure.why(), "call failed");
                        }
                        _ => {}
                    }
                    next = self.machine.handle(Instant::now(), answer);
                }
            }
        }
    }

    fn execute(&mut self, effect: Effect) -> Answer {
        match effect {
            Effect::Wait(time) if self.client.wait(time) => return Answer::Done,
            Effect::Wait(_) => return Answer::Stopped,
            Effect::Renew => {
                let renewed = self.client.renew(self.token.as_deref());
                return renewed.map_or_else(Answer::Failed, |()| Answer::Done);
            }
            _ => {}
        }
        let session = match self.client.session() {
            Ok(session) => session,
            Err(failure) => return Answer::Failed(failure),
        };
        if !matches!(effect, Effect::Open { .. }) && session.generation != self.generation {
            return Answer::Failed(Failure::Moved("the pipe has another host now, it has to be opened there".into()));
        }
        self.token = Some(session.token.text.clone());
        let answer = match effect {
            Effect::Open { token } => self.open(&session, token),
            Effect::Append { piece, continuation, attempt } => self.append(&session, piece, &continuation, attempt),
            _ => self.status(&session),
        };
        if let Answer::Failed(Failure::Moved(why)) = &answer {
            tracing::warn!(channel = self.name, why, "looking for the ingest host again");
            self.client.forget(session.generation);
        }
        answer
    }

    fn open(&mut self, session: &Session, token: Option<u64>) -> Answer {
        let (id, tries) = self.opening.get_or_insert_with(|| (Uuid::new_v4(), 0));
        let named = (*id, *tries);
        *tries += 1;
        let body = match token {
            Some(token) => format!(r#"{{"offset_token":"{token}","fail_on_uncommitted_rows":true}}"#),
            None => r#"{"fail_on_uncommitted_rows":true}"#.to_owned(),
        };
        let path = format!("{}/channels/{}", self.pipe, self.name);
        let request = Request::json(Call::Open, Method::PUT, &path, named, body);
        let answer = read(Call::Open, self.client.send(session, request)).map(|(opened, _): (Opened, _)| opened);
        if answer.is_ok() {
            self.generation = session.generation;
            self.session = None;
        }
        answer.map_or_else(Answer::Failed, Answer::Opened)
    }

    fn append(&mut self, session: &Session, piece: Piece, continuation: &str, attempt: u32) -> Answer {
        let ready = self.sending.take().filter(|sending| attempt > 0 && sending.piece == piece);
        let text = self.rows.body(&piece);
        let length = text.len();
        let sending = match ready {
            Some(sending) => sending,
            None => match self.zstd.compress(text.as_bytes()) {
                Ok(zstd) => {
                    self.ratio = length as f64 / zstd.len().max(1) as f64;
                    Sending { piece, id: Uuid::new_v4(), zstd: zstd.into(), since_ms: self.client.now_ms() }
                }
                Err(error) => return Answer::Failed(Failure::Refused(format!("rows cannot be compressed: {error}"))),
            },
        };
        let wire = sending.zstd.len();
        let too_large = |rows: &Rows, why| Answer::TooLarge(why, rows.split(&sending.piece));
        if wire > MOST_WIRE && self.rows.split(&sending.piece).is_some() {
            return too_large(&self.rows, format!("append of {wire} bytes is above {MOST_WIRE}"));
        }
        let [start, end] = [sending.piece.start, sending.piece.end].map(|offset| offset.to_string());
        let path = format!("/data{}/channels/{}/rows", self.pipe, self.name);
        let request = Request {
            call: Call::Append,
            method: Method::POST,
            path: &path,
            query: &[("startOffsetToken", &start), ("endOffsetToken", &end), ("continuationToken", continuation)],
            id: sending.id,
            retries: attempt,
            body: Body::Rows {
                zstd: sending.zstd.clone(),
                length,
                since_ms: sending.since_ms,
                session: self.session.clone(),
            },
        };
        let answer = match read(Call::Append, self.client.send(session, request)) {
            Ok((Appended { next_continuation_token }, reply)) => {
                let named = reply.headers.get("x-snowflake-session").and_then(|name| name.to_str().ok());
                self.session = named.map(str::to_owned).or_else(|| self.session.take());
                Answer::Appended(next_continuation_token)
            }
            Err(Failure::TooLarge(why)) => too_large(&self.rows, format!("{why}, with {wire} bytes")),
            Err(failure) => Answer::Failed(failure),
        };
        self.sending = Some(sending);
        answer
    }

    fn status(&mut self, session: &Session) -> Answer {
        let path = format!("{}:bulk-channel-status", self.pipe);
        let request = Request::json(Call::Status, Method::POST, &path, (Uuid::new_v4(), 0), self.names.clone());
        let answer = read(Call::Status, self.client.send(session, request));
        answer.map_or_else(Answer::Failed, |(statuses, _): (Statuses, _)| Answer::Statuses(statuses.channel_statuses))
    }
}

/// A success whose body cannot be read may have been one: it is asked for again.
fn read<T: DeserializeOwned>(call: Call, reply: Result<Reply, Failure>) -> Result<(T, Reply), Failure> {
    let reply = reply?;
    match serde_json::from_slice(&reply.body) {
        Ok(value) => Ok((value, reply)),
        Err(error) => Err(Failure::Again { why: format!("{call}: answer cannot be read: {error}"), after: None }),
    }
}

impl Ledger for Channel {
    fn recover(&mut self) -> Result<(), LedgerError> {
        self.opening = None;
        self.sending = None;
        let next = self.machine.recover(Instant::now());
        self.drive(next)
    }

    fn submit(&mut self, records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError> {
        check(records, marks)?;
        let mark = match marks {
            [] => return Ok(()),
            [mark] if mark.source == self.source => mark,
            _ => return Err(LedgerError::Rejected(format!("channel {} is for {} alone", self.name, self.source))),
        };
        self.machine.admit(mark)?;
        let wrong = |why| LedgerError::Rejected(format!("channel {}: {why}", self.name));
        self.rows.encode(&self.of, records, mark).map_err(wrong)?;
        let aim = (AIM_WIRE * self.ratio).clamp(LEAST_TEXT, MOST_TEXT) as usize;
        let next = self.machine.submit(Instant::now(), mark, self.rows.pieces(mark.to, aim));
        self.drive(next)
    }

    fn committed(&mut self, sources: &[Source]) -> Result<Watermark, LedgerError> {
        let next = self.machine.ask(Instant::now());
        self.drive(next)?;
        let position = self.machine.position().filter(|_| sources.contains(&self.source));
        Ok(position.map(|position| (self.source.clone(), position)).into_iter().collect())
    }

    fn refuses(&self, record: &Record<'_>) -> Option<String> {
        rows::refuses(record)
    }

    fn tend(&mut self) -> Result<(), LedgerError> {
        let next = self.machine.tend(Instant::now());
        self.drive(next)
    }
}
