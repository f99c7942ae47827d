"""Windows computed anew against those that a warehouse has: a port of src/reclassify/compare.rs.

- A window's latest revision counts; a revision is written only where something of it differs.
- Where the readings of a window are not there, or not all of them, its stored mean decides: the label is exact, the confidence
  takes the session's rate from the sample counts of the windows around it.
- Behind a place from which readings are missing the rate is not known for sure: a window that differs in its confidence alone is
  left as it is there.
- A window that silence alone would close is compared where the warehouse has it, and else left to the agent.
- Windows of another length are left alone.
- What was written is not different the next time.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from recompute import Recomputed
from windows import RATE_PANES, SECOND, SLOWEST, Params, Window, quartile

#: Numbers that differ by less are the same.
TOLERANCE = 1e-9


class Row(NamedTuple):
    """A row of the table of windows. Times in ns."""

    start: int
    end: int
    count: int | None
    mean: float | None
    confidence: float | None
    activity: str | None
    classifier: str | None
    revision: int
    #: The highest revision of this window, whichever agent's.
    highest: int


class Change(NamedTuple):
    """A revision that is to be written; `old` is none where the warehouse has no such window."""

    old: Row | None
    new: Window
    revision: int
    by_mean: bool

    def is_measured_anew(self) -> bool:
        return self.old is not None and not _is_measured_alike(self.old, self.new)

    def is_relabelled(self) -> bool:
        return self.old is not None and (self.old.activity or "(none)") != self.new.activity


@dataclass
class Outcome:
    #: Windows that were compared or are new.
    windows: int = 0
    #: In order of their start.
    changes: list[Change] = field(default_factory=list)
    #: Windows that could be judged by their stored mean alone.
    by_mean: int = 0
    #: Of these, windows in which readings lie of which none should count.
    only_there: int = 0
    #: Windows that the agent has yet to close.
    open: int = 0
    #: Windows of another length, or without what is needed.
    other: int = 0


def latest(rows: Iterable[Row]) -> list[Row]:
    """One agent's latest revisions in order of their start; of equal ones the first by rule, mean and confidence."""

    def order(row: Row):
        # As SQL sorts: nulls last.
        rest = (row.classifier, row.mean, row.confidence)
        return row.start, -row.revision, *((value is None, 0 if value is None else value) for value in rest)

    found: list[Row] = []
    for row in sorted(rows, key=order):
        if not found or found[-1].start != row.start:
            found.append(row)
    return found


def compare(
    recomputed: Recomputed, told: list[Row], params: Params, since: int | None = None, until: int | None = None
) -> Outcome:
    """What is new in `recomputed` against what was `told`; only of windows that end at `since` or later and before `until`."""
    comparison, outcome = _Comparison(recomputed, told, params), Outcome()
    fresh = {window.start: (window, False) for window in recomputed.closed}
    fresh |= {window.start: (window, True) for window in recomputed.open}
    places = {row.start: place for place, row in enumerate(told)}
    missing: int | None = None
    for start in sorted(fresh.keys() | places.keys()):
        place = places.get(start)
        old = None if place is None else told[place]
        new, is_open = fresh.get(start, (None, False))
        is_whole = old is None or (new is not None and (old.count is None or new.count >= old.count))
        if not is_whole:
            missing = old.end if missing is None else max(missing, old.end)
        end = old.end if old else start + params.window
        if (since is not None and end < since) or (until is not None and end >= until):
            continue
        if old is None:
            if is_open:
                outcome.open += 1
            else:
                outcome.windows += 1
                outcome.changes.append(Change(None, new, 1, False))
        elif not comparison.is_comparable(old):
            outcome.other += 1
        elif is_whole:
            outcome.windows += 1
            if comparison.differs(old, new) and not comparison.is_doubtful(old, new, missing):
                outcome.changes.append(Change(old, new, old.highest + 1, False))
        else:
            outcome.windows += 1
            outcome.by_mean += 1
            outcome.only_there += new is None and comparison.has_readings(start)
            new = comparison.by_mean(place)
            if new is not None and comparison.differs(old, new):
                outcome.changes.append(Change(old, new, old.highest + 1, True))
    return outcome


class _Comparison:
    def __init__(self, recomputed: Recomputed, told: list[Row], params: Params) -> None:
        self._slides, self._told, self._params = recomputed.slides, told, params
        self._name = params.rule.name()

    def is_comparable(self, row: Row) -> bool:
        is_known = row.count is not None and row.mean is not None and math.isfinite(row.mean) and row.mean >= 0.0
        return row.end - row.start == self._params.window and is_known

    def differs(self, row: Row, new: Window) -> bool:
        return (
            not _is_measured_alike(row, new)
            or not self._is_labelled_alike(row, new)
            or not _is_near(row.confidence, new.confidence)
        )

    def is_doubtful(self, row: Row, new: Window, missing: int | None) -> bool:
        """Whether all that differs is a confidence whose rate may have been another one."""
        if missing is None or not self._is_labelled_alike(row, new) or not _is_measured_alike(row, new):
            return False
        seen = bisect.bisect_left(self._slides, new.end) - bisect.bisect_left(self._slides, missing)
        return max(seen, 0) < RATE_PANES

    def has_readings(self, start: int) -> bool:
        first = bisect.bisect_left(self._slides, start)
        return first < len(self._slides) and self._slides[first] < start + self._params.window

    def by_mean(self, place: int) -> Window | None:
        """The stored window with the label of its mean; none where its rule is the one asked for: nothing is known better."""
        row = self._told[place]
        if row.classifier == self._name:
            return None
        around = self._told[max(place - RATE_PANES // 2, 0) : place + RATE_PANES // 2 + 1]
        counts = [told.count for told in around if told.count is not None]
        full = max(quartile(counts), SLOWEST * self._params.window // SECOND, 1)
        rule, fill = self._params.rule, min(row.count / full, 1.0)
        return Window(row.start, row.end, row.count, row.mean, rule.label(row.mean), rule.confidence(row.mean, fill))

    def _is_labelled_alike(self, row: Row, new: Window) -> bool:
        return row.activity == new.activity and row.classifier == self._name and row.confidence is not None


def _is_measured_alike(row: Row, new: Window) -> bool:
    return row.count == new.count and row.mean is not None and _is_near(row.mean, new.mean)


def _is_near(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))
