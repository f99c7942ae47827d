//! HTTPS for phones: a certificate that is replaced while they push.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::await_that;
use harness::http;
use harness::phone::Phone;
use harness::process::Process;
use harness::warehouse::{assert_no_duplicates, count, message_ids};
use nix::sys::signal::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Makes a certificate and puts it in place, the key first, as a careful administrator would not.
fn renew(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = dir.join("key.pem");
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

/// Posts `body` on a connection of its own; the status, and the certificate that was shown.
fn post(address: &str, trusted: &[CertificateDer<'static>], body: &str) -> (u16, CertificateDer<'static>) {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut stream = StreamOwned::new(client, stream);
    let length = body.len();
    write!(
        stream,
        "POST /data HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    stream.flush().unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    let status = std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap();
    (status, stream.conn.peer_certificates().unwrap()[0].clone().into_owned())
}

#[test]
fn a_certificate_is_replaced_while_phones_push_and_no_reading_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let first = renew(dir.path());
    let config = dir.path().join("up.toml");
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let text = format!("[agent.https]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n");
    std::fs::write(&config, text).unwrap();
    let data = dir.path().join("data");
    let mut up = Process::up(&data, &["--config", config.to_str().unwrap()]);
    let url = up.push_url();
    let address = url.strip_prefix("https://").unwrap().strip_suffix("/data").unwrap().to_owned();
    let (status, said) = http::post(&format!("http://{address}/data"), "{}").unwrap();
    assert!(status == 499 && said.contains("must begin with https://"), "{status} {said}");

    let phone = Phone::new(1, 51);
    let push = |trusted: &[CertificateDer<'static>], id: u64| {
        let (status, shown) = post(&address, trusted, &phone.body(id, &phone.message(id)));
        assert_eq!(status, 200);
        shown
    };
    assert_eq!(push(std::slice::from_ref(&first), 0), first);
    let second = renew(dir.path());
    let both = [first, second.clone()];
    let mut next = 1;
    await_that("the new certificate is shown", || {
        next += 1;
        push(&both, next - 1) == second
    });
    std::fs::write(&certificate, "no certificate").unwrap();
    let until = next + 30;
    while next < until {
        assert_eq!(push(&both, next), second, "a broken file leaves the former in use");
        std::thread::sleep(Duration::from_millis(50));
        next += 1;
    }

    let warehouse = data.join("warehouse.db");
    let readings = (0..next).map(|id| phone.message(id).len()).sum::<usize>();
    await_that("every reading is stored", || {
        count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS") == readings as i64
    });
    assert!(up.terminate(Signal::SIGTERM).success());
    assert_no_duplicates(&warehouse);
    assert_eq!(message_ids(&warehouse, &phone), (0..next).collect());
}
