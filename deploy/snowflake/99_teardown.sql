-- DANGER: this removes gaitway from the account, with every reading that it holds.
--
-- As it stands it does nothing: each statement is commented out, and is taken back in by removing its leading dashes.
-- Stop the sink first. A dropped database can be brought back with UNDROP DATABASE for as long as Time Travel reaches:
-- one day, unless you raised it.

-- Users and their policies: nobody of gaitway can log in from here on.
-- USE ROLE SECURITYADMIN;
-- DROP USER IF EXISTS GAITWAY_SINK_SERVICE;
-- DROP USER IF EXISTS GAITWAY_GRAFANA_SERVICE;
-- DROP NETWORK POLICY IF EXISTS GAITWAY_SINK_ADDRESSES;
-- DROP NETWORK POLICY IF EXISTS GAITWAY_GRAFANA_ADDRESSES;

-- The warehouse: no data in it.
-- USE ROLE ACCOUNTADMIN;
-- DROP WAREHOUSE IF EXISTS GAITWAY_READ;
-- DROP RESOURCE MONITOR IF EXISTS GAITWAY_MONTHLY;

-- Roles.
-- USE ROLE SECURITYADMIN;
-- DROP ROLE IF EXISTS GAITWAY_SINK;
-- DROP ROLE IF EXISTS GAITWAY_OPERATOR;
-- DROP ROLE IF EXISTS GAITWAY_READER;

-- The data.
-- USE ROLE SYSADMIN;
-- DROP DATABASE IF EXISTS ACTIVITY_DB;
