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

    def scans(self, sql):
        """Scans of a big table that no index bounds by time, or by the name of a session or a window."""
        plan = self.connection.execute(b"EXPLAIN (FORMAT JSON) " + sql.encode()).fetchone()[0]
        return list(unbounded(plan[0]["Plan"]))


def conditions(node):
    """Of an index scan, or of the bitmaps below a scan."""
    yield node.get("Index Cond", "")
    for one in node.get("Plans", []):
        if one["Node Type"].startswith("Bitmap"):
            yield from conditions(one)


def unbounded(node):
    table = node.get("Relation Name", "")
    if table.startswith(BIG):
        condition = " ".join(filter(None, conditions(node)))
        if not re.search(r'"?timestamp"? [<>]=|sessionid = |windowstart = ', condition):
            yield f"{node['Node Type']} of {table} by {condition or 'nothing'}"
    for one in node.get("Plans", []):
        yield from unbounded(one)


def sqlite_scans(connection, sql):
    """Big tables that are read from their first row to their last, by the program that SQLite makes."""
    roots = {
        root: table for table, root in
        connection.execute("SELECT tbl_name, rootpage FROM sqlite_master WHERE rootpage > 0")
    }
    program = [tuple(row)[:6] for row in connection.execute("EXPLAIN " + sql)]
    dead = unreachable(program)
    cursors, begun, moved = {}, set(), set()
    for at, code, first, second, _, _ in program:
        if code == "OpenRead" and second in roots:
            cursors[first] = roots[second]
        elif at not in dead and first in cursors:
            if code == "Rewind":
                begun.add(first)
            elif code in ("Next", "Prev"):
                moved.add(first)
    return sorted({f"scan of {cursors[one]}" for one in begun & moved if cursors[one].lower() in BIG})


def unreachable(program):
    """Addresses that a comparison of two different constants jumps over: a branch of a UNION that is another table's."""
    written = {}
    for _, code, _, second, _, text in program:
        if code == "String8":
            written.setdefault(second, set()).add(text)
    dead = set()
    for at, code, first, second, third, _ in program:
        left, right = written.get(first), written.get(third)
        if code == "Ne" and left and right and len(left) == len(right) == 1 and left != right:
            dead.update(range(at + 1, second))
    return dead
