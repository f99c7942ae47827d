//! The task that registers: one request after another, again with growing pauses while the registry is away or refuses.
//!
//! - Whatever the registry does, the task lives until shutdown, and the relay's readiness is not touched: only its note.
//! - Of an answer no more is read than an answer of a registry needs.

use std::time::{Duration, Instant};

use gaitway_service::health::Part;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Response};
use tokio_util::sync::CancellationToken;

use super::{Failure, Registration, Request};
use crate::commit::Backoff;
use crate::config::{Credentials, SchemaRegistryConfig};
use crate::http_client;
use crate::throttle::Trouble;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Who has to do something first is not asked more often.
const REFUSED_PAUSE: Duration = Duration::from_secs(50);

const LONGEST_ANSWER: usize = 256 * 1024;

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const MEDIA_TYPES: &str =
    "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json";

/// Registers all of `open` with the registry at `base`, then rests until `shutdown`. `seed`: any number.
pub(crate) async fn keep(
    config: SchemaRegistryConfig,
    base: String,
    mut open: Vec<Registration>,
    part: Part,
    seed: u64,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    part.ready();
    let (mut client, mut backoff, mut trouble, mut done) = (None, Backoff::new(seed), Trouble::default(), Vec::new());
    loop {
        let round = async {
            let credentials = match config.credentials() {
                Ok(credentials) => credentials,
                Err(wrong) => return Err(Failure::Refused(wrong.to_string())),
            };
            let client = match &mut client {
                Some(client) => client,
                none => none.insert(self::client(&base)?),
            };
            register(client, &base, &credentials, &mut open).await
        };
        let failed = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            round = round => round.err(),
        };
        open.retain(|registration| match registration.registered() {
            Some(what) => {
                tracing::info!(registry = base, "schema registered: {what}");
                done.push(what);
                false
            }
            None => true,
        });
        let Some(failed) = failed else { break };
        let (why, pause) = match failed {
            Failure::Away(why) => (why, backoff.next_pause()),
            Failure::Refused(why) => (why, REFUSED_PAUSE + backoff.next_pause()),
        };
        if let Some(before) = trouble.tell(Instant::now(), &why) {
            tracing::warn!(registry = base, why, like_it_before = before.count(), "schemas are not registered yet");
        }
        part.note(format!("schemas not registered at {base} yet, nothing waits for them: {why}"));
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
    part.note(done.join("; "));
    shutdown.cancelled().await;
    Ok(())
}

/// Goes on with every registration as far as it gets. The error has every reason; that somebody has to do something weighs
/// more than that the registry is away.
async fn register(
    client: &Client,
    base: &str,
    credentials: &Credentials,
    open: &mut [Registration],
) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for registration in open {
        while let Some(request) = registration.poll_request() {
            let answered = match ask(client, base, credentials, request).await {
                Ok((status, body)) => registration.handle_answer(status, &body),
                Err(failure) => Err(failure),
            };
            match answered {
                Ok(()) => {}
                Err(Failure::Refused(why)) => {
                    refused.push(why);
                    break;
                }
                // The others would hear the same.
                Err(away @ Failure::Away(_)) if refused.is_empty() => return Err(away),
                Err(Failure::Away(why)) => {
                    refused.push(why);
                    return Err(Failure::Refused(refused.join("; ")));
                }
            }
        }
    }
    refused.dedup();
    if refused.is_empty() { Ok(()) } else { Err(Failure::Refused(refused.join("; "))) }
}

async fn ask(
    client: &Client,
    base: &str,
    credentials: &Credentials,
    Request { put, path, body }: Request,
) -> Result<(u16, Vec<u8>), Failure> {
    let url = format!("{base}{path}");
    let request = if put { client.put(url) } else { client.post(url) };
    let request = match credentials {
        Credentials::None => request,
        Credentials::User(user, password) => request.basic_auth(user, Some(password.reveal())),
        Credentials::Token(token) => request.bearer_auth(token.reveal()),
    };
    let sent = request.header(ACCEPT, MEDIA_TYPES).header(CONTENT_TYPE, MEDIA_TYPE).body(body).send().await;
    let away = |error: &reqwest::Error| Failure::Away(format!("no answer from the registry: {}", root_cause(error)));
    let mut response: Response = sent.map_err(|error| away(&error))?;
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| away(&error))? {
        answer.extend_from_slice(&chunk);
        if answer.len() > LONGEST_ANSWER {
            return Err(Failure::Refused("the answer is too long: is this a schema registry?".to_owned()));
        }
    }
    Ok((response.status().as_u16(), answer))
}

/// A client for a registry at `base`. Authorities that are missing may be installed yet.
fn client(base: &str) -> Result<Client, Failure> {
    let builder = if base.starts_with("https:") {
        http_client::verifying().map_err(|error| {
            Failure::Refused(format!(
                "no certificate can be verified here: {error}; install certificate authorities (ca-certificates)"
            ))
        })
    } else {
        http_client::plain().map_err(|error| Failure::Refused(error.to_string()))
    };
    let client = builder?
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_WITHIN)
        .timeout(ANSWER_WITHIN)
        .user_agent(concat!("gaitway-relay/", env!("CARGO_PKG_VERSION")))
        .build();
    client.map_err(|error| Failure::Refused(format!("no client can be made: {}", root_cause(&error))))
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
