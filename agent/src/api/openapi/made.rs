//! Makes the document, and holds the file to it. `GAITWAY_RENEW=1` renews the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gaitway_proto::activity::Activity;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OneOfBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Schema, Type,
};
use utoipa::{IntoResponses, Modify, OpenApi as _};

use super::DOCUMENT;
use crate::api::problem::{PROBLEM, Problem};
use crate::api::shape::Motion;
use crate::api::{ROUTES, routes};

/// What stands above the paths.
const ABOUT: &str = "What a gaitway agent knows of its phones, for programs. Answered are readers alone: programs on the \
    agent's machine, and browsers with the cookie of a link that `gaitway agent reader add` made. Times are RFC 3339, \
    those of phones by the phone's clock.";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "gaitway agent", description = ABOUT),
    paths(
        routes::status,
        routes::phones,
        routes::phone,
        routes::windows,
        routes::activities,
        routes::follow,
        routes::document
    ),
    components(schemas(Motion, Problem)),
    modifiers(&Always)
)]
struct Document;

/// What holds of the whole document. What may be null is there all the same: nothing is left out of an answer.
struct Always;

impl Modify for Always {
    fn modify(&self, document: &mut OpenApi) {
        for operation in document.paths.paths.values_mut().filter_map(|path| path.get.as_mut()) {
            operation.tags = None;
        }
        let Some(components) = document.components.as_mut() else { return };
        components.responses = problems();
        for schema in components.schemas.values_mut() {
            all_of(schema, &mut |schema| {
                if let Schema::Object(object) = schema {
                    object.required = object.properties.keys().cloned().collect();
                }
            });
        }
    }
}

fn all_of(schema: &mut RefOr<Schema>, change: &mut impl FnMut(&mut Schema)) {
    let RefOr::T(schema) = schema else { return };
    change(schema);
    if let Schema::AllOf(all) = schema {
        all.items.iter_mut().for_each(|item| all_of(item, change));
    }
}

/// What is answered that was not asked for: the status, its name among the responses, and when.
const PROBLEMS: [(&str, &str, &str); 8] = [
    ("400", "Unreadable", "The path or the query cannot be read."),
    ("403", "NotAReader", "The caller is none of the readers."),
    ("404", "Unknown", "No such phone is known."),
    ("405", "OnlyRead", "The method is neither GET nor HEAD."),
    ("421", "Misdirected", "The agent is not known under the name in `Host`."),
    ("429", "Crowded", "This address follows the events as often as it may."),
    ("500", "NoReaders", "The list of readers cannot be used."),
    ("503", "NotNow", "It cannot be answered at present."),
];

/// What every path may answer.
pub(crate) enum Guarded {}

/// What paths of one phone may answer, too.
pub(crate) enum OfPhone {}

/// What the history may answer, too.
pub(crate) enum OfHistory {}

/// What viewers may be answered, too.
pub(crate) enum OfViewers {}

type Responses = BTreeMap<String, RefOr<Response>>;

impl IntoResponses for Guarded {
    fn responses() -> Responses {
        refused(&["403", "405", "421", "500"])
    }
}

impl IntoResponses for OfPhone {
    fn responses() -> Responses {
        refused(&["400", "404"])
    }
}

impl IntoResponses for OfHistory {
    fn responses() -> Responses {
        refused(&["503"])
    }
}

impl IntoResponses for OfViewers {
    fn responses() -> Responses {
        refused(&["429", "503"])
    }
}

fn refused(statuses: &[&str]) -> Responses {
    let of = PROBLEMS.into_iter().filter(|(status, ..)| statuses.contains(status));
    of.map(|(status, name, _)| (status.to_owned(), RefOr::Ref(Ref::from_response_name(name)))).collect()
}

fn problems() -> Responses {
    let all = PROBLEMS.into_iter().map(|(_, name, when)| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        (name.to_owned(), RefOr::T(ResponseBuilder::new().description(when).content(PROBLEM, content).build()))
    });
    all.collect()
}

fn words() -> ObjectBuilder {
    let all = [Activity::Stationary, Activity::Walking, Activity::Running, Activity::Sprinting];
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(all.map(Activity::as_str)))
}

pub(crate) fn activity() -> Schema {
    words().into()
}

pub(crate) fn activity_or_none() -> Schema {
    let none = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null));
    OneOfBuilder::new().item(none).item(words()).into()
}

#[test]
fn the_document_is_what_the_code_says() {
    let made = Document::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("GAITWAY_RENEW").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/openapi.json");
        return std::fs::write(path, made).unwrap();
    }
    assert!(made == DOCUMENT, "renew agent/src/api/openapi.json with GAITWAY_RENEW=1; the code says {made}");
}

#[test]
fn every_path_is_in_the_document_and_nothing_else() {
    let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
    let told: BTreeSet<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let routed: BTreeSet<_> = ROUTES.iter().map(|(path, _)| *path).collect();
    assert_eq!(told, routed);
}
