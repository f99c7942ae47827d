//! Rows that Snowflake passed over are appended again, once.

use std::collections::BTreeSet;
use std::time::Duration;

use gaitway_emulator::Fault;
use gaitway_proto::ledger::{Ledger as _, LedgerError};
use gaitway_proto::schema::RAW;
use gaitway_sink::snowflake::Redrive;

use crate::support::{Account, PARTITION, TOPIC, deliver, places, records};

const PATIENCE: Duration = Duration::from_secs(10);

fn open(account: &Account) -> Redrive {
    Redrive::open(&account.client(), &RAW, TOPIC, PARTITION, 5..=9).unwrap()
}

fn stored(account: &Account) -> BTreeSet<u64> {
    account.client().stored(&RAW, TOPIC, PARTITION, 5..=9).unwrap()
}

fn with_holes() -> Account {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, 4).unwrap();
    account.emulator.inject(Fault::RejectRows { rows: 2 });
    assert!(matches!(deliver(&mut channel, 9), Err(LedgerError::Skipped { .. })));
    account
}

#[test]
fn a_redrive_appends_what_is_missing_and_the_partition_goes_on() {
    let account = with_holes();
    let places = places(0, 9);
    // Twice is harmless, as is another after a crash in between.
    for appended in [2, 0, 0] {
        let mut redrive = open(&account);
        let stored = stored(&account);
        assert_eq!(redrive.append(&records(&places[..7]), &stored).unwrap(), appended);
        assert_eq!(redrive.append(&records(&places[7..]), &stored).unwrap(), 0);
        redrive.finish(PATIENCE).unwrap();
    }
    let mut channel = account.channel();
    deliver(&mut channel, 14).unwrap();
    let mut rows = account.stored();
    rows.sort_unstable();
    assert_eq!(rows, (0..=14).collect::<Vec<_>>());
}

#[test]
fn the_table_is_asked_which_offsets_it_has() {
    let account = with_holes();
    let client = account.client();
    let ask = |topic: &str, partition, offsets| client.stored(&RAW, topic, partition, offsets).unwrap();
    assert_eq!(ask(TOPIC, PARTITION, 0..=100_000), BTreeSet::from([0, 1, 2, 3, 4, 7, 8, 9]));
    assert_eq!(ask(TOPIC, PARTITION, 4..=7), BTreeSet::from([4, 7]));
    for (topic, partition, offsets) in
        [(TOPIC, PARTITION + 1, 0..=9), ("it's", PARTITION, 0..=9), (TOPIC, PARTITION, 10..=20)]
    {
        assert_eq!(ask(topic, partition, offsets), BTreeSet::new());
    }
}

#[test]
fn offsets_that_the_sink_may_still_store_are_not_opened_for() {
    let account = with_holes();
    for offsets in [5..=10, 10..=10] {
        let opened = Redrive::open(&account.client(), &RAW, TOPIC, PARTITION, offsets);
        assert!(matches!(opened, Err(LedgerError::Rejected(why)) if why.contains("offset 10")));
    }
    let fresh = Redrive::open(&account.client(), &RAW, TOPIC, PARTITION + 1, 0..=0);
    assert!(matches!(fresh, Err(LedgerError::Rejected(_))));
}

#[test]
fn a_redrive_that_is_killed_is_found_by_the_next() {
    let account = with_holes();
    let places = places(5, 9);
    account.emulator.freeze_commits(true);
    let mut redrive = open(&account);
    redrive.append(&records(&places), &stored(&account)).unwrap();
    drop(redrive);
    account.emulator.freeze_commits(false);
    // The open waits until the rows of the killed one are there, so that they are seen as stored.
    let mut redrive = open(&account);
    assert_eq!(redrive.append(&records(&places), &stored(&account)).unwrap(), 0);
    redrive.finish(PATIENCE).unwrap();
    account.channel().recover().unwrap();
    assert_eq!(account.stored().len(), 10);
}

#[test]
fn rows_that_are_passed_over_again_are_told_and_can_be_settled() {
    let account = with_holes();
    let places = places(5, 9);
    account.emulator.inject(Fault::RejectRows { rows: 2 });
    let mut redrive = open(&account);
    redrive.append(&records(&places), &stored(&account)).unwrap();
    let Err(LedgerError::Skipped { reason, .. }) = redrive.finish(PATIENCE) else { panic!("not told") };
    assert!(reason.contains("2 rows"), "{reason}");
    assert!(account.channel().recover().is_err());
    open(&account).settle().unwrap();
    account.channel().recover().unwrap();
}
