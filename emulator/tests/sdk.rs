//! The emulator's proof: Snowflake's own SDK, which knows nothing of it, opens, appends, commits, resumes and is fenced.

use std::thread;
use std::time::{Duration, Instant};

use gaitway_emulator::sdk::{Sdk, Session};
use gaitway_emulator::{Call, ColumnType, Emulator, Fault, Options, Table};
use serde_json::json;

/// How long the SDK may take to do what it does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

fn emulator() -> Emulator {
    let table = Table::new("RAW_DATA", "T").column("n", ColumnType::Number(19)).column("payload", ColumnType::Variant);
    Emulator::start(Options { tables: vec![table], ..Options::default() }).expect("an emulator")
}

fn session(emulator: &Emulator) -> Session {
    let sdk = Sdk::find().expect("Snowflake's SDK");
    sdk.session(emulator, "RAW_DATA", "T-STREAMING").expect("a client")
}

fn numbers(emulator: &Emulator) -> Vec<u64> {
    emulator.rows("RAW_DATA", "T").iter().map(|row| row["n"].as_u64().expect("a number")).collect()
}

#[test]
#[ignore = "needs snowpipe sdk"]
fn the_sdk_opens_appends_commits_asks_and_drops() {
    let emulator = emulator();
    let mut sdk = session(&emulator);
    let opened = sdk.ask("open c").unwrap();
    assert_eq!((&opened["status"], &opened["token"]), (&json!("SUCCESS"), &json!(null)));
    sdk.ask(r#"append c 0 8 {"N": "$offset", "PAYLOAD": {"a": [1, "two"]}}"#).unwrap();
    sdk.ask("append c 8 10").unwrap();
    sdk.ask("commit c 9").unwrap();
    let status = sdk.ask("status c").unwrap();
    assert_eq!((&status["token"], &status["inserted"]), (&json!("9"), &json!(10)));
    assert_eq!(numbers(&emulator), (0..10).collect::<Vec<_>>());
    assert_eq!(emulator.rows("RAW_DATA", "T")[0]["payload"], json!({"a": [1, "two"]}));
    sdk.ask("drop c").unwrap();
    assert_eq!(emulator.channel("c"), None);
    assert_eq!(sdk.ask("open c 41").unwrap()["token"], "41");
    assert!(sdk.ask("drop none").unwrap_err().to_string().contains("ERR_CHANNEL_DOES_NOT_EXIST_OR_NOT_AUTHORIZED"));
    let requests = emulator.requests();
    for call in [Call::Hostname, Call::Token, Call::PipeInfo] {
        assert_eq!(requests.with(call, 200), 1, "{call:?}");
    }
}

#[test]
#[ignore = "needs snowpipe sdk"]
fn the_sdk_resumes_after_it_was_killed_with_rows_that_are_not_committed() {
    let emulator = emulator();
    let mut sdk = session(&emulator);
    sdk.ask("open c").unwrap();
    sdk.ask("append c 0 5").unwrap();
    sdk.ask("commit c 4").unwrap();
    emulator.freeze_commits(true);
    sdk.ask("append c 5 9").unwrap();
    drop(sdk);

    // The SDK opens with fail_on_uncommitted_rows and waits until these four rows are committed.
    let mut sdk = session(&emulator);
    let refused = emulator.requests().with(Call::Open, 409);
    let opened = thread::scope(|scope| {
        let opened = scope.spawn(|| sdk.ask("open c").unwrap());
        let start = Instant::now();
        while emulator.requests().with(Call::Open, 409) == refused {
            assert!(start.elapsed() < PATIENCE, "the SDK was not refused");
            thread::sleep(Duration::from_millis(20));
        }
        emulator.freeze_commits(false);
        opened.join().unwrap()
    });
    assert_eq!(opened["token"], "8");
    sdk.ask("append c 9 12").unwrap();
    sdk.ask("commit c 11").unwrap();
    assert_eq!(numbers(&emulator), (0..12).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs snowpipe sdk"]
fn the_sdk_is_fenced_by_a_second_owner() {
    let emulator = emulator();
    let (mut former, mut owner) = (session(&emulator), session(&emulator));
    former.ask("open c").unwrap();
    former.ask("append c 0 3").unwrap();
    former.ask("commit c 2").unwrap();
    assert_eq!(owner.ask("open c").unwrap()["token"], "2");
    let error = former.ask("append c 3 4").unwrap_err().to_string();
    assert!(error.contains("InvalidChannelError"), "{error}");
    owner.ask("append c 3 6").unwrap();
    owner.ask("commit c 5").unwrap();
    assert_eq!(numbers(&emulator), (0..6).collect::<Vec<_>>());
    assert_eq!(emulator.requests().with(Call::Append, 400), 1);

    // It may become the owner again.
    former.ask("close c").unwrap();
    assert_eq!(former.ask("open c").unwrap()["token"], "5");
    former.ask("append c 6 7").unwrap();
    former.ask("commit c 6").unwrap();
    assert_eq!(numbers(&emulator), (0..7).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs snowpipe sdk"]
fn the_sdk_stores_each_row_once_through_lost_responses_resets_and_storms() {
    let emulator = emulator();
    let mut sdk = session(&emulator);
    sdk.ask("open c").unwrap();
    for (at, fault) in [
        Fault::ResponseLost,
        Fault::ConnectionReset,
        Fault::DoneThenUnavailable,
        Fault::TooManyRequests { retry_after: None },
        Fault::Unauthorized,
        Fault::NotFoundPage,
    ]
    .into_iter()
    .enumerate()
    {
        let met = emulator.inject(fault);
        sdk.ask(&format!("append c {} {}", 2 * at, 2 * at + 2)).unwrap();
        assert_eq!(emulator.met(met), 1);
    }
    sdk.ask("commit c 11").unwrap();
    assert_eq!(numbers(&emulator), (0..12).collect::<Vec<_>>());
    assert_eq!(emulator.channel("c").unwrap().altered_replays, 0);
}

#[test]
#[ignore = "needs snowpipe sdk"]
fn the_sdk_reads_errors_and_an_invalid_status() {
    let emulator = emulator();
    let mut sdk = session(&emulator);
    sdk.ask("open c").unwrap();
    sdk.ask(r#"append c 0 2 {"n": "none"}"#).unwrap();
    sdk.ask("commit c 1").unwrap();
    let status = sdk.ask("status c").unwrap();
    assert_eq!((&status["errors"], &status["inserted"], &status["token"]), (&json!(2), &json!(0), &json!("1")));
    assert_eq!(status["last_error"], "column n: \"none\" is no NUMBER(19,0)");
    emulator.invalidate("c", "ERR_CHANNEL_MUST_BE_REOPENED");
    // The SDK asks for a channel's status at most about once a second.
    let start = Instant::now();
    while sdk.ask("status c").unwrap()["status"] != "ERR_CHANNEL_MUST_BE_REOPENED" {
        assert!(start.elapsed() < PATIENCE, "the SDK does not see it");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(sdk.ask("commit c 99").unwrap_err().to_string().contains("ERR_CHANNEL_MUST_BE_REOPENED"));
    sdk.ask("close c").unwrap();
    assert_eq!(sdk.ask("open c").unwrap()["status"], "SUCCESS");
}
