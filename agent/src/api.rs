//! What the agent tells programs over HTTP, below `/api/v1`.

pub(crate) mod shape;
