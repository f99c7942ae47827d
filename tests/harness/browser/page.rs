//! One page of a browser: where it goes, what it shows, what it complains of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::Screen;
use super::pipe::Pipe;
use crate::harness::PATIENCE;

/// A page.
pub(crate) struct Page {
    pipe: Arc<Pipe>,
    session: String,
    screen: Screen,
}

/// How smoothly a page was drawn, milliseconds between frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) count: usize,
    pub(crate) median: f64,
    /// 99 of a hundred are shorter.
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

/// What Chromium says of a page that is no more.
const GONE: [&str; 3] = ["target navigated", "context was destroyed", "Cannot find context"];

impl Page {
    pub(super) fn new(pipe: Arc<Pipe>, screen: Screen) -> Self {
        let ask = |method: &str, params: &Value| pipe.ask(None, method, params).unwrap();
        let context = ask("Target.createBrowserContext", &json!({}))["browserContextId"].take();
        let target = ask("Target.createTarget", &json!({"url": "about:blank", "browserContextId": context}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = ask("Target.attachToTarget", &attach)["sessionId"].as_str().expect("a session").to_owned();
        let page = Self { pipe, session, screen };
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            page.ask(&format!("{domain}.enable"), &json!({}));
        }
        page.ask(
            "Emulation.setDeviceMetricsOverride",
            &json!({
                "width": screen.width, "height": screen.height, "deviceScaleFactor": screen.density,
                "mobile": screen.is_touched
            }),
        );
        page.ask("Emulation.setTouchEmulationEnabled", &json!({"enabled": screen.is_touched}));
        page.ask("Emulation.setFocusEmulationEnabled", &json!({"enabled": true}));
        page.wear("light");
        page
    }

    fn ask(&self, method: &str, params: &Value) -> Value {
        self.pipe.ask(Some(&self.session), method, params).unwrap()
    }

    /// `light` or `dark`; nothing moves that need not.
    pub(crate) fn wear(&self, scheme: &str) {
        self.prefer(scheme, "reduce");
    }

    /// All that would move for a person moves.
    pub(crate) fn let_move(&self) {
        self.prefer("light", "no-preference");
    }

    fn prefer(&self, scheme: &str, motion: &str) {
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion}
        ]);
        self.ask("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Whether scripts of pages run from now on; those of the test do in any case.
    pub(crate) fn allow_script(&self, is_allowed: bool) {
        self.ask("Emulation.setScriptExecutionDisabled", &json!({"value": !is_allowed}));
    }

    /// From now on all requests come as from behind a proxy on this machine, so from a stranger.
    pub(crate) fn be_a_stranger(&self) {
        self.ask("Network.setExtraHTTPHeaders", &json!({"headers": {"Via": "1.1 proxy"}}));
    }

    /// Opens `url` and waits until it is loaded.
    pub(crate) fn open(&self, url: &str) {
        let seen = self.pipe.events(&self.session).len();
        let went = self.ask("Page.navigate", &json!({"url": url}));
        assert!(went["errorText"].is_null(), "{url}: {went}");
        self.pipe.await_event(&self.session, "Page.loadEventFired", seen);
    }

    /// Does `what`, which opens another page, and waits until that is loaded.
    pub(crate) fn through(&self, what: impl FnOnce()) {
        let seen = self.pipe.events(&self.session).len();
        what();
        self.pipe.await_event(&self.session, "Page.loadEventFired", seen);
    }

    pub(super) fn try_run(&self, script: &str) -> Result<Value, String> {
        let params = json!({"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let mut answer = self.pipe.ask(Some(&self.session), "Runtime.evaluate", &params)?;
        match answer.get("exceptionDetails") {
            Some(thrown) => Err(format!("{script:.400}: {thrown}")),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// What an expression is in the page, which need not allow scripts. A promise is waited for, and where the page is
    /// loaded again meanwhile it is asked there.
    pub(crate) fn run(&self, script: &str) -> Value {
        let mut ran = self.try_run(script);
        for _ in 0..5 {
            match &ran {
                Err(said) if GONE.iter().any(|gone| said.contains(gone)) => ran = self.try_run(script),
                _ => break,
            }
        }
        ran.unwrap()
    }

    /// Waits until an expression is true, whatever the page does meanwhile; `what` says what it waits for.
    pub(crate) fn wait(&self, what: &str, script: &str) {
        let end = Instant::now() + PATIENCE;
        // While another page comes no script can be run.
        while self.try_run(&format!("!!({script})")) != Ok(Value::Bool(true)) {
            if Instant::now() > end {
                let text = self.try_run("document.body.innerText").unwrap_or_default();
                panic!(
                    "waited {PATIENCE:?} in vain until {what}; the page says: {}",
                    text.as_str().unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until there is such an element.
    pub(crate) fn await_element(&self, css: &str) {
        self.wait(&format!("there is {css}"), &format!("document.querySelector({})", json!(css)));
    }

    /// The text that is seen of the first such element.
    pub(crate) fn text(&self, css: &str) -> String {
        let text = self.run(&format!("document.querySelector({})?.innerText", json!(css)));
        text.as_str().unwrap_or_else(|| panic!("no {css} in {}", self.run("document.body.outerHTML"))).trim().to_owned()
    }

    /// An attribute of the first such element.
    pub(crate) fn attribute(&self, css: &str, name: &str) -> Option<String> {
        let value = self.run(&format!("document.querySelector({})?.getAttribute({})", json!(css), json!(name)));
        value.as_str().map(str::to_owned)
    }

    /// Whether there is such an element.
    pub(crate) fn has(&self, css: &str) -> bool {
        self.run(&format!("!!document.querySelector({})", json!(css))) == Value::Bool(true)
    }

    /// Presses and lets go of `Tab`, `Enter` or the space bar (`" "`).
    pub(crate) fn press(&self, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            " " => ("Space", 32, " "),
            _ => panic!("no key {key:?}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number, "text": text});
            self.ask("Input.dispatchKeyEvent", &event);
        }
    }

    /// What should not be said: errors and warnings of scripts and of the browser, and broken policies.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let complaint = |event: super::pipe::Event| {
            let said = &event.params;
            match event.method.as_str() {
                "Runtime.exceptionThrown" => Some(said["exceptionDetails"].to_string()),
                "Runtime.consoleAPICalled" => {
                    ["error", "warning", "assert"].contains(&said["type"].as_str()?).then(|| said["args"].to_string())
                }
                "Log.entryAdded" => {
                    let entry = &said["entry"];
                    let is_bad = ["error", "warning"].contains(&entry["level"].as_str()?);
                    is_bad.then(|| format!("{} ({})", entry["text"], entry["url"]))
                }
                "Audits.issueAdded" => {
                    let is_policy = said["issue"]["code"] == "ContentSecurityPolicyIssue";
                    is_policy.then(|| said["issue"]["details"].to_string())
                }
                _ => None,
            }
        };
        self.pipe.events(&self.session).into_iter().filter_map(complaint).collect()
    }

    /// Asserts that nothing was complained of.
    pub(crate) fn assert_quiet(&self) {
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "the page complains: {complaints:#?}");
    }

    /// Asserts that nothing was complained of but that an answer did not come or was an error.
    pub(crate) fn assert_quiet_but_for_the_network(&self) {
        let complaints = self.complaints();
        let others: Vec<_> = complaints.iter().filter(|said| !said.contains("Failed to load resource")).collect();
        assert!(others.is_empty(), "the page complains: {others:#?}");
    }

    /// The address of each request so far, in order.
    pub(crate) fn fetched(&self) -> Vec<String> {
        let events = self.pipe.events(&self.session).into_iter();
        let sent = events.filter(|event| event.method == "Network.requestWillBeSent");
        sent.filter_map(|event| Some(event.params["request"]["url"].as_str()?.to_owned())).collect()
    }

    /// The body of each answer that is whole, with its address.
    pub(crate) fn bodies(&self) -> Vec<(String, Vec<u8>)> {
        let events = self.pipe.events(&self.session);
        let of =
            |method: &'static str| events.iter().filter(move |event| event.method == method).map(|event| &event.params);
        let whole: Vec<_> = of("Network.loadingFinished").map(|params| &params["requestId"]).collect();
        let sent = of("Network.requestWillBeSent").filter(|params| whole.contains(&&params["requestId"]));
        let body = |params: &Value| {
            let found = json!({"requestId": params["requestId"]});
            let answer = self.pipe.ask(Some(&self.session), "Network.getResponseBody", &found).ok()?;
            let text = answer["body"].as_str()?;
            let is_binary = answer["base64Encoded"] == true;
            let body = if is_binary { from_base64(text) } else { text.as_bytes().to_vec() };
            Some((params["request"]["url"].as_str()?.to_owned(), body))
        };
        sent.filter_map(body).collect()
    }

    /// Keeps what the whole page looks like as `target/screenshots/NAME.png`.
    pub(crate) fn screenshot(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let size = self.ask("Page.getLayoutMetrics", &json!({}));
        let height = size["cssContentSize"]["height"].as_f64().expect("a height").ceil() as u32;
        // A page draws what is in view: once through all of it.
        for top in (0..height).step_by(self.screen.height as usize).rev() {
            self.run(&format!("scrollTo({{top: {top}, behavior: 'instant'}})"));
            std::thread::sleep(Duration::from_millis(60));
        }
        let height = height.max(self.screen.height);
        let clip = json!({"x": 0, "y": 0, "width": self.screen.width, "height": height, "scale": 1});
        let drawn = self.ask("Page.captureScreenshot", &json!({"clip": clip, "captureBeyondViewport": true}));
        let path = folder.join(format!("{name}.png"));
        std::fs::write(path, from_base64(drawn["data"].as_str().expect("an image"))).unwrap();
    }

    /// Watches the frames that the page draws for so long.
    pub(crate) fn frames(&self, milliseconds: u32) -> Frames {
        let script = format!(
            "new Promise(done => {{
                 const times = [], began = performance.now();
                 const frame = now => {{
                     times.push(now);
                     performance.now() - began < {milliseconds} ? requestAnimationFrame(frame) : done(times);
                 }};
                 requestAnimationFrame(frame);
             }})"
        );
        let times: Vec<f64> = serde_json::from_value(self.run(&script)).unwrap();
        let mut gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_by(f64::total_cmp);
        assert!(!gaps.is_empty(), "nothing was drawn");
        let at = |share: f64| gaps[((gaps.len() - 1) as f64 * share).round() as usize];
        Frames { count: gaps.len(), median: at(0.5), p99: at(0.99), longest: at(1.0) }
    }

    /// Bytes that the page's scripts hold, after what nobody holds any more is gone.
    pub(crate) fn heap(&self) -> u64 {
        self.ask("HeapProfiler.collectGarbage", &json!({}));
        self.ask("Runtime.getHeapUsage", &json!({}))["usedSize"].as_f64().expect("a size") as u64
    }
}

/// Bytes, as the protocol writes them.
fn from_base64(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).expect("base64")
}
