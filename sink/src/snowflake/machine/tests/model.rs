//! A model of Snowflake's side of one channel, and a network that loses, delays and refuses.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::snowflake::answer::Failure;
use crate::snowflake::machine::{Answer, Effect, Next};
use crate::snowflake::rows::{Piece, Rows};
use crate::snowflake::status::{ChannelStatus, Opened, SUCCESS};

/// splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// An append as the server sees it.
#[derive(Clone)]
struct Sent {
    continuation: String,
    offsets: Vec<u64>,
    end: u64,
}

pub(super) struct Server {
    pub(super) random: Random,
    pub(super) now: Instant,
    /// One call in so many fails; 0 for none.
    pub(super) trouble: u64,
    /// So many appends more are refused.
    pub(super) refuse: u32,
    /// A used continuation token is stale, rather than answered again.
    pub(super) strict: bool,
    /// Offsets of committed rows, in the order of storage.
    pub(super) stored: Vec<u64>,
    pub(super) committed: Option<u64>,
    pub(super) created: u64,
    pub(super) errors: u64,
    /// Whether it tells the offset up to which rows were passed over.
    pub(super) bounds: bool,
    /// Token and errors of the redrive channel.
    pub(super) redriven: Option<(u64, u64)>,
    pub(super) code: String,
    /// It was deleted, and not opened since.
    gone: bool,
    sequencer: u64,
    appends: u64,
    last: Option<Sent>,
    pending: VecDeque<Sent>,
    late: Vec<Sent>,
}

impl Server {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            now: Instant::now(),
            trouble: 0,
            refuse: 0,
            strict: seed.is_multiple_of(2),
            stored: Vec::new(),
            committed: None,
            created: 1,
            errors: 0,
            bounds: true,
            redriven: None,
            code: SUCCESS.into(),
            gone: false,
            sequencer: 0,
            appends: 0,
            last: None,
            pending: VecDeque::new(),
            late: Vec::new(),
        }
    }

    /// Drives a machine's effect to its outcome.
    pub(super) fn run(
        &mut self,
        machine: &mut super::Machine,
        rows: &Rows,
        mut next: Next,
    ) -> Result<(), gaitway_proto::ledger::LedgerError> {
        loop {
            match next {
                Next::Done(outcome) => return outcome,
                Next::Do(effect) => {
                    let answer = self.answer(effect, rows);
                    next = machine.handle(self.now, answer);
                }
            }
        }
    }

    fn answer(&mut self, effect: Effect, rows: &Rows) -> Answer {
        self.now += Duration::from_millis(20);
        match effect {
            Effect::Wait(time) => {
                self.now += time;
                self.pass();
                Answer::Done
            }
            Effect::Renew if self.trouble == 0 || self.random.below(4) > 0 => Answer::Done,
            Effect::Renew => again("token"),
            Effect::Open { token } => {
                if let Some(failure) = self.fault() {
                    return failure;
                }
                let opened = self.open(token);
                if self.lost() { again("answer lost") } else { opened }
            }
            Effect::Append { piece, continuation, .. } => self.post(&piece, continuation, rows),
            Effect::Status => self.fault().unwrap_or_else(|| self.statuses()),
        }
    }

    fn post(&mut self, piece: &Piece, continuation: String, rows: &Rows) -> Answer {
        let offset = |line: &[u8]| {
            let row: serde_json::Value = serde_json::from_slice(line).unwrap();
            row["RECORD_METADATA"]["offset"].as_u64().unwrap()
        };
        let lines = rows.body(piece).split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let offsets: Vec<_> = lines.map(offset).collect();
        let sent = Sent { continuation, offsets, end: piece.end };
        if self.trouble > 0 && sent.offsets.len() > 4 {
            return Answer::TooLarge("append answered 413".into(), rows.split(piece));
        }
        if let Some(failure) = self.fault() {
            return failure;
        }
        if self.refuse > 0 {
            self.refuse -= 1;
            return Answer::Failed(Failure::Refused("append answered 400".into()));
        }
        if self.lost() {
            // It arrives when nobody expects it any more.
            self.late.push(sent);
            return again("no answer");
        }
        let answer = self.append(sent);
        if self.lost() { again("answer lost") } else { answer }
    }

    /// Something that is done or refused before the call is.
    fn fault(&mut self) -> Option<Answer> {
        if self.trouble == 0 || self.random.below(self.trouble) > 0 {
            return None;
        }
        Some(Answer::Failed(match self.random.below(4) {
            0 => Failure::Denied("401".into()),
            1 => Failure::Moved("410".into()),
            _ => Failure::Again { why: "503".into(), after: None },
        }))
    }

    fn lost(&mut self) -> bool {
        self.trouble > 0 && self.random.below(self.trouble) == 0
    }

    /// What happens by itself.
    pub(super) fn pass(&mut self) {
        if !self.late.is_empty() && self.random.below(2) == 0 {
            let at = self.random.below(self.late.len() as u64) as usize;
            let sent = self.late.swap_remove(at);
            // Nobody hears the answer.
            let _ = self.append(sent);
        }
        let due = if self.trouble == 0 { self.pending.len() as u64 } else { self.random.below(3) };
        for _ in 0..due {
            if let Some(sent) = self.pending.pop_front() {
                self.stored.extend(&sent.offsets);
                self.committed = Some(sent.end);
            }
        }
        if self.trouble > 0 && self.random.below(40) == 0 {
            self.code = "ERR_CHANNEL_MUST_BE_REOPENED".into();
        }
    }

    /// Commits one append more, if one waits.
    pub(super) fn pass_until_committed(&mut self) -> bool {
        self.pass();
        !self.pending.is_empty()
    }

    pub(super) fn open(&mut self, token: Option<u64>) -> Answer {
        if !self.pending.is_empty() {
            return Answer::Failed(Failure::Busy("409 ERR_CHANNEL_HAS_UNCOMMITTED_DATA".into()));
        }
        self.sequencer += 1;
        (self.appends, self.last, self.gone) = (0, None, false);
        self.code = SUCCESS.into();
        self.committed = token.or(self.committed);
        Answer::Opened(Opened { next_continuation_token: self.next(), channel_status: self.status() })
    }

    fn next(&self) -> String {
        format!("{}_{}", self.sequencer, self.appends)
    }

    fn append(&mut self, sent: Sent) -> Answer {
        if self.gone {
            return Answer::Failed(Failure::Missing("404".into()));
        }
        if self.code != SUCCESS {
            return Answer::Failed(Failure::Taken("409".into()));
        }
        if sent.continuation == self.next() {
            self.appends += 1;
            self.last = Some(sent.clone());
            self.pending.push_back(sent);
            return Answer::Appended(self.next());
        }
        match &self.last {
            Some(last) if last.continuation == sent.continuation && !self.strict => {
                assert_eq!(last.offsets, sent.offsets, "sent again in another cut");
                Answer::Appended(self.next())
            }
            _ => Answer::Failed(Failure::Taken("400 STALE_CONTINUATION_TOKEN_SEQUENCER".into())),
        }
    }

    /// Another owner opens the channel and appends `offsets`.
    pub(super) fn rival(&mut self, offsets: Vec<u64>, end: u64) {
        while matches!(self.open(None), Answer::Failed(_)) {
            self.pass();
        }
        let sent = Sent { continuation: self.next(), offsets, end };
        assert!(matches!(self.append(sent), Answer::Appended(_)));
    }

    /// Deletes the channel.
    pub(super) fn wipe(&mut self) {
        self.pending.clear();
        self.committed = None;
        self.created += 1;
        self.sequencer += 1;
        (self.appends, self.last, self.gone) = (0, None, true);
    }

    /// The end of what was accepted.
    pub(super) fn accepted(&self) -> Option<u64> {
        self.pending.back().map(|sent| sent.end).or(self.committed)
    }

    fn status(&self) -> ChannelStatus {
        ChannelStatus {
            code: self.code.clone(),
            created_on_ms: Some(self.created),
            last_error_offset_upper_bound: (self.errors > 0 && self.bounds)
                .then(|| self.committed.unwrap_or(0).to_string()),
            ..ChannelStatus::sample(self.committed, self.errors)
        }
    }

    fn statuses(&self) -> Answer {
        let mut statuses = BTreeMap::new();
        if !self.gone {
            statuses.insert("c".to_owned(), self.status());
        }
        if let Some((token, errors)) = self.redriven {
            statuses.insert("r".to_owned(), ChannelStatus::sample(Some(token), errors));
        }
        Answer::Statuses(statuses)
    }
}

fn again(why: &str) -> Answer {
    Answer::Failed(Failure::Again { why: why.into(), after: None })
}
