//! The relay beside a schema registry: one that behaves as Confluent's does, and its documented answers byte for byte.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use gaitway_proto::envelope::{Ack, Down};
use gaitway_proto::schema::{RAW, TABLES, published_json_schemas};
use gaitway_relay::{Compatibility, SchemaRegistryConfig};
use gaitway_service::secret::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

mod client;
mod memory;

use client::{Client, Relay};

/// What a registry holds; the answers are those that Confluent documents.
#[derive(Debug, Default)]
struct Store {
    /// Of each subject the ids of its versions.
    subjects: BTreeMap<String, Vec<usize>>,
    /// By id, from 1.
    schemas: Vec<String>,
    levels: BTreeMap<String, String>,
    /// Requests that change something, in order.
    changes: Vec<String>,
    authorization: Option<&'static str>,
    is_broken: bool,
    levels_are_fixed: bool,
}

type Shared = Arc<Mutex<Store>>;

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [("content-type", "application/vnd.schemaregistry.v1+json")], body.to_string()).into_response()
}

fn refusal(status: StatusCode, code: u32, message: &str) -> Response {
    answer(status, &json!({"error_code": code, "message": message}))
}

impl Store {
    fn turns_away(&self, headers: &HeaderMap) -> Option<Response> {
        if self.is_broken {
            return Some(refusal(StatusCode::SERVICE_UNAVAILABLE, 50003, "no primary"));
        }
        let given = headers.get("authorization").map(|value| value.to_str().unwrap());
        if self.authorization.is_some_and(|expected| given != Some(expected)) {
            return Some(refusal(StatusCode::UNAUTHORIZED, 401, "Unauthorized"));
        }
        assert_eq!(headers["content-type"], "application/vnd.schemaregistry.v1+json");
        None
    }

    /// As Confluent judges a schema that allows further keys: a key in both versions keeps its type, and unless readers of
    /// older versions are who matters, none is added.
    fn is_compatible(&self, subject: &str, schema: &str) -> bool {
        let keys = |schema: &str| serde_json::from_str::<Value>(schema).unwrap()["properties"].clone();
        let forward = self.levels.get(subject).is_some_and(|level| level.starts_with("FORWARD"));
        let new = keys(schema);
        self.subjects.get(subject).into_iter().flatten().all(|id| {
            let old = keys(&self.schemas[id - 1]);
            new.as_object().unwrap().iter().all(|(key, now)| match old.get(key) {
                Some(before) => before["type"] == now["type"],
                None => forward,
            })
        })
    }

    fn find(&self, subject: &str, schema: &str) -> Option<usize> {
        self.subjects.get(subject)?.iter().copied().find(|id| self.schemas[id - 1] == schema)
    }

    fn register(&mut self, subject: &str, schema: &str) -> usize {
        let known = self.schemas.iter().position(|known| known == schema);
        let id = known.unwrap_or_else(|| {
            self.schemas.push(schema.to_owned());
            self.schemas.len() - 1
        }) + 1;
        let versions = self.subjects.entry(subject.to_owned()).or_default();
        if !versions.contains(&id) {
            versions.push(id);
        }
        id
    }
}

fn schema(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["schemaType"], "JSON");
    body["schema"].as_str().unwrap().to_owned()
}

async fn look_up(
    State(store): State<Shared>,
    Path(subject): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let store = store.lock().unwrap();
    if let Some(refused) = store.turns_away(&headers) {
        return refused;
    }
    let schema = schema(&body);
    match store.find(&subject, &schema) {
        Some(id) => answer(StatusCode::OK, &json!({"subject": subject, "id": id, "version": 1, "schema": schema})),
        None if store.subjects.contains_key(&subject) => refusal(StatusCode::NOT_FOUND, 40403, "Schema not found"),
        None => refusal(StatusCode::NOT_FOUND, 40401, "Subject not found."),
    }
}

async fn register(
    State(store): State<Shared>,
    Path(subject): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let mut store = store.lock().unwrap();
    if let Some(refused) = store.turns_away(&headers) {
        return refused;
    }
    store.changes.push(format!("register {subject}"));
    let schema = schema(&body);
    if !store.is_compatible(&subject, &schema) {
        let message =
            format!("Schema being registered is incompatible with an earlier schema for subject \"{subject}\"");
        return refusal(StatusCode::CONFLICT, 409, &message);
    }
    answer(StatusCode::OK, &json!({"id": store.register(&subject, &schema)}))
}

async fn level(State(store): State<Shared>, Path(subject): Path<String>, headers: HeaderMap, body: String) -> Response {
    let mut store = store.lock().unwrap();
    if let Some(refused) = store.turns_away(&headers) {
        return refused;
    }
    if store.levels_are_fixed {
        return refusal(StatusCode::FORBIDDEN, 40301, "User is denied operation Write on Config");
    }
    store.changes.push(format!("level {subject}"));
    let body: Value = serde_json::from_str(&body).unwrap();
    store.levels.insert(subject, body["compatibility"].as_str().unwrap().to_owned());
    answer(StatusCode::OK, &body)
}

/// A registry in this process.
struct Registry {
    url: String,
    store: Shared,
}

impl Registry {
    async fn start(store: Store) -> Self {
        let store = Arc::new(Mutex::new(store));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/api/subjects/{subject}", post(look_up))
            .route("/api/subjects/{subject}/versions", post(register))
            .route("/api/config/{subject}", put(level))
            .with_state(store.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, store }
    }

    fn relay(&self, change: impl FnOnce(&mut SchemaRegistryConfig)) -> Relay {
        Relay::start(|config| {
            config.schema_registry.url = Some(self.url.clone());
            change(&mut config.schema_registry);
        })
    }

    fn changes(&self) -> Vec<String> {
        self.store.lock().unwrap().changes.clone()
    }
}

/// What the relay's health says of the registry, once that has these words.
async fn noted(relay: &Relay, words: &str) -> String {
    let looking = async {
        loop {
            let report = relay.health.report();
            let part = report.parts.iter().find(|part| part.name == "schema registry");
            if let Some(note) = part.and_then(|part| part.note.as_ref()).filter(|note| note.contains(words)) {
                assert!(part.is_some_and(|part| part.ready), "the relay does not depend on the registry");
                return note.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), looking).await;
    found.unwrap_or_else(|_| panic!("no {words:?} in {}", relay.health.report().to_text()))
}

/// A batch goes through while the registry does whatever it does.
async fn assert_serves(relay: &Relay) {
    let mut pi = Client::enter(relay, "pi").await;
    assert!(matches!(pi.hello(1, 2).await, Some(Down::Welcome(_))));
    pi.activity(1, 1, 1).await;
    assert!(matches!(pi.word().await, Some(Down::Ack(Ack { up_to: 1, .. }))));
    assert!(relay.health.report().ready, "{}", relay.health.report().to_text());
}

fn newest(table: usize) -> &'static str {
    published_json_schemas(TABLES[table]).last().unwrap()
}

#[tokio::test]
async fn schemas_are_registered_once_and_found_by_the_next_start() {
    let registry = Registry::start(Store::default()).await;
    let mut notes = Vec::new();
    for _ in 0..2 {
        let relay = registry.relay(|_| {});
        notes.push(noted(&relay, "gaitway_gaps-value is id").await);
        relay.stop().await.unwrap();
        let subjects = ["raw_sensor_data-value", "processed_activity-value", "gaitway_gaps-value"];
        let expected = subjects.map(|subject| [format!("level {subject}"), format!("register {subject}")]).concat();
        assert_eq!(registry.changes(), expected);
    }
    let expected = "raw_sensor_data-value is id 1; processed_activity-value is id 2; gaitway_gaps-value is id 3";
    assert_eq!(notes, [expected, expected]);
    let store = registry.store.lock().unwrap();
    assert_eq!(store.schemas, [newest(0), newest(1), newest(2)]);
    assert!(store.levels.values().all(|level| level == "FORWARD_TRANSITIVE"), "{:?}", store.levels);
}

#[tokio::test]
async fn an_added_key_is_taken_under_the_level_that_is_asked_for() {
    let mut older: Value = serde_json::from_str(newest(0)).unwrap();
    older["properties"].as_object_mut().unwrap().remove("userId");
    let before = || {
        let mut store = Store::default();
        store.register("raw_sensor_data-value", &older.to_string());
        store
    };
    let registry = Registry::start(before()).await;
    let relay = registry.relay(|_| {});
    noted(&relay, "raw_sensor_data-value is id 2").await;
    relay.stop().await.unwrap();

    let registry = Registry::start(before()).await;
    let relay = registry.relay(|config| config.compatibility = Compatibility::Backward);
    let note = noted(&relay, "incompatible").await;
    assert!(note.contains("raw_sensor_data-value") && note.contains("FORWARD_TRANSITIVE"), "{note}");
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn one_subject_that_is_refused_does_not_keep_the_others_from_their_schemas() {
    let mut store = Store::default();
    store.register("raw_sensor_data-value", r#"{"properties":{"x":{"type":"string"}}}"#);
    let registry = Registry::start(store).await;
    let relay = registry.relay(|_| {});
    let note = noted(&relay, "incompatible").await;
    assert!(note.contains("raw_sensor_data-value") && note.contains("nothing waits for them"), "{note}");
    assert_serves(&relay).await;
    relay.stop().await.unwrap();
    let subjects: Vec<_> = registry.store.lock().unwrap().subjects.keys().cloned().collect();
    assert_eq!(subjects, ["gaitway_gaps-value", "processed_activity-value", "raw_sensor_data-value"]);
}

#[tokio::test]
async fn a_level_that_may_not_be_set_is_told_and_the_schemas_are_registered() {
    let registry = Registry::start(Store { levels_are_fixed: true, ..Store::default() }).await;
    let relay = registry.relay(|_| {});
    let note = noted(&relay, "gaitway_gaps-value is id 3").await;
    assert!(note.contains("compatibility not set: 403 User is denied"), "{note}");
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn only_who_the_registry_knows_registers_and_no_secret_is_shown() {
    // me:hush
    let registry = Registry::start(Store { authorization: Some("Basic bWU6aHVzaA=="), ..Store::default() }).await;
    let user = |password: &str| {
        let password = Some(Secret::new(password));
        registry.relay(|config| (config.user, config.password) = (Some("me".to_owned()), password))
    };
    let relay = user("wrong-word");
    let note = noted(&relay, "401").await;
    assert!(note.contains("set schema_registry.user") && !note.contains("wrong-word"), "{note}");
    assert_serves(&relay).await;
    relay.stop().await.unwrap();
    assert_eq!(registry.changes(), [""; 0]);
    let relay = user("hush");
    noted(&relay, "gaitway_gaps-value is id 3").await;
    relay.stop().await.unwrap();

    let registry = Registry::start(Store { authorization: Some("Bearer hush"), ..Store::default() }).await;
    let relay = registry.relay(|config| config.token = Some(Secret::new("hush")));
    noted(&relay, "gaitway_gaps-value is id 3").await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_registry_that_comes_back_gets_the_schemas_and_nothing_waited_for_it() {
    let registry = Registry::start(Store { is_broken: true, ..Store::default() }).await;
    let relay = registry.relay(|_| {});
    noted(&relay, "503 no primary").await;
    assert_serves(&relay).await;
    registry.store.lock().unwrap().is_broken = false;
    noted(&relay, "gaitway_gaps-value is id 3").await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_registry_that_never_answers_keeps_the_relay_neither_from_serving_nor_from_ending() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let relay = Relay::start(|config| config.schema_registry.url = Some(url));
    let (asked, _) = silent.accept().await.unwrap();
    assert_serves(&relay).await;
    relay.stop().await.unwrap();
    drop(asked);
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_said_at_the_start() {
    let relay = Relay::start(|config| {
        config.schema_registry.url = Some("http://127.0.0.1:1".to_owned());
        config.schema_registry.token_file = Some("/no/such".into());
    });
    let error = relay.task.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("`schema_registry.token_file` cannot be used"), "{error}");
}

/// Reads one request: its head, and its body.
async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return (head, body.to_owned());
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the whole request: {text}");
    }
}

#[tokio::test]
async fn confluents_documented_answers_are_understood_byte_for_byte() {
    const TYPE: &str = "Content-Type: application/vnd.schemaregistry.v1+json";
    let bodies = [
        ("404 Not Found", r#"{"error_code":40401,"message":"Subject not found."}"#),
        ("200 OK", r#"{"compatibility": "FULL"}"#),
        ("200 OK", r#"{"id":1}"#),
        (
            "200 OK",
            r#"{"subject": "test","id": 1,"version": 3,"schema": "{\"type\": \"record\",\"name\": \"test\",\"fields\": []}"}"#,
        ),
        ("404 Not Found", r#"{"error_code":40403,"message":"Schema not found"}"#),
        ("200 OK", r#"{"compatibility": "FULL"}"#),
        ("422 Unprocessable Entity", r#"{"error_code":422,"message":"schema may not be empty"}"#),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let relay = Relay::start(|config| config.schema_registry.url = Some(url));
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut lines = Vec::new();
    for (status, body) in bodies {
        let (head, sent) = request(&mut stream).await;
        lines.push(head.lines().next().unwrap().to_owned());
        for header in [
            "accept: application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json",
            "content-type: application/vnd.schemaregistry.v1+json",
        ] {
            assert!(head.lines().any(|line| line == header), "{head}");
        }
        if lines.len() == 1 {
            let expected = json!({"schemaType": "JSON", "schema": published_json_schemas(&RAW).last().unwrap()});
            assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), expected);
        }
        let answer = format!("HTTP/1.1 {status}\r\n{TYPE}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    assert_eq!(
        lines,
        [
            "post /subjects/raw_sensor_data-value http/1.1",
            "put /config/raw_sensor_data-value http/1.1",
            "post /subjects/raw_sensor_data-value/versions http/1.1",
            "post /subjects/processed_activity-value http/1.1",
            "post /subjects/gaitway_gaps-value http/1.1",
            "put /config/gaitway_gaps-value http/1.1",
            "post /subjects/gaitway_gaps-value/versions http/1.1",
        ]
    );
    let note = noted(&relay, "422").await;
    assert!(note.contains("schema may not be empty"), "{note}");
    relay.stop().await.unwrap();
}
