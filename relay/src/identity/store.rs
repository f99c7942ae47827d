//! `identities.db`: codes and certificates. The relay and the command line write it at the same time.
//!
//! - Whatever is decided is in the file, synced, before anybody is told.
//! - A code is used and its certificate entered in one transaction.
//! - It is bounded: codes a day old go, certificates ended a month ago, and of an agent all but the newest [`MOST_EACH`].

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gaitway_proto::enrolment::{CERTIFICATE_LIFE, Code, CodeSecret, Issued, Refusal};
use gaitway_proto::topic::AgentId;
use gaitway_service::empty_file;
use gaitway_service::key_file::{self, KeyFileError};
use gaitway_service::lock::{DataDir, LockError};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::authority::{Authority, AuthorityError, Request, Validity};
use super::book::{Book, Entry, Serial};
use super::pending::Pending;

/// The file in the relay's data directory.
pub(crate) const FILE: &str = "identities.db";

/// `application_id`: "gwid".
const APPLICATION_ID: i64 = 0x6777_6964;

/// `user_version`, counts changes of the tables.
const VERSION: i64 = 1;

/// How long one writer waits for another.
const BUSY: Duration = Duration::from_secs(5);

/// Codes that may wait to be used.
const MOST_CODES: i64 = 1000;

/// Certificates that one agent may have renewed within a minute.
const MOST_A_MINUTE: i64 = 6;

/// Certificates of one agent that are kept.
const MOST_EACH: i64 = 16;

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 3600;

const TABLES: &str = "
-- Times are seconds of the Unix epoch. rotate: another is wanted in its place; seenAt: last connection made with it
CREATE TABLE certificate(
  serial TEXT PRIMARY KEY, agent TEXT NOT NULL, issuedAt INTEGER NOT NULL, notAfter INTEGER NOT NULL,
  revokedAt INTEGER, rotate INTEGER NOT NULL DEFAULT 0, seenAt INTEGER
);
CREATE INDEX certificate_agent ON certificate(agent);
-- digest: of the secret, which is kept nowhere
CREATE TABLE code(
  selector INTEGER PRIMARY KEY, agent TEXT NOT NULL, digest BLOB NOT NULL, madeAt INTEGER NOT NULL,
  triesLeft INTEGER NOT NULL, usedAt INTEGER
);
-- Where the relay that runs on this folder is reached, for the command line; public: by its configuration
CREATE TABLE listener(one INTEGER PRIMARY KEY CHECK(one = 1), address TEXT NOT NULL, public INTEGER NOT NULL);
";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its folder cannot be made.
    #[error(transparent)]
    Folder(#[from] LockError),
    /// Its file cannot be made or is open to others.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// SQLite's own error.
    #[error("{} cannot be used: {why}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why. It is in the sentence, so it is no source beside it.
        why: rusqlite::Error,
    },
    /// It is another program's, or a newer version's.
    #[error("{} is not the identities of this version of gaitway: give --data-dir the relay's folder", .0.display())]
    Foreign(PathBuf),
    /// There is no such folder or no relay was here.
    #[error(
        "no relay has kept identities in {}: give --data-dir the relay's folder (`gaitway up` has it in DIR/relay), or \
         start the relay there first, with TLS",
        .0.display()
    )]
    Missing(PathBuf),
    /// There is no authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Too many codes wait.
    #[error("{MOST_CODES} codes wait to be used: wait until some are over, or revoke their agents")]
    TooManyCodes,
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// A code that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// It.
    pub code: Code,
    /// The agent has a good certificate already: until then, seconds of the Unix epoch.
    pub certified_until: Option<i64>,
}

/// One certificate or code, as it is listed. Times are seconds of the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub agent: AgentId,
    /// None for a code that waits.
    pub serial: Option<Serial>,
    pub until: i64,
    pub revoked_at: Option<i64>,
    pub rotate: bool,
    pub seen_at: Option<i64>,
}

/// See the module.
pub struct Store {
    path: PathBuf,
    connection: Connection,
    authority: Authority,
}

impl Store {
    /// The store and the authority in `dir`, made there if there are none.
    pub fn open(dir: &Path, now: i64) -> Result<Self, StoreError> {
        DataDir::create(dir)?;
        let path = dir.join(FILE);
        key_file::owners_own(OpenOptions::new().create(true).append(true))
            .open(&path)
            .and_then(|_| empty_file::settle(&path))
            .map_err(|source| KeyFileError::Io { path: path.clone(), source })?;
        let failed = |why| StoreError::Sqlite { path: path.clone(), why };
        let mut connection = Connection::open(&path).map_err(failed)?;
        set_up(&connection).map_err(failed)?;
        // The lock also keeps two processes from making two authorities.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
        match (number("application_id")?, number("user_version")?) {
            (APPLICATION_ID, VERSION) => {}
            (0, 0) => {
                transaction.execute_batch(TABLES).map_err(failed)?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
                transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
            }
            _ => return Err(StoreError::Foreign(path)),
        }
        let authority = Authority::open(dir, now)?;
        transaction.commit().map_err(failed)?;
        Ok(Self { path, connection, authority })
    }

    /// The one in `dir`, where a relay has been.
    pub fn open_existing(dir: &Path, now: i64) -> Result<Self, StoreError> {
        if dir.join(FILE).is_file() { Self::open(dir, now) } else { Err(StoreError::Missing(dir.to_owned())) }
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Makes a code for `agent`.
    pub fn add(&mut self, now: i64, agent: &AgentId) -> Result<Added, StoreError> {
        let fingerprint = self.authority.fingerprint();
        let (path, transaction) = self.begin()?;
        let failed = |why| StoreError::Sqlite { path: path.clone(), why };
        sweep(&transaction, now).map_err(failed)?;
        let taken =
            |selector: u16| transaction.prepare_cached("SELECT 1 FROM code WHERE selector = ?")?.exists([selector]);
        let count: i64 = transaction.query_row("SELECT count(*) FROM code", [], |row| row.get(0)).map_err(failed)?;
        if count >= MOST_CODES {
            return Err(StoreError::TooManyCodes);
        }
        let secret = loop {
            let secret = CodeSecret::from_random(getrandom::u64()?);
            if !taken(secret.selector()).map_err(failed)? {
                break secret;
            }
        };
        keep(&transaction, secret.selector(), &Pending::new(now, agent.clone(), &secret)).map_err(failed)?;
        let certified_until = transaction
            .query_row(
                "SELECT max(notAfter) FROM certificate WHERE agent = ? AND revokedAt IS NULL AND notAfter >= ?",
                params![agent.as_str(), now],
                |row| row.get(0),
            )
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Added { code: Code { fingerprint, secret }, certified_until })
    }

    /// Somebody brings the secret of a code: a certificate, or why there is none.
    pub(crate) fn enrol(
        &mut self,
        now: i64,
        secret: &CodeSecret,
        request: &Request,
    ) -> Result<Result<Issued, Refusal>, StoreError> {
        let serial = fresh_serial()?;
        let authority = &self.authority;
        let path = &self.path;
        let failed = |why| StoreError::Sqlite { path: path.clone(), why };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let Some(mut pending) = waiting(&transaction, secret.selector()).map_err(failed)? else {
            return Ok(Err(Refusal::WrongCode { tries_left: None }));
        };
        let judged = pending.handle_try(now, secret);
        keep(&transaction, secret.selector(), &pending).map_err(failed)?;
        let answer = match judged {
            Ok(()) => Ok(issue(&transaction, authority, now, &pending.agent, serial, request, failed)?),
            Err(refusal) => Err(refusal),
        };
        transaction.commit().map_err(failed)?;
        Ok(answer)
    }

    /// The next certificate in the place of the one with `present`, which must be good.
    pub(crate) fn renew(
        &mut self,
        now: i64,
        present: Serial,
        request: &Request,
    ) -> Result<Result<Issued, Refusal>, StoreError> {
        let serial = fresh_serial()?;
        let authority = &self.authority;
        let path = &self.path;
        let failed = |why| StoreError::Sqlite { path: path.clone(), why };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let good = "SELECT agent FROM certificate WHERE serial = ? AND revokedAt IS NULL AND notAfter >= ?";
        let agent = transaction
            .query_row(good, params![present.to_string(), now], |row| agent_in(row, 0))
            .optional()
            .map_err(failed)?;
        let Some(agent) = agent else { return Ok(Err(Refusal::NoCertificate)) };
        let lately = "SELECT count(*) FROM certificate WHERE agent = ? AND issuedAt > ?";
        let lately: i64 =
            transaction.query_row(lately, params![agent.as_str(), now - MINUTE], |row| row.get(0)).map_err(failed)?;
        if lately >= MOST_A_MINUTE {
            return Ok(Err(Refusal::TooMany { seconds: MINUTE as u32 }));
        }
        let issued = issue(&transaction, authority, now, &agent, serial, request, failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Ok(issued))
    }

    /// Connections were made with these certificates. Whatever was to be replaced by one of them is revoked.
    pub(crate) fn seen(&mut self, now: i64, serials: &[Serial]) -> Result<(), StoreError> {
        let (path, transaction) = self.begin()?;
        let failed = |why| StoreError::Sqlite { path: path.clone(), why };
        for serial in serials {
            let serial = serial.to_string();
            let seen = "UPDATE certificate SET seenAt = ?1 WHERE serial = ?2";
            transaction.execute(seen, params![now, serial]).map_err(failed)?;
            let replaced = "UPDATE certificate SET revokedAt = ?1
                 WHERE rotate AND revokedAt IS NULL AND serial <> ?2
                 AND (agent, 0) = (SELECT agent, rotate FROM certificate WHERE serial = ?2)";
            transaction.execute(replaced, params![now, serial]).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    /// Asks for new certificates in the place of all good ones of `agent`; how many these are.
    pub fn rotate(&mut self, now: i64, agent: &AgentId) -> Result<usize, StoreError> {
        let all = "UPDATE certificate SET rotate = 1 WHERE agent = ?2 AND revokedAt IS NULL AND notAfter >= ?1";
        self.connection.execute(all, params![now, agent.as_str()]).map_err(|why| self.failed(why))
    }

    /// Throws `agent` out: revokes all its certificates and drops its codes; how many of each.
    pub fn revoke(&mut self, now: i64, agent: &AgentId) -> Result<(usize, usize), StoreError> {
        let (path, transaction) = self.begin()?;
        let failed = |why| StoreError::Sqlite { path: path.clone(), why };
        let all = "UPDATE certificate SET revokedAt = ?1 WHERE agent = ?2 AND revokedAt IS NULL";
        let certificates = transaction.execute(all, params![now, agent.as_str()]).map_err(failed)?;
        let waiting = "DELETE FROM code WHERE agent = ?1 AND usedAt IS NULL";
        let codes = transaction.execute(waiting, [agent.as_str()]).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok((certificates, codes))
    }

    /// All certificates that have not ended, and codes that wait.
    pub(crate) fn list(&self, now: i64) -> Result<Vec<Line>, StoreError> {
        let read = || {
            let certificates = "SELECT agent, serial, notAfter, revokedAt, rotate, seenAt FROM certificate
                 WHERE notAfter >= ?1 ORDER BY agent, issuedAt, serial";
            let mut statement = self.connection.prepare(certificates)?;
            let of_row = |row: &rusqlite::Row<'_>| {
                let serial = Some(serial_in(row, 1)?);
                let (agent, until, revoked_at) = (agent_in(row, 0)?, row.get(2)?, row.get(3)?);
                Ok(Line { agent, serial, until, revoked_at, rotate: row.get(4)?, seen_at: row.get(5)? })
            };
            let mut lines = statement.query_map([now], of_row)?.collect::<rusqlite::Result<Vec<_>>>()?;
            let life = CODE_SECONDS;
            let codes = "SELECT agent, madeAt + ?2 FROM code
                 WHERE usedAt IS NULL AND triesLeft > 0 AND madeAt + ?2 > ?1 ORDER BY agent";
            let mut statement = self.connection.prepare(codes)?;
            let of_row = |row: &rusqlite::Row<'_>| {
                let (agent, until) = (agent_in(row, 0)?, row.get(1)?);
                Ok(Line { agent, serial: None, until, revoked_at: None, rotate: false, seen_at: None })
            };
            lines.extend(statement.query_map([now, life], of_row)?.collect::<rusqlite::Result<Vec<_>>>()?);
            Ok(lines)
        };
        read().map_err(|why| self.failed(why))
    }

    /// What the listener looks at.
    pub(crate) fn book(&self, now: i64) -> Result<Book, StoreError> {
        let lines = self.list(now)?;
        Ok(Book::new(lines.into_iter().filter_map(|line| {
            let revoked = line.revoked_at.is_some();
            let entry = Entry { agent: line.agent, not_after: line.until, revoked, rotate: line.rotate };
            Some((line.serial?, entry))
        })))
    }

    /// A number that changes when another connection has written.
    pub(crate) fn data_version(&self) -> Result<i64, StoreError> {
        self.connection.pragma_query_value(None, "data_version", |row| row.get(0)).map_err(|why| self.failed(why))
    }

    /// Notes where the relay listens, or, as `public`, where it says that it is reached.
    pub(crate) fn note_listener(&mut self, address: &str, public: bool) -> Result<(), StoreError> {
        let note = "INSERT INTO listener(one, address, public) VALUES(1, ?1, ?2)
             ON CONFLICT(one) DO UPDATE SET address = ?1, public = ?2";
        self.connection.execute(note, params![address, public]).map(drop).map_err(|why| self.failed(why))
    }

    /// As noted, if a relay has run here.
    pub(crate) fn listener(&self) -> Result<Option<(String, bool)>, StoreError> {
        self.connection
            .query_row("SELECT address, public FROM listener", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(|why| self.failed(why))
    }

    /// Hides the certificates from whoever reads them here, and nobody else, or shows them again.
    #[cfg(test)]
    pub(super) fn blind(&self, hide: bool) {
        let shadow = if hide { "CREATE TEMP TABLE certificate(none)" } else { "DROP TABLE temp.certificate" };
        self.connection.execute_batch(shadow).unwrap();
    }

    fn begin(&mut self) -> Result<(PathBuf, Transaction<'_>), StoreError> {
        let path = self.path.clone();
        match self.connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => Ok((path, transaction)),
            Err(why) => Err(StoreError::Sqlite { path, why }),
        }
    }

    fn failed(&self, why: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { path: self.path.clone(), why }
    }
}

/// How long codes last, in SQLite's numbers.
pub(super) const CODE_SECONDS: i64 = gaitway_proto::enrolment::CODE_LIFE.as_secs() as i64;

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "mmap_size", 0)
}

fn fresh_serial() -> Result<Serial, StoreError> {
    let [high, low] = [getrandom::u64()?, getrandom::u64()?].map(u128::from);
    Ok(Serial::from_random(high << 64 | low))
}

fn sweep(transaction: &Transaction<'_>, now: i64) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM code WHERE madeAt < ?1 OR madeAt > ?2", [now - DAY, now + DAY])?;
    transaction.execute("DELETE FROM certificate WHERE notAfter < ?1", [now - 30 * DAY])?;
    Ok(())
}

fn waiting(transaction: &Transaction<'_>, selector: u16) -> rusqlite::Result<Option<Pending>> {
    let query = "SELECT agent, digest, madeAt, triesLeft, usedAt FROM code WHERE selector = ?";
    transaction
        .query_row(query, [selector], |row| {
            let (agent, digest, made_at) = (agent_in(row, 0)?, row.get(1)?, row.get(2)?);
            Ok(Pending { agent, digest, made_at, tries_left: row.get(3)?, used_at: row.get(4)? })
        })
        .optional()
}

fn keep(transaction: &Transaction<'_>, selector: u16, code: &Pending) -> rusqlite::Result<()> {
    let Pending { agent, digest, made_at, tries_left, used_at } = code;
    transaction.execute(
        "INSERT INTO code(selector, agent, digest, madeAt, triesLeft, usedAt) VALUES(?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT(selector) DO UPDATE SET triesLeft = ?5, usedAt = ?6",
        params![selector, agent.as_str(), digest, made_at, tries_left, used_at],
    )?;
    Ok(())
}

/// Makes a certificate and enters it.
fn issue(
    transaction: &Transaction<'_>,
    authority: &Authority,
    now: i64,
    agent: &AgentId,
    serial: Serial,
    request: &Request,
    failed: impl Fn(rusqlite::Error) -> StoreError + Copy,
) -> Result<Issued, StoreError> {
    let validity = Validity::from(now, CERTIFICATE_LIFE);
    let certificate = authority.certify_agent(agent, serial, validity, request).map_err(AuthorityError::Making)?;
    let enter = "INSERT INTO certificate(serial, agent, issuedAt, notAfter) VALUES(?1, ?2, ?3, ?4)";
    transaction.execute(enter, params![serial.to_string(), agent.as_str(), now, validity.not_after]).map_err(failed)?;
    let surplus = "DELETE FROM certificate WHERE agent = ?1 AND serial NOT IN (
         SELECT serial FROM certificate WHERE agent = ?1 ORDER BY issuedAt DESC, rowid DESC LIMIT ?2)";
    transaction.execute(surplus, params![agent.as_str(), MOST_EACH]).map_err(failed)?;
    sweep(transaction, now).map_err(failed)?;
    Ok(Issued {
        agent: agent.clone(),
        certificate: certificate.to_vec(),
        authority: authority.certificate().to_vec(),
        not_before: validity.not_before,
        not_after: validity.not_after,
    })
}

fn agent_in(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<AgentId> {
    parsed(row, column)
}

fn serial_in(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Serial> {
    parsed(row, column)
}

fn parsed<T>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get::<_, String>(column)?.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::super::book::Standing;
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn request() -> Request {
        let made = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
        Request::read(made.der()).unwrap()
    }

    fn serial_of(issued: &Issued) -> Serial {
        let (_, parsed) = x509_parser::parse_x509_certificate(&issued.certificate).unwrap();
        Serial::from_bytes(parsed.raw_serial()).unwrap()
    }

    struct Bench {
        dir: tempfile::TempDir,
        store: Store,
        attic: AgentId,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), NOW).unwrap();
        Bench { dir, store, attic: "attic".parse().unwrap() }
    }

    impl Bench {
        fn enrolled(&mut self, now: i64) -> Serial {
            let added = self.store.add(now, &self.attic).unwrap();
            serial_of(&self.store.enrol(now, &added.code.secret, &request()).unwrap().unwrap())
        }

        fn is_good(&self, now: i64, serial: Serial) -> bool {
            matches!(self.store.book(now).unwrap().standing(now, serial), Standing::Good { .. })
        }
    }

    #[test]
    fn a_code_makes_one_certificate_across_restarts() {
        let mut bench = bench();
        let added = bench.store.add(NOW, &bench.attic).unwrap();
        assert_eq!(added.certified_until, None);
        let secret = added.code.secret;
        let mut again = Store::open(bench.dir.path(), NOW).unwrap();
        assert_eq!(added.code.fingerprint, again.authority().fingerprint());
        let issued = again.enrol(NOW, &secret, &request()).unwrap().unwrap();
        assert_eq!((issued.agent.as_str(), issued.not_after), ("attic", NOW + 90 * DAY));
        assert_eq!(bench.store.enrol(NOW, &secret, &request()).unwrap(), Err(Refusal::Used));
        assert!(bench.is_good(NOW, serial_of(&issued)));
        assert_eq!(bench.store.add(NOW, &bench.attic).unwrap().certified_until, Some(issued.not_after));
    }

    #[test]
    fn wrong_tries_are_kept_and_count_against_the_code_that_begins_alike() {
        let mut bench = bench();
        let secret = bench.store.add(NOW, &bench.attic).unwrap().code.secret;
        let alike = |n: u64| CodeSecret::from_random(u64::from(secret.selector()) << 35 | n);
        for left in [4, 3, 2, 1, 0] {
            let refused = bench.store.enrol(NOW, &alike(left), &request()).unwrap();
            assert_eq!(refused, Err(Refusal::WrongCode { tries_left: Some(left as u8) }));
        }
        let mut again = Store::open(bench.dir.path(), NOW).unwrap();
        assert_eq!(again.enrol(NOW, &secret, &request()).unwrap(), Err(Refusal::Exhausted));
        let elsewhere = CodeSecret::from_random(u64::from(secret.selector() ^ 1) << 35);
        assert_eq!(again.enrol(NOW, &elsewhere, &request()).unwrap(), Err(Refusal::WrongCode { tries_left: None }));
    }

    #[test]
    fn a_code_that_is_over_is_refused() {
        let mut bench = bench();
        let secret = bench.store.add(NOW, &bench.attic).unwrap().code.secret;
        assert_eq!(bench.store.enrol(NOW + 900, &secret, &request()).unwrap(), Err(Refusal::Expired));
        assert!(bench.store.list(NOW + 900).unwrap().is_empty());
    }

    #[test]
    fn whoever_is_revoked_has_neither_certificate_nor_code_and_others_notice() {
        let mut bench = bench();
        let serial = bench.enrolled(NOW);
        let secret = bench.store.add(NOW, &bench.attic).unwrap().code.secret;
        let before = bench.store.data_version().unwrap();
        let mut other = Store::open(bench.dir.path(), NOW).unwrap();
        assert_eq!(other.revoke(NOW, &bench.attic).unwrap(), (1, 1));
        assert_ne!(bench.store.data_version().unwrap(), before);
        assert_eq!(bench.store.book(NOW).unwrap().standing(NOW, serial), Standing::Revoked);
        assert_eq!(bench.store.renew(NOW, serial, &request()).unwrap(), Err(Refusal::NoCertificate));
        assert_eq!(bench.store.enrol(NOW, &secret, &request()).unwrap(), Err(Refusal::WrongCode { tries_left: None }));
        assert_eq!(other.revoke(NOW, &bench.attic).unwrap(), (0, 0));
        let back = bench.enrolled(NOW + 1);
        assert!(bench.is_good(NOW + 1, back) && !bench.is_good(NOW + 1, serial));
    }

    #[test]
    fn after_a_renewal_the_old_certificate_stays_good_until_it_ends() {
        let mut bench = bench();
        let old = bench.enrolled(NOW);
        let later = NOW + 60 * DAY;
        let new = serial_of(&bench.store.renew(later, old, &request()).unwrap().unwrap());
        bench.store.seen(later, &[new]).unwrap();
        assert!(bench.is_good(later, old) && bench.is_good(later, new));
        assert!(!bench.is_good(NOW + 91 * DAY, old) && bench.is_good(NOW + 91 * DAY, new));
        assert_eq!(bench.store.renew(NOW + 91 * DAY, old, &request()).unwrap(), Err(Refusal::NoCertificate));
    }

    #[test]
    fn what_is_rotated_is_revoked_once_the_new_one_is_in_use() {
        let mut bench = bench();
        let old = bench.enrolled(NOW);
        assert_eq!(bench.store.rotate(NOW, &bench.attic).unwrap(), 1);
        bench.store.seen(NOW, &[old]).unwrap();
        assert!(bench.is_good(NOW, old), "it is what is to be replaced");
        let new = serial_of(&bench.store.renew(NOW, old, &request()).unwrap().unwrap());
        assert!(bench.is_good(NOW, old) && bench.is_good(NOW, new));
        bench.store.seen(NOW + 1, &[new]).unwrap();
        assert!(!bench.is_good(NOW + 1, old) && bench.is_good(NOW + 1, new));
        assert_eq!(bench.store.list(NOW + 1).unwrap().len(), 2);
    }

    #[test]
    fn an_agent_renews_a_few_times_a_minute_at_most() {
        let mut bench = bench();
        let present = bench.enrolled(NOW);
        for _ in 1..MOST_A_MINUTE {
            assert!(bench.store.renew(NOW, present, &request()).unwrap().is_ok());
        }
        let refused = bench.store.renew(NOW + 59, present, &request()).unwrap();
        assert_eq!(refused, Err(Refusal::TooMany { seconds: 60 }));
        assert!(bench.store.renew(NOW + 60, present, &request()).unwrap().is_ok());
    }

    #[test]
    fn of_an_agent_only_the_newest_certificates_are_kept() {
        let mut bench = bench();
        let first = bench.enrolled(NOW);
        for n in 1..=MOST_EACH {
            bench.enrolled(NOW + n);
        }
        assert_eq!(bench.store.list(NOW).unwrap().len(), MOST_EACH as usize);
        assert!(!bench.is_good(NOW, first));
    }

    #[test]
    fn codes_that_wait_are_bounded() {
        let mut bench = bench();
        for _ in 0..MOST_CODES {
            bench.store.add(NOW, &bench.attic).unwrap();
        }
        assert!(bench.store.add(NOW, &bench.attic).unwrap_err().to_string().contains("1000 codes wait"));
        bench.store.add(NOW + 2 * DAY, &bench.attic).unwrap();
    }

    #[test]
    fn a_folder_without_identities_and_a_foreign_file_are_said() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Store::open_existing(dir.path(), NOW).err().unwrap().to_string();
        assert!(missing.contains("no relay has kept identities in"), "{missing}");
        let other = Connection::open(dir.path().join(FILE)).unwrap();
        other.execute_batch("PRAGMA application_id = 7; CREATE TABLE t(a)").unwrap();
        let foreign = Store::open_existing(dir.path(), NOW).err().unwrap().to_string();
        assert!(foreign.contains("is not the identities of this version"), "{foreign}");
        assert!(!dir.path().join("ca.key").exists());
    }
}
