//! The whole relay over real sockets, with a ledger in memory.

use std::time::Duration;

use gaitway_proto::envelope::{Ack, Down};
use gaitway_proto::ledger::{Source, Stream};
use gaitway_proto::limits;
use gaitway_proto::topic::{self, Up};
use gaitway_relay::{Fenced, RelayConfig};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet, Publish, Subscribe, SubscribeReasonCode};
use rumqttc::{AsyncClient, Event, MqttOptions};

mod client;
mod memory;

use client::{Client, Relay, epoch};
use memory::Fault;

fn up_to(down: Option<Down>) -> u64 {
    match down {
        Some(Down::Ack(Ack { up_to, .. })) => up_to,
        other => panic!("not an acknowledgement: {other:?}"),
    }
}

fn position(relay: &Relay, client: &Client) -> Option<u64> {
    relay.ledger.position(&Source::stream(&client.id, epoch(), Stream::Activity))
}

#[tokio::test]
async fn a_batch_is_acknowledged_once_it_is_in_the_ledger() {
    let relay = Relay::start(|_| {});
    let mut pi = Client::enter(&relay, "pi").await;
    assert!(matches!(pi.hello(1, 4).await, Some(Down::Welcome(_))));
    pi.activity(1, 1, 2).await;
    assert_eq!(up_to(pi.word().await), 2);
    pi.activity(1, 4, 1).await;
    assert!(matches!(pi.word().await, Some(Down::Rewind { next: 3, .. })));
    pi.activity(1, 2, 3).await;
    assert_eq!(up_to(pi.word().await), 4);
    let sessions: Vec<_> = relay.ledger.rows().into_iter().map(|row| (row.seq, row.json)).collect();
    assert_eq!(sessions.len(), 4);
    assert!(sessions.iter().zip(1..).all(|((seq, json), n)| *seq == n && json.contains(&format!("\"s{n}\""))));
    assert_eq!((relay.status.committed_frames(), relay.status.agents()), (4, 1));
    let text = relay.metrics.encode();
    for line in ["gaitway_relay_frames_total 4", "gaitway_relay_duplicates_total 1", "gaitway_relay_rewinds_total 1"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    relay.stop().await.unwrap();
    assert_eq!(pi.word().await, None);
}

#[tokio::test]
async fn rumqttc_is_understood() {
    let relay = Relay::start(|_| {});
    let id = "pi".parse().unwrap();
    let mut options = MqttOptions::new("pi", "127.0.0.1", relay.address.port());
    options.set_max_packet_size(limits::MAX_PACKET, limits::MAX_PACKET);
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe(topic::down(&id), QoS::AtLeastOnce).await.unwrap();
    client.publish(Up::Raw.topic(&id), QoS::AtLeastOnce, false, vec![0; limits::MAX_PAYLOAD]).await.unwrap();
    let (mut acknowledged, mut refused) = (false, None);
    while !(acknowledged && refused.is_some()) {
        match events.poll().await.unwrap() {
            Event::Incoming(Packet::PubAck(_)) => acknowledged = true,
            Event::Incoming(Packet::Publish(publish)) => refused = Some(Down::decode(&publish.payload).unwrap()),
            _ => {}
        }
    }
    assert!(matches!(refused, Some(Down::Refused { session: 0, reason }) if reason.contains("version 0")));
    client.disconnect().await.unwrap();
    while events.poll().await.is_ok() {}
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn whoever_is_no_agent_or_calls_itself_two_names_does_not_come_in() {
    let relay = Relay::start(|_| {});
    let cases = [
        ("pi2", "pi", ConnectReturnCode::BadUserNamePassword),
        ("a/b", "a/b", ConnectReturnCode::BadClientId),
        ("#", "#", ConnectReturnCode::BadClientId),
    ];
    for (id, user, code) in cases {
        let mut client = Client::dial(&relay, "pi").await;
        let mut connect = Connect::new(id);
        connect.set_login(user, "whatever");
        assert_eq!(client.connect_as(connect).await, Some(code), "{id} {user}");
        assert_eq!(client.receive().await, None);
    }
    assert!(Client::enter(&relay, "pi").await.is_alive().await);
    let text = relay.metrics.encode();
    let counted = "gaitway_relay_closed_connections_total{reason=\"identity\"} 3";
    assert!(text.contains(counted), "{counted} in {text}");
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn whoever_does_not_say_who_it_is_takes_no_place_of_an_agents() {
    let relay = Relay::start(|config| config.max_connections = 2);
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(Client::dial(&relay, "idle").await);
    }
    let mut open = [Client::enter(&relay, "a").await, Client::enter(&relay, "b").await];
    for client in &mut open {
        assert!(client.is_alive().await);
    }
    assert_eq!(idle[0].receive().await, None, "pushed out by those after it");
    drop(idle);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_keeps_to_its_own_topics_and_others_are_unharmed() {
    let relay = Relay::start(|_| {});
    let mut other = Client::enter(&relay, "other").await;
    let mut pi = Client::enter(&relay, "pi").await;
    for filter in ["#", "gaitway/v1/other/down/ack", "gaitway/v1/+/down/ack", "$share/g/#"] {
        pi.send(Packet::Subscribe(Subscribe { pkid: 2, ..Subscribe::new(filter, QoS::AtLeastOnce) })).await;
        let Some(Packet::SubAck(ack)) = pi.receive().await else { panic!() };
        assert_eq!(ack.return_codes, [SubscribeReasonCode::Failure], "{filter}");
    }
    let publish = |topic: &str, qos| Publish { pkid: 3, ..Publish::new(topic, qos, "x") };
    let own = "gaitway/v1/pi/up/raw";
    let forbidden = [
        publish("gaitway/v1/other/up/raw", QoS::AtLeastOnce),
        publish("gaitway/v1/pi/down/ack", QoS::AtLeastOnce),
        publish("$SYS/x", QoS::AtLeastOnce),
        publish("über", QoS::AtLeastOnce),
        publish(own, QoS::ExactlyOnce),
        Publish { retain: true, ..publish(own, QoS::AtLeastOnce) },
        Publish::new(own, QoS::AtLeastOnce, vec![0; limits::MAX_PACKET]),
    ];
    for (n, mut packet) in forbidden.into_iter().enumerate() {
        packet.pkid = 3;
        let mut pi = Client::enter(&relay, &format!("pi{n}")).await;
        packet.topic = packet.topic.replace("/pi/", &format!("/pi{n}/"));
        pi.send(Packet::Publish(packet)).await;
        assert_eq!(pi.receive().await, None, "{n}");
    }
    assert!(other.is_alive().await && pi.is_alive().await);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_newer_connection_takes_over_and_the_fourth_within_a_minute_is_refused() {
    let relay = Relay::start(|_| {});
    let mut holder = Client::enter(&relay, "pi").await;
    for _ in 0..3 {
        let (newer, ()) = tokio::join!(Client::enter(&relay, "pi"), holder.is_taken_over());
        holder = newer;
    }
    let mut fourth = Client::dial(&relay, "pi").await;
    assert_eq!(fourth.connect().await, Some(ConnectReturnCode::ServiceUnavailable));
    assert_eq!(fourth.receive().await, None);
    assert!(holder.is_alive().await);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn at_the_cap_another_agent_is_told_so_and_those_connected_stay() {
    let relay = Relay::start(|config| config.max_connections = 2);
    let mut open = [Client::enter(&relay, "a").await, Client::enter(&relay, "b").await];
    for _ in 0..5 {
        let mut late = Client::dial(&relay, "c").await;
        assert_eq!(late.connect().await, Some(ConnectReturnCode::ServiceUnavailable));
        assert_eq!(late.receive().await, None);
    }
    let [a, _] = &mut open;
    let (newer, ()) = tokio::join!(Client::enter(&relay, "a"), a.is_taken_over());
    *a = newer;
    for client in &mut open {
        assert!(client.is_alive().await);
    }
    drop(open);
    while relay.status.connections() > 0 {
        tokio::task::yield_now().await;
    }
    Client::enter(&relay, "c").await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_refused_with_a_reason() {
    let relay = Relay::start(|_| {});
    let mut pi = Client::enter(&relay, "pi").await;
    for (up, payload, why) in [
        (Up::Hello, vec![2, 0, 0, 0, 0], "version 2"),
        (Up::Raw, vec![1, 0, 0, 0, 0], "checksum"),
        (Up::Activity, vec![], "empty"),
    ] {
        pi.publish(up, payload).await;
        let word = pi.word().await;
        assert!(matches!(&word, Some(Down::Refused { session: 0, reason }) if reason.contains(why)), "{word:?}");
    }
    pi.hello(1, 1).await;
    let batch = gaitway_proto::envelope::Batch {
        session: 1,
        epoch: epoch(),
        stream: Stream::Activity,
        first: 1,
        items: vec![gaitway_proto::envelope::Item::Frame(client::frame(1).into())],
    };
    pi.publish(Up::Raw, batch.encode()).await;
    assert!(
        matches!(pi.word().await, Some(Down::Refused { session: 1, reason }) if reason.contains("on the topic of"))
    );
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_ledger_error_the_agent_says_hello_again_and_nothing_is_stored_twice() {
    let relay = Relay::start(|_| {});
    let mut pi = Client::enter(&relay, "pi").await;
    pi.hello(1, 1).await;
    for (fault, first) in [(Fault::StoredButUnavailable, 1), (Fault::Unavailable, 3), (Fault::Conflict, 5)] {
        relay.ledger.inject(fault);
        pi.activity(first, first, 2).await;
        assert_eq!(pi.word().await, Some(Down::HelloAgain { session: first }));
        assert!(!relay.health.report().ready);
        assert!(relay.status.error().is_some());
        assert!(matches!(pi.hello(first + 2, first + 2).await, Some(Down::Welcome(_))));
        // What was stored in spite of the error is acknowledged again, not stored again.
        pi.activity(first + 2, first, 2).await;
        assert_eq!(up_to(pi.word().await), first + 1);
    }
    assert_eq!(position(&relay, &pi), Some(6));
    assert_eq!(relay.ledger.rows().len(), 6);
    assert!(relay.health.report().ready && relay.status.error().is_none());
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn at_shutdown_the_commit_under_way_is_finished_and_acknowledged() {
    let relay = Relay::start(|_| {});
    let mut pi = Client::enter(&relay, "pi").await;
    pi.hello(1, 1).await;
    relay.ledger.delay(Duration::from_millis(300));
    pi.activity(1, 1, 3).await;
    while relay.status.waiting_bytes() == 0 {
        tokio::task::yield_now().await;
    }
    let ledger = relay.ledger.clone();
    relay.shutdown.cancel();
    assert_eq!(up_to(pi.word().await), 3);
    assert_eq!(pi.word().await, None);
    assert_eq!(ledger.rows().len(), 3);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_relay_replaced_by_another_ends_with_a_reason_of_its_own() {
    let relay = Relay::start(|_| {});
    let mut pi = Client::enter(&relay, "pi").await;
    pi.hello(1, 1).await;
    relay.ledger.inject(Fault::Fenced);
    pi.activity(1, 1, 1).await;
    let error = relay.task.await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<Fenced>(), Some(&Fenced("injected".to_owned())), "{error:#}");
}

#[tokio::test]
async fn without_tls_the_relay_keeps_to_loopback() {
    let config = RelayConfig { mqtt: "0.0.0.0:0".parse().unwrap(), tls: Some(false), ..RelayConfig::default() };
    let error = gaitway_relay::bind(&config).unwrap_err().to_string();
    assert!(error.contains("without TLS"), "{error}");
}
