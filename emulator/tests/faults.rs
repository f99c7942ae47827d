//! Every fault over HTTPS: what a client sees of it, and what is true afterwards.

use std::time::Duration;

use gaitway_emulator::{Call, Fault, Options, Replay};
use serde_json::json;

use crate::support::{World, body, client, jwt, next, options, refusal, wait_until};

mod support;

/// An open channel `c`, one row in it, and the token for the next.
fn opened() -> (World, String) {
    let world = World::new(options());
    let token = world.open("c");
    let token = next(world.append("c", &token, 0));
    (world, token)
}

#[test]
fn a_response_that_is_lost_was_applied_and_a_resend_is_answered_alike() {
    let (world, token) = opened();
    let fault = world.emulator.inject(Fault::ResponseLost);
    let error = world.append("c", &token, 1).unwrap_err();
    assert!(!error.is_timeout() && !error.is_connect(), "{error:?}");
    assert_eq!((world.emulator.met(fault), world.numbers()), (1, vec![0, 1]));
    let token = next(world.append("c", &token, 1));
    next(world.append("c", &token, 2));
    assert_eq!(world.numbers(), [0, 1, 2]);
    assert_eq!(world.emulator.requests().with(Call::Append, 0), 1);
}

#[test]
fn a_response_that_is_lost_was_applied_and_in_the_second_mode_a_resend_is_stale() {
    let world = World::new(Options { replay: Replay::Stale, ..options() });
    let token = world.open("c");
    world.emulator.inject(Fault::ResponseLost);
    world.append("c", &token, 0).unwrap_err();
    let refused = refusal(world.append("c", &token, 0).unwrap());
    assert_eq!(refused, (400, "STALE_CONTINUATION_TOKEN_SEQUENCER".into()));
    let reopened = body(world.ask_open("c", &json!({})).send().unwrap());
    assert_eq!(reopened["channel_status"]["last_committed_offset_token"], "0");
    assert_eq!(world.numbers(), [0]);
}

#[test]
fn a_call_that_was_done_and_answered_503_is_done() {
    let (world, token) = opened();
    world.emulator.inject(Fault::DoneThenUnavailable);
    assert_eq!(world.append("c", &token, 1).unwrap().status(), 503);
    next(world.append("c", &token, 1));
    assert_eq!(world.numbers(), [0, 1]);
}

#[test]
fn a_connection_that_is_reset_before_has_done_nothing() {
    let (world, token) = opened();
    world.emulator.inject(Fault::ConnectionReset.times(1));
    let error = world.append("c", &token, 1).unwrap_err();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    assert!(cause.to_string().to_lowercase().contains("reset"), "{error:?}");
    assert_eq!(world.numbers(), [0]);
    next(world.append("c", &token, 1));
}

#[test]
fn refusals_of_an_append_have_their_status_and_code_and_nothing_is_done() {
    let (world, token) = opened();
    let cases = [
        (Fault::StaleToken, 400, "STALE_CONTINUATION_TOKEN_SEQUENCER"),
        (Fault::Unauthorized, 401, "ERR_UNAUTHORIZED"),
        (Fault::Forbidden, 403, "ERR_FORBIDDEN"),
        (Fault::NotFound, 404, "ERR_CHANNEL_DOES_NOT_EXIST_OR_NOT_AUTHORIZED"),
        (Fault::RequestTimeout, 408, "ERR_TIMEOUT"),
        (Fault::FailedOver, 410, "ERR_PIPE_FAILED_OVER"),
        (Fault::TooLarge, 413, "ERR_PAYLOAD_TOO_LARGE"),
        (Fault::TooManyRequests { retry_after: None }, 429, "ERR_TOO_MANY_REQUESTS"),
        (Fault::InternalError, 500, "ERR_INTERNAL"),
        (Fault::Unavailable { retry_after: None }, 503, "ERR_SERVICE_UNAVAILABLE"),
        (Fault::Answered { status: 418, body: r#"{"code":"ERR_TEAPOT"}"# }, 418, "ERR_TEAPOT"),
    ];
    for (fault, status, code) in cases {
        world.emulator.inject(fault);
        let answer = world.append("c", &token, 1).unwrap();
        assert_eq!(answer.headers().get("retry-after"), None);
        assert_eq!(refusal(answer), (status, code.to_owned()));
    }
    assert_eq!(world.numbers(), [0]);
    next(world.append("c", &token, 1));
}

#[test]
fn a_page_that_is_not_found_is_no_json() {
    let (world, token) = opened();
    world.emulator.inject(Fault::NotFoundPage);
    let answer = world.append("c", &token, 1).unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (404, "text/html"));
    assert!(answer.text().unwrap().starts_with("<html>"));
}

#[test]
fn a_storm_lasts_as_long_as_told_and_says_when_to_come_back() {
    let (world, token) = opened();
    for (fault, status) in
        [(Fault::TooManyRequests { retry_after: Some(3) }, 429), (Fault::Unavailable { retry_after: Some(3) }, 503)]
    {
        let storm = world.emulator.inject(fault.times(5).at(&[Call::Append, Call::Status, Call::Open]));
        for _ in 0..2 {
            assert_eq!(world.append("c", &token, 1).unwrap().status(), status);
            let answer = world.ask_status(&["c"]).send().unwrap();
            assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (status, "3"));
        }
        assert_eq!(world.ask_open("d", &json!({})).send().unwrap().status(), status);
        assert_eq!(world.emulator.met(storm), 5);
        assert_eq!(world.ask_status(&["c"]).send().unwrap().status(), 200);
    }
    let storm = world.emulator.inject(Fault::Unavailable { retry_after: None }.always());
    assert!((0..20).all(|_| world.append("c", &token, 1).unwrap().status() == 503));
    world.emulator.clear_faults();
    next(world.append("c", &token, 1));
    assert_eq!(world.emulator.met(storm), 20);
}

#[test]
fn an_open_is_refused_with_either_conflict() {
    let (world, token) = opened();
    for (fault, code) in [
        (Fault::OpenHasUncommittedData, "ERR_CHANNEL_HAS_UNCOMMITTED_DATA"),
        (Fault::OpenInProgress, "ERR_OPEN_CHANNEL_IN_PROGRESS"),
    ] {
        world.emulator.inject(fault);
        assert_eq!(refusal(world.ask_open("c", &json!({})).send().unwrap()), (409, code.into()));
    }
    next(world.append("c", &token, 1));
}

#[test]
fn an_open_can_succeed_with_a_status_that_is_no_success() {
    let (world, _) = opened();
    world.emulator.inject(Fault::OpenNotSuccess { code: "ERR_PIPE_IN_INVALID_STATE".into() });
    let answer = world.ask_open("c", &json!({})).send().unwrap();
    assert_eq!(answer.status(), 200);
    let answer = body(answer);
    assert_eq!(answer["channel_status"]["channel_status_code"], "ERR_PIPE_IN_INVALID_STATE");
    let token = answer["next_continuation_token"].as_str().unwrap();
    assert_eq!(world.append("c", token, 1).unwrap().status(), 409);
    let token = world.open("c");
    next(world.append("c", &token, 1));
}

#[test]
fn a_channel_becomes_invalid_while_it_is_idle_and_stays_so_until_it_is_opened() {
    let (world, token) = opened();
    world.open("d");
    world.emulator.inject(Fault::ChannelInvalid { code: "ERR_CHANNEL_MUST_BE_REOPENED".into() }.channel("c"));
    let statuses = body(world.ask_status(&["c", "d"]).send().unwrap());
    assert_eq!(statuses["channel_statuses"]["c"]["channel_status_code"], "ERR_CHANNEL_MUST_BE_REOPENED");
    assert_eq!(statuses["channel_statuses"]["d"]["channel_status_code"], "SUCCESS");
    assert_eq!(world.status("c")["channel_status_code"], "ERR_CHANNEL_MUST_BE_REOPENED");
    assert_eq!(world.append("c", &token, 1).unwrap().status(), 409);
    world.open("c");
    assert_eq!(world.status("c")["channel_status_code"], "SUCCESS");

    world.emulator.invalidate("d", "ERR_X");
    assert_eq!(world.status("d")["channel_status_code"], "ERR_X");
}

#[test]
fn a_wiped_channel_has_lost_its_token() {
    let (world, token) = opened();
    world.emulator.inject(Fault::ChannelWiped.channel("c").at(&[Call::Append]));
    let code = "ERR_CHANNEL_DOES_NOT_EXIST_OR_NOT_AUTHORIZED";
    assert_eq!(refusal(world.append("c", &token, 1).unwrap()), (404, code.into()));
    assert_eq!(body(world.ask_status(&["c"]).send().unwrap()), json!({"channel_statuses": {}}));
    let answer = body(world.ask_open("c", &json!({})).send().unwrap());
    assert_eq!(answer["channel_status"]["last_committed_offset_token"], json!(null));
    assert_eq!(world.numbers(), [0], "its rows are still there");
    world.emulator.wipe("c");
    assert_eq!(world.emulator.channel("c"), None);
}

#[test]
fn rows_are_rejected_on_demand_and_the_token_goes_on() {
    let (world, token) = opened();
    world.emulator.inject(Fault::RejectRows { rows: 2 });
    next(world.ask_append("c", &token, 3, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n").send());
    let status = world.status("c");
    assert_eq!((&status["rows_error_count"], &status["last_committed_offset_token"]), (&json!(2), &json!("3")));
    assert_eq!(status["last_error_offset_upper_bound"], "3");
    assert_eq!(world.numbers(), [0, 3]);
}

#[test]
fn a_slow_answer_comes_and_no_answer_does_not() {
    let (world, token) = opened();
    let hasty = client(&world.emulator, Duration::from_millis(300));
    let world = World { http: hasty, ..world };
    world.emulator.inject(Fault::NoAnswer);
    assert!(world.append("c", &token, 1).unwrap_err().is_timeout());
    assert_eq!(world.numbers(), [0]);
    assert_eq!(world.emulator.requests().with(Call::Append, 0), 1);
    world.emulator.inject(Fault::Slow { by: Duration::from_secs(3_600) }.at(&[Call::Status]));
    assert!(world.ask_status(&["c"]).send().unwrap_err().is_timeout());
    let world = World { http: client(&world.emulator, support::PATIENCE), ..world };
    world.emulator.inject(Fault::Slow { by: Duration::from_millis(20) });
    next(world.append("c", &token, 1));
    assert_eq!(world.numbers(), [0, 1]);
}

#[test]
fn a_fault_is_for_the_channel_and_the_call_that_it_names() {
    let (world, token) = opened();
    let other = world.open("d");
    let fault = world.emulator.inject(Fault::Forbidden.channel("d"));
    let token_fault = world.emulator.inject(Fault::Unauthorized.at(&[Call::Token]));
    next(world.append("c", &token, 1));
    assert_eq!(world.append("d", &other, 1).unwrap().status(), 403);
    assert_eq!(world.ask_token(&jwt(&world.emulator, 0)).send().unwrap().status(), 401);
    assert_eq!((world.emulator.met(fault), world.emulator.met(token_fault)), (1, 1));
}

#[test]
fn a_service_that_is_away_refuses_connections_and_comes_back_as_it_was() {
    let (world, token) = opened();
    world.emulator.go_away();
    assert!(world.append("c", &token, 1).unwrap_err().is_connect());
    world.emulator.come_back();
    let token = next(world.append("c", &token, 1));
    world.emulator.go_away_for(Duration::from_secs(2)).unwrap();
    assert!(world.append("c", &token, 2).unwrap_err().is_connect());
    wait_until("the service is back", || world.ask_status(&["c"]).send().is_ok());
    next(world.append("c", &token, 2));
    assert_eq!(world.numbers(), [0, 1, 2]);
    world.emulator.go_away();
}

#[test]
fn frozen_commits_stay_uncommitted_and_an_open_that_must_not_discard_waits() {
    let (world, token) = opened();
    world.emulator.freeze_commits(true);
    next(world.append("c", &token, 1));
    assert_eq!(world.status("c")["last_committed_offset_token"], "0");
    let open = || world.ask_open("c", &json!({"fail_on_uncommitted_rows": true})).send().unwrap();
    assert_eq!(refusal(open()), (409, "ERR_CHANNEL_HAS_UNCOMMITTED_DATA".into()));
    world.emulator.freeze_commits(false);
    assert_eq!(body(open())["channel_status"]["last_committed_offset_token"], "1");
    assert_eq!(world.numbers(), [0, 1]);
}

#[test]
fn the_former_owner_of_a_channel_is_fenced() {
    let (world, token) = opened();
    let owner = world.open("c");
    let refused = refusal(world.append("c", &token, 1).unwrap());
    assert_eq!(refused, (400, "STALE_CONTINUATION_TOKEN_SEQUENCER".into()));
    next(world.append("c", &owner, 1));
    assert_eq!(world.numbers(), [0, 1]);
}
