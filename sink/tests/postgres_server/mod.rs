//! A PostgreSQL server of the tests' own, and databases in it.
//!
//! - One server a process, started from the binaries in PATH or of Debian's packages; `GAITWAY_TEST_POSTGRES` names
//!   another, whose user may create databases and roles.
//! - It ends with the process, however that ends: a shell waits for the end of its input, which only this process holds,
//!   then ends the server and removes its folder.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// Ends the server in folder $1 at the end of its input, if its process is still the one that works there.
const GUARD: &str = r#"trap '' INT HUP TERM
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then
    kill -QUIT "$pid"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ] || break
        sleep 0.1
    done
fi
rm -rf -- "$1""#;

const PATIENCE: Duration = Duration::from_secs(60);

static SHARED: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A server of its own, for tests that kill it.
pub(crate) struct Server {
    dir: PathBuf,
    port: u16,
    settings: Vec<String>,
    child: Mutex<Child>,
    guard: Option<(Child, ChildStdin)>,
}

impl Server {
    /// An empty one; `settings` like `fsync=off`.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("gaitway-postgres-").tempdir().unwrap().keep();
        if let Some((user, group)) = other_user() {
            std::os::unix::fs::chown(&dir, Some(user), Some(group)).unwrap();
        }
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(&dir).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = guard.process_group(0).spawn().unwrap();
        let alive = guard.stdin.take().unwrap();
        let password = dir.join("password");
        std::fs::write(&password, "secret\n").unwrap();
        let made = command("initdb", &dir)
            .args(["--username=postgres", "--encoding=UTF8", "--no-locale", "--auth=scram-sha-256"])
            .arg(format!("--pwfile={}", password.display()))
            .arg("--pgdata")
            .arg(dir.join("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let child = Mutex::new(spawn(&dir, port, &settings));
        let server = Self { dir, port, settings, child, guard: Some((guard, alive)) };
        server.wait();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A user who may do everything.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres:secret@127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) fn database(&self) -> Database {
        Database::create(&self.url("postgres"))
    }

    /// SIGKILL of the postmaster.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again.
    pub(crate) fn restart(&self) {
        *self.child.lock().unwrap() = spawn(&self.dir, self.port, &self.settings);
        self.wait();
    }

    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(&self.url("postgres")) {
            let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not start: {}", log());
            let mut child = self.child.lock().unwrap();
            if child.try_wait().unwrap().is_some() {
                // After a kill its former processes may not have let go of its memory yet.
                *child = spawn(&self.dir, self.port, &self.settings);
            }
            drop(child);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if let Some((mut guard, alive)) = self.guard.take() {
            drop(alive);
            guard.wait().unwrap();
        }
    }
}

fn is_ready(url: &str) -> bool {
    TcpStream::connect(url.rsplit_once('@').unwrap().1.split('/').next().unwrap()).is_ok()
        && Reader::try_open(url).is_ok()
}

fn spawn(dir: &Path, port: u16, settings: &[String]) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    let mut server = command("postgres", dir);
    server.arg("-D").arg(dir.join("data"));
    server.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
    server.args([
        "-c",
        &format!("port={port}"),
        "-c",
        "fsync=on",
        "-c",
        "max_connections=60",
        "-c",
        "shared_buffers=32MB",
    ]);
    for setting in settings {
        server.args(["-c", setting]);
    }
    server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0).spawn().unwrap()
}

/// `program` of PostgreSQL's, run as another user than root.
fn command(program: &str, dir: &Path) -> Command {
    let path = binary(program);
    let mut command = match other_user() {
        None => Command::new(path),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
            command.arg(path);
            command
        }
    };
    command.current_dir(dir).env("LC_ALL", "C");
    command
}

/// Whether there is a server to be started.
pub(crate) fn is_installed() -> bool {
    find("postgres").is_some()
}

fn binary(program: &str) -> PathBuf {
    let found = find(program);
    found.unwrap_or_else(|| panic!("{program} is not there: install PostgreSQL's server, or set GAITWAY_TEST_POSTGRES"))
}

fn find(program: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(versions.into_iter().rev()).map(|dir| dir.join(program)).find(|p| p.exists())
}

/// The user that PostgreSQL runs as where this process is root's, which it refuses.
pub(crate) fn other_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let said = Command::new("id").args(arguments).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        said.trim().parse().unwrap_or_else(|_| panic!("there is no user postgres: install PostgreSQL's server"))
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

/// A database of a test's own.
pub(crate) struct Database {
    admin: String,
    pub(crate) name: String,
    pub(crate) url: String,
}

impl Database {
    /// In the server that the tests share.
    pub(crate) fn new() -> Self {
        match std::env::var("GAITWAY_TEST_POSTGRES") {
            Ok(url) => Self::create(&url),
            Err(_) => SHARED.database(),
        }
    }

    fn create(admin: &str) -> Self {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("gaitway_{}_{number}", std::process::id());
        Reader::open(admin).run(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"));
        let (server, _) = admin.rsplit_once('/').unwrap();
        Self { admin: admin.to_owned(), url: format!("{server}/{name}"), name }
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::open(&self.url)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Its server may be gone already.
        if let Ok(reader) = Reader::try_open(&self.admin) {
            let _ = reader.try_run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}

/// A connection that waits for each answer.
pub(crate) struct Reader {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Reader {
    pub(crate) fn open(url: &str) -> Self {
        Self::try_open(url).unwrap_or_else(|error| panic!("PostgreSQL is not there: {error}"))
    }

    fn try_open(url: &str) -> Result<Self, io::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let (client, connection) =
                tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Ok::<_, io::Error>(client)
        })?;
        Ok(Self { runtime, client })
    }

    pub(crate) fn run(&self, sql: &str) {
        self.try_run(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) fn try_run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.runtime.block_on(self.client.batch_execute(sql))
    }

    pub(crate) fn rows(&self, sql: &str) -> Vec<tokio_postgres::Row> {
        self.runtime.block_on(self.client.query(sql, &[])).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The one number that `sql` gives.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.rows(sql)[0].get(0)
    }
}
