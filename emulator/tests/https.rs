//! Every call over HTTPS, as a REST client makes it.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use gaitway_emulator::{BodyForm, Call, Emulator, Fault, Keep, Look, Options};
use serde_json::json;

use crate::support::{PATIENCE, TOKEN_TYPE, World, body, client, jwt, key_pair, next, options, refusal};

mod support;

#[test]
fn a_client_that_does_not_trust_the_test_ca_gets_nowhere() {
    let one = Emulator::start(options()).unwrap();
    let other = Emulator::start(options()).unwrap();
    let error = client(&other, PATIENCE).get(one.url()).send().unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(client(&one, PATIENCE).get(one.url()).send().unwrap().status(), 404);
}

#[test]
fn localhost_is_a_name_of_the_emulator_too() {
    let emulator = Emulator::start(options()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    emulator.write_ca(&dir.path().join("ca.pem")).unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("ca.pem")).unwrap(), emulator.ca_pem());
    let url = format!("https://localhost:{}/v2/streaming/hostname", emulator.port());
    assert_eq!(client(&emulator, PATIENCE).get(url).send().unwrap().status(), 401);
}

#[test]
fn the_host_and_the_token_come_in_both_forms() {
    let sdk = "SnowpipeStreamingSDK/v1.9.1 (linux unix x86_64) PYTHON/3.11.7";
    for (form, agent, bare) in [
        (BodyForm::Auto, "gaitway", false),
        (BodyForm::Auto, sdk, true),
        (BodyForm::Json, sdk, false),
        (BodyForm::Bare, "gaitway", true),
    ] {
        let world = World::without_token(Options { body_form: form, ..options() });
        let jwt = jwt(&world.emulator, 0);
        let host = key_pair(world.get("/v2/streaming/hostname"), &jwt).header("user-agent", agent);
        let host = host.send().unwrap().text().unwrap();
        let token = world.ask_token(&jwt).header("user-agent", agent).send().unwrap().text().unwrap();
        if bare {
            assert_eq!(host, "127.0.0.1");
            assert_eq!(token.split('.').count(), 3, "a JWT");
        } else {
            assert_eq!(host, json!({"hostname": format!("127.0.0.1:{}", world.emulator.port())}).to_string());
            assert!(token.starts_with("{\"token\":\""), "{token}");
        }
    }
}

#[test]
fn a_hostname_with_an_underscore_is_asked_for_with_a_dash() {
    let world = World::without_token(Options { hostname: Some("my_host".into()), ..options() });
    let jwt = jwt(&world.emulator, 0);
    let host = key_pair(world.get("/v2/streaming/hostname"), &jwt).send().unwrap();
    assert_eq!(body(host), json!({"hostname": "my_host"}));
    let ask = |scope: &str| {
        let body = format!("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&scope={scope}");
        key_pair(world.post("/oauth/token"), &jwt).body(body).send().unwrap().status().as_u16()
    };
    assert_eq!((ask("my-host"), ask("my_host"), ask("elsewhere"), ask("")), (200, 200, 400, 400));
}

#[test]
fn an_append_is_taken_and_then_committed() {
    let world = World::new(Options { commit_lag: Duration::from_secs(3_600), ..options() });
    let token = world.open("c");
    next(world.append("c", &token, 7));
    assert_eq!(world.status("c")["last_committed_offset_token"], json!(null));
    assert_eq!((world.emulator.uncommitted(), world.numbers()), (1, vec![]));

    let world = World::new(options());
    let token = world.open("c");
    next(world.append("c", &token, 7));
    let status = world.status("c");
    assert_eq!(status["last_committed_offset_token"], "7");
    assert_eq!((&status["rows_inserted"], &status["channel_status_code"]), (&json!(1), &json!("SUCCESS")));
    assert_eq!((world.emulator.uncommitted(), world.numbers()), (0, vec![7]));
    assert_eq!(world.emulator.channel("c").unwrap().appends, 1);
}

#[test]
fn bodies_come_plain_in_zstd_and_in_gzip() {
    let world = World::new(options());
    let rows = b"{\"N\":1}\n\n{\"n\":2}\n";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(rows).unwrap();
    let bodies = [
        ("identity", rows.to_vec()),
        ("zstd", zstd::encode_all(rows.as_slice(), 1).unwrap()),
        ("gzip", gzip.finish().unwrap()),
    ];
    let mut token = world.open("c");
    for (encoding, rows) in bodies {
        token = next(world.ask_append("c", &token, 1, rows).header("content-encoding", encoding).send());
    }
    assert_eq!(world.numbers(), [1, 2, 1, 2, 1, 2]);
    for (encoding, expected) in [("zstd", 400), ("gzip", 400), ("br", 415)] {
        let broken = world.ask_append("c", &token, 1, "{\"n\":1}").header("content-encoding", encoding).send();
        assert_eq!(broken.unwrap().status(), expected, "{encoding}");
    }
}

#[test]
fn an_append_of_more_than_four_megabytes_on_the_wire_is_refused() {
    let world = World::new(options());
    let token = world.open("c");
    let row = |length: usize| format!("{{\"name\":\"{}\"}}", "x".repeat(length - 11));
    let most = 4_000_000;
    let refused = world.ask_append("c", &token, 1, row(most + 1)).send().unwrap();
    assert_eq!(refusal(refused), (413, "ERR_PAYLOAD_TOO_LARGE".into()));
    next(world.ask_append("c", &token, 1, row(most)).send());
    assert_eq!(world.emulator.count("S", "T"), 1);
}

#[test]
fn more_appends_than_allowed_in_a_second_are_refused_where_that_is_asked_for() {
    let world = World::new(Options { requests_per_second: Some(1), ..options() });
    let mut token = world.open("c");
    // Two of many in a row come within a second on any machine.
    let refused = (0..100).find_map(|n| {
        let answer = world.append("c", &token, n).unwrap();
        if answer.status() == 429 {
            return Some(refusal(answer));
        }
        token = next(Ok(answer));
        None
    });
    assert_eq!(refused, Some((429, "ERR_TOO_MANY_REQUESTS".into())));
}

#[test]
fn bad_rows_are_skipped_and_counted() {
    let world = World::new(options());
    let token = world.open("c");
    next(world.ask_append("c", &token, 5, "{\"n\":1}\n[]\n{\"n\":\"x\"}\n{\"n\":4,\"more\":1}\n").send());
    let status = world.status("c");
    assert_eq!((&status["rows_parsed"], &status["rows_error_count"]), (&json!(4), &json!(2)));
    assert_eq!(status["last_error_offset_upper_bound"], "5");
    assert_eq!(status["last_committed_offset_token"], "5");
    assert!(status["last_error_timestamp_ms"].is_u64());
    assert_eq!(world.numbers(), [1, 4]);
    assert!(!world.emulator.rows("S", "T")[1].contains_key("more"));
}

#[test]
fn a_channel_is_opened_asked_for_and_dropped_by_its_very_name() {
    let world = World::new(options());
    world.open("a%20b%2Fc%2Bd");
    let name = "a b/c+d";
    let statuses = body(world.ask_status(&[name, "unknown"]).send().unwrap());
    let statuses = statuses["channel_statuses"].as_object().unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [name]);
    assert_eq!(statuses[name]["channel_name"], name);
    let dropped = world.drop_channel("a%20b%2Fc%2Bd");
    assert_eq!((dropped.status().as_u16(), body(dropped)), (200, json!({})));
    assert_eq!(world.drop_channel("none").status(), 404);
    assert_eq!(world.emulator.channel(name), None);
}

#[test]
fn only_a_good_token_opens_a_call() {
    let mut world = World::new(options());
    let account = |token: &str| key_pair(world.get("/v2/streaming/hostname"), token).send().unwrap().status();
    assert_eq!(account(&jwt(&world.emulator, 0)), 200);
    assert_eq!(account(&world.token), 401, "a scoped token is none of the account's");
    let good = jwt(&world.emulator, 0);
    for kind in [None, Some("OAUTH")] {
        let request = world.get("/v2/streaming/hostname").bearer_auth(&good);
        let request = kind.into_iter().fold(request, |request, kind| request.header(TOKEN_TYPE, kind));
        assert_eq!(refusal(request.send().unwrap()), (401, "390144".into()), "{kind:?}");
    }
    let unsigned = world.get("/v2/streaming/hostname").send().unwrap();
    assert_eq!(unsigned.status(), 401);
    world.token = good;
    assert_eq!(world.ask_open("c", &json!({})).send().unwrap().status(), 401, "a key-pair JWT is not scoped");
}

#[test]
fn a_clock_that_is_off_is_noticed() {
    let world = World::new(options());
    let ask = |skew| world.ask_token(&jwt(&world.emulator, skew)).send().unwrap().status().as_u16();
    assert_eq!((ask(-50), ask(50)), (200, 200));
    assert_eq!((ask(-3_600), ask(120)), (401, 401));
    // The same client, the emulator's clock off.
    world.emulator.set_clock_offset(-120_000);
    assert_eq!(ask(0), 401);
    world.emulator.set_clock_offset(3_600_000);
    assert_eq!(ask(0), 401);
    world.emulator.set_clock_offset(0);
    assert_eq!(ask(0), 200);
    let strict = World::without_token(Options { clock_tolerance: Duration::from_secs(1), ..options() });
    assert_eq!(strict.ask_token(&jwt(&strict.emulator, 50)).send().unwrap().status(), 401);
}

#[test]
fn a_scoped_token_expires() {
    let mut world = World::new(Options { scoped_token_lifetime: Duration::from_secs(60), ..options() });
    let token = world.open("c");
    world.emulator.set_clock_offset(60_000);
    assert_eq!(world.append("c", &token, 1).unwrap().status(), 401);
    assert_eq!(world.ask_status(&["c"]).send().unwrap().status(), 401);
    world.token = world.scoped_token();
    next(world.append("c", &token, 1));
}

#[test]
fn counts_alone_are_kept_where_that_is_asked_for() {
    let world = World::new(Options { keep: Keep::Counts(Look::Lines), ..options() });
    let token = world.open("c");
    next(world.ask_append("c", &token, 1, "{\"n\":1}\n{\"n\":2}\n").send());
    assert_eq!((world.numbers(), world.emulator.count("S", "T")), (vec![], 2));
}

#[test]
fn requests_are_counted_by_kind_and_status() {
    let world = World::new(options());
    let token = world.open("c");
    world.append("c", &token, 1).unwrap();
    world.append("c", "9_9", 1).unwrap();
    world.get("/nothing").send().unwrap();
    let requests = world.emulator.requests();
    let counts: Vec<_> = requests.iter().collect();
    assert_eq!(
        counts,
        [
            (Call::Token, 200, 1),
            (Call::Open, 200, 1),
            (Call::Append, 200, 1),
            (Call::Append, 400, 1),
            (Call::Other, 404, 1)
        ]
    );
    assert_eq!(requests.of(Call::Append), 2);
    let statuses: Vec<_> = requests.appends().map(|append| append.status).collect();
    assert_eq!(statuses, [200, 400]);
}

#[test]
fn statements_are_answered_at_once_or_polled() {
    let world = World::new(options());
    let token = world.open("c");
    next(world.append("c", &token, 1));
    let answer = body(world.statement("SELECT count(*) FROM S.T"));
    assert_eq!((&answer["data"], &answer["code"]), (&json!([["1"]]), &json!("090001")));
    assert_eq!(body(world.statement("SELECT CURRENT_ROLE()"))["data"], json!([["INGEST_ROLE"]]));
    assert_eq!(refusal(world.statement("SELECT count(*) FROM S.X")), (422, "002003".into()));

    world.emulator.inject(Fault::StatementPending.times(2));
    let started = world.statement("DESC TABLE S.T");
    assert_eq!(started.status(), 202);
    let path = body(started)["statementStatusUrl"].as_str().unwrap().to_owned();
    let poll = || world.get(&path).bearer_auth(jwt(&world.emulator, 0)).send().unwrap();
    assert_eq!(poll().status(), 202);
    let done = poll();
    assert_eq!(done.status(), 200);
    assert_eq!(body(done)["data"][0], json!(["N", "NUMBER(19,0)", "COLUMN", "Y"]));
    let none = world.get("/api/v2/statements/none").bearer_auth(jwt(&world.emulator, 0)).send().unwrap();
    assert_eq!(none.status(), 404);
}

#[test]
fn two_emulators_at_a_time_do_not_know_each_other() {
    let (one, other) = (World::new(options()), World::new(options()));
    one.open("c");
    assert_eq!(other.emulator.channel("c"), None);
    assert_ne!(one.emulator.port(), other.emulator.port());
}

#[test]
fn an_emulator_that_is_dropped_is_gone() {
    let world = World::new(options());
    let address = ("127.0.0.1", world.emulator.port());
    drop(world);
    assert!(std::net::TcpStream::connect(address).is_err());
}
