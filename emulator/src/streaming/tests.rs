//! The machine's promises, one by one, and against random schedules of clients that keep the rules.

use proptest::prelude::*;
use serde_json::json;

use super::batch::{Keep, Reading};
use super::table::ColumnType;
use super::*;

const LAG: u64 = 100;
const CHANNEL: &str = "c";

fn settings() -> Settings {
    Settings { commit_lag_ms: LAG, replay: Replay::Idempotent, requests_per_second: None }
}

fn machine(settings: Settings) -> Streaming {
    let table = Table::new("S", "T").column("n", ColumnType::Number(19)).column("channel", ColumnType::Text);
    Streaming::new(settings, "DB", [table.pipe("OWN")])
}

fn pipe() -> PipeName {
    PipeName::new("db", "s", "t-streaming")
}

fn batch(machine: &Streaming, body: &str) -> Batch {
    let how = Reading { keep: Keep::Rows, strict: false, reject: 0 };
    Batch::read(body.as_bytes(), &machine.table_of(&pipe()).unwrap(), how)
}

/// Rows `from..to`, their channel's name in them.
fn rows(channel: &str, from: u64, to: u64) -> String {
    let lines: Vec<_> = (from..to).map(|n| json!({"n": n, "channel": channel}).to_string()).collect();
    lines.join("\n")
}

struct Short(Streaming);

impl Short {
    fn open(&mut self, now: u64) -> String {
        self.0.open(now, &pipe(), CHANNEL, Open::default()).unwrap().next_continuation_token
    }

    fn append(&mut self, now: u64, token: &str, from: u64, to: u64) -> Result<String, Refusal> {
        let batch = batch(&self.0, &rows(CHANNEL, from, to));
        self.0.append(now, &pipe(), CHANNEL, token, Some((to - 1).to_string()), batch)
    }

    fn status(&mut self, now: u64) -> ChannelStatus {
        self.0.statuses(now, &pipe(), &[CHANNEL.to_owned()]).unwrap().remove(CHANNEL).unwrap()
    }

    fn numbers(&self) -> Vec<u64> {
        self.0.rows("s", "t").unwrap().0.iter().map(|row| row["n"].as_u64().unwrap()).collect()
    }
}

fn short() -> Short {
    Short(machine(settings()))
}

fn code<T: fmt::Debug>(result: Result<T, Refusal>) -> (u16, String) {
    let refusal = result.unwrap_err();
    (refusal.status, refusal.code)
}

#[test]
fn what_is_taken_is_committed_after_the_lag() {
    let mut machine = short();
    let token = machine.open(0);
    machine.append(0, &token, 0, 3).unwrap();
    assert_eq!(machine.status(LAG - 1).last_committed_offset_token, None);
    assert_eq!((machine.numbers(), machine.0.uncommitted()), (vec![], 3));
    let status = machine.status(LAG);
    assert_eq!(status.last_committed_offset_token.as_deref(), Some("2"));
    assert_eq!((status.rows_inserted, status.rows_parsed, machine.0.uncommitted()), (3, 3, 0));
    assert_eq!(machine.numbers(), [0, 1, 2]);
}

#[test]
fn an_open_fences_the_former_owner() {
    let mut machine = short();
    let former = machine.open(0);
    let owner = machine.open(1);
    assert_eq!(code(machine.append(2, &former, 0, 1)), (400, refusal::STALE.into()));
    machine.append(2, &owner, 0, 1).unwrap();
    machine.status(2 + LAG);
    assert_eq!(machine.numbers(), [0]);
}

#[test]
fn a_channel_made_again_does_not_know_the_tokens_of_the_one_before() {
    let mut machine = short();
    let former = machine.open(0);
    machine.0.drop_channel(1, &pipe(), CHANNEL).unwrap();
    machine.open(2);
    assert_eq!(code(machine.append(3, &former, 0, 1)), (400, refusal::STALE.into()));
}

#[test]
fn an_open_discards_what_is_not_committed() {
    let mut machine = short();
    let token = machine.open(0);
    let token = machine.append(0, &token, 0, 2).unwrap();
    machine.append(LAG / 2, &token, 2, 4).unwrap();
    machine.open(LAG);
    let view = machine.0.channel(CHANNEL).unwrap();
    assert_eq!((view.opens, view.appends, view.discarded, view.uncommitted), (2, 2, 2, 0));
    assert_eq!(machine.status(10 * LAG).last_committed_offset_token.as_deref(), Some("1"));
    assert_eq!(machine.numbers(), [0, 1]);
}

#[test]
fn an_open_that_must_not_discard_is_refused_while_there_is_something() {
    let mut machine = short();
    let token = machine.open(0);
    let token = machine.append(0, &token, 0, 1).unwrap();
    let open = || Open { fail_on_uncommitted_rows: true, offset_token: None };
    assert_eq!(code(machine.0.open(1, &pipe(), CHANNEL, open())), (409, UNCOMMITTED.into()));
    // The refused open took nothing from the owner.
    machine.append(1, &token, 1, 2).unwrap();
    let opened = machine.0.open(1 + LAG, &pipe(), CHANNEL, open()).unwrap();
    assert_eq!(opened.channel_status.last_committed_offset_token.as_deref(), Some("1"));
}

#[test]
fn an_open_with_a_token_sets_it() {
    let mut machine = short();
    let open = |token: &str| Open { offset_token: Some(token.into()), fail_on_uncommitted_rows: false };
    let opened = machine.0.open(0, &pipe(), CHANNEL, open("41")).unwrap();
    assert_eq!(opened.channel_status.last_committed_offset_token.as_deref(), Some("41"));
    machine.open(1);
    assert_eq!(machine.status(1).last_committed_offset_token.as_deref(), Some("41"));
    machine.0.open(2, &pipe(), CHANNEL, open("7")).unwrap();
    assert_eq!(machine.status(2).last_committed_offset_token.as_deref(), Some("7"));
}

#[test]
fn a_replayed_continuation_token_is_answered_alike_and_taken_once() {
    let mut machine = short();
    let token = machine.open(0);
    let next = machine.append(0, &token, 0, 2).unwrap();
    assert_eq!(machine.append(1, &token, 0, 2), Ok(next.clone()));
    assert_eq!(machine.append(1, &token, 0, 3), Ok(next.clone()), "the tokens decide, not the bytes");
    let view = machine.0.channel(CHANNEL).unwrap();
    assert_eq!((view.replays, view.altered_replays), (2, 1));
    let later = machine.append(1, &next, 2, 3).unwrap();
    assert_eq!(code(machine.append(1, &token, 0, 2)), (400, refusal::STALE.into()), "only the last one is known");
    machine.append(1, &later, 3, 4).unwrap();
    machine.status(10 * LAG);
    assert_eq!(machine.numbers(), [0, 1, 2, 3]);
}

#[test]
fn in_the_other_mode_a_replayed_continuation_token_is_stale() {
    let mut machine = Short(machine(Settings { replay: Replay::Stale, ..settings() }));
    let token = machine.open(0);
    machine.append(0, &token, 0, 2).unwrap();
    assert_eq!(code(machine.append(1, &token, 0, 2)), (400, refusal::STALE.into()));
    machine.status(10 * LAG);
    assert_eq!(machine.numbers(), [0, 1]);
}

#[test]
fn a_token_from_the_future_or_from_nowhere_is_refused() {
    let mut machine = short();
    machine.open(0);
    assert_eq!(code(machine.append(0, "0_1", 0, 1)), (400, refusal::STALE.into()));
    assert_eq!(code(machine.append(0, "0_18446744073709551615", 0, 1)), (400, refusal::STALE.into()));
    assert_eq!(code(machine.append(0, "nonsense", 0, 1)).0, 400);
}

#[test]
fn the_same_rows_under_an_old_offset_are_there_twice() {
    let mut machine = short();
    let token = machine.open(0);
    let token = machine.append(0, &token, 0, 2).unwrap();
    machine.append(0, &token, 0, 2).unwrap();
    machine.status(LAG);
    assert_eq!(machine.numbers(), [0, 1, 0, 1]);
}

#[test]
fn a_bad_row_is_counted_and_the_token_goes_on() {
    let mut machine = short();
    let token = machine.open(0);
    let batch = batch(&machine.0, "{\"n\":1}\n{\"n\":\"x\"}\n");
    let token = machine.0.append(0, &pipe(), CHANNEL, &token, Some("9".into()), batch).unwrap();
    machine.append(0, &token, 10, 11).unwrap();
    let status = machine.status(LAG);
    assert_eq!(status.last_committed_offset_token.as_deref(), Some("10"));
    assert_eq!((status.rows_parsed, status.rows_inserted, status.rows_error_count), (3, 2, 1));
    assert_eq!(status.last_error_offset_upper_bound.as_deref(), Some("9"));
    assert_eq!(status.last_error_message.as_deref(), Some("column n: \"x\" is no NUMBER(19,0)"));
    assert_eq!(status.last_error_timestamp_ms, Some(LAG));
}

#[test]
fn an_append_without_a_token_leaves_the_token() {
    let mut machine = short();
    let token = machine.open(0);
    let token = machine.append(0, &token, 0, 1).unwrap();
    let more = batch(&machine.0, &rows(CHANNEL, 1, 2));
    machine.0.append(0, &pipe(), CHANNEL, &token, Some(String::new()), more).unwrap();
    assert_eq!(machine.status(LAG).last_committed_offset_token.as_deref(), Some("0"));
    assert_eq!(machine.numbers(), [0, 1]);
}

#[test]
fn an_invalid_channel_takes_nothing_until_it_is_opened() {
    let mut machine = short();
    let token = machine.open(0);
    machine.0.invalidate(&pipe(), CHANNEL, "ERR_CHANNEL_MUST_BE_REOPENED");
    assert_eq!(machine.status(0).channel_status_code, "ERR_CHANNEL_MUST_BE_REOPENED");
    assert_eq!(code(machine.append(0, &token, 0, 1)), (409, "ERR_CHANNEL_MUST_BE_REOPENED".into()));
    let token = machine.open(1);
    assert_eq!(machine.status(1).channel_status_code, SUCCESS);
    machine.append(1, &token, 0, 1).unwrap();
}

#[test]
fn a_dropped_channel_takes_its_token_along_and_leaves_its_rows() {
    let mut machine = short();
    let token = machine.open(0);
    let token = machine.append(0, &token, 0, 1).unwrap();
    machine.append(LAG, &token, 1, 2).unwrap();
    machine.0.drop_channel(LAG, &pipe(), CHANNEL).unwrap();
    assert_eq!(code(machine.append(LAG, &token, 1, 2)), (404, refusal::NO_CHANNEL.into()));
    assert!(machine.0.statuses(LAG, &pipe(), &[CHANNEL.into()]).unwrap().is_empty());
    assert_eq!(code(machine.0.drop_channel(LAG, &pipe(), CHANNEL)), (404, refusal::NO_CHANNEL.into()));
    machine.open(10 * LAG);
    assert_eq!(machine.status(10 * LAG).last_committed_offset_token, None);
    assert_eq!(machine.numbers(), [0]);
}

#[test]
fn frozen_commits_wait() {
    let mut machine = short();
    let token = machine.open(0);
    machine.append(0, &token, 0, 1).unwrap();
    machine.0.freeze(true);
    assert_eq!(machine.status(10 * LAG).last_committed_offset_token, None);
    machine.0.freeze(false);
    assert_eq!(machine.status(10 * LAG).last_committed_offset_token.as_deref(), Some("0"));
}

#[test]
fn a_default_pipe_exists_from_the_first_open_and_others_from_the_start() {
    let mut machine = machine(settings());
    let names = ["none".to_owned()];
    assert_eq!(code(machine.statuses(0, &pipe(), &names)), (404, refusal::NO_PIPE.into()));
    assert!(machine.statuses(0, &PipeName::new("DB", "S", "own"), &names).unwrap().is_empty());
    machine.open(0, &pipe(), CHANNEL, Open::default()).unwrap();
    assert!(machine.statuses(0, &pipe(), &names).unwrap().is_empty());
    let nowhere = PipeName::new("DB", "S", "X-STREAMING");
    assert_eq!(code(machine.open(0, &nowhere, CHANNEL, Open::default())), (404, refusal::NO_PIPE.into()));
}

#[test]
fn a_pipe_has_no_more_channels_than_snowflake_allows() {
    let mut machine = machine(settings());
    for n in 0..CHANNELS_PER_PIPE {
        machine.open(0, &pipe(), &n.to_string(), Open::default()).unwrap();
    }
    assert_eq!(code(machine.open(0, &pipe(), "more", Open::default())).0, 400);
    machine.open(0, &pipe(), "0", Open::default()).unwrap();
}

#[test]
fn a_rate_belongs_to_a_channel() {
    let mut machine = machine(Settings { requests_per_second: Some(2), ..settings() });
    for channel in ["a", "b"] {
        machine.open(0, &pipe(), channel, Open::default()).unwrap();
        machine.admit(0, &pipe(), channel).unwrap();
        machine.admit(500, &pipe(), channel).unwrap();
        assert_eq!(code(machine.admit(999, &pipe(), channel)), (429, TOO_MANY.into()));
        machine.admit(1_000, &pipe(), channel).unwrap();
    }
}

#[test]
fn counts_alone_keep_no_rows() {
    let mut machine = machine(settings());
    let token = machine.open(0, &pipe(), CHANNEL, Open::default()).unwrap().next_continuation_token;
    let how = Reading { keep: Keep::Counts(batch::Look::Json), strict: false, reject: 0 };
    let batch = Batch::read(rows(CHANNEL, 0, 5).as_bytes(), &machine.table_of(&pipe()).unwrap(), how);
    machine.append(0, &pipe(), CHANNEL, &token, Some("4".into()), batch).unwrap();
    machine.settle(LAG);
    assert_eq!(machine.rows("S", "T").map(|(rows, count)| (rows.len(), count)), Some((0, 5)));
}

/// A client that keeps the rules: what it sends is `committed + 1` and on after an open, and the very same bytes again
/// while it has no answer.
#[derive(Default)]
struct Client {
    token: Option<String>,
    next: u64,
    unanswered: Option<(u64, u64)>,
}

#[derive(Debug, Clone)]
enum Step {
    Append { channel: usize, client: usize, rows: u64, answered: bool },
    Again { channel: usize, client: usize },
    Open { channel: usize, client: usize, wait: bool },
    Pass(u64),
    Freeze(bool),
    Invalidate { channel: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || (0..2_usize, 0..2_usize);
    let step = prop_oneof![
        6 => (who(), 1..4_u64, any::<bool>()).prop_map(|((channel, client), rows, answered)| Step::Append {
            channel, client, rows, answered
        }),
        2 => who().prop_map(|(channel, client)| Step::Again { channel, client }),
        2 => (who(), any::<bool>()).prop_map(|((channel, client), wait)| Step::Open { channel, client, wait }),
        3 => (1..200_u64).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Freeze),
        1 => (0..2_usize).prop_map(|channel| Step::Invalidate { channel }),
    ];
    prop::collection::vec(step, 1..80)
}

struct World {
    machine: Streaming,
    now: u64,
    clients: [[Client; 2]; 2],
    tokens: [Option<u64>; 2],
}

const NAMES: [&str; 2] = ["a", "b"];

impl World {
    fn open(&mut self, channel: usize, client: usize, wait: bool) {
        let open = Open { offset_token: None, fail_on_uncommitted_rows: wait };
        let Ok(opened) = self.machine.open(self.now, &pipe(), NAMES[channel], open) else {
            return assert!(wait && self.machine.channel(NAMES[channel]).unwrap().uncommitted > 0);
        };
        let committed = opened.channel_status.last_committed_offset_token;
        self.clients[channel][client] = Client {
            token: Some(opened.next_continuation_token),
            next: committed.map_or(0, |token| token.parse::<u64>().unwrap() + 1),
            unanswered: None,
        };
    }

    fn send(&mut self, channel: usize, client: usize, (from, to): (u64, u64), answered: bool) {
        let Some(token) = self.clients[channel][client].token.clone() else { return };
        let batch = batch(&self.machine, &rows(NAMES[channel], from, to));
        let end = Some((to - 1).to_string());
        let answer = self.machine.append(self.now, &pipe(), NAMES[channel], &token, end, batch);
        let client = &mut self.clients[channel][client];
        match answer {
            _ if !answered => client.unanswered = Some((from, to)),
            Ok(next) => *client = Client { token: Some(next), next: to, unanswered: None },
            Err(_) => *client = Client::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { channel, client, rows, answered } => {
                let Client { next, unanswered, .. } = self.clients[channel][client];
                self.send(channel, client, unanswered.unwrap_or((next, next + rows)), answered);
            }
            Step::Again { channel, client } => {
                if let Some(range) = self.clients[channel][client].unanswered {
                    self.send(channel, client, range, true);
                }
            }
            Step::Open { channel, client, wait } => self.open(channel, client, wait),
            Step::Pass(ms) => self.now += ms,
            Step::Freeze(frozen) => self.machine.freeze(frozen),
            Step::Invalidate { channel } => self.machine.invalidate(&pipe(), NAMES[channel], "ERR_INVALID"),
        }
    }

    fn check(&mut self) {
        self.machine.settle(self.now);
        let (stored, count) = self.machine.rows("S", "T").unwrap();
        assert_eq!(stored.len() as u64, count);
        for (at, name) in NAMES.into_iter().enumerate() {
            let numbers: Vec<_> =
                stored.iter().filter(|row| row["channel"] == name).map(|row| row["n"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "channel {name}");
            let view = self.machine.channel(name);
            let token = view.as_ref().and_then(|view| view.status.last_committed_offset_token.clone());
            let token = token.map(|token| token.parse::<u64>().unwrap());
            assert!(token >= self.tokens[at], "the token of {name} went back");
            assert_eq!(token.map_or(0, |token| token + 1), numbers.len() as u64, "token and rows of {name}");
            assert_eq!(view.map_or(0, |view| view.altered_replays), 0);
            self.tokens[at] = token;
        }
    }
}

proptest! {
    #[test]
    fn each_row_is_committed_once_and_in_order_whatever_is_replayed_lost_or_reopened(
        steps in steps(),
        stale in any::<bool>(),
    ) {
        let replay = if stale { Replay::Stale } else { Replay::Idempotent };
        let machine = machine(Settings { replay, ..settings() });
        let mut world = World { machine, now: 0, clients: Default::default(), tokens: [None; 2] };
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.machine.freeze(false);
        world.now += LAG;
        world.check();
        assert_eq!(world.machine.uncommitted(), 0);
    }
}
