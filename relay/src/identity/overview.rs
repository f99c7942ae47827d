//! What is known of agents' certificates, for whoever only looks: nothing in the relay's folder is made or changed.

use std::fs;
use std::path::Path;

use gaitway_proto::enrolment::CERTIFICATE_LIFE;
use gaitway_service::key_file;
use rusqlite::{Connection, OpenFlags, params};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::authority::{self, AuthorityError};
use super::store::{CODE_SECONDS, FILE, StoreError};

/// A certificate is replaced when a third of its life is left; with less than this part of it left that has failed for a week.
const LATE: i64 = 4;

/// See the module.
pub(crate) struct Overview {
    /// The authority's certificate.
    pub(crate) authority: CertificateDer<'static>,
    /// Agents with a good certificate.
    pub(crate) agents: usize,
    /// Codes that wait to be used.
    pub(crate) codes: usize,
    /// Agents whose certificate should have been replaced.
    pub(crate) late: Vec<String>,
}

impl Overview {
    /// Of the relay whose folder is `dir`, at `now`, seconds of the Unix epoch.
    pub(crate) fn of(dir: &Path, now: i64) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        if !path.is_file() {
            return Err(StoreError::Missing(dir.to_owned()));
        }
        let authority = authority(dir)?;
        let read = || {
            let connection = reading(&path)?;
            let good = "SELECT agent, max(notAfter) FROM certificate WHERE revokedAt IS NULL AND notAfter >= ?1
                 GROUP BY agent ORDER BY agent";
            let mut statement = connection.prepare(good)?;
            let good = statement.query_map([now], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            let good = good.collect::<rusqlite::Result<Vec<_>>>()?;
            let codes = "SELECT count(*) FROM code WHERE usedAt IS NULL AND triesLeft > 0 AND madeAt + ?2 > ?1";
            let codes: i64 = connection.query_row(codes, params![now, CODE_SECONDS], |row| row.get(0))?;
            Ok((good, codes))
        };
        let (good, codes) = read().map_err(|why| StoreError::Sqlite { path: path.clone(), why })?;
        let due = now + CERTIFICATE_LIFE.as_secs().cast_signed() / LATE;
        let agents = good.len();
        let late = good.into_iter().filter(|(_, until)| *until < due).map(|(agent, _)| agent).collect();
        Ok(Self { authority, agents, codes: codes.max(0) as usize, late })
    }
}

/// Its certificate, and whether its key is there and nobody else's to read.
fn authority(dir: &Path) -> Result<CertificateDer<'static>, AuthorityError> {
    let key = dir.join(authority::KEY);
    if key_file::read(&key)?.is_none() {
        return Err(AuthorityError::KeyGone(key));
    }
    let path = dir.join(authority::CERTIFICATE);
    let damaged = |path| AuthorityError::Damaged { path, what: "certificate of the key beside it" };
    fs::read(&path).ok().and_then(|pem| CertificateDer::from_pem_slice(&pem).ok()).ok_or_else(|| damaged(path))
}

/// With a log SQLite needs its locks; without one it need not leave a trace.
fn reading(path: &Path) -> rusqlite::Result<Connection> {
    let log = format!("{}-wal", path.display());
    if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        return Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    }
    let name = path.display().to_string().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rcgen::{CertificateParams, KeyPair};

    use super::super::authority::Request;
    use super::super::store::Store;
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 3600;

    #[test]
    fn agents_that_do_not_renew_are_named_and_nothing_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Overview::of(dir.path(), NOW), Err(StoreError::Missing(_))));
        let mut store = Store::open(dir.path(), NOW).unwrap();
        for (name, at) in [("attic", NOW), ("cellar", NOW + 30 * DAY)] {
            let code = store.add(at, &name.parse().unwrap()).unwrap().code;
            let request = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
            store.enrol(at, &code.secret, &Request::read(request.der()).unwrap()).unwrap().unwrap();
        }
        store.add(NOW + 80 * DAY, &"shed".parse().unwrap()).unwrap();
        let of = |now| {
            let Overview { agents, codes, late, .. } = Overview::of(dir.path(), now).unwrap();
            (agents, codes, late)
        };
        assert_eq!(of(NOW + 80 * DAY), (2, 1, vec!["attic".to_owned()]), "while the relay runs");
        drop(store);
        let names = || {
            let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names();
        assert_eq!(of(NOW + 60 * DAY), (2, 1, vec![]));
        assert_eq!(of(NOW + 100 * DAY).0, 1, "one has ended");
        assert_eq!(names(), before);
        fs::set_permissions(dir.path().join("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
        let exposed = Overview::of(dir.path(), NOW).err().unwrap().to_string();
        assert!(exposed.contains("chmod 600"), "{exposed}");
        fs::remove_file(dir.path().join("ca.key")).unwrap();
        assert!(Overview::of(dir.path(), NOW).err().unwrap().to_string().contains("from a backup"));
    }
}
