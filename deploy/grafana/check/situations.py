"""In which situations every query is asked: ranges, choices of variables, widths of panels."""

from dataclasses import dataclass
from datetime import timedelta, timezone
from functools import cached_property
from zoneinfo import ZoneInfo

from check.scenario import moment_ms
from check.variables import ALL, Variable, interval_ms, milliseconds

#: Points that a panel has room for where it does not say itself, on a screen of usual width.
WIDTH = 1200


@dataclass(frozen=True)
class Situation:
    name: str
    from_ms: int
    to_ms: int
    phones: tuple[str, ...] = (ALL,)
    sessions: tuple[str, ...] = (ALL,)
    #: Empty is UTC.
    zone: str = "UTC"
    #: The same for SQLite: minutes from UTC.
    minutes: int = 0
    #: Whether the range is relative to now, so that panels may look back further.
    relative: bool = False
    #: Phone, session and sensor where one must be chosen.
    one: tuple[str, str, str] = ("phone-1", "s-full-0003", "accelerometer")
    #: Dashboards that are asked; all if empty.
    only: tuple[str, ...] = ()


def situations(now_ms):
    full = moment_ms("2025-03-25T17:29:00"), moment_ms("2025-03-25T17:40:00")
    return (
        Situation("fortnight", moment_ms("2025-03-17T12:00:00"), moment_ms("2025-03-31T12:00:00"), zone="Europe/Berlin",
                  minutes=60, relative=True, one=("phone-2", "s-troubled-05", "accelerometer")),
        Situation("session", *full, ("phone-1",), ("s-full-0003",)),
        Situation("cut", moment_ms("2025-03-25T17:31:07") + 500, moment_ms("2025-03-25T17:35:01") + 250,
                  one=("phone-1", "s-full-0003", "gyroscope"), zone=""),
        Situation("two", moment_ms("2025-03-26T23:57:00"), moment_ms("2025-03-30T01:03:00"), ("phone-2", "o'hara"),
                  zone="America/New_York", minutes=-240, one=("o'hara", "s-summer-time-06", "accelerometer")),
        Situation("one of several", moment_ms("2025-03-17T12:00:00"), moment_ms("2025-03-31T12:00:00"), ("phone-2",),
                  ("s-midnight-04",), one=("phone-2", "s-midnight-04", "pedometer")),
        Situation("one phone", moment_ms("2025-03-17T12:00:00"), moment_ms("2025-03-31T12:00:00"), ("phone-2",),
                  zone="Pacific/Auckland", minutes=780, one=("phone-2", "s-midnight-04", "accelerometer")),
        Situation("other phone", moment_ms("2025-03-17T12:00:00"), moment_ms("2025-03-31T12:00:00"), ("phone-1",),
                  one=("phone-1", "s-beside-0010", "accelerometer")),
        # Begins with the push behind a hole, and ends before what made late readings late.
        Situation("after a hole", moment_ms("2025-03-27T10:00:43"), moment_ms("2025-03-27T10:01:50"),
                  one=("phone-2", "s-troubled-05", "activity")),
        # Begins and ends where windows do, and slices.
        Situation("edges", moment_ms("2025-03-25T17:31:00"), moment_ms("2025-03-25T17:34:00")),
        # Only the day before has anything.
        Situation("day after", moment_ms("2025-03-26T12:00:00"), moment_ms("2025-03-26T18:00:00")),
        # To the millisecond as long after the last window as a phone may be silent.
        Situation("just silent", moment_ms("2025-03-30T00:50:00"), moment_ms("2025-03-30T01:06:10"), ("o'hara",)),
        Situation("now", now_ms - 1_200_000, now_ms + 1_200_000, zone="Asia/Kolkata", minutes=330,
                  one=("phone-ahead", "s-ahead-0008", "accelerometer")),
        Situation("nothing", moment_ms("2025-01-01T00:00:00"), moment_ms("2025-01-02T00:00:00")),
        Situation("soon after", moment_ms("2025-03-27T10:30:00"), moment_ms("2025-03-27T10:40:00"), only=("alerts",)),
        *(Situation(sensor, *full, one=("phone-1", "s-full-0003", sensor), only=("raw",))
          for sensor in ("location", "barometer", "battery", "activity", "annotation")),
    )


@dataclass(frozen=True)
class Ask:
    """A query in a situation: what an expectation is computed for."""

    query: object
    situation: Situation
    truth: object
    facts: object

    @cached_property
    def is_single(self):
        """Whether the dashboard wants one phone and one session."""
        return self.query.dashboard == "raw"

    @cached_property
    def from_ms(self):
        if self.is_alert:
            # The rule says how far back it looks; the situation's end is when it is asked.
            return self.to_ms - self.query.model["relativeTimeRange"]["from"] * 1000
        if self.situation.relative and self.query.panel.get("timeFrom"):
            return self.to_ms - milliseconds(self.query.panel["timeFrom"])
        return self.situation.from_ms

    @property
    def to_ms(self):
        # The plugin fills in whole seconds.
        return self.situation.to_ms // 1000 * 1000 if self.is_alert else self.situation.to_ms

    @cached_property
    def interval_ms(self):
        panel = self.query.panel
        return interval_ms(self.from_ms, self.to_ms, panel.get("maxDataPoints") or WIDTH, panel.get("interval"))

    @cached_property
    def zone(self):
        if self.query.source == "sqlite":
            return timezone(timedelta(minutes=self.situation.minutes))
        return ZoneInfo(self.situation.zone or "UTC")

    def has_phone(self, device):
        chosen = self.situation.one[:1] if self.is_single else self.situation.phones
        return self.is_alert or chosen == (ALL,) or device in chosen

    def has_session(self, session):
        chosen = self.situation.one[1:2] if self.is_single else self.situation.sessions
        return self.is_alert or chosen == (ALL,) or session in chosen

    @property
    def is_alert(self):
        return self.query.kind == "alert"

    @property
    def sensor(self):
        return self.situation.one[2]

    def variables(self, defined):
        """The dashboard's variables with what is chosen here."""
        phone, session, sensor = self.situation.one
        chosen = {
            "phone": [phone] if self.is_single else list(self.situation.phones),
            "session": [session] if self.is_single else list(self.situation.sessions),
            "sensor": [sensor],
            "zone": [str(self.situation.minutes) if self.query.source == "sqlite" else self.situation.zone],
        }
        return [
            Variable(one["name"], chosen.get(one["name"]) or [one["query"]], bool(one.get("multi")), one.get("allValue"))
            for one in defined
        ]
