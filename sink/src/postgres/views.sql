-- What people and dashboards read: the schema `activity`, with the views and columns of deploy/snowflake. Times are in
-- UTC, as the tables' are. PostgreSQL 15 or newer. May be run again; a later version may add columns at a view's end.

CREATE SCHEMA IF NOT EXISTS activity;

-- A reading; to look for a time use time_ns, which has an index.
CREATE OR REPLACE VIEW activity.raw_readings AS
SELECT r.messageid AS message_id,
       r.sessionid AS session_id,
       r.deviceid AS device_id,
       r.sensortype AS sensor,
       r.x AS x,
       r.y AS y,
       r.z AS z,
       r.accuracy AS accuracy,
       timestamp '1970-01-01' + (r.timestamp / 1000) * interval '1 microsecond' AS time,
       r.timestamp AS time_ns,
       r.reading AS reading,
       r.readingindex AS reading_index,
       r.userid AS user_id,
       r.agentid AS agent_id,
       r.receivedat AS received_at,
       CASE COALESCE(r.record_metadata ->> 'clockSynced', r.record_metadata #>> '{headers,clockSynced}')
         WHEN 'true' THEN true WHEN 'false' THEN false END AS clock_synced
  FROM raw_data.activity_records AS r;

-- A window as classified last: its highest revision. To look for a time use time, its end, whose column has an index.
CREATE OR REPLACE VIEW activity.activity_windows AS
SELECT w.windowstart AS window_start,
       w.windowend AS window_end,
       w.sessionid AS session_id,
       w.deviceid AS device_id,
       w.activity AS activity,
       w.confidence AS confidence,
       w.avg_magnitude AS avg_magnitude,
       w.samplecount AS sample_count,
       w.classifier AS classifier,
       w.revision AS revision,
       w.agentid AS agent_id,
       w.timestamp AS time
  FROM processed_data.user_activity_processed AS w
 WHERE NOT EXISTS (SELECT 1
                     FROM processed_data.user_activity_processed AS later
                    WHERE later.deviceid = w.deviceid
                      AND later.sessionid = w.sessionid
                      AND later.windowstart = w.windowstart
                      AND later.revision > COALESCE(w.revision, 0));

-- A session of a device, with its most frequent activity.
CREATE OR REPLACE VIEW activity.sessions AS
WITH tally AS (
  SELECT a.device_id, a.session_id, a.activity,
         COUNT(*) AS windows, MIN(a.window_start) AS first_time, MAX(a.window_end) AS last_time
    FROM activity.activity_windows AS a
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
       SUM(k.windows)::bigint AS windows,
       MAX(k.most) AS main_activity,
       ROUND(1.0 * MAX(k.windows) / SUM(k.windows), 3) AS main_share
  FROM ranked AS k
 GROUP BY k.device_id, k.session_id;

-- Frames that will not come. More than the type counts are as many as it does.
CREATE OR REPLACE VIEW activity.stream_gaps AS
SELECT g.agentid AS agent_id,
       g.epoch AS epoch,
       g.stream AS stream,
       g.fromseq AS from_seq,
       g.toseq AS to_seq,
       LEAST(g.toseq::numeric - g.fromseq + 1, 9223372036854775807)::bigint AS frames,
       g.messages AS messages,
       g.readings AS readings,
       g.reason AS reason,
       g.noticedat AS noticed_at
  FROM raw_data.gaps AS g;

-- A place that the phone told. Numbers may come as text; a negative speed, bearing or accuracy is the app's word for
-- unknown. What is no number is null.
CREATE OR REPLACE VIEW activity.locations AS
WITH texts AS (
  SELECT r.deviceid AS device_id, r.sessionid AS session_id,
         timestamp '1970-01-01' + (r.timestamp / 1000) * interval '1 microsecond' AS time, r.timestamp AS time_ns,
         r.reading #>> '{values,latitude}' AS latitude,
         r.reading #>> '{values,longitude}' AS longitude,
         r.reading #>> '{values,altitude}' AS altitude,
         r.reading #>> '{values,speed}' AS speed,
         r.reading #>> '{values,bearing}' AS bearing,
         r.reading #>> '{values,horizontalAccuracy}' AS horizontal_accuracy
    FROM raw_data.activity_records AS r
   WHERE r.sensortype = 'location'
), numbers AS (
  SELECT t.device_id, t.session_id, t.time, t.time_ns,
         CASE WHEN t.latitude ~ '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$'
              THEN t.latitude::double precision END AS latitude,
         CASE WHEN t.longitude ~ '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$'
              THEN t.longitude::double precision END AS longitude,
         CASE WHEN t.altitude ~ '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$'
              THEN t.altitude::double precision END AS altitude,
         CASE WHEN t.speed ~ '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$'
              THEN t.speed::double precision END AS speed,
         CASE WHEN t.bearing ~ '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$'
              THEN t.bearing::double precision END AS bearing,
         CASE WHEN t.horizontal_accuracy ~ '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$'
              THEN t.horizontal_accuracy::double precision END AS horizontal_accuracy
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
CREATE OR REPLACE VIEW activity.step_counts AS
WITH texts AS (
  SELECT r.deviceid AS device_id, r.sessionid AS session_id,
         timestamp '1970-01-01' + (r.timestamp / 1000) * interval '1 microsecond' AS time, r.timestamp AS time_ns,
         r.reading #>> '{values,steps}' AS steps
    FROM raw_data.activity_records AS r
   WHERE r.sensortype = 'pedometer'
)
SELECT t.device_id,
       t.session_id,
       t.time,
       t.time_ns,
       CASE WHEN t.steps ~ '^[0-9]{1,15}([.]0*)?$' THEN t.steps::numeric::bigint END AS steps
  FROM texts AS t;

-- What the phone itself took its bearer to do.
CREATE OR REPLACE VIEW activity.phone_activities AS
SELECT r.deviceid AS device_id,
       r.sessionid AS session_id,
       timestamp '1970-01-01' + (r.timestamp / 1000) * interval '1 microsecond' AS time,
       r.timestamp AS time_ns,
       r.reading #>> '{values,activity}' AS activity,
       r.reading #>> '{values,confidence}' AS confidence
  FROM raw_data.activity_records AS r
 WHERE r.sensortype = 'activity';

-- The part of time for which one window speaks: from its start to the start of the next one, or to its own end if that
-- is sooner, so that slices neither overlap nor leave out time that a window covers.
CREATE OR REPLACE VIEW activity.activity_slices AS
WITH followed AS (
  SELECT a.device_id, a.session_id, a.activity, a.confidence, a.window_start, a.window_end,
         LEAD(a.window_start) OVER (PARTITION BY a.device_id, a.session_id ORDER BY a.window_start) AS next_start
    FROM activity.activity_windows AS a
)
SELECT f.device_id,
       f.session_id,
       f.activity,
       f.confidence,
       f.window_start AS slice_start,
       CASE WHEN f.next_start < f.window_end THEN f.next_start ELSE f.window_end END AS slice_end
  FROM followed AS f;

-- An activity from when it began until another follows or the windows end.
CREATE OR REPLACE VIEW activity.activity_timeline AS
WITH marked AS (
  SELECT s.device_id, s.session_id, s.activity, s.confidence, s.slice_start, s.slice_end,
         CASE WHEN s.activity = LAG(s.activity) OVER (PARTITION BY s.device_id, s.session_id ORDER BY s.slice_start)
               AND s.slice_start = LAG(s.slice_end) OVER (PARTITION BY s.device_id, s.session_id ORDER BY s.slice_start)
              THEN 0 ELSE 1 END AS begins
    FROM activity.activity_slices AS s
), numbered AS (
  SELECT m.device_id, m.session_id, m.activity, m.confidence, m.slice_start, m.slice_end,
         SUM(m.begins) OVER (PARTITION BY m.device_id, m.session_id ORDER BY m.slice_start
                             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS run
    FROM marked AS m
)
SELECT n.device_id,
       n.session_id,
       n.activity,
       MIN(n.slice_start) AS start_time,
       MAX(n.slice_end) AS end_time,
       EXTRACT(epoch FROM MAX(n.slice_end) - MIN(n.slice_start)) AS seconds,
       COUNT(*) AS windows,
       AVG(n.confidence) AS mean_confidence
  FROM numbered AS n
 GROUP BY n.device_id, n.session_id, n.run, n.activity;

-- Minutes of an activity on a day (UTC) by a device; a slice counts on the day on which it starts.
CREATE OR REPLACE VIEW activity.activity_minutes AS
SELECT s.slice_start::date AS day,
       s.device_id,
       s.activity,
       SUM(EXTRACT(epoch FROM s.slice_end - s.slice_start)) / 60 AS minutes,
       COUNT(*) AS windows
  FROM activity.activity_slices AS s
 GROUP BY s.slice_start::date, s.device_id, s.activity;

-- A record of any table, and where it came from. record_metadata has two shapes: the sink's own, and that of a Kafka
-- connector, where the record's name is text under `headers`. A number that is none becomes null. When a row was stored
-- its own column says, by this database's clock.
CREATE OR REPLACE VIEW activity.record_sources AS
WITH records AS (
  SELECT 'ACTIVITY_RECORDS' AS table_name, r.record_metadata AS metadata,
         r.deviceid AS device_id, r.sessionid AS session_id, r.messageid AS message_id,
         r.sensortype AS sensor, r.timestamp AS time_ns, r.receivedat AS received_at,
         r.stored_at AT TIME ZONE 'UTC' AS stored_at
    FROM raw_data.activity_records AS r
  UNION ALL
  SELECT 'USER_ACTIVITY_PROCESSED', w.record_metadata, w.deviceid, w.sessionid, NULL, NULL, NULL, NULL,
         w.stored_at AT TIME ZONE 'UTC'
    FROM processed_data.user_activity_processed AS w
  UNION ALL
  SELECT 'GAPS', g.record_metadata, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM raw_data.gaps AS g
), texts AS (
  SELECT c.table_name, c.device_id, c.session_id, c.message_id, c.sensor, c.time_ns, c.received_at,
         c.stored_at,
         COALESCE(c.metadata ->> 'agent', c.metadata #>> '{headers,agent}') AS agent_id,
         COALESCE(c.metadata ->> 'epoch', c.metadata #>> '{headers,epoch}') AS epoch,
         COALESCE(c.metadata ->> 'ordinal', c.metadata #>> '{headers,ordinal}') AS ordinal,
         COALESCE(c.metadata ->> 'stream', c.metadata #>> '{headers,stream}') AS stream,
         COALESCE(c.metadata ->> 'seq', c.metadata #>> '{headers,seq}') AS seq,
         COALESCE(c.metadata ->> 'index', c.metadata #>> '{headers,index}') AS record_index,
         COALESCE(c.metadata ->> 'clockSynced', c.metadata #>> '{headers,clockSynced}') AS clock_synced,
         c.metadata ->> 'topic' AS topic,
         c.metadata ->> 'partition' AS kafka_partition,
         c.metadata ->> 'offset' AS kafka_offset,
         COALESCE(c.metadata ->> 'CreateTime', c.metadata ->> 'LogAppendTime') AS kafka_time,
         c.metadata ->> 'SnowflakeConnectorPushTime' AS sink_time
    FROM records AS c
)
SELECT t.table_name,
       t.agent_id,
       t.epoch,
       CASE WHEN t.ordinal ~ '^[0-9]{1,18}$' THEN t.ordinal::bigint END AS ordinal,
       t.stream,
       CASE WHEN t.seq ~ '^[0-9]{1,18}$' THEN t.seq::bigint END AS seq,
       CASE WHEN t.record_index ~ '^[0-9]{1,18}$' THEN t.record_index::bigint END AS record_index,
       CASE t.clock_synced WHEN 'true' THEN true WHEN 'false' THEN false END AS clock_synced,
       t.topic,
       CASE WHEN t.kafka_partition ~ '^[0-9]{1,18}$' THEN t.kafka_partition::bigint END AS kafka_partition,
       CASE WHEN t.kafka_offset ~ '^[0-9]{1,18}$' THEN t.kafka_offset::bigint END AS kafka_offset,
       CASE WHEN t.kafka_time ~ '^[0-9]{1,14}$'
            THEN timestamp '1970-01-01' + t.kafka_time::bigint * interval '1 millisecond' END AS kafka_time,
       CASE WHEN t.sink_time ~ '^[0-9]{1,14}$'
            THEN timestamp '1970-01-01' + t.sink_time::bigint * interval '1 millisecond' END AS sink_time,
       t.device_id,
       t.session_id,
       t.message_id,
       t.sensor,
       t.time_ns,
       t.received_at,
       t.stored_at
  FROM texts AS t;

-- A push, and how long it took from step to step. Four clocks are compared: the phone's, the agent's, Kafka's, this
-- database's. The later steps are null where no column tells them.
CREATE OR REPLACE VIEW activity.latency AS
WITH pushes AS (
  SELECT s.agent_id, s.epoch, s.seq, s.device_id, s.session_id, s.message_id, s.clock_synced,
         COUNT(*) AS readings, MIN(s.time_ns) AS first_ns, MAX(s.time_ns) AS last_ns,
         MIN(s.received_at) AS received_at, MAX(s.kafka_time) AS kafka_time, MAX(s.sink_time) AS sink_time,
         MAX(s.stored_at) AS stored_at
    FROM activity.record_sources AS s
   WHERE s.table_name = 'ACTIVITY_RECORDS'
   GROUP BY s.agent_id, s.epoch, s.seq, s.device_id, s.session_id, s.message_id, s.clock_synced
), milliseconds AS (
  SELECT p.received_at, p.device_id, p.session_id, p.message_id, p.agent_id, p.readings, p.clock_synced,
         p.stored_at, p.first_ns / 1000000 AS first_ms, p.last_ns / 1000000 AS last_ms,
         FLOOR(EXTRACT(epoch FROM p.received_at) * 1000)::bigint AS received_ms,
         FLOOR(EXTRACT(epoch FROM p.kafka_time) * 1000)::bigint AS kafka_ms,
         FLOOR(EXTRACT(epoch FROM p.sink_time) * 1000)::bigint AS sink_ms,
         FLOOR(EXTRACT(epoch FROM p.stored_at) * 1000)::bigint AS stored_ms
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
CREATE OR REPLACE VIEW activity.duplicate_records AS
SELECT s.agent_id,
       s.epoch,
       s.stream,
       s.seq,
       s.record_index,
       COUNT(*) AS copies,
       MIN(s.table_name) AS first_table,
       MAX(s.table_name) AS last_table
  FROM activity.record_sources AS s
 WHERE s.agent_id IS NOT NULL AND s.epoch IS NOT NULL AND s.stream IS NOT NULL
   AND s.seq IS NOT NULL AND s.record_index IS NOT NULL
 GROUP BY s.agent_id, s.epoch, s.stream, s.seq, s.record_index
HAVING COUNT(*) > 1;

-- A Kafka record stored more than once, by its place in the log.
CREATE OR REPLACE VIEW activity.duplicate_offsets AS
SELECT s.topic,
       s.kafka_partition,
       s.kafka_offset,
       COUNT(*) AS copies,
       MIN(s.table_name) AS first_table,
       MAX(s.table_name) AS last_table
  FROM activity.record_sources AS s
 WHERE s.topic IS NOT NULL AND s.kafka_partition IS NOT NULL AND s.kafka_offset IS NOT NULL
 GROUP BY s.topic, s.kafka_partition, s.kafka_offset
HAVING COUNT(*) > 1;

-- Records of a table that say not, or not wholly, which agent sent them: no check by name sees them.
CREATE OR REPLACE VIEW activity.unnamed_records AS
SELECT s.table_name,
       COUNT(*) AS records,
       MIN(s.received_at) AS first_received_at,
       MAX(s.received_at) AS last_received_at
  FROM activity.record_sources AS s
 WHERE s.agent_id IS NULL OR s.epoch IS NULL OR s.stream IS NULL OR s.seq IS NULL OR s.record_index IS NULL
 GROUP BY s.table_name;

-- Pushes of a session that left no reading, by their messageId.
CREATE OR REPLACE VIEW activity.message_holes AS
WITH pushes AS (
  SELECT s.device_id, s.session_id, s.message_id, MIN(s.received_at) AS received_at
    FROM activity.record_sources AS s
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
       LEAST(f.next_id::numeric - f.message_id - 1, 9223372036854775807)::bigint AS missing,
       f.received_at AS after_received_at,
       f.next_received_at AS before_received_at
  FROM followed AS f
 WHERE f.next_id::numeric > f.message_id::numeric + 1;

-- A session and the share of its accelerometer readings that came below the watermark. The agent's watermark stands
-- 10 s below the greatest time before a message; a reading below it misses a window.
CREATE OR REPLACE VIEW activity.late_readings AS
WITH pushes AS (
  SELECT s.agent_id, s.ordinal, s.epoch, s.seq, s.device_id, s.session_id, MAX(s.time_ns) AS last_ns
    FROM activity.record_sources AS s
   WHERE s.table_name = 'ACTIVITY_RECORDS' AND s.sensor = 'accelerometer'
     AND s.seq IS NOT NULL AND s.time_ns IS NOT NULL
   GROUP BY s.agent_id, s.ordinal, s.epoch, s.seq, s.device_id, s.session_id
), watermarked AS (
  SELECT p.agent_id, p.epoch, p.seq,
         MAX(p.last_ns) OVER (PARTITION BY p.device_id, p.session_id, p.agent_id ORDER BY p.ordinal, p.epoch, p.seq
                              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)::numeric - 10000000000 AS watermark_ns
    FROM pushes AS p
)
SELECT s.device_id,
       s.session_id,
       COUNT(*) AS readings,
       SUM(CASE WHEN s.time_ns < m.watermark_ns THEN 1 ELSE 0 END) AS late,
       ROUND(1.0 * SUM(CASE WHEN s.time_ns < m.watermark_ns THEN 1 ELSE 0 END) / COUNT(*), 4) AS late_share
  FROM activity.record_sources AS s
  JOIN watermarked AS m
    ON m.agent_id = s.agent_id AND m.epoch = s.epoch AND m.seq = s.seq
 WHERE s.table_name = 'ACTIVITY_RECORDS' AND s.sensor = 'accelerometer' AND s.time_ns IS NOT NULL
 GROUP BY s.device_id, s.session_id;

-- A session at an agent, and how the phone's clock stood against the agent's.
CREATE OR REPLACE VIEW activity.clock_skew AS
SELECT l.device_id,
       l.session_id,
       l.agent_id,
       COUNT(*) AS pushes,
       SUM(CASE WHEN l.clock_synced = FALSE THEN 1 ELSE 0 END) AS unsynced_pushes,
       SUM(CASE WHEN l.phone_to_agent_ms < 0 THEN 1 ELSE 0 END) AS ahead_pushes,
       MIN(l.phone_to_agent_ms) AS least_ms,
       AVG(l.phone_to_agent_ms) AS mean_ms,
       MAX(l.phone_to_agent_ms) AS greatest_ms
  FROM activity.latency AS l
 GROUP BY l.device_id, l.session_id, l.agent_id;

-- A check and the number of its findings.
CREATE OR REPLACE VIEW activity.data_quality AS
SELECT 'duplicate_records' AS check_name, COALESCE(SUM(d.copies - 1), 0) AS findings
  FROM activity.duplicate_records AS d
UNION ALL
SELECT 'duplicate_offsets', COALESCE(SUM(o.copies - 1), 0) FROM activity.duplicate_offsets AS o
UNION ALL
SELECT 'unnamed_records', COALESCE(SUM(u.records), 0) FROM activity.unnamed_records AS u
UNION ALL
SELECT 'message_holes', COALESCE(SUM(h.missing), 0) FROM activity.message_holes AS h
UNION ALL
SELECT 'late_readings', COALESCE(SUM(t.late), 0) FROM activity.late_readings AS t
UNION ALL
SELECT 'clock_skew', COALESCE(SUM(k.ahead_pushes), 0) FROM activity.clock_skew AS k
UNION ALL
SELECT 'stream_gaps', COALESCE(SUM(g.frames), 0) FROM activity.stream_gaps AS g;
