//! Every door of the relay's port: who may do what.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use gaitway_proto::enrolment::{ALPN_ENROL, ALPN_MQTT, Answer, Ask, CodeSecret, MAX_ANSWER, announced, framed};
use gaitway_proto::topic::Up;
use rcgen::KeyPair;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, Publish, Subscribe, SubscribeReasonCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

mod certified;
mod client;
mod memory;

use certified::{Chain, authority, enrolled, forged, hello_of_tls_1_1, now, relay, request, shake, store, tls};
use client::{Client, Relay};

/// Who comes. All call themselves `attic`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    PlainText,
    Tls11,
    NoCertificate,
    OtherAuthority,
    Expired,
    NeverIssued,
    Revoked,
    /// The agent itself.
    Attic,
    /// An agent with a certificate of its own.
    Cellar,
}

const ALL: [Who; 9] = [
    Who::PlainText,
    Who::Tls11,
    Who::NoCertificate,
    Who::OtherAuthority,
    Who::Expired,
    Who::NeverIssued,
    Who::Revoked,
    Who::Attic,
    Who::Cellar,
];

/// What they try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// MQTT, as the agent that they say they are.
    Connect(&'static str),
    /// Once connected as themselves.
    Publish(&'static str),
    Subscribe(&'static str),
    /// With a code that nobody made.
    Enrol,
    Renew,
}

const TRIED: [What; 19] = [
    What::Connect("attic"),
    What::Connect("cellar"),
    What::Publish("gaitway/v1/attic/up/hello"),
    What::Publish("gaitway/v1/attic/up/raw"),
    What::Publish("gaitway/v1/attic/up/activity"),
    What::Publish("gaitway/v1/attic/up/other"),
    What::Publish("gaitway/v1/attic/down/ack"),
    What::Publish("gaitway/v1/cellar/up/raw"),
    What::Publish("gaitway/v1/cellar/down/ack"),
    What::Publish("$SYS/x"),
    What::Subscribe("gaitway/v1/attic/down/ack"),
    What::Subscribe("gaitway/v1/attic/#"),
    What::Subscribe("gaitway/v1/attic/up/raw"),
    What::Subscribe("gaitway/v1/cellar/down/ack"),
    What::Subscribe("gaitway/v1/+/down/ack"),
    What::Subscribe("#"),
    What::Subscribe("$share/g/#"),
    What::Enrol,
    What::Renew,
];

/// The rule, as plainly as it can be said.
fn may(who: Who, what: What) -> bool {
    let (Who::Attic | Who::Cellar) = who else { return false };
    let name = if who == Who::Attic { "attic" } else { "cellar" };
    let agent = name.parse().unwrap();
    match what {
        What::Connect(as_whom) => as_whom == name,
        What::Publish(topic) => [Up::Hello, Up::Raw, Up::Activity].into_iter().any(|up| up.topic(&agent) == topic),
        What::Subscribe(filter) => filter == format!("gaitway/v1/{name}/down/ack"),
        What::Enrol => false,
        What::Renew => true,
    }
}

/// The certificates in play.
struct Keys {
    attic: certified::Certified,
    cellar: certified::Certified,
    revoked: certified::Certified,
    foreign: certified::Certified,
}

impl Keys {
    fn chain(&self, dir: &Path, who: Who) -> Chain {
        match who {
            Who::PlainText | Who::Tls11 | Who::NoCertificate => None,
            Who::OtherAuthority => self.foreign.chain(),
            Who::Expired => forged(dir, 2020),
            Who::NeverIssued => forged(dir, 2099),
            Who::Revoked => self.revoked.chain(),
            Who::Attic => self.attic.chain(),
            Who::Cellar => self.cellar.chain(),
        }
    }
}

/// A connection for MQTT, before CONNECT; none if there is none.
async fn connection(relay: &Relay, dir: &Path, keys: &Keys, who: Who, id: &str) -> Option<Client> {
    match who {
        Who::PlainText => Some(Client::dial(relay, id).await),
        Who::Tls11 => {
            let mut stream = TcpStream::connect(relay.address).await.unwrap();
            stream.write_all(&hello_of_tls_1_1()).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert_eq!(answer.first(), Some(&0x15), "an alert and the end");
            None
        }
        _ => {
            let tls = tls(&authority(dir), keys.chain(dir, who), ALPN_MQTT);
            Some(Client::over(shake(relay, &tls).await.ok()?, id))
        }
    }
}

/// Asks for a certificate; whether there was one.
async fn certified(relay: &Relay, dir: &Path, keys: &Keys, who: Who, ask: &Ask) -> bool {
    if let Who::PlainText | Who::Tls11 = who {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        let bytes = if who == Who::Tls11 { hello_of_tls_1_1() } else { framed(&ask.encode()) };
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        return !(answer.is_empty() || answer[0] == 0x15);
    }
    let tls = tls(&authority(dir), keys.chain(dir, who), ALPN_ENROL);
    let asked = async {
        let mut stream = shake(relay, &tls).await.ok()?;
        stream.write_all(&framed(&ask.encode())).await.ok()?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).await.ok()?;
        let mut payload = vec![0; announced(length, "answer", MAX_ANSWER).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        Some(Answer::decode(&payload).unwrap())
    };
    matches!(asked.await, Some(Answer::Issued(_)))
}

async fn tries(relay: &Relay, dir: &Path, keys: &Keys, who: Who, what: What) -> bool {
    let own = if who == Who::Cellar { "cellar" } else { "attic" };
    let ask_key = || request(&KeyPair::generate().unwrap());
    let id = match what {
        What::Enrol => {
            let ask = Ask::Enrol { secret: CodeSecret::from_random(7), request: ask_key() };
            return certified(relay, dir, keys, who, &ask).await;
        }
        What::Renew => return certified(relay, dir, keys, who, &Ask::Renew { request: ask_key() }).await,
        What::Connect(id) => id,
        What::Publish(_) | What::Subscribe(_) => own,
    };
    let Some(mut client) = connection(relay, dir, keys, who, id).await else { return false };
    if client.connect().await != Some(ConnectReturnCode::Success) {
        return false;
    }
    let done = match what {
        What::Publish(topic) => {
            client.send(Packet::Publish(Publish { pkid: 1, ..Publish::new(topic, QoS::AtLeastOnce, "x") })).await;
            matches!(client.receive().await, Some(Packet::PubAck(_)))
        }
        What::Subscribe(filter) => {
            client.send(Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new(filter, QoS::AtLeastOnce) })).await;
            let Some(Packet::SubAck(ack)) = client.receive().await else { panic!("{filter}") };
            ack.return_codes == [SubscribeReasonCode::Success(QoS::AtLeastOnce)]
        }
        _ => true,
    };
    client.send(Packet::Disconnect).await;
    while client.receive().await.is_some() {}
    while relay.status.connections() > 0 {
        tokio::task::yield_now().await;
    }
    done
}

#[tokio::test]
async fn every_door_of_the_port_lets_in_whom_it_should_and_nobody_else() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (relay, other) = (relay(dir.path()), certified::relay(other_dir.path()));
    let keys = Keys {
        foreign: enrolled(&other, other_dir.path(), "attic").await,
        revoked: enrolled(&relay, dir.path(), "attic").await,
        cellar: enrolled(&relay, dir.path(), "cellar").await,
        attic: {
            store(dir.path()).revoke(now(), &"attic".parse().unwrap()).unwrap();
            enrolled(&relay, dir.path(), "attic").await
        },
    };
    other.stop().await.unwrap();
    for who in ALL {
        for what in TRIED {
            assert_eq!(tries(&relay, dir.path(), &keys, who, what).await, may(who, what), "{who:?} {what:?}");
        }
    }
    relay.stop().await.unwrap();
}
