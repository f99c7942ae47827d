"""What each alert rule on a warehouse asks, from when it is too much, and what it says.

`sql(source)` gives relations to stand after WITH, and a SELECT of the labels' columns and `value`.
"""

from dataclasses import dataclass, replace

from generate import pipeline_cost, quality
from generate.sources import HOUR_MS, Snowflake

MINUTE_MS = 60_000
DAY_MS = 24 * HOUR_MS
#: Clocks may be wrong by so much: how far from the range, in which pushes arrive, their readings are looked for.
BEHIND_MS, AHEAD_MS = 6 * HOUR_MS, 7 * DAY_MS
QUOTA = 20


@dataclass(frozen=True)
class Setting:
    """How far back a rule looks, its limits, and for how long they must be passed."""

    span_s: int
    limits: tuple
    pending: str = "0s"

    @property
    def hours(self):
        return f"{self.span_s // 3600} hours"


@dataclass(frozen=True)
class Rule:
    name: str
    slug: str
    severity: str
    #: Of Pipeline, where its finding is seen.
    panel: str
    summary: str
    #: Text with {limits} and {hours} of the setting.
    told: str
    sql: object
    setting_here: Setting
    #: On Snowflake, where questions are rare; None: not asked there.
    setting_asleep: Setting | None
    #: (label, column of `found`).
    labels: tuple = ()
    evaluator: str = "gt"

    def setting(self, source):
        return self.setting_asleep if isinstance(source, Snowflake) else self.setting_here

    def description(self, setting):
        limits = " and ".join(f"{limit:g}" for limit in setting.limits)
        return self.told.format(limits=limits, hours=setting.hours)


def found(labels, value, relation, condition=None, tail=""):
    named = "".join(f"{column}, " for column in labels)
    where = f"\n           WHERE {condition}" if condition else ""
    group = f"\n           GROUP BY {', '.join(labels)}{tail}" if tail is not None else ""
    return f"""
          SELECT {named}{value} AS value
            FROM {relation}{where}{group}"""


def window_ends(source, column):
    """`ended`: windows that end in the range, by phone or agent, and when they end."""
    return f"""
        ended AS (
          SELECT {column}, {source.ms("time")} AS at_ms
            FROM {source.view("activity_windows")}
           WHERE {source.windows_within()}
             AND {column} IS NOT NULL
        )"""


def phone_silent(source):
    value = f"({source.to_ms} - MAX(at_ms)) / 60000.0"
    tail = f"\n          HAVING MAX(at_ms) - MIN(at_ms) >= {5 * MINUTE_MS}"
    return window_ends(source, "device_id"), found(("device_id",), value, "ended", tail=tail)


def phone_gone(source):
    value = f"({source.to_ms} - MAX(at_ms)) / 3600000.0"
    days = f"COUNT(DISTINCT {source.whole('at_ms', str(DAY_MS))})"
    tail = f"\n          HAVING {days} >= 3"
    return window_ends(source, "device_id"), found(("device_id",), value, "ended", tail=tail)


def agent_silent(source):
    value = f"({source.to_ms} - MAX(at_ms)) / 3600000.0"
    return window_ends(source, "agent_id"), found(("agent_id",), value, "ended")


def pushes_missing(source):
    return quality.holes(source), found(("device_id", "session_id"), "SUM(missing)", "holes")


def stored_twice(source):
    each = "\n          UNION ALL".join(
        f"\n          SELECT '{check}' AS check_name, (SELECT COALESCE(SUM(extra), 0) FROM {relation}) AS value"
        for check, relation in (("record name", "by_name"), ("Kafka offset", "by_offset"), ("window", "by_window"),
                                ("gap notice", "by_notice"))
    )
    return f"{quality.named(source)}, {quality.duplicates(source)}", each


def stream_gap(source):
    return "", found(
        ("agent_id", "reason"), "SUM(frames)", source.view("stream_gaps"),
        f"{quality.noticed_within(source)}\n             AND {quality.LOST}",
    )


def late_readings(source):
    return quality.lateness(source), found(
        ("device_id", "session_id"), "1.0 * late / readings", "lateness", "readings >= 1000", None
    )


def clock_skew(source):
    wide = replace(
        source, from_ns=f"({source.from_ns} - {BEHIND_MS * 1_000_000})",
        to_ns=f"({source.to_ns} + {AHEAD_MS * 1_000_000})",
    )
    received = f"\n             AND received_ms BETWEEN {source.from_ms} AND {source.to_ms}"
    return f"{quality.pushes(wide)}, {quality.skews(received)}", found(
        ("device_id", "agent_id"), "MIN(least_ms) / 1000.0", "skews", tail="\n          HAVING SUM(pushes) >= 5"
    )


def latency_high(source):
    if source.folder == "sqlite":
        took = "received_ms - last_ms"
    else:
        took = "COALESCE(row_ms, kafka_ms) - received_ms"
    before = f"""{quality.pushes(source)},
        arrived AS (
          SELECT agent_id, {took} AS took_ms
            FROM pushes
           WHERE {took} IS NOT NULL
        ), {quality.percentiles("arrived", ("agent_id",))}"""
    return before, found(("agent_id",), "p95 / 1000.0", "percentiles", "pushes >= 20", None)


def credits_nearly_used(source):
    used = pipeline_cost.usage(source.from_ms, source.to_ms)
    return used, found((), f"SUM(credits_used) / {QUOTA}.0", "used", "service = 'reading'", None)


PHONE, AGENT = ("phone", "device_id"), ("agent", "agent_id")
SESSION = ("session", "session_id")
PER_SESSION = "of phone {{ .Labels.phone }}, session {{ .Labels.session }}"

PHONE_SILENT = Rule(
    "WarehousePhoneSilent", "phone-silent", "info", "Rows per minute",
    "Phone {{ .Labels.phone }} has sent nothing for {{ humanize .Values.A.Value }} minutes",
    "The phone had windows for five minutes or longer within the last hour, and the last one ended more than {limits} "
    "minutes ago. It resolves within the hour. Whether the recording was stopped on the phone is not told.",
    phone_silent, Setting(3600, (10,)), None, (PHONE,),
)
PHONE_GONE = Rule(
    "WarehousePhoneGone", "phone-gone", "warning", "Rows per minute",
    "Phone {{ .Labels.phone }} has sent nothing for {{ humanize .Values.A.Value }} hours",
    "The phone had windows on three days (UTC) or more of the last seven, and the last one ended more than {limits} "
    "hours ago. It resolves once fewer than three days are left.",
    phone_gone, Setting(7 * 86400, (36,)), Setting(7 * 86400, (36,)), (PHONE,),
)
AGENT_SILENT = Rule(
    "WarehouseAgentSilent", "agent-silent", "warning", "Agents",
    "No window of agent {{ .Labels.agent }} has ended for {{ humanize .Values.A.Value }} hours",
    "Windows of this agent are stored that end in the last seven days, and none that ends in the last {limits} hours.",
    agent_silent, Setting(7 * 86400, (24,)), Setting(7 * 86400, (24,)), (AGENT,),
)
PUSHES_MISSING = Rule(
    "WarehousePushesMissing", "missing", "warning", "Missing pushes",
    "{{ humanize .Values.A.Value }} pushes are missing " + PER_SESSION,
    "Numbers (messageId) missing before pushes of which the first reading was measured within the last {hours}; the "
    "push before is looked for an hour further back.",
    pushes_missing, Setting(2 * 3600, (0,)), Setting(6 * 3600, (0,)), (PHONE, SESSION),
)
STORED_TWICE = Rule(
    "WarehouseStoredTwice", "twice", "critical", "Readings stored more than once",
    "{{ humanize .Values.A.Value }} rows are stored twice, by {{ .Labels.check }}",
    "Rows beyond the first: readings measured within the last {hours}, by the name that their agent gave them and by "
    "their place in Kafka; windows that end in them, by phone, session, start and revision; gap notices noticed in "
    "them, by agent, start, stream and first frame. Exactly-once was broken, or two ways fill one table.",
    stored_twice, Setting(6 * 3600, (0,)), Setting(12 * 3600, (0,)), (("check", "check_name"),),
)
STREAM_GAP = Rule(
    "WarehouseStreamGap", "gap", "critical", "Stream gaps",
    "{{ humanize .Values.A.Value }} frames of agent {{ .Labels.agent }} will not come: {{ .Labels.reason }}",
    "Frames of which the agent or the relay noticed within the last {hours} that they are lost. What was deleted by "
    "gaitway forget does not count.",
    stream_gap, Setting(86400, (0,)), Setting(86400, (0,)), (AGENT, ("reason", "reason")),
)
LATE_READINGS = Rule(
    "WarehouseLateReadings", "late", "warning", "Late readings by session",
    "{{ humanizePercentage .Values.A.Value }} of the accelerometer's readings came late " + PER_SESSION,
    "Share of the accelerometer's readings of a session, measured within the last {hours}, that lay more than 10 s "
    "behind the newest of an earlier push; the limit is {limits}, of sessions with a thousand such readings or more. "
    "They are stored, and miss windows.",
    late_readings, Setting(2 * 3600, (0.05,)), Setting(6 * 3600, (0.05,)), (PHONE, SESSION),
)
CLOCK_SKEW = Rule(
    "WarehouseClockSkew", "skew", "warning", "Clock skew by session and agent",
    "The clocks of phone {{ .Labels.phone }} and agent {{ .Labels.agent }} differ by {{ humanize .Values.A.Value }} "
    "seconds",
    "Of five pushes or more that the agent had within the last {hours}: the least time from a push's last reading, on "
    "the phone's clock, to when the agent had it, on the agent's, lies outside {limits} seconds. Below zero the phone "
    "is ahead. Looked at are readings measured up to six hours before that and seven days after.",
    clock_skew, Setting(2 * 3600, (-60, 60)), Setting(6 * 3600, (-60, 60)), (PHONE, AGENT), "outside_range",
)
LATENCY_HIGH = Rule(
    "WarehouseLatencyHigh", "latency", "warning", "Latency by agent",
    "95 of 100 pushes of agent {{ .Labels.agent }} took up to {{ humanize .Values.A.Value }} seconds",
    "Of twenty pushes or more of which the last reading was measured in the range: PostgreSQL, from when the agent had "
    "it to when the row was stored; Snowflake, to the row where that is told, else to Kafka; SQLite, from the push's "
    "last reading to when the agent had it. The limit is {limits} seconds.",
    latency_high, Setting(1800, (60,), "10m"), Setting(6 * 3600, (60,)), (AGENT,),
)
CREDITS_NEARLY_USED = Rule(
    "WarehouseCreditsNearlyUsed", "credits", "warning", "The last 30 days",
    "GAITWAY_READ has used {{ humanizePercentage .Values.A.Value }} of its credits",
    f"Credits of the warehouse GAITWAY_READ in the last 30 days, of the {QUOTA} that its monitor allows in a month; "
    "the limit is {limits} of them. Account usage tells three hours late, and the monitor's month begins on the day on "
    "which it was made. Once they are used up, dashboards, alerts, redrive, audit and tail end.",
    credits_nearly_used, Setting(30 * 86400, (0.75,)), Setting(30 * 86400, (0.75,)),
)
