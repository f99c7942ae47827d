"""What Grafana itself puts into a query before a plugin sees it: values of variables, the range, the interval.

By Grafana 11.6: `@grafana/scenes` 6 (variables/interpolation) for dashboards, and rangeUtil of `@grafana/data` for
intervals. Only what the dashboards use is here; anything else is an error, so that it is noticed.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import quote

ALL = "$__all"
_REFERENCE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}")
_QUOTED = {"'": "''", '"': '\\"'}


class UnknownVariable(Exception):
    """A query refers to a variable that nobody defines."""


@dataclass
class Variable:
    """A variable of a dashboard with the values that are chosen; All is `[ALL]`."""

    name: str
    values: list[str]
    multi: bool = False
    all_value: str | None = None
    #: What All stands for where there is no `all_value`.
    options: list[str] = field(default_factory=list)

    def value(self):
        if self.values == [ALL]:
            return self.options
        return self.values if self.multi else self.values[0]


def sqlstring(value):
    """`${name:sqlstring}`: in single quotes, which are doubled; a double quote gets a backslash."""
    values = value if isinstance(value, list) else [str(value)]
    quoted = (re.sub("['\"]", lambda found: _QUOTED[found[0]], one) for one in values)
    return ",".join(f"'{one}'" for one in quoted)


def formatted(variable, form):
    """A variable's value in a format; without one, `a` or `{a,b}`."""
    if form == "queryparam":
        return "&".join(f"var-{variable.name}={quote(one, safe='')}" for one in variable.values)
    if variable.values == [ALL] and variable.all_value:
        # The value that a dashboard gives to All is never formatted.
        return variable.all_value
    value = variable.value()
    if form == "sqlstring":
        return sqlstring(value)
    if form == "raw" or not form:
        if isinstance(value, list):
            return value[0] if len(value) == 1 else "{" + ",".join(value) + "}"
        return str(value)
    raise UnknownVariable(f"the check knows no format {form!r}")


def interpolate(text, variables, scoped, quoting=None):
    """`text` with every reference to a variable replaced.

    `scoped` are Grafana's own, such as `__from` and `__interval_ms`, as text. `quoting(variable)` formats variables
    that name no format, as Grafana's SQL plugins do. A macro, `$__name(...)`, is left to the plugin.
    """
    by_name = {variable.name: variable for variable in variables}

    def one(found):
        name = found[1] or found[2] or found[4]
        form = found[3] or found[6]
        if name in scoped:
            return scoped[name]
        if name in by_name:
            return quoting(by_name[name]) if quoting and not form else formatted(by_name[name], form)
        if name.startswith("__") and text[found.end():found.end() + 1] == "(":
            return found[0]
        raise UnknownVariable(f"nothing fills in {found[0]}")

    return _REFERENCE.sub(one, text)


#: Below how many milliseconds an interval is rounded to which.
_ROUNDED = [
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1_500, 1_000), (3_500, 2_000),
    (7_500, 5_000), (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000),
    (210_000, 120_000), (450_000, 300_000), (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000),
    (2_700_000, 1_800_000), (5_400_000, 3_600_000), (9_000_000, 7_200_000), (16_200_000, 10_800_000),
    (32_400_000, 21_600_000), (86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000),
    (3_628_800_000, 2_592_000_000),
]
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
#: What a data source whose settings name no least interval has.
LEAST_MS = 0


def milliseconds(text):
    """`10ms`, `2s`, `5m`, `1h`, `28d`, `>5m`: a span of time."""
    found = re.fullmatch(r">?(\d+)(ms|[smhdwy])", text)
    if not found:
        raise ValueError(f"{text!r} is no interval")
    return int(found[1]) * _UNITS[found[2]]


def interval_ms(from_ms, to_ms, points, least=None):
    """`$__interval_ms` of a panel that asks for so many points and no interval below `least`."""
    wanted = (to_ms - from_ms) / points
    rounded = next((to for below, to in _ROUNDED if wanted < below), 31_536_000_000)
    return max(rounded, milliseconds(least) if least else LEAST_MS, 1)


def interval_text(ms):
    """`$__interval`: the greatest unit that the interval is a whole number of at least one of, as Grafana writes it."""
    for unit, size in sorted(_UNITS.items(), key=lambda one: -one[1]):
        if ms >= size and unit != "w":
            return f"{ms // size}{unit}"
    return "1ms"
