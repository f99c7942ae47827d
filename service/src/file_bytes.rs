//! Whether a file still holds some bytes: what was deleted from it may stand in parts that it does not use.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use memchr::memmem::Finder;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// Whether `wanted` stands anywhere in the file at `path`; a file that is not there holds nothing. Reads it to its end, a
/// piece at a time, and tells `seen` how many bytes were read so far.
pub fn hold(path: &Path, wanted: &[u8], mut seen: impl FnMut(u64)) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let finder = Finder::new(wanted);
    // What stands across two pieces is found because the end of one is the beginning of the next.
    let (mut piece, mut kept, mut total) = (vec![0; PIECE + wanted.len()], 0, 0);
    loop {
        let read = file.read(&mut piece[kept..])?;
        if read == 0 {
            return Ok(false);
        }
        let filled = kept + read;
        if finder.find(&piece[..filled]).is_some() {
            return Ok(true);
        }
        kept = filled.min(wanted.len().saturating_sub(1));
        piece.copy_within(filled - kept..filled, 0);
        total += read as u64;
        seen(total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_wherever_they_stand_also_across_two_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let holds = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            hold(&path, b"phone-1", |_| {}).unwrap()
        };
        for before in [0, 1, PIECE - 3, PIECE, PIECE + 4, 2 * PIECE + 5] {
            let mut bytes = vec![b'p'; before];
            bytes.extend_from_slice(b"phone-1 and more");
            assert!(holds(&bytes), "{before} bytes before it");
            bytes.truncate(before + 6);
            assert!(!holds(&bytes), "cut behind {before} bytes");
        }
        assert!(!holds(b""));
        assert!(!hold(&dir.path().join("none"), b"phone-1", |_| {}).unwrap());
    }
}
