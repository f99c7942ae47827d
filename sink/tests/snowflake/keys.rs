//! Private keys as people have them.

use gaitway_proto::ledger::Ledger as _;
use gaitway_proto::schema::RAW;
use gaitway_sink::snowflake::{BadKey, Client, Options, Passphrase, Unusable};
use tokio_util::sync::CancellationToken;

use crate::support::{Account, PARTITION, TOPIC};

/// The emulator's key as `openssl pkcs8 -topk8 -v2 aes-256-cbc` encrypts it; it protects nothing.
const ENCRYPTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snowflake/keys/throwaway-test-key-encrypted.pem");

fn client(account: &Account, passphrase: Option<&str>) -> Result<Client, Unusable> {
    let options = Options {
        private_key_file: ENCRYPTED.into(),
        private_key_passphrase: passphrase.map(Passphrase::new),
        ..account.options()
    };
    Client::new(options, account.runtime(), CancellationToken::new())
}

#[test]
fn an_encrypted_key_is_opened_with_its_passphrase_and_with_no_other() {
    let account = Account::new();
    let client = |passphrase| client(&account, passphrase);
    client(Some("open-sesame")).unwrap().channel(&RAW, TOPIC, PARTITION).recover().unwrap();
    assert_eq!(client(Some("open-sesame")).unwrap().fingerprint(), account.client().fingerprint());
    let refused = |outcome| match outcome {
        Err(Unusable::Key { error, path }) => {
            assert_eq!(path, ENCRYPTED);
            error
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(client(None)), BadKey::NoPassphrase);
    assert_eq!(refused(client(Some("sesame"))), BadKey::Sealed);
}

#[test]
fn neither_key_nor_passphrase_nor_token_is_shown() {
    let account = Account::new();
    let client = client(&account, Some("open-sesame")).unwrap();
    client.channel(&RAW, TOPIC, PARTITION).recover().unwrap();
    let shown = format!("{client:?}");
    assert!(!shown.contains("sesame") && !shown.contains("eyJ") && !shown.contains("PRIVATE KEY-"), "{shown}");
    assert!(shown.contains(client.fingerprint()));
}
