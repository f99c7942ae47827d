//! Which database, and how long it may take.
//!
//! - A password is never shown: not by `Debug`, not in an error.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use gaitway_service::config::{Check, Wrong};
use gaitway_service::secret::{self, Secret};
use serde::{Deserialize, Serialize};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Which database, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where the database is: `postgres://user@host:5432/database`, or libpq's `host=… user=… dbname=…`. `sslmode` in
    /// it is `disable` or `prefer` (no TLS; the default), or `require` or `verify-full` (TLS, with certificate and host
    /// name verified).
    pub url: Address,
    /// The password, where it does not stand in `url`. It is for the environment: a file is better named by
    /// `password_file`.
    pub password: Option<Secret>,
    /// A file that holds the password, and that nobody else may read. It is read for each connection; white space
    /// around the password does not count.
    pub password_file: Option<PathBuf>,
    /// A file with certificates in PEM form: one of them must have signed the server's. If it is not set, the system's
    /// are trusted.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take to be made.
    #[serde(with = "gaitway_service::config::duration")]
    pub connect_timeout: Duration,
    /// How long a step of a commit may take.
    #[serde(with = "gaitway_service::config::duration")]
    pub statement_timeout: Duration,
    /// How long raw readings are kept after they were stored, by whole partitions, or by TimescaleDB's retention policy
    /// where it has that. If it is not set, nothing is deleted, and a policy that exists is left as it is.
    #[serde(with = "gaitway_service::config::duration")]
    pub keep_raw: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: Address::new("postgres://gaitway@localhost/gaitway"),
            password: None,
            password_file: None,
            ca_file: None,
            connect_timeout: 10 * SECOND,
            statement_timeout: 60 * SECOND,
            keep_raw: None,
        }
    }
}

impl Check for Options {
    /// Keys as below `[postgres]`.
    fn check(&self) -> Result<(), Wrong> {
        let Self { url, password, password_file, connect_timeout, statement_timeout, keep_raw, .. } = self;
        let config = url.parse()?;
        let beside = match (config.get_password(), password, password_file) {
            (Some(_), None, Some(_)) => Some(("postgres.password_file", "a password in `postgres.url`")),
            (Some(_), Some(_), _) => Some(("postgres.password", "a password in `postgres.url`")),
            (None, Some(_), Some(_)) => Some(("postgres.password_file", "`postgres.password`")),
            _ => None,
        };
        if let Some((key, other)) = beside {
            let wrong = Wrong::new(key, format!("cannot stand beside {other}: keep one of them"));
            return Err(wrong.naming("postgres.url").naming("postgres.password"));
        }
        Wrong::unless_time_within("postgres.connect_timeout", *connect_timeout, SECOND..=300 * SECOND)?;
        Wrong::unless_time_within("postgres.statement_timeout", *statement_timeout, SECOND..=HOUR)?;
        keep_raw.map_or(Ok(()), |keep| Wrong::unless_time_within("postgres.keep_raw", keep, HOUR..=CENTURY))
    }
}

impl Options {
    /// What to connect with, the password among it.
    pub(super) fn config(&self) -> Result<Config, Wrong> {
        let mut config = self.url.parse()?;
        let read = self.password_file.as_deref().map(secret::read).transpose();
        let read = read.map_err(|error| Wrong::new("postgres.password_file", error.to_string()))?;
        if let Some(password) = read.as_ref().or(self.password.as_ref()) {
            config.password(password.reveal());
        }
        if config.get_application_name().is_none() {
            config.application_name("gaitway");
        }
        config.connect_timeout(self.connect_timeout).tcp_user_timeout(self.statement_timeout);
        config.keepalives_idle(30 * SECOND).keepalives_interval(10 * SECOND).keepalives_retries(3);
        Ok(config)
    }
}

/// Where a database is, perhaps with a password in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// The address made of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What is wrong is said without the text: a password with a `?` or a space in it would be shown otherwise.
    fn parse(&self) -> Result<Config, Wrong> {
        let wrong = |problem: &str| Err(Wrong::new("postgres.url", problem));
        // The client knows no word for it; with this one, certificates are verified all the same.
        let parsed =
            self.0.parse::<Config>().or_else(|_| self.0.replace("sslmode=verify-full", "sslmode=require").parse());
        let Ok(config) = parsed else {
            if self.0.contains("sslmode=verify-ca") {
                return wrong("must not have sslmode=verify-ca: say verify-full, which checks the host's name too");
            }
            return wrong(
                "must be like postgres://user@host:5432/database or \"host=… user=… dbname=…\"; in a URL, signs of the \
                 password other than letters and digits are written as %XX",
            );
        };
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return wrong("must name a host");
        }
        if config.get_user().is_none() {
            return wrong("must name a user");
        }
        Ok(config)
    }
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// `database NAME at HOST:PORT`, without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parse() {
            Ok(config) => Server::of(&config).fmt(f),
            Err(_) => f.write_str("…"),
        }
    }
}

/// A database as sentences name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) database: String,
    pub(super) user: String,
    /// Whether what is sent could be read on the way.
    pub(super) exposed: bool,
}

impl Server {
    pub(super) fn of(config: &Config) -> Self {
        let ports = config.get_ports();
        let names = config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let mut names: Vec<_> = names.collect();
        if names.is_empty() {
            names.extend(config.get_hostaddrs().iter().map(ToString::to_string));
        }
        let local =
            |name: &String| name == "localhost" || name.starts_with('/') || name.starts_with("127.") || name == "::1";
        let exposed = config.get_ssl_mode() != SslMode::Require && !names.iter().all(local);
        for (place, name) in names.iter_mut().enumerate() {
            let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
            *name = format!("{name}:{port}");
        }
        let user = config.get_user().unwrap_or_default().to_owned();
        Self { host: names.join(","), database: config.get_dbname().unwrap_or(&user).to_owned(), user, exposed }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {} at {}", self.database, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Options {
        Options { url: Address::new(url), ..Options::default() }
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in ["postgres://u:s3cret@db/x", "host=db user=u password=s3cret", "postgres://u:s3?cret@db", "s3cret"] {
            let options = at(url);
            let said = format!("{options:?} {:?}", options.check());
            assert!(!said.contains("s3") && !said.contains("cret@"), "{said}");
        }
        assert_eq!(format!("{:?}", at("postgres://u:p@db/x").url), "Address(database x at db:5432)");
    }

    #[test]
    fn options_are_read_and_checked() {
        assert_eq!(Options::default().check(), Ok(()));
        let read: Options = serde_json::from_str(
            r#"{"url":"postgres://u@db:6000/x?sslmode=verify-full","statement_timeout":"5s","keep_raw":"30d"}"#,
        )
        .unwrap();
        assert_eq!(read.check(), Ok(()));
        let config = read.config().unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert!(!Server::of(&config).exposed && Server::of(&at("postgres://u@db").config().unwrap()).exposed);
        assert_eq!(read.keep_raw, Some(30 * 24 * HOUR));
        assert!(serde_json::from_str::<Options>(r#"{"adress":"x"}"#).is_err());
        let bad = [
            at(""),
            at("postgres:///x"),
            at("postgres://db/x"),
            at("postgres://u@db/x?sslmode=verify-ca"),
            Options { password_file: Some("/p".into()), ..at("postgres://u:p@db/x") },
            Options { password: Some(Secret::new("q")), ..at("postgres://u:p@db/x") },
            Options { password: Some(Secret::new("q")), password_file: Some("/p".into()), ..at("postgres://u@db/x") },
            Options { connect_timeout: Duration::ZERO, ..Options::default() },
            Options { statement_timeout: 2 * HOUR, ..Options::default() },
            Options { keep_raw: Some(SECOND), ..Options::default() },
        ];
        for options in bad {
            assert!(options.check().is_err(), "{options:?}");
        }
    }
}
