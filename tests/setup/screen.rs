//! A terminal: a process of the binary under test writes to it, an emulator keeps what its screen shows.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vt100::{Color, Parser};

use crate::codes;
use crate::harness::await_that;

/// Pixels of a cell: a module of a code is half as high.
const CELL: (usize, usize) = (6, 12);

/// The shade of words, and of a dark terminal's ground.
const GROUND: u8 = 24;

pub(crate) struct Screen {
    child: Child,
    shown: Arc<Mutex<Parser>>,
    size: (u16, u16),
    /// Kept open: a terminal whose last user is gone forgets what was written.
    _terminal: OwnedFd,
}

impl Screen {
    /// Starts `gaitway` with `args` on a terminal.
    pub(crate) fn start(rows: u16, columns: u16, args: &[&str]) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).unwrap();
        let end = || pair.slave.try_clone().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gaitway"))
            .args(args)
            .env_remove("GAITWAY_LOG")
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0)));
        let (mut written, kept) = (File::from(pair.master), Arc::clone(&shown));
        let read = move || {
            let mut bytes = [0; 4096];
            // An error is how a terminal says that nobody writes to it any more.
            while let Ok(read @ 1..) = written.read(&mut bytes) {
                kept.lock().unwrap().process(&bytes[..read]);
            }
        };
        std::thread::Builder::new().name("screen".to_owned()).spawn(read).unwrap();
        Self { child, shown, size: (rows, columns), _terminal: pair.slave }
    }

    pub(crate) fn text(&self) -> String {
        self.shown.lock().unwrap().screen().contents()
    }

    pub(crate) fn await_that(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
        await_that(what, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.text());
            holds(&self.text())
        });
    }

    /// What the one code on the screen says, on a dark terminal and on a light one.
    pub(crate) fn code(&self) -> String {
        let [dark, light] = [GROUND, 255 - GROUND].map(|ground| self.read(ground));
        assert_eq!(dark, light);
        dark
    }

    fn read(&self, ground: u8) -> String {
        let shown = self.shown.lock().unwrap();
        let (rows, columns) = self.size;
        let shade = |color, otherwise| match color {
            Color::Idx(16) => 0,
            Color::Idx(231) => 255,
            _ => otherwise,
        };
        codes::read(usize::from(columns) * CELL.0, usize::from(rows) * CELL.1, |x, y| {
            let cell = shown.screen().cell((y / CELL.1) as u16, (x / CELL.0) as u16).unwrap();
            let is_upper = y % CELL.1 < CELL.1 / 2;
            let is_inked = match cell.contents() {
                "█" => true,
                "▀" => is_upper,
                "▄" => !is_upper,
                "" | " " => false,
                // Letters: some of their cell.
                _ => (x + y) % 4 == 0,
            };
            if is_inked { shade(cell.fgcolor(), 255 - ground) } else { shade(cell.bgcolor(), ground) }
        })
    }

    /// Waits for the end of a command.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        // What it wrote last is on its way to the emulator.
        await_that("the screen is drawn", || self.text().contains("Scan this"));
        status
    }

    /// Ctrl-C.
    pub(crate) fn end(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
