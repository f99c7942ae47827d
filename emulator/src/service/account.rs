//! What the account's host answers: the ingest host, scoped tokens, statements.

use std::collections::{BTreeMap, VecDeque};

use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Service, json, lock};
use crate::change;
use crate::options::BodyForm;
use crate::search::Search;
use crate::sql::{self, Session};
use crate::streaming::refusal::Refusal;

/// The grant with which a key-pair JWT is exchanged for a scoped token (RFC 7523).
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Results that are kept for polls.
const RESULTS: usize = 64;

/// The results of the last statements.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    made: u64,
    results: VecDeque<(String, Result<Value, Refusal>)>,
}

/// The body of a statement call.
#[derive(Debug, Deserialize)]
struct Asked {
    statement: String,
    database: Option<String>,
    schema: Option<String>,
    warehouse: Option<String>,
    role: Option<String>,
    /// Values of question marks, by their number from 1.
    #[serde(default)]
    bindings: BTreeMap<u32, Binding>,
}

/// Of the type `TEXT`, the only one that is known here.
#[derive(Debug, Deserialize)]
struct Binding {
    r#type: Text,
    value: String,
}

#[derive(Debug, Deserialize)]
enum Text {
    #[serde(rename = "TEXT")]
    Text,
}

impl Service {
    pub(super) fn hostname(&self, parts: &Parts) -> Response {
        if self.bare(parts) {
            let host = self.options.hostname.clone().unwrap_or_else(|| "127.0.0.1".into());
            return text(host);
        }
        let host = self.options.hostname.clone().unwrap_or_else(|| format!("127.0.0.1:{}", self.port));
        json(200, &json!({"hostname": host}))
    }

    pub(super) fn token(&self, parts: &Parts, body: &[u8]) -> Result<Response, Refusal> {
        let field = |name: &str| {
            let found = form_urlencoded::parse(body).find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        if field("grant_type") != GRANT {
            return Err(Refusal::new(400, "unsupported_grant_type", format!("grant_type is not {GRANT}")));
        }
        let scope = field("scope");
        if !self.own_host(&scope) {
            let message = format!("scope is '{scope}', which is not this account's ingest host");
            return Err(Refusal::new(400, "invalid_scope", message));
        }
        let token = self.auth.scoped_token(self.clock.of_tokens());
        Ok(if self.bare(parts) { text(token) } else { json(200, &json!({"token": token})) })
    }

    /// Hosts are compared without port, and as a client has to write them: `-` for `_`.
    fn own_host(&self, scope: &str) -> bool {
        let plain = |host: &str| {
            let host = host.split_once("://").map_or(host, |(_, host)| host);
            host.split(':').next().unwrap_or_default().replace('_', "-").to_ascii_lowercase()
        };
        let own = self.options.hostname.as_deref().unwrap_or("127.0.0.1");
        plain(scope) == plain(own)
    }

    fn bare(&self, parts: &Parts) -> bool {
        match self.options.body_form {
            BodyForm::Json => false,
            BodyForm::Bare => true,
            BodyForm::Auto => {
                let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
                agent.is_some_and(|agent| agent.contains("SnowpipeStreamingSDK"))
            }
        }
    }

    pub(super) fn statement(&self, body: &[u8], pending: bool) -> Result<Response, Refusal> {
        let asked: Asked = serde_json::from_slice(body)
            .map_err(|error| Refusal::new(400, "390400", format!("request body cannot be read: {error}")))?;
        let result = self.execute(&asked);
        let mut statements = lock(&self.statements);
        statements.made += 1;
        let handle = format!("01b00000-0000-0000-0000-{:012x}", statements.made);
        let now = self.clock.steady();
        let result = result.map(|rows| rows.body(&handle, now));
        if !pending {
            return result.map(|body| json(200, &body));
        }
        if statements.results.len() == RESULTS {
            statements.results.pop_front();
        }
        statements.results.push_back((handle.clone(), result));
        Ok(in_progress(&handle))
    }

    fn execute(&self, asked: &Asked) -> Result<sql::Rows, Refusal> {
        let options = &self.options;
        let other =
            |name: &Option<String>, own: &str| name.as_ref().is_some_and(|name| !name.eq_ignore_ascii_case(own));
        if other(&asked.role, &options.role) || other(&asked.database, &options.database) {
            let message = "The requested role or database does not exist or is not authorized.";
            return Err(Refusal::new(422, "390189", message));
        }
        let mut streaming = self.streaming();
        streaming.settle(self.clock.steady());
        let answer = sql::run(
            &asked.statement,
            &Session {
                account: &options.account,
                user: &options.user,
                role: &options.role,
                withheld: &options.withheld,
                database: streaming.database(),
                schema: asked.schema.as_deref(),
                warehouse: asked.warehouse.as_deref(),
                tables: streaming.tables().collect(),
            },
        );
        let refusal = match answer {
            Err(refusal) if refusal.code == sql::UNKNOWN => refusal,
            answer => return answer,
        };
        let text = |binding: &Binding| match binding.r#type {
            Text::Text => binding.value.clone(),
        };
        let texts: Vec<String> = asked.bindings.values().map(text).collect();
        if let Some(changed) = change::run(&asked.statement, &texts, &mut streaming, &options.withheld)? {
            return Ok(changed);
        }
        let search = Search::of(&asked.statement, &texts, &streaming)?.ok_or(refusal)?;
        drop(streaming);
        search.run()
    }

    pub(super) fn poll(&self, handle: &str, pending: bool) -> Result<Response, Refusal> {
        let statements = lock(&self.statements);
        let found = statements.results.iter().find(|(known, _)| known == handle);
        let Some((_, result)) = found else {
            return Err(Refusal::new(404, "000709", format!("Statement {handle} not found")));
        };
        if pending {
            return Ok(in_progress(handle));
        }
        result.clone().map(|body| json(200, &body))
    }
}

fn in_progress(handle: &str) -> Response {
    json(
        202,
        &json!({
            "code": "333334",
            "message": "Asynchronous execution in progress. Use provided query id to perform query monitoring and management.",
            "statementHandle": handle,
            "statementStatusUrl": format!("/api/v2/statements/{handle}"),
        }),
    )
}

fn text(body: String) -> Response {
    ([("content-type", "text/plain")], body).into_response()
}
