-- The tables of Snowflake. Made by `gaitway sink ddl --dialect snowflake`: change the list of fields, not this.
-- May be run again: what exists is left as it is.

USE ROLE SYSADMIN;

USE DATABASE ACTIVITY_DB;

CREATE SCHEMA IF NOT EXISTS RAW_DATA;

CREATE SCHEMA IF NOT EXISTS PROCESSED_DATA;

CREATE SCHEMA IF NOT EXISTS ACTIVITY;

CREATE TABLE IF NOT EXISTS RAW_DATA.ACTIVITY_RECORDS (
  RECORD_METADATA VARIANT COMMENT 'where the record came from: agent, epoch, ordinal, stream, seq, index, clockSynced; behind Kafka also topic, partition, offset, key, CreateTime',
  messageId NUMBER(19) COMMENT 'number of the push in its session; null if the body is known by its hash',
  sessionId VARCHAR COMMENT 'one recording',
  deviceId VARCHAR COMMENT 'one phone',
  sensorType VARCHAR COMMENT 'the sensor''s name as the app sends it',
  x FLOAT COMMENT 'first axis, in the sensor''s unit',
  y FLOAT COMMENT 'second axis, in the sensor''s unit',
  z FLOAT COMMENT 'third axis, in the sensor''s unit',
  accuracy NUMBER(19) COMMENT '0 to 3, Android only',
  timestamp NUMBER(19) COMMENT 'phone''s clock, nanoseconds since the Unix epoch',
  reading VARIANT COMMENT 'what the columns do not hold: values, unknown fields, or the whole original',
  readingIndex NUMBER(19) COMMENT 'place in the push''s payload, from 0',
  userId VARCHAR COMMENT 'participant, in studies only',
  agentId VARCHAR COMMENT 'the agent that accepted the push',
  receivedAt TIMESTAMP_NTZ(9) COMMENT 'when the agent had the push, its wall clock, UTC'
)
CLUSTER BY (TO_DATE(receivedAt), deviceId)
DATA_RETENTION_TIME_IN_DAYS = 1
ERROR_LOGGING = TRUE
COMMENT = 'Readings as received';

CREATE TABLE IF NOT EXISTS PROCESSED_DATA.USER_ACTIVITY_PROCESSED (
  RECORD_METADATA VARIANT COMMENT 'where the record came from: agent, epoch, ordinal, stream, seq, index, clockSynced; behind Kafka also topic, partition, offset, key, CreateTime',
  timestamp TIMESTAMP_NTZ(9) COMMENT 'end of the window, UTC',
  sessionId VARCHAR COMMENT 'one recording',
  deviceId VARCHAR COMMENT 'one phone',
  activity VARCHAR COMMENT 'stationary, walking, running or sprinting',
  confidence FLOAT COMMENT 'probability that the label is right, 0 to 1',
  avg_magnitude FLOAT COMMENT 'mean of sqrt(x²+y²+z²) over the window, m/s²',
  windowStart TIMESTAMP_NTZ(9) COMMENT 'inclusive, UTC',
  windowEnd TIMESTAMP_NTZ(9) COMMENT 'exclusive, UTC',
  sampleCount NUMBER(19) COMMENT 'readings in the window',
  classifier VARCHAR COMMENT 'the rule that gave the label',
  revision NUMBER(19) COMMENT '0, higher after a reclassification',
  agentId VARCHAR COMMENT 'the agent that classified'
)
CLUSTER BY (TO_DATE(windowStart), deviceId)
DATA_RETENTION_TIME_IN_DAYS = 1
ERROR_LOGGING = TRUE
COMMENT = 'Classified windows';

CREATE TABLE IF NOT EXISTS RAW_DATA.GAPS (
  RECORD_METADATA VARIANT COMMENT 'where the record came from: agent, epoch, ordinal, stream, seq, index, clockSynced; behind Kafka also topic, partition, offset, key, CreateTime',
  agentId VARCHAR COMMENT 'the agent whose stream has the gap',
  epoch VARCHAR COMMENT 'the agent''s start',
  stream VARCHAR COMMENT 'raw or activity',
  fromSeq NUMBER(19) COMMENT 'first missing frame',
  toSeq NUMBER(19) COMMENT 'last missing frame',
  messages NUMBER(19) COMMENT 'pushes in the gap; null if nobody knows',
  readings NUMBER(19) COMMENT 'readings in the gap; null if nobody knows',
  reason VARCHAR COMMENT 'why',
  noticedAt TIMESTAMP_NTZ(9) COMMENT 'when, UTC'
)
DATA_RETENTION_TIME_IN_DAYS = 1
ERROR_LOGGING = TRUE
COMMENT = 'Frames that will never come, and why';
