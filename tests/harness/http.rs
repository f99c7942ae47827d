//! The least of an HTTP client: one request, one connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Posts `body` to `http://HOST:PORT/PATH`; the status and the answer's body.
pub(crate) fn post(url: &str, body: &str) -> std::io::Result<(u16, String)> {
    request("POST", url, body)
}

/// Gets `url`; the status and the answer's body.
pub(crate) fn get(url: &str) -> std::io::Result<(u16, String)> {
    request("GET", url, "")
}

fn request(method: &str, url: &str, body: &str) -> std::io::Result<(u16, String)> {
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an http URL");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let broken = || std::io::Error::other(format!("not a whole answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(broken)?;
    Ok((status, body.to_owned()))
}
