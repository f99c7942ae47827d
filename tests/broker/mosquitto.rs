//! A Mosquitto with exactly the files of `deploy/brokers/mosquitto`: only the folder and the ports are others.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::authority::Authority;
use crate::harness::await_that;

/// The relay's name at the broker.
pub(crate) const RELAY: &str = "gaitway_relay";

/// What everybody who has a password has for one.
pub(crate) const PASSWORD: &str = "correct horse";

/// A broker that is ended with its test.
pub(crate) struct Mosquitto {
    dir: PathBuf,
    /// The listener for who has a certificate.
    pub(crate) certified: u16,
    /// The listener for who has a password.
    pub(crate) named: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// A broker in `dir` that is not started. The relay and each of `certified` get a certificate, each of `named` a password.
    pub(crate) fn new(dir: &Path, certified: &[&str], named: &[&str]) -> Self {
        let dir = dir.join("mosquitto");
        fs::create_dir(&dir).unwrap();
        let broker = Self { dir, certified: free_port(), named: free_port(), child: None };
        let authority = Authority::new("the broker's");
        let (certificate, key) = authority.issue(&["localhost"]);
        for (name, text) in [("ca.pem", &authority.pem), ("broker.pem", &certificate), ("broker.key", &key)] {
            broker.write(name, text);
        }
        for name in certified.iter().chain(&[RELAY]) {
            let (certificate, key) = authority.issue_client(name);
            broker.write(&format!("{name}.pem"), &certificate);
            broker.write(&format!("{name}.key"), &key);
        }
        broker.write("passwords", "");
        for name in named {
            let passwords = broker.path("passwords");
            let status = Command::new("mosquitto_passwd").arg("-b").args([&passwords, *name, PASSWORD]).status();
            assert!(status.expect("Debian's package mosquitto is installed").success());
        }
        broker.write("password", PASSWORD);
        let own = format!("{}/", broker.dir.display());
        let committed = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/brokers/mosquitto").join(name);
            fs::read_to_string(path).unwrap().replace("/etc/mosquitto/gaitway/", &own)
        };
        let config = committed("mosquitto.conf");
        let listens = |port| format!("\nlistener {port}\n");
        assert!(config.contains(&listens(8883)) && config.contains(&listens(8884)) && config.contains(&own));
        let config = config
            .replace(&listens(8883), &format!("\nlistener {} 127.0.0.1\n", broker.certified))
            .replace(&listens(8884), &format!("\nlistener {} 127.0.0.1\n", broker.named));
        // Root gives itself up for another user who may not read this folder.
        broker.write("mosquitto.conf", &format!("user root\n{config}"));
        broker.write("acl", &committed("acl"));
        broker
    }

    /// A file of its folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn start(&mut self) {
        let place = "/usr/sbin/mosquitto";
        let program = if Path::new(place).exists() { place } else { "mosquitto" };
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let child = Command::new(program)
            .args(["-v", "-c", &self.path("mosquitto.conf")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("Debian's package mosquitto is installed");
        let child = self.child.insert(child);
        let ports = [self.certified, self.named];
        await_that("mosquitto listens", || {
            assert!(child.try_wait().unwrap().is_none(), "mosquitto ended");
            ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
    }

    /// Kills it at this very moment.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it was started");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// How often its log has a line with all of `words`.
    pub(crate) fn logged(&self, words: &[&str]) -> usize {
        let log = fs::read_to_string(self.dir.join("log")).unwrap();
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
