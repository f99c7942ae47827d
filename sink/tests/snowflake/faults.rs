//! Faults after which everything is stored exactly once.

use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use gaitway_emulator::{BodyForm, Call, Fault, Injection, Keep, Options as Emulated, Replay};
use gaitway_proto::ledger::{Ledger as _, LedgerError, Mark};
use gaitway_proto::schema::RAW;
use gaitway_service::clock;
use gaitway_sink::snowflake::Pace;
use tokio_util::sync::CancellationToken;

use crate::support::{Account, CHANNEL, PACE, PARTITION, TOPIC, deliver, places, position, records, source, submit};

const LAST: u64 = 19;

/// Everything is delivered although `faults` are met, all of them; the errors on the way.
fn survives(account: &Account, faults: Vec<Injection>) -> Vec<LedgerError> {
    let met: Vec<_> = faults.into_iter().map(|fault| account.emulator.inject(fault)).collect();
    let errors = deliver(&mut account.channel(), LAST).unwrap();
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
    for fault in met {
        assert!(account.emulator.met(fault) > 0, "{fault:?} was not met");
    }
    errors
}

#[test]
fn without_faults_everything_is_stored_once_whatever_form_the_host_has() {
    for body_form in [BodyForm::Json, BodyForm::Bare] {
        let account = Account::with(Emulated { body_form, ..Emulated::default() });
        assert!(survives(&account, vec![]).is_empty());
        let requests = account.emulator.requests();
        assert_eq!((requests.of(Call::Hostname), requests.of(Call::Token)), (1, 1));
    }
}

#[test]
fn a_response_that_is_lost_after_it_was_applied_stores_nothing_twice() {
    let account = Account::new();
    let errors = survives(&account, vec![Fault::ResponseLost.times(2), Fault::DoneThenUnavailable.times(2)]);
    assert!(errors.is_empty(), "{errors:?}");
    let channel = account.emulator.channel(CHANNEL).unwrap();
    assert!(channel.replays >= 2 && channel.altered_replays == 0, "{channel:?}");
}

#[test]
fn a_lost_response_whose_token_is_stale_then_is_found_out_by_an_open() {
    let account = Account::with(Emulated { replay: Replay::Stale, ..Emulated::default() });
    let errors = survives(&account, vec![Fault::ResponseLost.times(2)]);
    assert!(errors.iter().all(|error| matches!(error, LedgerError::Conflict { .. })), "{errors:?}");
    assert!(!errors.is_empty());
}

#[test]
fn a_stale_token_leads_to_an_open() {
    let account = Account::new();
    let errors = survives(&account, vec![Fault::StaleToken.times(2)]);
    assert!(matches!(*errors, [LedgerError::Conflict { .. }, LedgerError::Conflict { .. }]), "{errors:?}");
}

#[test]
fn an_open_waits_until_rows_are_committed_and_other_opens_are_done() {
    let account = Account::new();
    let errors = survives(&account, vec![Fault::OpenHasUncommittedData.times(3), Fault::OpenInProgress.times(2)]);
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn a_status_that_is_invalid_while_idle_is_noticed_and_opened_again_without_an_append() {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, LAST).unwrap();
    account.emulator.invalidate(CHANNEL, "ERR_CHANNEL_MUST_BE_REOPENED");
    let before = account.emulator.requests().of(Call::Append);
    thread::sleep(PACE.idle);
    let Err(LedgerError::Unavailable(why)) = channel.tend() else { panic!("not noticed") };
    assert!(why.contains("ERR_CHANNEL_MUST_BE_REOPENED"), "{why}");
    channel.recover().unwrap();
    thread::sleep(PACE.idle);
    channel.tend().unwrap();
    assert_eq!(account.emulator.requests().of(Call::Append), before);
    assert_eq!(position(&mut channel).unwrap(), Some(LAST));
}

#[test]
fn a_channel_that_is_deleted_while_idle_is_made_anew_with_its_token_and_goes_on() {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, 4).unwrap();
    // Noticed while idle, and by the next append.
    account.emulator.wipe(CHANNEL);
    thread::sleep(PACE.idle);
    let Err(LedgerError::Unavailable(why)) = channel.tend() else { panic!("not noticed") };
    assert!(why.contains("does not know it any more"), "{why}");
    deliver(&mut channel, 9).unwrap();
    account.emulator.wipe(CHANNEL);
    assert!(matches!(submit(&mut channel, Some(9), 14), Err(LedgerError::Unavailable(_))));
    deliver(&mut channel, LAST).unwrap();
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
}

#[test]
fn an_append_to_a_channel_that_became_invalid_leads_to_an_open() {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, 4).unwrap();
    account.emulator.invalidate(CHANNEL, "ERR_CHANNEL_MUST_BE_REOPENED");
    assert!(matches!(submit(&mut channel, Some(4), 9), Err(LedgerError::Conflict { .. })));
    deliver(&mut channel, LAST).unwrap();
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
}

#[test]
fn storms_of_429_and_503_are_waited_out() {
    let account = Account::new();
    let storm = [
        Fault::TooManyRequests { retry_after: None }.times(6),
        Fault::Unavailable { retry_after: None }.times(6),
        Fault::InternalError.times(3),
        Fault::RequestTimeout.times(3),
        Fault::ConnectionReset.times(3),
        Fault::Unavailable { retry_after: None }.times(4).at(&[Call::Open, Call::Status, Call::Hostname, Call::Token]),
    ];
    let errors = survives(&account, storm.to_vec());
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(account.emulator.channel(CHANNEL).unwrap().altered_replays, 0);
}

#[test]
fn retry_after_is_kept() {
    let account = Account::new();
    let mut channel = account.channel();
    channel.recover().unwrap();
    account.emulator.inject(Fault::TooManyRequests { retry_after: Some(1) });
    let started = std::time::Instant::now();
    submit(&mut channel, None, 3).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
fn more_requests_than_a_channel_may_make_are_slowed_down() {
    // Two of three in a row come within a second on any machine.
    let account = Account::with(Emulated { requests_per_second: Some(1), ..Emulated::default() });
    let mut channel = account.channel();
    deliver(&mut channel, 14).unwrap();
    assert_eq!(account.stored(), (0..=14).collect::<Vec<_>>());
    assert!(account.emulator.requests().with(Call::Append, 429) > 0);
}

#[test]
fn a_pipe_that_lives_elsewhere_is_found_and_every_channel_opened_there() {
    let account = Account::new();
    let client = account.client();
    let mut channel = client.channel(&RAW, TOPIC, PARTITION);
    let mut other = client.channel(&RAW, TOPIC, PARTITION + 1);
    channel.recover().unwrap();
    other.recover().unwrap();
    account.emulator.inject(Fault::FailedOver);
    let Err(LedgerError::Unavailable(why)) = submit(&mut channel, None, 4) else { panic!("410 was taken") };
    assert!(why.contains("410"), "{why}");
    thread::sleep(PACE.status);
    assert!(matches!(other.committed(&[]), Err(LedgerError::Unavailable(_))), "the other channel went on");
    other.recover().unwrap();
    deliver(&mut channel, LAST).unwrap();
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
    assert_eq!(account.emulator.requests().of(Call::Hostname), 2);
    // An open that hears it looks for the host by itself.
    account.emulator.inject(Fault::FailedOver.at(&[Call::Open]));
    channel.recover().unwrap();
    assert_eq!(account.emulator.requests().of(Call::Hostname), 3);
}

#[test]
fn an_append_that_is_too_large_is_split_and_goes_on() {
    let account = Account::new();
    let mut channel = account.channel();
    channel.recover().unwrap();
    account.emulator.inject(Fault::TooLarge.times(3));
    submit(&mut channel, None, LAST).unwrap();
    assert_eq!(account.emulator.channel(CHANNEL).unwrap().appends, 4);
    deliver(&mut channel, LAST).unwrap();
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
}

#[test]
fn a_batch_beyond_one_append_becomes_several_that_each_fit() {
    let account = Account::new();
    let mut channel = account.channel();
    channel.recover().unwrap();
    // Text that does not compress: a hundred rows of 200 kB.
    let mut state = 1_u64;
    let noise = |state: &mut u64| {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let letter = |_| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            letters[(*state >> 58) as usize] as char
        };
        format!("{{\"noise\":\"{}\"}}", (0..200_000).map(letter).collect::<String>())
    };
    let noises: Vec<_> = (0..100).map(|_| noise(&mut state)).collect();
    let places = places(0, 99);
    let mut records = records(&places);
    for (record, noise) in records.iter_mut().zip(&noises) {
        let gaitway_proto::record::Body::Raw(raw) = &mut record.body else { unreachable!("all are readings") };
        raw.reading = Some(noise.as_str().into());
    }
    // The mark lies beyond the last row: transaction markers moved it.
    channel.submit(&records, &[Mark { source: source(), from: None, to: 101 }]).unwrap();
    assert!(account.emulator.channel(CHANNEL).unwrap().appends >= 4);
    while position(&mut channel).unwrap() != Some(101) {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(account.stored(), (0..=99).collect::<Vec<_>>());
    assert_eq!(account.emulator.requests().with(Call::Append, 413), 0, "nothing above the limit is sent");
}

#[test]
fn a_404_of_a_proxy_is_tried_again_and_one_of_snowflake_leads_to_an_open() {
    let account = Account::new();
    let mut channel = account.channel();
    channel.recover().unwrap();
    account.emulator.inject(Fault::NotFoundPage.times(2));
    submit(&mut channel, None, 4).unwrap();
    account.emulator.inject(Fault::NotFound);
    let Err(LedgerError::Unavailable(why)) = submit(&mut channel, Some(4), 9) else { panic!("404 was taken") };
    assert!(why.contains("404 ERR_CHANNEL_DOES_NOT_EXIST_OR_NOT_AUTHORIZED"), "{why}");
    deliver(&mut channel, LAST).unwrap();
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
}

#[test]
fn an_odd_answer_to_an_append_stops_nothing() {
    let account = Account::new();
    let answered = |status, body| Fault::Answered { status, body };
    let odd = [
        answered(400, "<html>bad request</html>"),
        answered(302, ""),
        answered(402, r#"{"code":"ERR_BILLING"}"#),
        answered(407, "<html>log in</html>"),
        answered(400, r#"{"code":"ERR_BAD","message":"m"}"#),
        answered(415, r#"{"code":"ERR_TYPE"}"#),
        answered(418, r#"{"message":"teapot"}"#),
    ];
    let errors = survives(&account, odd.map(Into::into).to_vec());
    assert_eq!(errors.len(), 3, "those of Snowflake's own lead to an open: {errors:?}");
    assert_eq!(account.emulator.channel(CHANNEL).unwrap().altered_replays, 0);
}

#[test]
fn a_refusal_of_the_accounts_host_is_none_of_the_append() {
    let account = Account::new();
    let client = account.client();
    let mut channel = client.channel(&RAW, TOPIC, PARTITION);
    deliver(&mut channel, 4).unwrap();
    account.emulator.inject(Fault::Unauthorized.times(2));
    let refused = Fault::Answered { status: 400, body: r#"{"code":"invalid_scope"}"# };
    let met = account.emulator.inject(refused.times(2).at(&[Call::Token]));
    assert!(deliver(&mut channel, LAST).unwrap().is_empty());
    assert_eq!((account.emulator.met(met), account.stored()), (2, (0..=LAST).collect()));
}

#[test]
fn a_token_that_is_refused_once_is_replaced_once() {
    for fault in [Fault::Unauthorized, Fault::Forbidden] {
        let account = Account::new();
        let errors = survives(&account, vec![fault.clone().times(1), fault.at(&[Call::Status])]);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(account.emulator.requests().of(Call::Token), 3);
    }
}

#[test]
fn an_append_that_is_refused_for_its_token_is_sent_again_under_its_name() {
    let account = Account::new();
    let mut channel = account.channel();
    channel.recover().unwrap();
    account.emulator.inject(Fault::Unauthorized);
    account.emulator.inject(Fault::InternalError);
    submit(&mut channel, None, 4).unwrap();
    submit(&mut channel, Some(4), 9).unwrap();
    let requests = account.emulator.requests();
    let appends: Vec<_> = requests.appends().collect();
    let named: Vec<_> = appends.iter().map(|append| (append.status, append.retries)).collect();
    assert_eq!(named, [(401, Some(0)), (500, Some(1)), (200, Some(2)), (200, Some(0))]);
    assert!(appends[..3].iter().all(|append| append.id == appends[0].id) && appends[3].id != appends[0].id);
}

/// Short, and long enough for a slow machine to see its last quarter.
const LIFETIME: Duration = Duration::from_secs(6);

fn short_lived() -> Account {
    Account::with(Emulated { scoped_token_lifetime: LIFETIME, ..Emulated::default() })
}

#[test]
fn a_token_is_replaced_before_it_ends() {
    let account = short_lived();
    let mut channel = account.channel();
    deliver(&mut channel, 4).unwrap();
    thread::sleep(LIFETIME.mul_f64(0.8));
    assert!(deliver(&mut channel, LAST).unwrap().is_empty());
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
    let requests = account.emulator.requests();
    assert_eq!((requests.of(Call::Token), requests.with(Call::Token, 200)), (2, 2));
    assert!(requests.iter().all(|(_, status, _)| status != 401), "replaced before it was refused: {requests:?}");
}

#[test]
fn a_token_that_cannot_be_replaced_is_used_while_it_is_good_and_nobody_waits_for_another() {
    let account = short_lived();
    let [hasty, patient] = [PACE.answer, Duration::from_secs(60)]
        .map(|answer| account.client_with(account.options(), Pace { answer, ..PACE }, clock::now_micros));
    let mut one = hasty.channel(&RAW, TOPIC, PARTITION);
    let [mut waits, mut other] = [PARTITION + 1, PARTITION + 2].map(|number| patient.channel(&RAW, TOPIC, number));
    for channel in [&mut one, &mut waits, &mut other] {
        channel.recover().unwrap();
    }
    assert_eq!(account.emulator.requests().of(Call::Token), 2);
    thread::sleep(LIFETIME.mul_f64(0.8));
    let refused = account.emulator.inject(Fault::Unavailable { retry_after: None }.always().at(&[Call::Token]));
    for _ in 0..10 {
        thread::sleep(PACE.status);
        one.committed(&[]).unwrap();
    }
    assert_eq!(account.emulator.met(refused), 1, "tried once, and not with each call");

    account.emulator.clear_faults();
    let unanswered = account.emulator.inject(Fault::NoAnswer.always().at(&[Call::Token]));
    let asking = thread::Builder::new().spawn(move || waits.committed(&[]).is_ok()).unwrap();
    while account.emulator.met(unanswered) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    other.committed(&[]).unwrap();
    assert!(!asking.is_finished(), "the token was replaced");
    account.stop.cancel();
    asking.join().unwrap();
}

#[test]
fn a_token_that_ends_early_at_snowflake_is_replaced_once_it_is_refused() {
    /// How far both clocks are ahead: Snowflake's, and this machine's wall clock, by which its own tokens are made.
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let account = Account::new();
    let client =
        account.client_with(account.options(), PACE, || clock::now_micros() + AHEAD.load(Ordering::Relaxed) * 1_000);
    let mut channel = client.channel(&RAW, TOPIC, PARTITION);
    deliver(&mut channel, 9).unwrap();
    // Two hours pass that the token's age, which no wall clock tells, knows nothing of.
    AHEAD.store(7_200_000, Ordering::Relaxed);
    account.emulator.set_clock_offset(7_200_000);
    submit(&mut channel, Some(9), 14).unwrap();
    let requests = account.emulator.requests();
    assert_eq!((requests.of(Call::Token), requests.with(Call::Append, 401)), (2, 1));
    deliver(&mut channel, LAST).unwrap();
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_is_a_minute_off_does_no_harm() {
    for minute in [60_000, -60_000] {
        let account = Account::with(Emulated {
            commit_lag: Duration::from_millis(20),
            clock_tolerance: Duration::from_secs(1),
            ..Emulated::default()
        });
        account.emulator.set_clock_offset(minute);
        assert!(survives(&account, vec![]).is_empty());
        let requests = account.emulator.requests();
        assert_eq!(requests.with(Call::Hostname, 200), 1);
        assert_eq!(requests.with(Call::Token, 401), 0);
    }
}

#[test]
fn an_open_that_succeeds_with_a_bad_status_is_no_open() {
    let account = Account::new();
    let bad = Fault::OpenNotSuccess { code: "ERR_PIPE_IN_INVALID_STATE".into() };
    let errors = survives(&account, vec![bad.times(2)]);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].to_string().contains("ERR_PIPE_IN_INVALID_STATE"), "{errors:?}");
}

#[test]
fn a_service_that_goes_away_and_comes_back_is_gone_on_with() {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, 4).unwrap();
    account.emulator.go_away();
    let quick = Pace { patience: Duration::from_millis(300), ..PACE };
    let client = account.client_with(account.options(), quick, clock::now_micros);
    let Err(LedgerError::Unavailable(why)) = client.channel(&RAW, TOPIC, PARTITION).recover() else {
        panic!("a service that is away was opened")
    };
    assert!(why.contains("host discovery"), "{why}");
    account.emulator.come_back();
    deliver(&mut channel, 9).unwrap();
    account.emulator.go_away_for(Duration::from_millis(300)).unwrap();
    deliver(&mut channel, LAST).unwrap();
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
}

#[test]
fn commits_that_stand_still_are_seen_by_the_caller() {
    let account = Account::new();
    let mut channel = account.channel();
    deliver(&mut channel, 4).unwrap();
    account.emulator.freeze_commits(true);
    submit(&mut channel, Some(4), 9).unwrap();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(position(&mut channel).unwrap(), Some(4));
    let quick = Pace { patience: Duration::from_millis(300), ..PACE };
    let client = account.client_with(account.options(), quick, clock::now_micros);
    let Err(LedgerError::Unavailable(why)) = client.channel(&RAW, TOPIC, PARTITION).recover() else {
        panic!("rows that are not committed were passed over")
    };
    assert!(why.contains("ERR_CHANNEL_HAS_UNCOMMITTED_DATA"), "{why}");
    account.emulator.freeze_commits(false);
    deliver(&mut channel, LAST).unwrap();
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
}

#[test]
fn an_answer_that_does_not_come_is_asked_for_again() {
    let account = Account::new();
    let quick = Pace { answer: Duration::from_millis(200), ..PACE };
    let client = account.client_with(account.options(), quick, clock::now_micros);
    let mut channel = client.channel(&RAW, TOPIC, PARTITION);
    account.emulator.inject(Fault::NoAnswer.at(&[Call::Open]));
    account.emulator.inject(Fault::NoAnswer.times(2));
    account.emulator.inject(Fault::NoAnswer.at(&[Call::Status]));
    account.emulator.inject(Fault::Slow { by: Duration::from_millis(400) });
    assert!(deliver(&mut channel, LAST).unwrap().is_empty());
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
}

#[test]
fn a_service_that_stops_ends_a_wait() {
    let account = Account::new();
    let slow =
        Pace { first: Duration::from_secs(3_600), most: Duration::from_secs(3_600), patience: Duration::MAX, ..PACE };
    let client = account.client_with(account.options(), slow, clock::now_micros);
    let mut channel = client.channel(&RAW, TOPIC, PARTITION);
    channel.recover().unwrap();
    account.emulator.inject(Fault::InternalError);
    let stop = account.stop.clone();
    let waker = thread::Builder::new().spawn(move || {
        thread::sleep(Duration::from_millis(100));
        stop.cancel();
    });
    let Err(LedgerError::Unavailable(why)) = submit(&mut channel, None, 4) else { panic!("500 was taken") };
    assert!(why.contains("stopping"), "{why}");
    waker.unwrap().join().unwrap();
}

#[test]
fn a_partition_that_is_let_go_of_opens_its_channel_no_more() {
    let account = Account::new();
    let let_go = CancellationToken::new();
    let mut channel = account.channel().until(let_go.clone());
    let met = account.emulator.inject(Fault::OpenHasUncommittedData.always());
    let opening = thread::Builder::new().spawn(move || (channel.recover(), channel)).unwrap();
    while account.emulator.met(met) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    let_go.cancel();
    let (outcome, mut channel) = opening.join().unwrap();
    assert!(matches!(&outcome, Err(LedgerError::Unavailable(why)) if why.contains("let go")), "{outcome:?}");
    account.emulator.clear_faults();
    let mut owner = account.channel();
    owner.recover().unwrap();
    assert!(channel.recover().is_err());
    assert_eq!(account.emulator.channel(CHANNEL).unwrap().opens, 1);
    submit(&mut owner, None, 4).unwrap();
}

#[test]
fn another_owner_takes_over_where_the_former_was_and_the_former_hears_it() {
    let account = Account::with(Emulated { keep: Keep::Rows, ..Emulated::default() });
    let (mut former, mut owner) = (account.channel(), account.channel());
    deliver(&mut former, 9).unwrap();
    submit(&mut former, Some(9), 14).unwrap();
    owner.recover().unwrap();
    assert_eq!(position(&mut owner).unwrap(), Some(14));
    let outcome = submit(&mut former, Some(14), LAST);
    assert!(matches!(outcome, Err(LedgerError::Conflict { found: Some(14), .. })), "{outcome:?}");
    deliver(&mut owner, LAST).unwrap();
    assert_eq!(account.stored(), (0..=LAST).collect::<Vec<_>>());
}
