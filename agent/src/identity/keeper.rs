//! Keeps the identity in force: replaces it in time, and takes up what another process put in its place.
//!
//! - It is replaced at two thirds of its life, and at once when the relay wants it; tried again with pauses that grow.
//! - The certificate before stays good meanwhile, so nothing waits for this.
//! - What `gaitway agent enroll` puts into the folder is used within [`LOOK_EVERY`], if it is for the same agent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gaitway_proto::enrolment::renew_at;
use gaitway_proto::topic::AgentId;
use gaitway_service::clock;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::kept::path;
use super::{Identity, Route, ask};
use crate::uplink::RelayAddress;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Pauses between tries to replace a certificate.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What the keeper works with.
pub struct Keeper {
    /// The agent's data directory.
    pub dir: PathBuf,
    /// The relay's address, if it is configured.
    pub configured: Option<RelayAddress>,
    /// Of the agent that runs here.
    pub agent: watch::Receiver<Option<AgentId>>,
    /// What the agent starts with.
    pub identity: Option<Identity>,
    /// For the uplink.
    pub routes: watch::Sender<Route>,
    /// The relay wants another certificate.
    pub wanted: Arc<Notify>,
}

/// Keeps the identity until `shutdown`.
pub async fn keep(mut keeper: Keeper, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut state = State { mark: mark(&keeper.dir), due: None, pause: FIRST_PAUSE, wanted: false };
    loop {
        let wanted = keeper.wanted.clone();
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = wanted.notified() => state.wanted = true,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        keeper.take_up(&mut state);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = keeper.replace(&mut state) => {}
        }
    }
}

struct State {
    /// Of the file that is in use.
    mark: Option<Mark>,
    /// When to try next, after a try that failed.
    due: Option<Instant>,
    pause: Duration,
    wanted: bool,
}

/// Tells one file from another.
type Mark = (Option<SystemTime>, u64);

fn mark(dir: &Path) -> Option<Mark> {
    let file = std::fs::metadata(path(dir)).ok()?;
    Some((file.modified().ok(), file.len()))
}

impl Keeper {
    /// Uses what another process has put into the folder.
    fn take_up(&mut self, state: &mut State) {
        let found = mark(&self.dir);
        if found == state.mark {
            return;
        }
        state.mark = found;
        let identity = match Identity::load(&self.dir) {
            Ok(Some(identity)) => identity,
            // What is in use is used on.
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "the new identity cannot be used"),
        };
        let running = self.agent.borrow().clone();
        if running.as_ref().is_some_and(|running| *running != identity.agent) {
            let running = running.map(String::from);
            tracing::warn!(enrolled = %identity.agent, running, "enrolled under another name: restart the agent to use it");
            return;
        }
        tracing::info!(agent = %identity.agent, relay = %identity.relay, "a new identity is in use");
        self.identity = Some(identity);
        (state.due, state.pause) = (None, FIRST_PAUSE);
        self.publish();
    }

    /// Replaces the certificate if it is time to.
    async fn replace(&mut self, state: &mut State) {
        let Some(identity) = &self.identity else { return };
        let (from, until) = identity.validity;
        let now = clock::now_micros().div_euclid(1_000_000);
        if !(state.wanted || now >= renew_at(from, until)) || state.due.is_some_and(|due| Instant::now() < due) {
            return;
        }
        let relay = self.routes.borrow().relay.clone();
        match ask::renew(identity, &relay, &self.dir).await {
            Ok(identity) => {
                tracing::info!(agent = %identity.agent, "the certificate was replaced");
                self.identity = Some(identity);
                state.mark = mark(&self.dir);
                (state.due, state.pause, state.wanted) = (None, FIRST_PAUSE, false);
                self.publish();
            }
            Err(error) => {
                let seconds = until.saturating_sub(now);
                tracing::warn!(%error, good_for_seconds = seconds, "the certificate could not be replaced, trying on");
                state.due = Some(Instant::now() + jittered(state.pause));
                state.pause = (state.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn publish(&self) {
        self.routes.send_replace(Route::choose(self.configured.as_ref(), self.identity.as_ref()));
    }
}

/// From half of `pause` to one and a half.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause / 2 + pause.mul_f64(f64::from(random) / f64::from(u32::MAX))
}
