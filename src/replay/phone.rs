//! One phone: sends each message when it is due, one at a time, until it is answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::body::Identity;
use super::pace::Speed;
use super::patience::Patience;
use super::post::{Answer, Postbox};
use super::report::Report;
use super::source::Push;

/// Counted by all phones.
pub(super) type Shared = Arc<Mutex<Report>>;

/// The report, whatever became of another holder: its counts are right at any time.
pub(super) fn locked(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A phone and what it needs.
pub(super) struct Phone {
    /// Who it is.
    pub(super) identity: Identity,
    /// Its connection.
    pub(super) postbox: Postbox,
    /// What it plays, in order.
    pub(super) pushes: mpsc::Receiver<Push>,
    /// When the replay began.
    pub(super) start: Instant,
    /// How fast it plays.
    pub(super) speed: Speed,
    /// How long it keeps trying.
    pub(super) patience: Patience,
    /// Where it counts.
    pub(super) report: Shared,
}

impl Phone {
    /// Plays until the recording ends or patience does.
    pub(super) async fn play(mut self) {
        while let Some(push) = self.pushes.recv().await {
            let early = self.speed.after(push.due).saturating_sub(self.start.elapsed());
            if !early.is_zero() {
                tokio::time::sleep(early).await;
            }
            if let Err(reason) = self.send(&push).await {
                let phone = format!("{}{}", self.identity.device, self.identity.suffix);
                locked(&self.report).gave_up(phone, reason);
                return;
            }
        }
    }

    async fn send(&mut self, push: &Push) -> Result<(), String> {
        let body = push.body.of(&self.identity);
        loop {
            let began = self.start.elapsed();
            match self.postbox.post(body.clone()).await {
                Answer::Accepted => locked(&self.report).accepted(push.readings),
                Answer::Refused { status, reason } => locked(&self.report).refused(status, reason),
                Answer::Failed(reason) => {
                    let wait = self.patience.failed(began, self.start.elapsed(), jitter()).ok_or(reason)?;
                    tokio::time::sleep(wait).await;
                    locked(&self.report).retries += 1;
                    continue;
                }
            }
            self.patience.succeeded();
            return Ok(());
        }
    }
}

/// Random in 0…1, so that phones do not come back all at once.
fn jitter() -> f64 {
    // Without randomness the waits are alike, which is all that is lost.
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}
