"""Readings, gathered by message.

A message's readings are gathered by Spark itself, which sorts and spills; Python sees a row a message, with the median of all its
times and what the accelerometer measured.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recompute import Message
from windows import MAX_MAGNITUDE, MAX_TIME

CLASSIFIED = "accelerometer"

#: Whose a reading is, and its frame: columns that every source gives, with `index`, `time` (ns), `sensor`, `x`, `y`, `z`.
KEY = ("device", "session", "agent")
FRAME = ("ordinal", "epoch", "seq", "message", "received")

#: What stands for null in columns of integers that go to pandas, which would make floats of them.
NONE = (1 << 63) - 1


def usable_time() -> Column:
    """A reading's time, null where no window can use it."""
    return F.when(F.col("time").between(0, MAX_TIME), F.col("time"))


def usable_magnitude() -> Column:
    """Of a reading that windows can use; else null."""
    magnitude = F.sqrt(F.col("x") * F.col("x") + F.col("y") * F.col("y") + F.col("z") * F.col("z"))
    is_usable = (F.col("sensor") == CLASSIFIED) & usable_time().isNotNull() & (magnitude <= MAX_MAGNITUDE)
    return F.when(is_usable, magnitude)


def messages(readings: DataFrame) -> DataFrame:
    sample = F.struct(F.coalesce("index", F.lit(NONE)).alias("index"), "time", "magnitude")
    gathered = (
        readings.withColumn("magnitude", usable_magnitude())
        .withColumn("usable", usable_time())
        .groupBy(*KEY, *FRAME)
        .agg(
            F.sort_array(F.collect_list("usable")).alias("all"),
            F.sort_array(F.collect_list(F.when(F.col("magnitude").isNotNull(), sample))).alias("samples"),
            F.min("time").alias("least"),
            F.max("time").alias("greatest"),
        )
    )
    middle = F.expr("all[(size(all) - 1) div 2]")
    return gathered.select(
        *KEY,
        "epoch",
        *(F.coalesce(column, F.lit(NONE)).alias(column) for column in FRAME if column != "epoch"),
        "least",
        "greatest",
        F.when(F.size("all") > 0, middle).otherwise(NONE).alias("median"),
        F.col("samples.time").alias("times"),
        F.col("samples.magnitude").alias("magnitudes"),
    )


def in_order(found: pd.DataFrame) -> Iterator[Message]:
    """A session's messages in the order of their names, which is that in which the agent took them; nameless ones last."""
    epochs = [(epoch is None, epoch or "") for epoch in found["epoch"]]
    names = zip(
        found["ordinal"], epochs, found["seq"], found["received"], found["message"], range(len(found)), strict=True
    )
    columns = [found[column].tolist() for column in ("received", "median", "times", "magnitudes")]
    for *_, at in sorted(names):
        received, median, times, magnitudes = (column[at] for column in columns)
        yield Message(known(received), known(median), times.tolist(), magnitudes.tolist())


def known(number: int) -> int | None:
    return None if number == NONE else number
