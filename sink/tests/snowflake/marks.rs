//! Marks that Snowflake keeps, and those that it does not.

use gaitway_proto::ledger::{Ledger as _, Mark};

use crate::support::{Account, deliver, position, source, submit};

#[test]
fn a_mark_without_rows_is_not_snowflakes_own() {
    let account = Account::new();
    let mut channel = account.channel();
    channel.recover().unwrap();
    let kept = |channel: &mut gaitway_sink::snowflake::Channel| {
        let committed = position(channel).unwrap();
        (committed, channel.kept(&source(), committed))
    };
    channel.submit(&[], &[Mark { source: source(), from: None, to: 4 }]).unwrap();
    assert_eq!(kept(&mut channel), (Some(4), None));
    channel.recover().unwrap();
    assert_eq!(kept(&mut channel), (None, None), "a crash forgets it");
    deliver(&mut channel, 9).unwrap();
    assert_eq!(kept(&mut channel), (Some(9), Some(9)));
    channel.submit(&[], &[Mark { source: source(), from: Some(9), to: 12 }]).unwrap();
    assert_eq!(kept(&mut channel), (Some(12), Some(9)));
}

#[test]
fn a_position_that_somebody_vouches_for_is_snowflakes_own() {
    let account = Account::new();
    let mut channel = account.channel();
    channel.recover().unwrap();
    channel.begin_at(&source(), 41).unwrap();
    assert_eq!(position(&mut channel).unwrap(), Some(41));
    let mut next = account.channel();
    next.recover().unwrap();
    assert_eq!(position(&mut next).unwrap(), Some(41));
    submit(&mut next, Some(41), 43).unwrap();
    deliver(&mut next, 43).unwrap();
    assert_eq!(account.stored(), [42, 43]);
}
