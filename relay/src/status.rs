//! How the relay is, for whoever shows it to people.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// Counters since the start and the present state; reads are cheap.
#[derive(Debug, Default)]
pub struct RelayStatus {
    connections: AtomicU64,
    agents: AtomicU64,
    frames: AtomicU64,
    readings: AtomicU64,
    windows: AtomicU64,
    waiting: AtomicU64,
    error: Mutex<Option<String>>,
    listens: watch::Sender<bool>,
}

impl RelayStatus {
    /// Waits until agents can come.
    pub async fn listens(&self) {
        // The sender lives as long as this.
        let _ = self.listens.subscribe().wait_for(|listens| *listens).await;
    }

    pub(crate) fn is_open(&self) {
        self.listens.send_replace(true);
    }

    /// Connections open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Agents that were welcomed and are still here.
    pub fn agents(&self) -> u64 {
        self.agents.load(Ordering::Relaxed)
    }

    /// Frames committed.
    pub fn committed_frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Readings committed.
    pub fn committed_readings(&self) -> u64 {
        self.readings.load(Ordering::Relaxed)
    }

    /// Windows committed.
    pub fn committed_windows(&self) -> u64 {
        self.windows.load(Ordering::Relaxed)
    }

    /// Bytes taken from agents and not committed.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What is wrong with the ledger now, if anything is.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn committed(&self, frames: u64, readings: u64, windows: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.readings.fetch_add(readings, Ordering::Relaxed);
        self.windows.fetch_add(windows, Ordering::Relaxed);
    }

    pub(crate) fn set_present(&self, agents: usize, waiting_bytes: usize) {
        self.agents.store(agents as u64, Ordering::Relaxed);
        self.waiting.store(waiting_bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_error(&self, error: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}
