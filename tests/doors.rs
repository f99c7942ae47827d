//! Every door for phones and for who looks after a service: who may do what, over real sockets. The relay's port has a table
//! of its own, `relay/tests/doors.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use harness::await_that;
use harness::house::admin;
use harness::phone::Phone;
use harness::process::Process;
use harness::warehouse::{assert_no_duplicates, message_ids};
use nix::sys::signal::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// Without a token.
    Stranger,
    /// With a token that nobody made.
    Guesser,
    /// With a token that was revoked.
    Revoked,
    /// With Anna's token, on another phone.
    OtherPhone,
    /// A page of another site in a browser, on Anna's phone, with her token.
    WebPage,
    /// As that page, whose name leads to this machine now.
    Rebound,
    /// A page on this machine under a name of the network, which any neighbour may have lead here.
    Neighbour,
    /// Without a token, through a proxy on this machine.
    Proxied,
    /// The same, a browser that came by a link.
    Reader,
    /// With Anna's token, in plain text; where HTTPS is spoken that is another than Anna.
    PlainText,
    /// A client of TLS 1.1.
    Tls11,
    Anna,
    Ben,
}

const ALL: [Who; 13] = [
    Who::Stranger,
    Who::Guesser,
    Who::Revoked,
    Who::OtherPhone,
    Who::WebPage,
    Who::Rebound,
    Who::Neighbour,
    Who::Proxied,
    Who::Reader,
    Who::PlainText,
    Who::Tls11,
    Who::Anna,
    Who::Ben,
];

/// Where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    InPath,
    Bare,
    Bearer,
    Basic,
}

/// What they try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A push to this path.
    Push(&'static str, Token),
    /// Another request of this method and path.
    Other(&'static str, &'static str),
}

const TRIED: [What; 31] = [
    What::Push("/data", Token::InPath),
    What::Push("/data", Token::Bare),
    What::Push("/data", Token::Bearer),
    What::Push("/data", Token::Basic),
    What::Push("/sensor-data", Token::InPath),
    What::Push("/sensor-data", Token::Bearer),
    What::Other("GET", "/data"),
    What::Other("PUT", "/data"),
    What::Other("DELETE", "/data"),
    What::Other("GET", "/healthz"),
    What::Other("GET", "/readyz"),
    What::Other("GET", "/metrics"),
    What::Other("POST", "/metrics"),
    What::Other("GET", "/agents"),
    What::Other("GET", "/phones.json"),
    What::Other("GET", "/data/../phones.json"),
    What::Other("GET", "/identity.json"),
    What::Other("GET", "/spool.db"),
    What::Other("POST", "/admin"),
    What::Other("GET", "/readers.json"),
    What::Other("GET", "/"),
    What::Other("POST", "/"),
    What::Other("GET", "/api/v1/status"),
    What::Other("GET", "/api/v1/phones"),
    What::Other("GET", "/api/v1/phones/nobody/windows"),
    What::Other("GET", "/api/v1/openapi.json"),
    What::Other("GET", "/api/v2"),
    What::Other("GET", "/setup"),
    What::Other("POST", "/setup"),
    What::Other("GET", "/enter/0123456789abcdefghjk"),
    What::Other("POST", "/enter/0123456789abcdefghjk"),
];

/// What is answered; nothing to who speaks no TLS that is spoken here.
type Answer = Option<u16>;

/// The rule for the phones' door, as plainly as it can be said.
fn allowed(is_https: bool, who: Who, what: What) -> Answer {
    if is_https && who == Who::PlainText {
        return Some(499);
    }
    match (who, what) {
        (Who::Tls11, _) => None,
        (who, What::Push(..)) => Some(match who {
            Who::Anna | Who::Ben | Who::PlainText => 200,
            Who::WebPage | Who::Rebound => 403,
            _ => 499,
        }),
        (_, What::Other(_, "/data")) => Some(405),
        (Who::Rebound, What::Other(_, path)) if is_shown(path) => Some(421),
        (_, What::Other("GET", "/healthz" | "/readyz" | "/metrics")) => Some(200),
        (_, What::Other(_, path)) if path.starts_with("/enter/") => Some(403),
        (Who::Proxied | Who::Neighbour, What::Other(_, path))
            if matches!(path, "/" | "/setup") || path.starts_with("/api/") =>
        {
            Some(403)
        }
        // A phone is added by the page's own form alone.
        (_, What::Other("POST", "/setup")) => Some(403),
        (_, What::Other("POST", "/" | "/metrics")) => Some(405),
        (_, What::Other("GET", "/" | "/setup" | "/api/v1/status" | "/api/v1/phones" | "/api/v1/openapi.json")) => {
            Some(200)
        }
        (_, What::Other(..)) => Some(404),
    }
}

/// What the agent shows, under its own names alone.
fn is_shown(path: &str) -> bool {
    let is_page = path.starts_with("/enter/") || path.starts_with("/api/");
    is_page || matches!(path, "/" | "/setup" | "/healthz" | "/readyz" | "/metrics")
}

/// The rule for the relay's admin address: what it has is for whoever reaches it, and nothing can be changed there.
fn allowed_at_admin(who: Who, what: What) -> Answer {
    match (who, what) {
        (Who::Tls11, _) => None,
        (_, What::Other("GET", "/healthz" | "/readyz" | "/metrics" | "/agents")) => Some(200),
        (_, What::Other("POST", "/metrics")) => Some(405),
        _ => Some(404),
    }
}

/// A door and those who stand before it.
struct Door {
    /// HOST:PORT.
    address: String,
    /// Whom HTTPS is spoken as.
    tls: Option<Arc<ClientConfig>>,
    tokens: BTreeMap<Who, String>,
    /// Of a browser that came by a link.
    cookie: String,
    anna: Phone,
    ben: Phone,
    stranger: Phone,
    /// Of the next push.
    next: u64,
    /// What was answered 200: numbers of messages of Anna and of Ben.
    taken: [Vec<u64>; 2],
}

impl Door {
    fn phone(&self, who: Who) -> &Phone {
        match who {
            Who::Anna | Who::WebPage | Who::Rebound | Who::PlainText => &self.anna,
            Who::Ben => &self.ben,
            _ => &self.stranger,
        }
    }

    /// Bytes of one request.
    fn request(&self, who: Who, what: What, id: u64) -> String {
        let token = self.tokens.get(&who).cloned().unwrap_or_default();
        let (method, path, body, authorization) = match what {
            What::Other(method, path) => (method, path.to_owned(), String::new(), None),
            What::Push(path, place) => {
                let phone = self.phone(who);
                let body = phone.body(id, &phone.message(id));
                let (path, authorization) = match place {
                    _ if token.is_empty() => (path.to_owned(), None),
                    Token::InPath => (format!("{path}/{token}"), None),
                    Token::Bare => (path.to_owned(), Some(token)),
                    Token::Bearer => (path.to_owned(), Some(format!("Bearer {token}"))),
                    Token::Basic => (path.to_owned(), Some(format!("Basic {}", base64(&format!("phone:{token}"))))),
                };
                ("POST", path, body, authorization)
            }
        };
        let host = match who {
            Who::Rebound => "page.example",
            Who::Neighbour => "evil.local",
            _ => "localhost",
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        if let Some(authorization) = authorization {
            let _ = write!(head, "Authorization: {authorization}\r\n");
        }
        head.push_str(match who {
            Who::WebPage => "Origin: https://page.example\r\nSec-Fetch-Site: cross-site\r\n",
            Who::Rebound => "Origin: http://page.example\r\nSec-Fetch-Site: same-origin\r\n",
            Who::Neighbour => "Origin: http://evil.local\r\nSec-Fetch-Site: same-origin\r\n",
            Who::Proxied | Who::Reader => "X-Forwarded-For: 192.0.2.7\r\n",
            _ => "",
        });
        if who == Who::Reader {
            let _ = write!(head, "Cookie: {}\r\n", self.cookie);
        }
        format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn answer(&self, who: Who, request: &str) -> (Answer, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let answer = match (&self.tls, who) {
            (_, Who::Tls11) => exchange(&mut stream, &hello_of_tls_1_1()),
            (Some(tls), who) if who != Who::PlainText => {
                let name = ServerName::try_from("localhost").unwrap();
                let client = ClientConnection::new(tls.clone(), name).unwrap();
                exchange(&mut StreamOwned::new(client, stream), request.as_bytes())
            }
            _ => exchange(&mut stream, request.as_bytes()),
        };
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].parse().unwrap());
        if status.is_none() {
            assert_eq!(who, Who::Tls11, "{text:?}");
            let is_alert = answer.first() == Some(&0x15);
            assert!(is_alert || answer.is_empty(), "{text:?}");
        }
        // Tls11 may hear in plain text that this is no HTTP.
        (status.filter(|status| !(who == Who::Tls11 && *status == 400)), text)
    }

    fn holds_to(&mut self, rule: impl Fn(Who, What) -> Answer) {
        for who in ALL {
            for what in TRIED {
                let id = self.next;
                self.next += 1;
                let (status, text) = self.answer(who, &self.request(who, what, id));
                assert_eq!(status, rule(who, what), "{who:?} {what:?}: {text}");
                assert!(!text.to_lowercase().contains("access-control-allow-origin"), "{text}");
                for token in self.tokens.values() {
                    assert!(!text.contains(token), "{who:?} {what:?} is told a token: {text}");
                }
                if status == Some(200) && matches!(what, What::Push(..)) {
                    self.taken[usize::from(who == Who::Ben)].push(id);
                }
            }
        }
    }
}

/// Writes all and reads all; what breaks while doing so ends it.
fn exchange(stream: &mut (impl Read + Write), bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    // A server may answer and close before it has read all.
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..read]);
    }
    answer
}

/// How a client of TLS 1.1 begins that offers one suite, RSA with AES.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    hello
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * place)) as usize & 63]);
            encoded.push(if place <= three.len() { letter } else { '=' });
        }
    }
    encoded
}

fn gaitway(args: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Lets a phone in; its token.
fn add(agent_dir: &str, name: &str) -> String {
    let said = gaitway(&["agent", "phone", "add", name, "--data-dir", agent_dir]);
    let url = said.lines().map(str::trim).find(|line| line.starts_with("http")).unwrap();
    url.rsplit_once('/').unwrap().1.to_owned()
}

/// The path of a link for a browser.
fn link(agent_dir: &str) -> String {
    let said = gaitway(&["agent", "reader", "add", "dora", "--data-dir", agent_dir]);
    format!("/enter/{}", said.trim_end().rsplit_once("/enter/").unwrap().1)
}

/// Comes by a link; the cookie.
fn enter(door: &Door, link: &str) -> String {
    let ask = |method| {
        let request =
            format!("{method} {link} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        door.answer(Who::Stranger, &request)
    };
    assert_eq!(ask("GET").0, Some(200));
    let (status, text) = ask("POST");
    assert_eq!(status, Some(303), "{text}");
    assert_eq!(ask("POST").0, Some(403), "it is used up");
    let cookie = text.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    cookie.split_once(';').unwrap().0.to_owned()
}

/// A certificate for HTTPS in `dir`, and a client that trusts it.
fn certificate(dir: &Path) -> Arc<ClientConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = dir.join("key.pem");
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// All doors of one `up`, with HTTPS for phones or without.
fn every_door_lets_in_whom_it_should(is_https: bool) {
    let dir = tempfile::tempdir().unwrap();
    let tls = is_https.then(|| certificate(dir.path()));
    let (config, data) = (dir.path().join("up.toml"), dir.path().join("data"));
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let mut text = "[relay]\ntls = true\nadmin = \"127.0.0.1:0\"\n".to_owned();
    if is_https {
        let (certificate, key) = (certificate.display(), key.display());
        let _ = write!(text, "[agent.https]\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"\n");
    }
    std::fs::write(&config, text).unwrap();
    let mut up = Process::up(&data, &["--config", config.to_str().unwrap()]);
    let address = up.push_url().split("://").nth(1).unwrap().strip_suffix("/data").unwrap().to_owned();

    let agent_dir = data.join("agent");
    let agent_dir = agent_dir.to_str().unwrap();
    let (anna, ben, revoked) = (add(agent_dir, "anna"), add(agent_dir, "ben"), add(agent_dir, "carla"));
    gaitway(&["agent", "phone", "revoke", "carla", "--data-dir", agent_dir]);
    let hers = [Who::Anna, Who::OtherPhone, Who::WebPage, Who::Rebound, Who::PlainText].map(|who| (who, anna.clone()));
    let others = [(Who::Ben, ben), (Who::Revoked, revoked), (Who::Guesser, "0123456789abcdefghjk".to_owned())];
    let mut door = Door {
        address,
        tls,
        tokens: hers.into_iter().chain(others).collect(),
        cookie: String::new(),
        anna: Phone::new(1, 61),
        ben: Phone::new(2, 62),
        stranger: Phone::new(3, 63),
        next: 0,
        taken: [Vec::new(), Vec::new()],
    };
    door.cookie = enter(&door, &link(agent_dir));
    // The first device that pushes with a token is its own.
    for who in [Who::Anna, Who::Ben] {
        let id = door.next;
        door.next += 1;
        let request = door.request(who, What::Push("/data", Token::InPath), id);
        assert_eq!(door.answer(who, &request).0, Some(200));
        door.taken[usize::from(who == Who::Ben)].push(id);
    }
    await_that("all of it is ready", || {
        door.answer(Who::Anna, &door.request(Who::Anna, What::Other("GET", "/readyz"), 0)).0 == Some(200)
    });
    door.holds_to(|who, what| allowed(is_https, who, what));

    let warehouse = data.join("warehouse.db");
    let stored = |phone: &Phone| message_ids(&warehouse, phone).into_iter().collect::<Vec<_>>();
    await_that("what was taken is stored", || {
        stored(&door.anna) == door.taken[0] && stored(&door.ben) == door.taken[1]
    });
    assert!(stored(&door.stranger).is_empty());

    let at_admin = admin(&mut up);
    let (phones, tls) = (std::mem::replace(&mut door.address, at_admin.replace("http://", "")), door.tls.take());
    door.holds_to(allowed_at_admin);
    (door.address, door.tls) = (phones, tls);
    assert!(up.terminate(Signal::SIGTERM).success());
    assert_no_duplicates(&warehouse);
    assert_eq!((stored(&door.anna), stored(&door.ben)), (door.taken[0].clone(), door.taken[1].clone()));
}

#[test]
fn every_door_of_an_agent_lets_in_whom_it_should_and_nobody_else() {
    every_door_lets_in_whom_it_should(false);
}

#[test]
fn every_door_of_an_agent_with_https_lets_in_whom_it_should_and_nobody_else() {
    every_door_lets_in_whom_it_should(true);
}
