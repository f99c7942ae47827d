//! Turns the merged tree into the service's own type, and says where it cannot.

use std::collections::btree_map;
use std::slice;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::error::{Fault, Problem};
use super::file::guess;
use super::tree::{Node, Value};

/// A value and the way to it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    node: &'a Node,
    way: &'a Way<'a>,
}

/// The keys above a value, innermost last.
enum Way<'a> {
    Top,
    Below(&'a Way<'a>, Step<'a>),
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

impl Way<'_> {
    fn keys(&self) -> Vec<String> {
        match self {
            Self::Top => Vec::new(),
            Self::Below(above, step) => {
                let mut keys = above.keys();
                match step {
                    Step::Key(key) => keys.push((*key).to_owned()),
                    Step::Item(index) => keys.push(index.to_string()),
                }
                keys
            }
        }
    }
}

impl<'a> At<'a> {
    pub(super) fn top(node: &'a Node) -> Self {
        Self { node, way: &Way::Top }
    }

    /// Runs `read`; what it finds wrong is wrong here, unless it was wrong further inside.
    fn here<T>(self, read: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        read().map_err(|fault| fault.at(self.node, || self.way.keys()))
    }

    /// Goes on with what a variable's text looks like.
    fn guessed<T>(self, text: &str, read: impl FnOnce(At<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let node = Node { value: guess(text, &self.node.origin), origin: self.node.origin.clone() };
        read(At { node: &node, way: self.way })
    }

    fn integer(self) -> Option<i128> {
        match &self.node.value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn float(self) -> Option<f64> {
        match &self.node.value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn flag(self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(flag) => Some(*flag),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::List(nodes) => visit_list(nodes, self.way, visitor),
            Value::Text(text) if text.trim_start().starts_with('[') => self.guessed(text, |at| match &at.node.value {
                Value::List(nodes) => visit_list(nodes, at.way, visitor),
                _ => Err(Fault::expected("a list")),
            }),
            Value::Text(text) => {
                let item = |text: &str| Node { value: Value::Text(text.into()), origin: self.node.origin.clone() };
                let nodes: Vec<_> = text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(item).collect();
                visit_list(&nodes, self.way, visitor)
            }
            _ => Err(Fault::expected("a list")),
        }
    }

    fn table<'de, V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Table(table) => visitor.visit_map(Table { rest: table.iter(), value: None, way: self.way, fields }),
            Value::Text(text) if text.trim_start().starts_with('{') => self.guessed(text, |at| match &at.node.value {
                Value::Table(_) => at.table(fields, visitor),
                _ => Err(Fault::expected("a table")),
            }),
            _ => Err(Fault::expected("a table")),
        }
    }
}

fn visit_list<'de, V: Visitor<'de>>(nodes: &[Node], way: &Way<'_>, visitor: V) -> Result<V::Value, Fault> {
    let mut list = List { rest: nodes.iter(), index: 0, way };
    let value = visitor.visit_seq(&mut list)?;
    match list.rest.len() {
        0 => Ok(value),
        _ => Err(Fault::expected(format!("a list of {}", list.index))),
    }
}

fn visit_integer<'de, V: Visitor<'de>>(number: i128, visitor: V) -> Result<V::Value, Fault> {
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(number), _) => visitor.visit_i64(number),
        (_, Ok(number)) => visitor.visit_u64(number),
        _ => visitor.visit_i128(number),
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.here(|| match self.integer().and_then(|number| <$type>::try_from(number).ok()) {
                Some(number) => visitor.$visit(number),
                None => Err(Fault::expected(format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX))),
            })
        }
    )*};
}

macro_rules! texts {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match &self.node.value {
                Value::Text(text) => self.here(|| visitor.visit_str(text)),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|| match &self.node.value {
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Integer(number) => visit_integer(*number, visitor),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::String(text) => visitor.visit_str(text),
            Value::Text(text) => self.guessed(text, |at| at.deserialize_any(visitor)),
            Value::List(_) => self.list(visitor),
            Value::Table(_) => self.table(None, visitor),
        })
    }

    numbers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    texts! { deserialize_str deserialize_string deserialize_char deserialize_identifier }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|| match self.float() {
            Some(number) => visitor.visit_f64(number),
            None => Err(Fault::expected("a number")),
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|| match self.flag() {
            Some(flag) => visitor.visit_bool(flag),
            None => Err(Fault::expected("true or false")),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.here(|| visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|| self.list(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|| self.table(None, visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.here(|| self.table(Some(fields), visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.here(|| match &self.node.value {
            Value::String(name) | Value::Text(name) => {
                visitor.visit_enum(Choice { name, content: None, way: self.way })
            }
            Value::Table(table) if table.len() == 1 => match table.iter().next() {
                Some((name, node)) => visitor.visit_enum(Choice { name, content: Some(node), way: self.way }),
                None => Err(Fault::one_of(names)),
            },
            _ => Err(Fault::one_of(names)),
        })
    }

    serde::forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct ignored_any }
}

struct List<'a> {
    rest: slice::Iter<'a, Node>,
    index: usize,
    way: &'a Way<'a>,
}

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let way = Way::Below(self.way, Step::Item(self.index));
        self.index += 1;
        let at = At { node, way: &way };
        at.here(|| seed.deserialize(at)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Table<'a> {
    rest: btree_map::Iter<'a, String, Node>,
    value: Option<(&'a str, &'a Node)>,
    way: &'a Way<'a>,
    /// What the reader knows; any key where it does not say.
    fields: Option<&'static [&'static str]>,
}

impl<'de> MapAccess<'de> for Table<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, node)) = self.rest.next() else { return Ok(None) };
        self.value = Some((key, node));
        let way = Way::Below(self.way, Step::Key(key));
        At { node, way: &way }.here(|| match self.fields {
            Some(fields) if !fields.contains(&key.as_str()) => Err(Fault::new(Problem::Unknown(fields))),
            _ => seed.deserialize(name(key)).map(Some),
        })
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let (key, node) = self.value.take().ok_or_else(|| Fault::expected("a key before its value"))?;
        let at = At { node, way: &Way::Below(self.way, Step::Key(key)) };
        // What is made of a value after it was read, as by `try_from`, may find it wrong too.
        at.here(|| seed.deserialize(at))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A variant: its name alone, or a table of one key that holds its content.
struct Choice<'a> {
    name: &'a str,
    content: Option<&'a Node>,
    way: &'a Way<'a>,
}

impl Choice<'_> {
    fn read<T>(&self, read: impl FnOnce(At<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let Some(node) = self.content else {
            return Err(Fault::expected(format!("a table `{}` with its settings", self.name)));
        };
        read(At { node, way: &Way::Below(self.way, Step::Key(self.name)) })
    }
}

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Fault> {
        seed.deserialize(name(self.name)).map(|variant| (variant, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(Fault::expected(format!("`{}` alone", self.name))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.read(|at| seed.deserialize(at))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.read(|at| at.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.read(|at| at.deserialize_struct("", fields, visitor))
    }
}

fn name(text: &str) -> StrDeserializer<'_, Fault> {
    text.into_deserializer()
}
