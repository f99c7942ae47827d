//! SIGTERM and Ctrl-C become a cancelled token; the second one ends the process at once.

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::notify;

/// What a shell reports for a process ended by Ctrl-C.
const EXIT_INTERRUPTED: i32 = 130;

/// A token cancelled on SIGTERM or Ctrl-C. A second signal exits at once with 130. Call it once per process, inside
/// the runtime.
pub fn shutdown() -> anyhow::Result<CancellationToken> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        let signal = signals.next().await;
        tracing::info!(signal, "shutting down, a second signal exits at once");
        notify::stopping();
        shutdown.cancel();
        let signal = signals.next().await;
        tracing::warn!(signal, "exiting at once");
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(token)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
}

#[cfg(windows)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    async fn next(&mut self) -> &'static str {
        self.interrupt.recv().await;
        "Ctrl-C"
    }
}
