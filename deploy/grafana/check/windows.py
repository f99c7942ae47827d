"""Windows as the seed's Spark job makes them, from nothing but pushes in the order in which they arrived.

This is the rule of docs and golden files, written down once more without looking at the agent: windows of 10 s every
2 s, aligned to the epoch, half open, of the accelerometer's magnitude. A reading counts for a window unless the
window's end is at or below the watermark that held before its message: the greatest time so far less 10 s.
"""

import math
from dataclasses import dataclass

SIZE, STEP, LATENESS = 10_000_000_000, 2_000_000_000, 10_000_000_000
THRESHOLDS = (2.0, 8.0, 20.0)
LABELS = ("stationary", "walking", "running", "sprinting")


@dataclass(frozen=True)
class Window:
    start_ns: int
    samples: int
    mean: float

    @property
    def start_ms(self):
        return self.start_ns // 1_000_000

    @property
    def end_ms(self):
        return (self.start_ns + SIZE) // 1_000_000


def label(mean, thresholds=THRESHOLDS):
    return LABELS[sum(mean >= bound for bound in thresholds)]


def event_time(time_ns):
    """A time as Spark reads it: seconds as a double, cut to microseconds."""
    return int(time_ns / 1e9 * 1e6) * 1000


def starts(time_ns):
    last = time_ns // STEP * STEP
    return range(last, time_ns - SIZE, -STEP)


def windows(messages):
    """The windows of one session. Each message is a list of (time_ns, x, y, z), in order of arrival."""
    sums, watermark, greatest = {}, None, None
    for message in messages:
        before = watermark
        for time, x, y, z in message:
            time = event_time(time)
            for start in starts(time):
                if before is None or start + SIZE > before:
                    sums.setdefault(start, []).append(math.sqrt(x * x + y * y + z * z))
            greatest = time if greatest is None else max(greatest, time)
        if greatest is not None:
            watermark = greatest - LATENESS
    return [Window(start, len(found), math.fsum(found) / len(found)) for start, found in sorted(sums.items())]
