"""Snowflake's accounts of usage, as its documentation describes them, with rows that are known: nobody else can fill them."""

from dataclasses import dataclass

from check.scenario import moment_ms

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Hour:
    at_ms: int
    service_type: str
    name: str
    database_name: str | None
    credits_used: float
    bytes: int


@dataclass(frozen=True)
class Kept:
    catalog: str
    schema: str
    table: str
    active: int
    time_travel: int
    failsafe: int


def hours():
    """Three weeks of hours; some of another warehouse, another database, another service."""
    begin, found = moment_ms("2025-03-10T00:00:00"), []
    for number in range(0, 21 * 24, 5):
        at = begin + number * HOUR_MS
        found += [
            Hour(at, "WAREHOUSE_METERING", "GAITWAY_READ", None, 0.15 + number / 10_000, 0),
            Hour(at, "WAREHOUSE_METERING", "ANOTHER", None, 5.0, 0),
            Hour(at, "SNOWPIPE_STREAMING", "ACTIVITY_RECORDS-STREAMING", "ACTIVITY_DB", 0.001, 40_000_000 + number),
            Hour(at, "SNOWPIPE_STREAMING", "THEIRS", "OTHER_DB", 3.0, 999),
        ]
        if number % 24 == 0:
            found.append(Hour(at, "AUTO_CLUSTERING", "ACTIVITY_RECORDS", "ACTIVITY_DB", 0.002, 0))
    return found


HOURS = hours()
KEPT = (
    Kept("ACTIVITY_DB", "RAW_DATA", "ACTIVITY_RECORDS", 4_000_000, 300_000, 70_000),
    # A table that was dropped and made anew has two lines.
    Kept("ACTIVITY_DB", "RAW_DATA", "ACTIVITY_RECORDS", 0, 0, 90_000),
    Kept("ACTIVITY_DB", "PROCESSED_DATA", "USER_ACTIVITY_PROCESSED", 50_000, 0, 0),
    Kept("OTHER_DB", "PUBLIC", "THEIRS", 9, 9, 9),
)


def statements():
    """In DuckDB's words."""
    yield "CREATE SCHEMA ACCOUNT_USAGE"
    yield ("CREATE TABLE ACCOUNT_USAGE.METERING_HISTORY (service_type VARCHAR, start_time TIMESTAMPTZ, name VARCHAR, "
           "database_name VARCHAR, credits_used DOUBLE, bytes DOUBLE)")
    for one in HOURS:
        database = f"'{one.database_name}'" if one.database_name else "NULL"
        yield (f"INSERT INTO ACCOUNT_USAGE.METERING_HISTORY VALUES ('{one.service_type}', "
               f"make_timestamp({one.at_ms} * 1000) AT TIME ZONE 'UTC', '{one.name}', {database}, {one.credits_used}, "
               f"{one.bytes})")
    yield ("CREATE TABLE ACCOUNT_USAGE.TABLE_STORAGE_METRICS (table_catalog VARCHAR, table_schema VARCHAR, "
           "table_name VARCHAR, active_bytes BIGINT, time_travel_bytes BIGINT, failsafe_bytes BIGINT)")
    for one in KEPT:
        yield (f"INSERT INTO ACCOUNT_USAGE.TABLE_STORAGE_METRICS VALUES ('{one.catalog}', '{one.schema}', '{one.table}', "
               f"{one.active}, {one.time_travel}, {one.failsafe})")
