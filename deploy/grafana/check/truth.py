"""What must be in a warehouse that took these pushes in, and what follows from it: computed from the pushes alone."""

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from check import scenario
from check.windows import THRESHOLDS, label, windows


@dataclass(frozen=True)
class Row:
    """A reading as stored."""

    device: str
    session: str
    message_id: int | None
    index: int
    arrival: int
    sensor: str
    time_ns: int
    values: dict
    xyz: tuple | None
    accuracy: int | None

    @property
    def time_ms(self):
        return self.time_ns // 1_000_000

    @property
    def magnitude(self):
        x, y, z = self.xyz
        return math.sqrt(x * x + y * y + z * z)


@dataclass(frozen=True)
class Classified:
    """A window as classified last."""

    device: str
    session: str
    start_ms: int
    end_ms: int
    samples: int
    mean: float
    activity: str
    revision: int
    classifier: str


@dataclass(frozen=True)
class Slice:
    """The part of time for which a window speaks."""

    device: str
    session: str
    activity: str
    start_ms: int
    end_ms: int

    @property
    def lasted_ms(self):
        return self.end_ms - self.start_ms


class Truth:
    """Everything is by session, so that no answer of one depends on another."""

    def __init__(self, now_ms):
        self.now_ms = now_ms
        self.sessions = scenario.sessions(now_ms)

    @cached_property
    def rows(self):
        found = []
        for session in self.sessions:
            for arrival, push in enumerate(session.accepted):
                for index, one in enumerate(push.readings):
                    found.append(Row(session.device, session.session, push.message_id, index, arrival, one.sensor,
                                     one.time_ns, one.values, one.xyz, one.more.get("accuracy")))
        return found

    @cached_property
    def by_session(self):
        grouped = defaultdict(list)
        for row in self.rows:
            grouped[row.device, row.session].append(row)
        return dict(grouped)

    @cached_property
    def windows(self):
        """Of all sessions, each in order of time."""
        found = []
        for session in self.sessions:
            again = session.device == scenario.RECLASSIFIED
            bounds = scenario.AGAIN if again else THRESHOLDS
            taken = [
                [(one.time_ns, *one.xyz) for one in push.readings if one.sensor == "accelerometer"]
                for push in session.accepted
            ]
            name = "threshold({:g}/{:g}/{:g})".format(*bounds) if again else "threshold"
            found.extend(
                Classified(session.device, session.session, one.start_ms, one.end_ms, one.samples, one.mean,
                           label(one.mean, bounds), int(again), name)
                for one in windows(taken)
            )
        return found

    @cached_property
    def slices(self):
        """Each window until its session's next one begins, or it ends."""
        found = []
        for one, after in zip(self.windows, [*self.windows[1:], None]):
            end = one.end_ms
            if after and (after.device, after.session) == (one.device, one.session):
                end = min(end, after.start_ms)
            found.append(Slice(one.device, one.session, one.activity, one.start_ms, end))
        return found


def runs(slices):
    """Slices of one activity of a session that follow each other without a pause, as one."""
    found = []
    for one in slices:
        last = found[-1] if found else None
        if last and (last.device, last.session, last.activity, last.end_ms) == (
                one.device, one.session, one.activity, one.start_ms):
            found[-1] = Slice(last.device, last.session, last.activity, last.start_ms, one.end_ms)
        else:
            found.append(one)
    return found


EARTH_M = 6_371_008.8


def metres(one, two):
    """Along the surface of the earth, by the angle between the two directions from its centre."""
    def direction(place):
        north, east = math.radians(place["latitude"]), math.radians(place["longitude"])
        return math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)

    a, b = direction(one), direction(two)
    # The half angle by the chord: exact where the two are near each other.
    chord = math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b)))
    return 2 * EARTH_M * math.asin(min(1.0, chord / 2))


def distance(rows):
    """The way between positions that the phone is sure of; None if no way counts."""
    sure = [
        row for row in sorted(rows, key=lambda row: row.time_ns)
        if row.sensor == "location" and 0 <= row.values["horizontalAccuracy"] <= 50
    ]
    ways = []
    for one, two in zip(sure, sure[1:]):
        took_s = (two.time_ns - one.time_ns) / 1e9
        way, speed = metres(one.values, two.values), two.values["speed"]
        stands = 0 <= speed < 0.3
        if 0 < took_s <= 60 and way <= 100 * took_s and not stands:
            ways.append(way)
    return math.fsum(ways) if ways else None


def steps(rows):
    """By how much the count rose; where it fell it began anew. None without a count."""
    counts = [
        int(row.values["steps"])
        for row in sorted(rows, key=lambda row: row.time_ns) if row.sensor == "pedometer"
    ]
    if not counts:
        return None
    return sum(after - before if after >= before else after for before, after in zip(counts, counts[1:]))
