//! The fields of a JSON object, by key.
//!
//! - Up to [`FEW`] take what they need and no more: a million small objects fit into a push, and a node of a map for
//!   each would take half a gigabyte.
//! - More are a map: however many come, in whatever order, one more costs little time.

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::iter::{Chain, Map};
use std::{slice, vec};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::Value;

const FEW: usize = 16;

/// See the module. Iteration is in the order of the keys.
#[derive(Clone)]
pub struct Fields(Kept);

#[derive(Clone)]
enum Kept {
    /// Sorted.
    Few(Vec<(String, Value)>),
    #[allow(clippy::box_collection, reason = "a map in place would make every value larger by a quarter")]
    Many(Box<BTreeMap<String, Value>>),
}

type Pair<'a> = (&'a String, &'a Value);
type Few<'a> = Map<slice::Iter<'a, (String, Value)>, fn(&'a (String, Value)) -> Pair<'a>>;

type Iter<'a> = Chain<Few<'a>, btree_map::Iter<'a, String, Value>>;

static NONE: BTreeMap<String, Value> = BTreeMap::new();

impl Fields {
    /// None.
    pub const fn new() -> Self {
        Self(Kept::Few(Vec::new()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Few(few) => few.len(),
            Kept::Many(many) => many.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match &self.0 {
            Kept::Few(few) => place(few, key).ok().map(|at| &few[at].1),
            Kept::Many(many) => many.get(key),
        }
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        match &mut self.0 {
            Kept::Few(few) => place(few, key).ok().map(|at| &mut few[at].1),
            Kept::Many(many) => many.get_mut(key),
        }
    }

    /// Whether there is a value of `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets the value of `key`; gives the one before.
    pub fn insert(&mut self, key: String, value: Value) -> Option<Value> {
        match &mut self.0 {
            Kept::Many(many) => many.insert(key, value),
            Kept::Few(few) => match place(few, &key) {
                Ok(at) => Some(std::mem::replace(&mut few[at].1, value)),
                Err(at) if few.len() < FEW => {
                    few.reserve_exact(1);
                    few.insert(at, (key, value));
                    None
                }
                Err(_) => {
                    let mut many: BTreeMap<_, _> = few.drain(..).collect();
                    many.insert(key, value);
                    self.0 = Kept::Many(Box::new(many));
                    None
                }
            },
        }
    }

    /// Takes the value of `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        match &mut self.0 {
            Kept::Few(few) => place(few, key).ok().map(|at| few.remove(at).1),
            Kept::Many(many) => many.remove(key),
        }
    }

    /// All of them, in the order of the keys.
    pub fn iter(&self) -> Iter<'_> {
        let (few, many) = match &self.0 {
            Kept::Few(few) => (few.as_slice(), &NONE),
            Kept::Many(many) => (&[][..], &**many),
        };
        let pair: fn(&(String, Value)) -> Pair<'_> = |(key, value)| (key, value);
        few.iter().map(pair).chain(many)
    }
}

fn place(few: &[(String, Value)], key: &str) -> Result<usize, usize> {
    few.binary_search_by(|(other, _)| other.as_str().cmp(key))
}

impl Default for Fields {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

/// Of equal keys the last wins.
impl FromIterator<(String, Value)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(pairs: I) -> Self {
        let mut fields = Self::new();
        fields.extend(pairs);
        fields
    }
}

impl Extend<(String, Value)> for Fields {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, pairs: I) {
        for (key, value) in pairs {
            self.insert(key, value);
        }
    }
}

impl<const N: usize> From<[(String, Value); N]> for Fields {
    fn from(pairs: [(String, Value); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl From<BTreeMap<String, Value>> for Fields {
    fn from(map: BTreeMap<String, Value>) -> Self {
        map.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = Pair<'a>;
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl IntoIterator for Fields {
    type Item = (String, Value);
    type IntoIter = Chain<vec::IntoIter<(String, Value)>, btree_map::IntoIter<String, Value>>;
    fn into_iter(self) -> Self::IntoIter {
        match self.0 {
            Kept::Few(few) => few.into_iter().chain(BTreeMap::new()),
            Kept::Many(many) => Vec::new().into_iter().chain(*many),
        }
    }
}

/// From a JSON object.
impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::new();
                while let Some((key, value)) = map.next_entry()? {
                    fields.insert(key, value);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What a map does, fields do.
        #[test]
        fn they_are_a_map(steps in prop::collection::vec(("[a-d]{0,3}", any::<Option<i64>>()), 0..60)) {
            let (mut fields, mut map) = (Fields::new(), BTreeMap::new());
            for (key, value) in steps {
                if let Some(value) = value.map(Value::I64) {
                    prop_assert_eq!(fields.insert(key.clone(), value.clone()), map.insert(key.clone(), value));
                } else {
                    prop_assert_eq!(fields.remove(&key), map.remove(&key));
                }
                prop_assert_eq!(fields.get(&key), map.get(&key));
                prop_assert_eq!(fields.get_mut(&key), map.get_mut(&key));
                prop_assert_eq!(fields.len(), map.len());
            }
            prop_assert!(fields.iter().eq(&map));
            prop_assert_eq!(&Fields::from(map.clone()), &fields);
            prop_assert!(fields.into_iter().eq(map));
        }
    }

    #[test]
    fn a_small_object_takes_what_it_needs() {
        let fields: Fields = [(String::new(), Value::Null)].into();
        let Kept::Few(few) = &fields.0 else { panic!("one is few") };
        assert_eq!((few.capacity(), size_of::<Fields>(), size_of::<Value>()), (1, 24, 32));
    }

    #[test]
    fn a_hundred_thousand_keys_in_the_worst_order_are_soon_there() {
        let fields: Fields = (0..100_000).rev().map(|n| (format!("{n:06}"), Value::Null)).collect();
        assert_eq!((fields.len(), fields.iter().next().map(|(key, _)| key.as_str())), (100_000, Some("000000")));
    }
}
