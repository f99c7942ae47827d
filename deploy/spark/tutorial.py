"""The tutorial's job, for compatibility: what it does, with two changes, over the topic that gaitway fills.

It knows the tutorial's keys alone, takes the accelerometer's readings, their magnitude, and its mean over windows of 10 s every 2 s
with a watermark of 10 s, labels it by thresholds, and says a constant as confidence. Changed are `kafka.isolation.level`, for a
relay writes in transactions, and the topic that is written, for `processed_activity` is the agent's.
"""

from __future__ import annotations

import argparse

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, IntegerType, LongType, StringType, StructField, StructType

SCHEMA = StructType(
    [
        StructField("messageId", IntegerType()),
        StructField("sessionId", StringType()),
        StructField("deviceId", StringType()),
        StructField("sensorType", StringType()),
        StructField("x", DoubleType()),
        StructField("y", DoubleType()),
        StructField("z", DoubleType()),
        StructField("accuracy", IntegerType()),
        StructField("timestamp", LongType()),
    ]
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tutorial.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", default="raw_sensor_data")
    parser.add_argument("--into", required=True, metavar="TOPIC")
    parser.add_argument("--checkpoint", required=True, metavar="PATH")
    parser.add_argument(
        "--isolation", default="read_committed", help="read_uncommitted shows what the change is good for"
    )
    parser.add_argument("--once", action="store_true", help="what is there, and no more")
    args = parser.parse_args()
    spark = SparkSession.builder.appName("tutorial").config("spark.sql.session.timeZone", "UTC").getOrCreate()

    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", args.brokers)
        .option("kafka.isolation.level", args.isolation)
        .option("subscribe", args.topic)
        .option("startingOffsets", "earliest")
        .load()
    )
    readings = records.select(F.from_json(F.col("value").cast("string"), SCHEMA).alias("reading")).select("reading.*")
    accelerometer = (
        readings.where(F.col("sensorType") == "accelerometer")
        .withColumn("magnitude", F.sqrt(F.col("x") ** 2 + F.col("y") ** 2 + F.col("z") ** 2))
        .withColumn("eventTime", (F.col("timestamp") / 1e9).cast("timestamp"))
    )
    windows = (
        accelerometer.withWatermark("eventTime", "10 seconds")
        .groupBy(F.window("eventTime", "10 seconds", "2 seconds"), "sessionId", "deviceId")
        .agg(F.avg("magnitude").alias("avg_magnitude"))
    )
    magnitude = F.col("avg_magnitude")
    activity = (
        F.when(magnitude < 2.0, "stationary")
        .when(magnitude < 8.0, "walking")
        .when(magnitude < 20.0, "running")
        .otherwise("sprinting")
    )
    told = windows.select(
        F.date_format("window.end", "yyyy-MM-dd HH:mm:ss").alias("timestamp"),
        "sessionId",
        "deviceId",
        activity.alias("activity"),
        F.lit(0.9).alias("confidence"),
        "avg_magnitude",
    )
    query = (
        told.select(F.to_json(F.struct("*")).alias("value"))
        .writeStream.format("kafka")
        .option("kafka.bootstrap.servers", args.brokers)
        .option("topic", args.into)
        .option("checkpointLocation", args.checkpoint)
        .outputMode("append")
        .trigger(**({"availableNow": True} if args.once else {"processingTime": "2 seconds"}))
        .start()
    )
    query.awaitTermination()


if __name__ == "__main__":
    main()
