//! Axes of real phones for made-up sensors.

use std::fs;
use std::io::Read as _;

use flate2::read::GzDecoder;

use super::harness::{self, Random};

/// One subject's readings in time order, m/s².
pub(crate) type Trace = Vec<[f64; 3]>;

/// The recordings of every subject in `tests/data`, each as one trace.
///
/// They are kept with four decimals, where a phone's f32 are noise to their last bit: seeded noise below those decimals
/// makes them as hard to compress as a phone's.
pub(crate) fn traces() -> Vec<Trace> {
    let mut noise = Random::new(1);
    let mut traces = Vec::new();
    for subject in entries(&harness::data("har/motionsense")) {
        let mut trace = Trace::new();
        for trial in entries(&subject) {
            let mut text = String::new();
            GzDecoder::new(fs::File::open(trial).unwrap()).read_to_string(&mut text).unwrap();
            for row in text.lines().skip(1) {
                let mut axes = row.split(',').skip(1).map(|text| text.parse::<f64>().unwrap());
                trace.push([0; 3].map(|_| axes.next().unwrap() + (noise.share() - 0.5) * 1e-4));
            }
        }
        traces.push(trace);
    }
    traces
}

fn entries(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}
