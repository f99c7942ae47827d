//! What keys without a default could be, and which keys stand beside each other.

const EXAMPLES: [(&str, &str, &str); 49] = [
    ("agent", "https.certificate_file", "\"/etc/gaitway/https.pem\""),
    ("agent", "https.key_file", "\"/etc/gaitway/https.key\""),
    ("agent", "push_host", "\"pi.example.org\""),
    ("agent", "agent_id", "\"living-room\""),
    ("agent", "control", "\"/run/gaitway/agent.sock\""),
    ("agent", "relay.address", "\"mqtts://relay.example.org:8883\""),
    ("agent", "relay.broker.ca_file", "\"/etc/gaitway/broker-ca.pem\""),
    ("agent", "relay.broker.certificate_file", "\"/etc/gaitway/agent.pem\""),
    ("agent", "relay.broker.key_file", "\"/etc/gaitway/agent.key\""),
    ("agent", "relay.broker.username", "\"living-room\""),
    ("agent", "relay.broker.password", "\"correct horse battery staple\""),
    ("agent", "relay.broker.password_file", "\"/etc/gaitway/broker-password\""),
    ("agent", "mdns.name", "\"gaitway\""),
    ("relay", "tls", "true"),
    ("relay", "public_address", "\"relay.example.org:8883\""),
    ("relay", "broker.url", "\"mqtts://broker.example.org:8883\""),
    ("relay", "broker.username", "\"gaitway_relay\""),
    ("relay", "broker.password", "\"correct horse battery staple\""),
    ("relay", "broker.password_file", "\"/etc/gaitway/broker-password\""),
    ("relay", "broker.ca_file", "\"/etc/gaitway/broker-ca.pem\""),
    ("relay", "broker.certificate_file", "\"/etc/gaitway/relay.pem\""),
    ("relay", "broker.key_file", "\"/etc/gaitway/relay.key\""),
    ("relay", "admin", "\"127.0.0.1:9464\""),
    ("relay", "kafka.properties", "{ \"socket.timeout.ms\" = 60000 }"),
    ("relay", "kafka.property_files", "{ \"sasl.password\" = \"/etc/gaitway/kafka-password\" }"),
    ("relay", "kafka.create.settings", "{ \"retention.ms\" = 604800000 }"),
    ("relay", "schema_registry.url", "\"https://registry.example.org\""),
    ("relay", "schema_registry.user", "\"gaitway\""),
    ("relay", "schema_registry.password", "\"correct horse battery staple\""),
    ("relay", "schema_registry.password_file", "\"/etc/gaitway/registry-password\""),
    ("relay", "schema_registry.token", "\"a-long-token\""),
    ("relay", "schema_registry.token_file", "\"/etc/gaitway/registry-token\""),
    ("sink", "kafka.properties", "{ \"socket.timeout.ms\" = 60000 }"),
    ("sink", "kafka.property_files", "{ \"sasl.password\" = \"/etc/gaitway/kafka-password\" }"),
    ("sink", "kafka.create.settings", "{ \"retention.ms\" = 604800000 }"),
    ("sink", "admin", "\"127.0.0.1:9465\""),
    ("sink", "postgres.password", "\"correct horse battery staple\""),
    ("sink", "postgres.password_file", "\"/etc/gaitway/postgres-password\""),
    ("sink", "postgres.ca_file", "\"/etc/gaitway/postgres-ca.pem\""),
    ("sink", "postgres.keep_raw", "\"90d\""),
    ("sink", "snowflake.account", "\"my_org-my_account\""),
    ("sink", "snowflake.user", "\"gaitway\""),
    ("sink", "snowflake.role", "\"GAITWAY_SINK\""),
    ("sink", "snowflake.warehouse", "\"GAITWAY_WH\""),
    ("sink", "snowflake.private_key_file", "\"/etc/gaitway/snowflake.p8\""),
    ("sink", "snowflake.private_key", "\"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\""),
    ("sink", "snowflake.private_key_passphrase", "\"correct horse battery staple\""),
    ("sink", "snowflake.private_key_passphrase_file", "\"/etc/gaitway/snowflake-passphrase\""),
    ("sink", "snowflake.url", "\"https://gaitway.privatelink.snowflakecomputing.com\""),
];

const MORE: [(&str, &str, &str); 1] = [("sink", "snowflake.ca_file", "\"/etc/gaitway/snowflake-ca.pem\"")];

/// What the key could be, as TOML.
pub fn of(service: &str, path: &str) -> Option<&'static str> {
    let mut all = EXAMPLES.iter().chain(&MORE);
    all.find(|(of, key, _)| *of == service && *key == path).map(|(.., example)| *example)
}

/// Every example's service and key.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    EXAMPLES.iter().chain(&MORE).map(|(service, path, _)| (*service, *path))
}

/// Keys without which this one is refused.
pub fn beside(service: &str, path: &str) -> &'static [&'static str] {
    match (service, path) {
        ("agent", "https.certificate_file" | "https.key_file") => &["https.certificate_file", "https.key_file"],
        ("agent", "relay.broker.certificate_file" | "relay.broker.key_file") => {
            &["relay.address", "relay.broker.ca_file", "relay.broker.certificate_file", "relay.broker.key_file"]
        }
        ("agent", path) if path.starts_with("relay.broker.") => &["relay.address", "relay.broker.ca_file"],
        ("relay", "broker.certificate_file" | "broker.key_file") => {
            &["broker.url", "broker.ca_file", "broker.certificate_file", "broker.key_file"]
        }
        ("relay", path) if path.starts_with("broker.") => &["broker.url", "broker.ca_file"],
        ("relay", "schema_registry.user" | "schema_registry.password") => {
            &["schema_registry.url", "schema_registry.user", "schema_registry.password"]
        }
        ("relay", "schema_registry.password_file") => &["schema_registry.url", "schema_registry.user"],
        ("relay", path) if path.starts_with("schema_registry.") => &["schema_registry.url"],
        ("sink", "snowflake.private_key") => &["snowflake.account", "snowflake.user"],
        ("sink", path) if path.starts_with("snowflake.") => {
            &["snowflake.account", "snowflake.user", "snowflake.private_key_file"]
        }
        _ => &[],
    }
}
