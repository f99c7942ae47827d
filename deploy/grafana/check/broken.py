"""The same questions where exactly-once was broken by hand: a query that finds nothing wrong must be able to.

Rows of one session are doubled, one loses its name, and a notice of lost frames is doubled: in a transaction that is
never committed, or in a copy.
"""

from check.expect_alerts import answer
from check.expect_pipeline import once, twice
from check.expectations import Expected
from check.expect_activity import around
from check.quality import NS

SESSION, DOUBLED, UNNAMED = "s-full-0003", 10, 12
NAMES = {("pipeline", "panel", "Findings", "A"), ("pipeline", "panel", "Readings stored more than once", "A"),
         ("alerts", "alert", "WarehouseStoredTwice", "A")}
#: In the last one another phone is chosen.
SITUATIONS = ("session", "now", "one phone")


def concerns(query):
    return query.name in NAMES


def statements(raw, processed):
    """By what stands before names of tables."""
    readings, windows, gaps = f"{raw}ACTIVITY_RECORDS", f"{processed}USER_ACTIVITY_PROCESSED", f"{raw}GAPS"
    of_message = f"sessionId = '{SESSION}' AND messageId"
    double = f"INSERT INTO {readings} SELECT * FROM {readings} WHERE {of_message} = {DOUBLED} AND readingIndex"
    # The first reading three times, the second one twice.
    yield f"{double} = 1"
    yield f"{double} = 0"
    yield f"INSERT INTO {readings} SELECT DISTINCT * FROM {readings} WHERE {of_message} = {DOUBLED} AND readingIndex = 0"
    yield f"UPDATE {readings} SET RECORD_METADATA = '{{}}' WHERE {of_message} = {UNNAMED} AND readingIndex = 0"
    yield (f"INSERT INTO {windows} SELECT * FROM {windows} WHERE sessionId = '{SESSION}' AND windowStart = "
           f"(SELECT MIN(windowStart) FROM {windows} WHERE sessionId = '{SESSION}')")
    yield f"INSERT INTO {gaps} SELECT * FROM {gaps} WHERE fromSeq = (SELECT MIN(fromSeq) FROM {gaps})"


def wanted(ask):
    """What these questions must answer of it."""
    in_session, has_kafka = ask.situation.name == "session", ask.query.source != "sqlite"
    copies, offsets = (3, 3 if has_kafka else 0) if in_session else (0, 0)
    window, notice = int(in_session), int(ask.situation.name == "now")
    if ask.is_alert:
        found = {"record name": copies, "Kafka offset": offsets, "window": window, "gap notice": notice}
        return answer(["check"], {(check,): count for check, count in found.items()})
    if ask.query.title == "Findings":
        return Expected(once(ask).columns, [(copies, offsets, window, notice, int(in_session))])
    return Expected(twice(ask).columns, doubled(ask, int(has_kafka)) if in_session else [])


def doubled(ask, places):
    rows = []
    for row in ask.facts.rows:
        if (row.session, row.message_id) == (SESSION, DOUBLED) and row.index in (0, 1):
            at = row.time_ns // NS
            rows.append((at, 3 - row.index, row.name["agent"], row.name["stream"], row.name["seq"], row.name["index"],
                         str(row.name["epoch"]), places, row.device, row.session, *around(at, at)))
    return sorted(rows, key=lambda row: (-row[0], *row[2:4], row[6], row[4], row[5]))
