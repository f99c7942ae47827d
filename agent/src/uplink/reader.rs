//! The thread that reads the spool, one request at a time.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use gaitway_proto::envelope::Item;
use tokio::sync::mpsc;

use super::Frames;
use super::session::Read;

/// How long the end waits for a read that is under way.
const END_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Reader {
    requests: mpsc::Sender<Read>,
    results: mpsc::Receiver<anyhow::Result<Vec<Item>>>,
    thread: JoinHandle<()>,
}

impl Reader {
    pub(super) fn spawn(mut frames: impl Frames) -> anyhow::Result<Self> {
        let (requests, mut asked) = mpsc::channel::<Read>(1);
        let (answers, results) = mpsc::channel(1);
        let serve = move || {
            while let Some(read) = asked.blocking_recv() {
                let items = frames.read(read.epoch, read.stream, read.from, read.max_bytes, read.max_items);
                if answers.blocking_send(items).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("uplink-reader".into())
            .spawn(serve)
            .context("cannot start the thread that reads the spool")?;
        Ok(Self { requests, results, thread })
    }

    /// Asks for frames. The answer to the request before must have come.
    pub(super) fn ask(&self, read: Read) -> anyhow::Result<()> {
        self.requests.try_send(read).map_err(|_| anyhow!("the thread that reads the spool has ended"))
    }

    /// The next answer. May be dropped and called again.
    pub(super) async fn frames(&mut self) -> anyhow::Result<anyhow::Result<Vec<Item>>> {
        self.results.recv().await.ok_or_else(|| anyhow!("the thread that reads the spool has ended"))
    }

    /// Waits until the spool is let go.
    pub(super) async fn stop(self) {
        let Self { requests, results, thread } = self;
        drop((requests, results));
        let joined = tokio::time::timeout(END_WITHIN, tokio::task::spawn_blocking(move || thread.join())).await;
        if !matches!(joined, Ok(Ok(Ok(())))) {
            tracing::warn!("the thread that reads the spool did not end well");
        }
    }
}
