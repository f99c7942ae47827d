//! Prints the JSON Schema of a topic's records: `cargo run -p gaitway-proto --example json_schema -- TOPIC VERSION`. See
//! `proto/schemas/README.md`.

use std::io::Write as _;

use gaitway_proto::schema::{TABLES, json_schema};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (topic, version) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let table = TABLES.iter().find(|table| table.topic == topic);
    let (Some(table), Ok(version)) = (table, version.parse()) else {
        let topics = TABLES.map(|table| table.topic).join(", ");
        return Err(format!("give a topic ({topics}) and the number of its version").into());
    };
    Ok(std::io::stdout().write_all(json_schema(table, version).as_bytes())?)
}
