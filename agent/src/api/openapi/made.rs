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
const ABOUT: &str = "What a gaitway agent knows of its phones, for programs. Answered are readers alone: programs on the agent's machine, and \
    browsers with the cookie of a link that `gaitway agent reader add` made. Times are RFC 3339, those of phones by the phone's clock.";

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

/// What may be null is there all the same: nothing is left out of an answer.
struct Always;

impl Modify for Always {
    fn modify(&self, document: &mut OpenApi) {
        document.servers = None;
        let schemas = document.components.iter_mut().flat_map(|components| components.schemas.values_mut());
        for schema in schemas {
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

/// What every path may answer.
impl IntoResponses for Problem {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [
            ("400", "The request cannot be read."),
            ("403", "The caller is none of the readers."),
            ("404", "There is no such phone or path."),
            ("405", "There is only GET and HEAD."),
            ("421", "The agent is not known under the name in `Host`."),
            ("429", "This address follows the events as often as it may."),
            ("500", "The list of readers cannot be used."),
            ("503", "It cannot be answered at present."),
        ]
        .map(|(status, description)| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            let response = ResponseBuilder::new().description(description).content(PROBLEM, content).build();
            (status.to_owned(), RefOr::T(response))
        })
        .into()
    }
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
