//! Who an agent is, until certificates say it: its MQTT user name is its id, its password an HMAC under the relay's
//! secret.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::topic::AgentId;

/// The password of `agent`: HMAC-SHA256(secret, id) in lower-case hex, 64 characters.
pub fn password(secret: &[u8], agent: &AgentId) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(agent.as_str().as_bytes());
    mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes what is written");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_belongs_to_one_agent_and_one_secret() {
        let [a, b] = ["a", "b"].map(|id| id.parse::<AgentId>().unwrap());
        assert_eq!(password(b"s", &a).len(), 64);
        assert_ne!(password(b"s", &a), password(b"s", &b));
        assert_ne!(password(b"s", &a), password(b"t", &a));
    }
}
