//! Certificates over real sockets: who comes in, who does not, who is thrown out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use gaitway_proto::enrolment::{ALPN_ENROL, ALPN_MQTT, Answer, Ask, CodeSecret, RELAY_NAME, Refusal, framed};
use gaitway_proto::envelope::Down;
use rcgen::KeyPair;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

mod certified;
mod client;
mod memory;

use certified::{
    Certified, ask, authority, closed, code, comes_in, counted, enrolled, enter, forged, hello_of_tls_1_1, now, relay,
    request, shake, store, tls, try_code,
};
use client::Client;

#[tokio::test]
async fn an_agent_enrols_and_its_batch_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    let attic = enrolled(&relay, dir.path(), "attic").await;
    assert_eq!(attic.issued.agent.as_str(), "attic");
    let mut client = enter(&relay, dir.path(), &attic).await;
    assert!(matches!(client.hello(1, 1).await, Some(Down::Welcome(_))));
    client.activity(1, 1, 3).await;
    assert!(matches!(client.word().await, Some(Down::Ack(ack)) if ack.up_to == 3));
    assert_eq!(relay.ledger.rows().len(), 3);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_used_code_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    let used = code(dir.path(), "attic").secret;
    assert!(try_code(&relay, dir.path(), &used).await.is_ok());
    assert_eq!(try_code(&relay, dir.path(), &used).await.err(), Some(Refusal::Used));
    assert_eq!(closed(&relay, "enrolled"), 1);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn an_expired_code_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    let old = store(dir.path()).add(now() - 900, &"attic".parse().unwrap()).unwrap().code.secret;
    assert_eq!(try_code(&relay, dir.path(), &old).await.err(), Some(Refusal::Expired));
    assert_eq!(closed(&relay, "enrolled"), 0);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_code_that_was_guessed_at_five_times_lets_nobody_in_and_who_guesses_must_wait() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    let secret = code(dir.path(), "cellar").secret;
    let alike = |n: u64| CodeSecret::from_random(u64::from(secret.selector()) << 35 | n);
    for left in (0..5_u8).rev() {
        let refused = try_code(&relay, dir.path(), &alike(left.into())).await.err();
        assert_eq!(refused, Some(Refusal::WrongCode { tries_left: Some(left) }));
    }
    assert_eq!(try_code(&relay, dir.path(), &secret).await.err(), Some(Refusal::Exhausted));
    // Six tries of this address failed; ten it has.
    let elsewhere = CodeSecret::from_random(u64::from(secret.selector() ^ 1) << 35);
    let mut refusals = Vec::new();
    for _ in 0..6 {
        refusals.push(try_code(&relay, dir.path(), &elsewhere).await.err().unwrap());
    }
    assert!(refusals.contains(&Refusal::WrongCode { tries_left: None }), "{refusals:?}");
    assert!(matches!(refusals.last(), Some(Refusal::TooMany { seconds: 1..=6 })), "{refusals:?}");
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn whoever_is_not_certified_by_this_relay_for_mqtt_does_not_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    let attic = enrolled(&relay, dir.path(), "attic").await;
    let root = authority(dir.path());
    assert!(comes_in(&relay, &tls(&root, attic.chain(), ALPN_MQTT), "attic").await);
    assert!(!comes_in(&relay, &tls(&root, attic.chain(), b"other"), "attic").await, "another protocol");

    assert!(!comes_in(&relay, &tls(&root, None, ALPN_MQTT), "attic").await, "no certificate");
    counted(&relay, "no_certificate", 1).await;

    let other_dir = tempfile::tempdir().unwrap();
    let other = certified::relay(other_dir.path());
    let foreign = enrolled(&other, other_dir.path(), "attic").await;
    assert!(!comes_in(&relay, &tls(&root, foreign.chain(), ALPN_MQTT), "attic").await, "another authority");
    counted(&relay, "certificate", 1).await;
    other.stop().await.unwrap();

    // Signed with the authority's key, but the relay has never heard of it.
    let unheard = forged(dir.path(), 2099);
    assert!(!comes_in(&relay, &tls(&root, unheard, ALPN_MQTT), "attic").await, "not in the book");
    counted(&relay, "certificate", 2).await;
    let ended = forged(dir.path(), 2020);
    assert!(!comes_in(&relay, &tls(&root, ended, ALPN_MQTT), "attic").await, "it has ended");
    counted(&relay, "certificate", 3).await;

    // The agent's certificate is no relay's.
    let stolen = attic.chain().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(stolen.0, stolen.1.into())
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let posing = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.is_ok()
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(RELAY_NAME).unwrap();
    assert!(tls(&root, None, ALPN_MQTT).connect(name, stream).await.is_err());
    assert!(!posing.await.unwrap());
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn plain_text_and_old_tls_are_closed_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    let mut plain = Client::dial(&relay, "attic").await;
    assert_eq!(plain.connect().await, None);
    counted(&relay, "plain_text", 1).await;
    let mut old = TcpStream::connect(relay.address).await.unwrap();
    old.write_all(&hello_of_tls_1_1()).await.unwrap();
    let mut answer = Vec::new();
    let _ = old.read_to_end(&mut answer).await;
    assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:?}");
    counted(&relay, "tls", 1).await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn whoever_is_certified_speaks_as_itself_only() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    let attic = enrolled(&relay, dir.path(), "attic").await;
    let root = authority(dir.path());
    for (id, user, code) in [
        ("cellar", "cellar", ConnectReturnCode::BadClientId),
        ("cellar", "attic", ConnectReturnCode::BadClientId),
        ("attic", "cellar", ConnectReturnCode::BadUserNamePassword),
        ("", "attic", ConnectReturnCode::Success),
        ("attic", "", ConnectReturnCode::Success),
    ] {
        let stream = shake(&relay, &tls(&root, attic.chain(), ALPN_MQTT)).await.unwrap();
        let mut client = Client::over(stream, "attic");
        let mut connect = Connect::new(id);
        connect.set_login(user, "x");
        assert_eq!(client.connect_as(connect).await, Some(code), "{id} {user}");
    }
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn whoever_is_revoked_is_cut_off_within_seconds_though_connected() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    let [attic, cellar] = [enrolled(&relay, dir.path(), "attic").await, enrolled(&relay, dir.path(), "cellar").await];
    let mut client = enter(&relay, dir.path(), &attic).await;
    let mut other = enter(&relay, dir.path(), &cellar).await;
    let begun = std::time::Instant::now();
    assert_eq!(store(dir.path()).revoke(now(), &"attic".parse().unwrap()).unwrap(), (1, 0));
    assert_eq!(client.receive().await, None);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!comes_in(&relay, &tls(&authority(dir.path()), attic.chain(), ALPN_MQTT), "attic").await);
    assert!(other.is_alive().await);
    assert_eq!(closed(&relay, "dishonoured"), 1);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_to_rotate_is_told_and_its_old_certificate_ends_with_the_use_of_the_new() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    let old = enrolled(&relay, dir.path(), "attic").await;
    let root = authority(dir.path());
    let mut client = enter(&relay, dir.path(), &old).await;
    assert_eq!(store(dir.path()).rotate(now(), &"attic".parse().unwrap()).unwrap(), 1);
    assert_eq!(client.word().await, Some(Down::Renew));
    assert!(client.is_alive().await);

    let key = KeyPair::generate().unwrap();
    let renew = Ask::Renew { request: request(&key) };
    let Answer::Issued(issued) = ask(&relay, dir.path(), old.chain(), &renew).await else { panic!() };
    let new = Certified { key, issued };
    assert!(client.is_alive().await, "until the new one is in use");
    assert!(comes_in(&relay, &tls(&root, old.chain(), ALPN_MQTT), "attic").await);
    assert_eq!(client.receive().await.map(|p| matches!(p, Packet::Publish(_))), Some(true), "the probe of a takeover");
    let mut newer = enter(&relay, dir.path(), &new).await;
    assert!(newer.is_alive().await);
    let begun = std::time::Instant::now();
    while comes_in(&relay, &tls(&root, old.chain(), ALPN_MQTT), "attic").await {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&relay, dir.path(), None, &renew).await, Answer::Refused(Refusal::NoCertificate));
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_recorded_enrolment_that_is_played_again_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    // Somebody on the way who keeps what the agent sends.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = listener.local_addr().unwrap();
    let to = relay.address;
    let recording = tokio::spawn(async move {
        let (mut agent, _) = listener.accept().await.unwrap();
        let mut relay = TcpStream::connect(to).await.unwrap();
        let (mut from_agent, mut to_agent) = agent.split();
        let (mut from_relay, mut to_relay) = relay.split();
        let up = async {
            let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(read @ 1..) = from_agent.read(&mut buffer).await {
                kept.extend_from_slice(&buffer[..read]);
                if to_relay.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
            kept
        };
        let down = tokio::io::copy(&mut from_relay, &mut to_agent);
        tokio::join!(up, down).0
    });
    let key = KeyPair::generate().unwrap();
    let secret = code(dir.path(), "attic").secret;
    let stream = TcpStream::connect(way).await.unwrap();
    let name = ServerName::try_from(RELAY_NAME).unwrap();
    let mut stream = tls(&authority(dir.path()), None, ALPN_ENROL).connect(name, stream).await.unwrap();
    stream.write_all(&framed(&Ask::Enrol { secret, request: request(&key) }.encode())).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(matches!(Answer::decode(&answer[2..]), Ok(Answer::Issued(_))));
    drop(stream);
    let recorded = recording.await.unwrap();
    let enrolled = closed(&relay, "enrolled");

    let mut again = TcpStream::connect(relay.address).await.unwrap();
    again.write_all(&recorded).await.unwrap();
    again.shutdown().await.unwrap();
    let mut heard = Vec::new();
    let _ = again.read_to_end(&mut heard).await;
    // The relay's part of the handshake at most: what follows is sealed with keys of another connection.
    assert_eq!(heard.first(), Some(&0x16));
    while closed(&relay, "io") + closed(&relay, "tls") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((enrolled, closed(&relay, "enrolled")), (1, 1));
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn however_many_handshakes_are_half_done_an_agent_comes_in_and_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path());
    let attic = enrolled(&relay, dir.path(), "attic").await;
    let mut half = Vec::new();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        // The head of a record and of a ClientHello, and no more.
        stream.write_all(&[0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3]).await.unwrap();
        half.push(stream);
    }
    let mut client = enter(&relay, dir.path(), &attic).await;
    assert!(matches!(client.hello(1, 1).await, Some(Down::Welcome(_))));
    client.activity(1, 1, 3).await;
    assert!(matches!(client.word().await, Some(Down::Ack(ack)) if ack.up_to == 3));
    counted(&relay, "pushed_out", 700).await;
    drop(half);
    relay.stop().await.unwrap();
}
