"""Snowflake as the warehouse, by Snowflake's connector for Spark.

**Written from the connector's documentation; never run against an account.**

- Readings and windows are read one after the other, not as of one moment: a window whose readings came between is judged by its
  stored mean.
- What is to be written goes into a table of the job's own; one INSERT brings it from there to where it belongs, all or nothing,
  and leaves out what is there in this revision or a higher one. Nothing keeps two jobs from writing at the same time: do not.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from contract import RECLASSIFIED
from sources import READINGS, WINDOWS

CONNECTOR = "net.snowflake.spark.snowflake"
RAW, ACTIVITY = "ACTIVITY_DB.RAW_DATA.ACTIVITY_RECORDS", "ACTIVITY_DB.PROCESSED_DATA.USER_ACTIVITY_PROCESSED"
STAGING = "ACTIVITY_DB.PROCESSED_DATA.GAITWAY_RECLASSIFIED"

#: Before each column's name: several of them are words of Snowflake's.
PREFIX = "C_"


class Snowflake:
    """`account` is `ORGANIZATION-ACCOUNT`; `key` a file with the user's private key, PKCS#8 in PEM, not encrypted."""

    def __init__(self, spark: SparkSession, account: str, user: str, key: str, role: str, warehouse: str) -> None:
        lines = Path(key).read_text(encoding="ascii").splitlines()
        self._spark = spark
        self._options = {
            "sfURL": f"{account}.snowflakecomputing.com",
            "sfUser": user,
            "pem_private_key": "".join(line for line in lines if not line.startswith("-----")),
            "sfDatabase": "ACTIVITY_DB",
            "sfSchema": "PROCESSED_DATA",
            "sfRole": role,
            "sfWarehouse": warehouse,
            "sfTimezone": "UTC",
        }

    def readings(self) -> DataFrame:
        return self._read(readings_sql(), READINGS)

    def windows(self) -> DataFrame:
        return self._read(windows_sql(), WINDOWS)

    def write(self, windows: DataFrame) -> int:
        """Adds `windows`; gives how many."""
        staged = windows.select(*(F.col(name).alias(PREFIX + name.upper()) for name in WINDOWS))
        staged.write.format(CONNECTOR).options(**self._options, dbtable=STAGING).mode("overwrite").save()
        connection = self._spark._jvm.net.snowflake.spark.snowflake.Utils.getJDBCConnection(self._options)
        try:
            statement = connection.createStatement()
            added = statement.executeUpdate(insert_sql(f"{secrets.randbits(63):016x}"))
            statement.executeUpdate(f"DROP TABLE {STAGING}")
            return added
        finally:
            connection.close()

    def _read(self, sql: str, names: list[str]) -> DataFrame:
        rows = self._spark.read.format(CONNECTOR).options(**self._options).option("query", sql).load()
        whole = {"ordinal", "seq", "index", "message", "received", "time", "start", "end", "count", "revision"}
        columns = ((name, F.col(PREFIX + name.upper())) for name in names)
        return rows.select(
            *((column.cast("long") if name in whole else column).alias(name) for name, column in columns)
        )


def readings_sql() -> str:
    columns = {
        "device": "r.deviceId",
        "session": "r.sessionId",
        "agent": "r.agentId",
        **{
            key: f"IFF(REGEXP_LIKE({_part(key)}, '[0-9]{{1,18}}'), TRY_TO_NUMBER({_part(key)}), NULL)"
            for key in ("ordinal", "seq", "index")
        },
        "epoch": _part("epoch"),
        "message": "r.messageId",
        "received": "DATE_PART(EPOCH_MICROSECOND, r.receivedAt)",
        "time": "r.timestamp",
        "sensor": "r.sensorType",
        **{axis: f"r.{axis}" for axis in "xyz"},
    }
    return _select(READINGS, columns, RAW)


def windows_sql() -> str:
    columns = {
        "device": "r.deviceId",
        "session": "r.sessionId",
        "agent": "r.agentId",
        "start": "DATE_PART(EPOCH_NANOSECOND, r.windowStart)",
        "end": "DATE_PART(EPOCH_NANOSECOND, r.windowEnd)",
        "count": "r.sampleCount",
        "mean": "r.avg_magnitude",
        "confidence": "r.confidence",
        "activity": "r.activity",
        "classifier": "r.classifier",
        "revision": "r.revision",
    }
    return _select(WINDOWS, columns, ACTIVITY)


def insert_sql(epoch: str) -> str:
    """Once each, however often a task was run; and none that is there in this revision or a higher one."""
    return f"""INSERT INTO {ACTIVITY} (RECORD_METADATA, timestamp, sessionId, deviceId, activity, confidence, avg_magnitude,
  windowStart, windowEnd, sampleCount, classifier, revision, agentId)
SELECT OBJECT_CONSTRUCT_KEEP_NULL('agent', '{RECLASSIFIED}', 'epoch', '{epoch}', 'ordinal', 0, 'stream', 'activity',
    'seq', ROW_NUMBER() OVER (ORDER BY s.C_DEVICE, s.C_SESSION, s.C_AGENT, s.C_START), 'index', 0, 'clockSynced', NULL)::VARIANT,
  DATE_TRUNC('SECOND', TO_TIMESTAMP_NTZ(s.C_END, 9)), s.C_SESSION, s.C_DEVICE, s.C_ACTIVITY, s.C_CONFIDENCE, s.C_MEAN,
  TO_TIMESTAMP_NTZ(s.C_START, 9), TO_TIMESTAMP_NTZ(s.C_END, 9), s.C_COUNT, s.C_CLASSIFIER, s.C_REVISION, s.C_AGENT
FROM (SELECT DISTINCT * FROM {STAGING}) AS s
WHERE NOT EXISTS (SELECT 1 FROM {ACTIVITY} AS w WHERE w.deviceId = s.C_DEVICE AND w.sessionId = s.C_SESSION
  AND w.windowStart = TO_TIMESTAMP_NTZ(s.C_START, 9) AND w.revision >= s.C_REVISION)"""


def _part(key: str) -> str:
    return f"COALESCE(r.RECORD_METADATA:{key}::VARCHAR, r.RECORD_METADATA:headers.{key}::VARCHAR)"


def _select(names: list[str], columns: dict[str, str], table: str) -> str:
    return f"SELECT {', '.join(f'{columns[name]} AS {PREFIX}{name.upper()}' for name in names)} FROM {table} AS r"
