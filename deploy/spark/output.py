"""Records outside of a warehouse: as files, or in a topic of Kafka's.

A record's name says what it is. What is there under its name is not written again, so a run that is repeated writes nothing new.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sources
from contract import header, number

NAME = ["epoch", "seq"]


def _refuse_other_rules(there: DataFrame, rule: str, place: str) -> None:
    """Of two rules in one place each would call itself the next revision of what the warehouse has: the same one."""
    other = there.where(F.col("classifier") != rule).select("classifier").first()
    if other is not None:
        raise ValueError(f"{place} has windows by {other.classifier}, these are by {rule}: each rule needs a place of its own")


def to_files(spark: SparkSession, records: DataFrame, path: str, rule: str) -> int:
    """A line is a row of the table, as `files` reads it; files appear only whole."""
    folder = spark._jvm.org.apache.hadoop.fs.Path(path)
    if folder.getFileSystem(spark._jsc.hadoopConfiguration()).exists(folder):
        there = spark.read.text(path).select(
            F.get_json_object("value", "$.RECORD_METADATA.epoch").alias("epoch"),
            number(F.get_json_object("value", "$.RECORD_METADATA.seq")).alias("seq"),
            F.get_json_object("value", "$.classifier").alias("classifier"),
        )
        _refuse_other_rules(there, rule, path)
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


def to_kafka(spark: SparkSession, records: DataFrame, options: dict[str, str], topic: str, rule: str) -> int:
    """Spark may write a record twice where a task is repeated; both have one name."""
    there = sources.kafka(spark, options, topic).select(
        header("epoch").alias("epoch"),
        number(header("seq")).alias("seq"),
        F.get_json_object(F.col("value").cast("string"), "$.classifier").alias("classifier"),
    )
    _refuse_other_rules(there, rule, f"the topic {topic}")
    missing = records.join(there, NAME, "left_anti").persist()
    written = missing.count()
    if written:
        missing.select("key", "value", "headers").write.format("kafka").options(
            **options, topic=topic, includeHeaders="true"
        ).save()
    return written
