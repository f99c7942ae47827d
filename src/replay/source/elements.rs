//! The objects of one JSON array, one after the other, without the array in memory.

use std::io::BufRead;

use anyhow::{Context, bail};

use super::LONGEST;

/// Where an element begins, to come back to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Bytes from the beginning of the file.
    pub(super) offset: u64,
    /// Its line, from 1.
    pub(super) line: u64,
}

/// The elements of an array.
pub(super) struct Elements<R> {
    reader: R,
    at: Position,
    inside: bool,
    began: Position,
}

impl<R: BufRead> Elements<R> {
    /// The elements of the array that `reader` begins with.
    pub(super) fn new(reader: R) -> Self {
        let at = Position { offset: 0, line: 1 };
        Self { reader, at, inside: false, began: at }
    }

    /// The elements from the one on that begins `at`, where `reader` stands.
    pub(super) fn resume(reader: R, at: Position) -> Self {
        Self { reader, at, inside: true, began: at }
    }

    /// Where the element given last begins.
    pub(super) fn position(&self) -> Position {
        self.began
    }

    fn byte(&mut self) -> anyhow::Result<Option<u8>> {
        let Some(&byte) = self.reader.fill_buf()?.first() else { return Ok(None) };
        self.reader.consume(1);
        self.at.offset += 1;
        self.at.line += u64::from(byte == b'\n');
        Ok(Some(byte))
    }

    /// The next byte that is not white space, and where it stands.
    fn token(&mut self) -> anyhow::Result<(Option<u8>, Position)> {
        loop {
            let at = self.at;
            match self.byte()? {
                Some(byte) if byte.is_ascii_whitespace() => {}
                other => return Ok((other, at)),
            }
        }
    }

    fn element(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let (mut token, mut at) = self.token()?;
        if !self.inside {
            if token == Some(0xEF) && self.byte()? == Some(0xBB) && self.byte()? == Some(0xBF) {
                token = self.token()?.0;
            }
            if token != Some(b'[') {
                bail!("line {}: no `[`; expected the app's JSON export, one array of objects", at.line);
            }
            self.inside = true;
            (token, at) = self.token()?;
        } else if token == Some(b',') {
            (token, at) = self.token()?;
        }
        self.began = at;
        match token {
            Some(b'{') => self.rest_of_object().with_context(|| format!("line {}", at.line)).map(Some),
            Some(b']') => Ok(None),
            None => bail!("line {}: the file ends inside the array; it is not whole", at.line),
            Some(_) => bail!("line {}: expected an object that begins with `{{`", at.line),
        }
    }

    fn rest_of_object(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![b'{'];
        let (mut depth, mut in_string, mut escaped) = (1_u64, false, false);
        while depth > 0 {
            let byte = self.byte()?.context("the file ends inside an object; it is not whole")?;
            bytes.push(byte);
            if bytes.len() as u64 > LONGEST {
                bail!("an object is longer than {} MiB", LONGEST >> 20);
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = in_string,
                b'"' => in_string = !in_string,
                b'{' if !in_string => depth += 1,
                b'}' if !in_string => depth -= 1,
                _ => {}
            }
        }
        Ok(bytes)
    }
}

impl<R: BufRead> Iterator for Elements<R> {
    type Item = anyhow::Result<Vec<u8>>;
    fn next(&mut self) -> Option<Self::Item> {
        self.element().transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_are_split_at_their_own_braces() {
        let text = "\u{feff} [ {\"a\":\"}\\\"{\"} ,\n{\"b\":{}}\n]\n";
        let mut elements = Elements::new(text.as_bytes());
        let mut positions = Vec::new();
        while let Some(element) = elements.next() {
            let element = element.unwrap();
            let Position { offset, line } = elements.position();
            assert_eq!(&text.as_bytes()[offset as usize..][..element.len()], element);
            positions.push(line);
        }
        assert_eq!(positions, [1, 2]);
    }

    #[test]
    fn complaints_name_the_line() {
        let complaint = |text: &str| {
            let error = Elements::new(text.as_bytes()).collect::<anyhow::Result<Vec<_>>>().unwrap_err();
            format!("{error:#}")
        };
        assert!(complaint("\n{}").starts_with("line 2: no `[`; expected"));
        assert!(complaint("").starts_with("line 1: no `[`"));
        assert!(complaint("[\n{},\n7]").starts_with("line 3: expected an object"));
        assert!(complaint("[{},").contains("ends inside the array"));
        assert!(complaint("[{\"a\":\"}").contains("ends inside an object"));
    }

    proptest! {
        #[test]
        fn every_element_can_be_come_back_to(texts in prop::collection::vec(any::<String>(), 1..12), from in any::<prop::sample::Index>()) {
            let values: Vec<_> = texts.iter().map(|t| serde_json::json!({"t": t, "n": {"m": [1, t]}})).collect();
            let text = serde_json::to_string_pretty(&values).unwrap();
            let mut elements = Elements::new(text.as_bytes());
            let mut positions = Vec::new();
            let mut all = Vec::new();
            while let Some(element) = elements.next() {
                positions.push(elements.position());
                all.push(element.unwrap());
            }
            let parsed: Vec<serde_json::Value> = all.iter().map(|e| serde_json::from_slice(e).unwrap()).collect();
            prop_assert_eq!(parsed, values);
            let from = from.index(all.len());
            let rest = &text.as_bytes()[positions[from].offset as usize..];
            let resumed: Vec<_> = Elements::resume(rest, positions[from]).map(Result::unwrap).collect();
            prop_assert_eq!(&resumed, &all[from..]);
        }
    }
}
