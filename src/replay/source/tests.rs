//! Files of every form as recordings.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

const BATCH: Duration = Duration::from_secs(1);

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn gathered(files: &[PathBuf]) -> Vec<Recording> {
    gather(files).unwrap_or_else(|error| panic!("{error:#}"))
}

fn only(recordings: Vec<Recording>) -> Recording {
    <[Recording; 1]>::try_from(recordings)
        .map_err(|all| format!("{} recordings", all.len()))
        .unwrap()
        .into_iter()
        .next()
        .unwrap()
}

/// Bodies as one phone sends them.
fn bodies(recording: Recording) -> Vec<Value> {
    let identity = recording.identity.clone();
    let pushes = recording.pushes(BATCH).unwrap();
    pushes.map(|push| serde_json::from_slice(&push.unwrap().body.of(&identity)).unwrap()).collect()
}

fn readings(bodies: &[Value]) -> Vec<&Value> {
    bodies.iter().flat_map(|body| body["payload"].as_array().unwrap()).collect()
}

fn complaint(file: &Path) -> String {
    match gather(&[file.to_owned()]) {
        Ok(_) => panic!("{} was accepted", file.display()),
        Err(error) => format!("{error:#}"),
    }
}

fn gz(path: &Path, text: &str) {
    let mut out = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap();
}

fn zip(path: &Path, entries: &[(&str, &str)]) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    for (index, (name, text)) in entries.iter().enumerate() {
        let method = if index % 2 == 0 { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
        archive.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn the_trials_of_one_subject_are_one_recording() {
    let recordings = gathered(&[data("tests/data/har/motionsense/ms02"), data("tests/data/har/motionsense/ms05")]);
    let names: Vec<_> = recordings.iter().map(|r| (r.identity.device.as_str(), r.identity.session.as_str())).collect();
    assert_eq!(names, [("phone-ms02", "session-ms02"), ("phone-ms05", "session-ms05")]);
    for recording in recordings {
        let size = recording.size;
        let bodies = bodies(recording);
        let readings = readings(&bodies);
        assert_eq!(readings.len() as u64, size);
        assert!(readings.is_sorted_by_key(|reading| reading["time"].as_i64()));
        assert!((0..).zip(&bodies).all(|(id, body)| body["messageId"] == id));
    }
}

#[test]
fn a_file_named_twice_is_played_once() {
    let folder = data("tests/data/har/motionsense/ms02");
    let trial = folder.join("dws_1.csv.gz");
    let twice = only(gathered(&[trial.clone(), folder.clone(), folder.join("../ms02/dws_1.csv.gz")]));
    assert_eq!(twice.size, only(gathered(&[folder])).size);
}

/// The windows of 10 s every 2 s, as Spark computed them over the same recordings.
#[test]
fn what_is_played_gives_sparks_windows() {
    let mut golden = BTreeMap::new();
    let windows = fs::read_to_string(data("tests/data/golden/motionsense/windows.csv")).unwrap();
    let subjects = ["ms02", "ms13"];
    for line in windows.lines().filter(|line| subjects.iter().any(|subject| line.contains(subject))) {
        let cells: Vec<_> = line.split(',').collect();
        let mean: f64 = cells[4].parse().unwrap();
        golden.insert((cells[1].to_owned(), cells[0].to_owned()), (mean, cells[5].parse::<u64>().unwrap()));
    }
    let mut computed = 0;
    for recording in gathered(&subjects.map(|subject| data("tests/data/har/motionsense").join(subject))) {
        let mut sums: BTreeMap<i64, (f64, u64)> = BTreeMap::new();
        let session = recording.identity.session.clone();
        for body in bodies(recording) {
            for reading in body["payload"].as_array().unwrap() {
                let axis = |name| reading["values"][name].as_f64().unwrap();
                let magnitude = (axis("x").powi(2) + axis("y").powi(2) + axis("z").powi(2)).sqrt();
                // Spark read times as seconds in f64 and kept whole microseconds.
                let microseconds = (reading["time"].as_f64().unwrap() / 1e9 * 1e6) as i64;
                let pane = microseconds.div_euclid(2_000_000) * 2;
                for end in (1..=5).map(|panes| pane + 2 * panes) {
                    let (sum, count) = sums.entry(end).or_default();
                    *sum += magnitude;
                    *count += 1;
                }
            }
        }
        computed += sums.len();
        for (end, (sum, count)) in sums {
            let key = (session.clone(), gaitway_proto::schema::seed_time(end * 1_000_000_000));
            let (mean, samples) = golden[&key];
            assert_eq!(count, samples, "{key:?}");
            assert!((sum / count as f64 / mean - 1.0).abs() < 1e-9, "{key:?}");
        }
    }
    assert_eq!(computed, golden.len());
}

#[test]
fn the_example_is_four_minutes_with_all_activities() {
    let recording = only(gathered(&[data("examples/a-short-run.csv.gz")]));
    assert_eq!(recording.identity.session, "session-a-short-run");
    let bodies = bodies(recording);
    assert_eq!((bodies.len(), readings(&bodies).len()), (240, 12_000));
}

#[test]
fn captured_pushes_are_sent_in_the_order_of_arrival() {
    let recording = only(gathered(&[data("tests/data/golden/late/pushes.ndjson.gz")]));
    let size = recording.size;
    let pushes: Vec<_> = recording.pushes(BATCH).unwrap().map(Result::unwrap).collect();
    assert_eq!(pushes.len(), 252);
    assert_eq!(pushes.iter().map(|push| push.share).sum::<u64>(), size);
    assert!(pushes.is_sorted_by_key(|push| push.due) && pushes[251].due > Duration::from_secs(200));
    let shapes = only(gathered(&[data("tests/data/samples/push-shapes.ndjson")]));
    assert!(shapes.pushes(BATCH).unwrap().map(Result::unwrap).all(|push| push.due < Duration::from_secs(2)));
}

#[test]
fn a_json_export_is_interleaved_by_time() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("Monday run.json");
    let element = |sensor: &str, time: i64| {
        format!(r#"{{"sensor":"{sensor}","time":"{}","seconds_elapsed":"0","x":"{time}"}}"#, time * 100_000_000)
    };
    let mut elements = vec![r#"{"sensor":"Metadata","device id":"d-1","platform":"ios"}"#.to_owned()];
    elements.extend((0..15).map(|t| element("Accelerometer", t)));
    elements.extend((0..15).map(|t| element("WristMotion", t)));
    elements.push(element("Annotation", 7));
    fs::write(&file, format!("[\n{}\n]\n", elements.join(",\n"))).unwrap();
    let recording = only(gathered(&[file]));
    assert_eq!((recording.identity.device.as_str(), recording.size), ("d-1", 31));
    assert_eq!(recording.identity.session, "session-Monday run");
    let bodies = bodies(recording);
    assert_eq!(bodies.iter().map(|b| b["payload"].as_array().unwrap().len()).collect::<Vec<_>>(), [21, 10]);
    let names: Vec<_> = readings(&bodies).iter().map(|r| r["name"].as_str().unwrap()).take(4).collect();
    assert_eq!(names, ["accelerometer", "wristmotion", "accelerometer", "wristmotion"]);
    assert!(readings(&bodies).is_sorted_by_key(|r| r["time"].as_i64()));
    assert_eq!(bodies[0]["payload"][2]["values"], serde_json::json!({"x": 1}));
}

#[test]
fn a_zip_export_is_interleaved_by_time() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("run.zip");
    let rows = |from: i64, step: i64| {
        (0..10).map(|n| format!("{},0.1,{n},-0.5\n", (from + n * step) * 1_000_000)).collect::<Vec<_>>().concat()
    };
    let accelerometer = format!("time,seconds_elapsed,z,y\n{}", rows(0, 100));
    let gyroscope = format!("time,seconds_elapsed,z,y\n{}{}", rows(1_000, 100), rows(50, 100));
    let entries = [
        ("run/Accelerometer.csv", accelerometer.as_str()),
        ("run/Gyroscope.csv", gyroscope.as_str()),
        ("run/Metadata.csv", "version,device id\n3,d-2\n"),
        ("run/Annotation.csv", "time,seconds_elapsed,text,millisecond_press_duration\n250000000,0.2,\"a, 1\",5\n"),
        ("run/Pedometer.csv", "time,seconds_elapsed,steps\n"),
        ("run/Camera/1.jpg", "\u{1}"),
    ];
    zip(&file, &entries);
    let recording = only(gathered(&[file]));
    assert_eq!((recording.identity.device.as_str(), recording.size), ("d-2", 31));
    let bodies = bodies(recording);
    let readings = readings(&bodies);
    assert_eq!(readings.len(), 31);
    assert!(readings.is_sorted_by_key(|reading| reading["time"].as_i64()));
    let annotation = readings.iter().find(|reading| reading["name"] == "annotation").unwrap();
    assert_eq!(annotation["values"], serde_json::json!({"text": "a, 1", "millisecond_press_duration": 5}));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn every_element_of_a_json_export_is_played_exactly_once(
        sensors in prop::collection::vec((any::<bool>(), prop::collection::vec(0i64..10_000, 1..60)), 1..5),
    ) {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("export.json");
        let mut elements = Vec::new();
        let mut expected = Vec::new();
        for (sensor, (sorted, mut times)) in sensors.into_iter().enumerate() {
            if sorted {
                times.sort_unstable();
            }
            for (n, ms) in times.into_iter().enumerate() {
                elements.push(serde_json::json!({"sensor": sensor.to_string(), "time": format!("{ms}000000"), "n": n.to_string()}));
                expected.push((ms * 1_000_000, sensor, n as u64));
            }
        }
        fs::write(&file, serde_json::to_string_pretty(&elements).unwrap()).unwrap();
        let bodies = bodies(only(gathered(&[file])));
        let mut played = Vec::new();
        for reading in readings(&bodies) {
            let sensor: usize = reading["name"].as_str().unwrap().parse().unwrap();
            played.push((reading["time"].as_i64().unwrap(), sensor, reading["values"]["n"].as_u64().unwrap()));
        }
        prop_assert!(played.is_sorted_by_key(|(time, ..)| *time));
        played.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(played, expected);
    }
}

#[test]
fn complaints_name_file_and_place() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("notes.txt"), "hello").unwrap();
    assert!(complaint(&at("notes.txt")).contains("notes.txt: not a recording; expected .csv.gz"));
    assert!(complaint(&at("absent.zip")).contains("absent.zip: cannot be opened"));
    assert!(complaint(folder.path()).contains("no recording in it or below"));
    gz(&at("a.csv.gz"), "time_ns,x,y,z,subject\n1,0,0,0,a\n2,0,zero,0,a\n");
    assert!(complaint(&at("a.csv.gz")).contains("a.csv.gz: line 3: column y: \"zero\" is not a number"));
    fs::write(at("b.csv.gz"), "time_ns").unwrap();
    assert!(complaint(&at("b.csv.gz")).contains("b.csv.gz: the header cannot be read"));
    fs::write(at("c.json"), "[\n{\"sensor\":\"a\",\"time\":\"1\"},\n{\"sensor\":\"a\"}]").unwrap();
    assert!(complaint(&at("c.json")).contains("c.json: line 3: no field time"));
    fs::write(at("d.json"), "[]").unwrap();
    assert!(complaint(&at("d.json")).contains("d.json: no readings in it"));
    zip(&at("e.zip"), &[("Gyroscope.csv", "time,x\n1,0\nsoon,0\n")]);
    assert!(complaint(&at("e.zip")).contains("e.zip: Gyroscope.csv: line 3: column time: \"soon\" is not a time"));
    zip(&at("f.zip"), &[("Gyroscope.csv", "seconds_elapsed,x\n1,0\n")]);
    assert!(complaint(&at("f.zip")).contains("f.zip: Gyroscope.csv: line 1: no column time"));
    fs::write(at("g.zip"), "PK").unwrap();
    assert!(complaint(&at("g.zip")).contains("g.zip: not a zip archive"));
}

#[test]
fn no_two_recordings_share_a_session() {
    let folder = TempDir::new().unwrap();
    for name in ["a", "b"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("run.json"), r#"[{"sensor":"a","time":"1"}]"#).unwrap();
    }
    assert!(complaint(folder.path()).contains("two recordings would both be session session-run of phone-run"));
}
