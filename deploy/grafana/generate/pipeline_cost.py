"""Pipeline: what the warehouse takes, and what it costs."""

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from generate import panels
from generate.quality import noticed_within, whole
from generate.sources import Postgres, Snowflake, Sqlite

DAY_MS = 86_400_000

#: Account usage of what gaitway uses: its warehouse for reading, and what the rows and tables of its database take.
OURS = """((service_type = 'WAREHOUSE_METERING' AND name = 'GAITWAY_READ')
               OR (service_type IN ('SNOWPIPE_STREAMING', 'AUTO_CLUSTERING') AND database_name = 'ACTIVITY_DB'))"""
USAGE_TOLD = (
    "From SNOWFLAKE.ACCOUNT_USAGE, which tells three hours late and of Snowpipe Streaming up to twelve; the role needs "
    "its database role USAGE_VIEWER (deploy/snowflake/03_roles.sql grants it). Counted are the warehouse GAITWAY_READ, "
    "and Snowpipe Streaming and automatic clustering of ACTIVITY_DB."
)
USAGE_EMPTY = "nothing used in this time range, or the role lacks SNOWFLAKE.USAGE_VIEWER; hours are told late"


def variables(source):
    """What a bill needs to know, of Snowflake alone."""
    if not isinstance(source, Snowflake):
        return ()
    return (
        textbox("price", "Price of a credit", "3", "What your contract says, in its currency."),
        textbox("quota", "Credits a month", "20", "What the resource monitor GAITWAY_MONTHLY allows."),
    )


def textbox(name, label, value, description):
    start = model.VariableOption(selected=True, text=value, value=value)
    return build.TextBoxVariable(name).label(label).description(description).default_value(value).current(start)


def number(variable):
    """A variable's value as a number, 0 where it is none."""
    return f"COALESCE(TRY_TO_DOUBLE(${{{variable}:sqlstring}}), 0)"


def usage(begin, end):
    """`used`: hours of Snowflake's account usage that are gaitway's."""
    return f"""
        used AS (
          SELECT DATE_PART(EPOCH_MILLISECOND, start_time) AS at_ms, credits_used, bytes,
                 CASE service_type WHEN 'WAREHOUSE_METERING' THEN 'reading' WHEN 'AUTO_CLUSTERING' THEN 'clustering'
                                   ELSE 'appending' END AS service
            FROM SNOWFLAKE.ACCOUNT_USAGE.METERING_HISTORY
           WHERE start_time >= TO_TIMESTAMP_LTZ({begin}, 3)
             AND start_time < TO_TIMESTAMP_LTZ({end}, 3)
             AND {OURS}
        )"""


def last_30_days(source):
    return usage(f"{source.to_ms} - {30 * DAY_MS}", source.to_ms)


def month(source):
    sql = f"""
        WITH {last_30_days(source)},
        sums AS (
          SELECT COALESCE(SUM(credits_used), 0) AS credits,
                 COALESCE(SUM(CASE WHEN service = 'reading' THEN credits_used END), 0) AS reading
            FROM used
        )
        SELECT {source.real("credits")} AS "Credits",
               {source.real("reading")} AS "Credits for reading",
               {source.real(f"reading / NULLIF({number('quota')}, 0)")} AS "Share of the quota",
               {source.real(f"credits * {number('price')}")} AS "Cost"
          FROM sums
    """
    told = (
        "The 30 days before the end of the time range. Share of the quota: of the credits that the resource monitor "
        "allows in a month, used for reading; its own month begins on the day on which it was made. Cost: credits "
        f"times the price above, without storage. {USAGE_TOLD}"
    )
    made = panels.panel(
        stat.Panel(), source, "The last 30 days", told, sql, unit="none", times=(), width=8, height=8,
        no_value=USAGE_EMPTY,
    )
    return (
        made.reduce_options(ReduceDataOptions().values(False).calcs(["lastNotNull"]))
        .decimals(2)
        .graph_mode(common.BigValueGraphMode.NONE)
        .override_by_name("Share of the quota", [
            panels.prop("unit", "percentunit"), panels.prop("decimals", 0),
            panels.prop("thresholds", panels.thresholds(panels.GOOD, (0.75, panels.WARN), (1, panels.BAD)).build())])
    )


def credits_by_day(source):
    sql = f"""
        WITH {last_30_days(source)},
        days AS (
          SELECT at_ms - MOD(at_ms, {DAY_MS}) AS day_ms, service, SUM(credits_used) AS credits
            FROM used
           GROUP BY at_ms - MOD(at_ms, {DAY_MS}), service
        )
        SELECT {source.instant("day_ms")} AS "time", service AS "Service", {source.real("credits")} AS "Credits"
          FROM days
         ORDER BY day_ms, service
    """
    told = (
        "Credits by day (UTC) in the 30 days before the end of the time range. Reading: the warehouse GAITWAY_READ. "
        f"Appending: Snowpipe Streaming. Clustering: automatic clustering of the tables. {USAGE_TOLD}"
    )
    made = panels.panel(
        timeseries.Panel(), source, "Credits by day", told, sql, unit="none", width=8, height=8, no_value=USAGE_EMPTY
    )
    return bars(made.decimals(2), "Service").time_from("30d")


def bytes_by_day(source):
    sql = f"""
        WITH {last_30_days(source)},
        days AS (
          SELECT at_ms - MOD(at_ms, {DAY_MS}) AS day_ms, SUM(bytes) AS appended
            FROM used
           WHERE service = 'appending'
           GROUP BY at_ms - MOD(at_ms, {DAY_MS})
        )
        SELECT {source.instant("day_ms")} AS "time", {source.real("appended")} AS "Appended"
          FROM days
         ORDER BY day_ms
    """
    told = (
        "Bytes that Snowpipe Streaming took in by day (UTC) in the 30 days before the end of the time range: what "
        f"appending is billed by. {USAGE_TOLD}"
    )
    made = panels.panel(
        timeseries.Panel(), source, "Appended by day", told, sql, unit="decbytes", width=8, height=8,
        no_value=USAGE_EMPTY,
    )
    return bars(made).time_from("30d")


def bars(made, split=None):
    made = (
        made.draw_style(common.GraphDrawStyle.BARS)
        .fill_opacity(80)
        .line_width(0)
        .min(0)
        .color_scheme(panels.color(panels.BY_NAME))
        .tooltip(panels.all_in_tooltip())
        .legend(panels.legend())
    )
    if split:
        made = (
            made.with_transformation(panels.split_by(split))
            .display_name(f"${{__field.labels.{split}}}")
            .stacking(panels.Literal({"mode": "normal", "group": "A"}))
        )
    return made


def rows_by_table(source):
    """`written`: by table, as the warehouse spells it, how many of its rows lie in the range."""
    return f"""
        written AS (
          SELECT 'activity_records' AS table_name, COUNT(*) AS counted_rows
            FROM {source.view("raw_readings")}
           WHERE {source.readings_within()}
          UNION ALL
          SELECT 'user_activity_processed', COUNT(*)
            FROM {source.view("activity_windows")}
           WHERE {source.windows_within()}
          UNION ALL
          SELECT 'gaps', COUNT(*)
            FROM {source.view("stream_gaps")}
           WHERE {noticed_within(source)}
        )"""


ROWS_TOLD = (
    "Rows a day: rows in the time range (readings measured in it, windows that end in it, gap notices noticed in it), "
    "of all phones, divided by its length in days."
)


def per_day(source, value):
    return source.real(f"1.0 * {value} * {DAY_MS} / NULLIF({source.to_ms} - {source.from_ms}, 0)")


def postgres_sizes(source):
    sql = f"""
        WITH RECURSIVE {rows_by_table(source)},
        parts AS (
          SELECT c.oid, c.relname::text AS table_name
            FROM pg_class AS c
            JOIN pg_namespace AS n ON n.oid = c.relnamespace
           WHERE (n.nspname, c.relname) IN (('raw_data', 'activity_records'), ('raw_data', 'gaps'),
                                            ('processed_data', 'user_activity_processed'))
          UNION ALL
          SELECT i.inhrelid, p.table_name
            FROM pg_inherits AS i
            JOIN parts AS p ON p.oid = i.inhparent
        ), sizes AS (
          SELECT p.table_name, COUNT(*) FILTER (WHERE c.relkind = 'r') AS parts,
                 SUM(GREATEST(c.reltuples, 0)) FILTER (WHERE c.relkind = 'r') AS estimated_rows,
                 SUM(pg_table_size(p.oid)) FILTER (WHERE c.relkind = 'r') AS table_bytes,
                 SUM(pg_indexes_size(p.oid)) FILTER (WHERE c.relkind = 'r') AS index_bytes
            FROM parts AS p
            JOIN pg_class AS c ON c.oid = p.oid
           GROUP BY p.table_name
        )
        SELECT s.table_name AS "Table",
               {whole("s.parts")} AS "Parts",
               {source.real("s.table_bytes")} AS "Rows' bytes",
               {source.real("s.index_bytes")} AS "Indexes' bytes",
               {source.real("s.table_bytes + s.index_bytes")} AS "Bytes",
               {source.real("s.estimated_rows")} AS "Rows (estimate)",
               {source.real("(s.table_bytes + s.index_bytes) / NULLIF(s.estimated_rows, 0)")} AS "Bytes a row",
               {per_day(source, "w.counted_rows")} AS "Rows a day",
               {per_day(source, "w.counted_rows * (s.table_bytes + s.index_bytes) / NULLIF(s.estimated_rows, 0)")}
                 AS "Growth a day"
          FROM sizes AS s
          JOIN written AS w ON w.table_name = s.table_name
         ORDER BY s.table_bytes + s.index_bytes DESC, s.table_name
    """
    told = (
        "What each table takes on disk, with all its partitions or chunks, as of now whatever the time range. Rows "
        "(estimate): what PostgreSQL counted when it last analysed the table. Bytes a row: bytes, indexes included, "
        f"divided by that. {ROWS_TOLD} Growth a day: rows a day times bytes a row; empty until the table was analysed. "
        "What TimescaleDB has compressed is not in it."
    )
    made = panels.panel(
        table.Panel(), source, "Size and growth", told, sql, unit="bytes", times=(), width=24, height=6, no_value="-"
    )
    for column in ("Parts", "Rows (estimate)", "Rows a day"):
        made = made.override_by_name(column, [panels.prop("unit", "locale"), panels.prop("decimals", 0)])
    return made


def sqlite_size(source):
    sql = """
        SELECT p.page_count * s.page_size AS "File",
               f.freelist_count * s.page_size AS "Free in it"
          FROM pragma_page_count() AS p
         CROSS JOIN pragma_page_size() AS s
         CROSS JOIN pragma_freelist_count() AS f
    """
    told = (
        "Pages of the file times their size, as of now whatever the time range. Free in it: pages without content, "
        "which what comes next fills first."
    )
    made = panels.panel(
        stat.Panel(), source, "Size", told, sql, unit="bytes", times=(), width=8, height=6
    )
    return made.reduce_options(ReduceDataOptions().values(False).calcs(["lastNotNull"])).graph_mode(
        common.BigValueGraphMode.NONE
    )


def sqlite_growth(source):
    used = "(SELECT (p.page_count - f.freelist_count) * s.page_size FROM pragma_page_count() AS p, "
    used += "pragma_page_size() AS s, pragma_freelist_count() AS f)"
    # The least and the greatest apart: together they would read the table whole.
    held = "\n          UNION ALL\n          ".join(
        f"SELECT '{name.lower()}' AS table_name,"
        f" (SELECT MAX(_rowid_) FROM {name}) - (SELECT MIN(_rowid_) FROM {name}) + 1 AS rows_at_most"
        for name in ("ACTIVITY_RECORDS", "USER_ACTIVITY_PROCESSED", "GAPS")
    )
    sql = f"""
        WITH {rows_by_table(source)},
        held AS (
          {held}
        ), filled AS (
          SELECT 1.0 * {used} / NULLIF(SUM(rows_at_most), 0) AS bytes_a_row FROM held
        )
        SELECT w.table_name AS "Table",
               COALESCE(h.rows_at_most, 0) AS "Rows at most",
               {source.real("f.bytes_a_row")} AS "Bytes a row",
               {per_day(source, "w.counted_rows")} AS "Rows a day",
               {per_day(source, "w.counted_rows * f.bytes_a_row")} AS "Growth a day"
          FROM written AS w
          JOIN held AS h ON h.table_name = w.table_name
         CROSS JOIN filled AS f
         ORDER BY w.counted_rows DESC, w.table_name
    """
    told = (
        "Rows at most: from the least to the greatest row number, without counting them. Bytes a row: what is used of "
        f"the file divided by all of these rows, indexes included. {ROWS_TOLD} Growth a day: rows a day times bytes a "
        "row, before keep_raw and max_bytes take their share."
    )
    made = panels.panel(
        table.Panel(), source, "Growth", told, sql, unit="bytes", times=(), width=16, height=6, no_value="-"
    )
    for column in ("Rows at most", "Rows a day"):
        made = made.override_by_name(column, [panels.prop("unit", "locale"), panels.prop("decimals", 0)])
    return made


def snowflake_storage(source):
    sql = f"""
        SELECT table_schema || '.' || table_name AS "Table",
               {source.real("SUM(active_bytes)")} AS "Rows' bytes",
               {source.real("SUM(time_travel_bytes)")} AS "Time Travel",
               {source.real("SUM(failsafe_bytes)")} AS "Fail-safe",
               {source.real("SUM(active_bytes + time_travel_bytes + failsafe_bytes)")} AS "Bytes"
          FROM SNOWFLAKE.ACCOUNT_USAGE.TABLE_STORAGE_METRICS
         WHERE table_catalog = 'ACTIVITY_DB'
         GROUP BY table_schema || '.' || table_name
         ORDER BY SUM(active_bytes + time_travel_bytes + failsafe_bytes) DESC, table_schema || '.' || table_name
    """
    told = (
        "Bytes that are billed as storage, compressed, as of some hours ago whatever the time range. Dropped tables "
        "count until their Fail-safe ends. From SNOWFLAKE.ACCOUNT_USAGE; the role needs its database role USAGE_VIEWER "
        "(deploy/snowflake/03_roles.sql grants it)."
    )
    return panels.panel(
        table.Panel(), source, "Storage", told, sql, unit="bytes", times=(), width=24, height=6, no_value="-"
    )


def panels_of(source):
    if isinstance(source, Postgres):
        return (postgres_sizes,)
    if isinstance(source, Sqlite):
        return (sqlite_size, sqlite_growth)
    return (month, credits_by_day, bytes_by_day, snowflake_storage)
