"""What all dashboards have in common: how a panel, a variable, a link look, and the colours of the activities."""

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import gauge, table
from grafana_foundation_sdk.builders.common import VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

#: Every activity by its colour, in the order from rest to effort.
ACTIVITIES = {
    "stationary": "#8e9db5",
    "walking": "#56a64b",
    "running": "#f2930d",
    "sprinting": "#d64a3b",
}
#: Colours of x, y, z and the magnitude.
AXES = {"x": "#e0604c", "y": "#5aa454", "z": "#4c86d9", "magnitude": "#a374c9"}
GOOD, WARN, BAD, QUIET = "#56a64b", "#f2cc0c", "#d64a3b", "#8e9db5"

NO_VALUE = "nothing in this time range: choose a longer one, or another phone"


def activity_mapping():
    """Activities in their colours, whatever shows them."""
    options = {
        name: model.ValueMappingResult(text=name, color=color, index=index)
        for index, (name, color) in enumerate(ACTIVITIES.items())
    }
    return model.ValueMap(options=options)


def thresholds(base, *steps):
    """A colour from the bottom up, and (value, colour) from where another holds."""
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(
        [model.Threshold(value=None, color=base)] + [model.Threshold(value=at, color=color) for at, color in steps]
    )


def color(mode, fixed=None):
    scheme = build.FieldColor().mode(mode)
    return scheme.fixed_color(fixed) if fixed else scheme


FIXED = model.FieldColorModeId.FIXED
BY_THRESHOLD = model.FieldColorModeId.THRESHOLDS
BY_NAME = model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME


def prop(name, value):
    """One property of an override, such as `unit` or `custom.width`."""
    return model.DynamicConfigValue(id_val=name, value=value)


def fixed(name):
    return prop("color", {"mode": "fixed", "fixedColor": name})


def hidden(made, unit="none"):
    """Of a column that only links read; a name among them has the unit `string`, or it is taken for a number."""
    if isinstance(made, table.Panel):
        return [prop("unit", unit), prop("custom.hidden", True)]
    return [prop("unit", unit), prop("custom.hideFrom", {"legend": True, "tooltip": True, "viz": True})]


def transform(name, **options):
    return model.DataTransformerConfig(id_val=name, options=options)


def split_by(*columns):
    """One frame for each value of the columns, which become labels: the same series whatever the plugin."""
    return transform("partitionByValues", fields=list(columns), keepFields=False, naming={"asLabels": True})


#: Columns of names. Grafana takes a text of digits for a number unless it is said to be none.
NAMES = ("Phone", "Session", "Agent", "Epoch")


def panel(kind, source, title, description, sql, *, width, height, unit, times=("time",), no_value=NO_VALUE):
    """A panel of a builder of the SDK, with one query, or several as {refId: SQL}.

    Every panel has a description that says what a number in it is, a unit (overrides give columns others) and a text
    for when there is nothing.
    """
    assert description.endswith("."), title
    queries = sql if isinstance(sql, dict) else {"A": sql}
    made = kind.title(title).description(description).datasource(source.ref).span(width).height(height)
    for ref, text in queries.items():
        made = made.with_target(source.query(tidy(text), ref, times))
    if source.cache_ms:
        made = made.query_caching_ttl(source.cache_ms)
    made = made.unit(unit).no_value(no_value)
    if isinstance(made, (gauge.Panel, table.Panel)):
        for name in NAMES:
            if any(f'AS "{name}"' in text for text in queries.values()):
                made = made.override_by_name(name, [prop("unit", "string")])
    return made


def tidy(sql):
    """The lines of a query without the indentation and the empty lines of the Python around it."""
    lines = [line.rstrip() for line in sql.split("\n") if line.strip()]
    common = min(len(line) - len(line.lstrip()) for line in lines)
    return "\n".join(line[common:] for line in lines)


class Literal:
    """JSON of Grafana's for which the SDK has no type."""

    def __init__(self, value):
        self.value = value

    def build(self):
        return self

    def to_json(self):
        return self.value


def unpaged(made):
    """Of a state timeline: no pages. With pages Grafana gives every field a frame of its own, and links find no other.

    The SDK knows no way to say so but its own model.
    """
    made._internal.options.per_page = None
    return made


def legend():
    return VizLegendOptions().show_legend(True).display_mode(common.LegendDisplayMode.LIST).placement(
        common.LegendPlacement.BOTTOM
    )


def no_legend():
    return VizLegendOptions().show_legend(False).display_mode(common.LegendDisplayMode.LIST).placement(
        common.LegendPlacement.BOTTOM
    )


def all_in_tooltip():
    return VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.NONE)


def link(title, url, new_tab=False):
    """A link on a value. The fields of its row are `${__data.fields["name"]}`."""
    return {"title": title, "url": url, "targetBlank": new_tab}


def session_link(source, title, name, begin="from_ms", end="to_ms", labelled=False, session=True):
    """To dashboard `name`, at the session and the moments that stand in the row's fields, in milliseconds.

    `labelled`: the phone is no column but a label of the series.
    Without a session Raw signals shows the newest that the phone has then.
    """
    phone = "${__field.labels.Phone:percentencode}" if labelled else field("Phone")
    chosen = [f"var-phone={phone}"] + ([f"var-session={field('Session')}"] if session else [])
    span = f"from={moment(begin)}&to={moment(end)}"
    return link(title, f"/d/{source.dashboard_uid(name)}?{'&'.join(chosen)}&{span}&${{zone:queryparam}}")


def chosen_link(source, title, name, begin, end):
    """The same for the session that is chosen, and with its other variables as they are."""
    kept = "&".join(f"${{{variable}:queryparam}}" for variable in ("phone", "session", "sensor", "zone"))
    return link(title, f"/d/{source.dashboard_uid(name)}?{kept}&from={moment(begin)}&to={moment(end)}")


def field(name):
    """A field of the row that a link is on, for an address: without a format Grafana leaves `&`, `#` and `+` in it."""
    return f'${{__data.fields["{name}"]:percentencode}}'


def moment(name):
    """Such a field as the bare number that an address wants."""
    return f'${{__data.fields["{name}"].numeric}}'


#: Columns that only links read: a moment's surroundings.
FOR_LINKS = ("from_ms", "to_ms")


def around(begin_ms, end_ms, margin_ms=60_000):
    """These columns of a query."""
    return f"{begin_ms} - {margin_ms} AS \"from_ms\", {end_ms} + {margin_ms} AS \"to_ms\""


def coloured(mode="basic"):
    """Of a table's column: the cell has the value's colour behind it."""
    return prop("custom.cellOptions", {"type": "color-background", "mode": mode})


def activity_column():
    """The overrides of a column that names activities."""
    return [prop("mappings", [activity_mapping()]), coloured(), prop("custom.width", 110)]


def variable(source, name, label, description, sql):
    """A variable whose values come from the warehouse, asked for again whenever the range changes."""
    return (
        build.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(source.ref)
        .query(tidy(sql))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.DISABLED)
    )


def several(made, column):
    """Lets a variable have several values. All is the column's name, which makes `column IN (column)`: no list."""
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return made.multi(True).include_all(True).all_value(column).current(everything)


def phone(source):
    sql = f"""
        SELECT DISTINCT device_id AS "phone"
          FROM {source.view("activity_windows")}
         WHERE {source.windows_within()}
           AND device_id IS NOT NULL
         ORDER BY device_id
    """
    made = variable(source, "phone", "Phone", "Phones with windows in this time range.", sql)
    return several(made, "device_id")


def session(source):
    """The sessions of the chosen phones, newest first; what is shown is when each began."""
    began = source.minute(source.ms("MIN(window_start)"))
    sql = f"""
        SELECT session_id AS "__value",
               {began} || ' · ' || SUBSTR(session_id, 1, 8) AS "__text"
          FROM {source.view("activity_windows")}
         WHERE {source.windows_within()}
           AND {source.chosen("device_id", "phone")}
           AND session_id IS NOT NULL
         GROUP BY session_id
         ORDER BY MIN(window_start) DESC, session_id
         LIMIT 500
    """
    told = "Recordings with windows in this time range, by when they began there. Another's id can be typed."
    return variable(source, "session", "Session", told, sql)


def zone(source):
    start = model.VariableOption(selected=True, text=source.zone_default, value=source.zone_default)
    made = build.TextBoxVariable("zone").label(source.zone_label).description(source.zone_help)
    return made.default_value(source.zone_default).current(start)


#: The dashboards on a warehouse, as they stand in each one's links.
FAMILY = {"activity": "Activity", "raw": "Raw signals", "pipeline": "Pipeline"}


def board(source, name, title, description, begin="now-24h", carried=("phone",), refresh=None):
    """A dashboard of one data source, with links to its family and to Fleet, which take its variables along.

    `refresh` is how often it refreshes by itself in place of what the source says; empty: never.
    """
    made = (
        build.Dashboard(f"gaitway: {title} ({source.title})")
        .uid(source.dashboard_uid(name))
        .description(description)
        .tags(["gaitway", source.folder])
        .timezone("browser")
        .time(begin, "now")
        .timepicker(build.TimePicker().refresh_intervals(list(source.refreshes)))
        .refresh(source.refresh if refresh is None else refresh)
        .editable()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
    )
    for other, shown in FAMILY.items():
        # Raw signals has one session, and would take All for its name.
        taken = [variable for variable in carried if (other, variable) != ("raw", "session")]
        chosen = "&".join(f"${{{variable}:queryparam}}" for variable in taken)
        if other != name:
            made = made.link(dashboard_link(shown, f"/d/{source.dashboard_uid(other)}?{chosen}"))
    return made.link(dashboard_link("Fleet", "/d/gaitway-fleet"))


def dashboard_link(title, url):
    return build.DashboardLink(title).type(model.DashboardLinkType.LINK).url(url).keep_time(True).icon("dashboard")


def activity_colours(made, more=()):
    """Each activity's column in its colour."""
    for name, shade in ACTIVITIES.items():
        made = made.override_by_name(name, [fixed(shade), *more])
    return made
