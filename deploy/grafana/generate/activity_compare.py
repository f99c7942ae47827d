"""Activity, fourth part: the phone's own classification beside ours."""

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models import common

from generate import panels
from generate.series import with_pauses
from generate.slices import minutes_by_activity, slices

#: What the phone says, and which of our activities agree with it. Anything else cannot be compared.
SAME = {"stationary": ("stationary",), "walking": ("walking",), "running": ("running", "sprinting")}


def judged(source):
    """The relation `judged`, after `slices`: each slice with what the phone had said last before it began.

    `word` is null before the phone's first word of the session in the range, and where it says that it does not know.
    """
    agrees = " ".join(
        f"WHEN word = '{word}' THEN CASE WHEN activity IN ({', '.join(repr(one) for one in ours)}) THEN 1 ELSE 0 END"
        for word, ours in SAME.items()
    )
    return f"""
        words AS (
          SELECT device_id, session_id, {source.ms_of_ns("time_ns")} AS at_ms, LOWER(activity) AS word
            FROM {source.view("phone_activities")}
           WHERE {source.readings_within()}
             AND {source.chosen("device_id", "phone")}
             AND session_id IN (SELECT session_id FROM slices)
             AND activity IS NOT NULL
        ), mixed AS (
          SELECT device_id, session_id, at_ms, 0 AS kind, word, NULL AS activity, NULL AS end_ms FROM words
          UNION ALL
          SELECT device_id, session_id, start_ms, 1, NULL, activity, end_ms FROM slices
        ), counted AS (
          SELECT device_id, session_id, at_ms, kind, word, activity, end_ms,
                 SUM(1 - kind) OVER (PARTITION BY device_id, session_id ORDER BY at_ms, kind, word
                                     ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS said
            FROM mixed
        ), held AS (
          SELECT device_id, session_id, at_ms AS start_ms, end_ms, kind, activity,
                 MAX(word) OVER (PARTITION BY device_id, session_id, said) AS word
            FROM counted
        ), judged AS (
          SELECT device_id, session_id, start_ms, end_ms, activity, word, CASE {agrees} END AS agrees
            FROM held
           WHERE kind = 1 AND word IS NOT NULL
        )"""


AGREES = (
    "Stationary and walking agree with the same; running with running and sprinting; cycling, automotive, tilting and "
    "unknown are not compared. What the phone said last holds until it says something else, and for nothing before its "
    "first word of a session in the time range. Both are weighed by time."
)


def agreement(source):
    pauses = with_pauses(source, "shares", ["device_id"], ["share"], 30_000)
    sql = f"""
        WITH {slices(source)}, {judged(source)},
        bucketed AS (
          SELECT device_id, {source.bucket("start_ms")} AS bucket_ms, end_ms - start_ms AS lasted_ms, agrees
            FROM judged
           WHERE agrees IS NOT NULL
        ), shares AS (
          SELECT bucket_ms, device_id, 1.0 * SUM(agrees * lasted_ms) / NULLIF(SUM(lasted_ms), 0) AS share
            FROM bucketed
           GROUP BY bucket_ms, device_id
        ), {pauses}
        SELECT {source.instant("bucket_ms")} AS "time",
               device_id AS "Phone",
               {source.real("share")} AS "Agreement",
               {panels.around("bucket_ms", f"bucket_ms + {source.bucket_ms}")}
          FROM points
         ORDER BY bucket_ms, device_id
    """
    told = f"Share of the compared time for which our activity and the phone's own agree. {AGREES}"
    made = panels.panel(
        timeseries.Panel(), source, "Agreement with the phone", told, sql, unit="percentunit", width=12, height=9,
        no_value="the phone says no activities: switch on the sensor Activity in the app",
    )
    phone = "${__field.labels.Phone}"
    raw = panels.session_link(source, "Raw signals of this interval", "raw", labelled=True, session=False)
    made = made.override_by_name("Agreement", [panels.prop("links", [raw])])
    for column in panels.FOR_LINKS:
        made = made.override_by_name(column, panels.hidden(made))
    return (
        made.interval("5m")
        .max_data_points(200)
        .with_transformation(panels.split_by("Phone"))
        .display_name(phone)
        .min(0)
        .max(1)
        .decimals(0)
        .draw_style(common.GraphDrawStyle.LINE)
        .line_interpolation(common.LineInterpolation.STEP_AFTER)
        .fill_opacity(15)
        .color_scheme(panels.color(panels.BY_NAME))
    )


def both(source):
    lasted = "SUM(end_ms - start_ms)"
    agreed = f"1.0 * SUM(agrees * (end_ms - start_ms)) / NULLIF({lasted}, 0)"
    sql = f"""
        WITH {slices(source)}, {judged(source)}
        SELECT word AS "Phone says",
               {minutes_by_activity(source)},
               {source.real(f"{lasted} / 60000.0")} AS "Minutes",
               {source.real(agreed)} AS "Agreement"
          FROM judged
         GROUP BY word
         ORDER BY {lasted} DESC, word
    """
    told = f"Minutes by what the phone says and what we say. {AGREES}"
    made = panels.panel(
        table.Panel(), source, "The phone's word and ours", told, sql, unit="m", times=(), width=12, height=9,
        no_value="-",
    )
    return (
        made.decimals(1)
        .override_by_name("Phone says", [panels.prop("unit", "string")])
        .override_by_name("Agreement", [
            panels.prop("unit", "percentunit"), panels.prop("decimals", 0),
            panels.prop("thresholds", panels.thresholds(panels.BAD, (0.5, panels.WARN), (0.8, panels.GOOD)).build()),
            panels.prop("custom.cellOptions", {"type": "color-text"})])
    )


PANELS = (agreement, both)
