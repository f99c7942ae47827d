//! What a process tells of itself: that it is ready, its version, and what it takes of its machine.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

#[cfg(target_os = "linux")]
mod linux;

/// Registers what holds at this moment.
pub(crate) fn register(registry: &mut Registry, ready: bool) {
    let help = "1 while /readyz answers 200, else 0";
    registry.register("gaitway_ready", help, gauge(i64::from(ready)));
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("gaitway_build", "The program", version);
    #[cfg(target_os = "linux")]
    linux::register(registry);
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}
