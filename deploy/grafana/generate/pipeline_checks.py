"""Pipeline: what is missing, late, stored twice or named by nobody."""

from grafana_foundation_sdk.builders import stat, table
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.models import common

from generate import panels, quality
from generate.quality import duplicates, holes, lateness, named, of_phones, pushes, skews, total, whole

PRECISE = (panels.prop("unit", "time:YYYY-MM-DD HH:mm:ss"), panels.prop("custom.width", 160))


def findings(source):
    once = f"""
        WITH {named(source, of_phones(source))}, {duplicates(source, of_phones(source))}
        SELECT {total("by_name")} AS "Stored twice: by name",
               {total("by_offset")} AS "Stored twice: by offset",
               {total("by_window")} AS "Stored twice: windows",
               {total("by_notice")} AS "Stored twice: gap notices",
               {whole(f"(SELECT COUNT(*) FROM named WHERE {quality.UNNAMED})")} AS "Readings without a name"
    """
    missing = f"""
        WITH {holes(source, of_phones(source))}
        SELECT {total("holes", "missing")} AS "Pushes missing"
    """
    lost = f"""
        SELECT {whole("COALESCE(SUM(frames), 0)")} AS "Frames lost"
          FROM {source.view("stream_gaps")}
         WHERE {quality.noticed_within(source)}
           AND {quality.LOST}
    """
    told = (
        "0 is the good value of each. Stored twice: rows beyond the first, of readings measured in the time range, by "
        "the name that their agent gave them and by their place in Kafka; of windows that end in it, by phone, "
        "session, start and revision; of gap notices noticed in it, by agent, start, stream and first frame. Without a "
        "name: readings that do not say agent, epoch, stream, seq or index: no check by name sees them. Pushes "
        "missing: see Missing pushes. Frames lost: those of Stream gaps, without what was deleted by `gaitway forget`."
    )
    made = panels.panel(
        stat.Panel(), source, "Findings", told, {"A": once, "B": missing, "C": lost}, unit="locale", times=(),
        width=24, height=4,
    )
    return (
        made.reduce_options(ReduceDataOptions().values(False).calcs(["lastNotNull"]))
        .thresholds(panels.thresholds(panels.GOOD, (1, panels.BAD)))
        .color_scheme(panels.color(panels.BY_THRESHOLD))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME)
        .decimals(0)
    )


def missing_pushes(source):
    # Numbers and times may run against each other.
    first = "CASE WHEN before_ms < next_ms THEN before_ms ELSE next_ms END"
    last = "CASE WHEN before_ms < next_ms THEN next_ms ELSE before_ms END"
    sql = f"""
        WITH {holes(source, of_phones(source))}
        SELECT {source.instant("next_ms")} AS "Noticed",
               device_id AS "Phone",
               missing AS "Missing",
               {source.real("(next_ms - before_ms) / 1000.0")} AS "Silence",
               before_id AS "After push",
               next_id AS "Before push",
               session_id AS "Session",
               {panels.around(first, last)}
          FROM holes
         ORDER BY next_ms DESC, device_id, session_id, next_id
         LIMIT 200
    """
    told = (
        "Numbers (messageId) missing between two pushes of a session, the newest 200: the phone does not send again "
        "what failed. Noticed: the first reading of the push after. Silence: from the last reading before to the first "
        "one after; below zero, the two overlap in time. A hole counts in the range in which the push after it begins; "
        "the push before is looked for up to an hour before the range. A push without readings leaves a hole without a "
        "loss, and so do rows that were deleted; what is missing before a session's first or after its last push "
        "cannot be told."
    )
    made = panels.panel(
        table.Panel(), source, "Missing pushes", told, sql, unit="locale", times=("Noticed",), width=12, height=9,
        no_value="none",
    )
    links = [panels.session_link(source, "Raw signals around this hole", "raw"),
             panels.session_link(source, "Activity around this hole", "activity")]
    made = (
        made.override_by_name("Noticed", [*PRECISE, panels.prop("links", links)])
        .override_by_name("Silence", [panels.prop("unit", "s"), panels.prop("decimals", 1)])
        .override_by_name("Session", [panels.prop("links", links)])
    )
    for column in ("After push", "Before push"):
        made = made.override_by_name(column, [panels.prop("unit", "none")])
    return hide(made)


def session_links(source):
    return [panels.session_link(source, "Raw signals of this session", "raw"),
            panels.session_link(source, "Activity of this session", "activity")]


def hide(made):
    for column in panels.FOR_LINKS:
        made = made.override_by_name(column, panels.hidden(made))
    return made


def stream_gaps(source):
    sql = f"""
        SELECT {source.instant("noticed_ms")} AS "Noticed",
               agent_id AS "Agent",
               stream AS "Stream",
               reason AS "Reason",
               frames AS "Frames",
               messages AS "Messages",
               readings AS "Readings",
               from_seq AS "From seq",
               to_seq AS "To seq",
               epoch AS "Epoch"
          FROM (SELECT agent_id, epoch, stream, from_seq, to_seq, frames, messages, readings, reason,
                       {source.ms("noticed_at")} AS noticed_ms
                  FROM {source.view("stream_gaps")}
                 WHERE {quality.noticed_within(source)}) AS g
         ORDER BY noticed_ms DESC, agent_id, stream, from_seq
         LIMIT 200
    """
    told = (
        "Frames that will not come, noticed in the time range, of all phones; the newest 200. A frame is a push, or "
        "the windows that one closed. Messages and readings: how many were in them, where that is known."
    )
    made = panels.panel(
        table.Panel(), source, "Stream gaps", told, sql, unit="locale", times=("Noticed",), width=12, height=9,
        no_value="none",
    )
    made = made.override_by_name("Noticed", list(PRECISE))
    for column in ("From seq", "To seq"):
        made = made.override_by_name(column, [panels.prop("unit", "none")])
    return made


def late(source):
    sql = f"""
        WITH {lateness(source, of_phones(source))}
        SELECT {source.instant("begin_ms")} AS "From",
               device_id AS "Phone",
               {source.real("1.0 * late / readings")} AS "Late share",
               {whole("late")} AS "Late",
               {whole("readings")} AS "Readings",
               session_id AS "Session",
               {panels.around("begin_ms", "end_ms")}
          FROM (SELECT device_id, session_id, readings, late, {source.ms_of_ns("first_ns")} AS begin_ms,
                       {source.ms_of_ns("last_ns")} AS end_ms
                  FROM lateness) AS l
         ORDER BY 1.0 * late / readings DESC, begin_ms DESC, device_id, session_id
         LIMIT 100
    """
    told = (
        "Readings of the accelerometer measured in the time range, and how many of them lay more than 10 s (the "
        "default lateness) behind the newest of an earlier push of their session at their agent: they are stored, and "
        "miss windows. Earlier is by the agent's own numbers. Only readings measured up to two minutes after the range "
        "count as newer, so a wild time in the future spoils nothing. From: the session's first such reading in the "
        "range. The 100 sessions with the greatest share."
    )
    made = panels.panel(
        table.Panel(), source, "Late readings by session", told, sql, unit="locale", times=("From",), width=12,
        height=9, no_value="-",
    )
    links = session_links(source)
    made = (
        made.override_by_name("From", [*PRECISE, panels.prop("links", links)])
        .override_by_name("Session", [panels.prop("links", links)])
        .override_by_name("Late share", [
            panels.prop("unit", "percentunit"), panels.prop("decimals", 2),
            panels.prop("thresholds", panels.thresholds(panels.GOOD, (0.01, panels.WARN), (0.05, panels.BAD)).build()),
            panels.prop("custom.cellOptions", {"type": "color-text"})])
    )
    return hide(made)


def clock_skew(source):
    sql = f"""
        WITH {pushes(source, of_phones(source))}, {skews()}
        SELECT device_id AS "Phone",
               agent_id AS "Agent",
               {source.real("least_ms")} AS "Least",
               {source.real("mean_ms")} AS "Mean",
               {source.real("greatest_ms")} AS "Greatest",
               pushes AS "Pushes",
               {whole("ahead")} AS "Ahead",
               {whole("unsynced")} AS "Unsynced",
               session_id AS "Session",
               {panels.around("begin_ms", "end_ms")}
          FROM skews
         ORDER BY ABS(least_ms) DESC, device_id, session_id, agent_id
         LIMIT 100
    """
    told = (
        "From a push's last reading, on the phone's clock, to when the agent had it, on the agent's: the least is "
        "about how far the phone's clock is behind, below zero how far it is ahead. Ahead: pushes that arrived before "
        "they were measured. Unsynced: pushes that came while the agent's own clock was not set. The 100 sessions with "
        "the greatest. A phone whose clock is wrong by more than the time range is not in it."
    )
    made = panels.panel(
        table.Panel(), source, "Clock skew by session and agent", told, sql, unit="locale", times=(), width=12,
        height=9, no_value="-",
    )
    for column in ("Least", "Mean", "Greatest"):
        made = made.override_by_name(column, [panels.prop("unit", "ms"), panels.prop("decimals", 1)])
    return hide(made.override_by_name("Session", [panels.prop("links", session_links(source))]))


def duplicated(source):
    sql = f"""
        WITH {named(source, of_phones(source))}
        SELECT {source.instant("at_ms")} AS "Measured",
               copies AS "Copies",
               agent_id AS "Agent",
               stream AS "Stream",
               seq AS "Seq",
               record_index AS "Index",
               epoch AS "Epoch",
               places AS "Places in Kafka",
               device_id AS "Phone",
               session_id AS "Session",
               {panels.around("at_ms", "at_ms")}
          FROM (SELECT {", ".join(quality.NAME)}, COUNT(*) AS copies, COUNT(DISTINCT kafka_offset) AS places,
                       MIN(device_id) AS device_id, MIN(session_id) AS session_id,
                       {source.ms_of_ns("MIN(time_ns)")} AS at_ms
                  FROM named
                 WHERE NOT ({quality.UNNAMED})
                 GROUP BY {", ".join(quality.NAME)}
                HAVING COUNT(*) > 1
                 ORDER BY MIN(time_ns) DESC
                 LIMIT 100) AS d
         ORDER BY at_ms DESC, agent_id, epoch, stream, seq, record_index
    """
    told = (
        "The newest 100 readings measured in the time range that are stored more than once under one name. Places in "
        "Kafka: one, and rows were appended twice on the way out of Kafka; more, and the record was made twice before "
        "it; 0: it came by no Kafka."
    )
    made = panels.panel(
        table.Panel(), source, "Readings stored more than once", told, sql, unit="none", times=("Measured",), width=24,
        height=7, no_value="none: 0 is the good value",
    )
    links = [panels.session_link(source, "Raw signals around this reading", "raw")]
    return hide(made.override_by_name("Measured", [*PRECISE, panels.prop("links", links)]))


OVERVIEW = (findings,)
PANELS = (missing_pushes, stream_gaps, late, clock_skew, duplicated)
