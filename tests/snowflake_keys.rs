//! The key of Snowflake's user from wherever a service has its secrets: a file, the environment alone, a credential of systemd, each also
//! encrypted. Checked against the emulator, through `gaitway doctor` of the sink's configuration.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use gaitway_emulator::{Emulator, Options};

/// The emulator's key as `openssl pkcs8 -topk8 -v2 aes-256-cbc` encrypts it, by `open-sesame`; it protects nothing.
const ENCRYPTED: &str = include_str!("../sink/tests/snowflake/keys/throwaway-test-key-encrypted.pem");

/// The ends of variables of the table `snowflake`.
const FILE: &str = "PRIVATE_KEY_FILE";
const KEY: &str = "PRIVATE_KEY";
const PASSPHRASE: &str = "PRIVATE_KEY_PASSPHRASE";
const PASSPHRASE_FILE: &str = "PRIVATE_KEY_PASSPHRASE_FILE";

fn write(path: &Path, content: &str, mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_and_its_passphrase_come_from_files_variables_and_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = Emulator::start(Options::default()).unwrap();
    let ca = dir.path().join("ca.pem");
    emulator.write_ca(&ca).unwrap();
    let credentials = dir.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let file = |folder: &Path, name: &str, content: &str, mode| {
        let path = folder.join(name);
        write(&path, content, mode);
        path.into_os_string()
    };
    let (plain, line) = (emulator.private_key_pem(), |pem: &str| {
        OsString::from(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>())
    });
    // As systemd makes them for a service with a user of its own.
    for (name, content) in [("plain", plain), ("encrypted", ENCRYPTED), ("passphrase", "open-sesame")] {
        file(&credentials, name, content, 0o440);
    }
    let key_file = file(dir.path(), "key.p8", plain, 0o600);
    let encrypted_file = file(dir.path(), "encrypted.p8", ENCRYPTED, 0o600);
    let passphrase_file = file(dir.path(), "passphrase", "open-sesame\n", 0o600);
    let open_file = file(dir.path(), "open.p8", plain, 0o644);

    let text = OsString::from;
    let credential = |name: &str| OsString::from(format!("$CREDENTIALS_DIRECTORY/{name}"));
    let good = [
        vec![(FILE, key_file)],
        vec![(KEY, text(plain))],
        vec![(KEY, line(plain))],
        vec![(FILE, credential("plain"))],
        vec![(FILE, encrypted_file.clone()), (PASSPHRASE_FILE, passphrase_file)],
        vec![(KEY, line(ENCRYPTED)), (PASSPHRASE, text("open-sesame"))],
        vec![(FILE, credential("encrypted")), (PASSPHRASE_FILE, credential("passphrase"))],
    ];
    let bad = [
        (vec![(FILE, open_file)], "chmod 600"),
        (vec![(FILE, encrypted_file.clone())], "is encrypted: set `private_key_passphrase`"),
        (vec![(FILE, encrypted_file), (PASSPHRASE, text("sesame"))], "the passphrase is wrong"),
    ];
    let config = dir.path().join("sink.toml");
    // A sink's file that says nothing of Snowflake.
    write(&config, "group = \"g\"\n[kafka]\nbrokers = \"127.0.0.1:1\"\n", 0o644);
    let common = [
        ("ACCOUNT", emulator.account().to_owned()),
        ("USER", emulator.user().to_owned()),
        ("ROLE", emulator.role().to_owned()),
        ("URL", emulator.url()),
        ("CA_FILE", ca.display().to_string()),
    ];
    let doctor = |secrets: &[(&str, OsString)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
        command
            .args(["doctor", "--ntp", "127.0.0.1:1", "--config"])
            .arg(&config)
            .env("GAITWAY_SINK__WAREHOUSE", "snowflake");
        let variables = common.iter().map(|(name, value)| (*name, OsString::from(value)));
        for (name, value) in variables.chain(secrets.iter().cloned()) {
            command.env(format!("GAITWAY_SINK__SNOWFLAKE__{name}"), value);
        }
        let done = command.env("CREDENTIALS_DIRECTORY", &credentials).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
        assert!(!said.contains("sesame\"") && !said.contains("open-sesame") && !said.contains("MII"), "{said}");
        said
    };
    // Each waits for a Kafka that is not there.
    std::thread::scope(|scope| {
        let doctor = &doctor;
        for secrets in &good {
            scope.spawn(move || {
                let said = doctor(secrets);
                assert!(said.contains("lets user") && said.contains("in by key"), "{said}");
            });
        }
        for (secrets, expected) in &bad {
            scope.spawn(move || {
                let said = doctor(secrets);
                assert!(said.contains(expected) && !said.contains("lets user"), "{said}");
            });
        }
    });
}
