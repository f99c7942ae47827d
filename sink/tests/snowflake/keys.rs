//! Private keys as people have them, from wherever they have them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use gaitway_proto::ledger::Ledger as _;
use gaitway_proto::schema::RAW;
use gaitway_service::secret::Secret;
use gaitway_sink::snowflake::{BadKey, Client, Options, Unusable};
use tokio_util::sync::CancellationToken;

use crate::support::{Account, PARTITION, TOPIC};

/// The emulator's key as `openssl pkcs8 -topk8 -v2 aes-256-cbc` encrypts it; it protects nothing.
const ENCRYPTED: &str = include_str!("keys/throwaway-test-key-encrypted.pem");

/// A file with `content`, of these permissions.
fn file(dir: &tempfile::TempDir, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn client(account: &Account, options: Options) -> Result<Client, Unusable> {
    Client::new(options, account.runtime(), CancellationToken::new())
}

/// Whether Snowflake lets it in.
fn assert_let_in(account: &Account, options: Options) {
    client(account, options).unwrap().channel(&RAW, TOPIC, PARTITION).recover().unwrap();
}

#[test]
fn an_encrypted_key_is_opened_with_its_passphrase_and_with_no_other() {
    let (account, dir) = (Account::new(), tempfile::tempdir().unwrap());
    let encrypted = file(&dir, "encrypted.p8", ENCRYPTED, 0o600);
    let with = |passphrase: Option<&str>| Options {
        private_key_file: Some(encrypted.clone()),
        private_key_passphrase: passphrase.map(Secret::new),
        ..account.options()
    };
    assert_let_in(&account, with(Some("open-sesame")));
    let opened = client(&account, with(Some("open-sesame"))).unwrap();
    assert_eq!(opened.fingerprint(), account.client().fingerprint());
    let refused = |passphrase| match client(&account, with(passphrase)) {
        Err(Unusable::Key { error, path }) => {
            assert_eq!(path, encrypted.display().to_string());
            error
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(None), BadKey::NoPassphrase);
    assert_eq!(refused(Some("sesame")), BadKey::Sealed);
    let in_file = file(&dir, "passphrase", "open-sesame\n", 0o600);
    assert_let_in(&account, Options { private_key_passphrase_file: Some(in_file), ..with(None) });
}

#[test]
fn a_key_is_taken_as_text_whole_or_in_one_line() {
    let account = Account::new();
    let as_text = |key: &str, passphrase: Option<&str>| Options {
        private_key_file: None,
        private_key: Some(Secret::new(key)),
        private_key_passphrase: passphrase.map(Secret::new),
        ..account.options()
    };
    let between = |pem: &str| pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    for (pem, passphrase) in [(account.emulator.private_key_pem(), None), (ENCRYPTED, Some("open-sesame"))] {
        assert_let_in(&account, as_text(pem, passphrase));
        assert_let_in(&account, as_text(&between(pem), passphrase));
    }
    for no_key in ["", "open-sesame", "-----BEGIN PRIVATE KEY-----"] {
        let said = client(&account, as_text(no_key, None)).unwrap_err().to_string();
        assert!(said.contains("in the environment is no private key"), "{said}");
        assert!(no_key.is_empty() || !said.contains(no_key), "{said}");
    }
}

#[test]
fn a_key_or_a_passphrase_that_others_may_read_is_refused() {
    let (account, dir) = (Account::new(), tempfile::tempdir().unwrap());
    for mode in [0o640, 0o604] {
        let key = Some(file(&dir, "open.p8", account.emulator.private_key_pem(), mode));
        let passphrase = Some(file(&dir, "open", "open-sesame", mode));
        let encrypted = Some(file(&dir, "encrypted.p8", ENCRYPTED, 0o600));
        for options in [
            Options { private_key_file: key, ..account.options() },
            Options { private_key_file: encrypted, private_key_passphrase_file: passphrase, ..account.options() },
        ] {
            let said = client(&account, options).unwrap_err().to_string();
            assert!(said.contains("chmod 600") && !said.contains("sesame"), "{said}");
        }
    }
}

#[test]
fn neither_key_nor_passphrase_nor_token_is_shown() {
    let account = Account::new();
    let options = Options {
        private_key_file: None,
        private_key: Some(Secret::new(ENCRYPTED)),
        private_key_passphrase: Some(Secret::new("open-sesame")),
        ..account.options()
    };
    let client = client(&account, options).unwrap();
    client.channel(&RAW, TOPIC, PARTITION).recover().unwrap();
    let shown = format!("{client:?}");
    assert!(!shown.contains("sesame") && !shown.contains("eyJ") && !shown.contains("PRIVATE KEY-"), "{shown}");
    assert!(shown.contains(client.fingerprint()));
}
