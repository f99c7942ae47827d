//! The emulator that is started by hand.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::blocking::Client;

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn it_prints_where_it_is_and_who_may_call() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_snowpipe-emulator"))
        .arg("--dir")
        .arg(dir.path().join("new"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Running(child);
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines().take(7).map(Result::unwrap);
    let told: HashMap<_, _> = lines
        .map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
        .collect();
    assert_eq!((told["account"].as_str(), told["user"].as_str()), ("MYORG-MYACCT", "STREAM_USER"));
    assert_eq!((told["role"].as_str(), told["database"].as_str()), ("INGEST_ROLE", "ACTIVITY_DB"));
    assert!(std::fs::read_to_string(&told["key"]).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));

    drop(rustls::crypto::ring::default_provider().install_default());
    let ca = reqwest::Certificate::from_pem(&std::fs::read(&told["ca"]).unwrap()).unwrap();
    let client = Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap();
    let answer = client.get(format!("{}/v2/streaming/hostname", told["url"])).send();
    assert_eq!(answer.unwrap().status(), 401, "it wants a key-pair JWT");
}
