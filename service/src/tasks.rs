//! The named tasks of a service.
//!
//! - The first task that fails, panics or ends unasked ends the service, with its name and its reason. One that only ended did
//!   so because of another, perhaps: the error of that one is the reason then.
//! - The others get [`GRACE`] to finish what is in flight; one that does not is named.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// How long tasks may take to finish once the service shuts down.
pub const GRACE: Duration = Duration::from_secs(10);

type Name = Cow<'static, str>;

/// The tasks of one service. Dropping it aborts those that are async.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, Name>,
}

impl Tasks {
    /// Without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that lives until shutdown: ending before it, even with `Ok`, ends the service.
    pub fn spawn(&mut self, name: impl Into<Name>, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Starts a thread of this name for blocking work that lives until shutdown, under the same rule. It cannot be
    /// aborted: it must hear of the shutdown through its channel or its token.
    pub fn spawn_blocking(
        &mut self,
        name: impl Into<Name>,
        work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let name = name.into();
        let (done, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name(name.clone().into_owned())
            .spawn(move || {
                // The receiver is gone only where the service no longer waits.
                let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
            })
            .with_context(|| format!("cannot start thread {name}"))?;
        self.spawn(name, async move {
            match ended.await.context("the thread ended without a result")? {
                Ok(result) => result,
                Err(panic) => Err(panicked(&*panic)),
            }
        });
        Ok(())
    }

    /// Waits for shutdown or the first task to die, cancels `shutdown`, then waits for the others, at most [`GRACE`].
    /// `Ok` only after a shutdown that was asked for and that every task followed without an error.
    pub async fn join(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => Outcome::Asked,
            Some(ended) = self.next() => match ended {
                // It asked for the shutdown itself.
                (_, Ok(())) if shutdown.is_cancelled() => Outcome::Asked,
                (name, Ok(())) => Outcome::Ended(name),
                (name, Err(error)) => Outcome::Failed(failed(&name, error)),
            },
        };
        shutdown.cancel();
        let end = tokio::time::Instant::now() + GRACE;
        while !self.set.is_empty() {
            match tokio::time::timeout_at(end, self.next()).await {
                Ok(Some((name, Err(error)))) => outcome.settle(failed(&name, error)),
                Ok(_) => {}
                Err(_) => {
                    match &outcome {
                        Outcome::Ended(_) => {
                            tracing::warn!(error = format!("{:#}", self.stuck()), "while shutting down");
                        }
                        _ => outcome.settle(self.stuck()),
                    }
                    break;
                }
            }
        }
        match outcome {
            Outcome::Asked => Ok(()),
            Outcome::Ended(name) => Err(anyhow!("task {name} ended although nothing asked it to")),
            Outcome::Failed(error) => Err(error),
        }
    }

    /// The next task to end and how; none where all have.
    async fn next(&mut self) -> Option<(Name, anyhow::Result<()>)> {
        let (id, result) = match self.set.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(died(error))),
        };
        Some((self.names.remove(&id).unwrap_or_default(), result))
    }

    fn stuck(&self) -> anyhow::Error {
        let mut names: Vec<_> = self.names.values().map(AsRef::as_ref).collect();
        names.sort_unstable();
        anyhow!("not stopped after {} s: {}", GRACE.as_secs(), names.join(", "))
    }
}

/// Why a service ends.
enum Outcome {
    /// It was asked to.
    Asked,
    /// This task ended, and nobody knows why.
    Ended(Name),
    /// The first error.
    Failed(anyhow::Error),
}

impl Outcome {
    /// Keeps the first error as the service's reason; what follows from it is logged here, for nobody else hears of it.
    fn settle(&mut self, error: anyhow::Error) {
        match self {
            Self::Asked | Self::Ended(_) => *self = Self::Failed(error),
            Self::Failed(_) => tracing::warn!(error = format!("{error:#}"), "while shutting down after a failure"),
        }
    }
}

fn failed(name: &str, error: anyhow::Error) -> anyhow::Error {
    error.context(format!("task {name} failed"))
}

fn died(error: JoinError) -> anyhow::Error {
    match error.try_into_panic() {
        Ok(panic) => panicked(&*panic),
        Err(error) => error.into(),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> anyhow::Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    anyhow!("panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    /// A task that stops when it is asked to, and says so.
    fn obedient(
        shutdown: &CancellationToken,
    ) -> (impl Future<Output = anyhow::Result<()>> + use<>, oneshot::Receiver<()>) {
        let (stopped, heard) = oneshot::channel();
        let shutdown = shutdown.clone();
        let task = async move {
            shutdown.cancelled().await;
            let _ = stopped.send(());
            Ok(())
        };
        (task, heard)
    }

    #[tokio::test]
    async fn a_task_that_fails_ends_the_service_with_its_name_and_reason() {
        let (mut tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        let (other, stopped) = obedient(&shutdown);
        tasks.spawn("uplink", other);
        tasks.spawn("spool", async { Err(anyhow!("disk full").context("cannot write")) });
        let error = tasks.join(shutdown.clone()).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "task spool failed: cannot write: disk full");
        assert!(shutdown.is_cancelled());
        stopped.await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_the_service_with_its_name_and_reason() {
        let (mut tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("windows", async { panic!("index {}", 7) });
        let error = tasks.join(shutdown).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "task windows failed: panicked: index 7");
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_ends_the_service() {
        let (mut tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("listener", async { Ok(()) });
        let error = tasks.join(shutdown).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "task listener ended although nothing asked it to");
    }

    #[tokio::test]
    async fn the_error_of_the_task_on_which_another_ended_is_the_reason() {
        let (mut tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        let (requests, mut served) = tokio::sync::mpsc::channel::<()>(1);
        tasks.spawn("ledger", async move {
            assert_eq!(served.recv().await, None);
            Ok(())
        });
        tasks.spawn("intake", async move {
            drop(requests);
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(anyhow!("the topics are another's"))
        });
        let error = tasks.join(shutdown).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "task intake failed: the topics are another's");
    }

    #[tokio::test]
    async fn a_task_may_ask_for_the_shutdown_itself() {
        let (mut tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        let asks = shutdown.clone();
        tasks.spawn("replay", async move {
            asks.cancel();
            Ok(())
        });
        tasks.join(shutdown).await.unwrap();
    }

    #[tokio::test]
    async fn a_thread_bears_its_name_and_follows_the_same_rule() {
        let (mut tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        tasks.spawn_blocking("writer", || bail!("thread {}", std::thread::current().name().unwrap_or("-"))).unwrap();
        let error = tasks.join(shutdown).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "task writer failed: thread writer");

        let (mut tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        tasks.spawn_blocking("writer", || panic!("torn")).unwrap();
        let error = tasks.join(shutdown).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "task writer failed: panicked: torn");
    }

    #[tokio::test]
    async fn a_shutdown_that_every_task_follows_is_ok() {
        let (mut tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("uplink", obedient(&shutdown).0);
        let (stop, asked) = std::sync::mpsc::sync_channel::<()>(0);
        tasks.spawn_blocking("writer", move || Ok(asked.recv()?)).unwrap();
        shutdown.cancel();
        stop.send(()).unwrap();
        tasks.join(shutdown).await.unwrap();
    }

    #[tokio::test]
    async fn an_error_while_shutting_down_is_the_service_s() {
        let (mut tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        let asked = shutdown.clone();
        tasks.spawn("ledger", async move {
            asked.cancelled().await;
            bail!("not flushed")
        });
        shutdown.cancel();
        let error = tasks.join(shutdown).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "task ledger failed: not flushed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_finish_in_time_is_named() {
        let (mut tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("sink", std::future::pending());
        tasks.spawn("uplink", obedient(&shutdown).0);
        shutdown.cancel();
        let error = tasks.join(shutdown).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "not stopped after 10 s: sink");
    }
}
