-- Two service users that log in by key pair, from known addresses only.
--
-- Replace before you run this, or it stops at the first key:
--   SINK_PUBLIC_KEY, GRAFANA_PUBLIC_KEY   the base64 lines of the public keys, joined (README.md says how)
--   192.0.2.10, 192.0.2.20                the addresses from which the sink and Grafana come

USE ROLE SECURITYADMIN;

CREATE USER IF NOT EXISTS GAITWAY_SINK_SERVICE
  TYPE = SERVICE
  DEFAULT_ROLE = GAITWAY_SINK
  DEFAULT_WAREHOUSE = GAITWAY_READ
  COMMENT = 'gaitway sink';
-- Snowpipe Streaming takes the user's default role: there is no other place to name it.
ALTER USER GAITWAY_SINK_SERVICE SET DEFAULT_ROLE = GAITWAY_SINK;
-- For the questions of a redrive; audit and tail want it named, `snowflake.warehouse`. Appending and doctor use none.
ALTER USER GAITWAY_SINK_SERVICE SET DEFAULT_WAREHOUSE = GAITWAY_READ;
ALTER USER GAITWAY_SINK_SERVICE SET RSA_PUBLIC_KEY = 'SINK_PUBLIC_KEY';
GRANT ROLE GAITWAY_SINK TO USER GAITWAY_SINK_SERVICE;

CREATE USER IF NOT EXISTS GAITWAY_GRAFANA_SERVICE
  TYPE = SERVICE
  DEFAULT_ROLE = GAITWAY_READER
  DEFAULT_WAREHOUSE = GAITWAY_READ
  COMMENT = 'dashboards over the views of gaitway';
ALTER USER GAITWAY_GRAFANA_SERVICE SET DEFAULT_ROLE = GAITWAY_READER;
ALTER USER GAITWAY_GRAFANA_SERVICE SET DEFAULT_WAREHOUSE = GAITWAY_READ;
ALTER USER GAITWAY_GRAFANA_SERVICE SET RSA_PUBLIC_KEY = 'GRAFANA_PUBLIC_KEY';
GRANT ROLE GAITWAY_READER TO USER GAITWAY_GRAFANA_SERVICE;

-- The operator is a person with a login of their own:
-- GRANT ROLE GAITWAY_OPERATOR TO USER ...;

-- A stolen key is worth nothing elsewhere. Until the addresses are yours, nobody gets in. The sink's user gets in from
-- the sink's addresses only, so tail, audit, redrive and doctor, which log in as it, are refused from anywhere else.
CREATE NETWORK POLICY IF NOT EXISTS GAITWAY_SINK_ADDRESSES
  ALLOWED_IP_LIST = ('192.0.2.10')
  COMMENT = 'where the gaitway sink runs';
ALTER NETWORK POLICY GAITWAY_SINK_ADDRESSES SET ALLOWED_IP_LIST = ('192.0.2.10');
ALTER USER GAITWAY_SINK_SERVICE SET NETWORK_POLICY = GAITWAY_SINK_ADDRESSES;

CREATE NETWORK POLICY IF NOT EXISTS GAITWAY_GRAFANA_ADDRESSES
  ALLOWED_IP_LIST = ('192.0.2.20')
  COMMENT = 'where Grafana runs';
ALTER NETWORK POLICY GAITWAY_GRAFANA_ADDRESSES SET ALLOWED_IP_LIST = ('192.0.2.20');
ALTER USER GAITWAY_GRAFANA_SERVICE SET NETWORK_POLICY = GAITWAY_GRAFANA_ADDRESSES;
