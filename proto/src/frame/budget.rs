//! A bound on what the lists of a frame take in memory while they are read: few bytes may claim many elements.

use std::cell::Cell;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits;
use crate::wire::WireError;

/// Most bytes that the elements of all lists of a frame may take, what texts hold aside. The densest push, values of
/// seven bytes under keys of one letter, needs 15 for each of its bytes.
pub(super) const MOST: usize = 16 * limits::MAX_BODY;

thread_local! {
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// The value at the start of `bytes`, whose lists are read by [`list`], and what follows it.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), WireError> {
    LEFT.set(MOST);
    postcard::take_from_bytes(bytes).map_err(|_| WireError::Malformed("columns do not parse"))
}

/// For `#[serde(deserialize_with)]`: a list that is refused before it takes more than what is left.
pub(super) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(List(PhantomData))
}

/// The same for a list that may be missing.
pub(super) fn optional<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Optional<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Optional<T> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a list or none")
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            list(deserializer).map(Some)
        }
    }

    deserializer.deserialize_option(Optional(PhantomData))
}

struct List<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list within the bounds of a frame")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let claimed = seq.size_hint().ok_or_else(|| A::Error::custom("a list without a length"))?;
        let needed = claimed.saturating_mul(size_of::<T>());
        let left = LEFT.get().checked_sub(needed).ok_or_else(|| A::Error::custom("too many elements"))?;
        LEFT.set(left);
        let mut items = Vec::with_capacity(claimed);
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(items)
    }
}
