//! Who makes a request, as handlers see it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::places::{Doing, Pulse, neighbour};
use crate::known::Known;

/// The connection that a request came on; an extension of every request.
#[derive(Debug, Clone)]
pub struct Caller {
    pulse: Arc<Pulse>,
    share: Arc<Semaphore>,
    address: IpAddr,
    is_here: bool,
    known: Arc<Mutex<Known>>,
    began: Instant,
    /// An [`Answering`] is kept.
    answers: Arc<AtomicBool>,
}

impl Caller {
    /// From `remote`.
    pub(super) fn new(share: Arc<Semaphore>, remote: IpAddr, known: Arc<Mutex<Known>>, began: Instant) -> Self {
        let (address, is_here) = (neighbour(remote), remote.to_canonical().is_loopback());
        Self {
            pulse: Arc::new(Pulse::new(millis_since(began))),
            share,
            address,
            is_here,
            known,
            began,
            answers: Arc::default(),
        }
    }

    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    pub(super) fn is(&self, doing: Doing) {
        self.pulse.mark(doing, millis_since(self.began));
    }

    /// Bytes came: a head begins if nothing was asked.
    pub(super) fn heard(&self) {
        if self.pulse.read().0 == Doing::Waiting {
            self.is(Doing::Head);
        }
    }

    /// The request has arrived whole: from now on the connection waits for this service, and is not sent away to make
    /// room for others.
    pub fn has_asked(&self) {
        self.is(Doing::Working);
    }

    /// The answer goes on, though its head has been written: as long as this is kept, the connection waits for this
    /// service, and ends as soon as the other side has closed its own direction: of an answer without an end nobody else
    /// notices that nobody hears it. To be called once the head is written.
    pub fn answering(self) -> Answering {
        self.is(Doing::Working);
        self.answers.store(true, Ordering::Relaxed);
        Answering(self)
    }

    /// Whether an [`Answering`] is kept.
    pub(super) fn is_answered(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether it is a program on this machine.
    pub fn is_here(&self) -> bool {
        self.is_here
    }

    /// This caller has proven who it is: from now on strangers do not take the few connections that its address needs.
    pub fn vouch(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).prove(self.address);
    }

    /// Its address; of IPv6 the network's first 64 bits.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Permits that all connections of this caller's address share, to bound what one address may hold.
    pub fn share(&self) -> &Arc<Semaphore> {
        &self.share
    }
}

/// An answer without an end of its own, see [`Caller::answering`].
#[derive(Debug)]
pub struct Answering(Caller);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answers.store(false, Ordering::Relaxed);
        self.0.is(Doing::Waiting);
    }
}

pub(super) fn millis_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_this_machine_are_told_from_others() {
        let is_here = |remote: &str| {
            let (share, known) = (Arc::new(Semaphore::new(1)), Arc::new(Mutex::new(Known::new(1))));
            Caller::new(share, remote.parse().unwrap(), known, Instant::now()).is_here()
        };
        for here in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in ["192.168.1.9", "::", "::2", "fe80::1", "::ffff:192.0.2.1", "0.0.0.0"] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
