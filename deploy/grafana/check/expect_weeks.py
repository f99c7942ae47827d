"""What Activity's panels of days and weeks must show."""

from collections import Counter, defaultdict
from datetime import datetime

from check.expect_activity import MINUTE, minutes, slices
from check.expectations import Expected, columns, expects
from check.windows import LABELS

QUARTER_MS = 900_000
WEEK_MS = 7 * 86_400_000
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@expects("activity", "Minutes per activity and day")
def days(ask):
    by_day = defaultdict(list)
    for one in slices(ask, sessions=False):
        by_day[f"{datetime.fromtimestamp(one.start_ms / 1000, ask.zone):%Y-%m-%d}"].append(one)

    def quarters(found):
        """From the quarter of an hour in which the day's first slice starts to the end of that of its last."""
        starts = [one.start_ms // QUARTER_MS * QUARTER_MS for one in found]
        return min(starts), max(starts) + QUARTER_MS

    return Expected(columns("Day:text", *(f"{name}:number" for name in LABELS), "from_ms:number", "to_ms:number"),
                    [(day, *minutes(found), *quarters(found)) for day, found in sorted(by_day.items())])


@expects("activity", "Week over week")
def weeks(ask):
    earlier, later = Counter(), Counter()
    for one in slices(ask, ask.to_ms - 2 * WEEK_MS, sessions=False):
        (earlier if one.start_ms < ask.to_ms - WEEK_MS else later)[one.activity] += one.lasted_ms / MINUTE
    return Expected(
        columns("Activity:text", "Week before:number", "This week:number", "Change:number"),
        [(name, earlier[name], later[name], later[name] - earlier[name]) for name in LABELS
         if name in earlier or name in later],
    )


@expects("activity", "Hour and weekday")
def hours(ask):
    """Empty where there was no window; 0 where nobody moved."""
    moved = {}
    for one in slices(ask, sessions=False):
        local = datetime.fromtimestamp(one.start_ms / 1000, ask.zone)
        key = local.weekday(), local.hour
        moved[key] = moved.get(key, 0) + (one.lasted_ms / MINUTE if one.activity in LABELS[1:] else 0)
    return Expected(
        columns("Weekday:text", *(f"{hour:02}:number" for hour in range(24))),
        [(name, *(moved.get((weekday, hour)) for hour in range(24))) for weekday, name in enumerate(WEEKDAYS)],
    )
