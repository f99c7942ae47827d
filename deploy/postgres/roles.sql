-- The users of gaitway's database. Run it as the server's administrator, connected to that database; it may be run again, and
-- must be once more after the sink's first start, when its tables are there.
--
-- Replace before you run this: CHANGE ME, three passwords. \password in psql changes one later.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gaitway_sink') THEN
    CREATE ROLE gaitway_sink LOGIN PASSWORD 'CHANGE ME';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gaitway_reader') THEN
    CREATE ROLE gaitway_reader LOGIN PASSWORD 'CHANGE ME';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gaitway_operator') THEN
    CREATE ROLE gaitway_operator LOGIN PASSWORD 'CHANGE ME';
  END IF;
END
$$;

DO $$
BEGIN
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO gaitway_sink, gaitway_reader, gaitway_operator', current_database());
  EXECUTE format('GRANT CREATE ON DATABASE %I TO gaitway_sink', current_database());
END
$$;

-- Sink: owns the schemas and whatever it creates in them, so that it can make partitions, drop old ones and renew views.
-- CREATE on the database, above, is for CREATE SCHEMA IF NOT EXISTS, which PostgreSQL refuses without it even where they exist.
CREATE SCHEMA IF NOT EXISTS raw_data AUTHORIZATION gaitway_sink;
CREATE SCHEMA IF NOT EXISTS processed_data AUTHORIZATION gaitway_sink;
CREATE SCHEMA IF NOT EXISTS activity AUTHORIZATION gaitway_sink;

-- Reader, for Grafana: the views. These read the tables by their owner's right, so the tables themselves stay closed.
GRANT USAGE ON SCHEMA activity TO gaitway_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA activity TO gaitway_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE gaitway_sink IN SCHEMA activity GRANT SELECT ON TABLES TO gaitway_reader;
ALTER ROLE gaitway_reader SET default_transaction_read_only = on;
ALTER ROLE gaitway_reader SET statement_timeout = '60s';

-- Operator, for `gaitway tail`, `audit`, `reclassify --write` and `forget`: reads everything, deletes readings and windows, adds
-- windows. It cannot move a mark.
GRANT USAGE ON SCHEMA raw_data, processed_data, activity TO gaitway_operator;
GRANT SELECT ON ALL TABLES IN SCHEMA raw_data, processed_data, activity TO gaitway_operator;
ALTER DEFAULT PRIVILEGES FOR ROLE gaitway_sink IN SCHEMA raw_data GRANT SELECT ON TABLES TO gaitway_operator;
ALTER DEFAULT PRIVILEGES FOR ROLE gaitway_sink IN SCHEMA processed_data GRANT SELECT ON TABLES TO gaitway_operator;
ALTER DEFAULT PRIVILEGES FOR ROLE gaitway_sink IN SCHEMA activity GRANT SELECT ON TABLES TO gaitway_operator;
DO $$
BEGIN
  IF to_regclass('raw_data.gaps') IS NOT NULL THEN
    GRANT DELETE ON raw_data.activity_records TO gaitway_operator;
    GRANT INSERT, DELETE ON processed_data.user_activity_processed TO gaitway_operator;
    GRANT INSERT ON raw_data.gaps TO gaitway_operator;
  END IF;
END
$$;
