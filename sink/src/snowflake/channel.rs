//! One channel, the ledger of one Kafka partition: what its machine asks for is done here.
//!
//! - An append's bytes and request id are made once and kept until it is accepted or given up; between two submits a channel
//!   holds next to no memory.
//! - Once the partition is let go of, no call begins and no wait goes on: an open would fence the new owner.
//! - An append is cut so that it compresses to about a megabyte, by what the last one came to; none of several rows is
//!   sent above [`MOST_WIRE`].

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use gaitway_proto::ledger::{Ledger, LedgerError, Mark, Source, Watermark, check};
use gaitway_proto::record::Record;
use gaitway_proto::schema::Table;
use reqwest::Method;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::{Call, Failure};
use super::client::{Body, Client, Reply, Request};
use super::machine::{Answer, Effect, Identity, Machine, Next};
use super::rows::{self, MOST_WIRE, Partition, Piece, Rows};
use super::session::Session;
use super::status::{Appended, ChannelStatus, Opened, Statuses};

/// What an append should come to on the wire, bytes.
const AIM_WIRE: f64 = 1_000_000.0;

/// Least and most of an append before compression, bytes.
const LEAST_TEXT: f64 = 1_000_000.0;
const MOST_TEXT: f64 = 16_000_000.0;

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
    /// Bytes of text for one on the wire.
    ratio: f64,
    opening: Option<(Uuid, u32)>,
    sending: Option<Sending>,
    /// What was used for the last call, so that it can be replaced.
    token: Option<String>,
    generation: u64,
    /// Snowflake's own name for the connection, which its client gives back.
    session: Option<String>,
    /// Cancelled when the partition is not ours any more.
    let_go: CancellationToken,
}

/// An append on its way.
struct Sending {
    piece: Piece,
    continuation: String,
    id: Uuid,
    /// How often it was sent.
    tries: u32,
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
            ratio: 8.0,
            opening: None,
            sending: None,
            token: None,
            generation: 0,
            session: None,
            let_go: CancellationToken::new(),
            client,
        }
    }

    /// Nothing is asked of Snowflake any more once `let_go` is cancelled; what is under way comes to its end.
    #[must_use]
    pub fn until(mut self, let_go: CancellationToken) -> Self {
        self.let_go = let_go;
        self
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
                    let opened = matches!(answer, Answer::Opened(_));
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
                    if let (true, Next::Do(Effect::Open { token: Some(token) })) = (opened, &next) {
                        tracing::warn!(
                            channel = self.name,
                            token,
                            "channel was deleted while idle, making it anew with its token"
                        );
                    }
                }
            }
        }
    }

    fn execute(&mut self, effect: Effect) -> Answer {
        if self.let_go.is_cancelled() {
            return Answer::Stopped;
        }
        match effect {
            Effect::Wait(time) if self.client.wait_until(time, &self.let_go) => return Answer::Done,
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
        // Finding host and token takes its time.
        if self.let_go.is_cancelled() {
            return Answer::Stopped;
        }
        if !matches!(effect, Effect::Open { .. }) && session.generation != self.generation {
            return Answer::Failed(Failure::Moved("the pipe has another host now, it has to be opened there".into()));
        }
        self.token = Some(session.token.text.clone());
        let answer = match effect {
            Effect::Open { token } => self.open(&session, token),
            Effect::Append { piece, continuation } => self.append(&session, piece, continuation),
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
            (self.session, self.opening) = (None, None);
        }
        answer.map_or_else(Answer::Failed, Answer::Opened)
    }

    fn append(&mut self, session: &Session, piece: Piece, continuation: String) -> Answer {
        let ready = self.sending.take().filter(|it| it.piece == piece && it.continuation == continuation);
        let length = self.rows.body(&piece).len();
        let sending = match ready {
            Some(sending) => sending,
            None => match self.rows.compress(&piece) {
                Ok(zstd) => {
                    self.ratio = length as f64 / zstd.len().max(1) as f64;
                    let since_ms = self.client.now_ms();
                    Sending { piece, continuation, id: Uuid::new_v4(), tries: 0, zstd, since_ms }
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
            query: &[
                ("startOffsetToken", &start),
                ("endOffsetToken", &end),
                ("continuationToken", &sending.continuation),
            ],
            id: sending.id,
            retries: sending.tries,
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
        self.sending = Some(Sending { tries: sending.tries + 1, ..sending });
        answer
    }

    fn status(&self, session: &Session) -> Answer {
        self.statuses(session).map_or_else(Answer::Failed, Answer::Statuses)
    }

    fn statuses(&self, session: &Session) -> Result<BTreeMap<String, ChannelStatus>, Failure> {
        let path = format!("{}:bulk-channel-status", self.pipe);
        let request = Request::json(Call::Status, Method::POST, &path, (Uuid::new_v4(), 0), self.names.clone());
        let answer = read(Call::Status, self.client.send(session, request));
        answer.map(|(Statuses { channel_statuses }, _)| channel_statuses)
    }

    /// What Snowflake says of the channel, which is not opened; none if it does not know it.
    pub(super) fn look(&self) -> Result<Option<ChannelStatus>, LedgerError> {
        let asked = self.client.insist(|| self.statuses(&self.client.session()?));
        match asked {
            Ok(mut statuses) => Ok(statuses.remove(&self.name)),
            // There is no pipe before the first open.
            Err(Failure::Missing(_)) => Ok(None),
            Err(failure) => Err(LedgerError::Unavailable(format!("channel {}: {}", self.name, failure.why()))),
        }
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
        self.rows = self.client.shelf().take();
        let outcome = match self.rows.encode(&self.of, records, mark).map_err(wrong) {
            Ok(()) => {
                let aim = (AIM_WIRE * self.ratio).clamp(LEAST_TEXT, MOST_TEXT) as usize;
                let next = self.machine.submit(Instant::now(), mark, self.rows.pieces(mark.to, aim));
                self.drive(next)
            }
            Err(error) => Err(error),
        };
        self.sending = None;
        self.client.shelf().put_back(std::mem::take(&mut self.rows));
        outcome
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

    /// Snowflake's own token.
    fn kept(&self, _: &Source, _: Option<u64>) -> Option<u64> {
        self.machine.known()
    }

    /// Opens the channel with the position as its token.
    fn begin_at(&mut self, _: &Source, position: u64) -> Result<(), LedgerError> {
        self.adopt(position)
    }

    fn tend(&mut self) -> Result<(), LedgerError> {
        let next = self.machine.tend(Instant::now());
        self.drive(next)
    }
}
