use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Agent {
    id: Option<String>,
    http: Http,
    spool: Spool,
    mqtt: Option<Mqtt>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Http {
    listen: SocketAddr,
    connections: NonZeroU16,
    origins: Vec<String>,
    ratio: f64,
    gzip: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: ([0, 0, 0, 0], 8000).into(),
            connections: NonZeroU16::new(64).unwrap(),
            origins: Vec::new(),
            ratio: 0.5,
            gzip: true,
        }
    }
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Spool {
    #[serde(with = "bytes")]
    max_bytes: u64,
    #[serde(with = "duration")]
    keep: Duration,
    full: Full,
}

impl Default for Spool {
    fn default() -> Self {
        Self { max_bytes: 2 << 30, keep: Duration::from_secs(60), full: Full::Refuse }
    }
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Full {
    Refuse,
    DropOldestRaw,
    Shrink { to: u8 },
}

#[derive(Debug, PartialEq, Deserialize)]
struct Mqtt {
    host: String,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    tries: u8,
}

#[derive(Default, Serialize)]
struct Flags {
    id: Option<String>,
    http: HttpFlags,
}

#[derive(Default, Serialize)]
struct HttpFlags {
    listen: Option<SocketAddr>,
}

impl Check for Agent {
    fn check(&self) -> Result<(), Wrong> {
        if self.http.ratio > f64::from(self.http.connections.get()) {
            return Err(Wrong::new("http.ratio", "must be at most `http.connections`").or("http.connections"));
        }
        if self.mqtt.as_ref().is_some_and(|mqtt| mqtt.password.as_deref() == Some("734")) {
            return Err(Wrong::new("mqtt.password", "is known to everybody"));
        }
        Wrong::unless_size_within("spool.max_bytes", self.spool.max_bytes, 1..=4 << 30)
    }
}

fn layers(text: &str, variables: &[(&str, &str)]) -> Layers {
    Layers {
        service: "agent",
        section: None,
        path: "/etc/gaitway/agent.toml".into(),
        text: Some(text.into()),
        variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
    }
}

fn loaded(text: &str, variables: &[(&str, &str)]) -> Agent {
    layers(text, variables).merge(None, Flags::default()).unwrap().config
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    layers(text, variables).merge::<Agent>(None, Flags::default()).unwrap_err().to_string()
}

#[test]
fn without_layers_the_defaults_hold() {
    assert_eq!(loaded("", &[]), Agent::default());
}

#[test]
fn a_later_layer_wins_key_by_key() {
    let text = "id = 'file'\n[http]\nlisten = '127.0.0.1:1'\ngzip = false\norigins = ['a', 'b']";
    let variables = [("GAITWAY_AGENT__HTTP__LISTEN", "127.0.0.1:2"), ("GAITWAY_AGENT__HTTP__ORIGINS", "c")];
    let flags = Flags { id: Some("flag".into()), http: HttpFlags { listen: Some(([127, 0, 0, 1], 3).into()) } };

    assert_eq!(loaded(text, &[]).http.listen.port(), 1);
    let agent = loaded(text, &variables);
    assert_eq!((agent.id.as_deref(), agent.http.listen.port(), agent.http.gzip), (Some("file"), 2, false));
    assert_eq!(agent.http.origins, ["c"]);
    let agent: Agent = layers(text, &variables).merge(None, flags).unwrap().config;
    assert_eq!((agent.id.as_deref(), agent.http.listen.port(), agent.http.gzip), (Some("flag"), 3, false));
}

#[test]
fn a_variable_becomes_what_its_key_wants() {
    let agent = loaded(
        "",
        &[
            ("GAITWAY_AGENT__ID", "0042"),
            ("GAITWAY_AGENT__HTTP__CONNECTIONS", "8"),
            ("GAITWAY_AGENT__HTTP__GZIP", "false"),
            ("GAITWAY_AGENT__HTTP__RATIO", "1"),
            ("GAITWAY_AGENT__HTTP__ORIGINS", "a, b"),
            ("GAITWAY_AGENT__SPOOL__MAX_BYTES", "500MB"),
            ("GAITWAY_AGENT__SPOOL__KEEP", "400d"),
            ("GAITWAY_AGENT__SPOOL__FULL", "drop_oldest_raw"),
            ("GAITWAY_AGENT__MQTT__HOST", "relay"),
            ("GAITWAY_AGENT__MQTT__PASSWORD", "12345"),
            ("GAITWAY_AGENT__LABELS", "{ room = 'lab' }"),
            ("GAITWAY_RELAY__ID", "not ours"),
            ("GAITWAY_LOG", "debug"),
        ],
    );
    assert_eq!(agent.id.as_deref(), Some("0042"));
    assert_eq!((agent.http.connections.get(), agent.http.gzip, agent.http.ratio.to_bits()), (8, false, 1f64.to_bits()));
    assert_eq!(agent.http.origins, ["a", "b"]);
    assert_eq!(agent.spool.max_bytes, 500_000_000);
    assert_eq!(agent.spool.keep, Duration::from_secs(400 * 86_400));
    assert_eq!(agent.spool.full, Full::DropOldestRaw);
    assert_eq!(agent.mqtt, Some(Mqtt { host: "relay".into(), password: Some("12345".into()), tries: 0 }));
    assert_eq!(agent.labels["room"], "lab");
    assert_eq!(loaded("", &[("GAITWAY_AGENT__HTTP__ORIGINS", "['a,b']")]).http.origins, ["a,b"]);
    assert_eq!(loaded("", &[("GAITWAY_AGENT__SPOOL__MAX_BYTES", "4096")]).spool.max_bytes, 4096);
}

#[test]
fn an_empty_variable_unsets_an_optional_key() {
    assert_eq!(loaded("id = 'file'", &[("GAITWAY_AGENT__ID", "")]).id, None);
}

#[test]
fn a_table_may_hold_a_variant() {
    assert_eq!(loaded("[spool.full.shrink]\nto = 3", &[]).spool.full, Full::Shrink { to: 3 });
    assert_eq!(
        refused("[spool]\nfull = 'shrink'", &[]),
        "/etc/gaitway/agent.toml:2: `spool.full` is \"shrink\", must be a table `shrink` with its settings"
    );
}

#[test]
fn a_key_that_nobody_reads_is_an_error_that_names_where_it_stands_and_what_is_allowed_there() {
    assert_eq!(
        refused("[http]\nlisten = '0.0.0.0:1'\nlisten_to = 1", &[]),
        "/etc/gaitway/agent.toml:3: unknown key `http.listen_to`, perhaps `listen`; \
         allowed here: `listen`, `connections`, `origins`, `ratio`, `gzip`"
    );
    assert_eq!(
        refused("[[spool.full.shrink.of]]\nx = 1", &[]),
        "/etc/gaitway/agent.toml:1: unknown key `spool.full.shrink.of`; allowed here: `to`"
    );
    assert_eq!(
        refused("", &[("GAITWAY_AGENT__MQTT__HOTS", "x")]),
        "GAITWAY_AGENT__MQTT__HOTS: unknown key `mqtt.hots`, perhaps `host`; allowed here: `host`, `password`, `tries`"
    );
    let error = layers("", &[]).merge::<Agent>(None, BTreeMap::from([("verbose", true)])).unwrap_err();
    assert!(
        matches!(&error, ConfigError::UnknownKey { origin: Origin::Flags, key, .. } if key == "verbose"),
        "{error}"
    );
}

#[test]
fn a_value_that_does_not_fit_is_an_error_that_names_where_it_stands_the_key_the_value_and_what_it_must_be() {
    let file = "/etc/gaitway/agent.toml";
    for (text, wanted) in [
        ("http = 3", ":1: `http` is 3, must be a table"),
        ("id = 3", ":1: `id` is 3, must be a string"),
        ("[http]\nlisten = 'here'", ":2: `http.listen` is \"here\", invalid socket address syntax"),
        ("[http]\nconnections = 0", ":2: `http.connections` is 0, must be a nonzero u16"),
        ("[http]\nconnections = 70000", ":2: `http.connections` is 70000, must be a whole number from 0 to 65535"),
        ("[http]\nratio = 'half'", ":2: `http.ratio` is \"half\", must be a number"),
        ("[http]\ngzip = 1", ":2: `http.gzip` is 1, must be true or false"),
        ("[http]\norigins = 'a'", ":2: `http.origins` is \"a\", must be a list"),
        ("[http]\norigins = [\n'a',\n1]", ":4: `http.origins.1` is 1, must be a string"),
        ("[spool]\nkeep = 30", ":2: `spool.keep` is 30, must be a duration like 30s, 5m or 400d"),
        (
            "[spool]\nmax_bytes = 'x'",
            ":2: `spool.max_bytes` is \"x\", must be a size like 2GiB, 500MB or a number of bytes",
        ),
        ("[spool]\nfull = 'x'", ":2: `spool.full` is \"x\", must be one of `refuse`, `drop_oldest_raw`, `shrink`"),
    ] {
        assert_eq!(refused(text, &[]), format!("{file}{wanted}"), "{text}");
    }
    assert_eq!(
        refused("[http]\ngzip = true", &[("GAITWAY_AGENT__HTTP__GZIP", "maybe")]),
        "GAITWAY_AGENT__HTTP__GZIP: `http.gzip` is \"maybe\", must be true or false"
    );
}

#[test]
fn a_value_that_makes_no_sense_is_refused_in_the_same_words() {
    assert_eq!(
        refused("[spool]\nmax_bytes = '5GiB'", &[]),
        "/etc/gaitway/agent.toml:2: `spool.max_bytes` is \"5GiB\", must be from 1B to 4GiB"
    );
    assert_eq!(
        refused("[http]\nratio = 9", &[("GAITWAY_AGENT__HTTP__CONNECTIONS", "8")]),
        "/etc/gaitway/agent.toml:2: `http.ratio` is 9, must be at most `http.connections`"
    );
    let layers = || layers("[http]\nratio = 0.5\norigins = ['a', 'b']", &[]);
    let loaded: Loaded<Agent> = Layers { section: None, ..layers() }.merge(None, Flags::default()).unwrap();
    assert!(
        loaded.is_set("http") && loaded.is_set("http.ratio") && !loaded.is_set("http.gzip") && !loaded.is_set("id")
    );
    let about = |wrong| loaded.refuse(wrong).to_string();
    assert_eq!(
        about(Wrong::new("id", "is needed").or("http.ratio")),
        "/etc/gaitway/agent.toml:2: `http.ratio` is 0.5, is needed"
    );
    assert_eq!(
        about(Wrong::new("http", "cannot stand here")),
        "/etc/gaitway/agent.toml:3: `http.origins` is [\"a\", \"b\"], cannot stand here"
    );
    assert_eq!(about(Wrong::new("id", "is needed")), "default: `id` is not set, is needed");
}

#[test]
fn a_variable_that_no_service_reads_is_refused() {
    let text = refused("", &[("GAITWAY_AGNET__ID", "x")]);
    assert!(text.starts_with("environment variable GAITWAY_AGNET__ID: ") && text.contains("GAITWAY_AGENT__"), "{text}");
    let text = refused("", &[("GAITWAY_AGENT_ID", "x")]);
    assert!(text.contains("two underscores"), "{text}");
    loaded("", &[("GAITWAY_LOG", "debug"), ("GAITWAY_SINK__X", "1"), ("GAITWAY_AGENTS", "2"), ("GAITWAY", "3")]);
}

#[test]
fn what_is_no_text_is_named_with_its_line() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("agent.toml");
    std::fs::write(&path, b"id = 'a'\nid2 = '\xff'\n").unwrap();
    let said = |path: &Path| load::<Agent>("agent", Some(path), None, Flags::default()).unwrap_err();
    assert_eq!(said(&path).to_string(), format!("{}:2: not TOML: the text is not UTF-8", path.display()));
    for no_file in [temp.path(), Path::new("/dev/zero"), &path.join("below")] {
        let error = said(no_file);
        assert!(matches!(error, ConfigError::File { .. }), "{error}");
    }
}

/// A type that is made of a text, and refuses some.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Lower;

impl TryFrom<String> for Lower {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains(char::is_uppercase) { Err(format!("{text} is not lower case")) } else { Ok(Self) }
    }
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only read")]
struct Named {
    name: Lower,
    #[serde(default)]
    more: Vec<Lower>,
}

impl Check for BTreeMap<String, Named> {
    fn check(&self) -> Result<(), Wrong> {
        Ok(())
    }
}

#[test]
fn what_a_type_of_its_own_refuses_is_named_by_its_key() {
    let refused = |text| {
        let refused = layers(text, &[]).merge::<BTreeMap<String, Named>>(None, Flags::default());
        refused.unwrap_err().to_string()
    };
    let file = "/etc/gaitway/agent.toml";
    assert_eq!(refused("[a]\nname = 'X'"), format!("{file}:2: `a.name` is \"X\", X is not lower case"));
    assert_eq!(
        refused("[a]\nname = 'x'\nmore = ['y', 'Z']"),
        format!("{file}:3: `a.more.1` is \"Z\", Z is not lower case")
    );
    assert_eq!(
        refused("[a]\nname = 'mqtt://ME:734@x'"),
        format!("{file}:2: `a.name` is a URL with credentials, does not fit")
    );
}

#[test]
fn no_value_of_a_secret_key_is_ever_shown() {
    for text in [
        "[mqtt]\nhost = 'h'\npassword = 734",
        "[mqtt]\nhost = 'h'\npassword = '734'",
        "[mqtt]\nhost = 'h'\npassword = ['734']",
        "[mqtt]\nhost = 'h'\npasword = '734'",
        "[http]\nlisten = 'mqtt://me:734@host'",
    ] {
        assert!(!refused(text, &[]).contains("734"), "{}", refused(text, &[]));
    }
}

#[test]
fn a_missing_key_is_named_with_where_to_set_it() {
    assert_eq!(
        refused("[mqtt]\ntries = 1", &[]),
        "`mqtt.host` is not set: set it in /etc/gaitway/agent.toml, or as GAITWAY_AGENT__MQTT__HOST in the environment"
    );
}

#[test]
fn what_is_not_toml_is_named_with_its_line() {
    let text = refused("id = 'a'\nhttp = [", &[]);
    assert!(text.starts_with("/etc/gaitway/agent.toml:2: not TOML: "), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn tables_in_tables_without_end_are_refused() {
    const DEEP: usize = 50_000;
    let name = format!("GAITWAY_AGENT{}", "__A".repeat(DEEP));
    let text = refused("", &[(&name, "1")]);
    assert!(text.ends_with("its name has more keys than any setting"), "{}", &text[text.len() - 100..]);
    for text in [format!("a = {}", "[".repeat(DEEP)), format!("[{}a]", "a.".repeat(DEEP)), "a = {a=".repeat(DEEP)] {
        assert!(refused(&text, &[]).starts_with("/etc/gaitway/agent.toml:1: "));
    }
}

#[test]
fn variables_that_contradict_each_other_are_refused() {
    let text = refused("", &[("GAITWAY_AGENT__HTTP", "{}"), ("GAITWAY_AGENT__HTTP__GZIP", "true")]);
    assert!(text.starts_with("environment variable GAITWAY_AGENT__HTTP__GZIP: "), "{text}");
    let text = refused("", &[("GAITWAY_AGENT__HTTP____GZIP", "true")]);
    assert!(text.starts_with("environment variable GAITWAY_AGENT__HTTP____GZIP: "), "{text}");
}

#[test]
fn a_combined_file_holds_the_sections_and_nothing_else() {
    let combined = |text| {
        Layers { section: Some("agent"), ..layers(text, &[]) }
            .merge::<Agent>(None, Flags::default())
            .map(|loaded| loaded.config)
    };
    assert_eq!(combined("[agent]\nid = 'a'\n[relay]\nid = 3\n[sink]").unwrap().id.as_deref(), Some("a"));
    assert_eq!(combined("[relay]").unwrap(), Agent::default());
    assert_eq!(
        combined("[agent]\n[agnet]").unwrap_err().to_string(),
        "/etc/gaitway/agent.toml:2: unknown key `agnet`, perhaps `agent`; allowed here: agent, relay, sink, data_dir"
    );
    assert_eq!(
        combined("[agent.http]\ngzip = 3").unwrap_err().to_string(),
        "/etc/gaitway/agent.toml:2: `agent.http.gzip` is 3, must be true or false"
    );
    let text = combined("[agent.mqtt]").unwrap_err().to_string();
    assert!(text.starts_with("`agent.mqtt.host` is not set"), "{text}");
    assert_eq!(
        combined("agent = 3").unwrap_err().to_string(),
        "/etc/gaitway/agent.toml:1: `agent` is 3, must be a table"
    );
}

#[test]
fn every_key_that_a_problem_names_is_spelt_as_in_the_file() {
    let loaded = |section, text| -> Loaded<Agent> {
        Layers { section, ..layers(text, &[]) }.merge(None, Flags::default()).unwrap()
    };
    let apart = || Wrong::unless_together(("id", true), ("http.gzip", false)).unwrap_err();
    let alone = loaded(None, "id = 'a'").refuse(apart()).to_string();
    assert!(alone.ends_with("`id` is \"a\", must stand beside `http.gzip`: set both, or neither"), "{alone}");
    let combined = loaded(Some("agent"), "[agent]\nid = 'a'");
    let said = combined.refuse(apart()).to_string();
    assert!(said.contains("`agent.id` is \"a\", must stand beside `agent.http.gzip`"), "{said}");
    let wrong = Wrong::new("http.ratio", "must fit `http.connections`, see `gaitway up`").or("http.connections");
    let said = combined.refuse(wrong).to_string();
    assert!(said.contains("must fit `agent.http.connections`, see `gaitway up`"), "{said}");
    assert!(Wrong::unless_together(("id", false), ("http", false)).is_ok());
    assert!(Wrong::unless_together(("id", true), ("http", true)).is_ok());
    let other = Wrong::unless_together(("id", false), ("http", true)).unwrap_err();
    assert!(other.to_string().starts_with("`http` must stand beside `id`"), "{other}");
}

#[test]
fn a_file_that_can_be_read_only_once_tells_every_service_its_settings() {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"[agent]\nid = 'a'\n[relay]\nid = 'r'\n").unwrap();
    drop(writer);
    let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
    let file = ConfigFile::named(&path).unwrap();
    assert!(file.is_combined() && file.path() == path);
    for (service, id) in [("agent", "a"), ("relay", "r")] {
        let loaded: Loaded<Agent> = file.read(service, Some(service), Flags::default()).unwrap();
        assert_eq!(loaded.config.id.as_deref(), Some(id));
        let loaded: Loaded<Agent> = file.read_either(service, Flags::default()).unwrap();
        assert_eq!(loaded.config.id.as_deref(), Some(id));
    }
}

#[test]
fn a_named_file_must_exist_and_another_need_not() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("agent.toml");
    let error = load::<Agent>("agent", Some(&path), None, Flags::default()).unwrap_err();
    assert!(matches!(error, ConfigError::File { .. }), "{error}");
    std::fs::write(&path, "id = 'file'").unwrap();
    let agent: Agent = load("agent", Some(&path), None, Flags::default()).unwrap();
    assert_eq!(agent.id.as_deref(), Some("file"));
    load::<Agent>("no_such_service", None, None, Flags::default()).unwrap();
}

#[test]
fn a_table_that_holds_no_value_sets_nothing() {
    let keys = |value| table(BTreeMap::from([("a".to_owned(), value)]));
    let (under, over) = (node(keys(Value::Integer(0))), node(keys(keys(table(BTreeMap::new())))));
    assert_eq!(leaves(&under.clone().overlaid(over), ""), leaves(&under, ""));
}

/// A tree of short keys, so that layers meet.
fn tree() -> impl Strategy<Value = Node> {
    let leaf = (0..100_i128).prop_map(Value::Integer);
    let value = leaf.prop_recursive(3, 12, 3, |inner| prop::collection::btree_map("[ab]", inner, 0..3).prop_map(table));
    prop::collection::btree_map("[ab]", value, 0..3).prop_map(|keys| node(table(keys)))
}

fn table(keys: BTreeMap<String, Value>) -> Value {
    Value::Table(keys.into_iter().map(|(key, value)| (key, node(value))).collect())
}

fn node(value: Value) -> Node {
    Node { value, origin: Origin::Default }
}

/// The ways to everything that is not a table, as `.a.b`, with a dot behind.
fn leaves(node: &Node, way: &str) -> BTreeMap<String, Value> {
    match &node.value {
        Value::Table(table) => table.iter().flat_map(|(key, node)| leaves(node, &format!("{way}{key}."))).collect(),
        value => BTreeMap::from([(way.to_owned(), value.clone())]),
    }
}

proptest! {
    #[test]
    fn a_merge_keeps_what_is_set_above_and_whatever_below_it_does_not_contradict(under in tree(), over in tree()) {
        let above = leaves(&over, "");
        let mut wanted = leaves(&under, "");
        wanted.retain(|way, _| !above.keys().any(|set| way.starts_with(set.as_str()) || set.starts_with(way.as_str())));
        wanted.extend(above);
        prop_assert_eq!(leaves(&under.overlaid(over), ""), wanted);
    }

    #[test]
    fn nothing_a_user_writes_panics(
        file in r"(\[(http|spool|mqtt)\]\n)?([a-z]{1,8} = [^\n]{0,12}\n){0,3}",
        value in ".{0,20}",
        key in "(ID|HTTP__LISTEN|HTTP__ORIGINS|HTTP__RATIO|SPOOL__FULL|SPOOL__MAX_BYTES|LABELS|MQTT|[A-Z_]{0,9})",
    ) {
        let name = format!("GAITWAY_AGENT__{key}");
        let _ = layers(&file, &[(name.as_str(), value.as_str())]).merge::<Agent>(None, Flags::default());
    }
}

#[test]
fn a_combined_files_folder_is_above_the_services_own() {
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Places {
        data_dir: Option<PathBuf>,
        sqlite: Option<Local>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Local {
        path: PathBuf,
    }

    impl Check for Places {
        fn check(&self) -> Result<(), Wrong> {
            Ok(())
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("any.toml");
    let file = |text: &str| {
        std::fs::write(&path, text).unwrap();
        ConfigFile::named(&path).unwrap()
    };
    let of = |text: &str, service| file(text).read_either::<Places>(service, Flags::default()).unwrap().config;
    let text = "data_dir = '/srv/g'\n[agent]\n[relay]\ndata_dir = '/srv/own'\n[sink]\n";
    assert_eq!(of(text, "agent").data_dir.unwrap(), Path::new("/srv/g/agent"));
    assert_eq!(of(text, "relay").data_dir.unwrap(), Path::new("/srv/own"), "what is said below it holds");
    assert_eq!(of(text, "sink").sqlite.unwrap().path, Path::new("/srv/g/warehouse.db"));
    assert_eq!(of("[agent]\n[relay]\n", "agent"), Places::default());
    assert_eq!(file(text).data_dir().unwrap().unwrap(), Path::new("/srv/g"));
    assert_eq!(file("[agent]\n").data_dir().unwrap(), None);
    // `up` itself takes it from the file, and not from a section.
    assert_eq!(file(text).read::<Places>("agent", Some("agent"), Flags::default()).unwrap().config, Places::default());
    let wrong = file("data_dir = 3\n[agent]\n").data_dir().unwrap_err().to_string();
    assert!(wrong.contains("any.toml:1") && wrong.contains("data_dir"), "{wrong}");
}
