"""The dashboard Fleet: whether every agent, relay and sink is up, how much waits where, and what it costs its machine."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Row
from grafana_foundation_sdk.models import dashboard as model

from generate import panels
from generate.panels import BAD, GOOD, WARN, prop, thresholds
from generate.sources import PROMETHEUS, Query

SOURCES = (PROMETHEUS,)

ABOUT = """\
Whether every agent, relay and sink is up, how much waits where, and what it costs its machine. Prometheus tells it \
(deploy/prometheus); every alert has its entry in docs/runbook.md. What phones did is in Activity, and whether it \
arrived whole in Pipeline."""

NOTHING = "nothing in this time range: is this service scraped (deploy/prometheus)?"
RUNBOOK = "docs/runbook.md says what to do."
AGENT = '{service="agent", instance=~"$agent"}'
HERE = '{instance=~"$instance"}'
SECONDS, BYTES, COUNT, RATE = "s", "bytes", "short", "cps"


def query(ref, expr, legend, instant=False):
    made = {"refId": ref, "expr": expr, "legendFormat": legend, "editorMode": "code"}
    how = {"instant": True, "range": False, "format": "table"} if instant else {"instant": False, "range": True}
    return Query(made | how | {"datasource": {"type": PROMETHEUS.plugin, "uid": PROMETHEUS.uid}})


def filled(made, title, description, queries, unit, width, height=8, instant=False):
    made = made.title(title).description(description).datasource(PROMETHEUS.ref).span(width).height(height)
    for ref, (expr, legend) in zip("ABCDEFGH", queries):
        made = made.with_target(query(ref, expr, legend, instant))
    return made.unit(unit).no_value(NOTHING)


def lines(title, description, *queries, unit=COUNT, width=12):
    return filled(timeseries.Panel(), title, description, queries, unit, width).tooltip(panels.all_in_tooltip()).legend(panels.legend()).min(0)


def number(title, description, expr, *steps, unit=COUNT):
    made = filled(stat.Panel(), title, description, [(expr, "")], unit, 4, 4)
    return made.thresholds(thresholds(GOOD, *steps)).color_scheme(panels.color(panels.BY_THRESHOLD))


def services():
    """One row for each service: the queries joined by instance."""
    columns = [
        ("Up", 'max by (service, instance) (up{service=~"agent|relay|sink"})', None),
        ("Ready", "max by (instance) (gaitway_ready)", None),
        ("Version", "max by (instance, version) (gaitway_build_info)", None),
        ("Running for", "time() - max by (instance) (process_start_time_seconds)", SECONDS),
        ("Memory", "max by (instance) (process_resident_memory_bytes)", BYTES),
        ("CPU", "sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))", "percentunit"),
    ]
    told = "Every service that is scraped. Not ready: its /readyz says why. CPU is of one core. " + RUNBOOK
    queries = [(expr, "") for _, expr, _ in columns]
    made = filled(table.Panel(), "Services", told, queries, "none", 24, 9, instant=True)
    made = made.with_transformation(panels.transform("joinByField", byField="instance", mode="outer"))
    names = {f"Value #{ref}": name for ref, (name, _, _) in zip("ABCDEFGH", columns)}
    names |= {"service": "Service", "instance": "Instance", "version": "Runs"}
    hidden = {f"Time {n}": True for n in range(1, 9)} | {"Time": True, "Value #C": True}
    made = made.with_transformation(panels.transform("organize", renameByName=names, excludeByName=hidden))
    for name, _, unit in columns:
        if unit:
            made = made.override_by_name(name, [prop("unit", unit)])
    states = {"0": {"text": "no", "color": BAD, "index": 0}, "1": {"text": "yes", "color": GOOD, "index": 1}}
    for name in ("Up", "Ready"):
        shown = [prop("mappings", [{"type": "value", "options": states}]), panels.coloured()]
        made = made.override_by_name(name, shown)
    return made


def agents():
    yield lines(
        "Age of the oldest frame",
        "Since the oldest frame that waits for the relay was accepted; 0 if none waits. An alert begins at 30 minutes. "
        + RUNBOOK,
        (f"max by (instance) (gaitway_agent_oldest_frame_age_seconds{AGENT})", "{{instance}}"),
        unit=SECONDS,
    )
    yield lines(
        "Frames that wait",
        "Frames in the spool that the relay has not acknowledged, by stream.",
        (f"sum by (instance, stream) (gaitway_agent_waiting_frames{AGENT})", "{{instance}} {{stream}}"),
    )
    yield lines(
        "Spool in use",
        "The part of spool.max_bytes that is in use. At 100 % pushes are refused, or the oldest raw frames are dropped.",
        (f"instance:gaitway_agent_spool:ratio{AGENT}", "{{instance}}"),
        unit="percentunit",
    )
    yield lines(
        "Acknowledged frames",
        "Frames a second that the relay acknowledged: they are committed.",
        (f"rate(gaitway_agent_uplink_acknowledged_frames_total{AGENT}[$__rate_interval])", "{{instance}}"),
        unit=RATE,
    )
    yield lines(
        "Pushes and readings",
        "Pushes and readings accepted a second.",
        (f"rate(gaitway_agent_messages_total{AGENT}[$__rate_interval])", "{{instance}} pushes"),
        (f"rate(gaitway_agent_readings_total{AGENT}[$__rate_interval])", "{{instance}} readings"),
        unit=RATE,
    )
    yield lines(
        "Refused pushes",
        "Pushes refused a minute, by reason. Phones do not send them again.",
        (
            f"sum by (instance, reason) (rate(gaitway_agent_refused_pushes_total{AGENT}[$__rate_interval])) * 60",
            "{{instance}} {{reason}}",
        ),
        unit="cpm",
    )


def machines():
    yield lines(
        "Written to the card in a day",
        "Bytes a day that the agent had written, by its rate over the last day; a card of 16 GB bears some 10 TB.",
        (f"instance:gaitway_written_bytes:rate1d{AGENT}", "{{instance}}"),
        unit="decbytes",
        width=8,
    )
    yield lines(
        "Free disk above the floor",
        "Bytes free on the spool's disk beyond spool.min_free_percent: at 0 pushes are refused.",
        (f"gaitway_agent_disk_free_bytes{AGENT} - gaitway_agent_disk_floor_bytes{AGENT}", "{{instance}}"),
        unit=BYTES,
        width=8,
    ).min(None)
    yield lines(
        "Memory",
        "Memory of each service that is in RAM.",
        (f"process_resident_memory_bytes{HERE}", "{{service}} {{instance}}"),
        unit=BYTES,
        width=8,
    )
    yield lines(
        "Certificates",
        "How long each certificate is good for. They are renewed by themselves, when a third of their life is left.",
        (f"gaitway_agent_certificate_expiry_timestamp_seconds{AGENT} - time()", "{{instance}} {{certificate}}"),
        unit=SECONDS,
    ).min(None)
    yield lines(
        "Local warehouse",
        "Bytes of the local warehouse that hold data, and the most that it may hold.",
        (f"gaitway_warehouse_used_bytes{HERE}", "{{instance}}"),
        (f"gaitway_warehouse_cap_bytes{HERE}", "{{instance}} max_bytes"),
        unit=BYTES,
    )


def relays():
    yield lines(
        "Commits",
        "Commits of relays a second.",
        (f"rate(gaitway_relay_commits_total{HERE}[$__rate_interval])", "{{instance}}"),
        unit=RATE,
        width=8,
    )
    yield lines(
        "Time of a commit",
        "99 of 100 commits took no longer, over five minutes.",
        (f"instance:gaitway_relay_commit_seconds:p99_5m{HERE}", "{{instance}}"),
        unit=SECONDS,
        width=8,
    )
    yield lines(
        "Agents with a session",
        "Agents that a relay has welcomed and that are connected.",
        (f"gaitway_relay_sessions{HERE}", "{{instance}}"),
        width=8,
    )
    yield lines(
        "Backlog by agent",
        "Frames that an agent said it has and that are not committed; of the 1,000 agents heard last.",
        (f"topk(20, gaitway_relay_agent_backlog_frames{HERE})", "{{agent}}"),
    )
    yield lines(
        "Errors",
        "A minute: failures of relays' ledgers and sinks' warehouses, gaps, frames that could not be read.",
        (f"rate(gaitway_relay_ledger_errors_total{HERE}[$__rate_interval]) * 60", "{{instance}} relay's ledger"),
        (f"rate(gaitway_sink_ledger_errors_total{HERE}[$__rate_interval]) * 60", "{{instance}} sink's warehouse"),
        (f"rate(gaitway_relay_gaps_total{HERE}[$__rate_interval]) * 60", "{{instance}} gaps"),
        (f"rate(gaitway_relay_unreadable_frames_total{HERE}[$__rate_interval]) * 60", "{{instance}} unreadable"),
        unit="cpm",
    )


def sinks():
    yield lines(
        "Kafka lag",
        "Offsets between what is stored and the end, by topic and job.",
        ("topic_job:gaitway_sink_lag:sum", "{{topic}} {{job}}"),
        width=8,
    )
    yield lines(
        "Since the last commit",
        "Since a sink's warehouse last committed something. Long is no trouble while nothing comes.",
        (f"time() - (gaitway_sink_last_commit_timestamp_seconds{HERE} > 0)", "{{instance}}"),
        unit=SECONDS,
        width=8,
    )
    yield lines(
        "Rows",
        "Records a second that warehouses accepted.",
        (f"rate(gaitway_sink_rows_total{HERE}[$__rate_interval])", "{{instance}}"),
        unit=RATE,
        width=8,
    )


def overview():
    services = 'up{service=~"agent|relay|sink"}'
    yield number(
        "Services down", "Services that do not answer. " + RUNBOOK, f"count({services} == 0) or vector(0)", (1, BAD)
    )
    not_ready = "count(gaitway_ready == 0) or vector(0)"
    yield number("Not ready", "Services whose data does not move. " + RUNBOOK, not_ready, (1, BAD))
    yield number(
        "Oldest frame",
        "The age of the oldest frame that waits anywhere. " + RUNBOOK,
        "max(gaitway_agent_oldest_frame_age_seconds)",
        (300, WARN),
        (1800, BAD),
        unit=SECONDS,
    )
    stopped = "sum(gaitway_sink_partitions_stopped) or vector(0)"
    yield number("Partitions stopped", "They wait for somebody to look. " + RUNBOOK, stopped, (1, BAD))
    lag = "sum(gaitway_sink_lag) or vector(0)"
    yield number("Lag", "Offsets that are not stored yet.", lag, (1000, WARN), (100_000, BAD))
    firing = 'count(ALERTS{alertname=~"Gaitway.*", alertstate="firing"}) or vector(0)'
    yield number("Alerts", "Rules of gaitway that fire. " + RUNBOOK, firing, (1, BAD))


def variable(name, label, told, expr):
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    made = builders.QueryVariable(name).label(label).description(told).datasource(PROMETHEUS.ref)
    made = made.query({"query": expr, "refId": name}).refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made = made.sort(model.VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True).all_value(".*")
    return made.current(everything)


def board(source):
    made = (
        builders.Dashboard("gaitway: Fleet")
        .uid("gaitway-fleet")
        .description(ABOUT)
        .tags(["gaitway", source.folder])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh(source.refresh)
        .editable()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
    )
    for folder, shown in {"postgres": "PostgreSQL", "snowflake": "Snowflake", "sqlite": "SQLite"}.items():
        made = made.link(panels.dashboard_link(f"Pipeline ({shown})", f"/d/gaitway-{folder}-pipeline"))
    agent = 'label_values(gaitway_agent_waiting_frames{service="agent"}, instance)'
    made = made.with_variable(variable("agent", "Agent", "Agents that are scraped.", agent))
    every = "label_values(gaitway_ready, instance)"
    return made.with_variable(variable("instance", "Instance", "Services that are scraped.", every))


def build(source):
    made = board(source)
    for panel in overview():
        made = made.with_panel(panel)
    made = made.with_panel(services())
    sections = [("Agents", agents), ("Machines", machines), ("Relays", relays), ("Sinks", sinks)]
    for title, section in sections:
        made = made.with_row(Row(title))
        for panel in section():
            made = made.with_panel(panel)
    return made
