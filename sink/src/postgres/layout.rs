//! What the database must have, held against what it has.
//!
//! - A table is taken as it is if it has every column in its type; more columns are somebody's own, unless a row
//!   without them cannot be stored.

use gaitway_proto::schema::{self, Dialect, FieldType, PROGRESS, RAW, TABLES};

/// The schema of the watermark.
const PROGRESS_SCHEMA: &str = "raw_data";

/// Name, table, columns. By time for dashboards, by session for whoever looks at one, by window for the last revision.
pub(super) const INDEXES: [(&str, &str, &str); 4] = [
    ("raw_by_time", "raw_data.activity_records", "\"timestamp\""),
    ("raw_by_session", "raw_data.activity_records", "sessionid, sensortype, \"timestamp\""),
    ("activity_by_time", "processed_data.user_activity_processed", "\"timestamp\""),
    ("activity_by_window", "processed_data.user_activity_processed", "deviceid, sessionid, windowstart, revision"),
];

/// A column of a table in one of the schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// `schema.table`
    pub(super) table: String,
    pub(super) name: String,
    /// As `format_type` spells it.
    pub(super) kind: String,
    /// It must be given.
    pub(super) required: bool,
}

/// What the database has.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) schemas: Vec<String>,
    pub(super) columns: Vec<Column>,
    /// `schema.table` and the right that this user lacks.
    pub(super) forbidden: Vec<(String, String)>,
    /// Whether it has TimescaleDB, which makes parts of a table itself.
    pub(super) timescale: bool,
}

struct Wanted {
    /// `schema.table`
    table: String,
    ddl: Vec<String>,
    columns: Vec<(String, &'static str)>,
}

fn wanted(timescale: bool) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = TABLES
        .iter()
        .map(|table| {
            let kinds = std::iter::once(FieldType::Object).chain(table.fields.iter().map(|field| field.kind));
            Wanted {
                table: format!("{}.{}", table.schema, table.name).to_lowercase(),
                ddl: if table.name == RAW.name && !timescale {
                    schema::raw_in_partitions()
                } else {
                    vec![table.ddl(Dialect::Postgres)]
                },
                columns: table.columns().map(str::to_lowercase).zip(kinds.map(spelled)).collect(),
            }
        })
        .collect();
    wanted.push(Wanted {
        ddl: vec![progress()],
        table: format!("{PROGRESS_SCHEMA}.{PROGRESS}"),
        columns: vec![
            ("source".to_owned(), "text"),
            ("position".to_owned(), "bigint"),
            ("updated_at".to_owned(), "timestamp with time zone"),
        ],
    });
    wanted
}

/// What makes the table of marks.
pub(super) fn progress() -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {PROGRESS_SCHEMA}.{PROGRESS} (source text PRIMARY KEY, position bigint NOT NULL, \
         updated_at timestamptz NOT NULL DEFAULT now())"
    )
}

/// As `format_type` spells the type.
fn spelled(kind: FieldType) -> &'static str {
    match kind.sql(Dialect::Postgres) {
        "timestamp" => "timestamp without time zone",
        other => other,
    }
}

/// The names of all tables, `schema.table`.
pub(super) fn tables() -> Vec<String> {
    wanted(false).into_iter().map(|wanted| wanted.table).collect()
}

/// The schemas of all tables.
pub(super) fn schemas() -> Vec<String> {
    let mut schemas: Vec<String> = TABLES.iter().map(|table| table.schema.to_lowercase()).collect();
    schemas.sort();
    schemas.dedup();
    schemas
}

/// The statements that create what is missing, in order. The error is a sentence about a table that cannot be used.
pub(super) fn missing(found: &Found) -> Result<Vec<String>, String> {
    let mut statements = Vec::new();
    for schema in schemas() {
        if !found.schemas.contains(&schema) {
            statements.push(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        }
    }
    for Wanted { table, ddl, columns } in wanted(found.timescale) {
        let there: Vec<_> = found.columns.iter().filter(|column| column.table == table).collect();
        if there.is_empty() {
            statements.extend(ddl);
            let indexes = INDEXES.iter().filter(|(_, of, _)| *of == table);
            statements.extend(
                indexes.map(|(name, of, columns)| format!("CREATE INDEX IF NOT EXISTS {name} ON {of} ({columns})")),
            );
            continue;
        }
        if let Some(fault) = faults(&table, &columns, &there).into_iter().next() {
            return Err(fault);
        }
    }
    match found.forbidden.first() {
        Some((table, right)) if statements.is_empty() => Err(forbidden_said(table, right)),
        _ => Ok(statements),
    }
}

/// Why rows cannot be stored in `table` as it is.
fn faults(table: &str, wanted: &[(String, &'static str)], there: &[&Column]) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, kind) in wanted {
        match there.iter().find(|column| column.name == *name) {
            None => {
                faults.push(format!("table {table} lacks column {name} ({kind}): add it, or move the table away"));
            }
            Some(column) if column.kind != *kind => faults.push(format!(
                "column {name} of table {table} is {} and must be {kind}: change it, or move the table away",
                column.kind
            )),
            Some(_) => {}
        }
    }
    let foreign = there.iter().filter(|column| column.required && wanted.iter().all(|(name, _)| *name != column.name));
    faults.extend(foreign.map(|Column { name, .. }| {
        format!(
            "column {name} of table {table} is NOT NULL without a default, and gaitway does not know it: give it a default"
        )
    }));
    faults
}

/// A table, whether it is there, and why rows cannot be stored in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// `schema.table`
    pub(super) table: String,
    pub(super) is_there: bool,
    pub(super) faults: Vec<String>,
}

/// How each table stands.
pub(super) fn standing(found: &Found) -> Vec<Standing> {
    wanted(found.timescale)
        .into_iter()
        .map(|Wanted { table, columns, .. }| {
            let there: Vec<_> = found.columns.iter().filter(|column| column.table == table).collect();
            let mut faults = if there.is_empty() { Vec::new() } else { faults(&table, &columns, &there) };
            let forbidden = found.forbidden.iter().filter(|(of, _)| *of == table);
            faults.extend(forbidden.map(|(table, right)| forbidden_said(table, right)));
            Standing { is_there: !there.is_empty(), faults, table }
        })
        .collect()
}

fn forbidden_said(table: &str, right: &str) -> String {
    format!("its user may not {right} {table}: GRANT it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Found {
        let columns = wanted(false).into_iter().flat_map(|Wanted { table, columns, .. }| {
            columns.into_iter().map(move |(name, kind)| Column {
                table: table.clone(),
                name,
                kind: kind.to_owned(),
                required: false,
            })
        });
        Found { schemas: schemas(), columns: columns.collect(), ..Found::default() }
    }

    #[test]
    fn what_is_missing_is_created_in_order() {
        assert_eq!(missing(&whole()).unwrap(), Vec::<String>::new());
        let all = missing(&Found::default()).unwrap();
        assert_eq!(all.len(), 2 + 4 + 2 + INDEXES.len());
        assert!(all[0].starts_with("CREATE SCHEMA") && all[2].starts_with("CREATE TABLE"));
        assert!(all[2].ends_with("PARTITION BY RANGE (stored_at)") && all[3].ends_with("DEFAULT"), "{all:?}");
        let hyper = missing(&Found { timescale: true, ..Found::default() }).unwrap();
        assert!(hyper.len() == all.len() - 2 && !hyper.concat().contains("PARTITION"), "{hyper:?}");
        let mut found = whole();
        found.columns.retain(|column| column.table != "raw_data.gaps");
        let only = missing(&found).unwrap();
        assert!(only.len() == 1 && only[0].starts_with("CREATE TABLE IF NOT EXISTS RAW_DATA.GAPS"), "{only:?}");
    }

    #[test]
    fn a_table_of_another_form_is_named() {
        let mut found = whole();
        found.columns.retain(|column| column.name != "readingindex");
        assert!(missing(&found).unwrap_err().contains("raw_data.activity_records lacks column readingindex (bigint)"));
        let mut found = whole();
        found.columns[3].kind = "integer".to_owned();
        let said = missing(&found).unwrap_err();
        assert!(
            said.contains("column deviceid of table raw_data.activity_records is integer and must be text"),
            "{said}"
        );
        let mut found = whole();
        found.columns.push(Column { name: "mine".to_owned(), required: true, ..found.columns[0].clone() });
        assert!(missing(&found).unwrap_err().contains("column mine"));
        let mut found = whole();
        found.forbidden.push(("raw_data.gaps".to_owned(), "INSERT".to_owned()));
        assert!(missing(&found).unwrap_err().contains("may not INSERT raw_data.gaps"));
    }

    #[test]
    fn each_table_tells_all_its_faults() {
        assert!(standing(&whole()).iter().all(|table| table.is_there && table.faults.is_empty()));
        assert!(standing(&Found::default()).iter().all(|table| !table.is_there && table.faults.is_empty()));
        let mut found = whole();
        found.columns.retain(|column| column.name != "readingindex" && column.name != "userid");
        found.forbidden.push(("raw_data.activity_records".to_owned(), "INSERT".to_owned()));
        let faults: Vec<_> = standing(&found).into_iter().filter(|table| !table.faults.is_empty()).collect();
        assert_eq!((faults.len(), faults[0].faults.len()), (1, 3), "{faults:?}");
    }
}
