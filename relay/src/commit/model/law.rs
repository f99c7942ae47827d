//! What must hold at every moment, and in the end.

use std::collections::BTreeMap;

use gaitway_proto::envelope::Down;
use gaitway_proto::ledger::{Epoch, Source};

use super::agent::Talk;
use super::{LIMITS, World};
use crate::commit::Commit;
use crate::commit::progress::Progress;
use crate::link::LinkId;

impl World {
    /// Acknowledgements never run ahead of the ledger; one line at most continues a start.
    pub(super) fn deliver(&mut self, link: LinkId, down: Down) {
        let is = |talk: &Talk| talk.wire.link == link;
        let Some(agent) = self.agents.iter_mut().find(|agent| agent.talk.as_ref().is_some_and(is)) else { return };
        let position = |epoch, stream| self.ledger.position(&Source::stream(&agent.id, epoch, stream)).unwrap_or(0);
        match &down {
            Down::Ack(ack) => assert!(ack.up_to <= position(ack.epoch, ack.stream), "{ack:?}"),
            Down::Welcome(welcome) => {
                for granted in &welcome.streams {
                    assert!(granted.committed <= position(granted.epoch, granted.stream), "{granted:?}");
                }
                let heir_of = |start| self.ledger.position(&Source::heir(&agent.id, start)).map(Epoch::from_random);
                let before = |start: Epoch, later: Epoch| self.lines[&later].contains(&start);
                match welcome.forked {
                    None => {
                        for &ancestor in agent.ancestors() {
                            assert!(heir_of(ancestor).is_some(), "welcomed before its heir is durable");
                            let heirs = self.heirs.entry((agent.id.clone(), ancestor)).or_default();
                            heirs.insert(agent.epoch);
                            for &heir in heirs.iter().filter(|heir| **heir != agent.epoch) {
                                assert!(before(heir, agent.epoch), "{heir} and {} continue {ancestor}", agent.epoch);
                            }
                        }
                    }
                    Some(common) => {
                        let line = std::iter::once(agent.epoch).chain(agent.ancestors().iter().copied());
                        let own: Vec<Epoch> = line.take_while(|start| *start != common).collect();
                        assert!(own.len() <= agent.named, "{common} is not of the line");
                        if let Some(heir) = heir_of(common) {
                            assert!(heir != agent.epoch && !before(heir, agent.epoch), "{heir} is of the same line");
                            assert!(before(common, heir), "{heir} never had {common}");
                            let shared = own.iter().find(|start| before(**start, heir));
                            assert_eq!(shared, None, "has {heir} too");
                        } else {
                            assert_eq!(self.displaced.get(&link), Some(&common), "nobody else continues it");
                        }
                    }
                }
            }
            _ => {}
        }
        if let Some(talk) = &mut agent.talk {
            talk.down.push_back(down);
        }
    }

    /// Nobody becomes the heir of a start that was alive when its link was displaced.
    pub(super) fn check_claims(&self, commit: &Commit) {
        for (agent, known) in &self.machine.agents {
            let Some(running) = known.seat.as_ref().and_then(|seat| self.displaced.get(&seat.link)) else { continue };
            let heir = Source::heir(agent, *running);
            assert!(commit.heirs.iter().all(|mark| mark.source != heir), "an heir of {running}, which was alive");
        }
    }

    pub(super) fn check(&self) {
        let streams = || self.machine.agents.values().flat_map(|agent| agent.streams.values());
        let granted: usize = streams().map(|progress| progress.granted() as usize).sum();
        assert!(granted <= LIMITS.budget, "{granted} bytes granted");
        let held: usize = streams().map(Progress::held).sum();
        assert_eq!(held, self.machine.held());
        for agent in self.machine.agents.values() {
            assert!(agent.seat.is_some() || agent.streams.values().all(|progress| progress.held() > 0));
        }
    }

    /// Every name ever given is in the ledger exactly once, in order, with what it stood for.
    pub(in crate::commit) fn verify(&self) {
        let mut next: BTreeMap<Source, u64> = BTreeMap::new();
        for row in self.ledger.rows() {
            let due = next.entry(row.source.clone()).or_insert(1);
            assert_eq!((row.seq, row.index), (*due, 0), "{}", row.source);
            *due = row.to_seq + 1;
            if row.json.contains("walking") {
                let epoch = row.source.as_str().split('/').nth(1).unwrap();
                assert!(row.json.contains(&format!("\"{epoch}-{}\"", row.seq)), "{}", row.json);
            }
        }
        for (source, end) in self.names.iter().filter(|(source, _)| !self.elsewhere.contains(source)) {
            assert_eq!(next.get(source), Some(end), "{source}");
            assert_eq!(self.ledger.position(source), Some(end - 1), "{source}");
        }
        assert!(self.machine.agents.is_empty(), "nothing is remembered of agents that are gone");
        assert!(self.machine.reminded.is_empty() && self.machine.hellos.is_empty());
        assert!(self.machine.presence.is_empty());
    }
}
