//! What went wrong, in which database, and what its operator can do.
//!
//! - Every sentence names host and database, none a password.
//! - Only what a value's own form causes is told as never possible; everything else may work the next time.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use gaitway_proto::ledger::LedgerError;
use rustls::CertificateError;
use tokio_postgres::error::DbError;

use super::options::Server;

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is told as it is.
    Ledger(LedgerError),
    /// The server, or the way to it.
    Postgres(tokio_postgres::Error),
    /// The server did not answer within this time.
    Silent(Duration),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl Failure {
    pub(super) fn unavailable(said: String) -> Self {
        Self::Ledger(LedgerError::Unavailable(said))
    }

    /// Whether the server refused for lack of a right.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code().is_some_and(|code| code.code() == "42501"))
    }

    /// Whether somebody's lock was not given up in time.
    pub(super) fn is_locked_out(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code().is_some_and(|code| code.code() == "55P03"))
    }

    /// Whether the server said nothing.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Silent(_))
    }

    /// Whether the server cut a statement off that took too long.
    pub(super) fn is_cut_off(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code().is_some_and(|code| code.code() == "57014"))
    }

    pub(super) fn into_ledger(self, server: &Server) -> LedgerError {
        match self {
            Self::Ledger(error) => error,
            Self::Silent(limit) => LedgerError::Unavailable(format!(
                "{server} did not answer within {}: what was under way is not known until the positions are read again",
                gaitway_service::config::duration::shown(limit)
            )),
            Self::Postgres(error) => match error.as_db_error() {
                Some(said) => told(server, said.code().code(), &what(said)),
                None => LedgerError::Unavailable(away(server, &error)),
            },
        }
    }
}

fn what(said: &DbError) -> String {
    let mut what = said.message().to_owned();
    for more in [said.detail(), said.where_()].into_iter().flatten() {
        // What a detail or a place in the input quotes may be a whole record.
        what.push_str("; ");
        what.extend(more.chars().take(200));
    }
    what
}

fn away(server: &Server, error: &tokio_postgres::Error) -> String {
    let mut reason = error.to_string();
    if let Some(cause) = error.source() {
        let cause = cause.to_string();
        if !reason.contains(&cause) {
            reason = format!("{reason}: {cause}");
        }
    }
    if error.is_closed() {
        return format!(
            "the connection to {server} was lost: whether the last commit was stored is not known until the positions \
             are read again"
        );
    }
    let advice = match certificate(error) {
        Some(CertificateError::UnknownIssuer) => {
            "its certificate is signed by nobody who is trusted here: set postgres.ca_file"
        }
        Some(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "its certificate is not for this host: use a name that it is for"
        }
        Some(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired: renew it"
        }
        Some(_) => "its certificate cannot be used",
        None if reason.contains("server does not support TLS") => {
            "it takes no TLS, which sslmode asks for: switch ssl on there, or sslmode off"
        }
        None => "check that it runs, and its address",
    };
    format!("{server} cannot be reached: {advice} ({reason})")
}

/// What is wrong with the server's certificate, if that is it.
fn certificate(error: &tokio_postgres::Error) -> Option<&CertificateError> {
    let handshake = error.source()?.downcast_ref::<io::Error>()?;
    match handshake.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(wrong) => Some(wrong),
        _ => None,
    }
}

/// An error that the server told, by its SQLSTATE (PostgreSQL's documentation, appendix A).
fn told(server: &Server, code: &str, what: &str) -> LedgerError {
    let user = &server.user;
    let advice = match (code, code.get(..2).unwrap_or_default()) {
        (_, "22" | "54") => {
            return LedgerError::Rejected(format!("{server} does not take a value: {what}"));
        }
        ("57P01" | "57P02" | "57P03", _) => "is shutting down or starting: it is tried again".to_owned(),
        ("57P04" | "3D000", _) => "is not there: create it with CREATE DATABASE, or correct the url".to_owned(),
        ("53300", _) => "takes no more connections: close some, or raise its max_connections".to_owned(),
        ("57014", _) => {
            "took longer than statement_timeout: see what holds it up in pg_stat_activity, or raise statement_timeout"
                .to_owned()
        }
        ("55P03" | "40001" | "40P01", _) => "had another transaction in the way: it is tried again".to_owned(),
        ("53100", _) => "has a full disk: free space on it".to_owned(),
        ("53200", _) => "is out of memory: give it more, or lower its settings".to_owned(),
        ("25006", _) => "is read-only, perhaps a standby: connect to the primary, or wait until it is one".to_owned(),
        ("42501", _) => format!("does not let user {user} do this: grant what the documentation lists"),
        ("42P01" | "3F000", _) => "lacks a table: run what `gaitway sink ddl --dialect postgres` prints".to_owned(),
        // The DDL creates tables that are not there, and adds nothing to one that is.
        ("42703", _) => "lacks a column: add it with ALTER TABLE; gaitway doctor names it and its type".to_owned(),
        ("28P01" | "28000", _) => {
            format!("does not let user {user} in: check password, sslmode and pg_hba.conf")
        }
        (_, "23") => "has a constraint of its own on a table of gaitway's: drop it".to_owned(),
        (_, "08") => "lost the connection: it is tried again".to_owned(),
        (_, "58" | "XX") => "has trouble with its disk or files: look into its log".to_owned(),
        _ => "refused: look into its log".to_owned(),
    };
    LedgerError::Unavailable(format!("{server} {advice} ({what}, SQLSTATE {code})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_the_database_and_what_to_do() {
        let server = Server { host: "db:5432".into(), database: "gait".into(), user: "sink".into(), exposed: false };
        for (code, expected) in [
            ("57P01", "shutting down"),
            ("57P03", "starting"),
            ("53300", "max_connections"),
            ("57014", "statement_timeout"),
            ("40001", "tried again"),
            ("40P01", "tried again"),
            ("53100", "full disk"),
            ("25006", "standby"),
            ("42501", "let user sink"),
            ("42P01", "ddl"),
            ("42703", "ALTER TABLE"),
            ("28P01", "password"),
            ("3D000", "CREATE DATABASE"),
            ("23502", "drop it"),
            ("58030", "log"),
            ("99999", "log"),
        ] {
            let LedgerError::Unavailable(said) = told(&server, code, "why") else { panic!("{code} is final") };
            let all = ["database gait at db:5432", expected, "why", code];
            assert!(all.iter().all(|part| said.contains(part)), "{said}");
        }
    }

    #[test]
    fn only_a_value_of_a_form_that_no_column_holds_is_final() {
        let server = Server { host: "db".into(), database: "g".into(), user: "u".into(), exposed: false };
        for code in ["22021", "22P05", "22P02", "22003", "54000", "54001"] {
            assert!(matches!(told(&server, code, "why"), LedgerError::Rejected(_)), "{code}");
        }
    }
}
