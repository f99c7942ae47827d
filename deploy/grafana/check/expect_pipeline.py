"""What Pipeline's panels must show."""

import math
from collections import Counter, defaultdict

from check import quality, usage
from check.expect_activity import around, windows
from check.expectations import Expected, columns, expects
from check.quality import HOPS, NS, percentile
from check.series import bucketed, mean, with_pauses

DAY_MS = 86_400_000


def gaps(ask):
    return quality.lost(ask.facts.gaps, ask.from_ms, ask.to_ms)


@expects("pipeline", "Findings", ref="A")
def once(_ask):
    """Exactly once is the law: nothing is stored twice, nothing without a name."""
    names = ("Stored twice: by name", "Stored twice: by offset", "Stored twice: windows", "Stored twice: gap notices",
             "Readings without a name")
    return Expected(columns(*(f"{name}:number" for name in names)), [(0,) * 5])


@expects("pipeline", "Findings", ref="B")
def missing(ask):
    return Expected(columns("Pushes missing:number"), [(sum(one.missing for one in quality.holes(ask)),)])


@expects("pipeline", "Findings", ref="C")
def frames_lost(ask):
    return Expected(columns("Frames lost:number"),
                    [(sum(quality.frames(gap) for gap in gaps(ask) if quality.is_loss(gap)),)])


def shares(values):
    return tuple(float(percentile(values, share)) for share in (50, 95, 99))


@expects("pipeline", "Latency by hop")
def latency(ask):
    pairs = ((HOPS[hop], push.last_ms, took) for push in quality.pushes(ask) for hop, took in push.hops())
    points = [(begin, hop, *shares(found)) for (hop, begin), found in bucketed(pairs, ask.interval_ms).items()]
    return Expected(columns("time:time", "Hop:text", "p50:number", "p95:number", "p99:number"),
                    with_pauses(points, ask.interval_ms, 120_000, 3))


@expects("pipeline", "Latency by agent")
def latency_by_agent(ask):
    took = defaultdict(list)
    for push in quality.pushes(ask):
        for hop, lasted in push.hops():
            took[push.agent, hop].append(lasted)
    return Expected(columns("Agent:text", "Hop:text", "Pushes:number", "p50:number", "p95:number", "p99:number"),
                    [(agent, HOPS[hop], len(found), *shares(found)) for (agent, hop), found in sorted(took.items())])


@expects("pipeline", "Rows per minute")
def rows(ask):
    pairs = [(row.sensor, row.time_ms, 1) for row in measured(ask) if ask.has_phone(row.device)]
    pairs += [("windows", one.end_ms, 1) for one in windows(ask, sessions=False)]
    pairs += [("gap notices", gap[-1], 1) for gap in gaps(ask)]
    points = [
        (begin, kind, 60_000 * len(found) / ask.interval_ms)
        for (kind, begin), found in bucketed(pairs, ask.interval_ms).items()
    ]
    return Expected(columns("time:time", "Rows of:text", "Rows:number"), with_pauses(points, ask.interval_ms, 120_000, 1))


def measured(ask):
    return [row for row in ask.truth.rows if ask.from_ms * NS <= row.time_ns <= ask.to_ms * NS]


@expects("pipeline", "Agents")
def agents(ask):
    by_agent = defaultdict(list)
    for push in quality.pushes(ask):
        by_agent[push.agent].append(push)
    told = Counter(ask.facts.last(one)[2] for one in windows(ask, sessions=False))
    lost = Counter()
    for gap in gaps(ask):
        lost[gap[0]] += quality.frames(gap)
    return Expected(
        columns("Agent:text", "Last push:time", "Phones:number", "Starts:number", "Pushes:number", "Readings:number",
                "Windows:number", "Frames lost:number"),
        [(agent, max(one.received_ms for one in found), len({one.device for one in found}),
          len({one.epoch for one in found}), len(found), sum(one.readings for one in found), told[agent], lost[agent])
         for agent, found in sorted(by_agent.items())],
    )


@expects("pipeline", "Missing pushes")
def missing_pushes(ask):
    found = sorted(quality.holes(ask), key=lambda one: (-one.next_ms, one.device, one.session, one.after))
    return Expected(
        columns("Noticed:time", "Phone:text", "Missing:number", "Silence:number", "After push:number",
                "Before push:number", "Session:text", "from_ms:number", "to_ms:number"),
        [(one.next_ms, one.device, one.missing, (one.next_ms - one.before_ms) / 1000, one.before, one.after, one.session,
          *around(*sorted((one.before_ms, one.next_ms)))) for one in found[:200]],
    )


@expects("pipeline", "Stream gaps")
def stream_gaps(ask):
    found = sorted(gaps(ask), key=lambda gap: (-gap[-1], gap[0], gap[2], gap[3]))
    return Expected(
        columns("Noticed:time", "Agent:text", "Stream:text", "Reason:text", "Frames:number", "Messages:number",
                "Readings:number", "From seq:number", "To seq:number", "Epoch:text"),
        [(noticed, agent, stream, reason, to - begin + 1, messages, readings, begin, to, epoch)
         for agent, epoch, stream, begin, to, messages, readings, reason, noticed in found[:200]],
    )


@expects("pipeline", "Late readings by session")
def late(ask):
    found = sorted(quality.lateness(ask), key=lambda one: (-one.share, -(one.first_ns // NS), one.device, one.session))
    return Expected(
        columns("From:time", "Phone:text", "Late share:number", "Late:number", "Readings:number", "Session:text",
                "from_ms:number", "to_ms:number"),
        [(one.first_ns // NS, one.device, one.share, one.late, one.readings, one.session,
          *around(one.first_ns // NS, one.last_ns // NS)) for one in found[:100]],
    )


@expects("pipeline", "Clock skew by session and agent")
def clock_skew(ask):
    found = sorted(quality.skews(quality.pushes(ask)), key=lambda one: (-abs(one.least), one.device, one.session, one.agent))
    return Expected(
        columns("Phone:text", "Agent:text", "Least:number", "Mean:number", "Greatest:number", "Pushes:number",
                "Ahead:number", "Unsynced:number", "Session:text", "from_ms:number", "to_ms:number"),
        [(one.device, one.agent, float(one.least), mean(one.steps), float(max(one.steps)), len(one.steps),
          sum(step < 0 for step in one.steps), one.unsynced, one.session, *around(one.begin_ms, one.end_ms))
         for one in found[:100]],
    )


@expects("pipeline", "Readings stored more than once",
         empty={"all": "exactly once is the law: no reading that went through the pipeline is stored twice"})
def twice(_ask):
    return Expected(
        columns("Measured:time", "Copies:number", "Agent:text", "Stream:text", "Seq:number", "Index:number", "Epoch:text",
                "Places in Kafka:number", "Phone:text", "Session:text", "from_ms:number", "to_ms:number"), [],
    )


def written(ask):
    """Rows of the range by table, of all phones."""
    ends = [one for one in ask.truth.windows if ask.from_ms <= one.end_ms <= ask.to_ms]
    return {"activity_records": len(measured(ask)), "user_activity_processed": len(ends), "gaps": len(gaps(ask))}


def per_day(ask, count):
    return count * DAY_MS / (ask.to_ms - ask.from_ms)


@expects("pipeline", "Size and growth")
def postgres_sizes(ask):
    """Sizes as PostgreSQL's own functions tell them, table by table."""
    rows = []
    for table, counted in written(ask).items():
        parts, heap, index, estimate = ask.facts.size(table)
        row = (heap + index) / estimate if estimate else None
        rows.append((table, parts, float(heap), float(index), float(heap + index), float(estimate), row,
                     per_day(ask, counted), None if row is None else per_day(ask, counted * row)))
    rows.sort(key=lambda row: (-row[4], row[0]))
    return Expected(
        columns("Table:text", "Parts:number", "Rows' bytes:number", "Indexes' bytes:number", "Bytes:number",
                "Rows (estimate):number", "Bytes a row:number", "Rows a day:number", "Growth a day:number"), rows,
    )


@expects("pipeline", "Size")
def sqlite_size(ask):
    return Expected(columns("File:number", "Free in it:number"), [(ask.facts.pages * ask.facts.page, ask.facts.free * ask.facts.page)])


@expects("pipeline", "Growth")
def sqlite_growth(ask):
    held = {"activity_records": len(ask.facts.rows), "gaps": len(ask.facts.gaps),
            "user_activity_processed": sum(len(revisions) for revisions in ask.facts.windows.values())}
    row = (ask.facts.pages - ask.facts.free) * ask.facts.page / sum(held.values())
    counted = sorted(written(ask).items(), key=lambda one: (-one[1], one[0]))
    return Expected(
        columns("Table:text", "Rows at most:number", "Bytes a row:number", "Rows a day:number", "Growth a day:number"),
        [(table, held[table], row, per_day(ask, count), per_day(ask, count * row)) for table, count in counted],
    )


PRICE, QUOTA = 3, 20


def used(ask):
    """Hours of the last 30 days that are gaitway's, with the service they are for."""
    services = {"SNOWPIPE_STREAMING": "appending", "AUTO_CLUSTERING": "clustering"}
    for one in usage.HOURS:
        if ask.to_ms - 30 * DAY_MS <= one.at_ms < ask.to_ms:
            if one.name == "GAITWAY_READ":
                yield one, "reading"
            elif one.database_name == "ACTIVITY_DB":
                yield one, services[one.service_type]


@expects("pipeline", "The last 30 days")
def month(ask):
    found = list(used(ask))
    spent = math.fsum(one.credits_used for one, _ in found)
    reading = math.fsum(one.credits_used for one, service in found if service == "reading")
    return Expected(columns("Credits:number", "Credits for reading:number", "Share of the quota:number", "Cost:number"),
                    [(spent, reading, reading / QUOTA, spent * PRICE)])


@expects("pipeline", "Credits by day")
def credits_by_day(ask):
    sums = defaultdict(list)
    for one, service in used(ask):
        sums[one.at_ms // DAY_MS * DAY_MS, service].append(one.credits_used)
    return Expected(columns("time:time", "Service:text", "Credits:number"),
                    [(*key, math.fsum(found)) for key, found in sorted(sums.items())])


@expects("pipeline", "Appended by day")
def bytes_by_day(ask):
    sums = Counter()
    for one, service in used(ask):
        if service == "appending":
            sums[one.at_ms // DAY_MS * DAY_MS] += one.bytes
    return Expected(columns("time:time", "Appended:number"), [(day, float(count)) for day, count in sorted(sums.items())])


@expects("pipeline", "Storage")
def snowflake_storage(_ask):
    sums = defaultdict(lambda: [0, 0, 0])
    for one in usage.KEPT:
        if one.catalog == "ACTIVITY_DB":
            for place, count in enumerate((one.active, one.time_travel, one.failsafe)):
                sums[f"{one.schema}.{one.table}"][place] += count
    rows = [(table, *map(float, kept), float(sum(kept))) for table, kept in sums.items()]
    return Expected(columns("Table:text", "Rows' bytes:number", "Time Travel:number", "Fail-safe:number", "Bytes:number"),
                    sorted(rows, key=lambda row: (-row[4], row[0])))
