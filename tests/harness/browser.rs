//! A real Chromium without a screen, driven over its own debugging protocol. It never outlives its test.
//!
//! - It has a profile of its own in a temporary folder, and pages have cookies of their own.
//! - The protocol comes over pipes ([`pipe`]): no port, no second program, no crate. Those that speak it generate some
//!   60,000 lines of types from its description, which is minutes of every build for the dozen commands used here.
//! - What a page complained of, fetched and threw is kept ([`Page::complaints`], [`Page::fetched`]).
//!
//! `GAITWAY_CHROMIUM` names another program than `chromium`.

mod axe;
mod page;
mod pipe;

use std::ffi::OsString;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use pipe::Pipe;

pub(crate) use page::Page;

/// A running Chromium.
pub(crate) struct Browser {
    pipe: Arc<Pipe>,
    child: Child,
    /// Goes after the process.
    _profile: tempfile::TempDir,
}

/// A screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// CSS pixels.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Device pixels in a CSS pixel.
    pub(crate) density: u32,
    /// A phone's: touched, not pointed at.
    pub(crate) is_touched: bool,
}

pub(crate) const PHONE: Screen = Screen { width: 390, height: 844, density: 2, is_touched: true };
pub(crate) const DESKTOP: Screen = Screen { width: 1280, height: 800, density: 1, is_touched: false };

/// Nothing but the pages of the test, and timers as in a window that is looked at.
const FLAGS: [&str; 16] = [
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-extensions",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-breakpad",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--force-color-profile=srgb",
];

impl Browser {
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let program = std::env::var_os("GAITWAY_CHROMIUM").unwrap_or_else(|| OsString::from("chromium"));
        let mut folder = OsString::from("--user-data-dir=");
        folder.push(profile.path());
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"])
            .arg(program)
            .args(FLAGS)
            .arg(folder)
            .arg("about:blank")
            .env("HOME", profile.path())
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let (commands, answers) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let browser = Self { pipe: Arc::new(Pipe::new(commands, answers)), child, _profile: profile };
        browser.pipe.ask(None, "Browser.getVersion", &json!({})).expect("Chromium starts: is it installed?");
        browser
    }

    /// An empty page with cookies of its own.
    pub(crate) fn page(&self, screen: Screen) -> Page {
        Page::new(Arc::clone(&self.pipe), screen)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.pipe.close();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // It has ended, or does not hear.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
