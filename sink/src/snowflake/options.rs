//! What the sink must know of Snowflake.

use std::path::PathBuf;

use gaitway_service::config::Wrong;
use gaitway_service::secret::Secret;
use serde::{Deserialize, Serialize};

/// Where Snowflake is, as whom, and into what. `account`, `user` and one of `private_key_file` and `private_key` have no default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The account's identifier, `ORGANIZATION-ACCOUNT`, or its locator with the region.
    pub account: String,
    /// The user whose key pair is used.
    pub user: String,
    /// The role to write with. If it is not set, it is the user's default role; Snowflake wants it to be that one.
    #[serde(default)]
    pub role: Option<String>,
    /// The database that holds the tables.
    #[serde(default = "database")]
    pub database: String,
    /// The warehouse for questions in SQL, such as a redrive's. If it is not set, it is the user's default one. Writing
    /// needs none.
    #[serde(default)]
    pub warehouse: Option<String>,
    /// A file that holds the private key in PEM form, PKCS#8, and that nobody else may read.
    #[serde(default)]
    pub private_key_file: Option<PathBuf>,
    /// The private key itself instead of `private_key_file`, for the environment: in PEM form, or its one line of
    /// base64 alone.
    #[serde(default)]
    pub private_key: Option<Secret>,
    /// The passphrase of the private key, if it is encrypted.
    #[serde(default)]
    pub private_key_passphrase: Option<Secret>,
    /// A file that holds the passphrase instead of `private_key_passphrase`, and that nobody else may read. White space
    /// around it does not count.
    #[serde(default)]
    pub private_key_passphrase_file: Option<PathBuf>,
    /// The account's address, `https://…`, where it does not follow from `account`: `PrivateLink`, a proxy, an
    /// emulator.
    #[serde(default)]
    pub url: Option<String>,
    /// A file with certificates in PEM form, which are trusted instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// What the names of Snowpipe's channels begin with, 1 to 64 letters, digits, `_`, `-` or `.`. Sinks of different
    /// topics or clusters that share a table need different ones.
    #[serde(default = "deployment")]
    pub deployment: String,
}

fn database() -> String {
    "ACTIVITY_DB".into()
}

fn deployment() -> String {
    "gaitway".into()
}

impl Options {
    /// For the user and the key, everything else as by default.
    pub fn new(account: impl Into<String>, user: impl Into<String>, private_key_file: impl Into<PathBuf>) -> Self {
        Self {
            account: account.into(),
            user: user.into(),
            role: None,
            database: database(),
            warehouse: None,
            private_key_file: Some(private_key_file.into()),
            private_key: None,
            private_key_passphrase: None,
            private_key_passphrase_file: None,
            url: None,
            ca_file: None,
            deployment: deployment(),
        }
    }

    /// The first value that makes no sense.
    pub fn check(&self) -> Result<(), Wrong> {
        let name = |key, name: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || "_-.$@".contains(c);
            if !name.is_empty() && name.chars().all(fits) {
                return Ok(());
            }
            Err(Wrong::new(key, "must be a name of letters, digits and _ - . $ @"))
        };
        name("snowflake.account", &self.account)?;
        name("snowflake.user", &self.user)?;
        name("snowflake.database", &self.database)?;
        if let Some(role) = &self.role {
            name("snowflake.role", role)?;
        }
        if let Some(warehouse) = &self.warehouse {
            name("snowflake.warehouse", warehouse)?;
        }
        match (&self.private_key_file, &self.private_key) {
            (None, None) => {
                let problem = "must be set: a file with the key, or `snowflake.private_key` in the environment";
                return Err(Wrong::new("snowflake.private_key_file", problem).naming("snowflake.private_key"));
            }
            (Some(_), Some(_)) => {
                let problem = "cannot stand beside `snowflake.private_key`: keep one of them";
                return Err(Wrong::new("snowflake.private_key_file", problem).naming("snowflake.private_key"));
            }
            _ => {}
        }
        if self.private_key_passphrase.is_some() && self.private_key_passphrase_file.is_some() {
            let problem = "and private_key_passphrase_file cannot be set both";
            return Err(Wrong::new("snowflake.private_key_passphrase", problem));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if self.deployment.is_empty() || self.deployment.len() > 64 || !self.deployment.chars().all(plain) {
            return Err(Wrong::new("snowflake.deployment", "must be 1 to 64 letters, digits, _ - or ."));
        }
        match self.url.as_deref().map(reqwest::Url::parse) {
            None => Ok(()),
            Some(Ok(url)) if url.scheme() == "https" && url.host_str().is_some() && url.username().is_empty() => Ok(()),
            Some(_) => {
                Err(Wrong::new("snowflake.url", "must be an address such as https://name.snowflakecomputing.com"))
            }
        }
    }

    /// The account as it stands in a token: capitals, `-` for `.`.
    pub(super) fn account_name(&self) -> String {
        self.account.replace('.', "-").to_ascii_uppercase()
    }

    /// The user as it stands in a token.
    pub(super) fn user_name(&self) -> String {
        self.user.to_ascii_uppercase()
    }

    /// The account's address, without a slash at its end. A host name has no `_`.
    pub(super) fn account_url(&self) -> String {
        match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("https://{}.snowflakecomputing.com", self.account.replace('_', "-").to_ascii_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::new("my_org-my_acct", "stream_user", "key.p8")
    }

    #[test]
    fn options_are_read_and_unknown_keys_refused() {
        let json = r#"{"account":"a","user":"u","private_key_file":"k","private_key_passphrase":"open sesame"}"#;
        let options: Options = serde_json::from_str(json).unwrap();
        assert_eq!((options.database.as_str(), options.deployment.as_str()), ("ACTIVITY_DB", "gaitway"));
        assert!(!format!("{options:?}").contains("sesame"));
        assert!(serde_json::from_str::<Options>(&json.replace("user", "uzer")).is_err());
    }

    #[test]
    fn names_are_spelled_as_snowflake_wants_them() {
        assert_eq!(options().account_url(), "https://my-org-my-acct.snowflakecomputing.com");
        assert_eq!(options().user_name(), "STREAM_USER");
        let located = Options { account: "xy12345.eu-central-1".into(), ..options() };
        assert_eq!(located.account_name(), "XY12345-EU-CENTRAL-1");
        assert_eq!(located.account_url(), "https://xy12345.eu-central-1.snowflakecomputing.com");
        let private = Options { url: Some("https://x.privatelink.snowflakecomputing.com/".into()), ..options() };
        assert_eq!(private.account_url(), "https://x.privatelink.snowflakecomputing.com");
    }

    #[test]
    fn options_without_sense_are_refused() {
        assert_eq!(options().check(), Ok(()));
        let some = |text: &str| Some(text.to_owned());
        let bad = [
            Options { account: String::new(), ..options() },
            Options { user: "a b".into(), ..options() },
            Options { role: some(""), ..options() },
            Options { warehouse: some("x;y"), ..options() },
            Options { database: "\"d\"".into(), ..options() },
            Options { deployment: "a/b".into(), ..options() },
            Options { url: some("http://plain"), ..options() },
            Options { url: some("https://user@host"), ..options() },
            Options { private_key_file: None, ..options() },
            Options { private_key: Some(Secret::new("k")), ..options() },
            Options {
                private_key_passphrase: Some(Secret::new("x")),
                private_key_passphrase_file: Some("y".into()),
                ..options()
            },
        ];
        for options in bad {
            assert!(options.check().is_err(), "{options:?}");
        }
    }
}
