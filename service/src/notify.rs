//! What systemd hears: ready, stopping, still alive. Nothing happens where no service manager listens.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The service has started: its listeners are bound and its data directory is open.
pub fn ready() {
    platform::send(platform::State::Ready);
}

/// The service finishes what is in flight.
pub fn stopping() {
    platform::send(platform::State::Stopping);
}

/// Ticks twice per watchdog interval until `shutdown`, if the unit has a `WatchdogSec`; else waits for `shutdown`.
/// A runtime that stands still misses its ticks and is restarted.
pub async fn watchdog(shutdown: CancellationToken) -> anyhow::Result<()> {
    let Some(limit) = platform::watchdog() else {
        shutdown.cancelled().await;
        return Ok(());
    };
    let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => platform::send(platform::State::Watchdog),
        }
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::time::Duration;

    pub(super) use sd_notify::NotifyState as State;

    pub(super) fn send(state: State<'_>) {
        if let Err(error) = sd_notify::notify(&[state]) {
            tracing::warn!(%error, "cannot notify the service manager");
        }
    }

    pub(super) fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::time::Duration;

    pub(super) enum State {
        Ready,
        Stopping,
        Watchdog,
    }

    pub(super) fn send(_: State) {}

    pub(super) fn watchdog() -> Option<Duration> {
        None
    }
}
