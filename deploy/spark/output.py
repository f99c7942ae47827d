"""Records outside of a warehouse: as files, or in a topic of Kafka's.

A record's name says what it is. What is there under its name is not written again, so a run that is repeated writes nothing new.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sources
from contract import header, number

NAME = ["epoch", "seq"]


def to_files(spark: SparkSession, records: DataFrame, path: str) -> int:
    """A line is a row of the table, as `files` reads it; files appear only whole."""
    folder = spark._jvm.org.apache.hadoop.fs.Path(path)
    if folder.getFileSystem(spark._jsc.hadoopConfiguration()).exists(folder):
        there = spark.read.text(path).select(
            F.get_json_object("value", "$.RECORD_METADATA.epoch").alias("epoch"),
            number(F.get_json_object("value", "$.RECORD_METADATA.seq")).alias("seq"),
        )
        records = records.join(there, NAME, "left_anti")
    # Both are JSON objects: one goes into the other.
    opened = F.expr("substring(value, 2)")
    lines = records.select(
        F.concat(F.lit('{"RECORD_METADATA":'), "metadata", F.lit(","), opened).alias("value")
    ).persist()
    written = lines.count()
    if written:
        lines.write.mode("append").text(path)
    return written


def to_kafka(spark: SparkSession, records: DataFrame, options: dict[str, str], topic: str) -> int:
    """Spark may write a record twice where a task is repeated; both have one name."""
    there = sources.kafka(spark, options, topic).select(
        header("epoch").alias("epoch"), number(header("seq")).alias("seq")
    )
    missing = records.join(there, NAME, "left_anti").persist()
    written = missing.count()
    if written:
        missing.select("key", "value", "headers").write.format("kafka").options(
            **options, topic=topic, includeHeaders="true"
        ).save()
    return written
