"""Rules of our own that types cannot say: identities, places, links, variables, ranges, and what alert rules need."""

import re
from itertools import combinations
from urllib.parse import parse_qsl, urlsplit

import yaml

from check import queries
from check.variables import _REFERENCE as REFERENCE

DOCS = queries.ROOT.parents[1] / "docs"
#: The plugin of each data source, by folder.
SOURCES = {folder: plugin for folder, (plugin, _) in queries.PLUGINS.items()} | {"prometheus": "prometheus"}
#: What is filled in without a variable of the dashboard.
GRAFANAS = {
    "__from", "__to", "__interval", "__interval_ms", "__rate_interval", "__range", "__range_s", "__data", "__field",
    "__value", "__url_time_range", "__auto", "__all",
}
#: A query is bounded by the range if it has one of these. Begins and ends that are of the range's end alone count too.
BOUNDS = ("$__timeFrom()", "$__unixEpochNanoFrom()", "$__from", "$__timeTo()", "$__unixEpochNanoTo()", "$__to",
          "$__timeFilter(", "SYSDATE()")
#: Questions about the present size of things have no range.
UNBOUNDED = {("sqlite", "pipeline", "Size"), ("snowflake", "pipeline", "Storage"),
             ("snowflake-community", "pipeline", "Storage")}
#: The shortest refresh that lets Snowflake's warehouse sleep.
QUARTER_MINUTES = 15
MINUTES = {"m": 1, "h": 60, "d": 1440}


def wrong():
    boards = list(queries.dashboards())
    for source, name, dashboard in boards:
        for problem in of_dashboard(source, name, dashboard):
            yield f"{source}/{name}: {problem}"
    yield from links(boards)
    yield from datasources()
    yield from of_rules()


def of_dashboard(source, name, dashboard):
    wanted = "gaitway-fleet" if source == "prometheus" else f"gaitway-{source}-{name}"
    if dashboard.get("uid") != wanted:
        yield f"its uid is {dashboard.get('uid')}, not {wanted}"
    if dashboard.get("timezone") != "browser":
        yield "its time zone is not the browser's"
    if not dashboard.get("description"):
        yield "it has no description"
    yield from refreshes(source, dashboard)
    yield from places(dashboard)
    defined = {variable["name"] for variable in dashboard.get("templating", {}).get("list", [])}
    for text in texts(dashboard):
        for found in REFERENCE.finditer(text):
            used = found[1] or found[2] or found[4]
            if used not in defined | GRAFANAS and not text[found.end():].startswith("("):
                yield f"{found[0]} is used and no variable {used} is there: {text[:60]!r}"
    unused = defined - {found[1] or found[2] or found[4] for text in texts(dashboard) for found in REFERENCE.finditer(text)}
    yield from (f"its variable {one} is used nowhere" for one in sorted(unused))
    for panel in queries.panels(dashboard):
        yield from (f"panel {panel.get('title')}: {problem}" for problem in of_panel(source, panel))
    for query in queries.of_dashboard(source, name, dashboard):
        key = (source, name, query.title)
        if key not in UNBOUNDED and not any(bound in query.sql for bound in BOUNDS):
            yield f"{query.kind} {query.title}: nothing bounds it by the range"


def refreshes(source, dashboard):
    """Nothing wakes Snowflake's warehouse by itself, and nobody can choose to every few minutes."""
    if not source.startswith("snowflake"):
        return
    if dashboard.get("refresh"):
        yield f"it refreshes by itself every {dashboard['refresh']}"
    for one in dashboard.get("timepicker", {}).get("refresh_intervals", ["5s"]):
        number, unit = re.fullmatch(r"(\d+)([a-z])", one).groups()
        if int(number) * MINUTES.get(unit, 0) < QUARTER_MINUTES:
            yield f"a refresh every {one} is on offer"


def places(dashboard):
    found = list(queries.panels(dashboard))
    ids = [panel["id"] for panel in found]
    if len(set(ids)) != len(ids):
        yield f"ids of panels come twice: {sorted(ids)}"
    titles = [panel["title"] for panel in found if panel["type"] != "row"]
    if len(set(titles)) != len(titles):
        yield "titles of panels come twice"
    for panel in found:
        place = panel["gridPos"]
        if place["x"] < 0 or place["y"] < 0 or place["x"] + place["w"] > 24 or place["h"] < 1 or place["w"] < 1:
            yield f"panel {panel['title']} lies outside the grid: {place}"
    for one, two in combinations(found, 2):
        a, b = one["gridPos"], two["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        if not beside and not apart:
            yield f"panels {one['title']} and {two['title']} overlap"


def of_panel(source, panel):
    if not panel.get("title"):
        yield "it has no title"
    if panel["type"] in ("row", "text"):
        return
    if not panel.get("description"):
        yield "it has no description"
    if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
        yield "it has no unit"
    if not panel.get("targets"):
        yield "it asks nothing"
    wanted = {"type": SOURCES[source], "uid": f"gaitway-{source}"}
    for whose in (panel, *(panel.get("targets") or [])):
        if whose.get("datasource") != wanted:
            yield f"it asks {whose.get('datasource')}, not {wanted}"
    if panel["type"] == "state-timeline" and panel.get("options", {}).get("perPage") is not None:
        yield "with pages (perPage) its links find no other field"
    yield from (f"{name} has no unit string: a name of digits would be a number" for name in numbered(panel))
    refs = [target["refId"] for target in panel.get("targets") or []]
    if len(set(refs)) != len(refs):
        yield f"its queries have the same names: {refs}"


#: Columns of names, and the panels that show them as fields.
NAMES = ("Phone", "Session", "Agent", "Epoch")
BY_ROW = ("gauge", "stat", "table")


def numbered(panel):
    """Columns of names whose cells Grafana would take for numbers where they are digits."""
    if panel["type"] not in BY_ROW:
        return
    shown = " ".join(text for target in panel.get("targets") or [] for text in texts(target))
    config = panel["fieldConfig"]
    for name in NAMES:
        units = [config["defaults"].get("unit")] + [
            prop["value"] for override in config.get("overrides", [])
            if override["matcher"] == {"id": "byName", "options": name}
            for prop in override["properties"] if prop["id"] == "unit"
        ]
        if f'AS "{name}"' in shown and units[-1] != "string":
            yield name


def texts(value):
    """Every text in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


def links(boards):
    """Each link leads to a dashboard that is there, with variables that it has."""
    by_uid = {dashboard["uid"]: dashboard for _, _, dashboard in boards}
    for source, name, dashboard in boards:
        for text in texts(dashboard):
            if not text.startswith("/d/"):
                continue
            where = f"{source}/{name}: link {text}"
            for found in REFERENCE.finditer(text):
                is_number = (found[5] or "").endswith(".numeric")
                if found[4] in ("__data", "__field") and not is_number and found[6] != "percentencode":
                    yield f"{where}: {found[0]} breaks on names with & or # (percentencode)"
            # What Grafana fills in holds characters that end a path.
            # What is carried along as it is chosen here is left out there if that dashboard has no such variable.
            plain = REFERENCE.sub(lambda found: "" if found[6] == "queryparam" else "x", text)
            address = urlsplit(plain)
            target = by_uid.get(address.path.removeprefix("/d/").split("/")[0])
            if target is None:
                yield f"{where}: there is no such dashboard"
                continue
            theirs = {variable["name"] for variable in target.get("templating", {}).get("list", [])}
            for key, _ in parse_qsl(address.query, keep_blank_values=True):
                wanted = key.removeprefix("var-")
                if wanted not in theirs | {"from", "to", "timezone", "__url_time_range"}:
                    yield f"{where}: that dashboard has no variable {wanted}"


def datasources():
    """The uids that provisioning gives are those that dashboards ask, with the same plugins."""
    given = {}
    for path in sorted((queries.ROOT / "provisioning/datasources").glob("*.y*ml")):
        for one in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("datasources", []):
            given[one["uid"].removeprefix("gaitway-")] = one["type"]
    if given != SOURCES:
        yield f"provisioning gives {given}, asked are {SOURCES}"


#: Fields of Grafana's provisioned alert rules.
RULE_FIELDS = {"uid", "title", "condition", "data", "noDataState", "execErrState", "for", "annotations", "labels"}
MORE_FIELDS = {"dashboardUid", "panelId", "isPaused", "notification_settings", "keepFiringFor"}
STATES = {"noDataState": {"NoData", "OK", "Alerting", "KeepLast"}, "execErrState": {"Error", "OK", "Alerting", "KeepLast"}}


def of_rules():
    uids, boards = {}, {dashboard["uid"]: dashboard for _, _, dashboard in queries.dashboards()}
    for path, group, rule in queries.rules():
        where = f"{path.name}, rule {rule.get('title')}"
        for problem in of_rule(group, rule, boards):
            yield f"{where}: {problem}"
        if rule.get("uid") in uids:
            yield f"{where}: its uid is that of {uids[rule['uid']]}"
        uids[rule.get("uid")] = where
    if not uids:
        yield "there is no alert rule"


def of_rule(group, rule, boards):
    if missing := {"orgId", "name", "folder", "interval"} - set(group):
        yield f"its group lacks {sorted(missing)}"
    if missing := RULE_FIELDS - set(rule):
        yield f"it lacks {sorted(missing)}"
    if more := set(rule) - RULE_FIELDS - MORE_FIELDS:
        yield f"Grafana knows no {sorted(more)}"
    for state, allowed in STATES.items():
        if rule.get(state) not in allowed:
            yield f"{state} is {rule.get(state)}"
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", rule.get("uid", "")):
        yield f"its uid {rule.get('uid')} is none"
    refs = [step["refId"] for step in rule["data"]]
    if rule["condition"] not in refs or len(set(refs)) != len(refs):
        yield f"its condition is {rule['condition']}, its steps are {refs}"
    for step in rule["data"]:
        yield from of_step(step, refs)
    yield from of_panel_link(rule, boards)
    yield from runbook(rule)


def of_step(step, refs):
    if missing := {"refId", "datasourceUid", "relativeTimeRange", "model"} - set(step):
        yield f"step {step.get('refId')} lacks {sorted(missing)}"
        return
    if step["model"].get("refId") != step["refId"]:
        yield f"step {step['refId']} says that it is {step['model'].get('refId')}"
    if step["datasourceUid"] == "__expr__":
        if step["model"].get("expression") not in refs:
            yield f"step {step['refId']} is of {step['model'].get('expression')}, which is not there"
    elif step["datasourceUid"].removeprefix("gaitway-") not in SOURCES:
        yield f"step {step['refId']} asks {step['datasourceUid']}"
    elif step["relativeTimeRange"]["from"] <= step["relativeTimeRange"]["to"]:
        yield f"step {step['refId']} looks at no time"


def of_panel_link(rule, boards):
    if "dashboardUid" in rule:
        found = boards.get(rule["dashboardUid"])
        ids = {panel["id"] for panel in queries.panels(found)} if found else set()
        if rule.get("panelId") not in ids:
            yield f"panel {rule.get('panelId')} of dashboard {rule['dashboardUid']} is not there"


def runbook(rule):
    """Every alert has an entry whose anchor is its name in lower case."""
    address = rule.get("annotations", {}).get("runbook_url", "")
    anchor = rule["title"].lower()
    if not address.endswith(f"docs/runbook.md#{anchor}"):
        yield f"its runbook_url is {address!r}"
    page = DOCS / "runbook.md"
    headings = re.findall(r"^#+ +(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE) if page.exists() else []
    if anchor not in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}:
        yield f"docs/runbook.md has no entry {rule['title']}"
    for field in ("summary", "description"):
        if not rule.get("annotations", {}).get(field):
            yield f"it has no {field}"
