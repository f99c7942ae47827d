"""What the checks of the warehouse say, bounded by a time range: for the panels of Pipeline and for alert rules.

Readings and pushes are in the range by when they were measured, on the phone's clock, which has an index. A push is
there if its last reading is. Each function gives relations to stand after WITH.
"""

from generate.sources import HOUR_MS

#: How far beyond the range readings are read, so that a push at its edge is seen whole, and so is what came before a
#: late reading.
BEYOND_MS = 120_000
#: How long before the range the push before a hole may lie.
BEFORE_MS = HOUR_MS
#: The agent's default lateness.
LATENESS_NS = 10_000_000_000

HOPS = ("phone → agent", "agent → Kafka", "Kafka → row", "push → row")
NAME = ("agent_id", "epoch", "stream", "seq", "record_index")
PLACE = ("topic", "kafka_partition", "kafka_offset")


def of_phones(source, column="device_id"):
    """A condition on the variable `phone`, for panels."""
    return f"\n             AND {source.chosen(column, 'phone')}"


def noticed_within(source):
    """A condition on `stream_gaps`, which stays small and has no index."""
    return f"{source.ms('noticed_at')} BETWEEN {source.from_ms} AND {source.to_ms}"


#: Gaps that are a loss: not what somebody deleted with `gaitway forget`.
LOST = "COALESCE(reason, '-') NOT IN ('forgotten', 'forgotten in the warehouse')"


def whole(value):
    """A count or a sum of counts as an integer: some databases make decimals of sums."""
    return f"CAST({value} AS BIGINT)"


def pushes(source, condition=""):
    """`pushes`: agent_id, epoch, seq, device_id, session_id, message_id, clock_synced, readings, and in milliseconds
    last_ms (of its last reading), received_ms, kafka_ms, row_ms: null where the warehouse does not say."""
    return f"""
        stamped AS (
          SELECT agent_id, epoch, seq, device_id, session_id, message_id, clock_synced, time_ns, received_at,
                 kafka_time, COALESCE(stored_at, sink_time) AS row_at
            FROM {source.view("record_sources")}
           WHERE table_name = 'ACTIVITY_RECORDS'
             AND {source.readings_within(BEYOND_MS, BEYOND_MS)}{condition}
        ), grouped AS (
          SELECT agent_id, epoch, seq, device_id, session_id, message_id, clock_synced, COUNT(*) AS readings,
                 MAX(time_ns) AS last_ns, MIN(received_at) AS received_at, MAX(kafka_time) AS kafka_time,
                 MAX(row_at) AS row_at
            FROM stamped
           GROUP BY agent_id, epoch, seq, device_id, session_id, message_id, clock_synced
        ), pushes AS (
          SELECT agent_id, epoch, seq, device_id, session_id, message_id, clock_synced, readings,
                 {source.ms_of_ns("last_ns")} AS last_ms,
                 {source.ms("received_at")} AS received_ms,
                 {source.ms("kafka_time")} AS kafka_ms,
                 {source.ms("row_at")} AS row_ms
            FROM grouped
           WHERE last_ns BETWEEN {source.from_ns} AND {source.to_ns}
        )"""


def hops():
    """`hops`, after `pushes`: a row for each push and each hop of which the warehouse knows how long it took."""
    steps = ("received_ms - last_ms", "kafka_ms - received_ms", "row_ms - kafka_ms", "row_ms - received_ms")
    each = "\n          UNION ALL\n          ".join(
        f"SELECT agent_id, last_ms, {place} AS hop_order, '{hop}' AS hop, {step} AS took_ms"
        f" FROM pushes WHERE {step} IS NOT NULL"
        for place, (hop, step) in enumerate(zip(HOPS, steps), 1)
    )
    return f"""
        hops AS (
          {each}
        )"""


def percentiles(relation, keys):
    """`percentiles` of `took_ms` by keys, by nearest rank: the least value that so many of a hundred do not exceed."""
    named = ", ".join(keys)
    each = ",\n                 ".join(
        f"MIN(CASE WHEN 100 * place >= {share} * places THEN took_ms END) AS p{share}" for share in (50, 95, 99)
    )
    return f"""
        ranked AS (
          SELECT {named}, took_ms,
                 ROW_NUMBER() OVER (PARTITION BY {named} ORDER BY took_ms) AS place,
                 COUNT(*) OVER (PARTITION BY {named}) AS places
            FROM {relation}
        ), percentiles AS (
          SELECT {named}, COUNT(*) AS pushes,
                 {each}
            FROM ranked
           GROUP BY {named}
        )"""


def holes(source, condition=""):
    """`holes`: numbers of pushes of a session that are missing before one whose first reading is in the range."""
    return f"""
        numbered AS (
          SELECT device_id, session_id, message_id, MIN(time_ns) AS first_ns, MAX(time_ns) AS last_ns
            FROM {source.view("raw_readings")}
           WHERE {source.readings_within(BEFORE_MS, BEYOND_MS)}
             AND message_id IS NOT NULL{condition}
           GROUP BY device_id, session_id, message_id
        ), followed AS (
          SELECT device_id, session_id, message_id AS next_id, first_ns,
                 LAG(message_id) OVER (PARTITION BY device_id, session_id ORDER BY message_id) AS before_id,
                 LAG(last_ns) OVER (PARTITION BY device_id, session_id ORDER BY message_id) AS before_ns
            FROM numbered
        ), holes AS (
          SELECT device_id, session_id, before_id, next_id, next_id - before_id - 1 AS missing,
                 {source.ms_of_ns("before_ns")} AS before_ms,
                 {source.ms_of_ns("first_ns")} AS next_ms
            FROM followed
           WHERE next_id > before_id + 1
             AND first_ns BETWEEN {source.from_ns} AND {source.to_ns}
        )"""


def lateness(source, condition=""):
    """`lateness`: the accelerometer's readings of each session in the range, and how many of them came late.

    The least of what was newest before each reading of a push is what was newest before the push.
    """
    push = "device_id, session_id, agent_id, ordinal, epoch, seq"
    return f"""
        accelerations AS (
          SELECT {push}, time_ns,
                 MAX(time_ns) OVER (PARTITION BY device_id, session_id, agent_id ORDER BY ordinal, epoch, seq, time_ns
                                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newest_ns
            FROM {source.view("record_sources")}
           WHERE table_name = 'ACTIVITY_RECORDS'
             AND {source.readings_within(0, BEYOND_MS)}
             AND sensor = 'accelerometer'
             AND agent_id IS NOT NULL AND epoch IS NOT NULL AND seq IS NOT NULL{condition}
        ), watermarked AS (
          SELECT device_id, session_id, time_ns,
                 MIN(newest_ns) OVER (PARTITION BY {push}) - {LATENESS_NS} AS watermark_ns
            FROM accelerations
        ), lateness AS (
          SELECT device_id, session_id, COUNT(*) AS readings,
                 SUM(CASE WHEN time_ns < watermark_ns THEN 1 ELSE 0 END) AS late,
                 MIN(time_ns) AS first_ns, MAX(time_ns) AS last_ns
            FROM watermarked
           WHERE time_ns BETWEEN {source.from_ns} AND {source.to_ns}
           GROUP BY device_id, session_id
        )"""


def skews(condition=""):
    """`skews`, after `pushes`: how the phone's clock stood against the agent's, by session and agent."""
    return f"""
        skews AS (
          SELECT device_id, session_id, agent_id, COUNT(*) AS pushes,
                 SUM(CASE WHEN clock_synced = FALSE THEN 1 ELSE 0 END) AS unsynced,
                 SUM(CASE WHEN received_ms < last_ms THEN 1 ELSE 0 END) AS ahead,
                 MIN(received_ms - last_ms) AS least_ms,
                 AVG(received_ms - last_ms) AS mean_ms,
                 MAX(received_ms - last_ms) AS greatest_ms,
                 MIN(last_ms) AS begin_ms, MAX(last_ms) AS end_ms
            FROM pushes
           WHERE received_ms IS NOT NULL{condition}
           GROUP BY device_id, session_id, agent_id
        )"""


def named(source, condition=""):
    """`named`: readings of the range by what names them, and their place in Kafka."""
    return f"""
        named AS (
          SELECT device_id, session_id, time_ns, {", ".join(NAME)}, {", ".join(PLACE)}
            FROM {source.view("record_sources")}
           WHERE table_name = 'ACTIVITY_RECORDS'
             AND {source.readings_within()}{condition}
        )"""


def _more_than_once(relation, keys, condition="1 = 1"):
    given = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    return f"""SELECT COUNT(*) - 1 AS extra
            FROM {relation}
           WHERE {condition} AND {given}
           GROUP BY {", ".join(keys)}
          HAVING COUNT(*) > 1"""


def duplicates(source, condition=""):
    """`by_name`, `by_offset`, `by_window`, `by_notice`, after `named`: `extra` copies, a row for each that has some."""
    windows = f"{source.windows_within()}{condition}"
    return f"""
        by_name AS (
          {_more_than_once("named", NAME)}
        ), by_offset AS (
          {_more_than_once("named", PLACE)}
        ), by_window AS (
          {_more_than_once(source.view("activity_windows"),
                           ("device_id", "session_id", "window_start", "revision"), windows)}
        ), by_notice AS (
          {_more_than_once(source.view("stream_gaps"),
                           ("agent_id", "epoch", "stream", "from_seq"), noticed_within(source))}
        )"""


def total(relation, column="extra"):
    """A sum over a relation, 0 if it has no row."""
    return whole(f"(SELECT COALESCE(SUM({column}), 0) FROM {relation})")


UNNAMED = " OR ".join(f"{key} IS NULL" for key in NAME)
