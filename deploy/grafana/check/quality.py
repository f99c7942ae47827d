"""How the data came: pushes with their times, holes, lateness. From rows as stored, step by step, for Pipeline and alerts."""

import math
from collections import defaultdict
from dataclasses import dataclass

NS = 1_000_000
BEYOND_MS, BEFORE_MS = 120_000, 3_600_000
LATENESS_NS = 10_000_000_000
HOPS = ("phone → agent", "agent → Kafka", "Kafka → row", "push → row")


@dataclass(frozen=True)
class Pushed:
    """A push as it is stored."""

    agent: str
    epoch: str
    device: str
    session: str
    message_id: int | None
    readings: int
    last_ns: int
    received_ms: int
    kafka_ms: int | None
    row_ms: int | None
    synced: bool

    @property
    def last_ms(self):
        return self.last_ns // NS

    def hops(self):
        """Number of the hop and how long it took, of those that are known."""
        received, kafka, row = self.received_ms, self.kafka_ms, self.row_ms
        steps = ((self.last_ms, received), (received, kafka), (kafka, row), (received, row))
        for number, (begin, end) in enumerate(steps):
            if begin is not None and end is not None:
                yield number, end - begin


def pushes(ask, from_ms=None, to_ms=None):
    """Those whose last reading is in the range."""
    begin, end = from_ms or ask.from_ms, to_ms or ask.to_ms
    found = []
    for rows in ask.facts.pushes.values():
        name, first = rows[0].name, rows[0]
        if not ask.has_phone(first.device):
            continue
        last = max(row.time_ns for row in rows)
        if begin * NS <= last <= end * NS:
            kafka = [int(row.name["CreateTime"]) for row in rows if "CreateTime" in row.name]
            stored = [row.stored_ms for row in rows if row.stored_ms is not None]
            found.append(Pushed(
                name["agent"], str(name["epoch"]), first.device, first.session, first.message_id, len(rows), last,
                first.received_ms, max(kafka, default=None), max(stored, default=None), name["clockSynced"] is True,
            ))
    return found


def percentile(values, share):
    """By nearest rank."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered) / 100) - 1]


@dataclass(frozen=True)
class Hole:
    device: str
    session: str
    before: int
    after: int
    before_ms: int
    next_ms: int

    @property
    def missing(self):
        return self.after - self.before - 1


def holes(ask):
    """Missing numbers before a push that begins in the range; the one before may be up to an hour older."""
    begin, end = (ask.from_ms - BEFORE_MS) * NS, (ask.to_ms + BEYOND_MS) * NS
    found = []
    for (device, session), rows in ask.truth.by_session.items():
        if not ask.has_phone(device):
            continue
        times = defaultdict(list)
        for row in rows:
            if row.message_id is not None and begin <= row.time_ns <= end:
                times[row.message_id].append(row.time_ns)
        numbers = sorted(times)
        for before, after in zip(numbers, numbers[1:]):
            first = min(times[after])
            if after > before + 1 and ask.from_ms * NS <= first <= ask.to_ms * NS:
                found.append(Hole(device, session, before, after, max(times[before]) // NS, first // NS))
    return found


@dataclass(frozen=True)
class Lateness:
    device: str
    session: str
    readings: int
    late: int
    first_ns: int
    last_ns: int

    @property
    def share(self):
        return self.late / self.readings


def lateness(ask):
    """Accelerometer readings of the range that were more than 10 s behind the newest of an earlier push."""
    found = []
    for (device, session), rows in ask.truth.by_session.items():
        newest, late, times, arrival, pushed = None, 0, [], None, []
        for row in rows:
            if row.sensor != "accelerometer" or not ask.from_ms * NS <= row.time_ns <= (ask.to_ms + BEYOND_MS) * NS:
                continue
            if row.arrival != arrival:
                newest = max(pushed, default=None)
                arrival = row.arrival
            pushed.append(row.time_ns)
            if row.time_ns <= ask.to_ms * NS:
                times.append(row.time_ns)
                late += newest is not None and row.time_ns < newest - LATENESS_NS
        if times and ask.has_phone(device):
            found.append(Lateness(device, session, len(times), late, min(times), max(times)))
    return found


@dataclass(frozen=True)
class Skew:
    device: str
    session: str
    agent: str
    steps: tuple
    unsynced: int
    begin_ms: int
    end_ms: int

    @property
    def least(self):
        return min(self.steps)


def skews(found):
    """By session and agent, of pushes."""
    grouped = defaultdict(list)
    for push in found:
        grouped[push.device, push.session, push.agent].append(push)
    return [
        Skew(*key, tuple(one.received_ms - one.last_ms for one in several), sum(not one.synced for one in several),
             min(one.last_ms for one in several), max(one.last_ms for one in several))
        for key, several in grouped.items()
    ]


def lost(gaps, from_ms, to_ms):
    """Gaps that were noticed in the range."""
    return [gap for gap in gaps if from_ms <= gap[-1] <= to_ms]


def is_loss(gap):
    return gap[7] not in ("forgotten", "forgotten in the warehouse")


def frames(gap):
    return gap[4] - gap[3] + 1
