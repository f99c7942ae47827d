"""Activity, third part: days and weeks."""

from grafana_foundation_sdk.builders import barchart, table
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from generate import panels
from generate.slices import QUARTER_MS, minutes_by_activity, quarters, slices

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
#: What these panels look back while the dashboard's range is relative to now.
LOOK_BACK = "28d"


def days(source):
    sql = f"""
        WITH {slices(source, conditions=("device_id",))}, {quarters(source)},
        dated AS (
          SELECT {source.day("quarter_ms")} AS day, quarter_ms, activity, lasted_ms FROM quarters
        )
        SELECT day AS "Day",
               {minutes_by_activity(source, "lasted_ms")},
               {panels.around("MIN(quarter_ms)", f"MAX(quarter_ms) + {QUARTER_MS}", 0)}
          FROM dated
         GROUP BY day
         ORDER BY day
    """
    told = (
        "Minutes of each activity on each day, over the chosen phones. Each window counts from its start to the next "
        "one's, or to its own end, on the day on which it starts; days are those of the zone above."
    )
    made = panels.panel(
        barchart.Panel(), source, "Minutes per activity and day", told, sql, unit="m", times=(), width=16, height=9
    )
    made = (
        made.time_from(LOOK_BACK)
        .decimals(0)
        .x_field("Day")
        .stacking(common.StackingMode.NORMAL)
        .show_value(common.VisibilityMode.NEVER)
        .x_tick_label_spacing(100)
        .legend(panels.legend())
        .fill_opacity(85)
        .line_width(0)
    )
    for column in panels.FOR_LINKS:
        made = made.override_by_name(column, panels.hidden(made))
    span = f"from={panels.moment('from_ms')}&to={panels.moment('to_ms')}"
    url = f"/d/{source.dashboard_uid('activity')}?${{phone:queryparam}}&${{zone:queryparam}}&{span}"
    return panels.activity_colours(made, [panels.prop("links", [panels.link("Activity of this day", url)])])


def weeks(source):
    minutes = lambda condition: source.real(
        f"SUM(CASE WHEN {condition} THEN end_ms - start_ms ELSE 0 END) / 60000.0"
    )
    middle = f"{source.to_ms} - {WEEK_MS}"
    sql = f"""
        WITH {slices(source, last_ms=2 * WEEK_MS, conditions=("device_id",))},
        sums AS (
          SELECT activity,
                 {minutes(f"start_ms < {middle}")} AS earlier,
                 {minutes(f"start_ms >= {middle}")} AS later
            FROM slices
           WHERE activity IN ({", ".join(f"'{name}'" for name in panels.ACTIVITIES)})
           GROUP BY activity
        )
        SELECT activity AS "Activity",
               earlier AS "Week before",
               later AS "This week",
               later - earlier AS "Change"
          FROM sums
         ORDER BY CASE activity {" ".join(f"WHEN '{name}' THEN {at}" for at, name in enumerate(panels.ACTIVITIES))} END
    """
    told = (
        "Minutes of each activity in the seven days that end with the time range, beside those of the seven days "
        "before them, over the chosen phones. The range's begin plays no part."
    )
    made = panels.panel(
        table.Panel(), source, "Week over week", told, sql, unit="m", times=(), width=8, height=9
    )
    better = panels.thresholds(panels.WARN, (0, panels.GOOD)).build()
    return (
        made.decimals(0)
        .override_by_name("Activity", panels.activity_column())
        .override_by_name("Change", [
            panels.prop("thresholds", better), panels.prop("custom.cellOptions", {"type": "color-text"})])
    )


def hours(source):
    columns = ",\n               ".join(
        f'{source.real(f"SUM(CASE WHEN h.hour = {hour} THEN h.moved_ms END) / 60000.0")} AS "{hour:02}"'
        for hour in range(24)
    )
    names = " UNION ALL ".join(
        f"SELECT {at} AS weekday, '{name}' AS name" for at, name in enumerate(WEEKDAYS, 1)
    )
    sql = f"""
        WITH {slices(source, conditions=("device_id",))}, {quarters(source)},
        dated AS (
          SELECT {source.weekday("quarter_ms")} AS weekday, {source.hour("quarter_ms")} AS hour,
                 CASE WHEN activity IN ('walking', 'running', 'sprinting') THEN lasted_ms ELSE 0 END AS moved_ms
            FROM quarters
        ), hours AS (
          SELECT weekday, hour, SUM(moved_ms) AS moved_ms FROM dated GROUP BY weekday, hour
        ), names AS (
          {names}
        )
        SELECT n.name AS "Weekday",
               {columns}
          FROM names AS n
          LEFT JOIN hours AS h ON h.weekday = n.weekday
         GROUP BY n.weekday, n.name
         ORDER BY n.weekday
    """
    told = (
        "Minutes in motion (walking, running or sprinting) by weekday and hour of the day, all weeks of the time range "
        "and all chosen phones together. Hours are those of the zone above; each window counts where it starts. Empty: "
        "no window in such an hour."
    )
    made = panels.panel(
        table.Panel(), source, "Hour and weekday", told, sql, unit="m", times=(), width=24, height=10, no_value=""
    )
    return (
        made.time_from(LOOK_BACK)
        .decimals(0)
        .min(0)
        .width(46)
        .color_scheme(panels.color(model.FieldColorModeId.CONTINUOUS_GREENS))
        .cell_options(common.TableColoredBackgroundCellOptions(mode=common.TableCellBackgroundDisplayMode.BASIC))
        .override_by_name("Weekday", [
            panels.prop("custom.width", 110), panels.prop("custom.cellOptions", {"type": "auto"}),
            panels.prop("unit", "string")])
    )


PANELS = (days, weeks, hours)
