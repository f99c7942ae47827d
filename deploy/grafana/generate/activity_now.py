"""Activity, first part: the tutorial's six panels."""

from grafana_foundation_sdk.builders import gauge, piechart, statetimeline, stat, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    VizLegendOptions,
)
from grafana_foundation_sdk.builders.piechart import PieChartLegendOptions
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.piechart import PieChartLabels, PieChartLegendValues, PieChartType

from generate import panels
from generate.series import with_pauses
from generate.slices import changes, minutes_by_activity, runs, slices

#: A phone whose last window ended longer ago, as seen from the range's end, does nothing that is known.
SILENT_MS = 300_000
SILENT = "silent"


def last_windows(source):
    """The relation `latest`, to stand after WITH: each phone's last window that ends in the range."""
    return f"""
        ranked AS (
          SELECT device_id, session_id, activity, confidence, {source.ms("time")} AS end_ms,
                 ROW_NUMBER() OVER (PARTITION BY device_id
                                    ORDER BY time DESC, window_start DESC, session_id) AS place
            FROM {source.view("activity_windows")}
           WHERE {source.windows_within()}
             AND {source.chosen("device_id", "phone")}
        ), latest AS (
          SELECT device_id, session_id, activity, confidence, end_ms FROM ranked WHERE place = 1
        )"""


def each_row():
    return ReduceDataOptions().values(True).calcs(["lastNotNull"])


def state(source):
    sql = f"""
        WITH {last_windows(source)}
        SELECT device_id AS "Phone",
               CASE WHEN {source.to_ms} - end_ms > {SILENT_MS} THEN '{SILENT}' ELSE activity END AS "Activity",
               session_id AS "Session",
               {panels.around("end_ms", "end_ms")}
          FROM latest
         ORDER BY device_id
    """
    told = (
        "Each phone's last window that ends in the time range. Silent: it ended more than five minutes before the "
        "range does."
    )
    made = panels.panel(stat.Panel(), source, "Now", told, sql, unit="string", times=(), width=8, height=7)
    silent = model.ValueMap(options={SILENT: model.ValueMappingResult(text=SILENT, color="#5a6270", index=9)})
    return (
        made.reduce_options(each_row().fields("/^Activity$/"))
        .display_name("${__data.fields.Phone}")
        .mappings([panels.activity_mapping(), silent])
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME)
        .override_by_name("Activity", [panels.prop("links", [
            panels.session_link(source, "Raw signals of this window, a minute around", "raw")])])
    )


def confidence(source):
    sql = f"""
        WITH {last_windows(source)}
        SELECT device_id AS "Phone", confidence AS "Confidence"
          FROM latest
         ORDER BY device_id
    """
    told = (
        "The probability, as the classifier's calibration tells it, that the label of each phone's last window in the "
        "time range is right."
    )
    made = panels.panel(
        gauge.Panel(), source, "Confidence", told, sql, unit="percentunit", times=(), width=8, height=7
    )
    return (
        made.reduce_options(each_row().fields("/^Confidence$/"))
        .display_name("${__data.fields.Phone}")
        .min(0)
        .max(1)
        .decimals(0)
        .thresholds(panels.thresholds(panels.BAD, (0.5, panels.WARN), (0.75, panels.GOOD)))
        .color_scheme(panels.color(panels.BY_THRESHOLD))
    )


def distribution(source):
    sql = f"""
        WITH {slices(source)},
        sums AS (
          SELECT COUNT(*) AS slices,
                 {minutes_by_activity(source)}
            FROM slices
        )
        SELECT {", ".join(f'"{name}"' for name in panels.ACTIVITIES)}
          FROM sums
         WHERE slices > 0
    """
    told = (
        "Minutes of each activity in the time range, over all chosen phones and sessions. Windows overlap: each counts "
        "from its start to the next one's, or to its own end. Time without windows is not there."
    )
    made = panels.panel(
        piechart.Panel(), source, "Distribution", told, sql, unit="m", times=(), width=8, height=7
    )
    made = (
        made.pie_type(PieChartType.DONUT)
        .decimals(1)
        .display_labels([PieChartLabels.PERCENT])
        .reduce_options(ReduceDataOptions().values(False).calcs(["lastNotNull"]))
        .legend(
            PieChartLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.RIGHT)
            .show_legend(True)
            .values([PieChartLegendValues.VALUE, PieChartLegendValues.PERCENT])
        )
    )
    return panels.activity_colours(made)


def timeline(source):
    sql = f"""
        WITH {slices(source)}, {runs()}, {changes()}
        SELECT {source.instant("at_ms")} AS "time",
               device_id AS "Phone",
               activity AS "Activity",
               session_id AS "Session",
               {panels.around("start_ms", "end_ms")},
               start_ms + 60000 AS "first_ms"
          FROM changes
         ORDER BY at_ms, device_id
    """
    told = (
        "What each phone's owner does, from when it began until another activity follows or the windows end; in gaps "
        "nothing is known. Of sessions at the same time it shows the one whose activity began last."
    )
    made = panels.panel(
        statetimeline.Panel(), source, "Activity", told, sql, unit="string", width=24, height=7
    )
    phone = "${__field.labels.Phone}"
    made = (
        made.with_transformation(panels.split_by("Phone"))
        .mappings([panels.activity_mapping()])
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .row_height(0.85)
        .fill_opacity(85)
        .line_width(0)
        .display_name(phone)
        .legend(
            VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .override_by_name("Activity", [panels.prop("links", [
            panels.session_link(source, "Raw signals where this began", "raw", "from_ms", "first_ms", True),
            panels.session_link(source, "Raw signals of all of it", "raw", "from_ms", "to_ms", True),
        ])])
    )
    for column in ("first_ms", *panels.FOR_LINKS):
        made = made.override_by_name(column, panels.hidden(made))
    return panels.unpaged(made.override_by_name("Session", panels.hidden(made, "string")))


def magnitude(source):
    pauses = with_pauses(source, "buckets", ["device_id"], ["magnitude", "session_id"], 30_000)
    sql = f"""
        WITH windows AS (
          SELECT device_id, session_id, avg_magnitude, {source.bucket(source.ms("window_start"))} AS bucket_ms
            FROM {source.view("activity_windows")}
           WHERE {source.windows_within()}
             AND {source.chosen("device_id", "phone")}
             AND {source.chosen("session_id", "session")}
        ), buckets AS (
          SELECT bucket_ms, device_id, MAX(session_id) AS session_id, AVG(avg_magnitude) AS magnitude
            FROM windows
           GROUP BY bucket_ms, device_id
        ), {pauses}
        SELECT {source.instant("bucket_ms")} AS "time",
               device_id AS "Phone",
               {source.real("magnitude")} AS "Magnitude",
               session_id AS "Session",
               {panels.around("bucket_ms", f"bucket_ms + {source.bucket_ms}")}
          FROM points
         ORDER BY bucket_ms, device_id
    """
    told = (
        "Mean of the mean magnitude sqrt(x²+y²+z²) of the windows that begin in each interval. The dashed lines are "
        "the classifier's default thresholds: 2, 8 and 20 m/s²."
    )
    made = panels.panel(
        timeseries.Panel(), source, "Average magnitude", told, sql, unit="accMS2", width=24, height=8
    )
    phone = "${__field.labels.Phone}"
    made = (
        made.interval("2s")
        .max_data_points(1000)
        .with_transformation(panels.split_by("Phone"))
        .display_name(phone)
        .decimals(2)
        .min(0)
        .color_scheme(panels.color(panels.BY_NAME))
        .thresholds(panels.thresholds("transparent", *zip((2, 8, 20), list(panels.ACTIVITIES.values())[1:])))
        .thresholds_style(GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
        .override_by_name("Magnitude", [panels.prop("links", [
            panels.session_link(source, "Raw signals, a minute around", "raw", labelled=True)])])
    )
    for column in panels.FOR_LINKS:
        made = made.override_by_name(column, panels.hidden(made))
    return made.override_by_name("Session", panels.hidden(made, "string"))


def recent(source):
    sql = f"""
        SELECT {source.instant("start_ms")} AS "Start",
               device_id AS "Phone",
               activity AS "Activity",
               confidence AS "Confidence",
               avg_magnitude AS "Magnitude",
               sample_count AS "Samples",
               classifier AS "Classifier",
               revision AS "Revision",
               session_id AS "Session",
               {panels.around("start_ms", "end_ms")}
          FROM (SELECT time, device_id, session_id, activity, confidence, avg_magnitude, sample_count, classifier,
                       revision,
                       {source.ms("window_start")} AS start_ms,
                       {source.ms("window_end")} AS end_ms
                  FROM {source.view("activity_windows")}
                 WHERE {source.windows_within()}
                   AND {source.chosen("device_id", "phone")}
                   AND {source.chosen("session_id", "session")}
                 ORDER BY time DESC, window_start DESC, device_id, session_id
                 LIMIT 200) AS w
         ORDER BY time DESC, start_ms DESC, device_id, session_id
    """
    told = "The last 200 windows that end in the time range. A revision above 0 was classified again."
    made = panels.panel(
        table.Panel(), source, "Recent windows", told, sql, unit="none", times=("Start",), width=24, height=9
    )
    links = [
        panels.session_link(source, "Raw signals of this window, a minute around", "raw"),
        panels.session_link(source, "This session alone, a minute around", "activity"),
    ]
    made = (
        made.override_by_name("Start", [
            panels.prop("unit", "dateTimeAsIso"), panels.prop("custom.width", 180), panels.prop("links", links)])
        .override_by_name("Activity", panels.activity_column())
        .override_by_name("Confidence", [panels.prop("unit", "percentunit"), panels.prop("decimals", 0)])
        .override_by_name("Magnitude", [panels.prop("unit", "accMS2"), panels.prop("decimals", 2)])
        .override_by_name("Session", [panels.prop("links", links)])
    )
    for column in panels.FOR_LINKS:
        made = made.override_by_name(column, panels.hidden(made))
    return made


PANELS = (state, confidence, distribution, timeline, magnitude, recent)
