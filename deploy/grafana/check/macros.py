"""The macros that each plugin expands behind Grafana, by the plugins' sources.

- PostgreSQL: `pkg/tsdb/grafana-postgresql-datasource` of grafana/grafana 11.6 (macros.go, sqleng).
- SQLite: `pkg/plugin/{variables,macros}.go` of fr-ser/grafana-sqlite-datasource 4.
- Snowflake, community: `pkg/query/macros.go` of michelin/snowflake-grafana-datasource 2.
- Snowflake, official: its documentation (page Query editor), and grafana/sqlds, on which it is built.

Each `expand_*` takes the text after Grafana's own variables are filled in, and a `Range`. A macro that a plugin does
not know is an error, as it is there.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timezone

from check.variables import milliseconds

_CALL = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")
_SQLITE_CALL = re.compile(r"\$__([_a-zA-Z0-9]+)\(([^)]*)\)")


class MacroError(Exception):
    """What the plugin would answer in place of data."""


@dataclass(frozen=True)
class Range:
    from_ms: int
    to_ms: int
    interval_ms: int = 60_000

    @property
    def from_text(self):
        return rfc3339(self.from_ms)

    @property
    def to_text(self):
        return rfc3339(self.to_ms)


def rfc3339(ms):
    """As Go's RFC3339Nano writes a moment in UTC: no more digits than it has."""
    whole = datetime.fromtimestamp(ms // 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{ms % 1000:03}".rstrip("0") if ms % 1000 else ""
    return f"{whole}{fraction}Z"


def seconds(interval):
    """An interval in seconds, as Go prints a float."""
    value = milliseconds(interval.strip("'")) / 1000
    return str(int(value)) if value == int(value) else repr(value)


def _column(name, arguments):
    if not arguments or not arguments[0]:
        raise MacroError(f"missing time column argument for macro {name}")
    return arguments[0]


def _expand(sql, macros):
    """Replaces each `$name(a, b)`; what is found is not looked at again."""

    def one(found):
        arguments = [argument.strip(" ") for argument in found[2].split(",")]
        if found[1] not in macros:
            raise MacroError(f'unknown macro "{found[1]}"')
        return macros[found[1]](arguments)

    return _CALL.sub(one, sql)


def _epochs(span):
    """Macros that PostgreSQL and the community's plugin have alike."""
    return {
        "__unixEpochFilter": lambda a: "{0} >= {1} AND {0} <= {2}".format(
            _column("__unixEpochFilter", a), span.from_ms // 1000, span.to_ms // 1000),
        "__unixEpochNanoFilter": lambda a: "{0} >= {1} AND {0} <= {2}".format(
            _column("__unixEpochNanoFilter", a), span.from_ms * 1_000_000, span.to_ms * 1_000_000),
        "__unixEpochNanoFrom": lambda _: str(span.from_ms * 1_000_000),
        "__unixEpochNanoTo": lambda _: str(span.to_ms * 1_000_000),
        "__timeFrom": lambda _: f"'{span.from_text}'",
        "__timeTo": lambda _: f"'{span.to_text}'",
    }


def expand_postgres(sql, span):
    # What every SQL plugin of Grafana's own fills in first; in a dashboard the browser was there before.
    sql = sql.replace("$__interval_ms", str(span.interval_ms))
    sql = sql.replace("$__unixEpochFrom()", str(span.from_ms // 1000))
    sql = sql.replace("$__unixEpochTo()", str(span.to_ms // 1000))

    def group(arguments):
        if len(arguments) < 2:
            raise MacroError("macro __timeGroup needs time column and interval and optional fill value")
        size = seconds(arguments[1])
        return f"floor(extract(epoch from {arguments[0]})/{size})*{size}"

    return _expand(sql, _epochs(span) | {
        "__time": lambda a: f'{_column("__time", a)} AS "time"',
        "__timeEpoch": lambda a: f'extract(epoch from {_column("__timeEpoch", a)}) as "time"',
        "__timeFilter": lambda a: "{} BETWEEN '{}' AND '{}'".format(
            _column("__timeFilter", a), span.from_text, span.to_text),
        "__timeGroup": group,
        "__timeGroupAlias": lambda a: f'{group(a)} AS "time"',
    })


def expand_sqlite(sql, span):
    # The plugin's own words for the range, cut to the second; in a dashboard the browser was there before.
    sql = sql.replace("$__from", str(span.from_ms // 1000 * 1000)).replace("$__to", str(span.to_ms // 1000 * 1000))

    def one(found):
        arguments = found[2].split(",")
        if found[1] == "timeFilter":
            if len(arguments) != 1:
                raise MacroError(f"unsupported number of arguments ({len(arguments)}) for timeFilter")
            column = arguments[0]
            return (f"CAST(CASE WHEN typeof({column}) = 'integer' THEN {column} ELSE strftime(\"%s\", {column}) END "
                    f"AS INTEGER) BETWEEN {span.from_ms // 1000} AND {span.to_ms // 1000}")
        if found[1] == "unixEpochGroupSeconds":
            if len(arguments) not in (2, 3):
                raise MacroError(f"unsupported number of arguments ({len(arguments)}) for unixEpochGroupSeconds")
            size = int(arguments[1].strip(" "))
            return f"cast(({arguments[0]} / {size}) as int) * {size}"
        return found[0]

    return _SQLITE_CALL.sub(one, sql)


def expand_snowflake_community(sql, span):
    def between(arguments):
        column = _column("__timeFilter", arguments)
        zone = arguments[1] if len(arguments) > 1 else "'UTC'"
        moment = "CONVERT_TIMEZONE('UTC', {}, '{}'::timestamp_ntz)".format
        return f"{column} > {moment(zone, span.from_text)} AND {column} < {moment(zone, span.to_text)}"

    def group(arguments):
        if len(arguments) < 2:
            raise MacroError("macro __timeGroup needs time column and interval and optional fill value")
        size = max(1.0, float(seconds(arguments[1])))
        return f"TIME_SLICE(TO_TIMESTAMP_NTZ({arguments[0]}), {size:g}, 'SECOND', 'START')"

    return _expand(sql, _epochs(span) | {
        "__time": lambda a: f"TRY_TO_TIMESTAMP_NTZ({_column('__time', a)}) AS time",
        "__timeEpoch": lambda a: f"extract(epoch from {_column('__timeEpoch', a)}) as time",
        "__timeFilter": between,
        "__timeGroup": group,
        "__timeGroupAlias": lambda a: f"{group(a)} AS time",
    })


def expand_snowflake(sql, span):
    """Of the official plugin: what its documentation names, with the words of sqlds, which write whole seconds."""
    begin, end = (rfc3339(ms // 1000 * 1000) for ms in (span.from_ms, span.to_ms))
    return _expand(sql, {
        "__timeFilter": lambda a: "{0} >= '{1}' AND {0} <= '{2}'".format(_column("__timeFilter", a), begin, end),
        "__timeFrom": lambda a: f"{_column('__timeFrom', a)} >= '{begin}'",
        "__timeTo": lambda a: f"{_column('__timeTo', a)} <= '{end}'",
    })


#: By a data source's folder.
EXPAND = {
    "postgres": expand_postgres,
    "sqlite": expand_sqlite,
    "snowflake": expand_snowflake,
    "snowflake-community": expand_snowflake_community,
}
