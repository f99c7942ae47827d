"""Means in intervals, and where a line must break: what panels over time are made of."""

import math
from collections import defaultdict


def mean(values):
    return math.fsum(values) / len(values)


def bucketed(pairs, interval_ms):
    """What lies in each interval of a series: {(series, begin of the interval): values}, of (series, ms, value)."""
    found = defaultdict(list)
    for series, at, value in pairs:
        found[series, at // interval_ms * interval_ms].append(value)
    return found


def with_pauses(points, interval_ms, least_ms, nulls):
    """(begin, series, values…) in order, with nulls behind each interval that no other follows soon."""
    by_series = defaultdict(list)
    for begin, series, *values in points:
        by_series[series].append((begin, values))
    found = []
    for series, several in by_series.items():
        several.sort()
        for (begin, values), after in zip(several, [*several[1:], None]):
            found.append((begin, series, *values))
            if after and after[0] - begin > max(3 * interval_ms, least_ms):
                found.append((begin + interval_ms, series, *[None] * nulls))
    return sorted(found, key=lambda one: (one[0], one[1]))
