//! The agents' own metrics, `gaitway_relay_agent_…{agent}`.

use std::sync::Arc;

use gaitway_proto::topic::AgentId;
use gaitway_service::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::{Agents, Entry};
use crate::link::LinkIds;

/// One agent's numbers.
#[derive(Debug)]
pub(super) struct Measured {
    agent: String,
    /// Microseconds since the Unix epoch.
    heard_at: i64,
    is_here: bool,
    frames: u64,
    backlog: u64,
}

impl Measured {
    pub(super) fn of(agent: &AgentId, entry: &Entry) -> Self {
        Self {
            agent: agent.to_string(),
            heard_at: entry.heard_at,
            is_here: entry.link.is_some() && entry.welcomed,
            frames: entry.frames,
            backlog: entry.backlog(),
        }
    }
}

/// Shows the numbers at the moment they are asked for.
#[derive(Debug)]
pub(crate) struct Measures(Arc<Agents>);

impl Measures {
    /// Registers those of `agents`.
    pub(crate) fn register(agents: &Arc<Agents>, metrics: &Metrics) {
        metrics.register(|registry| registry.register_collector(Box::new(Self(Arc::clone(agents)))));
    }
}

impl Agents {
    /// Registers the metrics of one agent, for those who describe them.
    pub(crate) fn described(metrics: &Metrics) {
        let agents = Arc::new(Self::default());
        Measures::register(&agents, metrics);
        if let Ok(agent) = "agent".parse() {
            agents.linked(0, &agent, LinkIds::default().next());
        }
    }
}

/// A gauge of each agent: name without unit, help, unit, value.
type OfEach = (&'static str, &'static str, Option<Unit>, fn(&Measured) -> i64);

const GAUGES: [OfEach; 3] = [
    (
        "relay_agent_seen_timestamp",
        "When an agent was last heard, since the Unix epoch; of the first 1,000 by id",
        Some(Unit::Seconds),
        |agent| agent.heard_at.div_euclid(1_000_000),
    ),
    ("relay_agent_welcomed", "1 while an agent has a session; of the first 1,000 by id", None, |agent| {
        i64::from(agent.is_here)
    }),
    (
        "relay_agent_backlog_frames",
        "Frames that an agent said it has and that are not committed; of the first 1,000 by id",
        None,
        |agent| i64::try_from(agent.backlog).unwrap_or(i64::MAX),
    ),
];

impl Collector for Measures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let (agents, unmeasured) = self.0.measured();
        for (name, help, unit, value) in &GAUGES {
            let kind = ConstGauge::new(0_i64).metric_type();
            let mut of_each = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
            for agent in &agents {
                let gauge = ConstGauge::new(value(agent));
                gauge.encode(of_each.encode_family(&[("agent", agent.agent.as_str())])?)?;
            }
        }
        let help = "Frames of an agent committed since it was first heard; of the first 1,000 by id";
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut of_each = encoder.encode_descriptor("relay_agent_frames", help, None, kind)?;
        for agent in &agents {
            let counter = ConstCounter::new(agent.frames);
            counter.encode(of_each.encode_family(&[("agent", agent.agent.as_str())])?)?;
        }
        let more = ConstGauge::new(i64::try_from(unmeasured).unwrap_or(i64::MAX));
        let help = "Agents beyond the first 1,000 by id, which have no metrics of their own";
        more.encode(encoder.encode_descriptor("relay_unmeasured_agents", help, None, more.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MOST_MEASURED;
    use super::*;

    #[test]
    fn an_agent_has_its_numbers() {
        let (agents, metrics, link) = (Arc::new(Agents::default()), Metrics::new(), LinkIds::default().next());
        Measures::register(&agents, &metrics);
        agents.linked(1_700_000_000_999_999, &"pi".parse().unwrap(), link);
        let text = metrics.encode();
        for line in [
            "gaitway_relay_agent_seen_timestamp_seconds{agent=\"pi\"} 1700000000",
            "gaitway_relay_agent_welcomed{agent=\"pi\"} 0",
            "gaitway_relay_agent_backlog_frames{agent=\"pi\"} 0",
            "gaitway_relay_agent_frames_total{agent=\"pi\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn the_first_by_id_have_numbers_however_long_they_are_away() {
        let (agents, metrics, links) = (Arc::new(Agents::default()), Metrics::new(), LinkIds::default());
        Measures::register(&agents, &metrics);
        assert!(metrics.encode().lines().any(|line| line == "gaitway_relay_unmeasured_agents 0"));
        for number in 0..MOST_MEASURED + 2 {
            let heard_at = i64::try_from(number).unwrap() * 1_000_000;
            agents.linked(heard_at, &format!("pi-{number:04}").parse().unwrap(), links.next());
        }
        let text = metrics.encode();
        assert_eq!(text.matches("gaitway_relay_agent_welcomed{").count(), MOST_MEASURED);
        assert!(text.contains("{agent=\"pi-0000\"}") && text.contains("{agent=\"pi-0999\"}"));
        assert!(!text.contains("{agent=\"pi-1000\"}"));
        assert!(text.lines().any(|line| line == "gaitway_relay_unmeasured_agents 2"), "{text}");
    }
}
