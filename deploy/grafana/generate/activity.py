"""The dashboard Activity: who does what, for how long, and how surely that is known."""

from grafana_foundation_sdk.builders import timeseries

from generate import panels
from generate.sources import WAREHOUSES

SOURCES = WAREHOUSES


def build(source):
    made = panels.board(source, "activity", "Activity", "What the phones' owners do, window by window.")
    made = made.with_variable(panels.phone(source)).with_variable(panels.session(source))
    return made.with_variable(panels.zone(source)).with_panel(magnitude(source))


def magnitude(source):
    sql = f"""
        SELECT {source.instant("bucket_ms")} AS "time",
               device_id AS "Phone",
               {source.real("AVG(avg_magnitude)")} AS "Magnitude"
          FROM (SELECT device_id, avg_magnitude, {source.bucket(source.ms("window_start"))} AS bucket_ms
                  FROM {source.view("activity_windows")}
                 WHERE {source.windows_within()}
                   AND {source.chosen("device_id", "phone")}) AS w
         GROUP BY bucket_ms, device_id
         ORDER BY bucket_ms, device_id
    """
    told = "Mean over the windows that begin in each interval, of their mean magnitude sqrt(x²+y²+z²)."
    made = panels.panel(
        timeseries.Panel(), source, "Average magnitude", told, sql, unit="accMS2", width=24, height=8
    )
    return made.interval("2s").with_transformation(panels.split_by("Phone"))
