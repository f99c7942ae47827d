-- The one warehouse: for reading. The sink appends without any, and `gaitway doctor` asks without any; dashboards, and
-- `gaitway sink redrive`, audit and tail with the sink's role, ask here.

USE ROLE ACCOUNTADMIN;

-- Asleep after a minute without a query; a query of ten minutes is a mistake.
CREATE WAREHOUSE IF NOT EXISTS GAITWAY_READ
  WAREHOUSE_SIZE = XSMALL
  AUTO_SUSPEND = 60
  AUTO_RESUME = TRUE
  INITIALLY_SUSPENDED = TRUE
  STATEMENT_TIMEOUT_IN_SECONDS = 600
  COMMENT = 'gaitway: dashboards and people';

-- At most 20 credits a month, which is 20 hours awake, whoever uses them: once dashboards have used them up, redrive,
-- audit and tail end too. A tail, which asks every 10 s, keeps the warehouse awake.
CREATE RESOURCE MONITOR IF NOT EXISTS GAITWAY_MONTHLY WITH
  CREDIT_QUOTA = 20
  FREQUENCY = MONTHLY
  START_TIMESTAMP = IMMEDIATELY
  TRIGGERS ON 75 PERCENT DO NOTIFY
           ON 100 PERCENT DO SUSPEND
           ON 110 PERCENT DO SUSPEND_IMMEDIATE;

ALTER WAREHOUSE GAITWAY_READ SET RESOURCE_MONITOR = GAITWAY_MONTHLY;

GRANT USAGE ON WAREHOUSE GAITWAY_READ TO ROLE GAITWAY_READER;
GRANT USAGE ON WAREHOUSE GAITWAY_READ TO ROLE GAITWAY_SINK;
GRANT USAGE, MONITOR, OPERATE ON WAREHOUSE GAITWAY_READ TO ROLE GAITWAY_OPERATOR;
