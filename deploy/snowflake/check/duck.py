"""Snowflake's words put into DuckDB's, and a DuckDB that has Snowflake's tables and views."""

import logging
from pathlib import Path

import duckdb
import sqlglot
from sqlglot import exp

SETUP = Path(__file__).resolve().parent.parent
# It says of each property that DuckDB has none.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


def in_duckdb(statement):
    """A parsed statement of Snowflake's in DuckDB's words."""
    for cast in list(statement.find_all(exp.Cast)):
        # A text in a VARIANT becomes itself, not its JSON.
        if isinstance(cast.this, exp.JSONExtract) and cast.to.is_type("varchar"):
            inner = cast.this
            cast.replace(exp.JSONExtractScalar(this=inner.this, expression=inner.expression))
    for kind in list(statement.find_all(exp.DataType)):
        if kind.is_type("variant"):
            kind.replace(exp.DataType.build("json"))
    # DuckDB makes times of BIGINT alone.
    return statement.sql("duckdb").replace("DECIMAL(38, 0)", "BIGINT").replace("DECIMAL(14, 0)", "BIGINT")


def made():
    """A database in memory with the tables, empty, and the views of the set-up; what DuckDB has no word for is left out."""
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    for schema in ("RAW_DATA", "PROCESSED_DATA"):
        database.execute(f"CREATE SCHEMA {schema}")
    for file in ("02_tables.sql", "06_views.sql", "07_quality.sql"):
        for statement in sqlglot.parse((SETUP / file).read_text(), read="snowflake"):
            if not isinstance(statement, exp.Create) or statement.kind not in ("TABLE", "VIEW"):
                continue
            for constraint in list(statement.find_all(exp.ColumnConstraint)):
                constraint.pop()
            statement.set("properties", None)
            database.execute(in_duckdb(statement))
    return database
