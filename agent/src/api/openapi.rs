//! The API's document, in `OpenAPI`'s words.
//!
//! - It is made of the handlers and of the types of what they answer, and kept as a file beside them: what makes it would be
//!   half a megabyte of the program. A test says if the file is not what the code says.

/// The document.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

#[cfg(test)]
pub(crate) mod made;
