//! Questions in SQL.

use gaitway_emulator::{Call, Fault};
use gaitway_proto::schema::RAW;
use gaitway_sink::snowflake::Options;
use gaitway_sink::snowflake::sql::SqlError;

use crate::support::{Account, deliver};

#[test]
fn a_question_is_answered_in_rows_of_text_also_when_it_takes_its_time() {
    let account = Account::new();
    deliver(&mut account.channel(), 6).unwrap();
    let client = account.client();
    account.emulator.inject(Fault::StatementPending.times(3));
    account.emulator.inject(Fault::TooManyRequests { retry_after: None }.at(&[Call::Statement]));
    for _ in 0..2 {
        let rows = client.query(&format!("SELECT COUNT(*) FROM {}.{}", RAW.schema, RAW.name)).unwrap();
        assert_eq!((rows.columns.len(), rows.rows), (1, vec![vec![Some("7".to_owned())]]));
    }
    let rows = client.query("SELECT CURRENT_ROLE(), CURRENT_WAREHOUSE()").unwrap();
    assert_eq!(rows.rows, [[Some(account.emulator.role().to_owned()), None]]);
}

#[test]
fn a_question_that_is_wrong_or_may_not_be_asked_is_told() {
    let account = Account::new();
    let Err(SqlError::Refused(why)) = account.client().query("SELECT COUNT(*) FROM RAW_DATA.NONE") else {
        panic!("a table that is not there was counted")
    };
    assert!(why.contains("does not exist"), "{why}");
    account.emulator.inject(Fault::Unauthorized.at(&[Call::Statement]));
    let Err(SqlError::Denied(why)) = account.client().query("SELECT 1") else { panic!("401 was taken") };
    assert!(why.contains("RSA_PUBLIC_KEY"), "{why}");
    let away = Options { url: Some("https://127.0.0.1:1".into()), ..account.options() };
    let pace = gaitway_sink::snowflake::Pace { patience: std::time::Duration::from_millis(50), ..crate::support::PACE };
    let client = account.client_with(away, pace, gaitway_service::clock::now_micros);
    assert!(matches!(client.query("SELECT 1"), Err(SqlError::Unavailable(_))));
}
