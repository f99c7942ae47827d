-- Data quality: each view is a check, each row of it a finding; README.md says what to do about one.

USE ROLE SYSADMIN;
USE DATABASE ACTIVITY_DB;
USE SCHEMA ACTIVITY;

CREATE OR REPLACE VIEW duplicate_records COPY GRANTS
  COMMENT = 'a record stored more than once, by the name that its agent gave it' AS
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

CREATE OR REPLACE VIEW duplicate_offsets COPY GRANTS
  COMMENT = 'a Kafka record stored more than once, by its place in the log' AS
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

CREATE OR REPLACE VIEW unnamed_records COPY GRANTS
  COMMENT = 'records of a table that say not, or not wholly, which agent sent them: no check by name sees them' AS
SELECT s.table_name,
       COUNT(*) AS records,
       MIN(s.received_at) AS first_received_at,
       MAX(s.received_at) AS last_received_at
  FROM record_sources AS s
 WHERE s.agent_id IS NULL OR s.epoch IS NULL OR s.stream IS NULL OR s.seq IS NULL OR s.record_index IS NULL
 GROUP BY s.table_name;

CREATE OR REPLACE VIEW message_holes COPY GRANTS
  COMMENT = 'pushes of a session that left no reading, by their messageId' AS
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
       f.next_id - f.message_id - 1 AS missing,
       f.received_at AS after_received_at,
       f.next_received_at AS before_received_at
  FROM followed AS f
 WHERE f.next_id > f.message_id + 1;

-- The agent's watermark stands 10 s below the greatest time before a message; a reading below it misses a window.
CREATE OR REPLACE VIEW late_readings COPY GRANTS
  COMMENT = 'a session and the share of its accelerometer readings that came below the watermark' AS
WITH pushes AS (
  SELECT s.agent_id, s.ordinal, s.epoch, s.seq, s.device_id, s.session_id, MAX(s.time_ns) AS last_ns
    FROM record_sources AS s
   WHERE s.table_name = 'ACTIVITY_RECORDS' AND s.sensor = 'accelerometer'
     AND s.seq IS NOT NULL AND s.time_ns IS NOT NULL
   GROUP BY s.agent_id, s.ordinal, s.epoch, s.seq, s.device_id, s.session_id
), watermarked AS (
  SELECT p.agent_id, p.epoch, p.seq,
         MAX(p.last_ns) OVER (PARTITION BY p.device_id, p.session_id, p.agent_id ORDER BY p.ordinal, p.epoch, p.seq
                              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) - 10000000000 AS watermark_ns
    FROM pushes AS p
)
SELECT s.device_id,
       s.session_id,
       COUNT(*) AS readings,
       SUM(CASE WHEN s.time_ns < m.watermark_ns THEN 1 ELSE 0 END) AS late,
       ROUND(1.0 * SUM(CASE WHEN s.time_ns < m.watermark_ns THEN 1 ELSE 0 END) / COUNT(*), 4) AS late_share
  FROM record_sources AS s
  JOIN watermarked AS m
    ON m.agent_id = s.agent_id AND m.epoch = s.epoch AND m.seq = s.seq
 WHERE s.table_name = 'ACTIVITY_RECORDS' AND s.sensor = 'accelerometer' AND s.time_ns IS NOT NULL
 GROUP BY s.device_id, s.session_id;

CREATE OR REPLACE VIEW clock_skew COPY GRANTS
  COMMENT = 'a session at an agent, and how the phone''s clock stood against the agent''s' AS
SELECT l.device_id,
       l.session_id,
       l.agent_id,
       COUNT(*) AS pushes,
       SUM(CASE WHEN l.clock_synced = FALSE THEN 1 ELSE 0 END) AS unsynced_pushes,
       SUM(CASE WHEN l.phone_to_agent_ms < 0 THEN 1 ELSE 0 END) AS ahead_pushes,
       MIN(l.phone_to_agent_ms) AS least_ms,
       AVG(l.phone_to_agent_ms) AS mean_ms,
       MAX(l.phone_to_agent_ms) AS greatest_ms
  FROM latency AS l
 GROUP BY l.device_id, l.session_id, l.agent_id;

CREATE OR REPLACE VIEW data_quality COPY GRANTS COMMENT = 'a check and the number of its findings' AS
SELECT 'duplicate_records' AS check_name, COALESCE(SUM(d.copies - 1), 0) AS findings FROM duplicate_records AS d
UNION ALL
SELECT 'duplicate_offsets', COALESCE(SUM(o.copies - 1), 0) FROM duplicate_offsets AS o
UNION ALL
SELECT 'unnamed_records', COALESCE(SUM(u.records), 0) FROM unnamed_records AS u
UNION ALL
SELECT 'message_holes', COALESCE(SUM(h.missing), 0) FROM message_holes AS h
UNION ALL
SELECT 'late_readings', COALESCE(SUM(t.late), 0) FROM late_readings AS t
UNION ALL
SELECT 'clock_skew', COALESCE(SUM(k.ahead_pushes), 0) FROM clock_skew AS k
UNION ALL
SELECT 'stream_gaps', COALESCE(SUM(g.frames), 0) FROM stream_gaps AS g;
