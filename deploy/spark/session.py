"""What the jobs have in common: a Spark session in UTC, the modules beside them on every executor, options, times."""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path
from typing import NoReturn

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from classify import Threshold
from windows import SECOND, Params

#: What executors run of these files.
MODULES = ("classify.py", "windows.py", "recompute.py", "compare.py", "contract.py", "frames.py", "report.py")

KAFKA = "org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.7"

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def start(name: str) -> SparkSession:
    try:
        spark = SparkSession.builder.appName(name).config("spark.sql.session.timeZone", "UTC").getOrCreate()
    except Py4JJavaError as error:
        fail(f"Spark does not start: {innermost(error)}")
    except PySparkException as error:
        fail(f"Spark does not start: {error}")
    spark.sparkContext.setLogLevel("WARN")
    for module in MODULES:
        path = Path(__file__).with_name(module)
        # In cluster mode --py-files has brought them.
        if path.exists():
            spark.sparkContext.addPyFile(str(path))
    return spark


def add_window_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("windows", "as the agents are configured: [agent.windows]")
    group.add_argument(
        "--thresholds",
        default="2/8/20",
        metavar="A/B/C",
        help="mean magnitudes in m/s² below which a window is stationary, walking, running",
    )
    group.add_argument("--window", type=seconds, default=10.0, metavar="TIME", help="length of a window [default: 10s]")
    group.add_argument(
        "--slide", type=seconds, default=2.0, metavar="TIME", help="from one window's start to the next [default: 2s]"
    )
    group.add_argument(
        "--lateness",
        type=seconds,
        default=10.0,
        metavar="TIME",
        help="how long windows wait for late readings [default: 10s]",
    )
    group.add_argument(
        "--silence",
        type=seconds,
        default=30.0,
        metavar="TIME",
        help="after which the agent closes windows [default: 30s]",
    )


def params(args: argparse.Namespace) -> Params:
    window, slide, lateness = (round(value * SECOND) for value in (args.window, args.slide, args.lateness))
    return Params(window, slide, lateness, Threshold.read(args.thresholds))


def seconds(text: str) -> float:
    """From `30s`, `500ms`, `10m`."""
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = UNITS.get(text[len(digits) :] or "s")
    try:
        found = float(digits) * unit if unit is not None else -1.0
    except ValueError:
        found = -1.0
    if found < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: a time such as 30s, 500ms or 10m is expected")
    return found


def instant(text: str) -> int:
    """From `2026-01-31` or `2026-01-31T09:00`, UTC unless it says otherwise; ns."""
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: a time such as 2026-01-31T09:00 is expected, in UTC") from None
    at = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
    since = at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since // datetime.timedelta(microseconds=1)) * 1000


def kafka_options(args: argparse.Namespace) -> dict[str, str]:
    """Of a client of Kafka's, as TLS and SASL need them. What is no property is not repeated: it may be a password."""
    options = {"kafka.bootstrap.servers": args.brokers}
    places = [("--kafka-property", text) for text in args.kafka_property]
    if args.kafka_properties is not None:
        lines = enumerate(Path(args.kafka_properties).read_text(encoding="utf-8").splitlines(), 1)
        told = ((number, line.strip()) for number, line in lines)
        places = [(f"{args.kafka_properties}:{n}", line) for n, line in told if line and line[0] not in "#!"] + places
    for place, text in places:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{place}: KEY=VALUE is expected")
        options[f"kafka.{key.strip()}"] = value.strip()
    return options


def add_kafka_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Kafka")
    group.add_argument("--brokers", metavar="HOST:PORT", help="brokers, divided by commas")
    group.add_argument(
        "--kafka-property",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the client of Kafka, such as security.protocol=SSL; may be given more than once",
    )
    group.add_argument(
        "--kafka-properties",
        metavar="FILE",
        help="a line KEY=VALUE each, for passwords: other users of a machine see arguments",
    )


def need_topics(spark: SparkSession, options: dict[str, str], *topics: str) -> None:
    """Ends the job where Kafka lacks one. Spark waits a minute for what is not there, and says less."""
    properties = spark._jvm.java.util.Properties()
    for key, value in {"kafka.default.api.timeout.ms": "20000", "kafka.request.timeout.ms": "15000", **options}.items():
        properties.setProperty(key.removeprefix("kafka."), value)
    try:
        admin = spark._jvm.org.apache.kafka.clients.admin.AdminClient.create(properties)
    except TypeError:
        fail(f"the jars of Kafka are not there: give spark-submit --packages {KAFKA}")
    except Py4JJavaError as error:
        fail(f"Kafka's client does not take its properties: {innermost(error)}")
    brokers = options["kafka.bootstrap.servers"]
    try:
        there = set(admin.listTopics().names().get())
    except Py4JJavaError as error:
        fail(f"Kafka at {brokers} does not answer: {innermost(error)}")
    finally:
        admin.close()
    for topic in topics:
        if topic not in there:
            fail(
                f"there is no topic {topic} at {brokers}: create it, one that is written with as many partitions as the raw one"
            )


def innermost(error: Py4JJavaError) -> str:
    """What Java says, without its trace."""
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    return cause.getMessage()


def sentence(error: Exception) -> str:
    """What it says, and its kind where it is no sentence by itself."""
    is_plain = isinstance(error, (OSError, ValueError, PySparkException)) or type(error).__name__ == "Refused"
    return str(error) if is_plain else f"{type(error).__name__}: {error}"


def fail(sentence: str) -> NoReturn:
    """Ends the job: it could not ask, or not write."""
    print(f"gaitway spark: {sentence}", file=sys.stderr)
    sys.exit(2)
