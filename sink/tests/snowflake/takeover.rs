//! The sink and Snowflake's own SDK take each other's channels over: each goes on from the other's token, and whoever was fenced stores
//! nothing.

use gaitway_emulator::sdk::{Sdk, Session};
use gaitway_proto::ledger::{Ledger as _, LedgerError};
use gaitway_proto::schema::RAW;

use crate::support::{Account, CHANNEL, deliver, position, submit};

fn session(account: &Account) -> Session {
    let sdk = Sdk::find().expect("Snowflake's SDK");
    sdk.session(&account.emulator, RAW.schema, &format!("{}-STREAMING", RAW.name)).expect("a client")
}

/// Rows `from..end` as somebody else's writer would append them.
fn append(sdk: &mut Session, from: u64, end: u64) {
    let row = r#"{"RECORD_METADATA":{"offset":"$offset"},"DEVICEID":"phone"}"#;
    sdk.ask(&format!("append {CHANNEL} {from} {end} {row}")).unwrap();
    sdk.ask(&format!("commit {CHANNEL} {}", end - 1)).unwrap();
}

#[test]
#[ignore = "needs snowpipe sdk"]
fn the_sink_and_the_sdk_take_over_each_others_channels() {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, 9).unwrap();

    let mut sdk = session(&account);
    let opened = sdk.ask(&format!("open {CHANNEL}")).unwrap();
    assert_eq!(opened["token"], "9", "the SDK resumes where the sink was");
    append(&mut sdk, 10, 15);

    let fenced = submit(&mut channel, Some(9), 14);
    assert!(fenced.is_err(), "the sink was fenced: {fenced:?}");
    channel.recover().unwrap();
    assert_eq!(position(&mut channel).unwrap(), Some(14), "the sink resumes where the SDK was");
    deliver(&mut channel, 19).unwrap();

    let refused = sdk.ask(&format!(r#"append {CHANNEL} 15 20 {{"RECORD_METADATA":{{"offset":"$offset"}}}}"#));
    let committed = refused.and_then(|_| sdk.ask(&format!("commit {CHANNEL} 19")));
    assert!(committed.is_err(), "the SDK was fenced: {committed:?}");
    // A client of the SDK opens a channel once.
    let mut sdk = session(&account);
    let opened = sdk.ask(&format!("open {CHANNEL}")).unwrap();
    assert_eq!(opened["token"], "19");
    append(&mut sdk, 20, 22);

    let stored = account.stored();
    assert_eq!(stored, (0..22).collect::<Vec<_>>(), "every row once, in order");
}

#[test]
#[ignore = "needs snowpipe sdk"]
fn a_sink_that_was_fenced_by_the_sdk_is_told_so_without_an_append() {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, 4).unwrap();
    let mut sdk = session(&account);
    sdk.ask(&format!("open {CHANNEL}")).unwrap();
    append(&mut sdk, 5, 8);
    let outcome = position(&mut channel);
    assert!(matches!(outcome, Err(LedgerError::Conflict { found: Some(7), .. })), "{outcome:?}");
    assert_eq!(account.stored(), (0..8).collect::<Vec<_>>());
}
