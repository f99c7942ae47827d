"""Activity where another writer's rows stand among gaitway's: an activity that our classifier does not give, and windows
of which nobody knows whose they are. In a transaction that is never committed, or in a copy.
"""

import copy
from dataclasses import replace
from functools import cache

from check.expectations import REGISTERED

CHANGED, BEFORE, AFTER = "s-full-0003", "walking", "cycling"
NAMELESS = "s-third-day-11"
SITUATIONS = ("fortnight", "session", "edges", "one phone")


def concerns(query):
    return query.dashboard == "activity"


def statements(_raw, processed):
    """By what stands before names of tables."""
    windows = f"{processed}USER_ACTIVITY_PROCESSED"
    yield f"UPDATE {windows} SET activity = '{AFTER}' WHERE sessionId = '{CHANGED}' AND activity = '{BEFORE}'"
    yield f"UPDATE {windows} SET deviceId = NULL WHERE sessionId = '{NAMELESS}'"


@cache
def changed(truth):
    """Windows of nobody count nowhere."""
    windows = [
        replace(one, activity=AFTER) if (one.session, one.activity) == (CHANGED, BEFORE) else one
        for one in truth.windows if one.session != NAMELESS
    ]
    assert AFTER in {one.activity for one in windows} and len(windows) < len(truth.windows)
    other = copy.copy(truth)
    other.__dict__.pop("slices", None)
    other.__dict__["windows"] = windows
    return other


def wanted(ask):
    """What each question must answer of it."""
    return REGISTERED[ask.query.name].compute(replace(ask, truth=changed(ask.truth)))
