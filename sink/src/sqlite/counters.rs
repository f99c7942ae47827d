//! What a warehouse says about itself, readable from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gaitway_service::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::retention::Reason;

/// Numbers of one warehouse since it was opened.
#[derive(Debug)]
pub struct Counters {
    deleted: [AtomicU64; Reason::ALL.len()],
    used_bytes: AtomicU64,
    wal_bytes: AtomicU64,
    set_aside: AtomicU64,
    cap_bytes: AtomicU64,
    /// None is [`UNKNOWN`].
    disk_free_bytes: AtomicU64,
}

/// What the system does not tell.
const UNKNOWN: u64 = u64::MAX;

/// Shows the numbers at the moment they are asked for.
#[derive(Debug)]
struct Shown(Arc<Counters>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let bytes = Some(&Unit::Bytes);
        for (name, help, value) in [
            ("warehouse_used", "Bytes of the warehouse that hold data", self.0.used_bytes()),
            ("warehouse_log", "Bytes of the warehouse's write-ahead log", self.0.wal_bytes()),
            ("warehouse_cap", "The most that the warehouse may hold: max_bytes", self.0.cap_bytes.load(Relaxed)),
            ("warehouse_disk_free", "Bytes free on the warehouse's disk", self.0.disk_free_bytes.load(Relaxed)),
        ] {
            if value == UNKNOWN {
                continue;
            }
            let gauge = ConstGauge::new(value as i64);
            gauge.encode(encoder.encode_descriptor(name, help, bytes, gauge.metric_type())?)?;
        }
        let help = "Raw readings deleted by retention";
        let counter = ConstCounter::new(0_u64);
        let mut deleted = encoder.encode_descriptor("warehouse_deleted_rows", help, None, counter.metric_type())?;
        for reason in Reason::ALL {
            let counter = ConstCounter::new(self.0.deleted(reason));
            counter.encode(deleted.encode_family(&[("reason", reason.as_str())])?)?;
        }
        let counter = ConstCounter::new(self.0.set_aside());
        let help = "Damaged files that were set aside";
        let set_aside = encoder.encode_descriptor("warehouse_set_aside_files", help, None, counter.metric_type())?;
        counter.encode(set_aside)
    }
}

/// Registers all that a local warehouse tells, for those who describe it.
pub fn describe(metrics: &Metrics) {
    let counters = Arc::new(Counters::default());
    counters.see_room(0, Some(0));
    counters.register(metrics);
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            deleted: Default::default(),
            used_bytes: AtomicU64::default(),
            wal_bytes: AtomicU64::default(),
            set_aside: AtomicU64::default(),
            cap_bytes: AtomicU64::new(UNKNOWN),
            disk_free_bytes: AtomicU64::new(UNKNOWN),
        }
    }
}

impl Counters {
    /// Registers them, below `gaitway_warehouse_`.
    pub fn register(self: &Arc<Self>, metrics: &Metrics) {
        metrics.register(|registry| registry.register_collector(Box::new(Shown(Arc::clone(self)))));
    }

    /// Raw readings deleted by retention, for `reason`.
    pub fn deleted(&self, reason: Reason) -> u64 {
        self.deleted[reason as usize].load(Relaxed)
    }

    /// Bytes of the file that hold data, as last seen.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Relaxed)
    }

    /// Bytes of the write-ahead log, as last seen.
    pub fn wal_bytes(&self) -> u64 {
        self.wal_bytes.load(Relaxed)
    }

    /// Damaged files that were set aside.
    pub fn set_aside(&self) -> u64 {
        self.set_aside.load(Relaxed)
    }

    pub(super) fn add_set_aside(&self) {
        self.set_aside.fetch_add(1, Relaxed);
    }

    pub(super) fn add_deleted(&self, deleted: Deleted) {
        for (counter, rows) in self.deleted.iter().zip(deleted.0) {
            counter.fetch_add(rows, Relaxed);
        }
    }

    pub(super) fn see(&self, used_bytes: u64, wal_bytes: u64) {
        self.used_bytes.store(used_bytes, Relaxed);
        self.wal_bytes.store(wal_bytes, Relaxed);
    }

    /// What there is room for. `disk_free`: none where the system does not tell.
    pub(super) fn see_room(&self, cap_bytes: u64, disk_free: Option<u64>) {
        self.cap_bytes.store(cap_bytes, Relaxed);
        self.disk_free_bytes.store(disk_free.unwrap_or(UNKNOWN), Relaxed);
    }
}

/// Rows deleted by one transaction, not counted before it is committed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Deleted([u64; Reason::ALL.len()]);

impl Deleted {
    pub(super) fn add(&mut self, reason: Reason, rows: u64) {
        self.0[reason as usize] += rows;
    }

    pub(super) fn any(self) -> bool {
        self.0.iter().any(|rows| *rows > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drop_has_a_count_and_a_reason() {
        let counters = Arc::new(Counters::default());
        let metrics = Metrics::new();
        counters.register(&metrics);
        let mut deleted = Deleted::default();
        deleted.add(Reason::Disk, 3);
        counters.add_deleted(deleted);
        counters.see(4096, 0);
        let before = metrics.encode();
        assert!(!before.contains("disk_free"), "{before}");
        counters.see_room(20 << 30, Some(1 << 30));
        counters.add_set_aside();
        let text = metrics.encode();
        assert!(text.contains("gaitway_warehouse_deleted_rows_total{reason=\"disk\"} 3\n"), "{text}");
        assert!(text.contains("gaitway_warehouse_used_bytes 4096\n"), "{text}");
        assert!(text.contains("gaitway_warehouse_cap_bytes 21474836480\n"), "{text}");
        assert!(text.contains("gaitway_warehouse_disk_free_bytes 1073741824\n"), "{text}");
        assert!(text.contains("gaitway_warehouse_set_aside_files_total 1\n"), "{text}");
    }
}
