"""Windows of the range as slices: the part of time for which each window speaks.

Windows overlap. A slice lasts from its window's start to the start of the session's next window, or to its window's
own end if that is sooner: as in the view `activity_slices`, but bounded by the panel's range. A slice counts where it
starts: those that start in the range are there, each as long as it is, and no others.
"""

#: How far beyond the range windows are read. A window's end is what is looked for, its start what counts, and the next
#: one's start must be known: enough for windows up to a minute long (10 s unless configured).
BEYOND_MS = 120_000


def slices(source, begin_ms=None, conditions=("device_id", "session_id")):
    """The relations `windows`, `followed` and `slices`, to stand after WITH.

    `slices` has device_id, session_id, activity, confidence, avg_magnitude, and in milliseconds since the epoch
    start_ms and end_ms. `begin_ms` is how long before the range's end it begins, in place of the range's own begin.
    """
    chosen = {"device_id": "phone", "session_id": "session"}
    filters = "".join(f"\n             AND {source.chosen(column, chosen[column])}" for column in conditions)
    if begin_ms is None:
        within, first = source.windows_within(0, BEYOND_MS), source.from_ms
    else:
        within, first = source.windows_ending_within(begin_ms, BEYOND_MS), f"{source.to_ms} - {begin_ms}"
    return f"""
        windows AS (
          SELECT device_id, session_id, activity, confidence, avg_magnitude,
                 {source.ms("window_start")} AS start_ms,
                 {source.ms("window_end")} AS window_end_ms
            FROM {source.view("activity_windows")}
           WHERE {within}{filters}
        ), followed AS (
          SELECT device_id, session_id, activity, confidence, avg_magnitude, start_ms, window_end_ms,
                 LEAD(start_ms) OVER (PARTITION BY device_id, session_id ORDER BY start_ms) AS next_ms
            FROM windows
        ), slices AS (
          SELECT device_id, session_id, activity, confidence, avg_magnitude, start_ms,
                 CASE WHEN next_ms < window_end_ms THEN next_ms ELSE window_end_ms END AS end_ms
            FROM followed
           WHERE start_ms >= {first} AND start_ms < {source.to_ms}
        )"""
