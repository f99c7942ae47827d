"""Windows of the range as slices: the part of time for which each window speaks.

Windows overlap. A slice lasts from its window's start to the start of the session's next window, or to its window's
own end if that is sooner: as in the view `activity_slices`, but bounded by the panel's range. A slice counts where it
starts: those that start in the range are there, each as long as it is, and no others.
"""

from generate import panels

#: How far beyond the range windows are read. A window's end is what is looked for, its start what counts, and the next
#: one's start must be known: enough for windows up to a minute long (10 s unless configured).
BEYOND_MS = 120_000
QUARTER_MS = 900_000


def slices(source, last_ms=None, conditions=("device_id", "session_id")):
    """The relations `windows`, `followed` and `slices`, to stand after WITH.

    `slices` has device_id, session_id, activity, confidence, avg_magnitude, and in milliseconds since the epoch
    start_ms and end_ms. With `last_ms` it is of the time of that length before the range's end, wherever the range
    begins.
    """
    chosen = {"device_id": "phone", "session_id": "session"}
    filters = "".join(f"\n             AND {source.chosen(column, chosen[column])}" for column in conditions)
    if last_ms is None:
        within, first = source.windows_within(0, BEYOND_MS), source.from_ms
    else:
        within, first = source.windows_ending_within(last_ms, BEYOND_MS), f"{source.to_ms} - {last_ms}"
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


def runs():
    """The relation `runs`, after `slices`: slices of one activity of a session in a row, as one."""
    return """
        marked AS (
          SELECT device_id, session_id, activity, start_ms, end_ms,
                 CASE WHEN activity = LAG(activity) OVER (PARTITION BY device_id, session_id ORDER BY start_ms)
                       AND start_ms = LAG(end_ms) OVER (PARTITION BY device_id, session_id ORDER BY start_ms)
                      THEN 0 ELSE 1 END AS begins
            FROM slices
        ), numbered AS (
          SELECT device_id, session_id, activity, start_ms, end_ms,
                 SUM(begins) OVER (PARTITION BY device_id, session_id ORDER BY start_ms
                                   ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS run
            FROM marked
        ), runs AS (
          SELECT device_id, session_id, activity, MIN(start_ms) AS start_ms, MAX(end_ms) AS end_ms
            FROM numbered
           GROUP BY device_id, session_id, run, activity
        )"""


def changes():
    """The relation `changes`, after `runs`: of each phone, from each moment on (`at_ms`), the run that holds.

    Sessions of a phone may be at the same time: then the run that began last holds, and where it ends the other one
    again. Nulls where none does. Runs that overlap have the same `cluster_id`, so that only these are held against
    each other.
    """
    ordered = "OVER (PARTITION BY device_id ORDER BY start_ms, end_ms, session_id ROWS BETWEEN UNBOUNDED PRECEDING AND"
    return f"""
        preceded AS (
          SELECT device_id, session_id, activity, start_ms, end_ms, MAX(end_ms) {ordered} 1 PRECEDING) AS before_ms
            FROM runs
        ), clustered AS (
          SELECT device_id, session_id, activity, start_ms, end_ms,
                 SUM(CASE WHEN start_ms < before_ms THEN 0 ELSE 1 END) {ordered} CURRENT ROW) AS cluster_id
            FROM preceded
        ), moments AS (
          SELECT device_id, cluster_id, start_ms AS at_ms FROM clustered
          UNION
          SELECT device_id, cluster_id, end_ms FROM clustered
        ), holding AS (
          SELECT m.device_id, m.at_ms, c.session_id, c.activity, c.start_ms, c.end_ms,
                 ROW_NUMBER() OVER (PARTITION BY m.device_id, m.at_ms
                                    ORDER BY COALESCE(c.start_ms, -1) DESC, c.session_id DESC) AS place
            FROM moments AS m
            LEFT JOIN clustered AS c ON c.device_id = m.device_id AND c.cluster_id = m.cluster_id
                                    AND c.start_ms <= m.at_ms AND c.end_ms > m.at_ms
        ), changes AS (
          SELECT device_id, at_ms, session_id, activity, start_ms, end_ms FROM holding WHERE place = 1
        )"""


def minutes_by_activity(source, lasted="end_ms - start_ms"):
    """A column for each activity: the minutes that a group has of it."""
    return ",\n               ".join(
        f"""{source.real(f"SUM(CASE WHEN activity = '{name}' THEN {lasted} ELSE 0 END) / 60000.0")} AS "{name}\""""
        for name in panels.ACTIVITIES
    )


def quarters(source):
    """The relation `quarters`, after `slices`: how long each activity lasted in each quarter of an hour.

    Every zone's days and hours begin with one, so that only as many moments as there are quarters need a zone.
    """
    return f"""
        placed AS (
          SELECT {source.whole("start_ms", QUARTER_MS)} * {QUARTER_MS} AS quarter_ms, activity,
                 end_ms - start_ms AS lasted_ms
            FROM slices
        ), quarters AS (
          SELECT quarter_ms, activity, SUM(lasted_ms) AS lasted_ms FROM placed GROUP BY quarter_ms, activity
        )"""
