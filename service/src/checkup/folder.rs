//! A data directory: whose it is, whether it can be written, its disk, and what a synced write takes there.
//!
//! - Nothing is made that stays: what is not there yet is not made.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use nix::unistd::{Uid, User, geteuid};

use super::fsync::{self, Pace};
use super::mount::{Mount, Promise};
use super::{Checkup, quoted};
use crate::config::bytes;
use crate::lock::LOCK_FILE;

/// The app's shortest batch period (Sensor Logger offers 200 ms, 1 s and 5 s): a disk that takes longer keeps a phone waiting beyond
/// its next push.
const SHORTEST_PERIOD: Duration = Duration::from_millis(200);

/// The app's usual batch period.
const USUAL_PERIOD: Duration = Duration::from_secs(1);

/// Files that are looked at for their owner, and how many of another's are named.
const LOOKED_AT: usize = 1_000;
const NAMED: usize = 3;

/// What is free at least where writes are measured, bytes: over a hundred times what that takes.
const ROOM: u64 = 64 << 20;

/// A data directory, and who uses it.
#[derive(Debug, Clone, Copy)]
pub struct Folder<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// Part of its disk that stays free, percent; 0 where another part looks at it.
    pub min_free_percent: f64,
    /// The key of that, and what happens below it.
    pub below: (&'a str, &'a str),
    /// What is done there.
    pub work: Work,
}

/// What is done in a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Pushes of phones are kept, each answered after a sync.
    Pushes,
    /// Records are committed.
    Commits,
    /// Little, and seldom.
    Little,
}

/// Looks at it.
pub fn examine(folder: Folder<'_>, checkup: &mut Checkup) {
    look(&folder, |found, checkup| of_rights(&folder, found, checkup), checkup);
}

/// Looks at where the database `file` lies, in a folder that may be anybody's: of rights only at those of the file and what SQLite keeps
/// beside it.
pub fn around(file: &Path, work: Work, checkup: &mut Checkup) {
    let path = file.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = Folder { path, min_free_percent: 0.0, below: ("", ""), work };
    look(&folder, |_, checkup| of_database(file, checkup), checkup);
}

fn look(folder: &Folder<'_>, rights: impl FnOnce(&Metadata, &mut Checkup), checkup: &mut Checkup) {
    let path = folder.path;
    let found = match fs::metadata(path) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => return checkup.fail("data folder", format!("{} is no folder: name another", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            checkup.warn("data folder", format!("{} is not there yet: it is made at the first start", path.display()));
            if let Some(above) = ancestor(path) {
                of_disk(folder, &above, checkup);
            }
            return;
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return checkup.warn("data folder", unseen(path, &error));
        }
        Err(error) => {
            return checkup.fail("data folder", format!("{} cannot be looked at: {error}", path.display()));
        }
    };
    rights(&found, checkup);
    of_disk(folder, path, checkup);
    of_pace(folder, &found, checkup);
}

/// What is said of a thing that this user may not look at, which need not be wrong.
pub fn unseen(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be looked at ({error}): run this as the service's user", path.display())
}

/// Why the file at `path`, of the data directory `dir`, cannot be looked at, if only this user may not: it is not whose `dir` is.
pub fn denied(path: &Path, dir: &Path) -> Option<io::Error> {
    let error = File::open(path).err().filter(|error| error.kind() == io::ErrorKind::PermissionDenied)?;
    let is_owner = fs::metadata(dir).is_ok_and(|dir| dir.uid() == geteuid().as_raw());
    (!is_owner).then_some(error)
}

/// What is there of the way to `path`.
fn ancestor(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.ancestors().find(|above| above.is_dir()).map(Path::to_owned)
}

fn of_rights(folder: &Folder<'_>, found: &Metadata, checkup: &mut Checkup) {
    let path = folder.path;
    let (owner, mode) = (found.uid(), found.mode() & 0o777);
    let (shown, owned, is_ours) = (path.display(), name(owner), is_ours(path, found));
    let strange = others_files(path, owner);
    let what = match folder.work {
        Work::Pushes | Work::Commits => "readings of phones",
        Work::Little => "keys and certificates",
    };
    if !strange.is_empty() {
        let named: Vec<_> = strange.iter().take(NAMED).map(|(file, owner)| format!("{file} is {owner}'s")).collect();
        let more = strange.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more are others'") };
        let said = format!("{shown} is {owned}'s, but {}{more}", named.join(", "));
        if is_ours {
            checkup.fail(
                "data folder",
                format!(
                    "{said}: the service cannot use them, as after a command that was run as another user; chown -R {owned} {}",
                    quoted(path)
                ),
            );
        } else {
            checkup.warn(
                "data folder",
                format!("{said}: what of that is gaitway's it cannot use; give it a folder of its own, which the first start makes"),
            );
        }
    } else if mode.trailing_zeros() >= 6 {
        checkup.ok("data folder", format!("{shown} is {owned}'s alone (mode {mode:03o})"));
    } else {
        let said = format!("others than {owned} may look into {shown} (mode {mode:03o}), where {what} lie");
        let do_what = if is_ours {
            format!("chmod 700 {}", quoted(path))
        } else {
            "give gaitway a folder of its own, which the first start makes for its user alone".to_owned()
        };
        checkup.warn("data folder", format!("{said}: {do_what}"));
    }
}

/// Whether a service keeps its things there and nobody else does: what is advised for it touches nothing that is not gaitway's.
fn is_ours(path: &Path, found: &Metadata) -> bool {
    // Where anybody may put files, a service may have.
    const STICKY: u32 = 0o1000;
    found.mode() & STICKY == 0 && fs::symlink_metadata(path.join(LOCK_FILE)).is_ok_and(|lock| lock.is_file())
}

/// Of what is there of a database. Whether it can be used is looked at elsewhere.
fn of_database(file: &Path, checkup: &mut Checkup) {
    const SUBJECT: &str = "files";
    let Ok(file) = file.canonicalize() else { return };
    let beside = ["", "-wal", "-shm"].map(|end| {
        let mut path = file.clone().into_os_string();
        path.push(end);
        PathBuf::from(path)
    });
    let found: Vec<_> = beside.iter().filter_map(|path| Some((path, fs::metadata(path).ok()?))).collect();
    let Some((_, itself)) = found.first().filter(|(path, _)| **path == file) else { return };
    let (owner, mode, shown) = (itself.uid(), itself.mode() & 0o777, file.display());
    let strange: Vec<_> = found.iter().filter(|(_, metadata)| metadata.uid() != owner).collect();
    let open: Vec<_> = found.iter().filter(|(_, metadata)| metadata.mode() & 0o004 != 0).collect();
    let all = |paths: &[&(&PathBuf, Metadata)]| {
        let quoted: Vec<_> = paths.iter().map(|(path, _)| quoted(path)).collect();
        quoted.join(" ")
    };
    let owned = name(owner);
    if let Some((path, metadata)) = strange.first() {
        let said = format!(
            "{shown} is {owned}'s, but {} is {}'s: one service cannot use both, as after a command that was run as another user; chown \
             {owned} {}",
            path.display(),
            name(metadata.uid()),
            all(&strange)
        );
        checkup.fail(SUBJECT, said);
    } else if !open.is_empty() && anybody_reaches(&file) {
        let said = format!(
            "anybody on this machine may read {shown} (mode {mode:03o}), which holds readings of phones: chmod o= {}",
            all(&open)
        );
        checkup.warn(SUBJECT, said);
    } else {
        checkup.ok(SUBJECT, format!("{shown} is {owned}'s (mode {mode:03o})"));
    }
}

/// Whether the folders above let every user through.
fn anybody_reaches(file: &Path) -> bool {
    file.ancestors().skip(1).all(|above| fs::metadata(above).is_ok_and(|above| above.mode() & 0o001 != 0))
}

/// Files in it that are not its owner's, with whose they are.
fn others_files(path: &Path, owner: u32) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let strange = entries.take(LOOKED_AT).filter_map(|entry| {
        let entry = entry.ok()?;
        let uid = entry.metadata().ok()?.uid();
        // A disk of its own has a folder that `fsck` uses.
        (uid != owner && entry.file_name() != "lost+found")
            .then(|| (entry.file_name().to_string_lossy().into_owned(), name(uid)))
    });
    let mut strange: Vec<_> = strange.collect();
    strange.sort();
    strange
}

/// As people call it.
fn name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("user {uid}"), |user| user.name)
}

fn of_disk(folder: &Folder<'_>, at: &Path, checkup: &mut Checkup) {
    let mount = Mount::of(at);
    if let Some(mount) = &mount {
        let (kind, source) = (&mount.kind, &mount.source);
        let wrong = match mount.promise() {
            _ if mount.is_read_only => {
                let said = format!(
                    "{kind} on {source} is mounted read-only: if nobody meant it, the kernel did so because the disk fails; look at \
                     dmesg, and replace the card before you mount it anew"
                );
                return checkup.fail("disk", said);
            }
            Promise::Disk => None,
            Promise::Memory => Some("it is memory: all of it is gone when the power is; choose a folder on a disk"),
            Promise::Container => {
                Some("it is a container's own layer, which goes with the container: mount a volume there")
            }
            Promise::Network => Some(
                "it is another machine's disk: whether what was synced is there after a power cut, and whether locks hold, is up to \
                 that machine; choose a folder on a disk of this one",
            ),
        };
        if let Some(wrong) = wrong {
            checkup.warn("file system", format!("{kind} on {source}: {wrong}"));
        } else {
            checkup.ok("file system", format!("{kind} on {source}"));
        }
    }
    match statvfs(at) {
        Ok(disk) => {
            // The fields are of other widths on other systems.
            #[allow(clippy::unnecessary_cast, reason = "needed elsewhere")]
            let bytes = |blocks| (blocks as u64).saturating_mul(disk.fragment_size() as u64);
            let (free, size) = (bytes(disk.blocks_available()), bytes(disk.blocks()));
            of_space(folder, free, size, checkup);
            if disk.files() > 0 && disk.files_available() == 0 {
                checkup.fail("disk", "has room for no further file (no inode is left): remove files that nobody needs");
            }
        }
        Err(error) => checkup.warn("disk", format!("how much is free cannot be told: {error}")),
    }
}

fn of_space(folder: &Folder<'_>, free: u64, size: u64, checkup: &mut Checkup) {
    let percent = free as f64 * 100.0 / (size.max(1) as f64);
    let shown = format!("{} of {} are free ({percent:.1} %)", about(free), about(size));
    let (key, happens) = folder.below;
    let floor = folder.min_free_percent;
    if free == 0 {
        checkup.fail("disk", "is full: free some space");
    } else if percent < floor {
        checkup.fail("disk", format!("{shown}, less than {key}, {floor} %: {happens}; free some space"));
    } else if percent < floor * 1.5 {
        checkup.warn("disk", format!("{shown}; below {floor} % ({key}) {happens}: free some space soon"));
    } else if floor > 0.0 {
        checkup.ok("disk", format!("{shown}; {floor} % are to stay free ({key})"));
    } else {
        checkup.ok("disk", shown);
    }
}

fn of_pace(folder: &Folder<'_>, found: &Metadata, checkup: &mut Checkup) {
    if let Ok(disk) = statvfs(folder.path) {
        #[allow(clippy::unnecessary_cast, reason = "of other widths on other systems")]
        let free = (disk.blocks_available() as u64).saturating_mul(disk.fragment_size() as u64);
        if free == 0 {
            return checkup.fail("fsync", "not measured: the disk is full; free some space");
        }
        if free < ROOM {
            return checkup.warn("fsync", format!("not measured, as only {} are free: free some space", about(free)));
        }
    }
    match fsync::measure(folder.path) {
        Ok(pace) => judge(folder.work, &pace, checkup),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && geteuid().as_raw() != found.uid() => {
            checkup.warn(
                "fsync",
                format!(
                    "not measured: {} may not write there; run this as {}",
                    name(geteuid().as_raw()),
                    name(found.uid())
                ),
            );
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            checkup.fail("fsync", "not measured: the disk is full; free some space");
        }
        Err(error) => checkup.fail("fsync", format!("{} cannot be written: {error}", folder.path.display())),
    }
}

fn judge(work: Work, pace: &Pace, checkup: &mut Checkup) {
    let [median, p99] = [pace.median, pace.p99].map(|took| took.as_secs_f64() * 1_000.0);
    let shown = format!("median {median:.1} ms, 99th percentile {p99:.1} ms of {} appends of 4 KiB", pace.count);
    let means = match work {
        Work::Pushes => {
            let each = (1.0 / pace.median.as_secs_f64().max(1e-6)).floor();
            format!(
                "a push is answered after one, in 99 of 100 cases within {p99:.0} ms; that is {each} pushes a second one by one, and more as \
                 those that wait share one"
            )
        }
        Work::Commits => "a commit takes one at least".to_owned(),
        Work::Little => return,
    };
    let slow = if pace.median > SHORTEST_PERIOD {
        Some("half of them take longer than the app's shortest batch period, 200 ms")
    } else if pace.p99 > USUAL_PERIOD {
        Some("some take longer than the app's usual batch period, 1 s")
    } else {
        None
    };
    match slow {
        Some(slow) => checkup.warn(
            "fsync",
            format!("{shown}: {slow}, so phones wait; the card is worn or slow, or another program writes: replace it, or move the folder"),
        ),
        None => checkup.ok("fsync", format!("{shown}: {means}")),
    }
}

/// As people say it: whole GiB, or whole MiB of what is less than ten, and so on.
fn about(size: u64) -> String {
    let unit = [30, 20, 10].into_iter().map(|bits| 1_u64 << bits).find(|unit| size >= 10 * unit).unwrap_or(1);
    bytes::shown(size / unit * unit)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Grade;
    use super::*;

    const BELOW: (&str, &str) = ("spool.min_free_percent", "pushes are refused");

    fn folder(path: &Path) -> Folder<'_> {
        Folder { path, min_free_percent: 5.0, below: BELOW, work: Work::Pushes }
    }

    fn said(look: impl FnOnce(&mut Checkup)) -> (Option<Grade>, String) {
        let mut checkup = Checkup::new();
        look(&mut checkup);
        (checkup.worst(), checkup.to_string())
    }

    #[test]
    fn a_folder_is_left_as_it_was_and_one_that_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let (_, shown) = said(|checkup| examine(folder(dir.path()), checkup));
        assert!(shown.contains("fsync") && shown.contains("a push is answered after one"), "{shown}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let none = dir.path().join("a/b");
        let (worst, shown) = said(|checkup| examine(folder(&none), checkup));
        assert!(worst >= Some(Grade::Warn) && shown.contains("made at the first start"), "{shown}");
        assert!(shown.contains("disk") && !dir.path().join("a").exists(), "{shown}");
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(said(|checkup| examine(folder(&file), checkup)).1.contains("is no folder"));
    }

    #[test]
    fn a_folder_that_others_may_look_into_says_so() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK_FILE), "").unwrap();
        for (mode, grade) in [(0o700, Grade::Ok), (0o755, Grade::Warn), (0o750, Grade::Warn)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let found = fs::metadata(dir.path()).unwrap();
            let (worst, shown) = said(|checkup| of_rights(&folder(dir.path()), &found, checkup));
            assert_eq!(worst, Some(grade), "{shown}");
            assert_eq!(shown.contains("chmod 700"), grade == Grade::Warn, "{shown}");
        }
    }

    #[test]
    fn of_a_folder_that_may_be_others_nothing_is_advised_that_could_harm_them() {
        let dir = tempfile::tempdir().unwrap();
        let of = |mode| {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let found = fs::metadata(dir.path()).unwrap();
            said(|checkup| of_rights(&folder(dir.path()), &found, checkup))
        };
        let (worst, shown) = of(0o755);
        assert!(
            worst == Some(Grade::Warn) && !shown.contains("chmod") && shown.contains("folder of its own"),
            "{shown}"
        );
        // A service may have run there, as anything may.
        fs::write(dir.path().join(LOCK_FILE), "").unwrap();
        let (worst, shown) = of(0o1777);
        assert!(worst == Some(Grade::Warn) && !shown.contains("chmod"), "{shown}");

        let file = dir.path().join("it's w.db");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let (worst, shown) = said(|checkup| of_database(&file, checkup));
        if anybody_reaches(&file) {
            let advice = format!("chmod o= '{}/it'\\''s w.db'\n", dir.path().canonicalize().unwrap().display());
            assert!(worst == Some(Grade::Warn) && shown.ends_with(&advice), "{shown}");
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let (worst, shown) = said(|checkup| around(&file, Work::Commits, checkup));
        assert!(worst < Some(Grade::Fail) && shown.contains("files ") && !shown.contains("chmod"), "{shown}");
        assert!(!shown.contains("chown") && !shown.contains("data folder"), "{shown}");
    }

    #[test]
    fn a_disk_below_its_floor_says_what_happens() {
        let of = |free| said(|checkup| of_space(&folder(Path::new("/")), free, 1_000 << 20, checkup));
        assert_eq!(of(500 << 20).0, Some(Grade::Ok));
        assert_eq!(of(60 << 20).0, Some(Grade::Warn));
        let (worst, shown) = of(40 << 20);
        assert!(
            worst == Some(Grade::Fail) && shown.contains("spool.min_free_percent, 5 %: pushes are refused"),
            "{shown}"
        );
        assert!(shown.contains("free some space"), "{shown}");
        assert!(of(0).1.contains("is full"));
    }

    #[test]
    fn a_slow_card_is_measured_against_the_apps_periods() {
        let of = |median, p99| {
            let [median, p99] = [median, p99].map(Duration::from_millis);
            said(|checkup| judge(Work::Pushes, &Pace { median, p99, count: 100 }, checkup))
        };
        let (worst, shown) = of(5, 20);
        assert!(worst == Some(Grade::Ok) && shown.contains("median 5.0 ms, 99th percentile 20.0 ms"), "{shown}");
        assert!(shown.contains("200 pushes a second one by one"), "{shown}");
        let (worst, shown) = of(300, 400);
        assert!(worst == Some(Grade::Warn) && shown.contains("200 ms") && shown.contains("replace it"), "{shown}");
        assert!(of(50, 1_500).1.contains("batch period, 1 s"));
    }
}
