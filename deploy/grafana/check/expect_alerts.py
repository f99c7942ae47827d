"""What the alert rules' queries must answer: a row for each phone, agent or session, and one of 0 where there is none."""

import math
from collections import Counter, defaultdict

from check import quality, usage
from check.expect_activity import windows
from check.expectations import Expected, columns, expects
from check.quality import NS

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BEHIND_MS, AHEAD_MS = 6 * HOUR_MS, 7 * DAY_MS


def rule(title):
    return expects("alerts", title, "alert")


def answer(labels, found):
    """`found` by label values; the rows of an alert have no order."""
    rows = sorted((*key, float(value)) for key, value in found.items()) or [(*["-"] * len(labels), 0.0)]
    return Expected(columns(*(f"{label}:text" for label in labels), "value:number"), rows)


def ends(ask, of):
    found = defaultdict(list)
    for one in windows(ask, sessions=False):
        found[of(one),].append(one.end_ms)
    return found


@rule("WarehousePhoneSilent")
def phone_silent(ask):
    found = ends(ask, lambda one: one.device)
    return answer(["phone"], {key: (ask.to_ms - max(times)) / 60_000 for key, times in found.items()
                              if max(times) - min(times) >= 300_000})


@rule("WarehousePhoneGone")
def phone_gone(ask):
    found = ends(ask, lambda one: one.device)
    return answer(["phone"], {key: (ask.to_ms - max(times)) / HOUR_MS for key, times in found.items()
                              if len({time // DAY_MS for time in times}) >= 3})


@rule("WarehouseAgentSilent")
def agent_silent(ask):
    found = ends(ask, lambda one: ask.facts.last(one)[2])
    return answer(["agent"], {key: (ask.to_ms - max(times)) / HOUR_MS for key, times in found.items()})


@rule("WarehousePushesMissing")
def pushes_missing(ask):
    found = Counter()
    for one in quality.holes(ask):
        found[one.device, one.session] += one.missing
    return answer(["phone", "session"], found)


@rule("WarehouseStoredTwice")
def stored_twice(_ask):
    return answer(["check"], {(check,): 0 for check in ("record name", "Kafka offset", "window", "gap notice")})


@rule("WarehouseStreamGap")
def stream_gap(ask):
    found = Counter()
    for gap in quality.lost(ask.facts.gaps, ask.from_ms, ask.to_ms):
        if quality.is_loss(gap):
            found[gap[0], gap[7]] += quality.frames(gap)
    return answer(["agent", "reason"], found)


@rule("WarehouseLateReadings")
def late_readings(ask):
    return answer(["phone", "session"], {
        (one.device, one.session): one.share for one in quality.lateness(ask) if one.readings >= 1000
    })


@rule("WarehouseClockSkew")
def clock_skew(ask):
    """Of pushes that the agent had in the range, whenever the phone says that they were measured."""
    arrived = [
        push for push in quality.pushes(ask, ask.from_ms - BEHIND_MS, ask.to_ms + AHEAD_MS)
        if ask.from_ms <= push.received_ms <= ask.to_ms
    ]
    found = defaultdict(list)
    for one in quality.skews(arrived):
        found[one.device, one.agent] += one.steps
    return answer(["phone", "agent"], {key: min(steps) / 1000 for key, steps in found.items() if len(steps) >= 5})


@rule("WarehouseLatencyHigh")
def latency_high(ask):
    took = defaultdict(list)
    for push in quality.pushes(ask):
        if ask.query.source == "sqlite":
            took[push.agent,].append(push.received_ms - push.last_ms)
        elif (end := push.kafka_ms if push.row_ms is None else push.row_ms) is not None:
            took[push.agent,].append(end - push.received_ms)
    return answer(["agent"], {
        key: quality.percentile(steps, 95) / 1000 for key, steps in took.items() if len(steps) >= 20
    })


@rule("WarehouseCreditsNearlyUsed")
def credits_nearly_used(ask):
    spent = math.fsum(
        one.credits_used for one in usage.HOURS if one.name == "GAITWAY_READ" and ask.from_ms <= one.at_ms < ask.to_ms
    )
    return answer([], {(): spent / 20})
