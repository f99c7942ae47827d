//! A `gaitway up` and a browser that looks at it.

use std::path::Path;
use std::process::Command;

use nix::sys::statvfs::statvfs;

use crate::harness::browser::{Browser, DESKTOP, PHONE, Page};
use crate::harness::process::Process;
use crate::walker::Walker;

/// See the module. The browser ends first.
pub(crate) struct House {
    pub(crate) browser: Browser,
    _up: Process,
    pub(crate) dir: tempfile::TempDir,
    /// Where phones push to.
    pub(crate) push_url: String,
}

impl House {
    pub(crate) fn new() -> Self {
        let dir = folder();
        // A listener of this machine alone offers a phone no code, unless something passes phones on to it.
        let told = [("GAITWAY_AGENT__PUSH_HOST", "127.0.0.1".into())];
        let data = dir.path().to_str().expect("a temporary folder's name is UTF-8");
        let args = ["up", "--data-dir", data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"];
        let mut up = Process::start_in(&args, &told);
        let push_url = up.push_url();
        Self { browser: Browser::start(), _up: up, dir, push_url }
    }

    /// The address of `path`, which begins with `/`.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// `http://HOST:PORT`.
    pub(crate) fn origin(&self) -> &str {
        origin(&self.push_url)
    }

    /// A page on a phone and one on a desktop, at `path`, with their names.
    pub(crate) fn both(&self, path: &str) -> [(&'static str, Page); 2] {
        [("phone", PHONE), ("desktop", DESKTOP)].map(|(name, screen)| {
            let page = self.browser.page(screen);
            page.open(&self.at(path));
            (name, page)
        })
    }

    /// A phone that moves as told.
    pub(crate) fn walker(&self, name: &str) -> Walker {
        Walker::new(name, &self.push_url)
    }

    /// The path of a new link to the page.
    pub(crate) fn invite(&self, name: &str) -> String {
        invite(&self.dir.path().join("agent"), name)
    }
}

/// A folder of the test, in memory where that has room: how fast a disk syncs is no part of these tests.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let free = statvfs(memory).map_or(0, |disk| disk.blocks_available() * disk.fragment_size());
    if free < 1 << 30 { tempfile::tempdir().unwrap() } else { tempfile::tempdir_in(memory).unwrap() }
}

/// `http://HOST:PORT` of a push URL.
pub(crate) fn origin(push_url: &str) -> &str {
    push_url.strip_suffix("/data").expect("a push URL without a token")
}

fn invite(agent_dir: &Path, name: &str) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_gaitway"))
        .args(["agent", "reader", "add", name, "--data-dir"])
        .arg(agent_dir)
        .output()
        .unwrap();
    let said = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
    let from = said.find("/enter/").unwrap_or_else(|| panic!("no link: {said}"));
    said[from..].split_whitespace().next().expect("a path").to_owned()
}
