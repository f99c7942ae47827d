"""What the test's phones push: real recordings at times that are known, and what recordings do not have.

The past is a fortnight in March 2025 in which Europe's clocks went forward (30 March, 01:00 UTC). The live part ends at
the moment that is given. Everything else is the same at every run.
"""

import base64
import json
import math
import random
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from check.recordings import Reading, packed, trials

SECOND = 1_000_000_000
MINUTE_MS = 60_000


def moment_ms(text):
    """Milliseconds since the epoch of a moment in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) * 1000


@dataclass
class Push:
    """One message of a phone. Without a `message_id` it has none."""

    device: str
    session: str
    message_id: int | None
    readings: list[Reading]

    @property
    def body(self):
        payload = [
            {"name": one.sensor, "time": one.time_ns, "values": one.values} | one.more for one in self.readings
        ]
        named = {} if self.message_id is None else {"messageId": self.message_id}
        return json.dumps(named | {"sessionId": self.session, "deviceId": self.device, "payload": payload})


@dataclass
class Session:
    device: str
    session: str
    #: In order of arrival, pushed twice if they are here twice.
    pushes: list[Push] = field(default_factory=list)

    @property
    def accepted(self):
        """Each push once, in order of arrival."""
        seen, kept = set(), []
        for push in self.pushes:
            name = push.body if push.message_id is None else push.message_id
            if name not in seen:
                seen.add(name)
                kept.append(push)
        return kept


def walked(rows, start_ns):
    """Accelerometer readings of trials that begin at `start_ns`."""
    return [
        Reading("accelerometer", start_ns + time, {"z": z, "y": y, "x": x}) for time, x, y, z in packed(rows, 25 * SECOND)
    ]


def messages(device, session, readings):
    """Readings as messages of a second each, in order of time, numbered from 0."""
    by_second = {}
    for one in sorted(readings, key=lambda reading: reading.time_ns):
        by_second.setdefault(one.time_ns // SECOND, []).append(one)
    return [Push(device, session, number, found) for number, (_, found) in enumerate(sorted(by_second.items()))]


def turned(readings):
    """A gyroscope beside the accelerometer, with an accuracy as Android's phones send it."""
    return [
        Reading("gyroscope", one.time_ns, {axis: round(value / 8, 6) for axis, value in one.values.items()},
                {"accuracy": 3 if number % 5 else 2})
        for number, one in enumerate(readings)
    ]


def each(readings, period_s):
    """Times in every so many seconds in which the phone recorded."""
    times = {}
    for one in readings:
        times.setdefault(one.time_ns // (period_s * SECOND), one.time_ns + 1_234_567)
    return list(times.values())


def places(readings):
    """A way north-east at walking pace, with what a real one has: doubts, a jump, a stand, words for unknown."""
    found, latitude, longitude = [], 52.5, 13.4
    for number, time in enumerate(each(readings, 1)):
        latitude += 0.00001
        longitude += 0.000012
        values = {
            "latitude": latitude, "longitude": longitude, "altitude": 34.5 + number % 7, "speed": 1.4,
            "bearing": 37.0, "horizontalAccuracy": 5.0, "verticalAccuracy": 3.0,
        }
        if number % 11 == 3:
            values["horizontalAccuracy"] = 80.0
        if number % 13 == 4:
            values |= {"speed": -1, "bearing": -1}
        if number % 17 == 5:
            values["speed"] = 0.1
        if number == 40:
            values["latitude"] += 1.0
        if number == 50:
            values["horizontalAccuracy"] = -1
        if number % 90 != 60:
            found.append(Reading("location", time, values))
    return found


def counted(readings):
    """Steps since the recording began; the count begins anew once, and once it is text."""
    found, steps = [], 0
    for number, time in enumerate(each(readings, 2)):
        steps = 0 if number == 70 else steps + number % 4
        found.append(Reading("pedometer", time, {"steps": str(steps) if number == 33 else steps}))
    return found


def classified(readings, words):
    """The phone's own word every seven seconds; before the first nothing is known."""
    times = each(readings, 7)[2:]
    sure = ("low", "medium", "high")
    return [
        Reading("activity", time, {"activity": words[number // 4 % len(words)], "confidence": sure[number % 3]})
        for number, time in enumerate(times)
    ]


def slow_sensors(readings):
    battery = [
        Reading("battery", time, {"batteryLevel": 0.9 - number / 100, "batteryState": "unplugged", "lowPowerMode": False})
        for number, time in enumerate(each(readings, 30))
    ]
    air = [
        Reading("barometer", time, {"pressure": 1013.25 + math.sin(number) / 10, "relativeAltitude": number / 20})
        for number, time in enumerate(each(readings, 1))
    ]
    # What no sensor measures, as text: as great as may be, and greater.
    air[20].values |= {"great": "1e98", "too great": "-1e99", "huge": "1e300", "endless": "1e999"}
    notes = [
        Reading("annotation", readings[at].time_ns + 7_654_321, {"text": text, "millisecond_press_duration": 120})
        for at, text in ((10, "walk"), (3000, "it's a \"hill\""), (6000, "sit"))
    ]
    return battery + air + notes


def troubled(pushes):
    """Holes, pushes late or in another order, one twice, one without a number, two with each other's."""
    lost = {41, 42, 200}
    pushes = [push for push in pushes if push.message_id not in lost]
    pushes[60], pushes[61] = pushes[61], pushes[60]
    late = pushes[90:104]
    del pushes[90:104]
    pushes[115:115] = late
    pushes.insert(130, pushes[128])
    pushes[150].message_id = None
    # Numbers that run against the time, around one that is lost.
    before, after = (next(push for push in pushes if push.message_id == number) for number in (199, 201))
    before.message_id, after.message_id = 201, 199
    return pushes


#: Device, session, subject, trials, when.
PAST = (
    ("phone-1", "s-long-ago-0001", "motionsense/ms02", ("dws_2",), "2025-03-10T07:00:00"),
    ("phone-1", "s-week-before-02", "motionsense/ms02", ("jog_9", "sit_13", "wlk_8", "dws_1"), "2025-03-18T07:50:00"),
    ("phone-1", "s-full-0003", "motionsense/ms05", ("jog_9", "sit_13", "std_14", "wlk_7", "ups_3"), "2025-03-25T17:30:00"),
    ("phone-1", "s-beside-0010", "motionsense/ms08", ("wlk_15", "ups_3"), "2025-03-25T17:32:00"),
    ("phone-2", "s-midnight-04", "wisdm2019/wi1604", ("A_walking", "B_jogging", "D_sitting"), "2025-03-26T23:55:00"),
    ("phone-2", "s-troubled-05", "motionsense/ms13", ("jog_9", "sit_13", "ups_4", "wlk_8"), "2025-03-27T10:00:00"),
    ("phone-2", "s-third-day-11", "wisdm2019/wi1604", ("C_stairs",), "2025-03-28T08:00:00"),
    ("o'hara", "s-summer-time-06", "motionsense/ms08", ("jog_9", "dws_1", "std_14"), "2025-03-30T00:57:00"),
)
WORDS = ("walking", "Running", "stationary", "unknown", "cycling")
#: Whose windows are classified again, by which thresholds.
RECLASSIFIED, AGAIN = "phone-2", (1.0, 9.5, 14.0)


def past():
    for device, session, subject, names, at in PAST:
        readings = walked(trials(subject, names), moment_ms(at) * 1_000_000)
        more = []
        if session == "s-full-0003":
            more = turned(readings) + places(readings) + counted(readings) + slow_sensors(readings)
            more += classified(readings, WORDS)
        if session == "s-beside-0010":
            more = classified(readings, ("stationary", "walking")) + counted(readings)
        if session == "s-midnight-04":
            more = classified(readings, ("walking", "running")) + counted(readings)
        if session == "s-troubled-05":
            more = classified(readings, ("walking", "stationary"))
        pushes = messages(device, session, readings + more)
        yield Session(device, session, troubled(pushes) if session == "s-troubled-05" else pushes)


def live(now_ms):
    """Two phones of this moment; the second one's clock is ten minutes ahead."""
    rows = trials("motionsense/ms17", ("wlk_15",))
    begin = now_ms - 60_000
    for device, session, ahead_ms in (("phone-now", "s-now-0007", 0), ("phone-ahead", "s-ahead-0008", 600_000)):
        readings = walked(rows, (begin + ahead_ms) * 1_000_000)
        yield Session(device, session, messages(device, session, readings))


def sessions(now_ms):
    return [*past(), *live(now_ms)]


#: Pushes an agent's spool overflows with: in 2024, where no question looks.
LOSER, LOST_PUSHES = "phone-of-losses", 500


def heavy():
    """What no compression makes small."""
    noise = random.Random(7)
    begin = moment_ms("2024-06-01T00:00:00") * 1_000_000
    for number in range(LOST_PUSHES):
        text = base64.b64encode(noise.randbytes(30_000)).decode()
        yield Push(LOSER, "s-losses-0009", number, [Reading("note", begin + number * SECOND, {"text": text})])


def write(folder, now_ms):
    """`phones`: a file of push bodies for each session, in order of arrival. `losses`: what an agent is to drop some of."""
    folder = Path(folder)
    for part in ("phones", "losses"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for one in sessions(now_ms):
        with open(folder / f"phones/{one.session}.ndjson", "w", encoding="utf-8") as out:
            out.writelines(push.body + "\n" for push in one.pushes)
    with open(folder / "losses/heavy.ndjson", "w", encoding="utf-8") as out:
        out.writelines(push.body + "\n" for push in heavy())
