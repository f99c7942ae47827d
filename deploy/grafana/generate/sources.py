"""The data sources: how each asks, and what its SQL says for the same thing.

Moments are milliseconds since the Unix epoch within a query, so that everything between the first and the last SELECT
is the same SQL everywhere. A query's last SELECT turns them into times with `instant`.
"""

from dataclasses import dataclass

from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models.dashboard import DataSourceRef

HOUR_MS = 3_600_000
#: A sensor's number this great is taken for none, so that none is infinite in any warehouse.
BEYOND_NUMBERS = "1e99"


class Query(variants.Dataquery):
    """A query in its plugin's own JSON."""

    def __init__(self, model):
        self.model = model

    def build(self):
        return self

    def to_json(self):
        return self.model


@dataclass(frozen=True)
class Source:
    """A data source: its folder in `dashboards/`, its name for people, its plugin, the uid that provisioning gives."""

    folder: str
    title: str
    plugin: str
    #: How often dashboards refresh by themselves unless told otherwise (empty: never), and what can be chosen.
    refresh: str = ""
    refreshes: tuple[str, ...] = ("1m", "5m", "15m", "30m", "1h")
    #: For how long Grafana may give an answer again that it has cached, where it caches.
    cache_ms: int = 0

    @property
    def uid(self):
        return f"gaitway-{self.folder}"

    @property
    def ref(self):
        return DataSourceRef(type_val=self.plugin, uid=self.uid)

    def dashboard_uid(self, name):
        return f"gaitway-{self.folder}-{name}"


PROMETHEUS = Source("prometheus", "Prometheus", "prometheus", "1m")


@dataclass(frozen=True)
class Sql(Source):
    """A warehouse. Methods that take `ms` want milliseconds since the epoch, those that take `time` a view's column."""

    #: What stands before a view's name.
    schema: str = ""
    #: Begin and end of the panel's range, in nanoseconds since the epoch.
    from_ns: str = ""
    to_ns: str = ""
    #: The same in milliseconds.
    from_ms: str = ""
    to_ms: str = ""
    #: The same in an alert rule, where nothing but the plugin itself fills in. Empty: the plugin offers no such value.
    alert_from_ms: str = ""
    alert_to_ms: str = ""
    #: What the variable `zone` is, and what it is at first.
    zone_label: str = "Time zone"
    zone_default: str = "UTC"
    zone_help: str = (
        "By which days and hours are told: a name such as Europe/Berlin, no offset: +02:00 may count the wrong way."
    )

    #: Width of one bucket of the panel, in milliseconds and nanoseconds.
    bucket_ms = "$__interval_ms"
    bucket_ns = "($__interval_ms * 1000000)"

    def view(self, name):
        return self.schema + name

    def query(self, sql, ref="A", times=("time",)):
        """A query whose result is the table that `sql` says; `times` are its columns that hold times."""
        model = {"datasource": {"type": self.plugin, "uid": self.uid}, "refId": ref}
        return Query(model | self.model(sql, list(times)))

    def chosen(self, column, variable):
        """`column` is among the values chosen for a variable. Its value for All is the column's name."""
        return f"{column} IN (${{{variable}:sqlstring}})"

    def windows_within(self, before_ms=0, after_ms=0):
        """A condition on `activity_windows`: the window ends in the range, widened by so much. An index bounds it."""
        return f"time BETWEEN {self.moment(self.from_ms, -before_ms)} AND {self.moment(self.to_ms, after_ms)}"

    def windows_ending_within(self, span_ms, after_ms=0):
        """The same for the time of a length before the range's end, whatever its begin is."""
        return f"time BETWEEN {self.moment(self.to_ms, -span_ms)} AND {self.moment(self.to_ms, after_ms)}"

    def readings_within(self, before_ms=0, after_ms=0):
        """A condition on any view with `time_ns`: the reading is in the range, widened by so much."""
        begin = self.from_ns + (f" - {before_ms * 1_000_000}" if before_ms else "")
        end = self.to_ns + (f" + {after_ms * 1_000_000}" if after_ms else "")
        return f"time_ns BETWEEN {begin} AND {end}"

    def ms_of_ns(self, time_ns):
        return self.whole(time_ns, "1000000")

    def bucket(self, ms):
        """The begin of the bucket of the panel that holds a moment."""
        return f"{self.whole(ms, self.bucket_ms)} * {self.bucket_ms}"


class Postgres(Sql):
    def model(self, sql, times):
        return {"editorMode": "code", "format": "table", "rawQuery": True, "rawSql": sql}

    def moment(self, ms, shift_ms=0):
        macro = "$__timeFrom()" if ms == self.from_ms else "$__timeTo()"
        return f"{macro}::timestamp" + (f" + interval '{shift_ms} milliseconds'" if shift_ms else "")

    def ms(self, time):
        return f"FLOOR(EXTRACT(epoch FROM {time}) * 1000)::bigint"

    def instant(self, ms):
        return f"to_timestamp(({ms}) / 1000.0)"

    def whole(self, dividend, divisor):
        return f"({dividend}) / {divisor}"

    def real(self, value):
        return f"({value})::double precision"

    def text(self, value):
        return f"({value})::text"

    def local(self, ms):
        return f"(to_timestamp(({ms}) / 1000.0) AT TIME ZONE COALESCE(NULLIF(${{zone:sqlstring}}, ''), 'UTC'))"

    def day(self, ms):
        return f"to_char({self.local(ms)}, 'YYYY-MM-DD')"

    def minute(self, ms):
        return f"to_char({self.local(ms)}, 'YYYY-MM-DD HH24:MI')"

    def hour(self, ms):
        return f"EXTRACT(hour FROM {self.local(ms)})::int"

    def weekday(self, ms):
        return f"EXTRACT(isodow FROM {self.local(ms)})::int"

    def json_text(self, column, *path):
        return f"{column} #>> '{{{','.join(path)}}}'"

    def json_numbers(self, column, key):
        """The numbers in the object at `key` of a column of JSON: what to join, its condition, their name and value.

        Text that spells a number is one too; one of a hundred digits or more is none.
        """
        whole = f"{column} -> '{key}'"
        digits = r"^-?[0-9]{1,99}(\.[0-9]{1,200})?([eE][-+]?[0-9]{1,2})?\Z"
        return (
            f"CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof({whole}) = 'object' THEN {whole} END) AS n",
            f"CASE WHEN jsonb_typeof(n.value) IN ('number', 'string') AND n.value #>> '{{}}' ~ '{digits}' "
            f"THEN ABS((n.value #>> '{{}}')::double precision) < {BEYOND_NUMBERS} ELSE FALSE END",
            "n.key",
            "(n.value #>> '{}')::double precision",
        )


class Sqlite(Sql):
    def chosen(self, column, variable):
        # The sign keeps the planner from an index by phone, by which it would read all that a phone ever did.
        return "+" + super().chosen(column, variable)

    def model(self, sql, times):
        return {"queryText": sql, "queryType": "table", "rawQueryText": sql, "timeColumns": times}

    def moment(self, ms, shift_ms=0):
        shifted = f"({ms} {'+' if shift_ms > 0 else '-'} {abs(shift_ms)})" if shift_ms else ms
        return f"strftime('%Y-%m-%d %H:%M:%S', {shifted} / 1000, 'unixepoch')"

    def ms(self, time):
        # The views tell every time with three digits behind the seconds.
        return f"CAST(strftime('%s', {time}) AS INTEGER) * 1000 + CAST(substr({time}, 21, 3) AS INTEGER)"

    def instant(self, ms):
        # As text: the plugin would cut a fraction of seconds a millisecond short.
        return f"strftime('%Y-%m-%dT%H:%M:%fZ', ({ms}) / 1000.0, 'unixepoch')"

    def whole(self, dividend, divisor):
        return f"({dividend}) / {divisor}"

    def real(self, value):
        return f"CAST({value} AS REAL)"

    def text(self, value):
        return f"CAST({value} AS TEXT)"

    def local(self, form, ms):
        return f"strftime('{form}', ({ms}) / 1000 + 60 * CAST(${{zone:sqlstring}} AS INTEGER), 'unixepoch')"

    def day(self, ms):
        return self.local("%Y-%m-%d", ms)

    def minute(self, ms):
        return self.local("%Y-%m-%d %H:%M", ms)

    def hour(self, ms):
        return f"CAST({self.local('%H', ms)} AS INTEGER)"

    def weekday(self, ms):
        return f"((CAST({self.local('%w', ms)} AS INTEGER) + 6) % 7 + 1)"

    def json_text(self, column, *path):
        return f"json_extract({column}, '$.{'.'.join(path)}')"

    def json_numbers(self, column, key):
        return (
            f"CROSS JOIN json_each(CASE WHEN json_type({column}, '$.{key}') = 'object' THEN {column} END, '$.{key}') "
            "AS n",
            "n.type IN ('integer', 'real', 'text') "
            "AND CASE WHEN json_valid(n.value) THEN json_type(n.value) END IN ('integer', 'real') "
            f"AND ABS(CAST(n.value AS REAL)) < {BEYOND_NUMBERS}",
            "n.key",
            "CAST(n.value AS REAL)",
        )


class Snowflake(Sql):
    def windows_within(self, before_ms=0, after_ms=0):
        # The table is clustered by the day of the window's start; a window lasts an hour at most.
        starts = f"window_start >= {self.moment(self.from_ms, -before_ms - HOUR_MS)}"
        return f"{super().windows_within(before_ms, after_ms)} AND {starts}"

    def windows_ending_within(self, span_ms, after_ms=0):
        starts = f"window_start >= {self.moment(self.to_ms, -span_ms - HOUR_MS)}"
        return f"{super().windows_ending_within(span_ms, after_ms)} AND {starts}"

    def moment(self, ms, shift_ms=0):
        shifted = f"{ms} {'+' if shift_ms > 0 else '-'} {abs(shift_ms)}" if shift_ms else ms
        return f"TO_TIMESTAMP_NTZ({shifted}, 3)"

    def ms(self, time):
        return f"DATE_PART(EPOCH_MILLISECOND, {time})"

    def instant(self, ms):
        return f"TO_TIMESTAMP_NTZ({ms}, 3)"

    def whole(self, dividend, divisor):
        # A quotient here has six decimals and is rounded to them.
        return f"(({dividend} - MOD({dividend}, {divisor})) / {divisor})::BIGINT"

    def bucket(self, ms):
        return f"{ms} - MOD({ms}, {self.bucket_ms})"

    def real(self, value):
        return f"({value})::FLOAT"

    def text(self, value):
        return f"({value})::VARCHAR"

    def local(self, ms):
        zone = "COALESCE(NULLIF(${zone:sqlstring}, ''), 'UTC')"
        return f"CONVERT_TIMEZONE('UTC', {zone}, TO_TIMESTAMP_NTZ({ms}, 3))"

    def day(self, ms):
        return f"TO_CHAR({self.local(ms)}, 'YYYY-MM-DD')"

    def minute(self, ms):
        return f"TO_CHAR({self.local(ms)}, 'YYYY-MM-DD HH24:MI')"

    def hour(self, ms):
        return f"HOUR({self.local(ms)})"

    def weekday(self, ms):
        return f"DAYOFWEEKISO({self.local(ms)})"

    def json_text(self, column, *path):
        return f"{column}:{'.'.join(path)}::VARCHAR"

    def json_numbers(self, column, key):
        return (
            f", LATERAL FLATTEN(INPUT => {column}:{key}) AS n",
            "TYPEOF(n.value) IN ('INTEGER', 'DECIMAL', 'DOUBLE', 'VARCHAR') "
            f"AND ABS(TRY_TO_DOUBLE(n.value::VARCHAR)) < {BEYOND_NUMBERS} AND n.key IS NOT NULL",
            "n.key",
            "TRY_TO_DOUBLE(n.value::VARCHAR)",
        )


class OfficialSnowflake(Snowflake):
    def model(self, sql, times):
        return {"format": 1, "rawSql": sql}


class CommunitySnowflake(Snowflake):
    def model(self, sql, times):
        return {"queryText": sql, "queryType": "table", "timeColumns": times}


#: A warehouse of Snowflake sleeps after a minute without a query.
_SLEEPY = {"schema": "ACTIVITY_DB.ACTIVITY.", "refreshes": ("15m", "30m", "1h"), "cache_ms": 900_000}
_GRAFANAS_OWN = {
    "from_ns": "$__from * 1000000",
    "to_ns": "$__to * 1000000",
    "from_ms": "$__from",
    "to_ms": "$__to",
}

POSTGRES = Postgres(
    folder="postgres",
    title="PostgreSQL",
    plugin="grafana-postgresql-datasource",
    refresh="5m",
    schema="activity.",
    from_ns="$__unixEpochNanoFrom()",
    to_ns="$__unixEpochNanoTo()",
    from_ms="$__unixEpochNanoFrom() / 1000000",
    to_ms="$__unixEpochNanoTo() / 1000000",
    alert_from_ms="$__unixEpochNanoFrom() / 1000000",
    alert_to_ms="$__unixEpochNanoTo() / 1000000",
)

SQLITE = Sqlite(
    folder="sqlite",
    title="SQLite",
    plugin="frser-sqlite-datasource",
    refresh="15m",
    alert_from_ms="$__from",
    alert_to_ms="$__to",
    zone_label="Minutes from UTC",
    zone_default="0",
    zone_help="SQLite knows no time zones: by how many minutes your clock is ahead of UTC, such as 120 or -300. "
    "A name counts as 0, which is UTC.",
    **_GRAFANAS_OWN,
)

SNOWFLAKE = OfficialSnowflake(
    folder="snowflake",
    title="Snowflake",
    plugin="grafana-snowflake-datasource",
    **_SLEEPY,
    **_GRAFANAS_OWN,
)

SNOWFLAKE_COMMUNITY = CommunitySnowflake(
    folder="snowflake-community",
    title="Snowflake, community plugin",
    plugin="michelin-snowflake-datasource",
    **_SLEEPY,
    alert_from_ms="$__unixEpochNanoFrom() / 1000000",
    alert_to_ms="$__unixEpochNanoTo() / 1000000",
    **_GRAFANAS_OWN,
)

WAREHOUSES = (POSTGRES, SNOWFLAKE, SNOWFLAKE_COMMUNITY, SQLITE)
