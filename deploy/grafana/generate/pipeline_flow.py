"""Pipeline: latency by hop, rows by minute, agents."""

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.models import common

from generate import panels, quality
from generate.quality import hops, of_phones, percentiles, pushes
from generate.series import with_pauses

HOPS_TOLD = (
    "Phone → agent: from the push's last reading to when the agent had it. Agent → Kafka: from there to the time of "
    "the record in Kafka. Kafka → row: from there to when the row was stored. Push → row: from when the agent had it "
    "to when the row was stored. The clocks are the phone's, the agent's, Kafka's and the warehouse's: a negative step "
    "is a clock. p50, p95, p99: the least time that 50, 95 or 99 of 100 pushes do not exceed."
)
KNOWN = {
    "postgres": "PostgreSQL notes when it stored a row; from Kafka's time on only what came by Kafka is there.",
    "sqlite": "SQLite does not say when it stored a row, and what the agent stored itself was in no Kafka: of that the "
              "first hop alone is there.",
    "snowflake": "Snowflake does not say when it stored a row: the last two hops are there only for rows of "
                 "Snowflake's Kafka connector, until it pushed them.",
}
KNOWN["snowflake-community"] = KNOWN["snowflake"]


def latency(source):
    values = ["p50", "p95", "p99"]
    sql = f"""
        WITH {pushes(source, of_phones(source))}, {hops()},
        bucketed AS (
          SELECT {source.bucket("last_ms")} AS bucket_ms, hop, took_ms FROM hops
        ), {percentiles("bucketed", ("bucket_ms", "hop"))},
        {with_pauses(source, "percentiles", ["hop"], values, 120_000)}
        SELECT {source.instant("bucket_ms")} AS "time",
               hop AS "Hop",
               {source.real("p50")} AS "p50",
               {source.real("p95")} AS "p95",
               {source.real("p99")} AS "p99"
          FROM points
         ORDER BY bucket_ms, hop
    """
    told = (
        f"How long pushes took, by when their last reading was measured. {HOPS_TOLD} {KNOWN[source.folder]}"
    )
    made = panels.panel(
        timeseries.Panel(), source, "Latency by hop", told, sql, unit="ms", width=14, height=10,
        no_value="no push of which the last reading is in this time range",
    )
    label = "${__field.labels.Hop}"
    quiet = panels.prop("custom.lineWidth", 1)
    return (
        made.interval("1m")
        .max_data_points(300)
        .with_transformation(panels.split_by("Hop"))
        .color_scheme(panels.color(panels.BY_NAME))
        .display_name(label)
        .decimals(0)
        .tooltip(panels.all_in_tooltip())
        .legend(
            VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.RIGHT)
            .calcs(["lastNotNull", "max"])
            .show_legend(True)
        )
        .override_by_name("p50", [
            panels.prop("displayName", f"{label} p50"), quiet,
            panels.prop("custom.lineStyle", {"fill": "dot", "dash": [2, 4]})])
        .override_by_name("p95", [panels.prop("displayName", f"{label} p95"), panels.prop("custom.lineWidth", 2)])
        .override_by_name("p99", [
            panels.prop("displayName", f"{label} p99"), quiet,
            panels.prop("custom.lineStyle", {"fill": "dash", "dash": [8, 4]})])
    )


def latency_by_agent(source):
    sql = f"""
        WITH {pushes(source, of_phones(source))}, {hops()},
        {percentiles("hops", ("agent_id", "hop_order", "hop"))}
        SELECT COALESCE(agent_id, '-') AS "Agent",
               hop AS "Hop",
               pushes AS "Pushes",
               {source.real("p50")} AS "p50",
               {source.real("p95")} AS "p95",
               {source.real("p99")} AS "p99"
          FROM percentiles
         ORDER BY COALESCE(agent_id, '-'), hop_order
    """
    told = f"Over all pushes in the time range, by the agent that had them. {HOPS_TOLD} {KNOWN[source.folder]}"
    made = panels.panel(
        table.Panel(), source, "Latency by agent", told, sql, unit="ms", times=(), width=10, height=10, no_value="-"
    )
    return made.decimals(0).override_by_name("Pushes", [panels.prop("unit", "locale")])


def rows(source):
    per_minute = source.real(f"60000.0 * counted_rows / {source.bucket_ms}")
    sql = f"""
        WITH moments AS (
          SELECT sensor AS kind, {source.ms_of_ns("time_ns")} AS at_ms
            FROM {source.view("raw_readings")}
           WHERE {source.readings_within()}
             AND {source.chosen("device_id", "phone")}
          UNION ALL
          SELECT 'windows', {source.ms("time")}
            FROM {source.view("activity_windows")}
           WHERE {source.windows_within()}
             AND {source.chosen("device_id", "phone")}
          UNION ALL
          SELECT 'gap notices', {source.ms("noticed_at")}
            FROM {source.view("stream_gaps")}
           WHERE {quality.noticed_within(source)}
        ), bucketed AS (
          SELECT kind, {source.bucket("at_ms")} AS bucket_ms FROM moments
        ), counted AS (
          SELECT bucket_ms, kind, COUNT(*) AS counted_rows FROM bucketed GROUP BY bucket_ms, kind
        ), {with_pauses(source, "counted", ["kind"], ["counted_rows"], 120_000)}
        SELECT {source.instant("bucket_ms")} AS "time",
               kind AS "Rows of",
               {per_minute} AS "Rows"
          FROM points
         ORDER BY bucket_ms, kind
    """
    told = (
        "Rows per minute of each interval: readings by their sensor, by when they were measured; windows (rows of "
        "USER_ACTIVITY_PROCESSED, each as classified last) by when they end; gap notices (rows of GAPS, of all phones) "
        "by when they were noticed. The range's first and last interval may be cut."
    )
    made = panels.panel(timeseries.Panel(), source, "Rows per minute", told, sql, unit="cpm", width=14, height=9)
    return (
        made.interval("1m")
        .max_data_points(300)
        .with_transformation(panels.split_by("Rows of"))
        .display_name("${__field.labels[\"Rows of\"]}")
        .color_scheme(panels.color(panels.BY_NAME))
        .decimals(0)
        .min(0)
        .tooltip(panels.all_in_tooltip())
        .legend(panels.legend())
        .line_interpolation(common.LineInterpolation.STEP_AFTER)
    )


def agents(source):
    sql = f"""
        WITH {pushes(source, of_phones(source))},
        sent AS (
          SELECT agent_id, COUNT(*) AS pushes, SUM(readings) AS readings, COUNT(DISTINCT device_id) AS phones,
                 COUNT(DISTINCT epoch) AS starts, MAX(received_ms) AS last_received_ms
            FROM pushes
           GROUP BY agent_id
        ), classified AS (
          SELECT agent_id, COUNT(*) AS windows
            FROM {source.view("activity_windows")}
           WHERE {source.windows_within()}
             AND {source.chosen("device_id", "phone")}
           GROUP BY agent_id
        ), lost AS (
          SELECT agent_id, SUM(frames) AS frames
            FROM {source.view("stream_gaps")}
           WHERE {quality.noticed_within(source)}
             AND {quality.LOST}
           GROUP BY agent_id
        )
        SELECT COALESCE(s.agent_id, '-') AS "Agent",
               {source.instant("s.last_received_ms")} AS "Last push",
               s.phones AS "Phones",
               s.starts AS "Starts",
               s.pushes AS "Pushes",
               {quality.whole("s.readings")} AS "Readings",
               {quality.whole("COALESCE(c.windows, 0)")} AS "Windows",
               {quality.whole("COALESCE(l.frames, 0)")} AS "Frames lost"
          FROM sent AS s
          LEFT JOIN classified AS c ON c.agent_id = s.agent_id
          LEFT JOIN lost AS l ON l.agent_id = s.agent_id
         ORDER BY COALESCE(s.agent_id, '-')
    """
    told = (
        "Agents that had pushes measured in the time range; - is who names none. Last push: when the agent had it, by "
        "its own clock. Starts: how often the agent had started (epochs) by which these pushes came. Windows: those "
        "that end in the range. Frames lost: those of which the agent or the relay noticed in the range that they will "
        "not come, without what was deleted by `gaitway forget`."
    )
    made = panels.panel(
        table.Panel(), source, "Agents", told, sql, unit="locale", times=("Last push",), width=10, height=9,
        no_value="-",
    )
    return (
        made.override_by_name("Last push", [panels.prop("unit", "dateTimeAsIso"), panels.prop("custom.width", 180)])
        .override_by_name("Frames lost", [
            panels.prop("thresholds", panels.thresholds(panels.GOOD, (1, panels.BAD)).build()),
            panels.prop("custom.cellOptions", {"type": "color-text"})])
    )


PANELS = (latency, latency_by_agent, rows, agents)
