//! What of a local warehouse is not as it should be. Nothing is created or changed, and no commit is held up.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use gaitway_service::checkup::{Checkup, folder};
use gaitway_service::config::bytes;
use rusqlite::{Connection, ErrorCode};

use super::options::Options;
use super::{damage, marks, opening, place, trouble};
use crate::ledgers::Marks;

/// How long the pages are looked at.
const LONGEST: Duration = Duration::from_secs(20);

/// Looks at the file at `path`, its pages and marks, and its disk. Gives the marks, if they could be read.
pub fn examine(path: &Path, options: &Options, checkup: &mut Checkup) -> Option<Marks> {
    let mut marks = None;
    let subject = format!("warehouse {}", path.display());
    match fs::metadata(path) {
        Ok(file) => {
            let dir = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if let Some(error) = folder::denied(path, dir) {
                checkup.warn(&subject, folder::unseen(path, &error));
                return None;
            }
            if file.permissions().readonly() {
                checkup.fail(&subject, "cannot be written: give the sink's user the right to write it");
            }
            marks = of_file(path, &subject, checkup);
            let log = fs::metadata(place::log_of(path)).map_or(0, |log| log.len());
            of_disk(path, (file.len(), log), options, &subject, checkup);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            checkup.warn(&subject, "is not there yet: it is made when gaitway up or gaitway sink starts");
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            checkup.warn(&subject, folder::unseen(path, &error));
        }
        Err(error) => checkup.fail(&subject, format!("cannot be looked at: {error}")),
    }
    marks
}

fn of_file(path: &Path, subject: &str, checkup: &mut Checkup) -> Option<Marks> {
    let conn = match opening::inspect_untouched(path) {
        Ok(conn) => conn,
        Err(error @ opening::OpenError::Damaged { .. }) => {
            checkup.fail(subject, format!("{error}: it is set aside when the sink starts, and a new one begun"));
            return None;
        }
        Err(error) => {
            checkup.fail(subject, error.to_string());
            return None;
        }
    };
    match integrity(&conn) {
        Ok(Looked::Whole) => checkup.ok(subject, "its pages are whole"),
        Ok(Looked::Partly) => {
            checkup.ok(subject, format!("no page is damaged as far as it was read in {} s", LONGEST.as_secs()));
        }
        Ok(Looked::Ails(what)) => checkup.fail(
            subject,
            format!(
                "is damaged ({what}): it is set aside when that is met; save what can be read of a copy with .recover"
            ),
        ),
        Err(error) => checkup.fail(subject, trouble::sentence(path, &error)),
    }
    let (mut marks, mut wrong) = (Marks::new(), None);
    let read = marks::each(&conn, false, |kept| match kept {
        Ok(kept) => drop(marks.insert(kept.source, kept.position)),
        Err(error) => wrong = Some(error.to_string()),
    });
    match (read.map_err(|error| error.to_string()), wrong) {
        (Ok(()), None) => {
            let s = if marks.len() == 1 { "" } else { "s" };
            checkup.ok("stored so far", format!("from {} source{s}", marks.len()));
            Some(marks)
        }
        (Ok(()), Some(error)) | (Err(error), _) => {
            checkup.fail("stored so far", format!("how far was read cannot be told: {error}"));
            None
        }
    }
}

fn of_disk(path: &Path, (file, log): (u64, u64), options: &Options, subject: &str, checkup: &mut Checkup) {
    let Some(disk) = place::disk(path) else { return };
    // What lies in the log is mostly not in the file yet, and some of it in both.
    let size = file + log;
    let [free, size_shown, most] = [disk.free, size, options.max_bytes].map(about);
    if disk.free < disk.size / 100 * u64::from(options.min_free_percent) {
        checkup.warn(
            subject,
            format!("{free} are free, less than sqlite.min_free_percent: the oldest raw readings go; free space"),
        );
    } else if options.max_bytes.saturating_sub(size) > disk.free {
        checkup.warn(
            subject,
            format!("has {size_shown}, may grow to {most}, and {free} are free: raw readings will go sooner than by sqlite.keep_raw; free space, or lower sqlite.max_bytes"),
        );
    } else {
        checkup.ok(subject, format!("file and log have {size_shown}, {most} are the most, {free} are free"));
    }
}

/// As people say it: whole GiB, or whole MiB of what is less than ten.
fn about(size: u64) -> String {
    let unit = if size >= 10 << 30 { 1 << 30 } else { 1 << 20 };
    bytes::shown(if size < unit { size } else { size / unit * unit })
}

enum Looked {
    Whole,
    /// Time was up.
    Partly,
    Ails(String),
}

/// SQLite's own check of all pages, for as long as that may take.
fn integrity(conn: &Connection) -> rusqlite::Result<Looked> {
    let interrupt = conn.get_interrupt_handle();
    let (done, wait) = sync_channel::<()>(0);
    let alarm = std::thread::Builder::new().name("end of look".to_owned()).spawn(move || {
        if wait.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    if alarm.is_err() {
        return Ok(Looked::Partly);
    }
    let said = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    drop(done);
    match said {
        Ok(said) if said == "ok" => Ok(Looked::Whole),
        Ok(said) => Ok(Looked::Ails(said.replace('\n', " "))),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(Looked::Partly),
        Err(error) if damage::is_damage(&error) => Ok(Looked::Ails(error.to_string())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use gaitway_service::checkup::Grade;

    use super::*;
    use crate::sqlite::Warehouse;

    fn of(path: &Path) -> Checkup {
        let mut checkup = Checkup::new();
        examine(path, &Options { max_bytes: 1 << 20, min_free_percent: 0, ..Options::default() }, &mut checkup);
        checkup
    }

    /// Names, owners and sizes of what is in the folder.
    fn listed(dir: &Path) -> Vec<(std::ffi::OsString, u32, u64)> {
        use std::os::unix::fs::MetadataExt as _;
        let mut listed: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let file = entry.metadata().unwrap();
                (entry.file_name(), file.uid(), file.len())
            })
            .collect();
        listed.sort();
        listed
    }

    #[test]
    fn nothing_is_left_beside_a_warehouse_whether_it_is_used_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b?c%#.db");
        let used = Warehouse::open(&path, &Options::default()).unwrap();
        let looked = |state: &str| {
            let before = listed(dir.path());
            let said = of(&path);
            assert_eq!(said.worst(), Some(Grade::Ok), "{state}: {said}");
            assert_eq!(listed(dir.path()), before, "{state}");
        };
        looked("in use");
        drop(used);
        looked("left in order");
        fs::write(place::log_of(&path), "").unwrap();
        looked("with an empty log");
        fs::write(&path, "").unwrap();
        fs::write(place::log_of(&path), "all there is").unwrap();
        let before = listed(dir.path());
        assert_eq!(of(&path).worst(), Some(Grade::Fail));
        assert_eq!(listed(dir.path()), before, "cut to nothing");
    }

    #[test]
    fn a_warehouse_that_is_whole_is_told_from_one_that_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.db");
        let none = of(&path);
        assert_eq!(none.worst(), Some(Grade::Warn), "{none}");
        assert!(!path.exists());
        drop(Warehouse::open(&path, &Options::default()).unwrap());
        let whole = of(&path);
        assert_eq!(whole.worst(), Some(Grade::Ok), "{whole}");
        let mut bytes = fs::read(&path).unwrap();
        bytes[5000..20_000].fill(0x5a);
        fs::write(&path, &bytes).unwrap();
        let damaged = of(&path);
        assert_eq!(damaged.worst(), Some(Grade::Fail), "{damaged}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "looking changes nothing");
        fs::write(&path, "something else").unwrap();
        assert_eq!(of(&path).worst(), Some(Grade::Fail));
    }
}
