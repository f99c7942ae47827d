"""The alert rules on warehouses: `provisioning/alerting/<data source>.yaml`, one file for each.

Every query gives one row at least, of zero where nothing was found, so that no data means that something is wrong.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from generate import panels, pipeline, rules, yamlish
from generate.sources import WAREHOUSES, Snowflake

RUNBOOK = "docs/runbook.md"
#: Alert rules of Snowflake ask by the warehouse's clock: the official plugin fills in no moment there.
SNOWFLAKES_NOW = "DATE_PART(EPOCH_MILLISECOND, SYSDATE())"
EXPRESSION = {"type": "__expr__", "uid": "__expr__"}


@dataclass(frozen=True)
class Group:
    """Rules that are asked together."""

    name: str
    interval: str
    why: str
    rules: tuple


SOON = Group(
    "soon", "5m", "Cheap questions about the last hour.",
    (rules.PHONE_SILENT, rules.LATENCY_HIGH, rules.STREAM_GAP),
)
HOURLY = Group(
    "hourly", "1h", "They read the readings of some hours.",
    (rules.PUSHES_MISSING, rules.STORED_TWICE, rules.LATE_READINGS, rules.CLOCK_SKEW, rules.PHONE_GONE,
     rules.AGENT_SILENT),
)
#: One group: all of its rules are asked at once, and the warehouse wakes once.
SLEEPY = Group(
    "asleep between", "3h",
    "Each time wakes the warehouse for a minute and a half: 8 a day are 6 credits a month of the 20 that\n"
    "# deploy/snowflake/05_warehouse.sql allows. Hourly would be 18, every 15 minutes 72: raise the quota first.",
    (rules.LATENCY_HIGH, rules.STREAM_GAP, *HOURLY.rules, rules.CREDITS_NEARLY_USED),
)


def groups(source):
    return (SLEEPY,) if isinstance(source, Snowflake) else (SOON, HOURLY)


def files():
    """Each file's path below `deploy/grafana`, and its text."""
    for source in WAREHOUSES:
        yield Path("provisioning/alerting") / f"{source.folder}.yaml", text(source)


def text(source):
    numbers = panel_numbers(source)
    lines = [
        f"# Alert rules on {source.title}, for {source.plugin}.",
        "# Written by `python3 -m generate`: change generate/rules.py.",
        "apiVersion: 1",
        "groups:",
    ]
    for group in groups(source):
        lines.append(f"# {group.why}")
        lines += yamlish.listed({
            "orgId": 1,
            "name": f"gaitway {source.folder}: {group.name}",
            "folder": f"gaitway {source.title}",
            "interval": group.interval,
            "rules": [rule_of(source, rule, numbers) for rule in group.rules],
        })
    return "\n".join(lines) + "\n"


def panel_numbers(source):
    """The ids of Pipeline's panels, by title: their place."""
    return {panel.title: number for number, panel in enumerate(pipeline.build(source).build().panels, 1)}


def rule_of(source, rule, numbers):
    setting = rule.setting(source)
    asked = asking(source, setting.span_s)
    query = source.query(panels.tidy(one_row_at_least(source, rule, asked)), "A", ()).to_json()
    return {
        "uid": f"{source.uid}-{rule.slug}",
        "title": rule.name,
        "condition": "B",
        "data": [
            {
                "refId": "A",
                "queryType": query.get("queryType", ""),
                "relativeTimeRange": {"from": setting.span_s, "to": 0},
                "datasourceUid": source.uid,
                "model": query,
            },
            {
                "refId": "B",
                "relativeTimeRange": {"from": 0, "to": 0},
                "datasourceUid": "__expr__",
                "model": {
                    "refId": "B",
                    "datasource": EXPRESSION,
                    "type": "threshold",
                    "expression": "A",
                    "conditions": [{"evaluator": {"type": rule.evaluator, "params": list(setting.limits)}}],
                },
            },
        ],
        "dashboardUid": source.dashboard_uid("pipeline"),
        "panelId": numbers[rule.panel],
        "noDataState": "NoData",
        "execErrState": "Error",
        "for": setting.pending,
        "annotations": {
            "summary": rule.summary,
            "description": rule.description(setting),
            "runbook_url": f"{RUNBOOK}#{rule.name.lower()}",
        },
        "labels": {"severity": rule.severity, "warehouse": source.folder},
    }


def asking(source, span_s):
    """The source with its range as an alert rule knows it."""
    if not isinstance(source, Snowflake):
        return source
    begin = f"({SNOWFLAKES_NOW} - {span_s * 1000})"
    return replace(
        source, from_ms=begin, to_ms=SNOWFLAKES_NOW, from_ns=f"{begin} * 1000000", to_ns=f"{SNOWFLAKES_NOW} * 1000000"
    )


def one_row_at_least(source, rule, asked):
    """What the rule finds: text columns that become labels, and one number."""
    labels = "".join(f"COALESCE(f.{column}, '-') AS \"{label}\",\n               " for label, column in rule.labels)
    before, found = rule.sql(asked)
    return f"""
        WITH {before}{"," if before else ""}
        found AS ({found}
        )
        SELECT {labels}{source.real("COALESCE(f.value, 0)")} AS "value"
          FROM (SELECT 1 AS one) AS o
          LEFT JOIN found AS f ON 1 = 1
    """
