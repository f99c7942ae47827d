//! Reads recordings on threads of their own and lets every phone play.
//!
//! - A recording is read once for all its phones, a few messages ahead of the slowest; memory does not grow with it.
//! - Phones share nothing but the report: one that gives up does not stop another.

use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::body::Identity;
use super::pace::Speed;
use super::patience::Patience;
use super::phone::{Phone, Shared, locked};
use super::post::{Postbox, Target};
use super::progress::{Estimate, Progress};
use super::report::Report;
use super::source::{Push, Recording};

/// Messages read ahead of a phone.
const READ_AHEAD: usize = 8;

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// How recordings are played.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// Where to.
    pub(super) target: Target,
    /// How fast.
    pub(super) speed: Speed,
    /// Phones for each recording.
    pub(super) phones: u64,
    /// The app's batch period.
    pub(super) batch: Duration,
    /// How long a phone tries without success.
    pub(super) give_up: Duration,
}

/// Plays everything, or until `interrupt` completes.
pub(super) async fn play(
    recordings: Vec<Recording>,
    options: &Options,
    mut progress: Progress,
    interrupt: impl Future<Output = ()>,
) -> anyhow::Result<Report> {
    let start = Instant::now();
    let report = Shared::default();
    let estimates: Arc<[Estimate]> = recordings.iter().map(|_| Estimate::default()).collect();
    let mut phones = JoinSet::new();
    for (index, recording) in recordings.into_iter().enumerate() {
        let mut senders = Vec::new();
        for identity in identities(&recording.identity, options.phones) {
            let (sender, pushes) = mpsc::channel(READ_AHEAD);
            let phone = Phone {
                identity,
                postbox: Postbox::new(options.target.clone()).context("cannot set up an HTTP client")?,
                pushes,
                start,
                speed: options.speed,
                patience: Patience::new(options.give_up),
                report: report.clone(),
            };
            senders.push(sender);
            phones.spawn(phone.play());
        }
        let (report, estimates, batch) = (report.clone(), estimates.clone(), options.batch);
        thread::Builder::new()
            .name(format!("replay-read-{index}"))
            .spawn(move || read(recording, batch, senders, &estimates[index], &report))
            .context("cannot start a thread to read with")?;
    }
    let expected = || estimates.iter().map(Estimate::messages).sum::<u64>().saturating_mul(options.phones);
    let mut show = tokio::time::interval(SHOW_EVERY);
    let mut interrupt = std::pin::pin!(interrupt);
    let interrupted = loop {
        tokio::select! {
            phone = phones.join_next() => match phone {
                Some(ended) => ended.context("a phone has stopped by itself")?,
                None => break false,
            },
            () = &mut interrupt => break true,
            _ = show.tick() => progress.show(&locked(&report), start.elapsed(), expected()),
        }
    };
    progress.clear();
    let mut report = locked(&report).clone();
    report.elapsed = start.elapsed();
    report.interrupted = interrupted;
    Ok(report)
}

/// Who plays a recording: itself alone, or `phones` with a number behind their ids.
fn identities(of: &Identity, phones: u64) -> Vec<Identity> {
    let numbered = |number| Identity { suffix: format!("-{number}"), ..of.clone() };
    if phones == 1 { vec![of.clone()] } else { (1..=phones).map(numbered).collect() }
}

/// Reads a recording for the phones that still play it.
fn read(
    recording: Recording,
    batch: Duration,
    mut phones: Vec<mpsc::Sender<Push>>,
    estimate: &Estimate,
    report: &Shared,
) {
    let size = recording.size;
    let (mut messages, mut done) = (0, 0);
    let pushes = match recording.pushes(batch) {
        Ok(pushes) => pushes,
        Err(error) => return locked(report).unread(format!("{error:#}")),
    };
    for push in pushes {
        let push = match push {
            Ok(push) => push,
            Err(error) => return locked(report).unread(format!("{error:#}")),
        };
        messages += 1;
        done += push.share;
        estimate.update(messages, done, size);
        phones.retain(|phone| phone.blocking_send(push.clone()).is_ok());
        if phones.is_empty() {
            return;
        }
    }
    estimate.settle(messages);
}
