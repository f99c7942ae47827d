//! The views: only columns that exist, and the same names in every warehouse.

use sqlparser::ast::{CreateView, Statement};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, SQLiteDialect, SnowflakeDialect};

use crate::columns::{names, relation, tables, tables_of_postgres, tables_of_sqlite, unknown};
use crate::files::{Piece, pieces, snowflake, text};
use crate::set_up::reserved;

fn views(statements: &[Piece], dialect: &dyn Dialect) -> Vec<CreateView> {
    let view = |statement: &Piece| match statement.parse(dialect) {
        Ok(Statement::CreateView(view)) => Some(view),
        Ok(_) => None,
        Err(error) => panic!("{}: {error}", statement.words),
    };
    statements.iter().filter_map(view).collect()
}

fn of_snowflake() -> Vec<CreateView> {
    let files = snowflake();
    let views = |name: &str| {
        let (_, statements) = files.iter().find(|(file, _)| file == name).expect(name);
        views(statements, &SnowflakeDialect)
    };
    [views("06_views.sql"), views("07_quality.sql")].concat()
}

fn of_postgres() -> Vec<CreateView> {
    views(&pieces(&text("sink/src/postgres/views.sql"), &PostgreSqlDialect {}), &PostgreSqlDialect {})
}

fn of_sqlite() -> Vec<CreateView> {
    views(&pieces(&text("sink/src/sqlite/views.sql"), &SQLiteDialect {}), &SQLiteDialect {})
}

/// Names and columns in the order of the views.
fn shape(views: &[CreateView]) -> Vec<(String, Vec<String>)> {
    views.iter().map(|view| (relation(&view.name), names(&view.query))).collect()
}

#[test]
fn views_take_only_columns_that_the_tables_and_earlier_views_have() {
    let warehouses =
        [(of_snowflake(), tables()), (of_postgres(), tables_of_postgres()), (of_sqlite(), tables_of_sqlite())];
    for (views, mut known) in warehouses {
        for view in views {
            assert_eq!(unknown(&view.query, &known), None, "{}", view.name);
            known.insert(relation(&view.name), names(&view.query));
        }
    }
}

#[test]
fn every_warehouse_has_the_same_views() {
    let (snowflake, postgres, sqlite) = (shape(&of_snowflake()), shape(&of_postgres()), shape(&of_sqlite()));
    assert_eq!(snowflake, postgres);
    assert_eq!(snowflake, sqlite);
    assert_eq!(snowflake.len(), 19);
    for (view, columns) in snowflake {
        for name in columns.iter().chain([&view]) {
            assert!(!reserved(name), "{view}: {name}");
        }
    }
}
