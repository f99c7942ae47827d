//! What the agent can be told: `/etc/gaitway/agent.toml`, `GAITWAY_AGENT__…`, flags.
//!
//! - What makes no sense, or could not pass on what it promises, is refused before anything is opened.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use gaitway_proto::limits;
use gaitway_proto::topic::AgentId;
use gaitway_service::broker::{Access, Keys};
use gaitway_service::config::{Check, Wrong, duration};
use gaitway_service::tls::{Pair, Tls};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::classify::Threshold;
use crate::control;
use crate::identity::Route;
use crate::mdns;
use crate::spool::cap::SpoolConfig;
use crate::uplink::RelayAddress;
use crate::windows::{Params, ParamsError};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// A smaller spool could not hold the greatest push, and would refuse it for ever.
const LEAST_SPOOL: u64 = 9 << 20;

const BROKER: Keys = Keys {
    ca_file: "relay.broker.ca_file",
    certificate_file: "relay.broker.certificate_file",
    key_file: "relay.broker.key_file",
    username: "relay.broker.username",
    password: "relay.broker.password",
    password_file: "relay.broker.password_file",
};

const _: () = assert!(
    limits::MAX_FRAME + 512 * 1024 <= LEAST_SPOOL as usize,
    "the greatest frame and what stands around it fit into the smallest spool"
);

/// The whole configuration of an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// The folder of the agent: its spool, the list of phones, its key and certificate. It is made if it is not there,
    /// and one agent at a time uses it.
    pub data_dir: PathBuf,
    /// Where phones push to, and where the agent's page, `/healthz`, `/readyz` and `/metrics` are. `0.0.0.0` is every
    /// address of this machine; on `127.0.0.1` only programs of this machine come in.
    #[serde(with = "gaitway_service::config::address")]
    pub http: SocketAddr,
    /// HTTPS at the address of `http`, instead of HTTP. Both keys are set, or neither.
    pub https: HttpsConfig,
    /// The name or address of this machine, without a port, in the push URLs that the agent shows. If it is not set,
    /// its addresses in the network are shown.
    pub push_host: Option<String>,
    /// The agent's name at the relay. If it is not set, it is made from the host's name and kept; after `gaitway agent
    /// enroll` it is the one in the certificate.
    pub agent_id: Option<AgentId>,
    /// A socket by which `gaitway agent phone` and `gaitway agent reader` reach the agent while it runs; whoever may write to it may let
    /// phones in. If it is not set: `agent.sock` in the folder that systemd made (`RuntimeDirectory=`), else there is none, and the commands
    /// change the files in `data_dir` themselves.
    pub control: Option<PathBuf>,
    /// The relay that everything goes to.
    pub relay: RelayConfig,
    /// How the agent is found in the local network, by mDNS.
    pub mdns: MdnsConfig,
    /// How much each phone may push; each address, while there is no list of phones. What is more is refused, and a
    /// phone does not push it again.
    pub limits: LimitsConfig,
    /// The spool: what was accepted and is not with the relay yet.
    pub spool: SpoolConfig,
    /// The windows into which a recording is divided, and the activity that each is given. What is changed here
    /// holds for windows that begin after the change.
    pub windows: WindowsConfig,
    /// Whoever starts the agent tells people that anybody may push, where that is so: its log need not.
    #[serde(skip)]
    pub open_is_told: bool,
}

/// `[https]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpsConfig {
    /// A file with the certificate in PEM form, then those between it and an authority. It is read again when it
    /// changes.
    pub certificate_file: Option<PathBuf>,
    /// A file with the certificate's private key in PEM form, which nobody but the agent may read.
    pub key_file: Option<PathBuf>,
}

/// `[mdns]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MdnsConfig {
    /// Whether the agent is found in the local network as `NAME.local`. It never is while it listens on loopback only.
    pub enabled: bool,
    /// That name, without `.local`. If it is not set, it is the agent's id. Where another machine has the name, a
    /// number is added.
    pub name: Option<String>,
}

/// `[limits]`, of each phone, or of each address while there is no list of phones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Pushes a second. A minute's worth may come at once. The app pushes five times a second at most.
    pub pushes_per_second: f64,
    /// Bytes of JSON a second. A minute's worth may come at once.
    #[serde(with = "gaitway_service::config::bytes")]
    pub bytes_per_second: u64,
    /// Recordings that may begin in an hour. An hour's worth may begin at once.
    pub sessions_per_hour: f64,
}

/// `[relay]`
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// Where the relay is: `mqtts://HOST:PORT`; on this machine `mqtt://HOST:PORT` will do. If it is not set, it is the
    /// relay at which the agent has enrolled, or else port 1883 of this machine.
    pub address: Option<RelayAddress>,
    /// How a broker that is not ours lets this agent in, where `address` is such a broker's. Without this table
    /// `address` is a relay.
    pub broker: Option<Access>,
    /// The word of a relay in the same process.
    #[serde(skip)]
    pub word: Option<Zeroizing<String>>,
}

/// `[windows]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WindowsConfig {
    /// How long a window is. It must be a multiple of `slide`, and at most an hour.
    #[serde(with = "gaitway_service::config::duration")]
    pub length: Duration,
    /// The time from one window's start to the next.
    #[serde(with = "gaitway_service::config::duration")]
    pub slide: Duration,
    /// How long a window waits for late readings, by the phone's clock. Readings that come later are kept, but count in
    /// no window.
    #[serde(with = "gaitway_service::config::duration")]
    pub lateness: Duration,
    /// A recording that is silent for so long, by the agent's clock, has its windows closed.
    #[serde(with = "gaitway_service::config::duration")]
    pub silence: Duration,
    /// Mean magnitudes of acceleration in m/s²: below the first a window is stationary, below the second walking, below
    /// the third running; else it is sprinting. Each is greater than the last. `gaitway tune` finds them from
    /// recordings.
    pub thresholds: [f64; 3],
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("gaitway-data/agent"),
            http: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8000)),
            https: HttpsConfig::default(),
            push_host: None,
            agent_id: None,
            control: None,
            relay: RelayConfig::default(),
            mdns: MdnsConfig::default(),
            limits: LimitsConfig::default(),
            spool: SpoolConfig::default(),
            windows: WindowsConfig::default(),
            open_is_told: false,
        }
    }
}

impl Default for MdnsConfig {
    fn default() -> Self {
        Self { enabled: true, name: None }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { pushes_per_second: 20.0, bytes_per_second: 4 << 20, sessions_per_hour: 60.0 }
    }
}

impl fmt::Debug for RelayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, broker, word: _ } = self;
        f.debug_struct("RelayConfig").field("address", address).field("broker", broker).finish_non_exhaustive()
    }
}

impl Default for WindowsConfig {
    fn default() -> Self {
        Self {
            length: Duration::from_secs(10),
            slide: Duration::from_secs(2),
            lateness: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            thresholds: [2.0, 8.0, 20.0],
        }
    }
}

impl Check for AgentConfig {
    fn check(&self) -> Result<(), Wrong> {
        if self.data_dir.as_os_str().is_empty() {
            return Err(Wrong::new("data_dir", "must be the name of a folder"));
        }
        let HttpsConfig { certificate_file, key_file } = &self.https;
        Wrong::unless_together(
            ("https.certificate_file", certificate_file.is_some()),
            ("https.key_file", key_file.is_some()),
        )?;
        if self.push_host.as_ref().is_some_and(|host| !is_host(host)) {
            return Err(Wrong::new(
                "push_host",
                "must be a host's name or address, without a port, such as pi.example.org",
            ));
        }
        if self.control.as_ref().is_some_and(|path| !(1..=control::LONGEST_PATH).contains(&path.as_os_str().len())) {
            let problem =
                format!("must be a path of at most {} bytes: sockets have no longer ones", control::LONGEST_PATH);
            return Err(Wrong::new("control", problem));
        }
        if self.mdns.name.as_ref().is_some_and(|name| !mdns::is_name(name)) {
            let problem =
                format!("must be a name without .local: letters, digits and dashes inside, at most {}", mdns::LONGEST);
            return Err(Wrong::new("mdns.name", problem));
        }
        self.limits.check()?;
        let SpoolConfig { max_bytes, min_free_percent, when_full: _, remember } = &self.spool;
        Wrong::unless_size_within("spool.max_bytes", *max_bytes, LEAST_SPOOL..=1 << 50)?;
        Wrong::unless_within("spool.min_free_percent", min_free_percent, 0.0..=90.0)?;
        Wrong::unless_time_within("spool.remember", *remember, HOUR..=CENTURY)?;
        self.windows.check()?;
        self.relay.check()
    }
}

impl RelayConfig {
    fn check(&self) -> Result<(), Wrong> {
        if let Some(broker) = &self.broker {
            let address = self.address.as_ref().ok_or_else(|| {
                Wrong::new("relay.address", "must be set beside `relay.broker`: mqtts://HOST:PORT of the broker")
                    .naming("relay.broker")
            })?;
            broker.check(address.is_secure(), &BROKER)?;
        }
        match &self.address {
            Some(relay) if !relay.is_secure() && !relay.is_here() && self.broker.is_some() => {
                Err(Wrong::new("relay.address", "must be mqtts:// where the broker is on another machine"))
            }
            Some(relay) if !relay.is_secure() && !relay.is_here() => Err(Wrong::new(
                "relay.address",
                "must be mqtts:// where the relay is on another machine: enrol there with `gaitway agent enroll`",
            )),
            _ => Ok(()),
        }
    }
}

impl RelayConfig {
    /// The way by a broker, if there is one; its files are looked at.
    pub(crate) fn by_broker(&self) -> Result<Option<Route>, Wrong> {
        let Some((address, access)) = self.address.clone().zip(self.broker.clone()) else { return Ok(None) };
        access.check_files().map_err(|error| Wrong::new("relay.broker", error.to_string()))?;
        Ok(Some(Route::by_broker(address, access)))
    }
}

impl LimitsConfig {
    fn check(&self) -> Result<(), Wrong> {
        let Self { pushes_per_second, bytes_per_second, sessions_per_hour } = self;
        Wrong::unless_within("limits.pushes_per_second", pushes_per_second, 0.1..=1e6)?;
        Wrong::unless_size_within("limits.bytes_per_second", *bytes_per_second, 1 << 10..=1 << 40)?;
        Wrong::unless_within("limits.sessions_per_hour", sessions_per_hour, 1.0..=1e6)
    }
}

impl HttpsConfig {
    /// The files, if they are set.
    pub(crate) fn pair(&self) -> Option<Pair> {
        Some(Pair { certificate: self.certificate_file.clone()?, key: self.key_file.clone()? })
    }

    /// TLS for phones, if it is set.
    pub fn load(&self) -> Result<Option<Tls>, Wrong> {
        let Some(pair) = self.pair() else { return Ok(None) };
        Tls::load(pair.clone()).map(Some).map_err(|error| {
            let key = if error.is_of_key(&pair) { "https.key_file" } else { "https.certificate_file" };
            Wrong::new(key, error.to_string())
        })
    }
}

/// Whether `text` can stand between `//` and a port in a URL.
fn is_host(text: &str) -> bool {
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !text.is_empty() && is_name(text),
    }
}

impl WindowsConfig {
    fn check(&self) -> Result<(), Wrong> {
        Wrong::unless_time_within("windows.silence", self.silence, Duration::from_millis(100)..=DAY)?;
        self.params().map(drop)
    }

    /// The parameters, checked.
    pub fn params(&self) -> Result<Params, Wrong> {
        let [stationary, walking, running] = self.thresholds;
        let classifier = Threshold::new(stationary, walking, running).map_err(|_| {
            Wrong::new("windows.thresholds", "must be three numbers above 0, each greater than the last")
        })?;
        // What is too long for a number of nanoseconds is far too long for a window.
        let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let (length, slide, lateness) = (nanoseconds(self.length), nanoseconds(self.slide), nanoseconds(self.lateness));
        Params::new(length, slide, lateness, classifier).map_err(|error| {
            let [length, slide, lateness] = [self.length, self.slide, self.lateness].map(duration::shown);
            match error {
                ParamsError::Slide(_) => Wrong::new("windows.slide", "must be a multiple of 100ms, at least that"),
                ParamsError::Window(_) => Wrong::new(
                    "windows.length",
                    format!("must fit: the length, {length}, is a multiple of the slide, {slide}, and at most 1h"),
                )
                .or("windows.slide"),
                ParamsError::Lateness(_) => Wrong::new("windows.lateness", "must be from 0s to 1h"),
                ParamsError::Panes(panes) => Wrong::new(
                    "windows.slide",
                    format!(
                        "must fit: length, {length}, and lateness, {lateness}, are {panes} slides of {slide} long; \
                         1000 are possible"
                    ),
                )
                .or("windows.length")
                .or("windows.lateness"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        AgentConfig::default().check().unwrap();
    }

    #[test]
    fn the_word_of_the_own_relay_is_not_shown() {
        let mut config = AgentConfig::default();
        config.relay.word = Some(Zeroizing::new("open sesame".to_owned()));
        assert!(!format!("{config:?}").contains("sesame"));
    }

    type Spoil = fn(&mut AgentConfig);

    fn behind(address: Option<&str>, access: Access) -> RelayConfig {
        RelayConfig { address: address.map(|text| text.parse().unwrap()), broker: Some(access), word: None }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        let refused = |change: fn(&mut AgentConfig)| {
            let mut config = AgentConfig::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        let cases: [(Spoil, &str); 26] = [
            (|c| c.limits.pushes_per_second = 0.0, "`limits.pushes_per_second` must be from 0.1 to 1000000.0"),
            (|c| c.limits.bytes_per_second = 0, "`limits.bytes_per_second` must be from 1KiB to"),
            (|c| c.limits.sessions_per_hour = f64::NAN, "`limits.sessions_per_hour` must be from 1.0 to"),
            (|c| c.https.key_file = Some("k".into()), "`https.key_file` must stand beside `https.certificate_file`"),
            (|c| c.push_host = Some("pi:8000".into()), "`push_host` must be a host's name"),
            (|c| c.push_host = Some("http://pi".into()), "`push_host`"),
            (|c| c.push_host = Some("[::x]".into()), "`push_host`"),
            (|c| c.mdns.name = Some("attic.local".into()), "`mdns.name` must be a name without .local"),
            (|c| c.mdns.name = Some("a".repeat(56)), "`mdns.name`"),
            (|c| c.data_dir = PathBuf::new(), "`data_dir` must be"),
            (|c| c.spool.max_bytes = LEAST_SPOOL - 1, "`spool.max_bytes` must be from 9MiB to"),
            (|c| c.spool.min_free_percent = f64::NAN, "`spool.min_free_percent` must be from 0.0 to 90.0"),
            (|c| c.spool.min_free_percent = 90.5, "`spool.min_free_percent`"),
            (|c| c.spool.remember = Duration::ZERO, "`spool.remember` must be from 1h to"),
            (|c| c.windows.silence = Duration::MAX, "`windows.silence` must be from 100ms to 1d"),
            (|c| c.windows.slide = Duration::from_millis(150), "`windows.slide` must be a multiple of 100ms"),
            (|c| c.windows.slide = Duration::from_secs(3), "`windows.length`, `windows.slide` must fit"),
            (|c| c.windows.length = Duration::MAX, "and at most 1h"),
            (|c| c.windows.lateness = 2 * HOUR, "`windows.lateness` must be from 0s to 1h"),
            (|c| (c.windows.length, c.windows.lateness) = (HOUR, HOUR), "1000 are possible"),
            (|c| c.windows.thresholds = [8.0, 2.0, f64::INFINITY], "`windows.thresholds` must be"),
            (|c| c.relay.address = Some("mqtt://10.0.0.7".parse().unwrap()), "`relay.address` must be mqtts://"),
            (|c| c.relay = behind(None, Access::default()), "`relay.address` must be set beside"),
            (|c| c.relay = behind(Some("mqtts://b"), Access::default()), "`relay.broker.ca_file` must be set"),
            (|c| c.relay = behind(Some("mqtt://10.0.0.7"), Access::default()), "`relay.address` must be mqtts://"),
            (
                |c| {
                    let ca_file = Some("ca.pem".into());
                    let access = Access { ca_file, key_file: Some("k".into()), ..Access::default() };
                    c.relay = behind(Some("mqtts://b"), access);
                },
                "must stand beside `relay.broker.certificate_file`",
            ),
        ];
        for (change, expected) in cases {
            let said = refused(change);
            assert!(said.contains(expected), "{said}");
        }
    }
}
