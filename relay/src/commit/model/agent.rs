//! An agent as simple as can be: it keeps everything until it is acknowledged, and sends within its grant.

use std::collections::{BTreeMap, VecDeque};

use gaitway_proto::envelope::{Batch, Down, Hello, Item, Offer, Session};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::topic::AgentId;

use crate::link::LinkId;

#[derive(Debug, Clone)]
pub(super) enum Up {
    Hello(Hello),
    Batch(Batch),
}

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) agent: AgentId,
    pub(super) link: LinkId,
    /// Hello, raw, activity: order holds within each only.
    pub(super) up: [VecDeque<Up>; 3],
}

#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) ordinal: u64,
    pub(super) items: Vec<(u64, Item)>,
    pub(super) next: u64,
    pub(super) acked: u64,
}

impl Log {
    pub(super) fn new(ordinal: u64) -> Self {
        Self { ordinal, items: Vec::new(), next: 1, acked: 0 }
    }
}

#[derive(Debug)]
pub(super) struct Talk {
    pub(super) wire: Wire,
    pub(super) down: VecDeque<Down>,
    pub(super) session: Session,
    pub(super) welcomed: bool,
    pub(super) sent: BTreeMap<(Epoch, Stream), (u64, u32)>,
}

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: AgentId,
    pub(super) epoch: Epoch,
    pub(super) ordinal: u64,
    /// Every start before, newest first.
    pub(super) line: Vec<Epoch>,
    /// How many of them a hello names.
    pub(super) named: usize,
    /// The present start was welcomed.
    pub(super) welcomed: bool,
    /// The next start will know so.
    pub(super) noted: bool,
    pub(super) logs: BTreeMap<(Epoch, Stream), Log>,
    pub(super) talk: Option<Talk>,
}

impl Agent {
    pub(super) fn ancestors(&self) -> &[Epoch] {
        &self.line[..self.named]
    }

    pub(super) fn is_drained(&self) -> bool {
        self.logs.values().all(|log| log.acked + 1 == log.next)
    }

    pub(super) fn hello(&mut self) {
        let ancestors = self.ancestors().to_vec();
        let Some(talk) = &mut self.talk else { return };
        let offers = self.logs.iter().map(|(&(epoch, stream), log)| Offer {
            epoch,
            ordinal: log.ordinal,
            stream,
            first: log.acked + 1,
            next: log.next,
        });
        talk.wire.up[0].push_back(Up::Hello(Hello {
            session: talk.session,
            software: "model".to_owned(),
            epoch: self.epoch,
            ancestors,
            streams: offers.collect(),
        }));
    }

    /// Sends the next batch of the first start with something to send, if the grant lets it.
    pub(super) fn send(&mut self, stream: Stream) {
        let Some(talk) = self.talk.as_mut().filter(|talk| talk.welcomed) else { return };
        for (&(epoch, kind), log) in &self.logs {
            let Some((cursor, grant)) = talk.sent.get_mut(&(epoch, stream)).filter(|_| kind == stream) else {
                continue;
            };
            let size = |from: u64, to: u64| -> usize {
                log.items.iter().filter(|(seq, _)| (from..to).contains(seq)).map(|(_, item)| item.size()).sum()
            };
            let under_way = size(log.acked + 1, *cursor);
            let items: Vec<(u64, Item)> = log.items.iter().filter(|(seq, _)| seq >= cursor).take(3).cloned().collect();
            let Some((first, _)) = items.first().cloned() else { continue };
            let bytes: usize = items.iter().map(|(_, item)| item.size()).sum();
            if under_way > 0 && under_way + bytes > *grant as usize {
                return;
            }
            *cursor = items.last().map_or(first, |(seq, item)| seq + item.span());
            let items = items.into_iter().map(|(_, item)| item).collect();
            let lane = if stream == Stream::Raw { 1 } else { 2 };
            talk.wire.up[lane].push_back(Up::Batch(Batch { session: talk.session, epoch, stream, first, items }));
            return;
        }
    }
}
