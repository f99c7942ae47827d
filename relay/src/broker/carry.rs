//! One agent behind the broker: what waits of it to the intake, the intake's words to the broker.
//!
//! - It is linked before anything is handed over, and unlinked before its place is free.
//! - Words go out while the intake does not take what waits.

use std::sync::{Arc, Mutex, PoisonError};

use gaitway_proto::envelope::Down;
use gaitway_proto::topic;
use rumqttc::{AsyncClient, QoS};
use tokio::sync::{Semaphore, mpsc};

use super::queues::{Cut, Guest, Queues};
use crate::intake::{Closed, OUTBOX};
use crate::listener::Context;

/// Serves `guest` until it is cut off or the intake lets go of it.
pub(super) async fn carry(guest: Guest, client: AsyncClient, queues: Arc<Mutex<Queues>>, context: Arc<Context>) {
    context.metrics.connections.inc();
    context.status.connected();
    if let Some(before) = context.tell(Some(&guest.agent), "connected") {
        tracing::info!(agent = %guest.agent, like_it_before = before.count(), "agent heard by the broker");
    }
    let (outbox, words) = mpsc::channel(OUTBOX);
    let served = async {
        context.inlet.linked(guest.link, guest.agent.clone(), outbox).await?;
        tokio::select! {
            () = hand_over(&guest, &queues, &context) => {}
            () = say(&guest, &client, words) => {}
        }
        Ok::<_, Closed>(())
    };
    let cut = tokio::select! {
        cut = guest.end.wait() => *cut,
        _ = served => Cut::Left,
    };
    // At shutdown there is nobody left to tell.
    let _ = context.inlet.gone(guest.link, None).await;
    queues.lock().unwrap_or_else(PoisonError::into_inner).leave(&guest);
    context.metrics.count_closed(cut.label());
    context.status.disconnected();
    context.metrics.connections.dec();
    if let Some(before) = context.tell(Some(&guest.agent), cut.label()) {
        let (agent, like_it_before) = (&guest.agent, before.count());
        tracing::info!(%agent, reason = cut.label(), like_it_before, "agent's session by the broker ended");
    }
}

/// Hands over what waits, in its order, as the intake takes it.
async fn hand_over(guest: &Guest, queues: &Mutex<Queues>, context: &Context) {
    let turn = Arc::new(Semaphore::new(1));
    let next = || queues.lock().unwrap_or_else(PoisonError::into_inner).next(guest);
    loop {
        let Some((up, payload)) = next() else {
            guest.more.notified().await;
            continue;
        };
        let bytes = payload.len();
        if context.inlet.publish(guest.link, Arc::clone(&turn), up, payload).await.is_err() {
            // The relay shuts down: its last words are still to be said.
            return std::future::pending().await;
        }
        queues.lock().unwrap_or_else(PoisonError::into_inner).handed(guest, bytes);
    }
}

/// Publishes the intake's words until it has no more.
async fn say(guest: &Guest, client: &AsyncClient, mut words: mpsc::Receiver<Down>) {
    let topic = topic::down(&guest.agent);
    while let Some(word) = words.recv().await {
        if client.publish(topic.as_str(), QoS::AtLeastOnce, false, word.encode()).await.is_err() {
            return;
        }
    }
}
