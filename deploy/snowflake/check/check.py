"""Runs the views over rows whose answers are known (cases.py) and says which views answer otherwise.

    python check.py                          the views of Snowflake, put into DuckDB's words, in memory
    python check.py --postgres "host=... dbname=..."   those of PostgreSQL, by psql, in a database that is empty
    python check.py --sqlite         those of SQLite, in the version of this Python, in memory

Exit code 1 if any view answers otherwise. Snowflake itself is not asked.
"""

import argparse
import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

from cases import EXPECTED, ROWS, STORED, Noted

SETUP = Path(__file__).resolve().parent.parent
PROJECT = SETUP.parent.parent


def plain(value):
    """A value as all databases tell it: times as text to the millisecond, numbers to nine digits."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return round(float(value), 9)


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, dict):
        value = json.dumps(value)
    if isinstance(value, datetime):
        value = value.isoformat(sep=" ")
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def inserts(more=()):
    """`more` are columns of tables that have their own: table, column, value."""
    for table, rows in ROWS.items():
        for row in rows:
            row = row | {column: value for of, column, value in more if of == table}
            yield f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(map(literal, row.values()))})"


def tables(types):
    """The tables of 02_tables.sql in other types: name, columns with their types."""
    found, columns = [], []
    for line in (SETUP / "02_tables.sql").read_text().splitlines():
        if line.startswith("CREATE TABLE"):
            columns = []
            found.append((line.split()[5], columns))
        elif line.startswith("  ") and " COMMENT '" in line:
            name, kind = line.split(" COMMENT ")[0].split()
            columns.append(f"{name} {types[kind]}")
    return found


def duck():
    """Answers of Snowflake's views, by view."""
    import duckdb
    import sqlglot
    from sqlglot import exp

    # It says of each property that DuckDB has none.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")

    def in_duckdb(statement):
        """One statement of the set-up, or None if it is about something that DuckDB does not have."""
        if not isinstance(statement, exp.Create) or statement.kind not in ("TABLE", "VIEW"):
            return None
        for constraint in list(statement.find_all(exp.ColumnConstraint)):
            constraint.pop()
        statement.set("properties", None)
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

    for schema in ("RAW_DATA", "PROCESSED_DATA"):
        database.execute(f"CREATE SCHEMA {schema}")
    for file in ("02_tables.sql", "06_views.sql", "07_quality.sql"):
        for statement in sqlglot.parse((SETUP / file).read_text(), read="snowflake"):
            if sql := in_duckdb(statement):
                database.execute(sql)
    for sql in inserts():
        database.execute(sql)
    ask = lambda view, columns: database.execute(f"SELECT {columns} FROM {view}").fetchall()
    return {view: ask(view, columns) for view, (columns, _) in EXPECTED.items()}


def postgres(dsn):
    """Answers of PostgreSQL's views, by view. Two of its tables have a column of their own."""
    types = {"VARIANT": "jsonb", "NUMBER(19)": "bigint", "VARCHAR": "text", "FLOAT": "double precision",
             "TIMESTAMP_NTZ(9)": "timestamp"}

    def psql(sql):
        # Whoever asks may be in any time zone.
        done = subprocess.run(["psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", dsn], input=sql, text=True,
                              capture_output=True, env=os.environ | {"PGTZ": "Asia/Tokyo"})
        if done.returncode:
            sys.exit(f"psql: {done.stderr}")
        return done.stdout

    dated = ("RAW_DATA.ACTIVITY_RECORDS", "PROCESSED_DATA.USER_ACTIVITY_PROCESSED")
    made = ["CREATE SCHEMA RAW_DATA", "CREATE SCHEMA PROCESSED_DATA"]
    for table, columns in tables(types):
        own = ["stored_at timestamptz NOT NULL DEFAULT now()"] if table in dated else []
        made.append(f"CREATE TABLE {table} ({', '.join(columns + own)})")
    rows = inserts([(table, "stored_at", STORED.isoformat() + "Z") for table in dated])
    views = (PROJECT / "sink/src/postgres/views.sql").read_text()
    # Twice: they may be run again.
    psql(";\n".join(made) + ";\n" + views + views + ";\n".join(rows) + ";")
    answers = {}
    for view, (columns, _) in EXPECTED.items():
        told = psql(f"SELECT json_build_array({columns}) FROM activity.{view}")
        answers[view] = [json.loads(line) for line in told.splitlines()]
    return answers


def sqlite():
    """Answers of SQLite's views, by view; times are stored as gaitway's records spell them."""
    types = {"VARIANT": "TEXT", "NUMBER(19)": "INTEGER", "VARCHAR": "TEXT", "FLOAT": "REAL", "TIMESTAMP_NTZ(9)": "TEXT"}

    def spelled(column, value):
        if isinstance(value, dict):
            return json.dumps(value)
        if isinstance(value, datetime) and column == "timestamp":
            return value.isoformat(sep=" ")
        if isinstance(value, datetime):
            text = value.isoformat()
            return (text.rstrip("0") if "." in text else text) + "Z"
        return value

    def told(value):
        # Views tell times in one length alone, and only the table's own column otherwise.
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value):
            return value[:-1]
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", value):
            return value.replace(" ", "T")
        return value

    database = sqlite3.connect(":memory:")
    for table, columns in tables(types):
        database.execute(f"CREATE TABLE {table.split('.')[1]} ({', '.join(columns)})")
    database.executescript((PROJECT / "sink/src/sqlite/views.sql").read_text())
    for table, rows in ROWS.items():
        for row in rows:
            values = [spelled(column, value) for column, value in row.items()]
            marks = ", ".join("?" * len(row))
            database.execute(f"INSERT INTO {table.split('.')[1]} ({', '.join(row)}) VALUES ({marks})", values)
    answers = {}
    for view, (columns, _) in EXPECTED.items():
        # It has no booleans.
        is_flag = [column.strip() == "clock_synced" for column in columns.split(",")]
        rows = database.execute(f"SELECT {columns} FROM {view}").fetchall()
        answers[view] = [[bool(value) if flag and value in (0, 1) else told(value)
                          for flag, value in zip(is_flag, row)] for row in rows]
    return answers


def times(row):
    """Some have times as text, without a fraction where it is zero."""
    def one(value):
        if isinstance(value, str) and len(value) >= 19 and value[10] == "T":
            return datetime.fromisoformat(value)
        return value
    return [one(value) for value in row]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--postgres", metavar="DSN", help="ask PostgreSQL's views in this database")
    arguments.add_argument("--sqlite", action="store_true", help="ask SQLite's views")
    chosen = arguments.parse_args()
    dsn = chosen.postgres
    answers = postgres(dsn) if dsn else sqlite() if chosen.sqlite else duck()
    known = lambda value: value if not isinstance(value, Noted) else value.value if dsn else None
    wrong = 0
    for view, (columns, expected) in EXPECTED.items():
        tell = lambda rows: sorted((json.dumps([plain(v) for v in times(row)]) for row in rows))
        found, wanted = tell(answers[view]), tell([known(value) for value in row] for row in expected)
        if found == wanted:
            print(f"{view}: {len(wanted)} rows as expected")
            continue
        wrong += 1
        print(f"{view} ({columns}):")
        for row in wanted:
            if row not in found or found.count(row) != wanted.count(row):
                print(f"  expected {row}")
        for row in found:
            if row not in wanted or found.count(row) != wanted.count(row):
                print(f"  found    {row}")
    print(f"{len(EXPECTED) - wrong} of {len(EXPECTED)} views answer as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
