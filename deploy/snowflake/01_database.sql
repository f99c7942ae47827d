-- The database and its schemas. Names are fixed: they are those of the sink's defaults and of every file after this.

USE ROLE SYSADMIN;

CREATE DATABASE IF NOT EXISTS ACTIVITY_DB COMMENT = 'gaitway: activity of phones';

-- What the sink writes: readings and gaps, classified windows.
CREATE SCHEMA IF NOT EXISTS ACTIVITY_DB.RAW_DATA;
CREATE SCHEMA IF NOT EXISTS ACTIVITY_DB.PROCESSED_DATA;

-- What people and dashboards read: views, nothing else.
CREATE SCHEMA IF NOT EXISTS ACTIVITY_DB.ACTIVITY;
