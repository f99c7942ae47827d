//! The agent's API over real processes: what it tells as it happens, whom it sends away, and what a fuzzer that reads its
//! document makes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api {
    pub(crate) mod viewer;
}
mod harness;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::viewer::Viewer;
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::python::{python, run};
use harness::{await_that, http};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Viewers of one address, and of all.
const OF_ONE: usize = 8;
const ALL: usize = 32;

/// An agent whose relay is away: what it shows needs none.
struct Home {
    process: Process,
    push_url: String,
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    fn in_folder(dir: tempfile::TempDir) -> Self {
        let mut process = Process::agent(dir.path(), "mqtt://127.0.0.1:9", &[]);
        let push_url = process.agent_push_url();
        Self { process, push_url, dir }
    }

    fn address(&self) -> SocketAddr {
        self.push_url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/data")).unwrap().parse().unwrap()
    }

    fn push(&self, phone: &Phone, ids: impl IntoIterator<Item = u64>) {
        push(&self.push_url, phone, ids, &mut Pushed::new());
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = http::get(&format!("http://{}{path}", self.address())).unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Ends it as a service manager does; it is given ten seconds.
    fn leave(self) -> tempfile::TempDir {
        let began = Instant::now();
        let status = self.process.terminate(Signal::SIGTERM);
        assert!(status.success() && began.elapsed() < Duration::from_secs(10), "{status} after {:?}", began.elapsed());
        self.dir
    }
}

#[test]
fn a_push_is_told_moments_after_its_200_and_a_shutdown_waits_for_no_viewer() {
    let home = Home::new();
    let mut viewer = Viewer::asking(home.address(), 1, None);
    let (status, head) = viewer.head();
    assert!(status == 200 && head.contains("content-type: text/event-stream\r\n"), "{head}");
    let (name, first) = viewer.next().unwrap();
    assert!(name == "status" && first["phones"] == Value::Array(vec![]), "{name}: {first}");
    let phone = Phone::new(3, 7);
    let mut longest = Duration::ZERO;
    for id in 0..20 {
        home.push(&phone, [id]);
        let answered = Instant::now();
        let motion = viewer.until(|name, _| name == "motion");
        longest = longest.max(answered.elapsed());
        assert_eq!((&motion["deviceId"], &motion["sessionId"]), (&"phone-3".into(), &"session-3".into()));
        assert!(motion["bins"].as_array().unwrap().len() >= 9, "a second in tenths: {motion}");
    }
    println!("of 20 pushes each was told at most {longest:?} after its 200");
    let readings = home.get("/api/v1/status").1["readings"].clone();
    let shown = viewer.until(|name, data| name == "status" && data["readings"] == readings);
    assert!(shown["phones"][0]["activity"].is_string(), "{shown}");

    let mut viewers: Vec<_> = (0..OF_ONE - 1).map(|_| Viewer::asking(home.address(), 1, None)).collect();
    for viewer in &mut viewers {
        assert_eq!(viewer.head().0, 200);
    }
    let dir = home.leave();
    assert!(std::iter::from_fn(|| viewer.next()).count() < 10, "the answer ends");

    let again = Home::in_folder(dir);
    let mut viewer = Viewer::asking(again.address(), 1, None);
    assert_eq!(viewer.head().0, 200);
    again.push(&phone, [20]);
    let shown = viewer.until(|name, data| name == "status" && data["phones"][0]["deviceId"] == "phone-3");
    assert!(shown["phones"][0]["activity"].as_str().is_some(), "{shown}");
    let (status, kept) = again.get("/api/v1/phones/phone-3/windows?limit=2");
    assert!(status == 200 && kept["windows"].as_array().unwrap().len() == 2 && kept["next"].is_string(), "{kept}");
    again.leave();
}

#[test]
fn so_many_viewers_and_no_more_and_those_that_do_not_read_are_dropped() {
    let home = Home::new();
    let phone = Phone::new(1, 7);
    let asking = |number| Viewer::asking(home.address(), number, Some(1));
    let mut deaf: Vec<_> = (0..OF_ONE).map(|_| asking(2)).collect();
    for viewer in &mut deaf {
        assert_eq!(viewer.head().0, 200);
    }
    let refused = asking(2).problem();
    assert!(refused["status"] == 429 && refused["detail"].as_str().unwrap().contains("/api/v1/status"), "{refused}");
    let mut others: Vec<_> = (1..ALL - OF_ONE).map(|n| asking(3 + (n / OF_ONE) as u8)).collect();
    let mut reader = Viewer::asking(home.address(), 3, None);
    for viewer in others.iter_mut().chain([&mut reader]) {
        assert_eq!(viewer.head().0, 200);
    }
    let refused = asking(99).problem();
    assert!(refused["status"] == 503 && refused["detail"].as_str().unwrap().contains("as many as may"), "{refused}");
    let shown = home.get("/api/v1/status");
    assert_eq!(shown.0, 200, "who finds no place asks now and then");

    // All but one read nothing any more; what is told fills the little room that each has.
    let (mut id, is_over) = (0, AtomicBool::new(false));
    let heard = std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let mut heard = 0;
            while !is_over.load(Ordering::Relaxed) {
                reader.next().expect("who reads stays");
                heard += 1;
            }
            heard
        });
        await_that("a place is free again", || {
            home.push(&phone, id..id + 5);
            id += 5;
            std::thread::sleep(Duration::from_millis(250));
            asking(99).head().0 == 200
        });
        is_over.store(true, Ordering::Relaxed);
        reads.join().unwrap()
    });
    println!("a viewer who reads nothing is dropped after {id} pushes; one who reads heard {heard} events");
    let memory = home.process.memory("VmHWM");
    assert!(memory < 60 << 20, "{memory} bytes");
    home.leave();
}

#[test]
fn who_comes_and_goes_takes_nobodys_place() {
    let home = Home::new();
    for _ in 0..3 * OF_ONE {
        assert_eq!(Viewer::asking(home.address(), 1, None).head().0, 200);
    }
    home.leave();
}

#[test]
fn what_is_told_is_as_the_document_says_whatever_a_phone_measures() {
    let home = Home::new();
    let (status, document) = home.get("/api/v1/openapi.json");
    assert_eq!(status, 200);
    let told = |name: &str| {
        let reference = format!("#/components/schemas/{name}");
        let schema = json!({"$ref": reference, "components": document["components"]});
        jsonschema::draft202012::new(&schema).unwrap()
    };
    let (statuses, motions) = (told("Status"), told("Motion"));
    let mut viewer = Viewer::asking(home.address(), 1, None);
    assert_eq!(viewer.head().0, 200);
    home.push(&Phone::new(1, 7), 0..3);
    for magnitude in ["1", "1e39", "1.7e308"] {
        let body = format!(
            r#"{{"messageId":0,"deviceId":"wild","sessionId":"{magnitude}","payload":[{{"name":"accelerometer",
                "time":1700000000000000000,"values":{{"x":{magnitude},"y":0,"z":0}}}}]}}"#
        );
        assert_eq!(http::post(&home.push_url, &body).unwrap().0, 200, "{body}");
    }
    let (mut heard, mut seen) = (0, false);
    while heard < 6 || !seen {
        let (name, data) = viewer.next().unwrap();
        let schema = if name == "status" { &statuses } else { &motions };
        let errors: Vec<String> = schema.iter_errors(&data).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}: {data}");
        heard += usize::from(name == "motion");
        seen |= name == "status" && data["phones"].as_array().unwrap().len() == 2;
    }
    home.leave();
}

#[test]
#[ignore = "needs schemathesis"]
fn a_fuzzer_that_reads_the_document_finds_no_answer_beside_it() {
    let python = python("schemathesis", &[Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/requirements.txt")]);
    let home = Home::new();
    let phones = [Phone::new(1, 7), Phone::new(2, 7)];
    for phone in &phones {
        home.push(phone, 0..40);
    }
    let base = format!("http://{}", home.address());
    let (status, text) = http::get(&format!("{base}/api/v1/openapi.json")).unwrap();
    assert_eq!(status, 200);
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (folder.path().join("openapi.json"), folder.path().join("schemathesis.toml"));
    fs::write(&file, &text).unwrap();
    run(Command::new(&python).args(["-m", "openapi_spec_validator"]).arg(&file));

    // Half of what is asked is of phones that there are.
    fs::write(&config, "[parameters]\n\"path.deviceId\" = \"phone-1\"\n").unwrap();
    for known in [true, false] {
        let mut fuzz = Command::new(python.with_file_name("schemathesis"));
        fuzz.current_dir(folder.path());
        if known {
            fuzz.arg("--config-file").arg(&config);
        }
        // The events have no end, and a test of their own.
        let said = run(fuzz
            .args(["run", "--url", &base, "--exclude-path", "/api/v1/events", "--seed", "6"])
            .args(["--max-examples", "60", "--phases", "examples,coverage,fuzzing", "--checks", "all", "--no-color"])
            .arg(&file));
        println!("{said}");
        assert!(said.contains("No issues found"), "{said}");
    }
    home.leave();
}
