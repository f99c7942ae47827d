//! What viewers are told, made once for all of them together.
//!
//! - Nothing is made while nobody looks.
//! - The status is made at once when somebody comes, after a change at most once in [`APART`], and every [`ANYWAY`].
//! - The newest status alone is kept. Motions wait in bounded room, each of bounded size: who is slow misses some.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::shape::{Motion, Status};
use crate::status::AgentStatus;

/// From one status to the next at least.
const APART: Duration = Duration::from_secs(1);

/// From one status to the next at most.
const ANYWAY: Duration = Duration::from_secs(5);

/// Motions that may wait for a viewer.
const WAITING: usize = 16;

/// What is told, as it goes to every viewer.
#[derive(Debug)]
pub(crate) struct Live {
    status: watch::Sender<Option<Bytes>>,
    motions: broadcast::Sender<Bytes>,
    came: Notify,
}

/// What one viewer hears.
#[derive(Debug)]
pub(super) struct Ear {
    status: watch::Receiver<Option<Bytes>>,
    motions: broadcast::Receiver<Bytes>,
}

impl Default for Live {
    fn default() -> Self {
        Self { status: watch::Sender::new(None), motions: broadcast::Sender::new(WAITING), came: Notify::new() }
    }
}

impl Live {
    /// Hears the status at once, and then what there is.
    pub(super) fn listen(&self) -> Ear {
        let mut status = self.status.subscribe();
        status.mark_changed();
        let ear = Ear { status, motions: self.motions.subscribe() };
        self.came.notify_one();
        ear
    }

    /// Tells viewers until `shutdown`; `now` is the status of the moment.
    pub(crate) async fn tell(
        &self,
        agent: &AgentStatus,
        now: impl Fn() -> Status,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.came.notified() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.status.closed() => {}
                () = self.tell_status(agent, &now) => {}
                () = self.tell_motions(agent) => {}
            }
            // Who comes later is not shown what was.
            self.status.send_replace(None);
        }
    }

    async fn tell_status(&self, agent: &AgentStatus, now: impl Fn() -> Status) {
        let mut changes = agent.changes();
        loop {
            changes.mark_unchanged();
            self.status.send_replace(Some(event("status", &now())));
            tokio::time::sleep(APART).await;
            tokio::select! {
                // Nothing changes any more where the sender is gone.
                Ok(()) = changes.changed() => {}
                () = self.came.notified() => {}
                () = tokio::time::sleep(ANYWAY.saturating_sub(APART)) => {}
            }
        }
    }

    async fn tell_motions(&self, agent: &AgentStatus) {
        let mut motions = agent.motions();
        loop {
            match motions.recv().await {
                // Nobody may be left to hear it.
                Ok(motion) => drop(self.motions.send(event("motion", &Motion::of(&motion)))),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}

impl Ear {
    /// What is told next. The newest status goes before all motions.
    pub(super) async fn hear(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                changed = self.status.changed() => {
                    changed.ok()?;
                    if let Some(status) = self.status.borrow_and_update().clone() {
                        return Some(status);
                    }
                }
                motion = self.motions.recv() => match motion {
                    Ok(motion) => return Some(motion),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}

/// As a server-sent event: JSON has no line breaks of its own.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("what is shown is text and numbers");
    let mut text = String::with_capacity(data.len() + name.len() + 16);
    write!(text, "event: {name}\ndata: {data}\n\n").expect("text takes everything");
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::api::tests::{push, status_of};

    struct Told {
        live: Arc<Live>,
        agent: Arc<AgentStatus>,
        made: Arc<AtomicUsize>,
        shutdown: CancellationToken,
        task: tokio::task::JoinHandle<anyhow::Result<()>>,
    }

    fn told() -> Told {
        let (live, agent, made) =
            (Arc::new(Live::default()), Arc::new(AgentStatus::default()), Arc::<AtomicUsize>::default());
        let (shutdown, count) = (CancellationToken::new(), Arc::<AtomicUsize>::clone(&made));
        let (teller, shown, stop) = (Arc::clone(&live), Arc::clone(&agent), shutdown.clone());
        let task = tokio::spawn(async move {
            let now = || {
                count.fetch_add(1, Ordering::Relaxed);
                status_of(&shown)
            };
            teller.tell(&shown, now, stop).await
        });
        Told { live, agent, made, shutdown, task }
    }

    impl Told {
        fn made(&self) -> usize {
            self.made.load(Ordering::Relaxed)
        }
    }

    async fn heard(ear: &mut Ear) -> String {
        String::from_utf8(ear.hear().await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_made_while_nobody_looks() {
        let told = told();
        for _ in 0..10 {
            push(&told.agent, "phone", 3);
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(told.made(), 0);
        let mut ear = told.live.listen();
        assert!(heard(&mut ear).await.starts_with("event: status\ndata: {"));
        drop(ear);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let made = told.made();
        for _ in 0..10 {
            push(&told.agent, "phone", 3);
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(told.made(), made);
        let before = tokio::time::Instant::now();
        assert!(heard(&mut told.live.listen()).await.starts_with("event: status\n"));
        assert_eq!(before.elapsed(), Duration::ZERO, "the next one is told at once");
        told.shutdown.cancel();
        told.task.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_is_made_once_for_all_and_at_most_once_a_second() {
        let told = told();
        let mut ears: Vec<_> = (0..20).map(|_| told.live.listen()).collect();
        for ear in &mut ears {
            heard(ear).await;
        }
        let (made, began) = (told.made(), tokio::time::Instant::now());
        for _ in 0..300 {
            push(&told.agent, "phone", 3);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let made = told.made() - made;
        assert!((28..=31).contains(&made), "{made} in {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let after = told.made();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(told.made() - after, 12, "every five seconds anyway");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_misses_motions_and_hears_the_newest_status() {
        let told = told();
        let mut ear = told.live.listen();
        heard(&mut ear).await;
        for n in 0..100 {
            push(&told.agent, "phone", n);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut all = Vec::new();
        while let Ok(event) = tokio::time::timeout(Duration::ZERO, heard(&mut ear)).await {
            all.push(event);
        }
        assert!(all[0].starts_with("event: status\n"), "{}", all[0]);
        assert_eq!(all.len(), 1 + WAITING, "what waits is bounded");
        assert!(all[1..].iter().all(|event| event.starts_with("event: motion\ndata: {\"deviceId\":\"phone\"")));
        assert!(all[WAITING].contains("\"samples\":99,"), "{}", all[WAITING]);
    }
}
