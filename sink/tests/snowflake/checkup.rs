//! What `gaitway doctor` says of an account.

use gaitway_emulator::{ColumnType, Fault, Options as Emulated, Table, gaitway_tables};
use gaitway_proto::schema::{GAPS, RAW};
use gaitway_service::checkup::{Checkup, Grade};
use gaitway_sink::snowflake::{Feed, Options, examine};

use crate::support::{Account, TOPIC, deliver};

const FEED: Feed<'static> = Feed { table: &RAW, topic: TOPIC, partitions: 6 };

fn of(account: &Account, options: &Options) -> Checkup {
    let mut checkup = Checkup::new();
    examine(options, &[FEED], account.runtime(), &mut checkup);
    checkup
}

fn fails(checkup: &Checkup) -> Vec<String> {
    let lines = checkup.lines().iter().filter(|line| line.grade == Grade::Fail);
    lines.map(|line| format!("{}: {}", line.subject, line.said)).collect()
}

#[test]
fn an_account_as_it_was_set_up_is_in_order_and_no_channel_is_opened() {
    let account = Account::new();
    let checkup = of(&account, &account.options());
    assert_eq!(checkup.worst(), Some(Grade::Ok), "{checkup}");
    assert!(checkup.to_string().contains("none was opened yet"), "{checkup}");
    let mut channel = account.channel();
    deliver(&mut channel, 4).unwrap();
    let checkup = of(&account, &account.options());
    assert_eq!(checkup.worst(), Some(Grade::Ok), "{checkup}");
    assert!(checkup.to_string().contains("1 channel for 6 partitions"), "{checkup}");
    // Nobody was fenced.
    deliver(&mut channel, 9).unwrap();
    assert_eq!(account.stored().len(), 10);
}

#[test]
fn what_is_missing_is_named_with_the_statement_that_mends_it() {
    let mut tables = gaitway_tables();
    tables.retain(|table| table.name() != GAPS.name);
    let withheld = vec![("INSERT".to_owned(), "ACTIVITY_DB.RAW_DATA.ACTIVITY_RECORDS".to_owned())];
    let account = Account::with(Emulated { tables, withheld, ..Emulated::default() });
    let checkup = of(&account, &account.options());
    let said = fails(&checkup).join("\n");
    assert!(said.contains("table RAW_DATA.GAPS: is not there, or this role may not see it: run deploy"), "{said}");
    assert!(said.contains("GRANT INSERT ON TABLE ACTIVITY_DB.RAW_DATA.ACTIVITY_RECORDS TO ROLE"), "{said}");
    assert!(!said.contains("SELECT ON TABLE ACTIVITY_DB.RAW_DATA.ACTIVITY_RECORDS"), "{said}");
}

#[test]
fn a_table_of_another_form_is_named() {
    let mut tables = gaitway_tables();
    tables.retain(|table| table.name() != GAPS.name);
    tables.push(
        Table::new(GAPS.schema, GAPS.name).column("agentId", ColumnType::Text).not_null("mine", ColumnType::Text),
    );
    let account = Account::with(Emulated { tables, ..Emulated::default() });
    let said = fails(&of(&account, &account.options())).join("\n");
    for expected in ["lacks column RECORD_METADATA", "lacks column fromSeq", "column MINE is NOT NULL"] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn rows_that_were_passed_over_are_told_until_they_are_driven_through_again() {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, 4).unwrap();
    account.emulator.inject(Fault::RejectRows { rows: 2 });
    deliver(&mut channel, 9).unwrap_err();
    let said = fails(&of(&account, &account.options())).join("\n");
    assert!(said.contains("channel gaitway_raw_sensor_data_3: has 2 rows") && said.contains("sink redrive"), "{said}");
    let mut redrive = gaitway_sink::snowflake::Redrive::open(&account.client(), &RAW, TOPIC, 3, 5..=9).unwrap();
    redrive.settle().unwrap();
    assert_eq!(of(&account, &account.options()).worst(), Some(Grade::Ok));
}

#[test]
fn a_key_that_is_not_let_in_and_a_host_that_is_away_are_told() {
    let account = Account::new();
    let stranger = Options { user: "NOBODY".to_owned(), ..account.options() };
    let said = fails(&of(&account, &stranger)).join("\n");
    assert!(said.contains("RSA_PUBLIC_KEY"), "{said}");
    let away = Options { url: Some("https://127.0.0.1:1".into()), ..account.options() };
    assert_eq!(fails(&of(&account, &away)).len(), 1);
    let keyless = Options { private_key_file: Some("/nowhere.p8".into()), ..account.options() };
    assert!(fails(&of(&account, &keyless))[0].contains("/nowhere.p8 cannot be read"));
}
