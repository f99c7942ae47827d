"""Activity, second part: sessions, how far they went and in how many steps."""

from grafana_foundation_sdk.builders import table

from generate import panels
from generate.slices import minutes_by_activity, slices

#: A position counts if the phone says that it is right to within so many metres.
ACCURATE_M = 50
#: Between two positions that follow each other: at most so long, and at most so fast.
TOGETHER_MS = 60_000
FASTEST_M_S = 100
#: The phone itself says that it stands.
STANDING_M_S = 0.3
EARTH_M = 6_371_008.8


def of_these_sessions(source):
    """Readings of sessions that have windows in the range: with the sessions named, an index finds them."""
    return f"""{source.readings_within()}
             AND {source.chosen("device_id", "phone")}
             AND session_id IN (SELECT session_id FROM spans)"""


def distances():
    """The relation `distances`, after `valid`: metres by device and session."""
    half = "POWER(SIN(RADIANS({0} - {1}) / 2), 2)"
    north, east = half.format("latitude", "from_latitude"), half.format("longitude", "from_longitude")
    chord = f"{north} + COS(RADIANS(from_latitude)) * COS(RADIANS(latitude)) * {east}"
    return f"""
        legs AS (
          SELECT device_id, session_id, time_ns, latitude, longitude, speed,
                 LAG(latitude) OVER (PARTITION BY device_id, session_id ORDER BY time_ns) AS from_latitude,
                 LAG(longitude) OVER (PARTITION BY device_id, session_id ORDER BY time_ns) AS from_longitude,
                 LAG(time_ns) OVER (PARTITION BY device_id, session_id ORDER BY time_ns) AS from_ns
            FROM valid
        ), chords AS (
          SELECT device_id, session_id, (time_ns - from_ns) / 1000000.0 AS lasted_ms,
                 {chord} AS chord
            FROM legs
           WHERE from_ns IS NOT NULL AND time_ns > from_ns
             AND (speed IS NULL OR speed >= {STANDING_M_S})
        ), metres AS (
          SELECT device_id, session_id, lasted_ms,
                 2 * {EARTH_M} * ATAN2(SQRT(chord), SQRT(ABS(1 - chord))) AS metres
            FROM chords
           WHERE lasted_ms <= {TOGETHER_MS}
        ), distances AS (
          SELECT device_id, session_id, SUM(metres) AS metres
            FROM metres
           WHERE metres <= {FASTEST_M_S} * lasted_ms / 1000.0
           GROUP BY device_id, session_id
        )"""


def steps():
    """The relation `paces`, after `counted`: steps by device and session."""
    return """
        risen AS (
          SELECT device_id, session_id, steps,
                 LAG(steps) OVER (PARTITION BY device_id, session_id ORDER BY time_ns, steps) AS before
            FROM counted
        ), paces AS (
          SELECT device_id, session_id,
                 SUM(CASE WHEN before IS NULL THEN 0 WHEN steps >= before THEN steps - before ELSE steps END) AS steps
            FROM risen
           GROUP BY device_id, session_id
        )"""


def sessions(source):
    sql = f"""
        WITH {slices(source)},
        tallies AS (
          SELECT device_id, session_id, activity, SUM(end_ms - start_ms) AS lasted_ms
            FROM slices
           GROUP BY device_id, session_id, activity
        ), mains AS (
          SELECT device_id, session_id, activity, lasted_ms,
                 ROW_NUMBER() OVER (PARTITION BY device_id, session_id ORDER BY lasted_ms DESC, activity) AS place
            FROM tallies
        ), spans AS (
          SELECT device_id, session_id, MIN(start_ms) AS start_ms, MAX(end_ms) AS end_ms,
                 SUM(end_ms - start_ms) AS lasted_ms,
                 {minutes_by_activity(source)}
            FROM slices
           GROUP BY device_id, session_id
        ), valid AS (
          SELECT device_id, session_id, time_ns, latitude, longitude, speed
            FROM {source.view("locations")}
           WHERE {of_these_sessions(source)}
             AND latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180
             AND horizontal_accuracy <= {ACCURATE_M}
        ), {distances()},
        counted AS (
          SELECT device_id, session_id, time_ns, steps
            FROM {source.view("step_counts")}
           WHERE {of_these_sessions(source)}
             AND steps IS NOT NULL
        ), {steps()}
        SELECT {source.instant("s.start_ms")} AS "Began",
               s.device_id AS "Phone",
               {source.real("s.lasted_ms / 60000.0")} AS "Lasted",
               m.activity AS "Mostly",
               {source.real("1.0 * m.lasted_ms / NULLIF(s.lasted_ms, 0)")} AS "Share",
               {source.real("d.metres")} AS "Distance",
               p.steps AS "Steps",
               {", ".join(f's."{name}" AS "{name}"' for name in panels.ACTIVITIES)},
               s.session_id AS "Session",
               {panels.around("s.start_ms", "s.end_ms")}
          FROM spans AS s
          JOIN mains AS m ON m.device_id = s.device_id AND m.session_id = s.session_id AND m.place = 1
          LEFT JOIN distances AS d ON d.device_id = s.device_id AND d.session_id = s.session_id
          LEFT JOIN paces AS p ON p.device_id = s.device_id AND p.session_id = s.session_id
         ORDER BY s.start_ms DESC, s.device_id, s.session_id
         LIMIT 200
    """
    told = (
        "What of each session lies in the time range; at most 200, the newest. Lasted, and each activity's minutes: "
        "time that windows speak for. Mostly: the activity with most of that time. Distance: the way along the "
        "earth's surface between consecutive positions that the phone says are right to within "
        f"{ACCURATE_M} m; left out are ways that took longer than {TOGETHER_MS // 1000} s, that were faster than "
        f"{FASTEST_M_S} m/s, and those at whose end the phone says it is slower than {STANDING_M_S} m/s. Steps: by "
        "how much the phone's count rose between its first and its last reading in the range; where it fell it began "
        "anew. Empty: the phone sent none, or positions without their accuracy, as where they are rounded."
    )
    made = panels.panel(
        table.Panel(), source, "Sessions", told, sql, unit="none", times=("Began",), width=24, height=9,
        no_value="-",
    )
    links = [
        panels.session_link(source, "Raw signals of this session", "raw"),
        panels.session_link(source, "Activity of this session", "activity"),
    ]
    minutes = [panels.prop("unit", "m"), panels.prop("decimals", 1)]
    made = (
        made.override_by_name("Began", [
            panels.prop("unit", "dateTimeAsIso"), panels.prop("custom.width", 180), panels.prop("links", links)])
        .override_by_name("Mostly", panels.activity_column())
        .override_by_name("Lasted", minutes)
        .override_by_name("Share", [panels.prop("unit", "percentunit"), panels.prop("decimals", 0)])
        .override_by_name("Distance", [panels.prop("unit", "lengthm"), panels.prop("decimals", 0)])
        .override_by_name("Steps", [panels.prop("unit", "locale"), panels.prop("decimals", 0)])
        .override_by_name("Session", [panels.prop("links", links)])
    )
    for name in panels.ACTIVITIES:
        made = made.override_by_name(name, minutes)
    for column in panels.FOR_LINKS:
        made = made.override_by_name(column, panels.hidden(made))
    return made


PANELS = (sessions,)
