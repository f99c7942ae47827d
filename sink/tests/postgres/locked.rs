//! A server that takes its user over TLS alone, with a password by SCRAM.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use gaitway_proto::ledger::Ledger as _;
use gaitway_service::secret::Secret;
use gaitway_sink::postgres::{Address, Options, Warehouse};

use crate::authority::Authority;
use crate::postgres_server::{Database, Server, other_user};
use crate::support::Walk;

/// The admin comes as everywhere; everybody else by TLS alone.
const HBA: &str = "host all postgres 127.0.0.1/32 scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

struct Locked {
    dir: tempfile::TempDir,
    server: Server,
    authority: Authority,
}

impl Locked {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("authority of the database");
        let (certificate, key) = authority.issue(&["localhost"]);
        let files = [("server.pem", certificate), ("server.key", key), ("hba.conf", HBA.to_owned())];
        let [certificate, key, hba] = files.map(|(name, content)| file(dir.path(), name, &content, 0o600));
        if let Some((user, group)) = other_user() {
            for path in [dir.path(), &certificate, &key, &hba] {
                chown(path, Some(user), Some(group)).unwrap();
            }
        }
        let server = Server::start(&[
            "ssl=on",
            &format!("ssl_cert_file={}", certificate.display()),
            &format!("ssl_key_file={}", key.display()),
            &format!("hba_file={}", hba.display()),
        ]);
        Self { dir, server, authority }
    }

    /// A database of the user `gaitway`, whose password is `hunter2`.
    fn database(&self) -> Database {
        let database = self.server.database();
        let user = "CREATE ROLE gaitway LOGIN PASSWORD 'hunter2'";
        database.reader().run(&format!("{user}; ALTER DATABASE {} OWNER TO gaitway", database.name));
        database
    }

    fn options(&self, database: &Database) -> Options {
        let port = self.server.port();
        let ca = file(self.dir.path(), "ca.pem", &self.authority.pem, 0o644);
        Options {
            url: Address::new(format!("postgres://gaitway@localhost:{port}/{}?sslmode=verify-full", database.name)),
            password: Some(Secret::new("hunter2")),
            ca_file: Some(ca),
            ..Options::default()
        }
    }
}

fn file(dir: &Path, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn refused(options: &Options) -> String {
    let said = Warehouse::new(options).unwrap().recover().unwrap_err().to_string();
    assert!(!said.contains("hunter"), "{said}");
    said
}

#[test]
#[ignore = "needs postgres"]
fn rows_are_stored_over_tls_with_a_password_by_scram() {
    let locked = Locked::new();
    let database = locked.database();
    let password = file(locked.dir.path(), "password", "hunter2\n", 0o600);
    let by_file = Options { password: None, password_file: Some(password), ..locked.options(&database) };
    let mut walk = Walk::new();
    for (options, rows) in [(locked.options(&database), 3), (by_file, 6)] {
        let mut warehouse = Warehouse::new(&options).unwrap();
        warehouse.recover().unwrap();
        walk.step(&mut warehouse, 3);
        let reader = database.reader();
        assert_eq!(reader.number("SELECT count(*) FROM raw_data.activity_records"), rows);
        let over_tls =
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename = 'gaitway'";
        assert_eq!(reader.number(over_tls), 1);
    }
    let scram = "SELECT count(*) FROM pg_authid WHERE rolname = 'gaitway' AND rolpassword LIKE 'SCRAM-SHA-256$%'";
    assert_eq!(database.reader().number(scram), 1);
}

#[test]
#[ignore = "needs postgres"]
fn what_is_wrong_with_a_locked_server_is_named() {
    let locked = Locked::new();
    let database = locked.database();
    let good = locked.options(&database);
    Warehouse::new(&good).unwrap().recover().unwrap();
    let elsewhere = |url: &str, to: &str| {
        let url = format!("postgres://gaitway@{url}:{}/{}?sslmode={to}", locked.server.port(), database.name);
        Options { url: Address::new(url), ..good.clone() }
    };

    let other = file(locked.dir.path(), "other.pem", &Authority::new("another").pem, 0o644);
    let said = refused(&Options { ca_file: Some(other), ..good.clone() });
    assert!(said.contains("signed by nobody who is trusted here: set postgres.ca_file"), "{said}");
    let said = refused(&elsewhere("127.0.0.1", "require"));
    assert!(said.contains("its certificate is not for this host"), "{said}");
    let said = refused(&Options { password: Some(Secret::new("hunter3")), ..good.clone() });
    assert!(said.contains("does not let user gaitway in: check password"), "{said}");
    let said = refused(&Options { password: None, ..good.clone() });
    assert!(said.contains("password"), "{said}");
    let said = refused(&elsewhere("localhost", "disable"));
    assert!(said.contains("does not let user gaitway in") && said.contains("sslmode"), "{said}");
}

#[test]
#[ignore = "needs postgres"]
fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let database = Database::new();
    let options = Options { url: Address::new(format!("{}?sslmode=require", database.url)), ..Options::default() };
    let said = Warehouse::new(&options).unwrap().recover().unwrap_err().to_string();
    assert!(said.contains("it takes no TLS, which sslmode asks for"), "{said}");
}

#[test]
#[ignore = "needs postgres"]
fn a_password_file_that_others_may_read_is_refused() {
    let (database, dir) = (Database::new(), tempfile::tempdir().unwrap());
    let password = file(dir.path(), "password", "hunter2", 0o640);
    let url = Address::new(database.url.replace(":secret@", "@"));
    let options = Options { url, password_file: Some(password), ..Options::default() };
    let said = Warehouse::new(&options).unwrap_err().to_string();
    assert!(said.contains("`postgres.password_file`") && said.contains("chmod 600"), "{said}");
}
