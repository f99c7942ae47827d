//! The name that was last in force, beside the spool: phones push to it, so the next start asks for it first, and
//! commands print it.

use std::io;
use std::path::Path;

/// Its file in the data directory: what was wanted and what was given, a line each.
const FILE: &str = "local-name";

/// The name last in force for an agent of which `wanted` was.
pub(super) fn read(dir: &Path, wanted: &str) -> Option<String> {
    let (base, given) = lines(dir)?;
    (base == wanted).then_some(given)
}

/// The name last in force.
pub(crate) fn last(dir: &Path) -> Option<String> {
    lines(dir).map(|(_, given)| given)
}

fn lines(dir: &Path) -> Option<(String, String)> {
    let text = std::fs::read_to_string(dir.join(FILE)).ok()?;
    let (base, given) = text.trim_end().split_once('\n')?;
    (super::is_name(base) && super::is_name(given)).then(|| (base.to_owned(), given.to_owned()))
}

/// Keeps that `given` is in force.
pub(super) fn keep(dir: &Path, wanted: &str, given: &str) {
    if read(dir, wanted).as_deref() == Some(given) {
        return;
    }
    if let Err(error) = std::fs::write(dir.join(FILE), format!("{wanted}\n{given}\n")) {
        let path = dir.join(FILE);
        tracing::warn!(%error, "{} cannot be written: the next start may take another name", path.display());
    }
}

/// Forgets it: nothing is announced any more.
pub(crate) fn forget(dir: &Path) {
    let path = dir.join(FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "{} cannot be removed", path.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_for_what_was_wanted_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last(dir.path()), None);
        keep(dir.path(), "attic", "attic-2");
        assert_eq!(read(dir.path(), "attic").as_deref(), Some("attic-2"));
        assert_eq!((read(dir.path(), "cellar"), last(dir.path()).as_deref()), (None, Some("attic-2")));
        for damaged in ["", "attic", "attic\n\0", "attic\nevil.example\n"] {
            std::fs::write(dir.path().join(FILE), damaged).unwrap();
            assert_eq!(last(dir.path()), None, "{damaged:?}");
        }
        forget(dir.path());
        forget(dir.path());
        assert!(!dir.path().join(FILE).exists());
    }
}
