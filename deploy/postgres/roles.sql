-- The users of gaitway's database. Run it as the server's administrator, connected to that database; it may be run again, and
-- must be once more after the sink's first start, when its tables are there.
--
-- Replace before you run this: CHANGE ME, three passwords. A user that is there already keeps its own; \password in psql
-- changes one later.

DO $$
DECLARE
  of_sink text := 'CHANGE ME';
  of_reader text := 'CHANGE ME';
  of_operator text := 'CHANGE ME';
  wanted record;
BEGIN
  FOR wanted IN SELECT * FROM (VALUES
    ('gaitway_sink', of_sink), ('gaitway_reader', of_reader), ('gaitway_operator', of_operator)) AS u (name, password)
    WHERE name NOT IN (SELECT rolname FROM pg_roles)
  LOOP
    IF wanted.password LIKE 'CHANGE%' OR wanted.password = '' THEN
      RAISE EXCEPTION 'user % is not created: roles.sql has no password for it', wanted.name
        USING HINT = 'Put passwords in place of the three of lines 9, 10 and 11, and run the file again.';
    END IF;
    EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', wanted.name, wanted.password);
  END LOOP;
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
