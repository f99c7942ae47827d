"""What Raw signals' panels must show."""

import json
from check.expect_activity import line, slices
from check.expectations import Expected, columns, expects
from check.series import bucketed, mean, with_pauses
from check.truth import runs

AXES = ("x", "y", "z", "magnitude")


def readings(ask, sensor=None):
    """Of the chosen session, those that were measured in the range."""
    phone, session, chosen = ask.situation.one
    wanted = sensor or chosen
    return [
        row for row in ask.truth.by_session[phone, session]
        if wanted in (row.sensor, any) and ask.from_ms * 1_000_000 <= row.time_ns <= ask.to_ms * 1_000_000
    ]


@expects("raw", "sensor", "variable")
def sensors(ask):
    found = {row.sensor for row in readings(ask, any)}
    return Expected(columns("sensor:text"), [(name,) for name in sorted(found, key=lambda name: (name != "accelerometer", name))])


@expects("raw", "Annotations", "annotation")
def annotations(ask):
    found = sorted((row.time_ms, row.values["text"]) for row in readings(ask, "annotation"))
    return Expected(columns("time:time", "text:text"), found[:500])


@expects("raw", "Activity")
def labels(ask):
    points = [(at, run and run.activity) for at, run in line(runs(slices(ask)))]
    return Expected(columns("time:time", "Activity:text"), points)


@expects("raw", "$sensor: x, y, z and magnitude")
def axes(ask):
    pairs = ((0, row.time_ms, (*row.xyz, row.magnitude)) for row in readings(ask) if row.xyz)
    points = []
    for (_, begin), found in bucketed(pairs, ask.interval_ms).items():
        values = []
        for axis in zip(*found):
            values += [mean(axis), min(axis), max(axis)]
        points.append((begin, 0, *values))
    names = [f"{axis}{which}:number" for axis in AXES for which in ("", " least", " greatest")]
    return Expected(columns("time:time", *names),
                    [(begin, *values) for begin, _, *values in with_pauses(points, ask.interval_ms, 2_000, 12)])


#: What is as great is no number that a sensor means.
BEYOND = 1e99


def number(value):
    """A number, or a text that spells one."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value) if abs(float(value)) < BEYOND else None
    except ValueError:
        return None


@expects("raw", "$sensor: other values")
def values(ask):
    pairs = (
        (name, row.time_ms, number(value))
        for row in readings(ask) if not row.xyz
        for name, value in row.values.items() if number(value) is not None
    )
    points = [
        (begin, name, mean(found), min(found), max(found))
        for (name, begin), found in bucketed(pairs, ask.interval_ms).items()
    ]
    return Expected(columns("time:time", "Value:text", "mean:number", "least:number", "greatest:number"),
                    with_pauses(points, ask.interval_ms, 30_000, 3))


def known(value):
    """The app's word for unknown is a number below zero."""
    return value if value is not None and value >= 0 else None


@expects("raw", "Positions")
def positions(ask):
    first = {}
    for row in sorted(readings(ask, "location"), key=lambda row: row.time_ns):
        first.setdefault(row.time_ms // ask.interval_ms, row)
    return Expected(
        columns("time:time", "latitude:number", "longitude:number", "Speed:number", "Altitude:number", "Accuracy:number"),
        [(row.time_ms, row.values["latitude"], row.values["longitude"], known(row.values["speed"]),
          row.values["altitude"], known(row.values["horizontalAccuracy"])) for row in first.values()],
    )


@expects("raw", "$sensor: readings around the middle")
def around_the_middle(ask):
    middle = (ask.from_ms + ask.to_ms) * 500_000
    last = 2**60
    message = lambda row: last if row.message_id is None else row.message_id
    nearest = sorted(readings(ask), key=lambda row: (abs(row.time_ns - middle), message(row), row.index))[:500]
    nearest.sort(key=lambda row: (row.time_ns, message(row), row.index))
    return Expected(
        columns("Time:time", "x:number", "y:number", "z:number", "Magnitude:number", "Accuracy:number", "Reading:text",
                "Message:number", "Index:number", "Received:time", "from_ms:number", "to_ms:number",
                "near_from_ms:number", "near_to_ms:number"),
        [(row.time_ms, *(row.xyz or (None,) * 3), row.magnitude if row.xyz else None, row.accuracy,
          None if row.xyz else Json({"values": row.values}), row.message_id, row.index, ask.facts.received_ms(row),
          row.time_ms - 1_800_000, row.time_ms + 1_800_000, row.time_ms - 5_000, row.time_ms + 5_000)
         for row in nearest],
    )


class Json:
    """Equal to every spelling of it."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, str) and json.loads(other) == self.value

    def __repr__(self):
        return json.dumps(self.value)
