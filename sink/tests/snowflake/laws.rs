//! Snowflake's ledger keeps the law, as far as it speaks of one source.

use std::time::Duration;

use gaitway_emulator::{Options as Emulated, Row};
use gaitway_proto::ledger::Ledger;
use gaitway_proto::ledger::conformance::{self, Fixture, Stored, laws, walk};
use gaitway_proto::schema::{RAW, RECORD_METADATA};
use gaitway_sink::snowflake::Channel;
use proptest::prelude::*;

use crate::support::{Account, PARTITION, TOPIC};

struct Home {
    account: Account,
    channel: Channel,
}

impl Home {
    fn new() -> Self {
        let account = Account::with(Emulated { commit_lag: Duration::from_millis(5), ..Emulated::default() });
        let channel = account.channel();
        Self { account, channel }
    }
}

impl Fixture for Home {
    fn ledger(&mut self) -> &mut dyn Ledger {
        &mut self.channel
    }

    fn rival(&mut self) -> Box<dyn Ledger> {
        Box::new(self.account.channel())
    }

    fn crash(&mut self) {
        self.channel = self.account.channel();
    }

    fn partition(&self) -> Option<(&'static str, i32)> {
        Some((TOPIC, PARTITION))
    }

    fn stored(&mut self) -> Vec<Stored> {
        let stored = |mut row: Row| {
            let metadata = row.remove(RECORD_METADATA).unwrap().to_string();
            Stored { table: RAW.name.to_owned(), metadata, value: serde_json::Value::from(row).to_string() }
        };
        self.account.emulator.rows(RAW.schema, RAW.name).into_iter().map(stored).collect()
    }
}

macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        $(#[test]
        fn $law() {
            laws::$law(&mut Home::new());
        })*

        #[test]
        fn every_law_has_its_test_or_its_reason() {
            let held = [$(stringify!($law)),*].len();
            assert_eq!(held, laws::ONE_SOURCE.len());
            assert_eq!(held + laws::NOT_OF_ONE_SOURCE.len(), laws::ALL.len());
        }
    };
}

laws! {
    records_and_marks_are_stored_together,
    an_unknown_source_is_left_out,
    marks_go_without_records,
    one_stale_mark_refuses_the_whole_submit,
    a_repeated_submit_stores_nothing,
    of_two_owners_one_wins,
    a_mark_never_goes_back,
    a_source_has_one_mark_in_a_submit,
    records_need_a_mark,
    positions_reach_the_end_of_i64,
    a_submit_that_can_never_be_taken_is_rejected,
    a_failure_is_recovered_from,
    a_crash_after_submit_stores_all_or_nothing,
    a_crash_keeps_what_was_committed,
    order_is_kept_per_source,
    values_come_back_exactly,
    committed_never_runs_ahead_of_what_is_stored,
}

#[test]
fn the_whole_suite() {
    conformance::run(|| Box::new(Home::new()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn random_histories(seed: u64) {
        walk(&mut Home::new(), seed, 30);
    }
}
