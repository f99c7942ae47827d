//! What holds at the moment at which it is asked for, below `gaitway_agent_`.
//!
//! - Of what nobody knows there is no metric.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gaitway_service::clock;
use gaitway_service::metrics::Metrics;
use gaitway_service::tls::{Ends, Tls};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::sync::watch;

use crate::identity::Route;
use crate::spool::cap::SpoolConfig;
use crate::spool::quarantine;
use crate::status::AgentStatus;
use crate::writer::upkeep::disk;

/// Whom to ask.
#[derive(Debug)]
pub(crate) struct Now {
    status: Arc<AgentStatus>,
    data_dir: PathBuf,
    /// Part of the disk that stays free, percent.
    min_free_percent: f64,
    routes: watch::Receiver<Route>,
    /// Of the certificate that phones see.
    https: Option<Ends>,
}

impl Now {
    /// Of an agent with this spool and, in front of phones, this certificate.
    pub(crate) fn new(
        status: &Arc<AgentStatus>,
        data_dir: &Path,
        spool: &SpoolConfig,
        routes: &watch::Receiver<Route>,
        https: Option<&Tls>,
    ) -> Self {
        Self {
            status: Arc::clone(status),
            data_dir: data_dir.to_owned(),
            min_free_percent: spool.min_free_percent,
            routes: routes.clone(),
            https: https.map(Tls::ends),
        }
    }

    /// Of an agent that has just begun, with a certificate for the relay.
    pub(super) fn described() -> Self {
        let (_, routes) = watch::channel(Route { until: Some(0), ..Route::choose(None, None) });
        Self::new(&Arc::default(), Path::new("."), &SpoolConfig::default(), &routes, None)
    }

    /// Registers it.
    pub(crate) fn register(self, metrics: &Metrics) {
        metrics.register(|registry| registry.register_collector(Box::new(self)));
    }

    /// Until when each certificate is good.
    fn certificates(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let relay = self.routes.borrow().until;
        let https = self.https.as_ref().and_then(Ends::at);
        [("relay", relay), ("https", https)].into_iter().filter_map(|(name, until)| Some((name, until?)))
    }
}

impl Collector for Now {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut told = Told(encoder);
        let agent = self.status.snapshot();
        told.gauge("spool_cap", "The most that the spool takes: spool.max_bytes", Some(&Unit::Bytes), agent.spool_cap)?;
        let age = if agent.waiting == (0, 0) { Some(0.0) } else { agent.oldest.map(|age| age.as_secs_f64()) };
        if let Some(age) = age {
            let help = "Since the oldest frame that waits for the relay was accepted; 0 if none waits";
            let gauge = ConstGauge::new(age);
            let name = "agent_oldest_frame_age";
            gauge.encode(told.0.encode_descriptor(name, help, Some(&Unit::Seconds), gauge.metric_type())?)?;
        }
        let (free, size) = disk(&self.data_dir);
        if size > 0 {
            told.gauge("disk_free", "Bytes free on the spool's disk", Some(&Unit::Bytes), free)?;
            told.gauge("disk_size", "Size of the spool's disk", Some(&Unit::Bytes), size)?;
            let floor = size as f64 * self.min_free_percent / 100.0;
            let help = "Pushes are refused while less is free on the spool's disk: spool.min_free_percent";
            told.gauge("disk_floor", help, Some(&Unit::Bytes), floor as u64)?;
        }
        let aside = quarantine::aside_in(&self.data_dir).len() as u64;
        told.gauge("set_aside_spools", "Damaged spools beside the spool, which somebody may salvage", None, aside)?;
        let help = "1 while the machine's clock is known to be right, else 0";
        told.gauge("clock_synced", help, None, u64::from(clock::synchronised()))?;
        let help = "Until when the certificate is good, since the Unix epoch";
        let kind = ConstGauge::new(0_i64).metric_type();
        let name = "agent_certificate_expiry_timestamp";
        let mut each = told.0.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
        for (name, until) in self.certificates() {
            ConstGauge::new(until).encode(each.encode_family(&[("certificate", name)])?)?;
        }
        Ok(())
    }
}

struct Told<'a>(DescriptorEncoder<'a>);

impl Told<'_> {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let name = format!("agent_{name}");
        gauge.encode(self.0.encode_descriptor(&name, help, unit, gauge.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::status::Waiting;

    fn told(waiting: Waiting, until: Option<i64>) -> String {
        let (status, dir, metrics) = (Arc::new(AgentStatus::default()), tempfile::tempdir().unwrap(), Metrics::new());
        status.begin(2 << 30, [2.0, 8.0, 20.0]);
        status.tell(Vec::new(), 0, waiting);
        let (_routes, routes) = watch::channel(Route { until, ..Route::choose(None, None) });
        let data_dir = dir.path().to_owned();
        Now { status, data_dir, min_free_percent: 5.0, routes, https: None }.register(&metrics);
        metrics.encode()
    }

    fn number(text: &str, name: &str) -> Option<f64> {
        let name = format!("gaitway_agent_{name}");
        text.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '))?.parse().ok()
    }

    #[test]
    fn nothing_waits_for_no_time() {
        let text = told(Waiting::default(), None);
        assert_eq!(number(&text, "oldest_frame_age_seconds"), Some(0.0));
        assert_eq!(number(&text, "spool_cap_bytes"), Some(f64::from(1_u32 << 31)));
        assert!(!text.contains("certificate=\""), "{text}");
    }

    #[test]
    fn what_waits_has_an_age_unless_nobody_knows_it() {
        let waiting = Waiting { raw: 1, oldest: Some(Duration::from_secs(60)), ..Waiting::default() };
        assert!(number(&told(waiting, None), "oldest_frame_age_seconds").unwrap() >= 60.0);
        let waiting = Waiting { raw: 1, ..Waiting::default() };
        assert_eq!(number(&told(waiting, None), "oldest_frame_age_seconds"), None);
    }

    #[test]
    fn the_floor_is_a_part_of_the_disk() {
        let text = told(Waiting::default(), None);
        let [size, floor] = ["disk_size_bytes", "disk_floor_bytes"].map(|name| number(&text, name).unwrap());
        assert!((floor - size / 20.0).abs() <= size / 1e9 + 1.0, "{floor} of {size}");
        assert!(number(&text, "disk_free_bytes").unwrap() <= size);
    }

    #[test]
    fn what_was_set_aside_is_told_until_somebody_takes_it_away() {
        let (status, dir, metrics) = (Arc::new(AgentStatus::default()), tempfile::tempdir().unwrap(), Metrics::new());
        let (_routes, routes) = watch::channel(Route::choose(None, None));
        let data_dir = dir.path().to_owned();
        Now { status, data_dir, min_free_percent: 5.0, routes, https: None }.register(&metrics);
        let told = || number(&metrics.encode(), "set_aside_spools");
        assert_eq!(told(), Some(0.0));
        let aside = dir.path().join("spool.db.damaged-20261127T000000Z");
        std::fs::write(&aside, "x").unwrap();
        assert_eq!(told(), Some(1.0));
        std::fs::remove_file(aside).unwrap();
        assert_eq!(told(), Some(0.0));
    }

    #[test]
    fn a_certificate_tells_its_end() {
        let text = told(Waiting::default(), Some(1_800_000_000));
        let line = "gaitway_agent_certificate_expiry_timestamp_seconds{certificate=\"relay\"} 1800000000\n";
        assert!(text.contains(line), "{text}");
    }
}
