"""Computes the windows of a whole warehouse anew, shows what differs from the latest revisions, and stores it as the next ones.

The same as `gaitway reclassify`, for histories that one machine does not read in a night, and for Snowflake. Run by spark-submit;
see README.md. Ends with 0 if nothing differs, or all that does was written; with 1 if something differs; with 2 if it could not
ask or write.
"""

from __future__ import annotations

import argparse
import sys

import pandas as pd
from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import Window as Over
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

import contract
import frames
import in_postgres
import in_snowflake
import output
import report
import session
import sources
from compare import Row, compare, latest
from recompute import recompute
from windows import Params

#: What comes of a session: its changes, and one row of `report.SUMS`.
OUTCOME = f"{contract.WINDOW_SCHEMA}, epoch string, was string, relabelled boolean, by_mean boolean, sums array<long>"

HOUR = 3600 * 1_000_000_000


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="reclassify.py", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "source", choices=("postgres", "snowflake", "files", "kafka"), help="where readings and windows are"
    )
    parser.add_argument("--device", metavar="ID", help="only the phone of this id")
    parser.add_argument("--session", metavar="ID", help="only sessions whose id begins so")
    parser.add_argument(
        "--from",
        dest="since",
        type=session.instant,
        metavar="TIME",
        help="only windows that end then or later: 2026-01-31, 2026-01-31T09:00, UTC",
    )
    parser.add_argument(
        "--to", dest="until", type=session.instant, metavar="TIME", help="only windows that end before then"
    )
    parser.add_argument("--json", action="store_true", help="as JSON, as `gaitway reclassify --json` has it")
    session.add_window_options(parser)
    session.add_kafka_options(parser)
    group = parser.add_argument_group("what is read")
    group.add_argument(
        "--url", help="of PostgreSQL: jdbc:postgresql://HOST:PORT/DATABASE; user and password in PGUSER and PGPASSWORD"
    )
    group.add_argument(
        "--partitions", type=int, default=16, help="connections to PostgreSQL that read at a time [default: 16]"
    )
    group.add_argument(
        "--readings",
        metavar="PATH",
        help="files: rows of ACTIVITY_RECORDS; kafka: their topic [default: raw_sensor_data]",
    )
    group.add_argument(
        "--windows",
        metavar="PATH",
        help="files: rows of USER_ACTIVITY_PROCESSED; kafka: their topic [default: processed_activity]",
    )
    group.add_argument("--format", choices=("json", "parquet"), default="json", help="of files; JSON is a row a line")
    group.add_argument("--account", help="of Snowflake: ORGANIZATION-ACCOUNT; with --user, --key, --role, --warehouse")
    group.add_argument("--user")
    group.add_argument("--key", metavar="FILE", help="the user's private key, PKCS#8 in PEM")
    group.add_argument("--role")
    group.add_argument("--warehouse")
    group = parser.add_argument_group("what is written; without one of the first three nothing is")
    into = group.add_mutually_exclusive_group()
    into.add_argument(
        "--write", action="store_true", help="into the warehouse's own table, as next revisions: postgres, snowflake"
    )
    into.add_argument("--out", metavar="PATH", help="records as JSON lines into this folder")
    into.add_argument("--topic", help="records into this topic of Kafka, which is nobody else's")
    group.add_argument(
        "--staging-schema",
        default="processed_data",
        metavar="SCHEMA",
        help="of PostgreSQL: where the job makes and drops a table of its own [default: processed_data]",
    )
    args = parser.parse_args()
    needed = {
        "postgres": ["url"],
        "snowflake": ["account", "user", "key", "role", "warehouse"],
        "files": ["readings", "windows"],
        "kafka": ["brokers"],
    }
    for name in needed[args.source] + (["brokers"] if args.topic else []):
        if getattr(args, name) is None:
            parser.error(f"{args.source} needs --{name}" if name in needed[args.source] else f"--topic needs --{name}")
    if args.write and args.source in ("files", "kafka"):
        parser.error(f"--write is for a warehouse: what comes of {args.source} goes to --out or --topic")
    return args


def outcomes(
    readings: DataFrame, windows: DataFrame, params: Params, silence: int, span: tuple[int | None, int | None]
) -> DataFrame:
    """What comes of every session, each by itself and whole."""
    agents = [F.coalesce(name, F.lit(frames.NONE)).alias(name) for name in ("start", "end", "count")]
    revision = F.coalesce("revision", F.lit(0))
    highest = F.max(revision).over(Over.partitionBy("device", "session", "start")).alias("highest")
    rest = ("mean", "confidence", "activity", "classifier")
    told = windows.select(*frames.KEY, *agents, *rest, revision.alias("revision"), highest)

    def of_session(key: tuple, messages: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
        since, until = span
        if len(messages) and not _is_within(messages, since, until):
            return pd.DataFrame([])
        recomputed = recompute(frames.in_order(messages), params, silence)
        is_window = (rows["start"] != frames.NONE) & (rows["end"] != frames.NONE)
        outcome = compare(recomputed, latest(_rows(rows[is_window])), params, since, until)
        outcome.other += int((~is_window).sum())
        whose = [None if pd.isna(part) else part for part in key]
        name, found = params.rule.name(), []
        for old, new, revision, by_mean in outcome.changes:
            epoch = contract.window_epoch(params, *whose, revision)
            was = None if old is None else old.activity or "(none)"
            relabelled = old is not None and was != new.activity
            found.append((*whose, *new, name, revision, epoch, was, relabelled, by_mean, None))
        sums = report.sums(recomputed, outcome)
        found.append((*whose, *[None] * (len(COLUMNS) - len(whose) - 1), sums))
        return pd.DataFrame(found, columns=COLUMNS, dtype=object)

    messages = frames.messages(readings)
    return messages.groupBy(*frames.KEY).cogroup(told.groupBy(*frames.KEY)).applyInPandas(of_session, OUTCOME)


COLUMNS = [column.split()[0] for column in OUTCOME.split(", ")]


def _is_within(messages: pd.DataFrame, since: int | None, until: int | None) -> bool:
    """Whether some of a session's readings are within an hour of what is asked for."""
    least, greatest = messages["least"].min(), messages["greatest"].max()
    if pd.isna(least):
        return True
    # Python's own integers: a wild time next to the greatest one would overflow pandas'.
    least, greatest = int(least), int(greatest)
    return (since is None or greatest + HOUR >= since) and (until is None or least - HOUR < until)


def _rows(rows: pd.DataFrame) -> list[Row]:
    columns = ("start", "end", "count", "mean", "confidence", "activity", "classifier", "revision", "highest")
    values = zip(*(rows[column].tolist() for column in columns), strict=True)
    return [
        Row(start, end, frames.known(count), *(None if pd.isna(value) else value for value in rest), revision, highest)
        for start, end, count, *rest, revision, highest in values
    ]


class Job:
    def __init__(self, args: argparse.Namespace, params: Params) -> None:
        self.args, self.params = args, params
        self.spark: SparkSession = session.start("gaitway reclassify")
        self.place = None

    def read(self) -> tuple[DataFrame, DataFrame]:
        args, spark = self.args, self.spark
        if args.source == "postgres":
            self.place = in_postgres.Postgres(spark, args.url, args.partitions)
            self.place.begin(args.write)
        if args.source == "snowflake":
            self.place = in_snowflake.Snowflake(spark, args.account, args.user, args.key, args.role, args.warehouse)
        if self.place is not None:
            return self.place.readings(), self.place.windows()
        if args.source == "files":
            readings = sources.files(spark, args.readings, args.format, sources.RAW_VALUE)
            windows = sources.files(spark, args.windows, args.format, sources.ACTIVITY_VALUE)
            return sources.readings_of_rows(readings), sources.windows_of_rows(windows)
        kafka = session.kafka_options(args)
        topics = (args.readings or "raw_sensor_data", args.windows or "processed_activity")
        session.need_topics(spark, kafka, *topics)
        readings, windows = (sources.kafka(spark, kafka, topic) for topic in topics)
        return sources.readings_of_records(readings), sources.windows_of_records(windows)

    def wanted(self, rows: DataFrame) -> DataFrame:
        if self.args.device is not None:
            rows = rows.where(F.col("device") == self.args.device)
        if self.args.session is not None:
            rows = rows.where(F.col("session").startswith(self.args.session))
        return rows

    def write(self, changes: DataFrame, count: int) -> int | None:
        """How many were written; none where nothing was to be."""
        args = self.args
        if args.write and count == 0:
            return 0
        windows = changes.select(*sources.WINDOWS)
        if isinstance(self.place, in_postgres.Postgres) and args.write:
            return self.place.write(windows, args.staging_schema)
        if args.write:
            return self.place.write(windows)
        records, rule = contract.records(changes, self.params), self.params.rule.name()
        if args.out is not None:
            return output.to_files(self.spark, records, args.out, rule)
        if args.topic is None:
            return None
        kafka = session.kafka_options(args)
        return output.to_kafka(self.spark, records, kafka, args.topic, rule)

    def run(self) -> int:
        if self.args.topic is not None:
            kafka = session.kafka_options(self.args)
            session.need_topics(self.spark, kafka, self.args.topic)
        readings, windows = (self.wanted(rows) for rows in self.read())
        silence = round(self.args.silence * 1_000_000)
        found = outcomes(readings, windows, self.params, silence, (self.args.since, self.args.until))
        found = found.persist(StorageLevel.MEMORY_AND_DISK)
        told = report.gather(found, self.params)
        told.written = self.write(found.where("sums IS NULL"), told.sums["changes"])
        print(told.to_json(self.args.source) if self.args.json else told.to_text(self.args.source))
        return 0 if told.written is not None or not told.sums["changes"] else 1

    def close(self) -> None:
        if isinstance(self.place, in_postgres.Postgres):
            self.place.close()


def main() -> int:
    args = options()
    try:
        params = session.params(args)
    except ValueError as error:
        session.fail(str(error))
    job = None
    try:
        job = Job(args, params)
        return job.run()
    except Py4JJavaError as error:
        session.fail(f"{args.source}: {session.innermost(error)}")
    except Exception as error:
        # Python's own code for what nobody caught is 1, which says that something differs.
        session.fail(session.sentence(error))
    finally:
        if job is not None:
            job.close()
            job.spark.stop()


if __name__ == "__main__":
    sys.exit(main())
