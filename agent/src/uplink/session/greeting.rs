//! Hello and welcome: what both sides have, and whether this data directory is a copy.

use std::time::{Duration, Instant};

use gaitway_proto::envelope::{Hello, Welcome};
use gaitway_proto::limits::MAX_HELLO_STREAMS;

use super::effect::Effect;
use super::flow::{Committed, Flow, Standing};
use super::{Copied, Phase, REFUSED_PAUSE, Uplink};

/// On one connection hellos keep this distance.
const BETWEEN_HELLOS: Duration = Duration::from_secs(1);

impl Uplink {
    pub(super) fn greet_again(&mut self, now: Instant) {
        self.end_session();
        let at = self.last_hello.map_or(now, |last| now.max(last + BETWEEN_HELLOS));
        self.phase = Phase::Greeting { at };
        if at <= now {
            self.say_hello(now);
        }
    }

    pub(super) fn say_hello(&mut self, now: Instant) {
        self.session = self.numbers.draw().max(1);
        let (epoch, ancestors) = (self.epoch, self.ancestors.clone());
        let in_line = |f: &Flow| f.epoch == epoch || ancestors.contains(&f.epoch);
        let mut left = MAX_HELLO_STREAMS.saturating_sub(self.flows.iter().filter(|f| in_line(f)).count());
        let mut streams = Vec::new();
        for flow in &mut self.flows {
            let in_line = in_line(flow);
            if in_line || (flow.undrained() && left > 0) {
                left -= usize::from(!in_line);
                flow.standing = Standing::Offered;
                streams.push(flow.offer());
            }
        }
        let hello = Hello { session: self.session, software: self.software.clone(), epoch, ancestors, streams };
        self.effects.push_back(Effect::Hello(hello));
        self.tally.hellos += 1;
        self.last_hello = Some(now);
        self.phase = Phase::Greeted { at: now };
    }

    pub(super) fn handle_welcome(&mut self, now: Instant, welcome: &Welcome) {
        if !matches!(self.phase, Phase::Greeted { .. }) {
            self.tally.ignored += 1;
            return;
        }
        let ordinal = |epoch| self.flows.iter().find(|f| f.epoch == epoch).map_or(0, Flow::ordinal);
        // The last start in common, and how that is known. If several tell, the oldest counts: who left there has what
        // was open then.
        let mut copy = welcome
            .forked
            .map(|common| (ordinal(common), format!("start {common}, the last that both have, goes on elsewhere")));
        let mut acknowledged = Vec::new();
        let mut refusal = None;
        for granted in &welcome.streams {
            let offered = |f: &&mut Flow| f.is(granted.epoch, granted.stream) && f.standing == Standing::Offered;
            let Some(flow) = self.flows.iter_mut().find(offered) else {
                self.tally.ignored += 1;
                continue;
            };
            let before = flow.acked();
            match flow.welcome(granted) {
                Committed::Known => {}
                Committed::UpTo(up_to) => acknowledged.push((flow.epoch, flow.stream, before, up_to)),
                Committed::Ahead if flow.epoch == self.epoch => {
                    refusal = Some(format!(
                        "the relay has frames of this very start that were not sent from here ({} up to {}, here up to \
                         {}): a running copy of this agent sends them; restart the agent",
                        flow.stream,
                        granted.committed,
                        flow.next() - 1
                    ));
                }
                Committed::Ahead => {
                    // Of a start that is not of this line not all may be here, without a copy being the reason.
                    let in_line = self.ancestors.contains(&flow.epoch);
                    if in_line && copy.as_ref().is_none_or(|(common, _)| flow.ordinal() < *common) {
                        let why = format!(
                            "the relay has {} of start {} up to {}, here it ends at {}",
                            flow.stream,
                            flow.epoch,
                            granted.committed,
                            flow.next() - 1
                        );
                        copy = Some((flow.ordinal(), why));
                    }
                    if let Some(up_to) = flow.acknowledge_all() {
                        acknowledged.push((flow.epoch, flow.stream, before, up_to));
                    }
                }
            }
        }
        if let Some((common, why)) = copy.filter(|_| self.copied == Copied::Unseen) {
            self.copied = Copied::LettingGo;
            // The writer notes the welcome as it lets go: not before, or the next start would not hear of the copy.
            self.told_welcomed = true;
            self.effects.push_back(Effect::Copied { common, why: format!("this data directory is a copy: {why}") });
        }
        for (epoch, stream, before, up_to) in acknowledged {
            self.tell_spool(epoch, stream, before, up_to);
        }
        if let Some(reason) = refusal {
            self.end_session();
            self.phase = Phase::Refused { until: now + REFUSED_PAUSE, reason };
            return;
        }
        if let Some(flow) = self.flows.iter().find(|f| f.standing == Standing::Offered) {
            let reason = format!("the welcome leaves out {} of start {}", flow.stream, flow.epoch);
            self.leave(reason);
            return;
        }
        self.tally.welcomes += 1;
        self.phase = Phase::Welcomed;
        if !std::mem::replace(&mut self.told_welcomed, true) {
            self.effects.push_back(Effect::Welcomed);
        }
    }
}
