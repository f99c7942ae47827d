"""The windows of what comes in `raw_sensor_data`, by rules of one's own, into a topic of one's own.

Structured Streaming over committed records. The windows are the agent's, session by session, whatever micro-batches Spark makes:
the watermark is each session's, not the query's. Run by spark-submit; see README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator

import pandas as pd
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.state import GroupState, GroupStateTimeout

import contract
import frames
import session
import sources
from recompute import Message, Session
from windows import Params, SessionWindows, Window, lower_median

#: What a checkpoint belongs to: windows that are open keep what they have counted.
MARK = "gaitway.json"

#: A reading as the state's function sees it; what is null is `frames.NONE`, of a magnitude -1.
READING = ("partition", "offset", "ordinal", "epoch", "seq", "message", "received", "time", "magnitude")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stream.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--topic", default="raw_sensor_data", help="that is read [default: raw_sensor_data]")
    parser.add_argument("--into", required=True, metavar="TOPIC", help="that is written, nobody else's")
    parser.add_argument(
        "--checkpoint", required=True, metavar="PATH", help="where the query keeps how far it is, and what is open"
    )
    parser.add_argument("--revision", type=int, default=1, help="of the records [default: 1]")
    parser.add_argument(
        "--trigger",
        type=session.seconds,
        default=2.0,
        metavar="TIME",
        help="from one micro-batch to the next [default: 2s]",
    )
    parser.add_argument(
        "--idle",
        type=session.seconds,
        default=600.0,
        metavar="TIME",
        help="after which a session of which nothing comes is over [default: 10m]",
    )
    parser.add_argument(
        "--forget",
        type=session.seconds,
        default=30 * 86400.0,
        metavar="TIME",
        help="after which nothing is known of it any more [default: 30d]",
    )
    parser.add_argument(
        "--at-once", type=int, default=200_000, metavar="RECORDS", help="most records in a micro-batch [default: 200000]"
    )
    session.add_window_options(parser)
    session.add_kafka_options(parser)
    args = parser.parse_args()
    if args.brokers is None:
        parser.error("--brokers is needed")
    if args.into == args.topic:
        parser.error("--into must be another topic than the one that is read")
    return args


class Sessions:
    """What becomes of one session's records in one micro-batch.

    A message is complete when one of another comes, for a micro-batch may end inside it; so the last one waits.
    """

    def __init__(self, params: Params, args: argparse.Namespace) -> None:
        self._params, self._revision = params, args.revision
        self._silence = round(args.silence * 1_000_000)
        self._idle, self._forget = (round(value * 1000) for value in (args.idle, args.forget))

    def __call__(self, key: tuple, chunks: Iterable[pd.DataFrame], state: GroupState) -> Iterator[pd.DataFrame]:
        kept = (
            json.loads(state.get[0])
            if state.exists
            else {"windows": None, "received": None, "frame": None, "readings": []}
        )
        taker = self._session(kept)
        if state.hasTimedOut and kept["frame"] is None:
            state.remove()
            return
        closed: list[Window] = []
        if state.hasTimedOut:
            closed += taker.take(_message(kept["frame"], kept["readings"])) + taker.windows.flush()
            frame, readings, timeout = None, [], self._forget
        else:
            frame, readings = kept["frame"], kept["readings"]
            for its, reading in _in_order(chunks):
                if frame is not None and its != frame:
                    closed += taker.take(_message(frame, readings))
                    readings = []
                frame = its
                readings.append(reading)
            timeout = self._idle
        kept = {"windows": taker.windows.to_state(), "received": taker.received, "frame": frame, "readings": readings}
        state.update((json.dumps(kept),))
        state.setTimeoutDuration(timeout)
        if closed:
            yield self._rows(key, closed)

    def _session(self, kept: dict) -> Session:
        windows = kept["windows"] and SessionWindows.from_state(self._params, kept["windows"])
        return Session(self._params, self._silence, windows, kept["received"])

    def _rows(self, key: tuple, closed: list[Window]) -> pd.DataFrame:
        whose = [None if pd.isna(part) else part for part in key]
        name, revision = self._params.rule.name(), self._revision
        epoch = contract.window_epoch(self._params, *whose, revision)
        return pd.DataFrame(
            [(*whose, *window, name, revision, epoch) for window in closed], columns=COLUMNS, dtype=object
        )


OUTPUT = f"{contract.WINDOW_SCHEMA}, epoch string"
COLUMNS = [column.split()[0] for column in OUTPUT.split(", ")]


def _in_order(chunks: Iterable[pd.DataFrame]) -> Iterator[tuple[list, list]]:
    """Frames and readings in the order of their offsets: a device's records are in one partition."""
    rows = [row for chunk in chunks for row in zip(*(chunk[column].tolist() for column in READING), strict=True)]
    for _, _, ordinal, epoch, seq, message, received, time, magnitude in sorted(rows, key=lambda row: row[:2]):
        yield [ordinal, epoch, seq, message, received], [time, magnitude]


def _message(frame: list, readings: list) -> Message:
    times = [time for time, _ in readings if time != frames.NONE]
    own = [(time, magnitude) for time, magnitude in readings if magnitude >= 0.0]
    return Message(
        frames.known(frame[4]), lower_median(times), [time for time, _ in own], [magnitude for _, magnitude in own]
    )


def windows_of(records: DataFrame, sessions: Sessions) -> DataFrame:
    readings = sources.readings_of_records(records)
    prepared = readings.select(
        *frames.KEY,
        "partition",
        "offset",
        "epoch",
        *(F.coalesce(column, F.lit(frames.NONE)).alias(column) for column in ("ordinal", "seq", "message", "received")),
        F.coalesce(frames.usable_time(), F.lit(frames.NONE)).alias("time"),
        F.coalesce(frames.usable_magnitude(), F.lit(-1.0)).alias("magnitude"),
    )
    return prepared.groupBy(*frames.KEY).applyInPandasWithState(
        sessions, OUTPUT, "state string", "append", GroupStateTimeout.ProcessingTimeTimeout
    )


def claim(spark: SparkSession, checkpoint: str, wanted: dict) -> None:
    """A checkpoint is of one set of parameters: with others it is refused."""
    path = spark._jvm.org.apache.hadoop.fs.Path(checkpoint, MARK)
    system = path.getFileSystem(spark._jsc.hadoopConfiguration())
    if not system.exists(path):
        # There whole or not at all, whenever the job is killed.
        beside = path.suffix(".part")
        stream = system.create(beside)
        stream.write(json.dumps(wanted).encode())
        stream.close()
        if not system.rename(beside, path):
            session.fail(f"{path} cannot be written: look at who may write into the folder of --checkpoint")
        return
    stream = system.open(path)
    found = json.loads(bytes(stream.readAllBytes()))
    stream.close()
    if found != wanted:
        differ = ", ".join(
            f"{key} {found.get(key)} there, {value} here" for key, value in wanted.items() if found.get(key) != value
        )
        session.fail(
            f"the checkpoint {checkpoint} is of other parameters ({differ}): name another --checkpoint and another --into"
        )


def main() -> None:
    args = options()
    try:
        params = session.params(args)
        kafka = session.kafka_options(args)
    except (OSError, ValueError) as error:
        session.fail(str(error))
    spark = session.start("gaitway stream")
    session.need_topics(spark, kafka, args.topic, args.into)
    wanted = {
        name: getattr(args, name)
        for name in ("topic", "into", "revision", "window", "slide", "lateness", "silence")
    }
    # As the rule spells them: 2/8/20 and 2.0/8/20 are the same.
    wanted["thresholds"] = params.rule.spelled()
    try:
        claim(spark, args.checkpoint, wanted)
    except Py4JJavaError as error:
        session.fail(f"the checkpoint {args.checkpoint}: {session.innermost(error)}")
    except ValueError:
        session.fail(f"{args.checkpoint}/{MARK} is not what this job writes: name another --checkpoint and another --into")
    rate = {"maxOffsetsPerTrigger": str(args.at_once)}
    records = sources.kafka(spark, kafka | rate, args.topic, stream=True)
    written = contract.records(windows_of(records, Sessions(params, args)), params).select("key", "value", "headers")
    writer = written.writeStream.format("kafka").options(**kafka, topic=args.into, includeHeaders="true")
    writer = writer.option("checkpointLocation", args.checkpoint).outputMode("append")
    try:
        writer.trigger(processingTime=f"{args.trigger} seconds").start().awaitTermination()
    except PySparkException as error:
        session.fail(str(error))


if __name__ == "__main__":
    sys.exit(main())
