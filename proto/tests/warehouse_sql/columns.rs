//! Whether a query names only relations and columns that exist.
//!
//! - Every column is qualified by the alias of its relation; one that is not is an error.
//! - Names are compared without regard to case, as all three warehouses do.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use gaitway_proto::schema::TABLES;
use sqlparser::ast::{Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, TableFactor, Visit, Visitor};

/// Columns by relation, in lower case.
pub(crate) type Relations = BTreeMap<String, Vec<String>>;

/// The tables of the contract.
pub(crate) fn tables() -> Relations {
    let name = |schema: &str, name: &str| format!("{schema}.{name}").to_lowercase();
    TABLES.iter().map(|t| (name(t.schema, t.name), t.columns().map(str::to_lowercase).collect())).collect()
}

/// The tables as PostgreSQL has them: it notes itself when a row was stored.
pub(crate) fn tables_of_postgres() -> Relations {
    let mut tables = tables();
    for dated in ["raw_data.activity_records", "processed_data.user_activity_processed"] {
        tables.get_mut(dated).expect("a table of the contract").push("stored_at".to_owned());
    }
    tables
}

/// The tables as SQLite has them, which knows no schemas.
pub(crate) fn tables_of_sqlite() -> Relations {
    let bare = |name: String| name.rsplit_once('.').expect("schema and name").1.to_owned();
    tables().into_iter().map(|(name, columns)| (bare(name), columns)).collect()
}

/// The names of a query's columns.
pub(crate) fn names(query: &Query) -> Vec<String> {
    let mut body = query.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left;
    }
    let SetExpr::Select(select) = body else { panic!("neither SELECT nor UNION: {body}") };
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => lower(alias),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(path)) => lower(path.last().expect("a path has an end")),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => lower(name),
        other => panic!("a column without a name: {other}"),
    };
    select.projection.iter().map(name).collect()
}

/// The first thing that `query` names and `known` does not have.
pub(crate) fn unknown(query: &Query, known: &Relations) -> Option<String> {
    let mut search = Search { known: vec![known.clone()], scopes: Vec::new() };
    match query.visit(&mut search) {
        ControlFlow::Break(what) => Some(what),
        ControlFlow::Continue(()) => None,
    }
}

/// A relation's name in lower case, without the schema of the views.
pub(crate) fn relation(name: &ObjectName) -> String {
    let name = name.to_string().to_lowercase();
    name.strip_prefix("activity.").map(str::to_owned).unwrap_or(name)
}

fn lower(name: &Ident) -> String {
    name.value.to_lowercase()
}

struct Search {
    /// Relations, with those of `WITH` on top.
    known: Vec<Relations>,
    /// Columns by alias, the innermost SELECT last.
    scopes: Vec<Relations>,
}

impl Search {
    fn scope(&self, select: &Select) -> Result<Relations, String> {
        let known = self.known.last().expect("the first is never taken away");
        let factors =
            select.from.iter().flat_map(|f| std::iter::once(&f.relation).chain(f.joins.iter().map(|j| &j.relation)));
        let mut scope = Relations::new();
        for factor in factors {
            let TableFactor::Table { name, alias: Some(alias), .. } = factor else {
                return Err(format!("{factor} is no relation with an alias"));
            };
            let columns = known.get(&relation(name)).ok_or_else(|| format!("relation {name}"))?;
            scope.insert(lower(&alias.name), columns.clone());
        }
        Ok(scope)
    }
}

impl Visitor for Search {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let mut known = self.known.last().expect("the first is never taken away").clone();
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            known.insert(lower(&table.alias.name), names(&table.query));
        }
        self.known.push(known);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<String> {
        self.known.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        match self.scope(select) {
            Ok(scope) => self.scopes.push(scope),
            Err(what) => return ControlFlow::Break(what),
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &Select) -> ControlFlow<String> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        match expr {
            Expr::Identifier(name) => ControlFlow::Break(format!("{name} without its relation")),
            Expr::CompoundIdentifier(path) => {
                let [alias, column] = path.as_slice() else { return ControlFlow::Break(expr.to_string()) };
                let columns = self.scopes.iter().rev().find_map(|scope| scope.get(&lower(alias)));
                if columns.is_some_and(|columns| columns.contains(&lower(column))) {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(expr.to_string())
                }
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

#[test]
fn a_column_that_no_table_has_is_found_wherever_it_stands() {
    use sqlparser::{dialect::SnowflakeDialect, parser::Parser};
    let query = |sql: &str| *Parser::new(&SnowflakeDialect).try_with_sql(sql).unwrap().parse_query().unwrap();
    for (sql, expected) in [
        ("SELECT r.messageId FROM RAW_DATA.ACTIVITY_RECORDS AS r", None),
        ("SELECT r.messageIds FROM RAW_DATA.ACTIVITY_RECORDS AS r", Some("r.messageIds")),
        ("SELECT messageId FROM RAW_DATA.ACTIVITY_RECORDS AS r", Some("messageId without its relation")),
        ("SELECT r.x FROM RAW_DATA.ACTIVITY AS r", Some("relation RAW_DATA.ACTIVITY")),
        ("SELECT r.x FROM RAW_DATA.GAPS AS r", Some("r.x")),
        ("SELECT SUM(r.x) OVER (ORDER BY r.w) AS s FROM RAW_DATA.ACTIVITY_RECORDS AS r", Some("r.w")),
        ("SELECT r.METADATA:agent::VARCHAR AS a FROM RAW_DATA.ACTIVITY_RECORDS AS r", Some("r.METADATA")),
        ("SELECT r.x FROM RAW_DATA.ACTIVITY_RECORDS AS r GROUP BY r.u", Some("r.u")),
        ("SELECT r.x FROM RAW_DATA.ACTIVITY_RECORDS AS r QUALIFY MAX(r.t) OVER () = 1", Some("r.t")),
        ("WITH c AS (SELECT r.x FROM RAW_DATA.ACTIVITY_RECORDS AS r) SELECT c.y FROM c AS c", Some("c.y")),
        (
            "SELECT r.x FROM RAW_DATA.ACTIVITY_RECORDS AS r WHERE EXISTS (SELECT 1 FROM RAW_DATA.GAPS AS g WHERE g.x = r.x)",
            Some("g.x"),
        ),
    ] {
        assert_eq!(unknown(&query(sql), &tables()).as_deref(), expected, "{sql}");
    }
}
