//! Faults that nobody can go on from by himself: the reason names the channel and what to do.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use gaitway_emulator::{Call, Fault, Options as Emulated, Table};
use gaitway_proto::ledger::{Ledger as _, LedgerError};
use gaitway_proto::record::Place;
use gaitway_proto::schema::RAW;
use gaitway_service::clock;
use gaitway_sink::snowflake::{Channel, Client, Options, Pace, Unusable};
use tokio_util::sync::CancellationToken;

use crate::support::{Account, CHANNEL, PACE, PARTITION, TOPIC, deliver, position, records, submit};

/// Fails at once rather than after a while.
const QUICK: Pace = Pace { patience: Duration::from_millis(200), ..PACE };

fn quick(account: &Account, options: Options) -> Channel {
    account.client_with(options, QUICK, clock::now_micros).channel(&RAW, TOPIC, PARTITION)
}

fn unavailable(outcome: Result<(), LedgerError>) -> String {
    match outcome {
        Err(LedgerError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn skipped(outcome: Result<(), LedgerError>) -> String {
    match outcome {
        Err(LedgerError::Skipped { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_channel_that_is_wiped_with_rows_in_flight_stops_and_nothing_is_appended_again() {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, 9).unwrap();
    account.emulator.freeze_commits(true);
    submit(&mut channel, Some(9), 14).unwrap();
    account.emulator.wipe(CHANNEL);
    account.emulator.freeze_commits(false);
    assert!(submit(&mut channel, Some(14), 19).is_err());
    let why = skipped(channel.recover());
    assert!(why.contains(CHANNEL) && why.contains("it was 9") && why.contains("--adopt-from-group"), "{why}");
    skipped(channel.recover());
    // Somebody looked, and vouches for the offset.
    channel.adopt(9).unwrap();
    deliver(&mut channel, 14).unwrap();
    assert_eq!(account.stored(), (0..=14).collect::<Vec<_>>());
}

#[test]
fn rows_that_are_passed_over_stop_the_partition_and_are_named() {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, 4).unwrap();
    account.emulator.inject(Fault::RejectRows { rows: 2 });
    let why = match deliver(&mut channel, 9) {
        Err(LedgerError::Skipped { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(why.contains("2 rows of raw_sensor_data/3") && why.contains("offsets 5 to 9"), "{why}");
    assert!(why.contains("row refused") && why.contains("gaitway sink redrive"), "{why}");
    assert!(why.contains("ACTIVITY_DB.RAW_DATA.ACTIVITY_RECORDS"), "{why}");
    // Neither by itself nor after a restart does it go on.
    skipped(channel.recover());
    skipped(account.channel().recover());
}

#[test]
fn a_role_that_may_not_write_is_said_with_what_it_needs() {
    for fault in [Fault::Unauthorized, Fault::Forbidden] {
        let account = Account::new();
        let mut channel = quick(&account, account.options());
        channel.recover().unwrap();
        account.emulator.inject(fault.always());
        let why = unavailable(submit(&mut channel, None, 4));
        assert!(why.contains("INSERT") && why.contains("DEFAULT_ROLE") && why.contains("USAGE"), "{why}");
        assert_eq!(account.emulator.requests().of(Call::Token), 2, "one new token, then no more");
    }
}

#[test]
fn a_key_that_is_not_the_users_is_said_with_its_fingerprint() {
    let account = Account::new();
    let options = Options { user: "SOMEBODY_ELSE".into(), ..account.options() };
    let why = unavailable(quick(&account, options).recover());
    assert!(why.contains("SOMEBODY_ELSE") && why.contains("RSA_PUBLIC_KEY"), "{why}");
    assert!(why.contains(account.client().fingerprint()), "{why}");
}

#[test]
fn a_token_that_ends_before_it_is_used_is_blamed_on_the_clock() {
    for (ahead, way) in [(1, "ahead of"), (-1, "behind")] {
        let account = Account::new();
        let clock: fn() -> i64 = match ahead {
            0.. => || clock::now_micros() + 7_200_000_000,
            _ => || clock::now_micros() - 7_200_000_000,
        };
        let client = account.client_with(account.options(), QUICK, clock);
        let why = unavailable(client.channel(&RAW, TOPIC, PARTITION).recover());
        assert!(why.contains("the clock of this machine is") && why.contains(way), "{why}");
    }
}

#[test]
fn a_table_that_is_not_there_is_said_with_what_to_create() {
    let account = Account::with(Emulated { tables: vec![Table::new("RAW_DATA", "OTHER")], ..Emulated::default() });
    let why = unavailable(quick(&account, account.options()).recover());
    assert!(why.contains("ACTIVITY_DB.RAW_DATA.ACTIVITY_RECORDS") && why.contains("create it"), "{why}");
}

#[test]
fn an_account_that_is_not_there_is_not_told_as_a_table_that_is_not_there() {
    let account = Account::new();
    let gone = Fault::Answered { status: 404, body: r#"{"code":"390261","message":"no such account"}"# };
    account.emulator.inject(gone.always().at(&[Call::Hostname]));
    let why = unavailable(quick(&account, account.options()).recover());
    assert!(why.contains("host discovery answered 404 390261: no such account") && !why.contains("table"), "{why}");
}

#[test]
fn rows_that_are_refused_again_and_again_are_rejected_with_the_reason() {
    let account = Account::new();
    let mut channel = account.channel();
    account.emulator.inject(Fault::Answered { status: 400, body: r#"{"code":"ERR_BAD","message":"m"}"# }.always());
    let Err(LedgerError::Rejected(why)) = deliver(&mut channel, 4) else { panic!("400 was taken") };
    assert!(why.contains("400 ERR_BAD: m") && why.contains(CHANNEL), "{why}");
    assert!(account.emulator.requests().of(Call::Append) > 5);
}

#[test]
fn a_row_that_is_too_large_alone_is_rejected_and_one_that_would_be_is_refused_before() {
    let account = Account::new();
    let mut channel = account.channel();
    channel.recover().unwrap();
    account.emulator.inject(Fault::TooLarge.always());
    let Err(LedgerError::Rejected(why)) = submit(&mut channel, None, 0) else { panic!("413 was taken") };
    assert!(why.contains("413") && why.contains(CHANNEL), "{why}");

    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(4 << 20));
    let place = Place { topic: TOPIC, partition: PARTITION, offset: 0, key: None, written: None, unknown: Some(&long) };
    let places = [place];
    assert!(channel.refuses(&records(&places)[0]).unwrap().contains("longer than"));
}

#[test]
fn storms_without_an_end_are_told() {
    let account = Account::new();
    let mut channel = quick(&account, account.options());
    channel.recover().unwrap();
    account.emulator.inject(Fault::Unavailable { retry_after: None }.always());
    let why = unavailable(submit(&mut channel, None, 4));
    assert!(why.contains("503") && why.contains(CHANNEL), "{why}");
    account.emulator.clear_faults();
    channel.recover().unwrap();
    assert_eq!(position(&mut channel).unwrap(), None);
}

#[test]
fn a_client_without_a_usable_key_says_which_file() {
    let account = Account::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let client = |options| Client::new(options, runtime.handle().clone(), CancellationToken::new());
    let missing = Options { private_key_file: Some("nowhere.p8".into()), ..account.options() };
    let Err(error @ Unusable::Secret(_)) = client(missing) else { panic!("a key from nowhere") };
    assert!(error.to_string().starts_with("nowhere.p8 cannot be read: "), "{error}");
    let no_key = account.options().ca_file.unwrap();
    std::fs::set_permissions(&no_key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let no_key = Options { private_key_file: Some(no_key), ..account.options() };
    let Err(error @ Unusable::Key { .. }) = client(no_key) else { panic!("a certificate as a key") };
    assert!(error.to_string().contains("ca.pem"), "{error}");
}
