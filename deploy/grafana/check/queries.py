"""Every query of the committed dashboards and alert rules, and where it stands."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
#: Data sources that are asked in SQL, by folder: their plugin, and the field that holds what the browser fills in.
PLUGINS = {
    "postgres": ("grafana-postgresql-datasource", "rawSql"),
    "sqlite": ("frser-sqlite-datasource", "rawQueryText"),
    "snowflake": ("grafana-snowflake-datasource", "rawSql"),
    "snowflake-community": ("michelin-snowflake-datasource", "queryText"),
}
#: The field that the plugin's part on the server reads: what an alert rule asks.
ON_SERVER = {"postgres": "rawSql", "sqlite": "queryText", "snowflake": "rawSql", "snowflake-community": "queryText"}


@dataclass(frozen=True)
class Query:
    """`kind` is panel, variable, annotation or alert; `title` is the panel's, or the name of the others."""

    source: str
    dashboard: str
    kind: str
    title: str
    ref: str
    sql: str
    model: dict
    panel: dict

    @property
    def name(self):
        """What an expectation is registered by: the same for all data sources."""
        return self.dashboard, self.kind, self.title, self.ref


def panels(dashboard):
    for panel in dashboard.get("panels", []):
        yield panel
        yield from panel.get("panels") or []


def dashboards():
    """Source folder, name and content of each committed dashboard."""
    for path in sorted((ROOT / "dashboards").glob("*/*.json")):
        yield path.parent.name, path.stem, json.loads(path.read_text(encoding="utf-8"))


def of_dashboard(source, name, dashboard):
    if source not in PLUGINS:
        return
    _, field = PLUGINS[source]
    for variable in dashboard.get("templating", {}).get("list", []):
        if variable["type"] == "query":
            yield Query(source, name, "variable", variable["name"], "A", variable["query"], {}, {})
    for annotation in dashboard.get("annotations", {}).get("list", []):
        if sql := (annotation.get("target") or {}).get(field):
            yield Query(source, name, "annotation", annotation["name"], "A", sql, annotation["target"], {})
    for panel in panels(dashboard):
        for target in panel.get("targets") or []:
            yield Query(source, name, "panel", panel["title"], target["refId"], target[field], target, panel)


def rules():
    """Path and rule of each alert rule in Grafana's provisioning files."""
    for path in sorted((ROOT / "provisioning").rglob("*.y*ml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            for group in (document or {}).get("groups") or []:
                for rule in group["rules"]:
                    yield path, group, rule


def of_rule(rule):
    for step in rule["data"]:
        source = step["datasourceUid"].removeprefix("gaitway-")
        if source in PLUGINS:
            sql = step["model"][ON_SERVER[source]]
            yield Query(source, "alerts", "alert", rule["title"], step["refId"], sql, step, rule)


def gathered():
    found = [query for one in dashboards() for query in of_dashboard(*one)]
    return found + [query for _, _, rule in rules() for query in of_rule(rule)]
