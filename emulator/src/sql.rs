//! The few statements of the SQL API that a check of a set-up needs. Pure: a statement and the tables make an answer.
//!
//! - What is not known here is an error of compilation, as anything that Snowflake does not know: never an empty result.

use serde_json::{Value, json};

use crate::streaming::refusal::Refusal;
use crate::streaming::table::Table;

/// The code of a statement that is not known here; `search` may know it.
pub(crate) const UNKNOWN: &str = "001003";

/// Who asks, and what there is.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) account: &'a str,
    pub(crate) user: &'a str,
    pub(crate) role: &'a str,
    /// Rights that the role lacks, with the objects' full names.
    pub(crate) withheld: &'a [(String, String)],
    pub(crate) database: &'a str,
    /// From the request; the schema of a name that has none.
    pub(crate) schema: Option<&'a str>,
    pub(crate) warehouse: Option<&'a str>,
    /// With the counts of their committed rows.
    pub(crate) tables: Vec<(&'a Table, u64)>,
}

/// Column names and rows; every value is text, as in the SQL API.
#[derive(Debug, PartialEq)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    fn new(columns: &[&str], rows: Vec<Vec<Option<String>>>) -> Self {
        Self { columns: columns.iter().map(|&column| column.to_owned()).collect(), rows }
    }

    /// The body of a 200.
    pub(crate) fn body(&self, handle: &str, now_ms: u64) -> Value {
        let types: Vec<_> =
            self.columns.iter().map(|name| json!({"name": name, "type": "text", "nullable": true})).collect();
        json!({
            "resultSetMetaData": {
                "numRows": self.rows.len(),
                "format": "jsonv2",
                "rowType": types,
                "partitionInfo": [{"rowCount": self.rows.len()}],
            },
            "data": self.rows,
            "code": "090001",
            "sqlState": "00000",
            "message": "Statement executed successfully.",
            "statementHandle": handle,
            "statementStatusUrl": format!("/api/v2/statements/{handle}"),
            "createdOn": now_ms,
        })
    }
}

/// Runs a statement.
pub(crate) fn run(statement: &str, session: &Session) -> Result<Rows, Refusal> {
    let statement = statement.trim().trim_end_matches(';').trim();
    let words: Vec<_> = statement.split_whitespace().collect();
    let upper: Vec<_> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let upper: Vec<_> = upper.iter().map(String::as_str).collect();
    match upper.as_slice() {
        ["SELECT", "COUNT(*)", "FROM", _] => {
            let (_, count) = session.table(words[3])?;
            Ok(Rows::new(&["COUNT(*)"], vec![vec![Some(count.to_string())]]))
        }
        ["DESC" | "DESCRIBE", "TABLE", _] => Ok(describe(session.table(words[2])?.0)),
        ["SHOW", "TABLES"] => Ok(session.show(None, None)),
        ["SHOW", "TABLES", "IN", "SCHEMA", _] => Ok(session.show(None, Some(words[4]))),
        ["SHOW", "TABLES", "LIKE", _] => Ok(session.show(Some(words[3]), None)),
        ["SHOW", "TABLES", "LIKE", _, "IN", "SCHEMA", _] => Ok(session.show(Some(words[3]), Some(words[6]))),
        ["SHOW", "GRANTS", "TO", "ROLE", role] if role.eq_ignore_ascii_case(session.role) => Ok(session.grants()),
        ["SELECT", ..] => session.select(statement[6..].trim()),
        _ => Err(unknown(statement)),
    }
}

impl Session<'_> {
    /// `DATABASE.SCHEMA.TABLE`, `SCHEMA.TABLE` or `TABLE`, plain or in double quotes.
    fn table(&self, name: &str) -> Result<(&Table, u64), Refusal> {
        let parts: Vec<_> = name.split('.').map(|part| part.trim_matches('"')).collect();
        let (database, schema, table) = match parts.as_slice() {
            [database, schema, table] => (Some(*database), Some(*schema), *table),
            [schema, table] => (None, Some(*schema), *table),
            [table] => (None, self.schema, *table),
            _ => return Err(missing(name)),
        };
        let found = self.tables.iter().find(|(known, _)| {
            database.is_none_or(|database| database.eq_ignore_ascii_case(self.database))
                && schema.is_some_and(|schema| schema.eq_ignore_ascii_case(&known.schema))
                && table.eq_ignore_ascii_case(&known.name)
        });
        found.copied().ok_or_else(|| missing(name))
    }

    fn show(&self, like: Option<&str>, schema: Option<&str>) -> Rows {
        let like = like.map(|like| like.trim_matches('\''));
        let schema = schema.and_then(|schema| schema.rsplit('.').next()).map(|schema| schema.trim_matches('"'));
        let matching = self.tables.iter().filter(|(table, _)| {
            like.is_none_or(|like| like == "%" || like.eq_ignore_ascii_case(&table.name))
                && schema.is_none_or(|schema| schema.eq_ignore_ascii_case(&table.schema))
        });
        let rows = matching.map(|(table, count)| {
            [&table.name, self.database, &table.schema, "TABLE", &count.to_string()]
                .map(|text| Some(text.to_owned()))
                .to_vec()
        });
        Rows::new(&["name", "database_name", "schema_name", "kind", "rows"], rows.collect())
    }

    /// What the role of `deploy/snowflake/03_roles.sql` has, without what is withheld.
    fn grants(&self) -> Rows {
        let database = self.database.to_ascii_uppercase();
        let mut rights = vec![("USAGE", "DATABASE", database.clone())];
        for (table, _) in &self.tables {
            let schema = format!("{database}.{}", table.schema);
            let name = format!("{schema}.{}", table.name);
            rights.extend([("USAGE", "SCHEMA", schema), ("INSERT", "TABLE", name.clone()), ("SELECT", "TABLE", name)]);
        }
        rights.dedup();
        let granted = rights
            .into_iter()
            .filter(|(right, _, name)| !self.withheld.iter().any(|(lacks, of)| lacks == right && of == name));
        let rows = granted
            .map(|(right, on, name)| [right, on, &name, "ROLE", self.role].map(|text| Some(text.to_owned())).to_vec());
        Rows::new(&["privilege", "granted_on", "name", "granted_to", "grantee_name"], rows.collect())
    }

    /// A list of context functions and literals.
    fn select(&self, list: &str) -> Result<Rows, Refusal> {
        let mut columns = Vec::new();
        let mut row = Vec::new();
        for item in list.split(',').map(str::trim) {
            let name = item.to_ascii_uppercase();
            row.push(match name.as_str() {
                "CURRENT_ACCOUNT()" => Some(self.account.to_owned()),
                "CURRENT_USER()" => Some(self.user.to_owned()),
                "CURRENT_ROLE()" => Some(self.role.to_owned()),
                "CURRENT_DATABASE()" => Some(self.database.to_owned()),
                "CURRENT_SCHEMA()" => self.schema.map(str::to_owned),
                "CURRENT_WAREHOUSE()" => self.warehouse.map(str::to_owned),
                _ if !item.is_empty() && item.bytes().all(|byte| byte.is_ascii_digit()) => Some(item.to_owned()),
                _ => return Err(unknown(item)),
            });
            columns.push(name);
        }
        Ok(Rows { columns, rows: vec![row] })
    }
}

fn describe(table: &Table) -> Rows {
    let rows = table.columns.iter().map(|column| {
        let nullable = if column.nullable { "Y" } else { "N" };
        [column.name.to_ascii_uppercase(), column.kind.sql(), "COLUMN".into(), nullable.into()].map(Some).to_vec()
    });
    Rows::new(&["name", "type", "kind", "null?"], rows.collect())
}

fn missing(name: &str) -> Refusal {
    let name = name.to_ascii_uppercase();
    Refusal::new(422, "002003", format!("SQL compilation error: Object '{name}' does not exist or not authorized."))
}

fn unknown(statement: &str) -> Refusal {
    Refusal::new(422, UNKNOWN, format!("SQL compilation error: the emulator does not know '{statement}'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streaming::table::ColumnType;

    fn ask(statement: &str) -> Result<Rows, Refusal> {
        let table = Table::new("RAW", "T").column("n", ColumnType::Number(19)).not_null("t", ColumnType::Text);
        run(
            statement,
            &Session {
                account: "A",
                user: "U",
                role: "R",
                withheld: &[("INSERT".to_owned(), "DB.RAW.T".to_owned())],
                database: "DB",
                schema: Some("RAW"),
                warehouse: None,
                tables: vec![(&table, 7)],
            },
        )
    }

    fn rows(statement: &str) -> Vec<Vec<Option<String>>> {
        ask(statement).unwrap().rows
    }

    #[test]
    fn it_says_who_asks() {
        let answer = ask("select current_role(), CURRENT_USER(), current_warehouse(), 1;").unwrap();
        assert_eq!(answer.columns, ["CURRENT_ROLE()", "CURRENT_USER()", "CURRENT_WAREHOUSE()", "1"]);
        assert_eq!(answer.rows, [[Some("R".into()), Some("U".into()), None, Some("1".into())]]);
    }

    #[test]
    fn it_counts_the_rows_of_a_table_by_any_of_its_names() {
        for name in ["T", "raw.t", "db.RAW.t", "\"DB\".\"RAW\".\"T\""] {
            assert_eq!(rows(&format!("SELECT count(*)\n FROM {name}")), [[Some("7".to_owned())]], "{name}");
        }
    }

    #[test]
    fn it_describes_and_lists_tables() {
        let described = rows("DESC TABLE DB.RAW.T");
        assert_eq!(described[0], ["N", "NUMBER(19,0)", "COLUMN", "Y"].map(|text| Some(text.to_owned())));
        assert_eq!(described[1][3], Some("N".into()));
        assert_eq!(rows("SHOW TABLES IN SCHEMA DB.RAW").len(), 1);
        assert_eq!(rows("SHOW TABLES LIKE 't' IN SCHEMA RAW").len(), 1);
        assert_eq!(rows("SHOW TABLES IN SCHEMA DB.OTHER").len(), 0);
    }

    #[test]
    fn it_tells_the_rights_of_its_role_but_those_withheld() {
        let granted: Vec<_> = rows("SHOW GRANTS TO ROLE r").into_iter().map(|row| row[0].clone().unwrap()).collect();
        assert_eq!(granted, ["USAGE", "USAGE", "SELECT"]);
        assert_eq!(ask("SHOW GRANTS TO ROLE OTHER").unwrap_err().status, 422);
    }

    #[test]
    fn what_it_does_not_know_is_an_error() {
        for statement in
            ["", "DROP TABLE T", "SELECT", "SELECT n FROM T", "SELECT count(*) FROM X", "DESC TABLE A.B.C.D"]
        {
            assert_eq!(ask(statement).unwrap_err().status, 422, "{statement}");
        }
    }
}
