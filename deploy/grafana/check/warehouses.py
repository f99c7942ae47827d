"""Asking: each warehouse as its plugin would, and what plans are made."""

import math
import re
import sqlite3
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

import psycopg
import sqlglot

from check import plans

sys.path.append(str(Path(__file__).resolve().parents[2] / "snowflake/check"))
import duck  # noqa: E402



class Wrong(Exception):
    """What a plugin would not take, or take as something else."""


@dataclass
class Answer:
    """Columns with their kinds (time, number, text, or None where all values are null), and rows: times in milliseconds."""

    columns: list[str]
    kinds: list[str | None]
    rows: list[tuple]


def ms(moment):
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    whole = int(moment.replace(microsecond=0).timestamp()) * 1000
    return whole + moment.microsecond / 1000


def value(found):
    if isinstance(found, datetime):
        return ms(found)
    if found is None or isinstance(found, (str, bool, int)):
        return found
    return float(found)


class Postgres:
    TIMES, TEXTS, TRUTHS = (1082, 1114, 1184), (18, 19, 25, 1043), (16,)
    NUMBERS = (20, 21, 23, 700, 701, 1700)

    def __init__(self, url):
        self.connection = psycopg.connect(url, autocommit=True)
        # As Grafana's role could be anywhere.
        self.connection.execute("SET TimeZone = 'Asia/Tokyo'")
        self.connection.execute("SET default_transaction_read_only = on")
        self.connection.execute("SET statement_timeout = '60s'")
        self.url = url

    def kind(self, oid):
        for kind, known in (("time", self.TIMES), ("text", self.TEXTS), ("number", self.NUMBERS), ("bool", self.TRUTHS)):
            if oid in known:
                return kind
        raise Wrong(f"a column has PostgreSQL's type {oid}, which Grafana shows as text")

    def ask(self, sql, _times, _now_ms):
        # Grafana sends the text as it is, without parameters.
        cursor = self.connection.cursor().execute(sql.encode())
        kinds = [self.kind(column.type_code) for column in cursor.description]
        rows = [tuple(map(value, row)) for row in cursor.fetchall()]
        return Answer([column.name for column in cursor.description], kinds, rows)

    def breaking(self, statements):
        """Another connection, in which these are done and never committed."""
        other = Postgres(self.url)
        other.connection.autocommit = False
        other.connection.execute("SET TRANSACTION READ WRITE")
        for statement in statements("raw_data.", "processed_data."):
            other.connection.execute(statement)
        return other

    @cached_property
    def planner(self):
        # Rows that are not committed slow everybody down: made when all was asked.
        return plans.Planner(self.url)

    def scans(self, sql):
        return self.planner.scans(sql)


class Sqlite:
    """By Python's SQLite; types as the plugin takes them: by the first value that is not null."""

    def __init__(self, file):
        self.connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)

    def breaking(self, statements):
        """A copy in memory, in which these are done."""
        other = Sqlite(":memory:")
        other.connection = sqlite3.connect(":memory:")
        self.connection.backup(other.connection)
        for statement in statements("", ""):
            other.connection.execute(statement)
        return other

    def ask(self, sql, times, _now_ms):
        cursor = self.connection.execute(sql)
        columns = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
        kinds, converted = [], []
        for place, name in enumerate(columns):
            kind, cells = self.column(name, [row[place] for row in rows], name in times)
            kinds.append(kind)
            converted.append(cells)
        return Answer(columns, kinds, list(zip(*converted)) if rows else [])

    def column(self, name, cells, is_time):
        given = [cell for cell in cells if cell is not None]
        if is_time:
            if odd := [cell for cell in given if not isinstance(cell, str)]:
                raise Wrong(f"times of {name} are not text: {odd[0]!r}")
            return "time", [None if cell is None else ms(datetime.fromisoformat(cell)) for cell in cells]
        if not given:
            return None, cells
        if isinstance(given[0], str):
            kind, same = "text", str
        elif isinstance(given[0], int):
            kind, same = "number", int
        else:
            kind, same = "number", (int, float)
        if odd := [cell for cell in given if not isinstance(cell, same)]:
            raise Wrong(f"the plugin takes {name} for {type(given[0]).__name__} by its first value, and cuts {odd[0]!r}")
        return kind, cells

    def scans(self, sql):
        return plans.sqlite_scans(self.connection, sql)


PARTS = """
CREATE MACRO parts_of(object) AS TABLE
SELECT key, value ->> '$' AS value,
       CASE json_type(value) WHEN 'UBIGINT' THEN 'INTEGER' WHEN 'BIGINT' THEN 'INTEGER' ELSE json_type(value) END AS kind
  FROM json_each(object)
"""


class Snowflake:
    """DuckDB with the rows that PostgreSQL has, asked in Snowflake's words after translation."""

    KINDS = {"TIMESTAMP": "time", "DATE": "time", "VARCHAR": "text", "JSON": "text", "BOOLEAN": "bool"}

    def __init__(self, postgres, usage):
        self.database, self.is_broken = duck.made(), False
        for schema, table in (("RAW_DATA", "ACTIVITY_RECORDS"), ("PROCESSED_DATA", "USER_ACTIVITY_PROCESSED"),
                              ("RAW_DATA", "GAPS")):
            self.load(postgres.connection, schema, table)
        self.database.execute(PARTS)
        for statement in usage:
            self.database.execute(statement)

    def load(self, connection, schema, table):
        described = self.database.execute(f"DESCRIBE {schema}.{table}").fetchall()
        columns = ", ".join(f'"{name.lower()}"' for name, *_ in described)
        with tempfile.NamedTemporaryFile(suffix=".csv") as file:
            with connection.cursor().copy(f"COPY (SELECT {columns} FROM {schema}.{table}) TO STDOUT (FORMAT csv)") as copy:
                for chunk in copy:
                    file.write(chunk)
            file.flush()
            names = ", ".join(f'"{name}"' for name, *_ in described)
            texts = ", ".join(f"'{name}': 'VARCHAR'" for name, *_ in described)
            self.database.execute(
                f"INSERT INTO {schema}.{table} ({names}) SELECT * FROM read_csv('{file.name}', header=false, "
                f"auto_detect=false, columns={{{texts}}}, quote='\"', escape='\"')"
            )

    def ask(self, sql, _times, now_ms):
        # Alert rules ask by the warehouse's clock, which is the situation's here.
        sql = sql.replace("SYSDATE()", f"TO_TIMESTAMP_NTZ({now_ms}, 3)")
        cursor = self.database.execute(self.translated(sql))
        kinds = []
        for _, kind, *_ in cursor.description:
            name = str(kind)
            kinds.append(next((known for word, known in self.KINDS.items() if name.startswith(word)), "number"))
        return Answer([column[0] for column in cursor.description], kinds,
                      [tuple(map(self.value, row)) for row in cursor.fetchall()])

    def breaking(self, statements):
        """Itself, in a transaction which undoes the one before: nothing is asked afterwards of what it was."""
        if self.is_broken:
            self.database.rollback()
        self.database.begin()
        self.is_broken = True
        for statement in statements("RAW_DATA.", "PROCESSED_DATA."):
            self.database.execute(statement)
        return self

    @staticmethod
    def value(found):
        found = value(found)
        return None if isinstance(found, float) and math.isnan(found) else found

    def translated(self, sql):
        # One database is all there is here; Snowflake's own accounts of usage have a schema.
        sql = sql.replace("ACTIVITY_DB.ACTIVITY.", "").replace("SNOWFLAKE.ACCOUNT_USAGE.", "ACCOUNT_USAGE.")
        # A VARIANT's parts: a macro has their keys, their values as text, and their types by Snowflake's names.
        sql = re.sub(r", LATERAL FLATTEN\(INPUT => (\S+)\) AS (\w+)", r"CROSS JOIN LATERAL parts_of(\1) AS \2", sql)
        sql = re.sub(r"\bTYPEOF\((\w+)\.value\)", r"\1.kind", sql)
        return duck.in_duckdb(sqlglot.parse_one(sql, read="snowflake"))

    def scans(self, _sql):
        return []
