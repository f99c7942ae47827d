//! Somebody who follows the events of an agent, from an address of this machine.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// See the module.
pub(crate) struct Viewer(BufReader<TcpStream>);

impl Viewer {
    /// Asks from 127.0.0.`number`. `room` is what its system takes in while it does not read, bytes.
    pub(crate) fn asking(to: SocketAddr, number: u8, room: Option<u32>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        if let Some(room) = room {
            socket.set_recv_buffer_size(room).unwrap();
        }
        socket.bind((Ipv4Addr::new(127, 0, 0, number), 0).into()).unwrap();
        let stream = runtime.block_on(socket.connect(to)).unwrap().into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut viewer = Self(BufReader::new(stream));
        viewer.0.get_mut().write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        viewer
    }

    /// The status and the headers of the answer.
    pub(crate) fn head(&mut self) -> (u16, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "no whole head: {head:?}");
        }
        (head[9..12].parse().unwrap(), head.to_ascii_lowercase())
    }

    /// The problem that is answered.
    pub(crate) fn problem(mut self) -> Value {
        let (_, head) = self.head();
        assert!(
            head.contains("content-type: application/problem+json\r\n") && head.contains("retry-after: "),
            "{head}"
        );
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// The next event's name and data; none once the answer has ended.
    pub(crate) fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            if let Some(told) = line.strip_prefix("event: ") {
                told.trim_end().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            } else if line == "0\r\n" {
                return None;
            }
        }
    }

    /// The next event that `is` so.
    pub(crate) fn until(&mut self, is: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let (name, data) = self.next().expect("the events go on");
            if is(&name, &data) {
                return data;
            }
        }
    }
}
