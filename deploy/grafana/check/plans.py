"""Whether PostgreSQL reads a big table whole, with as many rows as make its planner choose as it would in a year's use."""

import re

import psycopg

BIG = ("activity_records", "user_activity_processed")
#: Another phone's year, an hour a day: not committed, so that no query sees it.
YEAR = """
INSERT INTO raw_data.activity_records (sessionid, deviceid, sensortype, x, y, z, "timestamp", messageid, readingindex, receivedat, record_metadata)
SELECT 'year-' || n / 1800, 'phone-of-a-year', (ARRAY['accelerometer', 'gyroscope', 'location'])[1 + n % 3], 1, 2, 3,
       1704067200000000000 + (n / 1800) * 86400000000000 + (n % 1800) * 2000000000::bigint, n % 1800, 0,
       timestamp '2024-01-01' + n / 1800 * interval '1 day', '{}'
  FROM generate_series(0, 365 * 1800 - 1) AS n;
INSERT INTO processed_data.user_activity_processed (sessionid, deviceid, activity, avg_magnitude, "timestamp", windowstart, windowend, revision)
SELECT 'year-' || n / 600, 'phone-of-a-year', 'walking', 5, at + interval '10 seconds', at, at + interval '10 seconds', 0
  FROM generate_series(0, 365 * 600 - 1) AS n,
       LATERAL (SELECT timestamp '2024-01-01' + n / 600 * interval '1 day' + n % 600 * interval '2 seconds' AS at) AS t;
ANALYZE raw_data.activity_records;
ANALYZE processed_data.user_activity_processed
"""


class Planner:
    def __init__(self, url):
        self.connection = psycopg.connect(url)
        for statement in YEAR.split(";"):
            self.connection.execute(statement)
        #: The big tables, or those of their partitions that have rows.
        self.big = {name for name, in self.connection.execute(
            "SELECT relname FROM pg_class WHERE pg_relation_size(oid) > 1000000 AND"
            " (oid IN (SELECT relid FROM pg_partition_tree('raw_data.activity_records'))"
            " OR oid IN ('raw_data.activity_records'::regclass, 'processed_data.user_activity_processed'::regclass))"
        )}

    def scans(self, sql):
        """Scans of a big table that no index bounds by time, or by the name of a session or a window."""
        plan = self.connection.execute(b"EXPLAIN (FORMAT JSON) " + sql.encode()).fetchone()[0]
        return list(unbounded(plan[0]["Plan"], self.big))


def conditions(node):
    """Of an index scan, or of the bitmaps below a scan."""
    yield node.get("Index Cond", "")
    for one in node.get("Plans", []):
        if one["Node Type"].startswith("Bitmap"):
            yield from conditions(one)


def unbounded(node, big):
    table = node.get("Relation Name", "")
    if table in big:
        condition = " ".join(filter(None, conditions(node)))
        if not re.search(r'"?timestamp"? [<>]=?|sessionid = |windowstart = ', condition):
            yield f"{node['Node Type']} of {table} by {condition or 'nothing'}"
    for one in node.get("Plans", []):
        yield from unbounded(one, big)


#: Instructions of SQLite's machine that may go on at their second operand.
JUMPS = {
    "Goto", "Gosub", "If", "IfNot", "IsNull", "NotNull", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Once", "Rewind", "Last", "Next",
    "Prev", "Sort", "SorterSort", "SorterNext", "SeekGE", "SeekGT", "SeekLE", "SeekLT", "SeekRowid", "NotExists", "Found",
    "NotFound", "NoConflict", "IfPos", "IfNotZero", "IfNotOpen", "IfNullRow", "DecrJumpZero", "IdxGE", "IdxGT", "IdxLE",
    "IdxLT", "InitCoroutine", "Yield", "Filter", "VFilter", "VNext", "RowSetTest", "RowSetRead", "Jump", "ElseEq",
}


def sqlite_scans(connection, sql):
    """Big tables that are read from their first row on to their last, by the program that SQLite makes."""
    roots = {
        root: table for table, root in
        connection.execute("SELECT tbl_name, rootpage FROM sqlite_master WHERE rootpage > 0")
    }
    program = [tuple(row)[:6] for row in connection.execute("EXPLAIN " + sql)]
    following = [list(successors(program, at)) for at in range(len(program))]
    cursors = {first: roots[second] for _, code, first, second, _, _ in program if code == "OpenRead" and second in roots}
    alive = reached(following, 0)
    return sorted({
        f"scan of {cursors[first]}" for at, code, first, *_ in program
        if at in alive and cursors.get(first, "").lower() in BIG and (
            code == "Count" or (code == "Rewind" and any(
                program[one][1:3] == ("Next", first) for one in reached(following, at + 1))))
    })


def successors(program, at):
    """Where the program may go on after an instruction."""
    _, code, first, second, third, _ = program[at]
    if code == "Init":
        yield second
    elif code == "Goto" or (code == "Ne" and differ(program, first, third)):
        yield second
    elif code not in ("Halt", "EndCoroutine") and (code != "Return" or third):
        yield at + 1
        if code in JUMPS:
            yield second
        if code == "Jump":
            yield first
            yield third


def differ(program, left, right):
    """Whether two registers hold constants, and different ones: a branch of a UNION that is another table's."""
    texts = [{text for _, code, _, second, _, text in program if code == "String8" and second == one} for one in (left, right)]
    return len(texts[0]) == len(texts[1]) == 1 and texts[0] != texts[1]


def reached(following, begin):
    found, open_ends = set(), [begin]
    while open_ends:
        at = open_ends.pop()
        if at not in found and at < len(following):
            found.add(at)
            open_ends.extend(following[at])
    return found
