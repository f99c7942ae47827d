-- What people and dashboards read: the views and columns of deploy/snowflake.
--
-- Times are text in UTC, RFC 3339 with milliseconds, all of one length, so that they compare as text: the tables write
-- as many digits as a time needs, where 22.5Z sorts before 22Z. Only activity_windows.time is the table's own text, to
-- the second and with a blank, for its index. Where times are subtracted it is in whole milliseconds.
--
-- Every expression is known to SQLite 3.38 (2022): views run in the reader's program, which may be older than this one.

-- A reading. To look for a time use time_ns, which has an index.
CREATE VIEW raw_readings AS
SELECT r.messageId AS message_id,
       r.sessionId AS session_id,
       r.deviceId AS device_id,
       r.sensorType AS sensor,
       r.x AS x,
       r.y AS y,
       r.z AS z,
       r.accuracy AS accuracy,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.timestamp / 1000000 / 1e3, 'unixepoch') AS time,
       r.timestamp AS time_ns,
       r.reading AS reading,
       r.readingIndex AS reading_index,
       r.userId AS user_id,
       r.agentId AS agent_id,
       substr(r.receivedAt, 1, 19) || '.' || substr(rtrim(substr(r.receivedAt, 21), 'Z') || '000', 1, 3) || 'Z'
         AS received_at,
       CASE COALESCE(r.RECORD_METADATA ->> '$.clockSynced', r.RECORD_METADATA ->> '$.headers.clockSynced')
         WHEN 1 THEN 1 WHEN 'true' THEN 1 WHEN 0 THEN 0 WHEN 'false' THEN 0 END AS clock_synced
  FROM ACTIVITY_RECORDS AS r;

-- A window as classified last: its highest revision. To look for a time use time, its end, whose column has an index.
CREATE VIEW activity_windows AS
SELECT substr(w.windowStart, 1, 19) || '.' || substr(rtrim(substr(w.windowStart, 21), 'Z') || '000', 1, 3) || 'Z'
         AS window_start,
       substr(w.windowEnd, 1, 19) || '.' || substr(rtrim(substr(w.windowEnd, 21), 'Z') || '000', 1, 3) || 'Z'
         AS window_end,
       w.sessionId AS session_id,
       w.deviceId AS device_id,
       w.activity AS activity,
       w.confidence AS confidence,
       w.avg_magnitude AS avg_magnitude,
       w.sampleCount AS sample_count,
       w.classifier AS classifier,
       w.revision AS revision,
       w.agentId AS agent_id,
       w.timestamp AS time
  FROM USER_ACTIVITY_PROCESSED AS w
 WHERE NOT EXISTS (SELECT 1
                     FROM USER_ACTIVITY_PROCESSED AS later
                    WHERE later.deviceId = w.deviceId
                      AND later.sessionId = w.sessionId
                      AND later.windowStart = w.windowStart
                      AND later.revision > COALESCE(w.revision, 0));

-- A session of a device, with its most frequent activity.
CREATE VIEW sessions AS
WITH tally AS (
  SELECT a.device_id, a.session_id, a.activity,
         COUNT(*) AS windows, MIN(a.window_start) AS first_time, MAX(a.window_end) AS last_time
    FROM activity_windows AS a
   GROUP BY a.device_id, a.session_id, a.activity
), ranked AS (
  SELECT t.device_id, t.session_id, t.windows, t.first_time, t.last_time,
         FIRST_VALUE(t.activity) OVER (PARTITION BY t.device_id, t.session_id
                                       ORDER BY t.windows DESC, t.activity) AS most
    FROM tally AS t
)
SELECT k.device_id,
       k.session_id,
       MIN(k.first_time) AS first_time,
       MAX(k.last_time) AS last_time,
       SUM(k.windows) AS windows,
       MAX(k.most) AS main_activity,
       ROUND(1.0 * MAX(k.windows) / SUM(k.windows), 3) AS main_share
  FROM ranked AS k
 GROUP BY k.device_id, k.session_id;

-- Frames that will not come.
CREATE VIEW stream_gaps AS
SELECT g.agentId AS agent_id,
       g.epoch AS epoch,
       g.stream AS stream,
       g.fromSeq AS from_seq,
       g.toSeq AS to_seq,
       MIN(g.toSeq - g.fromSeq, 9223372036854775806) + 1 AS frames,
       g.messages AS messages,
       g.readings AS readings,
       g.reason AS reason,
       substr(g.noticedAt, 1, 19) || '.' || substr(rtrim(substr(g.noticedAt, 21), 'Z') || '000', 1, 3) || 'Z'
         AS noticed_at
  FROM GAPS AS g;

-- A place that the phone told. Numbers may come as text, and a negative speed, bearing or accuracy is the app's word
-- for unknown. What is no number is null.
CREATE VIEW locations AS
WITH texts AS (
  SELECT r.deviceId AS device_id, r.sessionId AS session_id,
         strftime('%Y-%m-%dT%H:%M:%fZ', r.timestamp / 1000000 / 1e3, 'unixepoch') AS time,
         r.timestamp AS time_ns,
         trim(r.reading -> '$.values.latitude', '"') AS latitude,
         trim(r.reading -> '$.values.longitude', '"') AS longitude,
         trim(r.reading -> '$.values.altitude', '"') AS altitude,
         trim(r.reading -> '$.values.speed', '"') AS speed,
         trim(r.reading -> '$.values.bearing', '"') AS bearing,
         trim(r.reading -> '$.values.horizontalAccuracy', '"') AS horizontal_accuracy
    FROM ACTIVITY_RECORDS AS r
   WHERE r.sensorType = 'location'
), numbers AS (
  SELECT t.device_id, t.session_id, t.time, t.time_ns,
         CASE WHEN json_type(CASE WHEN json_valid(t.latitude) AND NOT instr(t.latitude, ' ')
                             THEN t.latitude END) IN ('integer', 'real')
              THEN CAST(t.latitude AS REAL) END AS latitude,
         CASE WHEN json_type(CASE WHEN json_valid(t.longitude) AND NOT instr(t.longitude, ' ')
                             THEN t.longitude END) IN ('integer', 'real')
              THEN CAST(t.longitude AS REAL) END AS longitude,
         CASE WHEN json_type(CASE WHEN json_valid(t.altitude) AND NOT instr(t.altitude, ' ')
                             THEN t.altitude END) IN ('integer', 'real')
              THEN CAST(t.altitude AS REAL) END AS altitude,
         CASE WHEN json_type(CASE WHEN json_valid(t.speed) AND NOT instr(t.speed, ' ')
                             THEN t.speed END) IN ('integer', 'real')
              THEN CAST(t.speed AS REAL) END AS speed,
         CASE WHEN json_type(CASE WHEN json_valid(t.bearing) AND NOT instr(t.bearing, ' ')
                             THEN t.bearing END) IN ('integer', 'real')
              THEN CAST(t.bearing AS REAL) END AS bearing,
         CASE WHEN json_type(CASE WHEN json_valid(t.horizontal_accuracy) AND NOT instr(t.horizontal_accuracy, ' ')
                             THEN t.horizontal_accuracy END) IN ('integer', 'real')
              THEN CAST(t.horizontal_accuracy AS REAL) END AS horizontal_accuracy
    FROM texts AS t
)
SELECT n.device_id,
       n.session_id,
       n.time,
       n.time_ns,
       n.latitude AS latitude,
       n.longitude AS longitude,
       n.altitude AS altitude,
       CASE WHEN n.speed >= 0 THEN n.speed END AS speed,
       CASE WHEN n.bearing >= 0 THEN n.bearing END AS bearing,
       CASE WHEN n.horizontal_accuracy >= 0 THEN n.horizontal_accuracy END AS horizontal_accuracy
  FROM numbers AS n;

-- What the phone's step counter showed: steps since the recording began.
CREATE VIEW step_counts AS
WITH texts AS (
  SELECT r.deviceId AS device_id, r.sessionId AS session_id,
         strftime('%Y-%m-%dT%H:%M:%fZ', r.timestamp / 1000000 / 1e3, 'unixepoch') AS time,
         r.timestamp AS time_ns,
         trim(r.reading -> '$.values.steps', '"') AS steps
    FROM ACTIVITY_RECORDS AS r
   WHERE r.sensorType = 'pedometer'
), halves AS (
  SELECT t.device_id, t.session_id, t.time, t.time_ns,
         CASE WHEN instr(t.steps, '.') > 0 THEN substr(t.steps, 1, instr(t.steps, '.') - 1) ELSE t.steps END AS steps,
         CASE WHEN instr(t.steps, '.') > 0 THEN substr(t.steps, instr(t.steps, '.') + 1) ELSE '' END AS rest
    FROM texts AS t
)
SELECT h.device_id,
       h.session_id,
       h.time,
       h.time_ns,
       CASE WHEN length(h.steps) BETWEEN 1 AND 15 AND NOT glob('*[^0-9]*', h.steps) AND NOT glob('*[^0]*', h.rest)
            THEN CAST(h.steps AS INTEGER) END AS steps
  FROM halves AS h;

-- What the phone itself took its bearer to do.
CREATE VIEW phone_activities AS
SELECT r.deviceId AS device_id,
       r.sessionId AS session_id,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.timestamp / 1000000 / 1e3, 'unixepoch') AS time,
       r.timestamp AS time_ns,
       CAST(r.reading ->> '$.values.activity' AS TEXT) AS activity,
       CAST(r.reading ->> '$.values.confidence' AS TEXT) AS confidence
  FROM ACTIVITY_RECORDS AS r
 WHERE r.sensorType = 'activity';

-- The part of time for which one window speaks: from its start to the start of the next one, or to its own end if that
-- is sooner, so that slices neither overlap nor leave out time that a window covers.
CREATE VIEW activity_slices AS
WITH followed AS (
  SELECT a.device_id, a.session_id, a.activity, a.confidence, a.window_start, a.window_end,
         LEAD(a.window_start) OVER (PARTITION BY a.device_id, a.session_id ORDER BY a.window_start) AS next_start
    FROM activity_windows AS a
)
SELECT f.device_id,
       f.session_id,
       f.activity,
       f.confidence,
       f.window_start AS slice_start,
       CASE WHEN f.next_start < f.window_end THEN f.next_start ELSE f.window_end END AS slice_end
  FROM followed AS f;

-- An activity from when it began until another follows or the windows end.
CREATE VIEW activity_timeline AS
WITH marked AS (
  SELECT s.device_id, s.session_id, s.activity, s.confidence, s.slice_start, s.slice_end,
         CASE WHEN s.activity = LAG(s.activity) OVER (PARTITION BY s.device_id, s.session_id ORDER BY s.slice_start)
               AND s.slice_start = LAG(s.slice_end) OVER (PARTITION BY s.device_id, s.session_id ORDER BY s.slice_start)
              THEN 0 ELSE 1 END AS begins
    FROM activity_slices AS s
), numbered AS (
  SELECT m.device_id, m.session_id, m.activity, m.confidence, m.slice_start, m.slice_end,
         SUM(m.begins) OVER (PARTITION BY m.device_id, m.session_id ORDER BY m.slice_start
                             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS run
    FROM marked AS m
), runs AS (
  SELECT n.device_id, n.session_id, n.activity, MIN(n.slice_start) AS start_time, MAX(n.slice_end) AS end_time,
         COUNT(*) AS windows, AVG(n.confidence) AS mean_confidence
    FROM numbered AS n
   GROUP BY n.device_id, n.session_id, n.run, n.activity
)
SELECT r.device_id,
       r.session_id,
       r.activity,
       r.start_time,
       r.end_time,
       (unixepoch(substr(r.end_time, 1, 19)) * 1000 + CAST(substr(r.end_time, 21, 3) AS INTEGER)
         - (unixepoch(substr(r.start_time, 1, 19)) * 1000 + CAST(substr(r.start_time, 21, 3) AS INTEGER))) / 1000.0
         AS seconds,
       r.windows,
       r.mean_confidence
  FROM runs AS r;

-- Minutes of an activity on a day (UTC) by a device. A slice counts on the day on which it starts.
CREATE VIEW activity_minutes AS
SELECT substr(s.slice_start, 1, 10) AS day,
       s.device_id,
       s.activity,
       SUM(unixepoch(substr(s.slice_end, 1, 19)) * 1000 + CAST(substr(s.slice_end, 21, 3) AS INTEGER)
           - (unixepoch(substr(s.slice_start, 1, 19)) * 1000 + CAST(substr(s.slice_start, 21, 3) AS INTEGER))) / 60000.0
         AS minutes,
       COUNT(*) AS windows
  FROM activity_slices AS s
 GROUP BY substr(s.slice_start, 1, 10), s.device_id, s.activity;

-- A record of any table, and where it came from: Kafka only where a sink filled the file. RECORD_METADATA has two
-- shapes, the sink's own, and that of a Kafka connector, where the record's name is text under `headers`. A number that
-- is none becomes null. No column says when a row was stored.
CREATE VIEW record_sources AS
WITH records AS (
  SELECT 'ACTIVITY_RECORDS' AS table_name, r.RECORD_METADATA AS metadata,
         r.deviceId AS device_id, r.sessionId AS session_id, r.messageId AS message_id,
         r.sensorType AS sensor, r.timestamp AS time_ns, r.receivedAt AS received_at
    FROM ACTIVITY_RECORDS AS r
  UNION ALL
  SELECT 'USER_ACTIVITY_PROCESSED', w.RECORD_METADATA, w.deviceId, w.sessionId, NULL, NULL, NULL, NULL
    FROM USER_ACTIVITY_PROCESSED AS w
  UNION ALL
  SELECT 'GAPS', g.RECORD_METADATA, NULL, NULL, NULL, NULL, NULL, NULL
    FROM GAPS AS g
), texts AS (
  SELECT c.table_name, c.device_id, c.session_id, c.message_id, c.sensor, c.time_ns, c.received_at,
         COALESCE(c.metadata ->> '$.agent', c.metadata ->> '$.headers.agent') AS agent_id,
         COALESCE(c.metadata ->> '$.epoch', c.metadata ->> '$.headers.epoch') AS epoch,
         COALESCE(c.metadata ->> '$.ordinal', c.metadata ->> '$.headers.ordinal') AS ordinal,
         COALESCE(c.metadata ->> '$.stream', c.metadata ->> '$.headers.stream') AS stream,
         COALESCE(c.metadata ->> '$.seq', c.metadata ->> '$.headers.seq') AS seq,
         COALESCE(c.metadata ->> '$.index', c.metadata ->> '$.headers.index') AS record_index,
         COALESCE(c.metadata ->> '$.clockSynced', c.metadata ->> '$.headers.clockSynced') AS clock_synced,
         c.metadata ->> '$.topic' AS topic,
         c.metadata ->> '$.partition' AS kafka_partition,
         c.metadata ->> '$.offset' AS kafka_offset,
         COALESCE(c.metadata ->> '$.CreateTime', c.metadata ->> '$.LogAppendTime') AS kafka_time,
         c.metadata ->> '$.SnowflakeConnectorPushTime' AS sink_time
    FROM records AS c
)
SELECT t.table_name,
       t.agent_id,
       t.epoch,
       CASE WHEN length(t.ordinal) BETWEEN 1 AND 18 AND NOT glob('*[^0-9]*', t.ordinal)
            THEN CAST(t.ordinal AS INTEGER) END AS ordinal,
       t.stream,
       CASE WHEN length(t.seq) BETWEEN 1 AND 18 AND NOT glob('*[^0-9]*', t.seq)
            THEN CAST(t.seq AS INTEGER) END AS seq,
       CASE WHEN length(t.record_index) BETWEEN 1 AND 18 AND NOT glob('*[^0-9]*', t.record_index)
            THEN CAST(t.record_index AS INTEGER) END AS record_index,
       CASE t.clock_synced WHEN 1 THEN 1 WHEN 'true' THEN 1 WHEN 0 THEN 0 WHEN 'false' THEN 0 END AS clock_synced,
       t.topic,
       CASE WHEN length(t.kafka_partition) BETWEEN 1 AND 18 AND NOT glob('*[^0-9]*', t.kafka_partition)
            THEN CAST(t.kafka_partition AS INTEGER) END AS kafka_partition,
       CASE WHEN length(t.kafka_offset) BETWEEN 1 AND 18 AND NOT glob('*[^0-9]*', t.kafka_offset)
            THEN CAST(t.kafka_offset AS INTEGER) END AS kafka_offset,
       CASE WHEN length(t.kafka_time) BETWEEN 1 AND 14 AND NOT glob('*[^0-9]*', t.kafka_time)
            THEN strftime('%Y-%m-%dT%H:%M:%fZ', CAST(t.kafka_time AS INTEGER) / 1e3, 'unixepoch') END AS kafka_time,
       CASE WHEN length(t.sink_time) BETWEEN 1 AND 14 AND NOT glob('*[^0-9]*', t.sink_time)
            THEN strftime('%Y-%m-%dT%H:%M:%fZ', CAST(t.sink_time AS INTEGER) / 1e3, 'unixepoch') END AS sink_time,
       t.device_id,
       t.session_id,
       t.message_id,
       t.sensor,
       t.time_ns,
       substr(t.received_at, 1, 19) || '.' || substr(rtrim(substr(t.received_at, 21), 'Z') || '000', 1, 3) || 'Z'
         AS received_at,
       NULL AS stored_at
  FROM texts AS t;

-- A push, and how long it took from step to step. Three clocks are compared: the phone's, the agent's, Kafka's. The
-- later steps are null where no column tells them.
CREATE VIEW latency AS
WITH pushes AS (
  SELECT s.agent_id, s.epoch, s.seq, s.device_id, s.session_id, s.message_id, s.clock_synced,
         COUNT(*) AS readings, MIN(s.time_ns) AS first_ns, MAX(s.time_ns) AS last_ns,
         MIN(s.received_at) AS received_at, MAX(s.kafka_time) AS kafka_time, MAX(s.sink_time) AS sink_time,
         MAX(s.stored_at) AS stored_at
    FROM record_sources AS s
   WHERE s.table_name = 'ACTIVITY_RECORDS'
   GROUP BY s.agent_id, s.epoch, s.seq, s.device_id, s.session_id, s.message_id, s.clock_synced
), milliseconds AS (
  SELECT p.received_at, p.device_id, p.session_id, p.message_id, p.agent_id, p.readings, p.clock_synced,
         p.stored_at, p.first_ns / 1000000 AS first_ms, p.last_ns / 1000000 AS last_ms,
         unixepoch(substr(p.received_at, 1, 19)) * 1000 + CAST(substr(p.received_at, 21, 3) AS INTEGER) AS received_ms,
         unixepoch(substr(p.kafka_time, 1, 19)) * 1000 + CAST(substr(p.kafka_time, 21, 3) AS INTEGER) AS kafka_ms,
         unixepoch(substr(p.sink_time, 1, 19)) * 1000 + CAST(substr(p.sink_time, 21, 3) AS INTEGER) AS sink_ms,
         unixepoch(substr(p.stored_at, 1, 19)) * 1000 + CAST(substr(p.stored_at, 21, 3) AS INTEGER) AS stored_ms
    FROM pushes AS p
)
SELECT m.received_at,
       m.device_id,
       m.session_id,
       m.message_id,
       m.agent_id,
       m.readings,
       m.clock_synced,
       m.received_ms - m.first_ms AS oldest_reading_ms,
       m.received_ms - m.last_ms AS phone_to_agent_ms,
       m.kafka_ms - m.received_ms AS agent_to_kafka_ms,
       m.sink_ms - m.kafka_ms AS kafka_to_sink_ms,
       m.stored_at,
       m.stored_ms - m.kafka_ms AS kafka_to_row_ms,
       m.stored_ms - m.received_ms AS push_to_row_ms
  FROM milliseconds AS m;

-- Data quality: each view from here on is a check, each row of it a finding.

-- A record stored more than once, by the name that its agent gave it.
CREATE VIEW duplicate_records AS
SELECT s.agent_id,
       s.epoch,
       s.stream,
       s.seq,
       s.record_index,
       COUNT(*) AS copies,
       MIN(s.table_name) AS first_table,
       MAX(s.table_name) AS last_table
  FROM record_sources AS s
 WHERE s.agent_id IS NOT NULL AND s.epoch IS NOT NULL AND s.stream IS NOT NULL
   AND s.seq IS NOT NULL AND s.record_index IS NOT NULL
 GROUP BY s.agent_id, s.epoch, s.stream, s.seq, s.record_index
HAVING COUNT(*) > 1;

-- A Kafka record stored more than once, by its place in the log.
CREATE VIEW duplicate_offsets AS
SELECT s.topic,
       s.kafka_partition,
       s.kafka_offset,
       COUNT(*) AS copies,
       MIN(s.table_name) AS first_table,
       MAX(s.table_name) AS last_table
  FROM record_sources AS s
 WHERE s.topic IS NOT NULL AND s.kafka_partition IS NOT NULL AND s.kafka_offset IS NOT NULL
 GROUP BY s.topic, s.kafka_partition, s.kafka_offset
HAVING COUNT(*) > 1;

-- Records of a table that say not, or not wholly, which agent sent them: no check by name sees them.
CREATE VIEW unnamed_records AS
SELECT s.table_name,
       COUNT(*) AS records,
       MIN(s.received_at) AS first_received_at,
       MAX(s.received_at) AS last_received_at
  FROM record_sources AS s
 WHERE s.agent_id IS NULL OR s.epoch IS NULL OR s.stream IS NULL OR s.seq IS NULL OR s.record_index IS NULL
 GROUP BY s.table_name;

-- Pushes of a session that left no reading, by their messageId.
CREATE VIEW message_holes AS
WITH pushes AS (
  SELECT s.device_id, s.session_id, s.message_id, MIN(s.received_at) AS received_at
    FROM record_sources AS s
   WHERE s.table_name = 'ACTIVITY_RECORDS' AND s.message_id IS NOT NULL
   GROUP BY s.device_id, s.session_id, s.message_id
), followed AS (
  SELECT p.device_id, p.session_id, p.message_id, p.received_at,
         LEAD(p.message_id) OVER (PARTITION BY p.device_id, p.session_id ORDER BY p.message_id) AS next_id,
         LEAD(p.received_at) OVER (PARTITION BY p.device_id, p.session_id ORDER BY p.message_id) AS next_received_at
    FROM pushes AS p
)
SELECT f.device_id,
       f.session_id,
       f.message_id AS after_message_id,
       f.next_id AS before_message_id,
       CAST(f.next_id - f.message_id - 1 AS INTEGER) AS missing,
       f.received_at AS after_received_at,
       f.next_received_at AS before_received_at
  FROM followed AS f
 WHERE f.next_id > f.message_id + 1;

-- A session and the share of its accelerometer readings that came below the watermark. The agent's watermark stands
-- 10 s below the greatest time before a message, and a reading below it misses a window.
CREATE VIEW late_readings AS
WITH followed AS (
  SELECT s.device_id, s.session_id, s.time_ns,
         MAX(s.time_ns) OVER (PARTITION BY s.device_id, s.session_id, s.agent_id ORDER BY s.ordinal, s.epoch, s.seq
                              GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) - 10000000000 AS watermark_ns
    FROM record_sources AS s
   WHERE s.table_name = 'ACTIVITY_RECORDS' AND s.sensor = 'accelerometer' AND s.time_ns IS NOT NULL
     AND s.agent_id IS NOT NULL AND s.epoch IS NOT NULL AND s.seq IS NOT NULL
)
SELECT f.device_id,
       f.session_id,
       COUNT(*) AS readings,
       SUM(CASE WHEN f.time_ns < f.watermark_ns THEN 1 ELSE 0 END) AS late,
       ROUND(1.0 * SUM(CASE WHEN f.time_ns < f.watermark_ns THEN 1 ELSE 0 END) / COUNT(*), 4) AS late_share
  FROM followed AS f
 GROUP BY f.device_id, f.session_id;

-- A session at an agent, and how the phone's clock stood against the agent's.
CREATE VIEW clock_skew AS
SELECT l.device_id,
       l.session_id,
       l.agent_id,
       COUNT(*) AS pushes,
       SUM(CASE WHEN l.clock_synced = 0 THEN 1 ELSE 0 END) AS unsynced_pushes,
       SUM(CASE WHEN l.phone_to_agent_ms < 0 THEN 1 ELSE 0 END) AS ahead_pushes,
       MIN(l.phone_to_agent_ms) AS least_ms,
       AVG(l.phone_to_agent_ms) AS mean_ms,
       MAX(l.phone_to_agent_ms) AS greatest_ms
  FROM latency AS l
 GROUP BY l.device_id, l.session_id, l.agent_id;

-- A check and the number of its findings. What may be large is summed in two halves: a sum of integers that overflows is
-- an error.
CREATE VIEW data_quality AS
SELECT 'duplicate_records' AS check_name, COALESCE(SUM(d.copies - 1), 0) AS findings
  FROM duplicate_records AS d
UNION ALL
SELECT 'duplicate_offsets', COALESCE(SUM(o.copies - 1), 0) FROM duplicate_offsets AS o
UNION ALL
SELECT 'unnamed_records', COALESCE(SUM(u.records), 0) FROM unnamed_records AS u
UNION ALL
SELECT 'message_holes', COALESCE(SUM(h.missing >> 32) * 4294967296 + SUM(h.missing & 4294967295), 0)
  FROM message_holes AS h
UNION ALL
SELECT 'late_readings', COALESCE(SUM(t.late), 0) FROM late_readings AS t
UNION ALL
SELECT 'clock_skew', COALESCE(SUM(k.ahead_pushes), 0) FROM clock_skew AS k
UNION ALL
SELECT 'stream_gaps', COALESCE(SUM(g.frames >> 32) * 4294967296 + SUM(g.frames & 4294967295), 0)
  FROM stream_gaps AS g;
