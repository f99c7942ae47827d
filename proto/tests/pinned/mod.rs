//! Golden files of version 1.

use std::path::Path;

/// The bytes of `tests/golden/<name>`. With `GAITWAY_WRITE_GOLDEN=1`, for a new version, `now` is written there first.
pub(crate) fn golden(name: &str, now: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("GAITWAY_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, now).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
