//! A way to an agent on which its events do not pass.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const REFUSED: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Passes one request a connection on, but answers 502 for `/api/v1/events`.
pub(crate) struct Deaf {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
}

impl Deaf {
    /// Towards `HOST:PORT`.
    pub(crate) fn towards(target: &str) -> Self {
        let target: SocketAddr = target.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_over, count) = (Arc::clone(&ended), Arc::clone(&refused));
        let accept = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let count = Arc::clone(&count);
                let pass = move || {
                    // Either end may go away.
                    let _ = pass(stream, target, &count);
                };
                std::thread::Builder::new().name("deaf".to_owned()).spawn(pass).unwrap();
            }
        };
        std::thread::Builder::new().name("deaf".to_owned()).spawn(accept).unwrap();
        Self { address, ended, refused }
    }

    /// `http://HOST:PORT` of this end.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often it refused events.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the accepting thread; if that fails it is gone.
        let _ = TcpStream::connect(self.address);
    }
}

fn pass(mut near: TcpStream, target: SocketAddr, refused: &AtomicU64) -> std::io::Result<()> {
    near.set_read_timeout(Some(Duration::from_secs(30)))?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        near.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    if head.starts_with("GET /api/v1/events") {
        refused.fetch_add(1, Ordering::Relaxed);
        return near.write_all(REFUSED);
    }
    let lines = head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let mut head = lines.collect::<Vec<_>>().join("\r\n");
    head.insert_str(head.len() - 2, "Connection: close\r\n");
    let mut far = TcpStream::connect(target)?;
    far.write_all(head.as_bytes())?;
    std::io::copy(&mut far, &mut near)?;
    near.shutdown(Shutdown::Both)
}
