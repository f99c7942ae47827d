//! Who makes a request, as handlers see it.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::places::{Doing, Pulse};

/// The connection that a request came on; an extension of every request.
#[derive(Debug, Clone)]
pub struct Caller {
    pulse: Arc<Pulse>,
    share: Arc<Semaphore>,
    address: IpAddr,
    is_here: bool,
    began: Instant,
}

impl Caller {
    pub(super) fn new(share: Arc<Semaphore>, address: IpAddr, is_here: bool, began: Instant) -> Self {
        Self { pulse: Arc::new(Pulse::new(millis_since(began))), share, address, is_here, began }
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

    /// Whether it is a program on this machine.
    pub fn is_here(&self) -> bool {
        self.is_here
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

pub(super) fn millis_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
