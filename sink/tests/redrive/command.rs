//! A sink that stops because rows were passed over, and the command that its sentence names, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use gaitway_emulator::Fault;
use gaitway_kafka::KafkaConfig;
use gaitway_proto::schema::RAW;
use tempfile::TempDir;

use crate::account::Account;
use crate::home::Home;
use crate::sink::Sink;

/// What a run of the command came to.
pub(crate) struct Done {
    pub(crate) success: bool,
    /// What it said, on either way.
    pub(crate) text: String,
}

impl Done {
    /// The count beside `what`.
    pub(crate) fn count(&self, what: &str) -> u64 {
        let line = self.text.lines().find_map(|line| line.trim_start().strip_prefix(what));
        let count = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        count.unwrap_or_else(|| panic!("{what} is not told: {}", self.text))
    }
}

fn prepared(config: &Path, args: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway-sink"));
    command.args(args).arg("--config").arg(config).stdin(Stdio::null());
    command
}

/// Runs `gaitway-sink` to its end.
pub(crate) fn run(config: &Path, args: &[String]) -> Done {
    let output = prepared(config, args).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    Done { success: output.status.success(), text }
}

/// An account, topics, and a configuration of both.
pub(crate) struct Scene {
    pub(crate) account: Account,
    pub(crate) home: Home,
    /// Records that the command appends at a time.
    pub(crate) max_rows: usize,
    dir: TempDir,
}

impl Scene {
    pub(crate) fn new(name: &str) -> Self {
        let mut home = Home::new(name, 1, &[]);
        // What is written together is submitted together.
        home.config.batch.linger = std::time::Duration::from_millis(300);
        Self { account: Account::new(), home, max_rows: 3, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn sink(&self) -> Sink {
        Sink::start(&self.home.config, self.account.client())
    }

    pub(crate) fn redrive_channel(&self) -> String {
        format!("gaitway_{}_0_redrive", self.home.raw())
    }

    /// The messageIds of what is stored, in order.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let rows = self.account.emulator.rows(RAW.schema, RAW.name);
        let mut numbers: Vec<u64> = rows.iter().map(|row| row["messageId"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Lets `sink` store the readings 0 to 9, and of those up to `count` the first `rows` be passed over, in two transactions;
    /// gives the arguments of the command that it names.
    pub(crate) fn stop(&self, sink: &Sink, count: u64, rows: u64) -> Vec<String> {
        self.home.write_together(0, 0..10, true);
        sink.await_that("the first are stored", || self.numbers().len() == 10);
        self.account.emulator.inject(Fault::RejectRows { rows });
        self.home.write_together(0, 10..count, true);
        let said = sink.await_stopped();
        let (_, behind) = said.split_once("run `gaitway sink ").unwrap();
        let (command, _) = behind.split_once('`').unwrap();
        sink.await_that("the others are committed", || self.account.emulator.uncommitted() == 0);
        command.split(' ').map(str::to_owned).collect()
    }

    /// A file like the sink's, with `change` made to it.
    pub(crate) fn configuration(&self, change: impl FnOnce(&mut KafkaConfig)) -> PathBuf {
        let (mut kafka, options) = (self.home.config.kafka.clone(), self.account.options());
        change(&mut kafka);
        let topics = &kafka.topics;
        let text = format!(
            "group = '{}'\nwarehouse = 'snowflake'\n[kafka]\nbrokers = '{}'\n[kafka.create]\nenabled = {}\npartitions = 1\n\
             [batch]\nmax_rows = {}\n[kafka.topics]\nraw = '{}'\nactivity = '{}'\ngaps = '{}'\ndead_letter = '{}'\n[snowflake]\naccount = '{}'\n\
             user = '{}'\nrole = '{}'\nprivate_key_file = '{}'\nca_file = '{}'\nurl = '{}'\n",
            self.home.config.group,
            kafka.brokers,
            kafka.create.enabled,
            self.max_rows,
            topics.raw,
            topics.activity,
            topics.gaps,
            topics.dead_letter,
            options.account,
            options.user,
            options.role.unwrap(),
            options.private_key_file.unwrap().display(),
            options.ca_file.unwrap().display(),
            options.url.unwrap(),
        );
        let file = self.dir.path().join(format!("{}.toml", topics.dead_letter));
        std::fs::write(&file, text).unwrap();
        file
    }

    pub(crate) fn start(&self, args: &[String]) -> Child {
        let mut command = prepared(&self.configuration(|_| {}), args);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub(crate) fn run(&self, args: &[String]) -> Done {
        run(&self.configuration(|_| {}), args)
    }
}
