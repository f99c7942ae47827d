"""What only the warehouse can know of this run: who had a push when, under which name, and what confidence was given.

Read from the tables as they are, without a view, row by row; everything else is reckoned from the pushes.
"""

import copy
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property

from check.scenario import LOSER, LOST_PUSHES
from check.warehouses import ms


@dataclass(frozen=True)
class Stored:
    """A reading's row."""

    device: str
    session: str
    message_id: int | None
    sensor: str
    time_ns: int
    index: int
    received_ms: int | None
    stored_ms: int | None
    name: dict

    @property
    def push(self):
        """What a push is known by: its frame."""
        return self.name["agent"], self.name["epoch"], self.name["seq"]


def moment(text):
    """Whole milliseconds of a time as a table has it."""
    if text is None:
        return None
    if isinstance(text, str):
        # More digits than Python takes.
        head, _, fraction = text.rstrip("Z").partition(".")
        text = datetime.fromisoformat(f"{head}.{(fraction + '000000')[:6]}").replace(tzinfo=timezone.utc)
    return int(ms(text) // 1)


class Facts:
    READINGS = 'SELECT deviceId, sessionId, messageId, sensorType, "timestamp", readingIndex, receivedAt, {}, ' \
               "RECORD_METADATA, x, y, z FROM {}ACTIVITY_RECORDS"
    WINDOWS = "SELECT deviceId, sessionId, windowStart, revision, confidence, avg_magnitude, agentId, activity, " \
              "sampleCount FROM {}USER_ACTIVITY_PROCESSED"
    GAPS = "SELECT agentId, epoch, stream, fromSeq, toSeq, messages, readings, reason, noticedAt FROM {}GAPS"

    def __init__(self, ask, raw="", processed="", stored_at="NULL"):
        """`ask` gives the rows of a statement; the others are what stands before names of tables, and a column."""
        self.rows, self.axes = [], []
        for *row, metadata, x, y, z in ask(self.READINGS.format(stored_at, raw)):
            device, session, message_id, sensor, time_ns, index, received, stored = row
            name = metadata if isinstance(metadata, dict) else json.loads(metadata)
            self.rows.append(Stored(device, session, message_id, sensor, time_ns, index, moment(received),
                                    moment(stored), name))
            self.axes.append((x, y, z))
        self.windows = defaultdict(dict)
        for device, session, start, revision, *more in ask(self.WINDOWS.format(processed)):
            self.windows[device, session, moment(start)][revision] = more
        self.gaps = [(*gap, moment(noticed)) for *gap, noticed in ask(self.GAPS.format(raw))]

    @cached_property
    def _received(self):
        return {(row.device, row.session, row.time_ns, row.sensor, row.index): row.received_ms for row in self.rows}

    def received_ms(self, row):
        """When the agent had the push that brought a reading."""
        return self._received[row.device, row.session, row.time_ns, row.sensor, row.index]

    @cached_property
    def pushes(self):
        """Rows of each push."""
        grouped = defaultdict(list)
        for row in self.rows:
            grouped[row.push].append(row)
        return grouped

    def last(self, window):
        """What is stored of a window as classified last: confidence, mean, agent, activity, samples."""
        found = self.windows[window.device, window.session, window.start_ms]
        return found[max(found)]

    def confidence(self, window):
        return self.last(window)[0]

    def differences(self, truth):
        """How what is stored differs from what was pushed and what follows from it."""
        wanted = sorted(
            ((row.device, row.session, row.arrival, row.index, row.message_id, row.sensor, row.time_ns,
              row.xyz or (None,) * 3) for row in truth.rows),
            key=lambda row: row[:4],
        )
        order = sorted(
            ((row, axes) for row, axes in zip(self.rows, self.axes) if row.device != LOSER),
            key=lambda one: (one[0].device, one[0].session, one[0].name["ordinal"], one[0].name["seq"], one[0].index),
        )
        found = [(row.device, row.session, row.index, row.message_id, row.sensor, row.time_ns, axes) for row, axes in order]
        if found != [(*row[:2], *row[3:]) for row in wanted]:
            yield f"{len(found)} readings are stored, {len(wanted)} were pushed, and they are not the same"
        kept = sum(row.device == LOSER for row in self.rows)
        lost = sum(gap[5] for gap in self.gaps)
        if not lost or kept + lost != LOST_PUSHES:
            yield f"{kept} pushes of {LOSER} are stored and {lost} are told as lost, of {LOST_PUSHES}"
        if len(self.windows) != len(truth.windows):
            yield f"{len(self.windows)} windows are stored, {len(truth.windows)} must be"
        for one in truth.windows:
            stored = self.windows.get((one.device, one.session, one.start_ms))
            if stored is None or max(stored) != one.revision:
                yield f"window {one}: stored are revisions {sorted(stored or {})}"
                continue
            confidence, mean, _, activity, samples = stored[one.revision]
            if (activity, samples) != (one.activity, one.samples) or abs(mean - one.mean) > 1e-9 * mean:
                yield f"window {one}: stored as {activity}, {samples} samples, mean {mean}"
            if not 0 < confidence <= 1:
                yield f"window {one}: confidence {confidence}"


TABLES = {"activity_records": "raw_data", "gaps": "raw_data", "user_activity_processed": "processed_data"}


def of_postgres(connection):
    found = Facts(lambda sql: connection.execute(sql).fetchall(), "raw_data.", "processed_data.", "stored_at")
    # Asked for when it is wanted: PostgreSQL's housekeeping goes on.
    found.size = lambda table: size(connection, f"{TABLES[table]}.{table}")
    return found


def size(connection, table):
    """Parts, bytes of rows and of indexes, and estimated rows of a table with its partitions."""
    tree = connection.execute("SELECT relid::bigint FROM pg_partition_tree(%s) WHERE isleaf", [table]).fetchall()
    leaves = [leaf for leaf, in tree] or [connection.execute("SELECT %s::regclass::oid::bigint", [table]).fetchone()[0]]
    told = [
        connection.execute(
            "SELECT pg_table_size(oid), pg_indexes_size(oid), reltuples FROM pg_class WHERE oid = %s", [leaf]
        ).fetchone()
        for leaf in leaves
    ]
    heap, index, rows = zip(*told)
    return len(leaves), sum(heap), sum(index), sum(max(0.0, count) for count in rows)


def of_snowflake(in_postgres):
    """The same rows; Snowflake does not note when it stored one."""
    found = copy.copy(in_postgres)
    found.__dict__.pop("pushes", None)
    found.rows = [replace(row, stored_ms=None) for row in in_postgres.rows]
    return found


def of_sqlite(connection):
    found = Facts(lambda sql: connection.execute(sql).fetchall())
    for name, pragma in (("pages", "page_count"), ("free", "freelist_count"), ("page", "page_size")):
        setattr(found, name, connection.execute(f"PRAGMA {pragma}").fetchone()[0])
    return found
