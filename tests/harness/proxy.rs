//! A link that can be cut, slowed and pointed elsewhere.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Forwards connections to a target until told otherwise.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    target: Mutex<Option<SocketAddr>>,
    streams: Mutex<Vec<TcpStream>>,
    /// Milliseconds that every piece waits.
    delay: AtomicU64,
    /// Bytes that were forwarded to the target.
    carried: AtomicU64,
    ended: AtomicBool,
}

impl Proxy {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let accept = move || {
            for stream in listener.incoming() {
                if of_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(stream) = stream {
                    of_thread.connect(stream, &of_thread);
                }
            }
        };
        std::thread::Builder::new().name("proxy".to_owned()).spawn(accept).unwrap();
        Self { address, shared }
    }

    /// `mqtt://HOST:PORT` of this end.
    pub(crate) fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Where new connections go; nowhere, where there is no target.
    pub(crate) fn point(&self, target: Option<&str>) {
        *self.shared.target.lock().unwrap() = target.map(|t| t.parse().expect("HOST:PORT"));
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            // Its other end may have closed it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Bytes that went to the target so far.
    pub(crate) fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    pub(crate) fn delay(&self, by: Duration) {
        self.shared.delay.store(by.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the accepting thread; if that fails it is gone.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn connect(&self, near: TcpStream, shared: &Arc<Self>) {
        let target = *self.target.lock().unwrap();
        let Some(far) = target.and_then(|target| TcpStream::connect(target).ok()) else { return };
        let both = [near.try_clone(), far.try_clone()].map(Result::unwrap);
        self.streams.lock().unwrap().extend(both);
        for (from, to, out) in [(near.try_clone().unwrap(), far.try_clone().unwrap(), true), (far, near, false)] {
            let shared = Arc::clone(shared);
            std::thread::Builder::new().name("proxied".to_owned()).spawn(move || shared.copy(from, to, out)).unwrap();
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, out: bool) {
        let mut piece = [0; 4096];
        while let Ok(read) = from.read(&mut piece) {
            if out {
                self.carried.fetch_add(read as u64, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(self.delay.load(Ordering::Relaxed)));
            if read == 0 || to.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        for stream in [from, to] {
            // Its other end may have closed it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
