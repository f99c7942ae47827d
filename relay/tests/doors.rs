//! Every door of the relay's port: who may do what.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::Ipv4Addr;
use std::path::Path;

use gaitway_proto::enrolment::{
    ALPN_ENROL, ALPN_MQTT, Answer, Ask, CodeSecret, MAX_ANSWER, RELAY_NAME, Refusal, announced, framed,
};
use gaitway_proto::topic::Up;
use rcgen::KeyPair;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, Publish, Subscribe, SubscribeReasonCode};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

mod certified;
mod client;
mod memory;

use certified::{Chain, authority, enrolled, forged, hello_of_tls_1_1, now, relay, request, shake, store, tls};
use client::{Carrier, Client, Relay};

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
    /// As an agent that nobody else is.
    Enrol(Brought),
    Renew,
    /// HTTP, as whoever looks for health, metrics or something to administer.
    Http(&'static str),
}

/// A code to enrol with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brought {
    /// Made a moment ago.
    Good,
    /// It made a certificate before.
    Used,
    /// It was made more than fifteen minutes ago.
    Old,
    /// It was tried wrongly five times.
    Spoiled,
    /// Nobody made it.
    Guessed,
}

const TRIED: [What; 35] = [
    What::Connect("attic"),
    What::Connect("cellar"),
    What::Publish("gaitway/v1/attic/up/hello"),
    What::Publish("gaitway/v1/attic/up/raw"),
    What::Publish("gaitway/v1/attic/up/activity"),
    What::Publish("gaitway/v1/attic/up/other"),
    What::Publish("gaitway/v1/attic/down/ack"),
    What::Publish("gaitway/v1/attic/up/#"),
    What::Publish("gaitway/v1/cellar/up/hello"),
    What::Publish("gaitway/v1/cellar/up/raw"),
    What::Publish("gaitway/v1/cellar/up/activity"),
    What::Publish("gaitway/v1/+/up/raw"),
    What::Publish("gaitway/v1/cellar/down/ack"),
    What::Publish("$SYS/x"),
    What::Subscribe("gaitway/v1/attic/down/ack"),
    What::Subscribe("gaitway/v1/attic/#"),
    What::Subscribe("gaitway/v1/attic/down/#"),
    What::Subscribe("gaitway/v1/attic/down/+"),
    What::Subscribe("gaitway/v1/attic/up/raw"),
    What::Subscribe("gaitway/v1/cellar/down/ack"),
    What::Subscribe("gaitway/v1/+/down/ack"),
    What::Subscribe("#"),
    What::Subscribe("$share/g/#"),
    What::Subscribe("$share/g/gaitway/v1/attic/down/ack"),
    What::Subscribe("$SYS/#"),
    What::Enrol(Brought::Good),
    What::Enrol(Brought::Used),
    What::Enrol(Brought::Old),
    What::Enrol(Brought::Spoiled),
    What::Enrol(Brought::Guessed),
    What::Renew,
    What::Http("GET /metrics"),
    What::Http("GET /readyz"),
    What::Http("GET /agents"),
    What::Http("POST /admin"),
];

/// The rule, as plainly as it can be said.
fn may(who: Who, what: What) -> bool {
    let shows_nothing_bad = matches!(who, Who::NoCertificate | Who::Attic | Who::Cellar);
    if what == What::Enrol(Brought::Good) {
        return shows_nothing_bad;
    }
    let (Who::Attic | Who::Cellar) = who else { return false };
    let name = if who == Who::Attic { "attic" } else { "cellar" };
    let agent = name.parse().unwrap();
    match what {
        What::Connect(as_whom) => as_whom == name,
        What::Publish(topic) => [Up::Hello, Up::Raw, Up::Activity].into_iter().any(|up| up.topic(&agent) == topic),
        What::Subscribe(filter) => filter == format!("gaitway/v1/{name}/down/ack"),
        What::Enrol(_) | What::Http(_) => false,
        What::Renew => true,
    }
}

/// The certificates and codes in play.
struct Keys {
    attic: certified::Certified,
    cellar: certified::Certified,
    revoked: certified::Certified,
    foreign: certified::Certified,
    codes: Codes,
}

/// Codes that let nobody in.
struct Codes {
    used: CodeSecret,
    old: CodeSecret,
    spoiled: CodeSecret,
    guessed: CodeSecret,
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
async fn connection(relay: &Relay, dir: &Path, keys: &Keys, who: Who) -> Option<Box<dyn Carrier>> {
    match who {
        Who::PlainText => Some(Box::new(TcpStream::connect(relay.address).await.unwrap())),
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
            Some(Box::new(shake(relay, &tls).await.ok()?))
        }
    }
}

/// From a place of its own: one that tried too many codes would have to wait.
async fn somewhere(relay: &Relay, place: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 1, place), 0).into()).unwrap();
    socket.connect(relay.address).await.unwrap()
}

/// Asks for a certificate; whether there was one.
async fn certified(relay: &Relay, dir: &Path, keys: &Keys, who: Who, ask: &Ask) -> bool {
    let mut stream = somewhere(relay, who as u8 + 1).await;
    if let Who::PlainText | Who::Tls11 = who {
        let bytes = if who == Who::Tls11 { hello_of_tls_1_1() } else { framed(&ask.encode()) };
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        return !(answer.is_empty() || answer[0] == 0x15);
    }
    let tls = tls(&authority(dir), keys.chain(dir, who), ALPN_ENROL);
    let asked = async {
        let mut stream = tls.connect(ServerName::try_from(RELAY_NAME).unwrap(), stream).await.ok()?;
        stream.write_all(&framed(&ask.encode())).await.ok()?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).await.ok()?;
        let mut payload = vec![0; announced(length, "answer", MAX_ANSWER).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        Some(Answer::decode(&payload).unwrap())
    };
    matches!(asked.await, Some(Answer::Issued(_)))
}

/// Whether HTTP is spoken there.
async fn is_http(stream: &mut Box<dyn Carrier>, request: &str) -> bool {
    let request = format!("{request} HTTP/1.1\r\nHost: relay\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // The relay may close before it has read all.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.flush().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer.starts_with(b"HTTP/")
}

/// A code for the agent `porch` that was made `seconds` ago.
fn code_for_porch(dir: &Path, seconds: i64) -> CodeSecret {
    store(dir).add(now() - seconds, &"porch".parse().unwrap()).unwrap().code.secret
}

/// A secret that begins as `secret` does.
fn alike(secret: &CodeSecret, n: u64) -> CodeSecret {
    CodeSecret::from_random(u64::from(secret.selector()) << 35 | n)
}

impl Codes {
    async fn make(relay: &Relay, dir: &Path) -> Self {
        let (used, old, spoiled) = (code_for_porch(dir, 0), code_for_porch(dir, 900), code_for_porch(dir, 0));
        assert!(certified::try_code(relay, dir, &used).await.is_ok());
        for n in 0..5 {
            let refused = certified::try_code(relay, dir, &alike(&spoiled, n)).await.err();
            assert!(matches!(refused, Some(Refusal::WrongCode { tries_left: Some(_) })), "{refused:?}");
        }
        let guessed = CodeSecret::from_random(u64::from(code_for_porch(dir, 0).selector() ^ 1) << 35 | 7);
        Self { used, old, spoiled, guessed }
    }

    fn secret(&self, dir: &Path, code: Brought) -> CodeSecret {
        match code {
            Brought::Good => code_for_porch(dir, 0),
            Brought::Used => self.used.clone(),
            Brought::Old => self.old.clone(),
            Brought::Spoiled => self.spoiled.clone(),
            Brought::Guessed => self.guessed.clone(),
        }
    }
}

async fn tries(relay: &Relay, dir: &Path, keys: &Keys, who: Who, what: What) -> bool {
    let own = if who == Who::Cellar { "cellar" } else { "attic" };
    let ask_key = || request(&KeyPair::generate().unwrap());
    let id = match what {
        What::Enrol(code) => {
            let ask = Ask::Enrol { secret: keys.codes.secret(dir, code), request: ask_key() };
            return certified(relay, dir, keys, who, &ask).await;
        }
        What::Http(request) => {
            let Some(mut stream) = connection(relay, dir, keys, who).await else { return false };
            return is_http(&mut stream, request).await;
        }
        What::Renew => return certified(relay, dir, keys, who, &Ask::Renew { request: ask_key() }).await,
        What::Connect(id) => id,
        What::Publish(_) | What::Subscribe(_) => own,
    };
    let Some(stream) = connection(relay, dir, keys, who).await else { return false };
    let mut client = Client::over(stream, id);
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
        codes: Codes::make(&relay, dir.path()).await,
    };
    other.stop().await.unwrap();
    for who in ALL {
        for what in TRIED {
            assert_eq!(tries(&relay, dir.path(), &keys, who, what).await, may(who, what), "{who:?} {what:?}");
        }
    }
    relay.stop().await.unwrap();
}
