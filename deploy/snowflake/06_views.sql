-- What people and dashboards read: snake_case names, times in UTC. The same views with the same columns are in the
-- PostgreSQL warehouse and in the local one, SQLite. README.md says what a row of each is.

USE ROLE SYSADMIN;
USE DATABASE ACTIVITY_DB;
USE SCHEMA ACTIVITY;

CREATE OR REPLACE VIEW raw_readings COPY GRANTS COMMENT = 'a reading' AS
SELECT r.messageId AS message_id,
       r.sessionId AS session_id,
       r.deviceId AS device_id,
       r.sensorType AS sensor,
       r.x AS x,
       r.y AS y,
       r.z AS z,
       r.accuracy AS accuracy,
       TO_TIMESTAMP_NTZ(r.timestamp, 9) AS time,
       r.timestamp AS time_ns,
       r.reading AS reading,
       r.readingIndex AS reading_index,
       r.userId AS user_id,
       r.agentId AS agent_id,
       r.receivedAt AS received_at,
       TRY_TO_BOOLEAN(COALESCE(r.RECORD_METADATA:clockSynced::VARCHAR,
                               r.RECORD_METADATA:headers.clockSynced::VARCHAR)) AS clock_synced
  FROM RAW_DATA.ACTIVITY_RECORDS AS r;

CREATE OR REPLACE VIEW activity_windows COPY GRANTS COMMENT = 'a window as classified last: its highest revision' AS
SELECT w.windowStart AS window_start,
       w.windowEnd AS window_end,
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
  FROM PROCESSED_DATA.USER_ACTIVITY_PROCESSED AS w
QUALIFY COALESCE(w.revision, 0)
        = MAX(COALESCE(w.revision, 0)) OVER (PARTITION BY w.deviceId, w.sessionId, w.windowStart);

CREATE OR REPLACE VIEW sessions COPY GRANTS
  COMMENT = 'a session of a device, with its most frequent activity' AS
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

CREATE OR REPLACE VIEW stream_gaps COPY GRANTS COMMENT = 'frames that will not come' AS
SELECT g.agentId AS agent_id,
       g.epoch AS epoch,
       g.stream AS stream,
       g.fromSeq AS from_seq,
       g.toSeq AS to_seq,
       g.toSeq - g.fromSeq + 1 AS frames,
       g.messages AS messages,
       g.readings AS readings,
       g.reason AS reason,
       g.noticedAt AS noticed_at
  FROM RAW_DATA.GAPS AS g;

-- Numbers may come as text; a negative speed, bearing or accuracy is the app's word for unknown. What is no number is
-- null.
CREATE OR REPLACE VIEW locations COPY GRANTS COMMENT = 'a place that the phone told' AS
WITH texts AS (
  SELECT r.deviceId AS device_id, r.sessionId AS session_id,
         TO_TIMESTAMP_NTZ(r.timestamp, 9) AS time, r.timestamp AS time_ns,
         GET_PATH(r.reading, 'values.latitude')::VARCHAR AS latitude,
         GET_PATH(r.reading, 'values.longitude')::VARCHAR AS longitude,
         GET_PATH(r.reading, 'values.altitude')::VARCHAR AS altitude,
         GET_PATH(r.reading, 'values.speed')::VARCHAR AS speed,
         GET_PATH(r.reading, 'values.bearing')::VARCHAR AS bearing,
         GET_PATH(r.reading, 'values.horizontalAccuracy')::VARCHAR AS horizontal_accuracy
    FROM RAW_DATA.ACTIVITY_RECORDS AS r
   WHERE r.sensorType = 'location'
), numbers AS (
  SELECT t.device_id, t.session_id, t.time, t.time_ns,
         CASE WHEN REGEXP_LIKE(t.latitude, '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$')
              THEN TRY_TO_DOUBLE(t.latitude) END AS latitude,
         CASE WHEN REGEXP_LIKE(t.longitude, '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$')
              THEN TRY_TO_DOUBLE(t.longitude) END AS longitude,
         CASE WHEN REGEXP_LIKE(t.altitude, '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$')
              THEN TRY_TO_DOUBLE(t.altitude) END AS altitude,
         CASE WHEN REGEXP_LIKE(t.speed, '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$')
              THEN TRY_TO_DOUBLE(t.speed) END AS speed,
         CASE WHEN REGEXP_LIKE(t.bearing, '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$')
              THEN TRY_TO_DOUBLE(t.bearing) END AS bearing,
         CASE WHEN REGEXP_LIKE(t.horizontal_accuracy, '^-?[0-9]{1,20}([.][0-9]{1,255})?([eE][+-]?[0-9]{1,2})?$')
              THEN TRY_TO_DOUBLE(t.horizontal_accuracy) END AS horizontal_accuracy
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

CREATE OR REPLACE VIEW step_counts COPY GRANTS
  COMMENT = 'what the phone''s step counter showed: steps since the recording began' AS
WITH texts AS (
  SELECT r.deviceId AS device_id, r.sessionId AS session_id,
         TO_TIMESTAMP_NTZ(r.timestamp, 9) AS time, r.timestamp AS time_ns,
         GET_PATH(r.reading, 'values.steps')::VARCHAR AS steps
    FROM RAW_DATA.ACTIVITY_RECORDS AS r
   WHERE r.sensorType = 'pedometer'
)
SELECT t.device_id,
       t.session_id,
       t.time,
       t.time_ns,
       CASE WHEN REGEXP_LIKE(t.steps, '^[0-9]{1,15}([.]0*)?$') THEN TRY_TO_NUMBER(t.steps) END AS steps
  FROM texts AS t;

CREATE OR REPLACE VIEW phone_activities COPY GRANTS COMMENT = 'what the phone itself took its bearer to do' AS
SELECT r.deviceId AS device_id,
       r.sessionId AS session_id,
       TO_TIMESTAMP_NTZ(r.timestamp, 9) AS time,
       r.timestamp AS time_ns,
       GET_PATH(r.reading, 'values.activity')::VARCHAR AS activity,
       GET_PATH(r.reading, 'values.confidence')::VARCHAR AS confidence
  FROM RAW_DATA.ACTIVITY_RECORDS AS r
 WHERE r.sensorType = 'activity';

-- Windows overlap. Here each speaks from its start to the start of the next one, or to its own end if that is sooner,
-- so that slices neither overlap nor leave out time that a window covers.
CREATE OR REPLACE VIEW activity_slices COPY GRANTS COMMENT = 'the part of time for which one window speaks' AS
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

CREATE OR REPLACE VIEW activity_timeline COPY GRANTS
  COMMENT = 'an activity from when it began until another follows or the windows end' AS
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
)
SELECT n.device_id,
       n.session_id,
       n.activity,
       MIN(n.slice_start) AS start_time,
       MAX(n.slice_end) AS end_time,
       DATEDIFF('millisecond', MIN(n.slice_start), MAX(n.slice_end)) / 1000.0 AS seconds,
       COUNT(*) AS windows,
       AVG(n.confidence) AS mean_confidence
  FROM numbered AS n
 GROUP BY n.device_id, n.session_id, n.run, n.activity;

CREATE OR REPLACE VIEW activity_minutes COPY GRANTS
  COMMENT = 'minutes of an activity on a day (UTC) by a device; a slice counts on the day on which it starts' AS
SELECT TO_DATE(s.slice_start) AS day,
       s.device_id,
       s.activity,
       SUM(DATEDIFF('millisecond', s.slice_start, s.slice_end)) / 60000.0 AS minutes,
       COUNT(*) AS windows
  FROM activity_slices AS s
 GROUP BY TO_DATE(s.slice_start), s.device_id, s.activity;

-- RECORD_METADATA has two shapes: the sink's own, and that of Snowflake's Kafka connector, where the record's name is
-- text under `headers` and the connector adds times in milliseconds. A number that is none becomes null. No column
-- says when a row was stored.
CREATE OR REPLACE VIEW record_sources COPY GRANTS COMMENT = 'a record of any table, and where it came from' AS
WITH records AS (
  SELECT 'ACTIVITY_RECORDS' AS table_name, r.RECORD_METADATA AS metadata,
         r.deviceId AS device_id, r.sessionId AS session_id, r.messageId AS message_id,
         r.sensorType AS sensor, r.timestamp AS time_ns, r.receivedAt AS received_at
    FROM RAW_DATA.ACTIVITY_RECORDS AS r
  UNION ALL
  SELECT 'USER_ACTIVITY_PROCESSED', w.RECORD_METADATA, w.deviceId, w.sessionId, NULL, NULL, NULL, NULL
    FROM PROCESSED_DATA.USER_ACTIVITY_PROCESSED AS w
  UNION ALL
  SELECT 'GAPS', g.RECORD_METADATA, NULL, NULL, NULL, NULL, NULL, NULL
    FROM RAW_DATA.GAPS AS g
)
SELECT c.table_name,
       COALESCE(c.metadata:agent::VARCHAR, c.metadata:headers.agent::VARCHAR) AS agent_id,
       COALESCE(c.metadata:epoch::VARCHAR, c.metadata:headers.epoch::VARCHAR) AS epoch,
       TRY_TO_NUMBER(COALESCE(c.metadata:ordinal::VARCHAR, c.metadata:headers.ordinal::VARCHAR)) AS ordinal,
       COALESCE(c.metadata:stream::VARCHAR, c.metadata:headers.stream::VARCHAR) AS stream,
       TRY_TO_NUMBER(COALESCE(c.metadata:seq::VARCHAR, c.metadata:headers.seq::VARCHAR)) AS seq,
       TRY_TO_NUMBER(COALESCE(c.metadata:index::VARCHAR, c.metadata:headers.index::VARCHAR)) AS record_index,
       TRY_TO_BOOLEAN(COALESCE(c.metadata:clockSynced::VARCHAR, c.metadata:headers.clockSynced::VARCHAR))
         AS clock_synced,
       c.metadata:topic::VARCHAR AS topic,
       TRY_TO_NUMBER(c.metadata:partition::VARCHAR) AS kafka_partition,
       TRY_TO_NUMBER(c.metadata:offset::VARCHAR) AS kafka_offset,
       TO_TIMESTAMP_NTZ(TRY_TO_NUMBER(COALESCE(c.metadata:CreateTime::VARCHAR,
                                               c.metadata:LogAppendTime::VARCHAR), 14, 0), 3) AS kafka_time,
       TO_TIMESTAMP_NTZ(TRY_TO_NUMBER(c.metadata:SnowflakeConnectorPushTime::VARCHAR, 14, 0), 3) AS sink_time,
       c.device_id,
       c.session_id,
       c.message_id,
       c.sensor,
       c.time_ns,
       c.received_at,
       CAST(NULL AS TIMESTAMP_NTZ(9)) AS stored_at
  FROM records AS c;

-- Three clocks are compared: the phone's, the agent's, Kafka's. The later steps are null where no column tells them.
CREATE OR REPLACE VIEW latency COPY GRANTS COMMENT = 'a push, and how long it took from step to step' AS
WITH pushes AS (
  SELECT s.agent_id, s.epoch, s.seq, s.device_id, s.session_id, s.message_id, s.clock_synced,
         COUNT(*) AS readings, MIN(s.time_ns) AS first_ns, MAX(s.time_ns) AS last_ns,
         MIN(s.received_at) AS received_at, MAX(s.kafka_time) AS kafka_time, MAX(s.sink_time) AS sink_time,
         MAX(s.stored_at) AS stored_at
    FROM record_sources AS s
   WHERE s.table_name = 'ACTIVITY_RECORDS'
   GROUP BY s.agent_id, s.epoch, s.seq, s.device_id, s.session_id, s.message_id, s.clock_synced
)
SELECT p.received_at,
       p.device_id,
       p.session_id,
       p.message_id,
       p.agent_id,
       p.readings,
       p.clock_synced,
       DATEDIFF('millisecond', TO_TIMESTAMP_NTZ(p.first_ns, 9), p.received_at) AS oldest_reading_ms,
       DATEDIFF('millisecond', TO_TIMESTAMP_NTZ(p.last_ns, 9), p.received_at) AS phone_to_agent_ms,
       DATEDIFF('millisecond', p.received_at, p.kafka_time) AS agent_to_kafka_ms,
       DATEDIFF('millisecond', p.kafka_time, p.sink_time) AS kafka_to_sink_ms,
       p.stored_at,
       DATEDIFF('millisecond', p.kafka_time, p.stored_at) AS kafka_to_row_ms,
       DATEDIFF('millisecond', p.received_at, p.stored_at) AS push_to_row_ms
  FROM pushes AS p;
