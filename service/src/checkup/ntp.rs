//! How far this machine's clock is from a time server's: one question of SNTP (RFC 4330) over UDP.
//!
//! - The clock is read and never set.
//! - An answer counts only if it is to our question, of a server that is itself synchronised.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use crate::clock;

/// The port of NTP (IANA).
const PORT: u16 = 123;

/// For all of it.
const WITHIN: Duration = Duration::from_secs(3);

/// A question is asked anew after this, as UDP loses some.
const AGAIN: Duration = Duration::from_millis(900);

/// Bytes of a message without extensions.
const LENGTH: usize = 48;

/// Seconds from NTP's epoch, 1900, to Unix's.
const TO_UNIX: i64 = 2_208_988_800;

/// Seconds in an era of NTP, whose seconds are 32 bits.
const ERA: i64 = 1 << 32;

/// Asks nobody.
const NONE: &str = "none";

/// A time server, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NtpServer {
    host: String,
    port: u16,
}

impl Default for NtpServer {
    fn default() -> Self {
        Self { host: "pool.ntp.org".to_owned(), port: PORT }
    }
}

impl NtpServer {
    /// Whether none is to be asked.
    pub fn is_none(&self) -> bool {
        self.host == NONE
    }
}

impl FromStr for NtpServer {
    type Err = String;

    /// `HOST` or `HOST:PORT`, or `none`; an IPv6 address stands in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time server: HOST or HOST:PORT, such as pool.ntp.org, or none");
        let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match text[after_brackets..].find(':') {
            Some(colon) => {
                let (host, port) = text.split_at(after_brackets + colon);
                (host, port[1..].parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?)
            }
            None => (text, PORT),
        };
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['[', ']', '/']) || host.contains(char::is_whitespace) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for NtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == PORT { f.write_str(&host) } else { write!(f, "{host}:{}", self.port) }
    }
}

/// What must be added to this machine's clock to have the server's, microseconds. The error says why it is not known.
pub async fn offset(server: &NtpServer) -> Result<i64, String> {
    match timeout(WITHIN, ask(server)).await {
        Ok(Ok(offset)) => Ok(offset),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", WITHIN.as_secs())),
    }
}

async fn ask(server: &NtpServer) -> io::Result<i64> {
    let mut addresses = lookup_host((server.host.as_str(), server.port)).await?;
    let address = addresses.next().ok_or_else(|| io::Error::other("it has no address"))?;
    let here = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(here).await?;
    socket.connect(address).await?;
    loop {
        let sent = clock::now_micros();
        socket.send(&question(sent)).await?;
        let mut answer = [0; LENGTH];
        if let Ok(received) = timeout(AGAIN, socket.recv(&mut answer)).await {
            let (received, now) = (received?, clock::now_micros());
            if let Some(judged) =
                Some(&answer).filter(|_| received == LENGTH).and_then(|answer| judge(answer, sent, now))
            {
                return judged.map_err(io::Error::other);
            }
        }
    }
}

/// Version 4, a client's.
fn question(now: i64) -> [u8; LENGTH] {
    let mut message = [0; LENGTH];
    message[0] = 0b00_100_011;
    message[40..48].copy_from_slice(&to_ntp(now).to_be_bytes());
    message
}

/// The offset by an answer to the question that was sent at `sent` and came back at `now`; none if it is to another question.
fn judge(answer: &[u8; LENGTH], sent: i64, now: i64) -> Option<Result<i64, &'static str>> {
    let stamp = |at: usize| u64::from_be_bytes(answer[at..at + 8].try_into().expect("eight bytes of 48"));
    let (leap, mode, stratum) = (answer[0] >> 6, answer[0] & 0b111, answer[1]);
    if mode != 4 || stamp(24) != to_ntp(sent) {
        return None;
    }
    if stratum == 0 {
        return Some(Err("the server wants to be left alone"));
    }
    if leap == 3 || stratum > 15 || stamp(40) == 0 {
        return Some(Err("the server is not synchronised itself"));
    }
    let (received, answered) = (to_unix(stamp(32)), to_unix(stamp(40)));
    Some(Ok(i64::midpoint(received - sent, answered - now)))
}

fn to_ntp(micros: i64) -> u64 {
    let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let seconds = (seconds + TO_UNIX).rem_euclid(ERA).cast_unsigned();
    (seconds << 32) | ((rest.cast_unsigned() << 32) / 1_000_000)
}

/// Seconds without their highest bit are of the era that begins in 2036 (RFC 4330, section 3).
fn to_unix(stamp: u64) -> i64 {
    let seconds = (stamp >> 32).cast_signed();
    let era = if seconds < ERA / 2 { ERA } else { 0 };
    let rest = ((stamp & 0xFFFF_FFFF) * 1_000_000 + (1 << 31)) >> 32;
    (seconds + era - TO_UNIX) * 1_000_000 + rest.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_750_000_000_123_456;

    fn answer(sent: i64, server: i64) -> [u8; LENGTH] {
        let mut message = [0; LENGTH];
        (message[0], message[1]) = (0b00_100_100, 2);
        message[24..32].copy_from_slice(&to_ntp(sent).to_be_bytes());
        message[32..40].copy_from_slice(&to_ntp(server).to_be_bytes());
        message[40..48].copy_from_slice(&to_ntp(server).to_be_bytes());
        message
    }

    #[test]
    fn the_offset_is_between_the_middles_of_question_and_answer() {
        let offset = judge(&answer(NOW, NOW + 60_000_000), NOW, NOW + 20_000).unwrap().unwrap();
        assert!((offset - (60_000_000 - 10_000)).abs() <= 2, "{offset}");
        let behind = judge(&answer(NOW, NOW - 5_000_000), NOW, NOW).unwrap().unwrap();
        assert!((behind + 5_000_000).abs() <= 2, "{behind}");
    }

    #[test]
    fn what_is_no_answer_to_the_question_does_not_count() {
        assert_eq!(judge(&answer(NOW + 1_000, NOW), NOW, NOW), None);
        assert_eq!(judge(&question(NOW), NOW, NOW), None);
        let mut unsynchronised = answer(NOW, NOW);
        unsynchronised[0] |= 0b11 << 6;
        assert!(judge(&unsynchronised, NOW, NOW).unwrap().unwrap_err().contains("not synchronised"));
        let mut kiss = answer(NOW, NOW);
        kiss[1] = 0;
        assert!(judge(&kiss, NOW, NOW).unwrap().is_err());
    }

    #[test]
    fn times_survive_the_end_of_the_era() {
        for time in [0, NOW, 2_085_978_495_999_999, 2_085_978_496_000_000, 3_000_000_000_000_001] {
            if time > 0 {
                assert!((to_unix(to_ntp(time)) - time).abs() <= 1, "{time}");
            }
        }
    }

    #[test]
    fn a_server_is_a_host_and_perhaps_a_port() {
        for (text, shown) in [
            ("pool.ntp.org", "pool.ntp.org"),
            ("127.0.0.1:5123", "127.0.0.1:5123"),
            ("[::1]:9", "[::1]:9"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(text.parse::<NtpServer>().unwrap().to_string(), shown);
        }
        assert!("none".parse::<NtpServer>().unwrap().is_none() && !NtpServer::default().is_none());
        for bad in ["", ":123", "host:0", "host:x", "a b", "http://x"] {
            assert!(bad.parse::<NtpServer>().is_err(), "{bad}");
        }
    }
}
