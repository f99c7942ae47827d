//! What waits to be told to the agent's writer: bounded by the number of streams, because only the newest
//! acknowledgement of each counts. A busy writer never holds up the link.

use std::collections::BTreeMap;
use std::future::pending;

use anyhow::Context;
use gaitway_proto::ledger::{Epoch, Stream};
use tokio::sync::{mpsc, oneshot};

use super::ToAgent;

#[derive(Debug)]
pub(super) struct Outlet {
    agent: mpsc::Sender<ToAgent>,
    welcomed: bool,
    copied: Option<(u64, String)>,
    acknowledged: BTreeMap<(Epoch, Stream), u64>,
    letting_go: Option<oneshot::Receiver<()>>,
}

/// What passed between uplink and writer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// The writer was told something.
    Told,
    /// The writer has let go of inherited windows.
    LetGo,
}

impl Outlet {
    pub(super) fn new(agent: mpsc::Sender<ToAgent>) -> Self {
        Self { agent, welcomed: false, copied: None, acknowledged: BTreeMap::new(), letting_go: None }
    }

    pub(super) fn welcomed(&mut self) {
        self.welcomed = true;
    }

    pub(super) fn copied(&mut self, common: u64, why: String) {
        self.copied = Some((common, why));
    }

    pub(super) fn acknowledged(&mut self, epoch: Epoch, stream: Stream, up_to: u64) {
        self.acknowledged.insert((epoch, stream), up_to);
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.welcomed && self.copied.is_none() && self.acknowledged.is_empty()
    }

    /// Tells the writer one thing, or hears from it; waits for ever if there is neither. May be dropped and called
    /// again.
    pub(super) async fn exchange(&mut self) -> anyhow::Result<Exchange> {
        let idle = self.is_empty();
        let letting_go = async {
            match &mut self.letting_go {
                Some(letting_go) => letting_go.await,
                None => pending().await,
            }
        };
        tokio::select! {
            permit = self.agent.reserve(), if !idle => {
                let permit = permit.context("the agent's writer has ended")?;
                if let Some((common, why)) = self.copied.take() {
                    let (done, letting_go) = oneshot::channel();
                    self.letting_go = Some(letting_go);
                    permit.send(ToAgent::Copied { common, why, done });
                } else if std::mem::take(&mut self.welcomed) {
                    permit.send(ToAgent::Welcomed);
                } else if let Some(((epoch, stream), up_to)) = self.acknowledged.pop_first() {
                    permit.send(ToAgent::Acknowledged { epoch, stream, up_to });
                }
                Ok(Exchange::Told)
            }
            done = letting_go => {
                self.letting_go = None;
                done.context("the agent's writer did not let go of inherited windows")?;
                Ok(Exchange::LetGo)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_newest_acknowledgement_is_told_and_a_copy_comes_first() {
        let (agent, mut told) = mpsc::channel(4);
        let mut outlet = Outlet::new(agent);
        let epoch = Epoch::from_random(1);
        outlet.acknowledged(epoch, Stream::Raw, 3);
        outlet.acknowledged(epoch, Stream::Raw, 5);
        outlet.welcomed();
        outlet.copied(2, "restored".into());
        while !outlet.is_empty() {
            assert_eq!(outlet.exchange().await.unwrap(), Exchange::Told);
        }
        let ToAgent::Copied { common: 2, done, .. } = told.recv().await.unwrap() else { panic!("not the copy") };
        assert!(matches!(told.recv().await, Some(ToAgent::Welcomed)));
        let ToAgent::Acknowledged { up_to: 5, .. } = told.recv().await.unwrap() else { panic!("not the newest") };
        assert!(told.try_recv().is_err());
        done.send(()).unwrap();
        assert_eq!(outlet.exchange().await.unwrap(), Exchange::LetGo);
    }
}
