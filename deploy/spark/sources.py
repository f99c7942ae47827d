"""What readings and windows come from, as columns that the jobs know.

Readings: device, session, agent, ordinal, epoch, seq, index, message, received (µs), time (ns), sensor, x, y, z.
Windows: device, session, agent, start, end (ns), count, mean, confidence, activity, classifier, revision.

Kafka and files here; PostgreSQL and Snowflake in modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from contract import header, micros, number

READINGS = "device session agent ordinal epoch seq index message received time sensor x y z".split()
WINDOWS = "device session agent start end count mean confidence activity classifier revision".split()

#: Of a record's value those keys that are needed.
RAW_VALUE = (
    "messageId long, sessionId string, deviceId string, sensorType string, x double, y double, z double, timestamp long, "
    "agentId string, receivedAt string"
)
ACTIVITY_VALUE = (
    "sessionId string, deviceId string, activity string, confidence double, avg_magnitude double, windowStart string, "
    "windowEnd string, sampleCount long, classifier string, revision long, agentId string"
)


def kafka(spark: SparkSession, options: dict[str, str], topic: str, stream: bool = False) -> DataFrame:
    """All that is committed in `topic`: without `read_committed` what a relay undid would be read too."""
    reader = spark.readStream if stream else spark.read
    chosen = {
        "kafka.isolation.level": "read_committed",
        "subscribe": topic,
        "startingOffsets": "earliest",
        "includeHeaders": "true",
    }
    return reader.format("kafka").options(**options, **chosen).load()


def readings_of_records(records: DataFrame) -> DataFrame:
    parsed = records.withColumn("v", F.from_json(F.col("value").cast("string"), RAW_VALUE))
    name = {key: number(header(key)) for key in ("ordinal", "seq", "index")} | {"epoch": header("epoch")}
    return _select(parsed, READINGS, _reading(lambda key: F.col(f"v.{key}")) | name, "partition", "offset")


def windows_of_records(records: DataFrame) -> DataFrame:
    parsed = records.withColumn("v", F.from_json(F.col("value").cast("string"), ACTIVITY_VALUE))
    return _select(parsed, WINDOWS, _window(lambda key: F.col(f"v.{key}")))


def files(spark: SparkSession, path: str, form: str, value: str) -> DataFrame:
    """Rows of a table as JSON lines or Parquet, with the table's columns."""
    if form == "parquet":
        return spark.read.parquet(path)
    return spark.read.schema(f"RECORD_METADATA string, {value}").json(path)


def readings_of_rows(rows: DataFrame) -> DataFrame:
    meta = F.col("RECORD_METADATA")
    if isinstance(rows.schema[_column(rows, "RECORD_METADATA")].dataType, StructType):
        meta = F.to_json(meta)

    def part(key: str) -> Column:
        return F.coalesce(F.get_json_object(meta, f"$.{key}"), F.get_json_object(meta, f"$.headers.{key}"))

    name = {key: number(part(key)) for key in ("ordinal", "seq", "index")} | {"epoch": part("epoch")}
    return _select(rows, READINGS, _reading(F.col) | name)


def windows_of_rows(rows: DataFrame) -> DataFrame:
    return _select(rows, WINDOWS, _window(F.col))


def _reading(value: Callable[[str], Column]) -> dict[str, Column]:
    named = {"device": "deviceId", "session": "sessionId", "agent": "agentId", "sensor": "sensorType"}
    columns = {name: value(key) for name, key in named.items()}
    columns |= {axis: value(axis).cast("double") for axis in "xyz"}
    columns |= {"message": value("messageId").cast("long"), "time": value("timestamp").cast("long")}
    return columns | {"received": micros(value("receivedAt"))}


def _window(value: Callable[[str], Column]) -> dict[str, Column]:
    named = {
        "device": "deviceId",
        "session": "sessionId",
        "agent": "agentId",
        "activity": "activity",
        "classifier": "classifier",
    }
    columns = {name: value(key) for name, key in named.items()}
    columns |= {"start": micros(value("windowStart")) * 1000, "end": micros(value("windowEnd")) * 1000}
    columns |= {"count": value("sampleCount").cast("long"), "revision": value("revision").cast("long")}
    return columns | {"mean": value("avg_magnitude").cast("double"), "confidence": value("confidence").cast("double")}


def _select(rows: DataFrame, wanted: list[str], columns: dict[str, Column], *more: str) -> DataFrame:
    return rows.select(*(columns[name].alias(name) for name in wanted), *more)


def _column(rows: DataFrame, wanted: str) -> str:
    """The name of a column as the file spells it."""
    found = next((name for name in rows.columns if name.upper() == wanted), None)
    if found is None:
        raise ValueError(
            f"a column {wanted} is missing: the rows must have the table's columns, not only {', '.join(rows.columns)}"
        )
    return found
