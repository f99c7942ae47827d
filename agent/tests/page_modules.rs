//! The page's pure modules, run where they run: in a browser.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Files that the checks load, beside them.
const FILES: [(&str, &str); 4] = [
    ("words.js", include_str!("../src/page/words.js")),
    ("series.js", include_str!("../src/page/series.js")),
    ("stretches.js", include_str!("../src/page/stretches.js")),
    ("checks.js", include_str!("page_modules/checks.js")),
];

/// Numbers in words, for the page that the agent renders and for the scripts.
const WORDS: &str = include_str!("../src/page/words.json");

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
#[ignore = "needs chromium"]
fn the_pages_pure_modules_keep_their_promises_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let page = format!(
        "<!doctype html><meta charset=utf-8><title>nothing ran</title>\
         <script type=application/json id=told>{WORDS}</script>\
         <script type=module src=checks.js></script>"
    );
    std::fs::write(dir.path().join("page.html"), page).unwrap();
    let said = std::fs::File::create(dir.path().join("said")).unwrap();
    let mut browser = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"])
        .arg("--virtual-time-budget=10000")
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("file://{}", dir.path().join("page.html").display()))
        .stdin(Stdio::null())
        .stdout(said)
        .stderr(Stdio::null())
        .spawn()
        .expect("chromium is on the path");
    let end = Instant::now() + PATIENCE;
    while browser.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            browser.kill().unwrap();
            browser.wait().unwrap();
            panic!("chromium does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = std::fs::read_to_string(dir.path().join("said")).unwrap();
    let title = said.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title);
    let title = title.unwrap_or_else(|| panic!("no page: {said}"));
    assert!(title.ends_with(" checks hold"), "{title}");
}
