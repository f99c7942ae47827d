//! A sink that runs in this process.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gaitway_service::health::Health;
use gaitway_service::metrics::Metrics;
use gaitway_sink::{Ledgers, SinkConfig};
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// See the module. It is stopped when it is dropped.
pub(crate) struct Sink {
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    stop: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Sink {
    pub(crate) fn start(config: &SinkConfig, ledgers: impl Ledgers + 'static) -> Self {
        let (health, metrics, stop) = (Health::new(), Metrics::new(), CancellationToken::new());
        let (config, ledgers) = (config.clone(), Arc::new(ledgers));
        let shared = (health.clone(), metrics.clone(), stop.clone());
        let run = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let (health, metrics, stop) = shared;
            runtime.block_on(gaitway_sink::run(config, ledgers, &health, &metrics, stop))
        };
        let thread = std::thread::Builder::new().name("sink".to_owned()).spawn(run).unwrap();
        Self { health, metrics, stop, thread: Some(thread) }
    }

    /// What `/readyz` says.
    pub(crate) fn said(&self) -> String {
        self.health.report().to_text()
    }

    /// The value of a line of `/metrics`.
    pub(crate) fn metric(&self, line: &str) -> Option<i64> {
        let text = self.metrics.encode();
        text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
    }

    pub(crate) fn await_that(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < end, "waited in vain until {what}; {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it has stopped a partition; gives what it says.
    pub(crate) fn await_stopped(&self) -> String {
        self.await_that("a partition is stopped", || self.said().contains("is stopped"));
        self.said()
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) {
        let begun = Instant::now();
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10), "it ends in time: {:?}", begun.elapsed());
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // The test has failed already.
            let _ = thread.join();
        }
    }
}
