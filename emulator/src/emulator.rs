//! The emulator as a test holds it.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{self, Runtime};
use tokio_rustls::TlsAcceptor;

use crate::auth::PRIVATE_KEY;
use crate::faults::{FaultId, Injection};
use crate::listener::{self, Presence, Switch};
use crate::options::Options;
use crate::requests::Requests;
use crate::service::{Service, router};
use crate::streaming::ChannelView;
use crate::streaming::table::Row;
use crate::tls;

/// A running emulator; it ends when it is dropped. Calls may come from any thread and never wait for a client.
#[derive(Debug)]
pub struct Emulator {
    service: Arc<Service>,
    switch: Arc<Switch>,
    ca_pem: String,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Starts an emulator on threads of its own; it answers when this returns.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let (socket, port) = listener::bind(options.port)?;
        let (ca_pem, tls) = tls::test_identity()?;
        let runtime = runtime(options.worker_threads).context("starting the emulator's threads")?;
        let service = Arc::new(Service::new(options, port)?);
        let switch = Arc::new(Switch::new());
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let (routes, told) = (router(service.clone()), switch.clone());
        // Before this returns connections wait in the backlog.
        socket.listen(1_024).context("listening")?;
        let thread = thread::Builder::new().name("snowpipe-emulator".into());
        let thread = thread.spawn(move || {
            let served = runtime.block_on(listener::serve(socket, port, acceptor, routes, told.clone()));
            runtime.shutdown_timeout(Duration::from_secs(1));
            told.set(Presence::Ended);
            if let Err(error) = served {
                panic!("the emulator on port {port} has ended: {error:#}");
            }
        });
        let thread = Some(thread.context("starting the emulator's thread")?);
        Ok(Self { service, switch, ca_pem, thread })
    }

    /// `https://127.0.0.1:<port>`, the account's URL and the ingest host's.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port())
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.service.port
    }

    /// The certificate of the CA that signed the server's, as PEM text.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Writes [`Self::ca_pem`] to a file, for `SSL_CERT_FILE` and the like.
    pub fn write_ca(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, &self.ca_pem)
    }

    /// Writes [`Self::private_key_pem`] to a new file that is nobody else's.
    pub fn write_key(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(self.private_key_pem().as_bytes())
    }

    /// The private key whose public half is registered for the user: PKCS#8 as PEM text, the same for all emulators.
    pub fn private_key_pem(&self) -> &'static str {
        PRIVATE_KEY
    }

    /// What a key-pair JWT has to have as `iss`: `ACCOUNT.USER.SHA256:<fingerprint of the public key>`.
    pub fn issuer(&self) -> &str {
        self.service.auth.issuer()
    }

    /// The account identifier.
    pub fn account(&self) -> &str {
        &self.service.options.account
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.service.options.user
    }

    /// The user's default role.
    pub fn role(&self) -> &str {
        &self.service.options.role
    }

    /// The database that holds the tables.
    pub fn database(&self) -> &str {
        &self.service.options.database
    }

    /// Lets something go wrong: an [`Injection`], or a [`crate::Fault`] alone, which is met once.
    pub fn inject(&self, fault: impl Into<Injection>) -> FaultId {
        self.service.faults().inject(fault.into())
    }

    /// How often an injected fault was met.
    pub fn met(&self, fault: FaultId) -> u64 {
        self.service.faults().met(fault)
    }

    /// Nothing that was injected is met any more; counts stay.
    pub fn clear_faults(&self) {
        self.service.faults().clear();
    }

    /// Closes all connections and refuses new ones until [`Self::come_back`]; tables and channels stay as they are.
    pub fn go_away(&self) {
        self.switch.turn(Presence::Away);
    }

    /// Ends [`Self::go_away`].
    pub fn come_back(&self) {
        self.switch.turn(Presence::Here);
    }

    /// [`Self::go_away`], and comes back by itself after a while.
    pub fn go_away_for(&self, time: Duration) -> anyhow::Result<()> {
        self.go_away();
        let switch = self.switch.clone();
        let returns = thread::Builder::new().name("snowpipe-emulator-returns".into()).spawn(move || {
            thread::sleep(time);
            switch.tell(Presence::Here);
        });
        returns.map(drop).context("starting a thread")
    }

    /// Holds all commits back, or lets those that are due happen.
    pub fn freeze_commits(&self, frozen: bool) {
        self.service.streaming().freeze(frozen);
    }

    /// Sets the clock by which tokens are judged and made off by this many milliseconds; commits do not follow it.
    pub fn set_clock_offset(&self, milliseconds: i64) {
        self.service.clock.set_offset(milliseconds);
    }

    /// Gives a channel a status that is not `SUCCESS` until it is opened again, in every pipe that has it.
    pub fn invalidate(&self, channel: &str, code: &str) {
        let mut streaming = self.service.streaming();
        for pipe in streaming.pipes_with(channel) {
            streaming.invalidate(&pipe, channel, code);
        }
    }

    /// Deletes a channel with its token, as 30 days without an append do, in every pipe that has it.
    pub fn wipe(&self, channel: &str) {
        let now = self.service.clock.steady();
        let mut streaming = self.service.streaming();
        for pipe in streaming.pipes_with(channel) {
            // It is there: nobody else has the lock.
            drop(streaming.drop_channel(now, &pipe, channel));
        }
    }

    /// The committed rows of a table, each channel's in its order; keys as the table's columns are spelled.
    ///
    /// # Panics
    ///
    /// If there is no such table.
    pub fn rows(&self, schema: &str, table: &str) -> Vec<Row> {
        self.table(schema, table, |(rows, _)| rows.to_vec())
    }

    /// The number of committed rows of a table, also where rows themselves are not kept.
    ///
    /// # Panics
    ///
    /// If there is no such table.
    pub fn count(&self, schema: &str, table: &str) -> u64 {
        self.table(schema, table, |(_, count)| count)
    }

    fn table<T>(&self, schema: &str, table: &str, get: impl FnOnce((&[Row], u64)) -> T) -> T {
        let mut streaming = self.service.streaming();
        streaming.settle(self.service.clock.steady());
        get(streaming.rows(schema, table).unwrap_or_else(|| panic!("no table {schema}.{table}")))
    }

    /// Rows that were accepted and are not committed.
    pub fn uncommitted(&self) -> u64 {
        let mut streaming = self.service.streaming();
        streaming.settle(self.service.clock.steady());
        streaming.uncommitted()
    }

    /// A channel, if it is there.
    pub fn channel(&self, name: &str) -> Option<ChannelView> {
        let mut streaming = self.service.streaming();
        streaming.settle(self.service.clock.steady());
        streaming.channel(name)
    }

    /// How often each kind of call was answered with what, until now.
    pub fn requests(&self) -> Requests {
        self.service.requests().clone()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.switch.tell(Presence::Ended);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the emulator's thread panicked");
        }
    }
}

fn runtime(worker_threads: usize) -> io::Result<Runtime> {
    runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads.max(1))
        .thread_name("snowpipe-emulator")
        .enable_all()
        .build()
}
