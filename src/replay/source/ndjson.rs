//! Push bodies one a line, as a phone sent them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, bail};

use super::{Content, LONGEST, Push, Pushes, Recording, open, stem};
use crate::replay::body::{Body, Identity, Scan};
use crate::replay::pace::Pacer;

/// A file of pushes; only its size is looked at.
pub(super) fn survey(path: &Path) -> anyhow::Result<Recording> {
    let name = stem(path);
    let identity = Identity { device: name.clone(), session: name, suffix: String::new() };
    Ok(Recording { identity, size: unpacked_size(path)?, content: Content::Pushes(path.to_owned()) })
}

/// The file's bytes once unpacked; of a gzip what its last four bytes say, which is right for one member below 4 GiB.
fn unpacked_size(path: &Path) -> anyhow::Result<u64> {
    let mut file = File::open(path).context("cannot be opened")?;
    let size = file.metadata().context("cannot be read")?.len();
    if size < 4 || path.extension().is_none_or(|end| !end.eq_ignore_ascii_case("gz")) {
        return Ok(size);
    }
    let mut last = [0; 4];
    file.seek(SeekFrom::End(-4)).and_then(|_| file.read_exact(&mut last)).context("cannot be read")?;
    Ok(u32::from_le_bytes(last).into())
}

/// The lines, blank ones left out.
pub(super) fn pushes(path: &Path) -> anyhow::Result<Pushes> {
    let name = path.display().to_string();
    let lines = Lines::new(BufReader::new(open(path).with_context(|| name.clone())?));
    Ok(Box::new(lines.map(move |push| push.with_context(|| name.clone()))))
}

struct Lines<R> {
    reader: R,
    line: u64,
    pacer: Pacer,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, line: 0, pacer: Pacer::default() }
    }

    fn line(&mut self) -> anyhow::Result<Option<Push>> {
        loop {
            let mut bytes = Vec::new();
            self.line += 1;
            let read = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut bytes)?;
            if read == 0 {
                return Ok(None);
            }
            if bytes.pop_if(|last| *last == b'\n').is_some() {
                bytes.pop_if(|last| *last == b'\r');
            } else if read as u64 == LONGEST {
                bail!("longer than {} MiB; expected one push body a line", LONGEST >> 20);
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let Scan { readings, time, session, suffix_at } = Scan::of(&bytes);
            let due = self.pacer.due(&session, time);
            let body = Body::Line { bytes: bytes.into(), suffix_at };
            return Ok(Some(Push { body, readings, due, share: read as u64 }));
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = anyhow::Result<Push>;
    fn next(&mut self) -> Option<Self::Item> {
        let push = self.line().transpose()?;
        Some(push.with_context(|| format!("line {}", self.line)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bodies(text: &[u8]) -> Vec<Vec<u8>> {
        let alone = Identity { device: String::new(), session: String::new(), suffix: String::new() };
        Lines::new(text).map(|push| push.unwrap().body.of(&alone).to_vec()).collect()
    }

    #[test]
    fn lines_are_bodies() {
        assert_eq!(bodies(b" {}\r\nnot json\n\n  \n\xff\nlast"), [b" {}".as_slice(), b"not json", b"\xff", b"last"]);
        assert!(bodies(b"").is_empty());
    }

    proptest! {
        #[test]
        fn every_line_is_one_body(lines in prop::collection::vec("[^\r\n]*[^\\s][^\r\n]*", 0..20)) {
            let text = lines.join("\n");
            let expected: Vec<_> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
            prop_assert_eq!(bodies(text.as_bytes()), expected);
        }
    }
}
