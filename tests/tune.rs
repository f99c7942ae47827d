//! **Tuned.** `gaitway tune` judges thresholds by labelled recordings, by pushes that were annotated on the phone, and by a
//! warehouse that these went into; its figures are those of plain arithmetic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::path::Path;
use std::process::{Command, Stdio};

use harness::process::Process;
use harness::warehouse::await_drained;
use harness::{data, http};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn gaitway(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn tune(args: &[&str]) -> Value {
    let (code, shown, said) = gaitway(&[&["tune", "--json"], args].concat());
    assert_eq!(code, Some(0), "{shown}{said}");
    serde_json::from_str(&shown).unwrap()
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} of {report}"))
}

#[test]
fn labelled_recordings_give_the_figures_that_are_known_of_them() {
    let recordings = data("har/motionsense");
    let report = tune(&[recordings.to_str().unwrap()]);
    // Of all 24 people in MotionSense .928 and .874 are known; eight of them are here.
    assert!((number(&report, "/present/figures/accuracy") - 0.928).abs() < 0.01, "{report}");
    assert!((number(&report, "/present/figures/macroF1") - 0.874).abs() < 0.01, "{report}");
    let [present, best, held] =
        ["/present", "/best", "/heldOut"].map(|of| number(&report, &format!("{of}/figures/macroF1")));
    assert!(best > held && held > present, "{present} {held} {best}");
    assert_eq!(report["heldOut"]["subjects"], 8);
    let errors = ["/present", "/best", "/heldOut"].map(|of| number(&report, &format!("{of}/figures/calibrationError")));
    assert!(errors.iter().all(|error| (0.0..0.1).contains(error)), "{errors:?}");
    let confusion = &report["present"]["figures"]["confusion"];
    let all: u64 = confusion
        .as_object()
        .unwrap()
        .values()
        .flat_map(|row| row.as_object().unwrap().values())
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(Some(all), report["counts"]["windows"].as_u64());
    assert!(report["counts"]["mixed"].as_u64().unwrap() > 500);

    let (code, shown, _) = gaitway(&["tune", recordings.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert_eq!(gaitway(&["tune", recordings.to_str().unwrap()]).1, shown, "the same again");
    // The lines it prints are configuration.
    let lines: Vec<&str> = shown.lines().skip_while(|line| *line != "[windows]").take(2).collect();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("agent.toml");
    std::fs::write(&config, lines.join("\n")).unwrap();
    let again = tune(&["--config", config.to_str().unwrap(), recordings.to_str().unwrap()]);
    assert_eq!(again["present"]["thresholds"], report["best"]["thresholds"], "{lines:?}");
    assert!((number(&again, "/present/figures/macroF1") - best).abs() < 1e-12);
    assert_eq!(again["best"]["thresholds"], report["best"]["thresholds"], "nothing is better than the best");
}

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_760_000_000 * SECOND;

/// A minute of each pace with the word for it, then one of a word that nobody knows; of a phone that is `scale` times as lively.
fn pushes(device: &str, scale: f64) -> Vec<String> {
    let parts = [("sit", 0.4), ("Walk", 5.0), ("jog", 9.0), ("sprint", 30.0), ("wobble", 5.0)];
    let mut bodies = Vec::new();
    for (part, (word, pace)) in (0..).zip(parts) {
        for second in 0..60 {
            let id = part * 60 + second;
            let from = START + id * SECOND;
            let mut payload: Vec<Value> = (0..20)
                .map(|tick| {
                    let time = from + tick * (SECOND / 20);
                    json!({"name": "accelerometer", "time": time, "values": {"x": pace * scale, "y": 0.0, "z": 0.0}})
                })
                .collect();
            if second == 0 {
                payload.push(json!({"name": "annotation", "time": from, "values": {"text": word, "millisecond_press_duration": 40}}));
            }
            bodies.push(json!({"messageId": id, "sessionId": "s", "deviceId": device, "payload": payload}).to_string());
        }
    }
    bodies
}

/// What must be found in [`pushes`], of two phones.
fn assert_annotated(report: &Value) {
    // A minute has 26 whole windows: those that start in its first 51 seconds, every other one.
    let windows = |of: &str| {
        let activities = report["present"]["figures"]["activities"].as_array().unwrap();
        activities.iter().find(|found| found["activity"] == of).unwrap()["windows"].as_u64().unwrap()
    };
    assert_eq!(["stationary", "walking", "running", "sprinting"].map(windows), [52; 4], "{report}");
    assert_eq!(report["counts"]["unknownWords"], json!({"wobble": 2}));
    // At each of the three changes between known words four windows hold both, and four reach into the unknown one.
    assert_eq!(report["counts"]["mixed"].as_u64(), Some(2 * (4 * 4 + 4)), "and those that begin before the first word");
    // 9 and 7.2 are running: of the slower phone a walk by the default thresholds.
    assert!((number(report, "/present/figures/accuracy") - 7.0 / 8.0).abs() < 1e-12, "{report}");
    assert!((number(report, "/best/figures/accuracy") - 1.0).abs() < 1e-12, "{report}");
    let thresholds: Vec<f64> =
        report["best"]["thresholds"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
    assert_eq!(
        [&report["best"]["thresholds"][0], &report["best"]["thresholds"][2]],
        [2.0, 20.0],
        "those that were right stay"
    );
    assert!(5.0 < thresholds[1] && thresholds[1] <= 7.2, "{thresholds:?}");
    assert_eq!(report["heldOut"]["subjects"], 2);
}

#[test]
fn annotations_of_the_phone_are_labels_in_files_and_in_a_warehouse() {
    let dir = tempfile::tempdir().unwrap();
    let bodies = [pushes("anna", 1.0), pushes("ben", 0.8)].concat();
    let file = dir.path().join("pushes.ndjson");
    std::fs::write(&file, bodies.join("\n")).unwrap();
    let of_file = tune(&[file.to_str().unwrap()]);
    assert_annotated(&of_file);

    let (data, config) = (dir.path().join("data"), dir.path().join("up.toml"));
    std::fs::write(&config, "[agent.windows]\nsilence = \"2s\"\n[agent.limits]\npushes_per_second = 10000\n").unwrap();
    let mut up = Process::up(&data, &["--config", config.to_str().unwrap()]);
    let url = up.push_url();
    for body in &bodies {
        assert_eq!(http::post(&url, body).unwrap().0, 200);
    }
    await_drained(&data.join("agent/spool.db"));
    let places = ["--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
    let of_warehouse = tune(&places);
    assert_annotated(&of_warehouse);
    assert_eq!(of_warehouse["best"], of_file["best"]);
    let one = tune(&[&places[..], &["--device", "anna"]].concat());
    assert_eq!((&one["heldOut"], &one["counts"]["subjectsAreSessions"]), (&Value::Null, &Value::Bool(true)));
    assert!(up.terminate(Signal::SIGTERM).success());
}

#[test]
fn what_has_no_label_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pushes.ndjson");
    let said = |path: &Path| {
        let (code, _, said) = gaitway(&["tune", path.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{said}");
        said
    };
    std::fs::write(&file, pushes("anna", 1.0).join("\n").replace("\"text\":\"", "\"text\":\"un")).unwrap();
    let found = said(&file);
    assert!(found.contains("no window has a label; not known: \"unWalk\""), "{found}");
    assert!(found.contains("sensorlogger://annotate/walk"), "{found}");
    assert!(said(&dir.path().join("nowhere.csv")).contains("cannot be opened"));
}
