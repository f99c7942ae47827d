//! Tables: columns, their types, and what fits into them.
//!
//! - Names of tables and columns are plain identifiers: case does not distinguish them.
//! - [`Table::admit`] decides about one row alone; a row that does not fit is a row less, never a failed append.
//! - Keys of an admitted row have the spelling of the table's columns.

use std::collections::HashMap;

use gaitway_proto::schema::{self, FieldType, RECORD_METADATA};
use serde_json::{Map, Value};

/// A row as JSON.
pub type Row = Map<String, Value>;

/// The type of a column: those that gaitway's tables have, and a few that tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `NUMBER(p)`: an integer of at most `p` (1 to 38) decimal digits.
    Number(u8),
    /// `FLOAT`.
    Float,
    /// `VARCHAR`.
    Text,
    /// `BOOLEAN`.
    Boolean,
    /// `TIMESTAMP_NTZ(9)`.
    Timestamp,
    /// `VARIANT`: any JSON.
    Variant,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name as tests read it.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Whether a row may lack it.
    pub nullable: bool,
}

/// A table and the pipes that lead to it beside its default pipe `<TABLE>-STREAMING`.
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) pipes: Vec<String>,
    index: HashMap<String, usize>,
}

impl Table {
    /// The table `schema`.`name`, without columns yet.
    pub fn new(schema: &str, name: &str) -> Self {
        Self {
            schema: schema.to_ascii_uppercase(),
            name: name.to_ascii_uppercase(),
            columns: Vec::new(),
            pipes: Vec::new(),
            index: HashMap::new(),
        }
    }

    /// Its name, in capitals.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a column that may be null. A column of the same name is replaced.
    #[must_use]
    pub fn column(self, name: &str, kind: ColumnType) -> Self {
        self.with(Column { name: name.to_owned(), kind, nullable: true })
    }

    /// Adds a `NOT NULL` column.
    #[must_use]
    pub fn not_null(self, name: &str, kind: ColumnType) -> Self {
        self.with(Column { name: name.to_owned(), kind, nullable: false })
    }

    /// Adds a pipe with a name of its own.
    #[must_use]
    pub fn pipe(mut self, name: &str) -> Self {
        self.pipes.push(name.to_ascii_uppercase());
        self
    }

    fn with(mut self, column: Column) -> Self {
        let key = column.name.to_ascii_uppercase();
        if let Some(&at) = self.index.get(&key) {
            self.columns[at] = column;
        } else {
            self.index.insert(key, self.columns.len());
            self.columns.push(column);
        }
        self
    }

    /// Takes a row as it was sent. `Err` says which column it does not fit and why. Keys without a column are left out,
    /// or, if `strict`, make the row invalid.
    pub fn admit(&self, row: Row, strict: bool) -> Result<Row, String> {
        let mut admitted = Row::new();
        for (key, value) in row {
            let at = match self.index.get(key.as_str()) {
                Some(at) => *at,
                None => match self.index.get(&key.to_ascii_uppercase()) {
                    Some(at) => *at,
                    None if strict => return Err(format!("column {key} does not exist")),
                    None => continue,
                },
            };
            let column = &self.columns[at];
            if value.is_null() {
                if !column.nullable {
                    return Err(format!("column {}: null in a column that is not null", column.name));
                }
            } else if let Err(why) = column.kind.fits(&value) {
                return Err(format!("column {}: {why}", column.name));
            }
            if admitted.insert(column.name.clone(), value).is_some() {
                return Err(format!("column {}: given twice", column.name));
            }
        }
        match self.columns.iter().find(|column| !column.nullable && !admitted.contains_key(&column.name)) {
            Some(column) => Err(format!("column {}: missing in a row", column.name)),
            None => Ok(admitted),
        }
    }
}

impl ColumnType {
    /// As DDL writes it.
    pub fn sql(self) -> String {
        match self {
            Self::Number(precision) => format!("NUMBER({precision},0)"),
            Self::Float => "FLOAT".into(),
            Self::Text => "VARCHAR(16777216)".into(),
            Self::Boolean => "BOOLEAN".into(),
            Self::Timestamp => "TIMESTAMP_NTZ(9)".into(),
            Self::Variant => "VARIANT".into(),
        }
    }

    fn fits(self, value: &Value) -> Result<(), String> {
        let fits = match (self, value) {
            (Self::Variant, _)
            | (Self::Text, Value::String(_) | Value::Number(_) | Value::Bool(_))
            | (Self::Float, Value::Number(_))
            | (Self::Boolean, Value::Bool(_)) => true,
            (Self::Number(precision), Value::Number(number)) => integer(&number.to_string(), precision),
            (Self::Number(precision), Value::String(text)) => integer(text, precision),
            (Self::Float, Value::String(text)) => text.trim().parse::<f64>().is_ok(),
            (Self::Boolean, Value::String(text)) => matches!(text.to_ascii_lowercase().as_str(), "true" | "false"),
            (Self::Timestamp, Value::String(text)) => instant(text),
            (Self::Timestamp, Value::Number(number)) => number.is_i64(),
            _ => false,
        };
        if fits { Ok(()) } else { Err(format!("{} is no {}", shortened(value), self.sql())) }
    }
}

/// Whether `text` is an integer of at most `precision` digits; `1e3` and `5.0` are integers too.
fn integer(text: &str, precision: u8) -> bool {
    if let Ok(integer) = text.parse::<i128>() {
        return integer.unsigned_abs() < 10_u128.pow(u32::from(precision.min(38)));
    }
    // Beyond 2⁵³ an f64 is an integer whatever was meant, but then only its size counts.
    text.parse::<f64>().is_ok_and(|number| number.fract() == 0.0 && number.abs() < 10_f64.powi(i32::from(precision)))
}

/// Whether `text` is of one of the ISO forms that Snowflake documents for `AUTO`: `YYYY-MM-DD`, `T` or a space, `HH24:MI:SS`, perhaps
/// `.FF9` and a zone, `Z` or `±TZH:TZM` with or without its colon. jiff reads more than that.
fn instant(text: &str) -> bool {
    let form: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let zone = ["Z", "+99:99", "-99:99", "+9999", "-9999"].into_iter().find_map(|zone| form.strip_suffix(zone));
    let form = zone.filter(|form| form.len() >= "9999-99-99 99:99:99".len()).unwrap_or(&form);
    let whole = match form.split_once('.') {
        Some((whole, fraction)) if (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b == b'9') => whole,
        Some(_) => return false,
        None => form,
    };
    matches!(whole, "9999-99-99 99:99:99" | "9999-99-99T99:99:99")
        && (text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok())
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// gaitway's own tables, from the one list of fields.
pub fn gaitway_tables() -> Vec<Table> {
    let kind = |kind| match kind {
        FieldType::Int => ColumnType::Number(19),
        FieldType::Float => ColumnType::Float,
        FieldType::Text => ColumnType::Text,
        FieldType::Object => ColumnType::Variant,
        FieldType::Instant | FieldType::SeedInstant => ColumnType::Timestamp,
    };
    let tables = schema::TABLES.iter().map(|table| {
        let start = Table::new(table.schema, table.name).column(RECORD_METADATA, ColumnType::Variant);
        table.fields.iter().fold(start, |to, field| to.column(field.name, kind(field.kind)))
    });
    tables.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Row {
        let Value::Object(row) = value else { panic!("not an object: {value}") };
        row
    }

    fn table() -> Table {
        Table::new("S", "T").column("Name", ColumnType::Text).not_null("n", ColumnType::Number(19))
    }

    #[test]
    fn columns_match_whatever_their_case() {
        assert_eq!(table().admit(row(json!({"NAME": "a", "N": 1})), true), Ok(row(json!({"Name": "a", "n": 1}))));
        let twice = table().admit(row(json!({"name": "a", "NAME": "b", "n": 1})), true);
        assert_eq!(twice, Err("column Name: given twice".into()));
    }

    #[test]
    fn keys_without_a_column_are_left_out_or_refused() {
        assert_eq!(table().admit(row(json!({"n": 1, "more": 2})), false), Ok(row(json!({"n": 1}))));
        assert_eq!(table().admit(row(json!({"n": 1, "more": 2})), true), Err("column more does not exist".into()));
    }

    #[test]
    fn what_must_be_there_is_there() {
        assert_eq!(table().admit(Row::new(), false), Err("column n: missing in a row".into()));
        assert!(table().admit(row(json!({"n": null})), false).is_err());
    }

    #[test]
    fn values_fit_their_columns() {
        use ColumnType::{Boolean, Float, Number, Text, Timestamp, Variant};
        let fits = [
            (Number(19), json!(-5)),
            (Number(19), json!("12")),
            (Number(19), json!(1e3)),
            (Number(19), json!(9_999_999_999_999_999_999_u64)),
            (Float, json!(1)),
            (Float, json!("1.5")),
            (Float, json!("NaN")),
            (Text, json!("")),
            (Text, json!(7)),
            (Boolean, json!("TRUE")),
            (Timestamp, json!("2023-11-14 22:13:22")),
            (Timestamp, json!("2023-11-14T22:13:22.123456789Z")),
            (Timestamp, json!("2023-11-14 22:13:22.5+0100")),
            (Timestamp, json!("2023-11-14T22:13:22-01:00")),
            (Timestamp, json!(1_700_000_000)),
            (Variant, json!([1, {"a": null}])),
        ];
        for (kind, value) in fits {
            assert_eq!(kind.fits(&value), Ok(()), "{kind:?} {value}");
        }
        let misfits = [
            (Number(19), json!(1.5)),
            (Number(19), json!("a")),
            (Number(19), json!(10_000_000_000_000_000_000_u64)),
            (Number(19), json!(true)),
            (Float, json!("a")),
            (Float, json!({})),
            (Text, json!([])),
            (Boolean, json!(1)),
            (Timestamp, json!("yesterday")),
            (Timestamp, json!("2023-13-14 22:13:22")),
            (Timestamp, json!("20231114T221322Z")),
            (Timestamp, json!("2023-11-14t22:13:22z")),
            (Timestamp, json!("2023-11-14T22:13:22,5Z")),
            (Timestamp, json!("2023-11-14T22:13:22+01")),
            (Timestamp, json!("2023-11-14T22:13:22Z[UTC]")),
            (Timestamp, json!("2023-11-14T22:13:22.Z")),
            (Timestamp, json!(1.5)),
        ];
        for (kind, value) in misfits {
            assert!(kind.fits(&value).is_err(), "{kind:?} {value}");
        }
    }

    #[test]
    fn a_long_value_is_shortened_in_the_message() {
        let message = ColumnType::Float.fits(&json!("ä".repeat(1_000))).unwrap_err();
        assert!(message.chars().count() < 100, "{message}");
    }

    #[test]
    fn gaitways_tables_have_their_columns() {
        let tables = gaitway_tables();
        let raw = tables.iter().find(|table| table.name == "ACTIVITY_RECORDS").unwrap();
        let columns: Vec<_> = raw.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(columns, schema::RAW.columns().collect::<Vec<_>>());
    }
}
