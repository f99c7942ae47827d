"""Windows of one session, from messages in the order in which the agent took them: a port of agent/src/windows.rs.

- A reading counts for every window that holds its time, except those whose end is at or below the watermark before its
  message: greatest time so far less the lateness, never below what silence raised it to.
- After a message the windows whose end is at or below the new watermark are told; silence tells all that are open. None is
  told twice.
- A reading more than 60 s above its message's median is wild. A message more than an hour past the greatest time waits for
  the next one to confirm it.
- Sums are taken in the agent's order, so that means are equal to the bit.

Plain Python, no Spark. Times are nanoseconds since the Unix epoch, by the phone's clock.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from classify import Threshold

SECOND = 1_000_000_000
SKEW = 60 * SECOND
JUMP = 3600 * SECOND

#: Greatest usable time: windows, lateness and jumps still fit above it.
MAX_TIME = (1 << 63) - 1 - (1 << 50)

#: Greatest usable magnitude: the root of the greatest finite square.
MAX_MAGNITUDE = 1.3407807929942596e154

#: Slides whose counts tell the session's rate: the last ones with readings.
RATE_PANES = 16

#: Readings a second that every session is taken to have at least.
SLOWEST = 10

_GRAIN = SECOND // 10
_LONGEST = 3600 * SECOND
_MAX_PANES = 1000


class Sample(NamedTuple):
    """A reading of the accelerometer: `time` as `event_time` reads it, `magnitude` in m/s²."""

    time: int
    magnitude: float


class Window(NamedTuple):
    start: int
    end: int
    count: int
    mean: float
    activity: str
    confidence: float


@dataclass(frozen=True)
class Params:
    """Length of a window, from one start to the next, wait for late readings (ns), and the rule that labels."""

    window: int = 10 * SECOND
    slide: int = 2 * SECOND
    lateness: int = 10 * SECOND
    rule: Threshold = field(default_factory=Threshold)

    def __post_init__(self) -> None:
        if self.slide <= 0 or self.slide % _GRAIN:
            raise ValueError(f"a slide of {self.slide / SECOND} s must be a multiple of 0.1 s above 0")
        if not self.slide <= self.window <= _LONGEST or self.window % self.slide:
            raise ValueError(
                f"a window of {self.window / SECOND} s must be a multiple of the slide, from the slide up to one hour"
            )
        if not 0 <= self.lateness <= _LONGEST:
            raise ValueError(f"a lateness of {self.lateness / SECOND} s must be from 0 up to one hour")
        if (self.window + self.lateness) // self.slide > _MAX_PANES:
            raise ValueError(f"window and lateness together are longer than {_MAX_PANES} slides")

    def align(self, time: int) -> int:
        """The start of the slide that holds `time`."""
        return time // self.slide * self.slide


def is_usable_time(time: int) -> bool:
    return 0 <= time <= MAX_TIME


def event_time(time: int) -> int:
    """A usable time as Spark's `(time / 1e9).cast("timestamp")` reads it: seconds in f64, cut to whole microseconds."""
    return min(int(time / 1e9 * 1e6) * 1000, MAX_TIME)


def lower_median(times: Sequence[int]) -> int | None:
    return sorted(times)[(len(times) - 1) // 2] if times else None


class _Message(NamedTuple):
    median: int
    greatest: int
    samples: list[Sample]


def _read(median: int | None, samples: Iterable[Sample]) -> _Message | None:
    """What of a message can be believed. `median` is that of all its readings, whatever their sensor."""
    samples = list(samples)
    middle = event_time(median) if median is not None else lower_median([sample.time for sample in samples])
    if middle is None:
        return None
    kept = [sample for sample in samples if sample.time <= middle + SKEW]
    if not kept:
        return None
    return _Message(middle, max(sample.time for sample in kept), kept)


def _without_scattered(message: _Message) -> _Message:
    """Only what lies within an hour of its own readings' median: the message has nothing else to be compared with."""
    middle = lower_median([sample.time for sample in message.samples])
    kept = [sample for sample in message.samples if abs(sample.time - middle) <= JUMP]
    return _Message(message.median, max(sample.time for sample in kept), kept)


class SessionWindows:
    """The windows of one session. `to_state` and `from_state` make it durable as plain values."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self._greatest: int | None = None
        self._floor: int | None = None
        #: Starts of slides with readings that an open window still holds, ascending, and their [count, total].
        self._starts: list[int] = []
        self._panes: dict[int, list] = {}
        #: Counts of the last slides that were let go of, oldest first.
        self._former: list[int] = []
        self._held: tuple[int, int, dict[int, list]] | None = None

    def observe(self, median: int | None, samples: Iterable[Sample]) -> list[Window]:
        """Takes in one message: the lower median of its usable times, and its usable samples. Gives what it closes."""
        message = _read(median, samples)
        if message is None:
            return []
        jumps = self._greatest is not None and message.median - self._greatest > JUMP
        if jumps or self._greatest is None:
            message = _without_scattered(message)
        closed: list[Window] = []
        held, self._held = self._held, None
        confirmed = held is not None and jumps and abs(held[0] - message.median) <= JUMP
        if confirmed:
            closed += self._take_in(held[1], held[2])
        panes = self._sum(message.samples)
        if jumps and not confirmed:
            self._held = (message.median, message.greatest, panes)
            return closed
        return closed + self._take_in(message.greatest, panes)

    def flush(self) -> list[Window]:
        """Silence: tells every open window. A message that waits still waits."""
        closed = self._closed(self._watermark(), None)
        if closed:
            self._floor = max(closed[-1].end, -1 if self._floor is None else self._floor)
        self._forget()
        return closed

    def has_open(self) -> bool:
        return bool(self._starts)

    def _take_in(self, greatest: int, panes: dict[int, list]) -> list[Window]:
        before = self._watermark()
        for start, (count, total) in panes.items():
            if before is None or start + self.params.window > before:
                pane = self._panes.get(start)
                if pane is None:
                    bisect.insort(self._starts, start)
                    pane = self._panes[start] = [0, 0.0]
                pane[0] += count
                pane[1] += total
        if self._greatest is None or greatest > self._greatest:
            self._greatest = greatest
        closed = self._closed(before, self._watermark())
        self._forget()
        return closed

    def _watermark(self) -> int | None:
        if self._greatest is None:
            return self._floor
        watermark = self._greatest - self.params.lateness
        return watermark if self._floor is None else max(self._floor, watermark)

    def _sum(self, samples: list[Sample]) -> dict[int, list]:
        panes: dict[int, list] = {}
        slide = self.params.slide
        for time, magnitude in samples:
            start = time // slide * slide
            pane = panes.get(start)
            if pane is None:
                pane = panes[start] = [0, 0.0]
            pane[0] += 1
            pane[1] += magnitude
        return panes

    def _closed(self, before: int | None, up_to: int | None) -> list[Window]:
        """Windows with readings and an end above `before`, up to and with `up_to`; without it all of them."""
        window, slide, found = self.params.window, self.params.slide, []
        if not self._starts:
            return found
        start = self._starts[0] - window + slide
        if before is not None:
            start = self.params.align(before - window) + slide
        rate = self._readings_per_pane()
        while True:
            first = bisect.bisect_left(self._starts, start)
            if first == len(self._starts):
                return found
            start = max(start, self._starts[first] - window + slide)
            if up_to is not None and start + window > up_to:
                return found
            count, total = 0, 0.0
            for pane in self._starts[first : bisect.bisect_left(self._starts, start + window)]:
                count += self._panes[pane][0]
                total += self._panes[pane][1]
            found.append(self._classified(start, count, total, rate))
            start += slide

    def _classified(self, start: int, count: int, total: float, rate: int) -> Window:
        window, rule, mean = self.params.window, self.params.rule, total / count
        fill = min(count / (rate * float(window // self.params.slide)), 1.0)
        return Window(start, start + window, count, mean, rule.label(mean), rule.confidence(mean, fill))

    def _readings_per_pane(self) -> int:
        """The session's rate: third quartile of the counts of its last slides with readings."""
        last = [self._panes[start][0] for start in self._starts[-RATE_PANES:]]
        missing = RATE_PANES - len(last)
        rate = quartile(last + (self._former[-missing:] if missing else []))
        return max(rate, SLOWEST * self.params.slide // SECOND, 1)

    def _forget(self) -> None:
        watermark = self._watermark()
        if watermark is None:
            return
        spent = 0
        while spent < len(self._starts) and self._starts[spent] + self.params.window <= watermark:
            self._former.append(self._panes.pop(self._starts[spent])[0])
            spent += 1
        del self._starts[:spent]
        del self._former[:-RATE_PANES]

    def to_state(self) -> dict:
        panes = [[start, *self._panes[start]] for start in self._starts]
        held = self._held and [self._held[0], self._held[1], [[start, *pane] for start, pane in self._held[2].items()]]
        return {"greatest": self._greatest, "floor": self._floor, "panes": panes, "former": self._former, "held": held}

    @classmethod
    def from_state(cls, params: Params, state: dict) -> SessionWindows:
        windows = cls(params)
        windows._greatest, windows._floor, windows._former = state["greatest"], state["floor"], state["former"]
        windows._starts = [start for start, _, _ in state["panes"]]
        windows._panes = {start: [count, total] for start, count, total in state["panes"]}
        if state["held"]:
            median, greatest, panes = state["held"]
            windows._held = (median, greatest, {start: [count, total] for start, count, total in panes})
        return windows


def quartile(counts: Sequence[int]) -> int:
    """The third quartile as the agent takes it; 0 of none."""
    place = -(-len(counts) * 3 // 4) - 1
    return sorted(counts)[place] if place >= 0 else 0
