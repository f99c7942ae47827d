//! What a reading takes in the spool and on the wire.

use nix::sys::signal::Signal;

use super::Bench;
use super::body::{Phone, Platform};
use super::harness::process::Process;
use super::harness::proxy::Proxy;
use super::harness::{self, warehouse};
use super::serve::{Agent, NO_RELAY};
use super::table::{Aim, Figure, number};
use super::{machine, recordings, spool};

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    let pushes = bench.size(600, 60);
    [(Platform::Android, "f32"), (Platform::Ios, "f32 × 9.80665")]
        .into_iter()
        .flat_map(|(platform, values)| measure(platform, values, pushes))
        .collect()
}

fn measure(platform: Platform, values: &str, pushes: u64) -> [Figure; 2] {
    let traces = recordings::traces();
    let phone = Phone::new(0, platform, 4, &traces);
    let json = phone.push(0);
    let readings = pushes * u64::from(json.readings);
    let folder = machine::folder();
    let (data_dir, relay_dir) = (folder.path().join("agent"), folder.path().join("relay"));
    let file = data_dir.join("spool.db");

    let agent = Agent::start(&data_dir, NO_RELAY);
    assert!(agent.process.terminate(Signal::SIGTERM).success());
    let empty = file.metadata().unwrap().len();
    spool::fill(&data_dir, std::slice::from_ref(&phone), pushes);
    let grown = file.metadata().unwrap().len() - empty;
    let frames = warehouse::count(&file, "SELECT sum(length(frame)) FROM raw") as u64;

    let mut relay = Process::up(&relay_dir, &[]);
    let proxy = Proxy::new();
    proxy.point(Some(&relay.mqtt_address()));
    let agent = Agent::start(&data_dir, &proxy.url());
    let rows = || warehouse::count(&relay_dir.join("warehouse.db"), "SELECT count(*) FROM ACTIVITY_RECORDS") as u64;
    harness::await_that("every reading is in the warehouse", || rows() == readings);
    let carried = proxy.carried();
    assert!(agent.process.terminate(Signal::SIGTERM).success());
    assert!(relay.terminate(Signal::SIGTERM).success());

    let each = |bytes: u64| bytes as f64 / readings as f64;
    let measured = |bytes: u64| format!("{} bytes", number(each(bytes)));
    let json = json.body().len() as f64 / f64::from(json.readings);
    let spooled = Figure::new(format!("bytes a three-axis reading, spool, {values}"), measured(frames))
        .beside(format!("JSON {} bytes", number(json)))
        .aim(each(frames), &Aim::AtMost(15.0), "")
        .note(format!("frames of {readings} readings, 1 s each; the file grew by {} a reading", measured(grown)));
    let wire = Figure::new(format!("bytes a three-axis reading, wire, {values}"), measured(carried))
        .aim(each(carried), &Aim::AtMost(15.0), "")
        .note("all bytes that the agent sent over TCP: MQTT, hello, windows too");
    [spooled, wire]
}
