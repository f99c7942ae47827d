//! The agent's id beside the spool: who loses it is a stranger to the relay, whose password goes with the id.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gaitway_proto::topic::AgentId;

/// Its file in the data directory.
const FILE: &str = "agent-id";

/// The id kept in `dir`; none if there is none, or none that can be read.
pub(crate) fn read(dir: &Path) -> Option<AgentId> {
    std::fs::read_to_string(path(dir)).ok()?.trim().parse().ok()
}

/// Keeps `id` in `dir`, durably.
pub(crate) fn keep(dir: &Path, id: &AgentId) -> io::Result<()> {
    if read(dir).as_ref() == Some(id) {
        return Ok(());
    }
    let new = dir.join("agent-id.new");
    let mut file = File::create(&new)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    std::fs::rename(&new, path(dir))?;
    File::open(dir)?.sync_all()
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        for id in ["attic", "cellar"] {
            let id: AgentId = id.parse().unwrap();
            keep(dir.path(), &id).unwrap();
            assert_eq!(read(dir.path()), Some(id));
        }
        std::fs::write(path(dir.path()), "\0\0\0").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
