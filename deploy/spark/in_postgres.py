"""A PostgreSQL warehouse: read in parallel as of one moment, written in one transaction.

- Of a job's connections all read the snapshot of the first one, so that readings and windows fit each other.
- Two jobs never write at the same time, nor does `gaitway reclassify --write` beside one: whoever is second is refused.
- What is to be written goes into a table of the job's own, in parallel, and from there in one transaction to where it belongs:
  a job that is killed wrote nothing or everything.
"""

from __future__ import annotations

import contextlib
import os
import secrets

from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession

from contract import RECLASSIFIED
from sources import READINGS, WINDOWS

RAW, ACTIVITY = "raw_data.activity_records", "processed_data.user_activity_processed"

#: By which those who write revisions know of each other: `gaitrecl` in ASCII, as sink/src/postgres/revise.rs has it.
LOCK = 0x6761_6974_7265_636C

#: Tables of the job's own: how their names begin, and what is said of them.
STAGING, COMMENT = "gaitway_reclassified_", "What a run of reclassify.py is about to add"

#: Rows fetched at a time.
FETCH = 20_000

#: 2262-04-11, as far as nanoseconds in 64 bits go.
LAST_MICROS = 9_223_372_036_854_775

#: 2000-01-01. A reading's time is the phone's, and a wild one must not make all partitions but one empty.
PLAUSIBLE = 946_684_800_000_000_000
NOW = "(now() AT TIME ZONE 'UTC' + interval '1 day')"


class Refused(Exception):
    """A sentence."""


class Postgres:
    """`url` is a JDBC URL; user and password come from PGUSER and PGPASSWORD where it has none."""

    def __init__(self, spark: SparkSession, url: str, partitions: int) -> None:
        if not url.startswith("jdbc:postgresql:"):
            # Not repeated: it may have a password.
            raise Refused("--url: jdbc:postgresql://HOST:PORT/DATABASE is expected")
        self._spark, self._url, self._partitions = spark, url, partitions
        known = {"user": os.environ.get("PGUSER"), "password": os.environ.get("PGPASSWORD")}
        self._login = {key: value for key, value in known.items() if value is not None}
        self._reader, self._writer = self._open(), self._open()
        self._snapshot: str | None = None

    def begin(self, write: bool) -> None:
        """From here on nobody else writes revisions, if `write`; what is read is of this moment."""
        if write and self._ask(f"SELECT pg_try_advisory_lock({LOCK})") != "t":
            raise Refused("another run writes revisions into this database now: wait for its end")
        self._reader.commit()
        _run(self._reader, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self._snapshot = self._ask("SELECT pg_export_snapshot()")

    def readings(self) -> DataFrame:
        name = {key: _number(key) for key in ("ordinal", "seq", "index")}
        columns = {
            "device": "r.deviceid",
            "session": "r.sessionid",
            "agent": "r.agentid",
            **name,
            "epoch": _part("epoch"),
            "message": "r.messageid",
            "received": "(EXTRACT(epoch FROM r.receivedat) * 1000000)::bigint",
            "time": 'r."timestamp"',
            "sensor": "r.sensortype",
            **{axis: f"r.{axis}" for axis in "xyz"},
        }
        bounds = self._bounds(RAW, str(PLAUSIBLE), f"(EXTRACT(epoch FROM {NOW}) * 1000000000)::bigint")
        return self._read(_select(READINGS, columns, RAW), "time", bounds)

    def windows(self) -> DataFrame:
        columns = {
            "device": "r.deviceid",
            "session": "r.sessionid",
            "agent": "r.agentid",
            "start": _nanoseconds("r.windowstart"),
            "end": _nanoseconds("r.windowend"),
            "count": "r.samplecount",
            "mean": "r.avg_magnitude",
            "confidence": "r.confidence",
            "activity": "r.activity",
            "classifier": "r.classifier",
            "revision": "r.revision",
        }
        # The end, to the second, has an index.
        sql = _select([*WINDOWS, "at"], columns | {"at": 'r."timestamp"'}, ACTIVITY)
        bounds = self._bounds(ACTIVITY, f"timestamp 'epoch' + {PLAUSIBLE // 1000} * interval '1 microsecond'", NOW)
        return self._read(sql, "at", bounds).select(*WINDOWS)

    def write(self, windows: DataFrame, schema: str) -> int:
        """Adds `windows` as `gaitway reclassify --write` does; gives how many."""
        self._clear(schema)
        epoch = f"{secrets.randbits(63):016x}"
        staging = f"{_quoted(schema)}.{_quoted(STAGING + epoch)}"
        _run(
            self._writer,
            f'CREATE UNLOGGED TABLE {staging} (device text, session text, agent text, start bigint, "end" bigint, '
            "count bigint, mean double precision, activity text, confidence double precision, classifier text, "
            "revision bigint)",
        )
        _run(self._writer, f"COMMENT ON TABLE {staging} IS '{COMMENT}'")
        self._writer.commit()
        try:
            windows.write.format("jdbc").options(**self._options(), dbtable=staging).mode("append").save()
            added = _run(self._writer, _insert(staging, epoch))
            _run(self._writer, f"DROP TABLE {staging}")
            self._writer.commit()
        except Exception:
            # What failed is said, not that nothing can be dropped either: the next run does that.
            with contextlib.suppress(Py4JJavaError):
                self._writer.rollback()
                self._clear(schema)
            raise
        return added

    def _clear(self, schema: str) -> None:
        """Drops what runs left that were killed. Nobody else writes now, and only tables are dropped that this job made."""
        found = self._ask(
            f"""SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                 WHERE n.nspname = {_literal(schema)} AND c.relkind = 'r' AND c.relname ~ '^{STAGING}[0-9a-f]{{16}}$'
                   AND pg_get_userbyid(c.relowner) = current_user AND obj_description(c.oid, 'pg_class') = '{COMMENT}'""",
            self._writer,
        )
        for table in (found or "").split():
            try:
                # A task of a killed run may still write into it: the next run drops it.
                _run(self._writer, "SET LOCAL lock_timeout TO '2s'")
                _run(self._writer, f"DROP TABLE {table}")
                self._writer.commit()
            except Py4JJavaError:
                self._writer.rollback()

    def close(self) -> None:
        for connection in (self._reader, self._writer):
            connection.close()

    def _open(self) -> JavaObject:
        properties = self._spark._jvm.java.util.Properties()
        for key, value in self._login.items():
            properties.setProperty(key, value)
        try:
            driver = self._spark._jvm.org.postgresql.Driver()
        except TypeError:
            raise Refused(
                "the JDBC driver is not there: give spark-submit --packages org.postgresql:postgresql:42.7.4"
            ) from None
        connection = driver.connect(self._url, properties)
        connection.setAutoCommit(False)
        # A commit waits for the disk, and the moment is held for as long as it takes, whatever the server's defaults are.
        _run(connection, "SET SESSION synchronous_commit TO on")
        _run(connection, "SET SESSION idle_in_transaction_session_timeout TO 0")
        connection.commit()
        return connection

    def _options(self) -> dict[str, str]:
        return {"url": self._url, "driver": "org.postgresql.Driver", **self._login}

    def _read(self, sql: str, column: str, bounds: tuple[str, str]) -> DataFrame:
        snapshot = f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{self._snapshot}'"
        reader = self._spark.read.format("jdbc").options(**self._options(), partitionColumn=column)
        reader = reader.options(lowerBound=bounds[0], upperBound=bounds[1], numPartitions=self._partitions)
        return reader.options(dbtable=f"({sql}) AS read", fetchsize=FETCH, sessionInitStatement=snapshot).load()

    def _bounds(self, table: str, plausible: str, now: str) -> tuple[str, str]:
        """Least and greatest time of a table's rows, as far as they are plausible; by these it is read in parts."""
        least = f'GREATEST(COALESCE(min("timestamp"), {plausible}), {plausible})'
        greatest = f'GREATEST(LEAST(max("timestamp"), {now}), {least})'
        least, greatest = (self._ask(f"SELECT ({bound})::text FROM {table}") for bound in (least, greatest))
        return least, greatest

    def _ask(self, sql: str, connection: JavaObject | None = None) -> str | None:
        statement = (connection or self._reader).createStatement()
        try:
            rows = statement.executeQuery(sql)
            rows.next()
            return rows.getString(1)
        finally:
            statement.close()


def _run(connection: JavaObject, sql: str) -> int:
    statement = connection.createStatement()
    try:
        return statement.executeUpdate(sql)
    finally:
        statement.close()


def _part(key: str) -> str:
    return f"COALESCE(r.record_metadata ->> '{key}', r.record_metadata #>> '{{headers,{key}}}')"


def _number(key: str) -> str:
    text = _part(key)
    return f"CASE WHEN {text} ~ '^[0-9]{{1,18}}$' THEN ({text})::bigint END"


def _nanoseconds(column: str) -> str:
    """No more than fits: a phone's wild time may be of a later century than 64 bits of nanoseconds know."""
    micros = f"(EXTRACT(epoch FROM {column}) * 1000000)::bigint"
    within = f"GREATEST(LEAST({micros}, {LAST_MICROS}), -{LAST_MICROS})"
    return f"CASE WHEN {column} IS NOT NULL THEN {within} * 1000 END"


def _select(names: list[str], columns: dict[str, str], table: str) -> str:
    return f"SELECT {', '.join(f'{columns[name]} AS {_quoted(name)}' for name in names)} FROM {table} AS r"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _insert(staging: str, epoch: str) -> str:
    """Once each, however often a task was run; and none that is there in this revision or a higher one."""
    time = "timestamp '1970-01-01' + (s.{} / 1000) * interval '1 microsecond'"
    start, end = time.format("start"), time.format('"end"')
    return f"""
INSERT INTO {ACTIVITY} (record_metadata, "timestamp", sessionid, deviceid, activity, confidence, avg_magnitude, windowstart,
                        windowend, samplecount, classifier, revision, agentid)
SELECT jsonb_build_object('agent', '{RECLASSIFIED}', 'epoch', '{epoch}', 'ordinal', 0, 'stream', 'activity',
         'seq', row_number() OVER (ORDER BY s.device, s.session, s.agent, s.start), 'index', 0, 'clockSynced', NULL),
       date_trunc('second', {end}), s.session, s.device, s.activity, s.confidence, s.mean, {start}, {end}, s.count, s.classifier,
       s.revision, s.agent
  FROM (SELECT DISTINCT * FROM {staging}) AS s
 WHERE NOT EXISTS (SELECT 1 FROM {ACTIVITY} AS w
                    WHERE w.deviceid = s.device AND w.sessionid = s.session AND w.windowstart = {start}
                      AND w.revision >= s.revision)"""
