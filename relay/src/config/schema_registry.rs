//! The table `[schema_registry]`: where the schemas of the records are registered, and as whom.
//!
//! - Either a user with a password or a token; each secret stands in one place.
//! - Nothing of them is ever shown.

use std::path::{Path, PathBuf};

use gaitway_service::config::{Check, Wrong};
use gaitway_service::secret::{self, Secret};
use reqwest::Url;
use serde::{Deserialize, Serialize};

/// A Confluent-compatible schema registry. Without a `url` nothing is registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchemaRegistryConfig {
    /// Where the registry is, `http` or `https`, with whatever path stands before `/subjects`. If it is not set,
    /// nothing is registered.
    pub url: Option<String>,
    /// Who registers: a user, or an API key in clouds. It needs a password.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
    /// A file that holds the password instead of `password`, and that nobody else may read.
    pub password_file: Option<PathBuf>,
    /// A bearer token instead of user and password.
    pub token: Option<Secret>,
    /// A file that holds the token instead of `token`, and that nobody else may read. It is read again for every
    /// attempt.
    pub token_file: Option<PathBuf>,
    /// What the registry is told to hold a subject's next version to, before one is registered.
    pub compatibility: Compatibility,
}

/// What a registry holds a subject's next version to. See `proto/schemas/README.md` for the reason of the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Compatibility {
    /// A new schema reads what the last one wrote.
    Backward,
    /// A new schema reads what every one before wrote.
    BackwardTransitive,
    /// The last schema reads what a new one writes.
    Forward,
    /// Every schema before reads what a new one writes.
    #[default]
    ForwardTransitive,
    /// `BACKWARD` and `FORWARD`.
    Full,
    /// `BACKWARD_TRANSITIVE` and `FORWARD_TRANSITIVE`.
    FullTransitive,
    /// Anything goes.
    None,
    /// The registry is told nothing: its own level stays.
    #[serde(rename = "leave")]
    Leave,
}

/// As whom requests are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// As nobody.
    None,
    /// Basic authentication.
    User(String, Secret),
    /// Bearer authentication.
    Token(Secret),
}

const URL: &str = "schema_registry.url";
const USER: &str = "schema_registry.user";
const PASSWORD: &str = "schema_registry.password";
const PASSWORD_FILE: &str = "schema_registry.password_file";
const TOKEN: &str = "schema_registry.token";
const TOKEN_FILE: &str = "schema_registry.token_file";
const UNUSABLE: &str = "must be a line of printable ASCII that is not empty";

impl Check for SchemaRegistryConfig {
    fn check(&self) -> Result<(), Wrong> {
        self.check_combination()?;
        if self.url.as_deref().is_some_and(|url| base(url).is_none()) {
            let problem = "must be http://HOST:PORT or https://HOST:PORT, without user, password or query";
            return Err(Wrong::new(URL, problem));
        }
        if self.user.as_ref().is_some_and(|user| user.contains(':') || !is_usable(user)) {
            return Err(Wrong::new(USER, format!("{UNUSABLE}, without a colon")));
        }
        for (key, secret) in [(PASSWORD, &self.password), (TOKEN, &self.token)] {
            if secret.as_ref().is_some_and(|secret| !is_usable(secret.reveal())) {
                return Err(Wrong::new(key, UNUSABLE));
            }
        }
        Ok(())
    }
}

impl SchemaRegistryConfig {
    fn check_combination(&self) -> Result<(), Wrong> {
        let [user, password, password_file, token, token_file] = [
            self.user.is_some(),
            self.password.is_some(),
            self.password_file.is_some(),
            self.token.is_some(),
            self.token_file.is_some(),
        ];
        let set = [
            (USER, user),
            (PASSWORD, password),
            (PASSWORD_FILE, password_file),
            (TOKEN, token),
            (TOKEN_FILE, token_file),
        ];
        let lonely = set.iter().find(|(_, is_set)| *is_set && self.url.is_none());
        if let Some((key, _)) = lonely {
            let problem = "is for the schema registry at `schema_registry.url`: set that too";
            return Err(Wrong::new(key, problem).naming("schema_registry.url"));
        }
        let rules = [
            (
                password && password_file,
                PASSWORD_FILE,
                "cannot stand beside `schema_registry.password`: keep one of them",
            ),
            (token && token_file, TOKEN_FILE, "cannot stand beside `schema_registry.token`: keep one of them"),
            (user && (token || token_file), USER, "cannot stand beside a token: keep one of them"),
            (
                user && !password && !password_file,
                USER,
                "needs `schema_registry.password` or `schema_registry.password_file`",
            ),
            (password && !user, PASSWORD, "needs `schema_registry.user`"),
            (password_file && !user, PASSWORD_FILE, "needs `schema_registry.user`"),
        ];
        match rules.into_iter().find(|(broken, ..)| *broken) {
            Some((_, key, problem)) => {
                Err(set.iter().fold(Wrong::new(key, problem), |wrong, (other, _)| wrong.naming(other)))
            }
            None => Ok(()),
        }
    }

    /// Where requests go, without a slash at the end; none if nothing is to be registered.
    pub(crate) fn base(&self) -> Option<String> {
        self.url.as_deref().and_then(base)
    }

    /// As whom, secrets read from where they stand.
    pub(crate) fn credentials(&self) -> Result<Credentials, Wrong> {
        let secret = |key, secret: &Option<Secret>, file: &Option<PathBuf>| match (secret, file) {
            (Some(secret), _) => Ok(Some(secret.clone())),
            (None, Some(file)) => read(key, file).map(Some),
            (None, None) => Ok(None),
        };
        if let Some(token) = secret(TOKEN_FILE, &self.token, &self.token_file)? {
            return Ok(Credentials::Token(token));
        }
        Ok(match (&self.user, secret(PASSWORD_FILE, &self.password, &self.password_file)?) {
            (Some(user), Some(password)) => Credentials::User(user.clone(), password),
            _ => Credentials::None,
        })
    }
}

fn read(key: &'static str, file: &Path) -> Result<Secret, Wrong> {
    let secret = secret::read(file).map_err(|error| Wrong::new(key, format!("cannot be used: {error}")))?;
    if is_usable(secret.reveal()) {
        Ok(secret)
    } else {
        Err(Wrong::new(key, format!("holds no secret: it {UNUSABLE}")))
    }
}

/// Whether it can stand in a header.
fn is_usable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn base(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    (bare && is_http).then(|| url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn config(change: impl FnOnce(&mut SchemaRegistryConfig)) -> SchemaRegistryConfig {
        let url = Some("http://registry:8081".to_owned());
        let mut config = SchemaRegistryConfig { url, ..SchemaRegistryConfig::default() };
        change(&mut config);
        config
    }

    fn hush() -> Secret {
        Secret::new("hush")
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_its_key() {
        type Change = fn(&mut SchemaRegistryConfig);
        SchemaRegistryConfig::default().check().unwrap();
        config(|_| {}).check().unwrap();
        config(|c| (c.user, c.password) = (Some("key".into()), Some(hush()))).check().unwrap();
        config(|c| c.token_file = Some("f".into())).check().unwrap();
        let cases: [(Change, &str); 14] = [
            (|c| (c.url, c.token) = (None, Some(hush())), "`schema_registry.token` is for"),
            (|c| c.user = Some("key".into()), "`schema_registry.user` needs `schema_registry.password`"),
            (|c| c.password = Some(hush()), "`schema_registry.password` needs"),
            (|c| c.password_file = Some("f".into()), "`schema_registry.password_file` needs"),
            (|c| (c.token, c.token_file) = (Some(hush()), Some("f".into())), "`schema_registry.token_file` cannot"),
            (
                |c| (c.user, c.password, c.password_file) = (Some("key".into()), Some(hush()), Some("f".into())),
                "`schema_registry.password_file` cannot",
            ),
            (
                |c| (c.user, c.password, c.token) = (Some("key".into()), Some(hush()), Some(hush())),
                "`schema_registry.user` cannot stand beside a token",
            ),
            (|c| (c.user, c.password) = (Some("a:b".into()), Some(hush())), "without a colon"),
            (|c| c.token = Some(Secret::new("")), "`schema_registry.token` must be a line"),
            (|c| c.token = Some(Secret::new("hush\nhush")), "`schema_registry.token` must be a line"),
            (|c| c.url = Some("registry:8081".into()), "`schema_registry.url` must be"),
            (|c| c.url = Some("https://me:hush@registry".into()), "`schema_registry.url` must be"),
            (|c| c.url = Some("https://registry?a=hush".into()), "`schema_registry.url` must be"),
            (|c| c.url = Some(String::new()), "`schema_registry.url` must be"),
        ];
        for (change, expected) in cases {
            let said = config(change).check().unwrap_err().to_string();
            assert!(said.contains(expected) && !said.contains("hush"), "{said}");
        }
    }

    #[test]
    fn secrets_are_read_from_where_they_stand_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let config = config(|c| c.token_file = Some(file.clone()));
        let said = || config.credentials().unwrap_err().to_string();
        assert!(said().contains("`schema_registry.token_file` cannot be used") && said().contains("cannot be read"));
        std::fs::write(&file, "hush\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(said().contains("chmod 600"), "{}", said());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let credentials = config.credentials().unwrap();
        assert_eq!(credentials, Credentials::Token(Secret::new("hush")));
        assert!(!format!("{credentials:?}").contains("hush"));
        std::fs::write(&file, "\n").unwrap();
        assert!(said().contains("holds no secret"));
    }

    #[test]
    fn a_path_before_the_subjects_is_kept() {
        let base = |url: &str| base(url).unwrap();
        assert_eq!(base("http://registry:8081/"), "http://registry:8081");
        assert_eq!(base("https://registry/apis/ccompat/v7/"), "https://registry/apis/ccompat/v7");
    }
}
