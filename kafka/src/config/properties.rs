//! Properties by name, and the files that hold those which are secrets.
//!
//! - A name may be spelled with `_` for `.`, as environment variables must: no property of librdkafka and no setting of a topic has a `_`.
//! - No value is ever shown: it may be a password.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// Text by name; numbers and booleans are taken as they are spelled.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Properties(pub BTreeMap<String, String>);

/// Files by name, each of which holds its property's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PropertyFiles(pub BTreeMap<String, PathBuf>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
        named(map.into_iter().map(|(name, Scalar(value))| (name, value))).map(Self)
    }
}

impl<'de> Deserialize<'de> for PropertyFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        named(BTreeMap::<String, PathBuf>::deserialize(deserializer)?).map(Self)
    }
}

fn named<T, E: Error>(spelled: impl IntoIterator<Item = (String, T)>) -> Result<BTreeMap<String, T>, E> {
    let mut values = BTreeMap::new();
    for (spelled, value) in spelled {
        let name = spelled.replace('_', ".");
        if values.contains_key(&name) {
            return Err(E::custom(format!("must have {name} in one spelling, not as {spelled} too")));
        }
        values.insert(name, value);
    }
    Ok(values)
}

struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Text first: a variable's is taken as it is, whatever number it looks like.
        deserializer.deserialize_str(ScalarVisitor).map(Self)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<String, E> {
        Ok(flag.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use gaitway_service::config::{Check, Wrong, load};

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Both {
        properties: Properties,
        property_files: PropertyFiles,
    }

    impl Check for Both {
        fn check(&self) -> Result<(), Wrong> {
            Ok(())
        }
    }

    fn loaded(text: &str) -> Result<Both, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sink.toml");
        std::fs::write(&path, text).unwrap();
        load("sink", Some(&path), None, ()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_is_spelled_with_dots_or_as_variables_must_be() {
        let both = loaded(
            "[properties]\n'linger.ms' = 5\nsasl_mechanism = 'PLAIN'\nlog_queue = true\n[property_files]\nsasl_password = '/p'",
        )
        .unwrap();
        let values = [("linger.ms", "5"), ("log.queue", "true"), ("sasl.mechanism", "PLAIN")];
        assert!(both.properties.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(values));
        assert_eq!(both.property_files.0["sasl.password"], PathBuf::from("/p"));
    }

    #[test]
    fn a_property_in_two_spellings_is_refused_without_its_values() {
        let said = loaded("[properties]\n'sasl.password' = 'hush'\nsasl_password = 'hushed'").unwrap_err();
        assert!(said.contains("`properties`") && !said.contains("hush"), "{said}");
    }

    #[test]
    fn no_value_of_a_property_is_shown() {
        let properties = Properties([("sasl.password".to_owned(), "hush".to_owned())].into());
        assert_eq!(format!("{properties:?}"), r#"{"sasl.password"}"#);
    }
}
