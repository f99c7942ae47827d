"""Holds the jobs' windows, labels and comparison against what they must be; plain Python, no Spark.

check.py DATA: the project's folder tests/data, with golden/ (windows that Apache Spark computed) and har/ (recordings).
"""

from __future__ import annotations

import csv
import datetime
import gzip
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from classify import Threshold
from compare import Row, compare, latest
from recompute import Message, Recomputed, recompute
from windows import SECOND, Params, Sample, SessionWindows, Window, event_time, is_usable_time, lower_median

DAY = 19_723 * 86_400 * SECOND
SILENCE = 30_000_000

CHECKS: list[Callable[[Path], None]] = []


def check(function: Callable[[Path], None]) -> Callable[[Path], None]:
    CHECKS.append(function)
    return function


def near(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-300)


def golden(path: Path) -> dict[tuple[str, str], tuple[str, float, int]]:
    """By device and end of the window: label, mean, readings."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        (row["deviceId"], row["timestamp"]): (row["activity"], float(row["avg_magnitude"]), int(row["sample_count"]))
        for row in rows
    }


def shown(nanoseconds: int) -> str:
    return datetime.datetime.fromtimestamp(nanoseconds // SECOND, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def message(readings: list[tuple[int, list[float]]], received: int | None, others: list[int] = ()) -> Message:
    times = [time for time, _ in readings] + list(others)
    magnitudes = [math.sqrt(x * x + y * y + z * z) for _, (x, y, z) in readings]
    return Message(
        received,
        lower_median([time for time in times if is_usable_time(time)]),
        [time for time, _ in readings],
        magnitudes,
    )


def assert_golden(windows: dict, expected: dict) -> None:
    assert windows.keys() == expected.keys(), f"{len(windows)} windows, {len(expected)} expected"
    for key, (activity, mean, count) in expected.items():
        window = windows[key]
        assert (window.activity, window.count) == (activity, count) and near(window.mean, mean), (key, window)


def recording(folder: Path) -> Iterator[Message]:
    """One person's trials, a message a second."""
    readings = []
    for path in folder.glob("*.csv.gz"):
        with gzip.open(path, "rt") as file:
            readings += [(int(row["time_ns"]), [float(row[axis]) for axis in "xyz"]) for row in csv.DictReader(file)]
    readings.sort()
    for _, group in itertools.groupby(readings, lambda reading: reading[0] // SECOND):
        group = list(group)
        yield message(group, group[0][0] // 1000)


@check
def windows_are_sparks_over_recordings(data: Path) -> None:
    found = {}
    for folder in sorted((data / "har/motionsense").iterdir()):
        out = recompute(recording(folder), Params(), SILENCE)
        found |= {(f"phone-{folder.name}", shown(window.end)): window for window in out.closed + out.open}
    assert_golden(found, golden(data / "golden/motionsense/windows.csv"))


@check
def windows_are_sparks_where_messages_are_late(data: Path) -> None:
    windows, found = SessionWindows(Params()), {}
    with gzip.open(data / "golden/late/pushes.ndjson.gz", "rt") as file:
        for line in file:
            push = json.loads(line)
            own = [reading for reading in push["payload"] if reading["name"] == "accelerometer"]
            others = [int(reading["time"]) for reading in push["payload"] if reading["name"] != "accelerometer"]
            read = [(int(reading["time"]), [float(reading["values"][axis]) for axis in "xyz"]) for reading in own]
            it = message(read, None, others)
            samples = [
                Sample(event_time(time), magnitude) for time, magnitude in zip(it.times, it.magnitudes, strict=True)
            ]
            # As a checkpoint brings it back.
            windows = SessionWindows.from_state(Params(), json.loads(json.dumps(windows.to_state())))
            found |= {("phone-late", shown(window.end)): window for window in windows.observe(it.median, samples)}
    assert_golden(found, golden(data / "golden/late/windows.csv"))


def samples(*times: float, magnitude: float = 1.0) -> list[Sample]:
    return [Sample(DAY + round(time * SECOND), magnitude) for time in times]


def starts(windows: list[Window]) -> list[int]:
    return [(window.start - DAY) // SECOND for window in windows]


@check
def each_window_is_told_once(_: Path) -> None:
    windows = SessionWindows(Params())
    told = windows.observe(None, samples(0, 1))
    assert told == [] and windows.has_open()
    told = windows.observe(None, samples(21))
    assert starts(told) == [-8, -6, -4, -2, 0] and [window.count for window in told] == [2] * 5
    # Late for windows that end at 11 s or before, not for those after.
    assert windows.observe(None, samples(5)) == []
    flushed = windows.flush()
    assert starts(flushed) == [2, 4, 12, 14, 16, 18, 20] and not windows.has_open()
    # Silence raised the watermark to the last end, 30 s.
    assert windows.observe(None, samples(29)) == [] and starts(windows.flush()) == [22, 24, 26, 28]


@check
def wild_times_count_for_nothing(_: Path) -> None:
    windows = SessionWindows(Params())
    windows.observe(DAY, samples(0, 0.5, 61))
    assert max(starts(windows.flush())) == 0
    windows = SessionWindows(Params())
    windows.observe(DAY, samples(0))
    # An hour ahead: it waits; unconfirmed it is forgotten.
    assert windows.observe(None, samples(2 * 3600)) == []
    assert windows.observe(None, samples(2)) == [] and max(starts(windows.flush())) == 2
    windows = SessionWindows(Params())
    windows.observe(DAY, samples(0))
    windows.observe(None, samples(2 * 3600))
    kept = SessionWindows.from_state(Params(), json.loads(json.dumps(windows.to_state())))
    told = kept.observe(None, samples(2 * 3600 + 1))
    assert starts(told) == [-8, -6, -4, -2, 0] and kept.flush()[-1].count == 2


@check
def a_jump_is_confirmed_by_what_is_near_it(_: Path) -> None:
    windows = SessionWindows(Params())
    windows.observe(DAY, samples(0))
    assert windows.observe(None, samples(2 * 3600)) == []
    # An hour and a half after what waits: it takes its place.
    assert windows.observe(None, samples(3.5 * 3600)) == []
    told = windows.observe(None, samples(3.5 * 3600 + 1))
    assert starts(told) == [-8, -6, -4, -2, 0] and windows.flush()[-1].count == 2


@check
def a_lonely_reading_is_held_against_the_sessions_rate(_: Path) -> None:
    windows = SessionWindows(Params())
    dense, thin = [tick / 50 for tick in range(600)], [12 + tick / 10 for tick in range(200)]
    windows.observe(None, samples(*dense, *thin, magnitude=5.0))
    windows.observe(None, samples(52, magnitude=5.0))
    # Too late for every window, and so for the rate.
    assert windows.observe(None, samples(1)) == []
    last = windows.flush()[-1]
    # Of the last sixteen slides with readings five have 100, ten 20, and one 1: the third quartile is 100.
    assert (last.count, last.start) == (1, DAY + 52 * SECOND)
    assert last.confidence == Threshold().confidence(5.0, 1 / 500) < Threshold().confidence(5.0, 1 / 100)


@check
def times_are_read_as_spark_reads_them(_: Path) -> None:
    second = 1_700_259_614 * SECOND
    for time, read in (
        (second, second),
        (second - 1, second),
        (second - 127, second),
        (second - 129, second - 1000),
        (second + 500, second),
    ):
        assert event_time(time) == read, time


@check
def a_windows_confidence_is_the_agents(_: Path) -> None:
    rule, other = Threshold(), Threshold.read("1/9.5/20")
    moving, running = (1 / (1 + (5 / 0.908) ** -4.01)), (1 / (1 + (5 / 7.75) ** -9.31))
    assert near(rule.probability(5.0), moving * (1 - running)) and rule.probability(0.0) == 1.0
    assert near(other.probability(1.0), 0.5 * (1 - 1 / (1 + 9.5**6.8)))
    assert near(rule.confidence(5.0, 1.0), rule.probability(5.0)) and rule.confidence(5.0, 0.0) == 1 / 3
    weight = 0.01 * 1.001 / 0.011
    assert near(rule.confidence(5.0, 0.01), weight * rule.probability(5.0) + (1 - weight) / 3)
    assert [rule.label(mean) for mean in (1.999, 2.0, 8.0, 20.0)] == ["stationary", "walking", "running", "sprinting"]
    assert (rule.name(), other.name(), Threshold(2, 8, 25).name()) == (
        "threshold",
        "threshold(1/9.5/20)",
        "threshold(2/8/25)",
    )
    assert near(Threshold(2, 8, 25).probability(5.0), rule.probability(5.0))
    for wrong in ("0/8/20", "8/2/20", "1/2", "a/b/c", "1/2/inf", "nan/8/20"):
        try:
            Threshold.read(wrong)
        except ValueError:
            continue
        raise AssertionError(wrong)


def window(n: int, count: int, mean: float, rule: Threshold) -> Window:
    start = DAY + n * 2 * SECOND
    return Window(start, start + 10 * SECOND, count, mean, rule.label(mean), rule.confidence(mean, 1.0))


def row(window: Window, rule: Threshold, revision: int = 0, highest: int = 0) -> Row:
    return Row(*window[:4], window.confidence, window.activity, rule.name(), revision, highest)


def computed(windows: list[Window]) -> Recomputed:
    slides = sorted({window.start + slide * 2 * SECOND for window in windows for slide in range(5)})
    return Recomputed(windows, [], slides)


OTHER = Threshold.read("1/9.5/20")


@check
def the_latest_revision_is_compared_and_the_highest_topped(_: Path) -> None:
    rule = Threshold()
    rows = [row(window(1, 500, mean, rule), rule, revision, 4) for mean, revision in ((1.0, 0), (3.0, 2), (2.0, 1))]
    told = latest(rows)
    assert [(found.mean, found.revision) for found in told] == [(3.0, 2)]
    outcome = compare(computed([window(1, 500, 3.0, OTHER)]), told, Params(rule=OTHER))
    assert [change.revision for change in outcome.changes] == [5]
    again = row(outcome.changes[0].new, OTHER, 5, 5)
    assert compare(computed([window(1, 500, 3.0, OTHER)]), [again], Params(rule=OTHER)).changes == []


@check
def a_window_without_all_its_readings_is_labelled_by_its_stored_mean(_: Path) -> None:
    rule = Threshold()
    told = [row(window(n, 500, 1.5, rule), rule) for n in range(12)]
    left = [window(3, 40, 25.0, OTHER)] + [window(n, 500, 1.5, OTHER) for n in range(4, 12)]
    outcome = compare(computed(left), told, Params(rule=OTHER))
    assert (outcome.windows, outcome.by_mean, len(outcome.changes)) == (12, 4, 12)
    assert [change.by_mean for change in outcome.changes] == [True] * 4 + [False] * 8
    assert all(change.new.activity == "walking" and change.is_relabelled() for change in outcome.changes)
    outcome = compare(Recomputed(), told, Params())
    assert (outcome.by_mean, outcome.changes) == (12, []), "by the rule that it has nothing is known better"


@check
def a_confidence_alone_is_left_behind_a_place_where_readings_are_missing(_: Path) -> None:
    rule = Threshold()
    told = [row(window(n, 500, 1.5, rule), rule) for n in range(40)]
    left = [window(n, 500, 1.5, rule)._replace(confidence=0.123) for n in range(8, 40)]
    outcome = compare(computed(left), told, Params())
    assert [(change.new.start - DAY) // (2 * SECOND) for change in outcome.changes] == list(range(23, 40))


@check
def what_silence_alone_would_close_is_the_agents(_: Path) -> None:
    rule = Threshold()
    session = computed([window(0, 500, 1.5, rule)])
    session.open = [window(1, 500, 1.5, rule), window(2, 300, 1.5, rule)]
    outcome = compare(session, [row(window(1, 500, 1.5, rule), rule)], Params())
    assert (outcome.windows, outcome.open) == (2, 1)
    assert [(change.old, change.revision) for change in outcome.changes] == [(None, 1)]
    short = row(window(3, 500, 1.5, rule), rule)._replace(end=DAY)
    assert compare(Recomputed(), [short], Params()).other == 1


def main() -> int:
    data, right = Path(sys.argv[1]), 0
    for function in CHECKS:
        try:
            function(data)
            right += 1
        except AssertionError as error:
            print(f"{function.__name__}: line {error.__traceback__.tb_next.tb_lineno}: {error}")
    print(f"{right} of {len(CHECKS)} checks hold")
    return 0 if right == len(CHECKS) else 1


if __name__ == "__main__":
    sys.exit(main())
