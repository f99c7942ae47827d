"""Records as gaitway's contract has them: their names, and windows as JSON with headers.

The name of a window that no agent told says agent `reclassify`, so that `gaitway audit` leaves it out. Its epoch is made of what
decides about the window and its seq of the window's start: whoever writes it again writes the same name.
"""

from __future__ import annotations

import hashlib

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from windows import Params

#: The agent in the names of windows that no agent told.
RECLASSIFIED = "reclassify"

NAME_KEYS = ("agent", "epoch", "ordinal", "stream", "seq", "index", "clockSynced")

#: Windows as the jobs make them. Times in ns.
WINDOW_SCHEMA = (
    "device string, session string, agent string, start long, end long, count long, mean double, activity string, "
    "confidence double, classifier string, revision long"
)


def epoch(*parts: object) -> str:
    """63 bits of what the parts are, as records spell an epoch."""
    digest = hashlib.sha256()
    for part in parts:
        text = b"" if part is None else str(part).encode()
        digest.update(b"%d:" % (-1 if part is None else len(text)) + text)
    return f"{int.from_bytes(digest.digest()[:8], 'big') >> 1:016x}"


def window_epoch(params: Params, device: str | None, session: str | None, agent: str | None, revision: int) -> str:
    return epoch(params.window, params.slide, params.lateness, params.rule.name(), device, session, agent, revision)


def records(windows: DataFrame, params: Params) -> DataFrame:
    """`key`, `value` and `headers` for Kafka, and `metadata` as warehouses spell it, of windows with a column `epoch`."""
    name = {
        "agent": F.lit(RECLASSIFIED),
        "epoch": F.col("epoch"),
        "ordinal": F.lit(0),
        "stream": F.lit("activity"),
        "seq": F.expr(f"start div {params.slide}"),
        "index": F.lit(0),
        "clockSynced": F.lit(None).cast("boolean"),
    }
    text = {key: F.coalesce(value.cast("string"), F.lit("null")) for key, value in name.items()}
    headers = [F.struct(F.lit(key).alias("key"), text[key].cast("binary").alias("value")) for key in NAME_KEYS]
    value = F.struct(
        F.date_format(_time("end"), "yyyy-MM-dd HH:mm:ss").alias("timestamp"),
        F.col("session").alias("sessionId"),
        F.col("device").alias("deviceId"),
        F.col("activity"),
        F.col("confidence"),
        F.col("mean").alias("avg_magnitude"),
        rfc3339("start").alias("windowStart"),
        rfc3339("end").alias("windowEnd"),
        F.col("count").alias("sampleCount"),
        F.col("classifier"),
        F.col("revision"),
        F.col("agent").alias("agentId"),
    )
    options = {"ignoreNullFields": "false"}
    return windows.select(
        F.col("device").alias("key"),
        F.to_json(value, options).alias("value"),
        F.array(*headers).alias("headers"),
        F.to_json(F.struct(*(name[key].alias(key) for key in NAME_KEYS)), options).alias("metadata"),
        "epoch",
        name["seq"].alias("seq"),
    )


def rfc3339(column: str) -> Column:
    """UTC, with as many fractional digits as it needs; of whole microseconds in ns."""
    micros = F.lpad(F.expr(f"pmod({column} div 1000, 1000000)").cast("string"), 6, "0")
    fraction = F.regexp_replace(F.concat(F.lit("."), micros), "\\.?0+$", "")
    return F.concat(F.date_format(_time(column), "yyyy-MM-dd'T'HH:mm:ss"), fraction, F.lit("Z"))


def header(key: str) -> Column:
    """A header of a Kafka record as text; of several the last."""
    found = F.filter("headers", lambda header: header["key"] == key)
    return F.when(F.size(found) > 0, F.element_at(found, -1)["value"].cast("string"))


def number(text: Column) -> Column:
    """Of at most 18 digits; null where it is none."""
    return F.when(text.rlike("^[0-9]{1,18}$"), text.cast("long"))


def micros(instant: Column) -> Column:
    """An instant, of whichever type, as microseconds since the Unix epoch."""
    return F.unix_micros(instant.cast("timestamp"))


def _time(column: str) -> Column:
    return F.timestamp_micros(F.expr(f"{column} div 1000"))
