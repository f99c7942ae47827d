-- Times are text in UTC with milliseconds. Every expression is known to SQLite 3.38 (2022): views run in the reader's
-- program, which may be older than this one.

CREATE VIEW raw_readings AS
SELECT messageId AS message_id,
       sessionId AS session_id,
       deviceId AS device_id,
       sensorType AS sensor,
       x, y, z,
       accuracy,
       strftime('%Y-%m-%d %H:%M:%f', timestamp / 1e9, 'unixepoch') AS time,
       timestamp AS time_ns,
       reading,
       readingIndex AS reading_index,
       userId AS user_id,
       agentId AS agent_id,
       strftime('%Y-%m-%d %H:%M:%f', receivedAt) AS received_at,
       json_extract(RECORD_METADATA, '$.clockSynced') AS clock_synced
  FROM ACTIVITY_RECORDS;

CREATE VIEW activity_windows AS
SELECT strftime('%Y-%m-%d %H:%M:%f', windowStart) AS window_start,
       strftime('%Y-%m-%d %H:%M:%f', windowEnd) AS window_end,
       sessionId AS session_id,
       deviceId AS device_id,
       activity,
       confidence,
       avg_magnitude,
       sampleCount AS sample_count,
       classifier,
       revision,
       agentId AS agent_id
  FROM USER_ACTIVITY_PROCESSED AS told
 WHERE NOT EXISTS (SELECT 1
                     FROM USER_ACTIVITY_PROCESSED AS later
                    WHERE later.deviceId = told.deviceId
                      AND later.sessionId = told.sessionId
                      AND later.windowStart = told.windowStart
                      AND later.revision > told.revision);

CREATE VIEW sessions AS
WITH tally AS (
  SELECT device_id, session_id, activity,
         count(*) AS windows, min(window_start) AS first_time, max(window_end) AS last_time
    FROM activity_windows
   GROUP BY device_id, session_id, activity
), ranked AS (
  SELECT *, first_value(activity) OVER (PARTITION BY device_id, session_id ORDER BY windows DESC, activity) AS most
    FROM tally
)
SELECT device_id, session_id,
       min(first_time) AS first_time,
       max(last_time) AS last_time,
       sum(windows) AS windows,
       max(most) AS main_activity,
       round(1.0 * max(windows) / sum(windows), 3) AS main_share
  FROM ranked
 GROUP BY device_id, session_id;

CREATE VIEW stream_gaps AS
SELECT agentId AS agent_id,
       epoch,
       stream,
       fromSeq AS from_seq,
       toSeq AS to_seq,
       toSeq - fromSeq + 1 AS frames,
       messages,
       readings,
       reason,
       strftime('%Y-%m-%d %H:%M:%f', noticedAt) AS noticed_at
  FROM GAPS;
