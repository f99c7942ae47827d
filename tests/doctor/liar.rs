//! A time server of the tests' own (RFC 4330), whose clock is off.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Answers until it is dropped.
pub(crate) struct Liar {
    pub(crate) address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    /// So many seconds ahead of this machine.
    pub(crate) fn off_by(seconds: i64) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap().to_string(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let answer = move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut question = [0; 48];
                let Ok((48, from)) = socket.recv_from(&mut question) else { continue };
                let mut answer = [0; 48];
                (answer[0], answer[1]) = (0b00_100_100, 1);
                let asked_at = &question[40..48];
                answer[24..32].copy_from_slice(asked_at);
                // Who asks has just read the clock that this server's is off from.
                let now = u64::from_be_bytes(asked_at.try_into().unwrap());
                let shown = now.wrapping_add_signed(seconds << 32).to_be_bytes();
                answer[32..40].copy_from_slice(&shown);
                answer[40..48].copy_from_slice(&shown);
                socket.send_to(&answer, from).unwrap();
            }
        };
        let thread = std::thread::Builder::new().name("liar".to_owned()).spawn(answer).unwrap();
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
