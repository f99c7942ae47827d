"""The dashboard Raw signals: any sensor of a session, as wide as the panel."""

from grafana_foundation_sdk.builders import geomap, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import AnnotationQuery
from grafana_foundation_sdk.models import dashboard as model

from generate import panels
from generate.series import with_pauses
from generate.slices import runs, slices
from generate.sources import WAREHOUSES

SOURCES = WAREHOUSES

ABOUT = """\
What a phone measured, sensor by sensor. Come here by a link from Activity, or choose a session. Where the range has \
more readings than the panel has dots, each dot stands for an interval: its mean, and around it a band from its least \
to its greatest value, so that no peak is lost."""

UNITS = (
    "Units are the app's: accelerometer and gravity m/s², gyroscope rad/s, magnetometer µT, barometer hPa and m, "
    "orientation rad, microphone dBFS, heart rate 1/min, light lux, pedometer steps, battery level 0 to 1."
)
NOTHING = "no readings: choose a longer time range or another sensor, or follow a link from Activity"


def build(source):
    made = panels.board(source, "raw", "Raw signals", ABOUT, "now-1h", ("phone", "session", "zone"), refresh="")
    for variable in variables(source):
        made = made.with_variable(variable)
    made = made.annotation(annotations(source))
    for panel in (labels, axes, values, positions, readings):
        made = made.with_panel(panel(source))
    return made


def variables(source):
    sensors = f"""
        SELECT sensor AS "sensor"
          FROM {source.view("raw_readings")}
         WHERE {of_session(source)}
         GROUP BY sensor
         ORDER BY CASE WHEN sensor = 'accelerometer' THEN 0 ELSE 1 END, sensor
    """
    told = "Sensors with readings of the session in this time range."
    return (
        panels.phone(source),
        panels.session(source),
        panels.variable(source, "sensor", "Sensor", told, sensors),
        panels.zone(source),
    )


def of_session(source):
    return f"""{source.readings_within()}
           AND {source.chosen("session_id", "session")}
           AND {source.chosen("device_id", "phone")}"""


def of_sensor(source):
    return f"""{of_session(source)}
           AND {source.chosen("sensor", "sensor")}"""


def annotations(source):
    """What was written on the phone, as lines in every panel over time."""
    sql = f"""
        SELECT {source.instant("at_ms")} AS "time", text AS "text"
          FROM (SELECT {source.ms_of_ns("time_ns")} AS at_ms, {source.json_text("reading", "values", "text")} AS text
                  FROM {source.view("raw_readings")}
                 WHERE {of_session(source)}
                   AND sensor = 'annotation') AS a
         ORDER BY at_ms
         LIMIT 500
    """
    made = AnnotationQuery().name("Annotations").datasource(source.ref).enable(True).icon_color(panels.WARN)
    return made.target(source.query(panels.tidy(sql), "Annotations"))


def labels(source):
    sql = f"""
        WITH {slices(source)}, {runs()},
        ended AS (
          SELECT activity, start_ms, end_ms, LEAD(start_ms) OVER (ORDER BY start_ms) AS next_ms FROM runs
        ), points AS (
          SELECT start_ms AS at_ms, activity FROM ended
          UNION ALL
          SELECT end_ms, NULL FROM ended WHERE next_ms IS NULL OR next_ms > end_ms
        )
        SELECT {source.instant("at_ms")} AS "time", activity AS "Activity"
          FROM points
         ORDER BY at_ms
    """
    told = "What the windows of the session were classified as, from when that began until it ended."
    made = panels.panel(
        statetimeline.Panel(), source, "Activity", told, sql, unit="string", width=24, height=4,
        no_value="no window of this session begins in this time range",
    )
    made = (
        made.mappings([panels.activity_mapping()])
        .merge_values(True)
        .fill_opacity(85)
        .line_width(0)
        .legend(panels.no_legend())
    )
    return panels.unpaged(made)


def axes(source):
    values = [f"{axis}_{which}" for axis in panels.AXES for which in ("mean", "least", "greatest")]
    grouped = ",\n                 ".join(
        f"AVG({axis}) AS {axis}_mean, MIN({axis}) AS {axis}_least, MAX({axis}) AS {axis}_greatest"
        for axis in panels.AXES
    )
    told_as = ",\n               ".join(
        f'{source.real(f"{axis}_mean")} AS "{axis}", {source.real(f"{axis}_least")} AS "{axis} least", '
        f'{source.real(f"{axis}_greatest")} AS "{axis} greatest"'
        for axis in panels.AXES
    )
    sql = f"""
        WITH measured AS (
          SELECT {source.bucket(source.ms_of_ns("time_ns"))} AS bucket_ms, x, y, z,
                 SQRT(x * x + y * y + z * z) AS magnitude
            FROM {source.view("raw_readings")}
           WHERE {of_sensor(source)}
             AND (x IS NOT NULL OR y IS NOT NULL OR z IS NOT NULL)
        ), buckets AS (
          SELECT bucket_ms,
                 {grouped}
            FROM measured
           GROUP BY bucket_ms
        ), {with_pauses(source, "buckets", [], values, 2_000)}
        SELECT {source.instant("bucket_ms")} AS "time",
               {told_as}
          FROM points
         ORDER BY bucket_ms
    """
    told = (
        "The three axes and their magnitude sqrt(x²+y²+z²): the mean in each interval, and a band from the least to "
        f"the greatest value. {UNITS}"
    )
    made = panels.panel(
        timeseries.Panel(), source, "$sensor: x, y, z and magnitude", told, sql, unit="none", width=24, height=11,
        no_value=NOTHING,
    )
    made = (
        made.interval("10ms")
        .max_data_points(1500)
        .decimals(3)
        .axis_label("in the sensor's unit")
        .tooltip(panels.all_in_tooltip())
        .legend(panels.legend())
    )
    return bands(made)


def bands(made):
    """The mean as a line, between the least and the greatest value a band."""
    silent = panels.prop("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False})
    for axis, shade in panels.AXES.items():
        made = (
            made.override_by_name(axis, [panels.fixed(shade), panels.prop("custom.lineWidth", 1)])
            .override_by_name(f"{axis} least", [panels.fixed(shade), panels.prop("custom.lineWidth", 0), silent])
            .override_by_name(f"{axis} greatest", [
                panels.fixed(shade), panels.prop("custom.lineWidth", 0), silent,
                panels.prop("custom.fillBelowTo", f"{axis} least"), panels.prop("custom.fillOpacity", 25)])
        )
    return made


def values(source):
    join, condition, name, value = source.json_numbers("r.reading", "values")
    columns = ["mean", "least", "greatest"]
    sql = f"""
        WITH chosen AS (
          SELECT {source.bucket(source.ms_of_ns("time_ns"))} AS bucket_ms, reading
            FROM {source.view("raw_readings")}
           WHERE {of_sensor(source)}
             AND reading IS NOT NULL
        ), measured AS (
          SELECT r.bucket_ms, {source.text(name)} AS name, {value} AS value
            FROM chosen AS r {join}
           WHERE {condition}
        ), buckets AS (
          SELECT bucket_ms, name, AVG(value) AS mean, MIN(value) AS least, MAX(value) AS greatest
            FROM measured
           GROUP BY bucket_ms, name
        ), {with_pauses(source, "buckets", ["name"], columns, 30_000)}
        SELECT {source.instant("bucket_ms")} AS "time",
               name AS "Value",
               {", ".join(f'{source.real(column)} AS "{column}"' for column in columns)}
          FROM points
         ORDER BY bucket_ms, name
    """
    told = (
        "Every number that the sensor sends, or spells as text, and that is not one of three axes: the mean in each "
        f"interval as a line, the least and the greatest value as dashes. {UNITS}"
    )
    made = panels.panel(
        timeseries.Panel(), source, "$sensor: other values", told, sql, unit="none", width=13, height=10,
        no_value="this sensor sends x, y and z alone, or nothing in this time range",
    )
    dashed = [
        panels.prop("custom.lineStyle", {"dash": [3, 3], "fill": "dash"}),
        panels.prop("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False}),
    ]
    return (
        made.interval("10ms")
        .max_data_points(1000)
        .decimals(3)
        .axis_label("in the sensor's unit")
        .with_transformation(panels.split_by("Value"))
        .color_scheme(panels.color(panels.BY_NAME))
        .override_by_name("mean", [panels.prop("displayName", "${__field.labels.Value}")])
        .override_by_name("least", [panels.prop("displayName", "${__field.labels.Value} least"), *dashed])
        .override_by_name("greatest", [panels.prop("displayName", "${__field.labels.Value} greatest"), *dashed])
    )


def positions(source):
    sql = f"""
        WITH placed AS (
          SELECT {source.ms_of_ns("time_ns")} AS at_ms, {source.bucket(source.ms_of_ns("time_ns"))} AS bucket_ms,
                 time_ns, latitude, longitude, altitude, speed, horizontal_accuracy
            FROM {source.view("locations")}
           WHERE {of_session(source)}
             AND latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180
        ), ranked AS (
          SELECT at_ms, latitude, longitude, altitude, speed, horizontal_accuracy,
                 ROW_NUMBER() OVER (PARTITION BY bucket_ms ORDER BY time_ns) AS place
            FROM placed
        )
        SELECT {source.instant("at_ms")} AS "time",
               latitude AS "latitude",
               longitude AS "longitude",
               speed AS "Speed",
               altitude AS "Altitude",
               horizontal_accuracy AS "Accuracy"
          FROM ranked
         WHERE place = 1
         ORDER BY at_ms
    """
    told = (
        "Where the phone was, coloured by its own speed: the first position of each interval. Accuracy is the radius "
        "that the phone gives; positions may have been rounded before they were stored."
    )
    made = panels.panel(
        geomap.Panel(), source, "Positions", told, sql, unit="velocityms", width=11, height=10,
        no_value="no positions of this session in this time range",
    )
    layer = {
        "type": "markers",
        "name": "Positions",
        "tooltip": True,
        "location": {"mode": "coords", "latitude": "latitude", "longitude": "longitude"},
        "config": {
            "showLegend": True,
            "style": {
                "size": {"fixed": 4},
                "opacity": 0.7,
                "color": {"field": "Speed", "fixed": panels.GOOD},
                "symbol": {"mode": "fixed", "fixed": "img/icons/marker/circle.svg"},
            },
        },
    }
    controls = geomap.ControlsOptions().show_zoom(True).mouse_wheel_zoom(True).show_attribution(True).show_scale(True)
    return (
        made.interval("1s")
        .max_data_points(1000)
        .view(geomap.MapViewConfig().id("fit").all_layers(True).padding(10))
        .controls(controls)
        .basemap(panels.Literal({"type": "default", "name": "Map"}))
        .layers([panels.Literal(layer)])
        .color_scheme(panels.color(model.FieldColorModeId.CONTINUOUS_BL_YL_RD))
        .override_by_name("Altitude", [panels.prop("unit", "lengthm")])
        .override_by_name("Accuracy", [panels.prop("unit", "lengthm")])
        .override_by_name("latitude", [panels.prop("unit", "degree"), panels.prop("decimals", 6)])
        .override_by_name("longitude", [panels.prop("unit", "degree"), panels.prop("decimals", 6)])
    )


def readings(source):
    middle = source.whole(f"({source.from_ns} + {source.to_ns})", "2")
    sql = f"""
        SELECT {source.instant("at_ms")} AS "Time",
               x AS "x",
               y AS "y",
               z AS "z",
               {source.real("SQRT(x * x + y * y + z * z)")} AS "Magnitude",
               accuracy AS "Accuracy",
               {source.text("reading")} AS "Reading",
               message_id AS "Message",
               reading_index AS "Index",
               {source.instant("received_ms")} AS "Received",
               {panels.around("at_ms", "at_ms", 1_800_000)},
               at_ms - 5000 AS "near_from_ms", at_ms + 5000 AS "near_to_ms"
          FROM (SELECT {source.ms_of_ns("time_ns")} AS at_ms, time_ns, x, y, z, accuracy, reading, message_id,
                       reading_index, {source.ms("received_at")} AS received_ms
                  FROM {source.view("raw_readings")}
                 WHERE {of_sensor(source)}
                 ORDER BY ABS(time_ns - {middle}), message_id, reading_index
                 LIMIT 500) AS r
         ORDER BY time_ns, message_id, reading_index
    """
    told = (
        "The 500 readings of the sensor nearest to the middle of the time range, as stored. Reading: what is not one "
        f"of three axes, as JSON. Message and Index: the push and the place in it. {UNITS}"
    )
    made = panels.panel(
        table.Panel(), source, "$sensor: readings around the middle", told, sql, unit="none",
        times=("Time", "Received"), width=24, height=10, no_value="-",
    )
    precise = [panels.prop("unit", "time:YYYY-MM-DD HH:mm:ss.SSS"), panels.prop("custom.width", 190)]
    near = panels.prop("links", [
        panels.chosen_link(source, "These signals, five seconds around", "raw", "near_from_ms", "near_to_ms"),
        panels.chosen_link(source, "Activity, half an hour around", "activity", *panels.FOR_LINKS),
    ])
    made = made.override_by_name("Time", [*precise, near]).override_by_name("Received", precise)
    for column in ("near_from_ms", "near_to_ms", *panels.FOR_LINKS):
        made = made.override_by_name(column, panels.hidden(made))
    for name in ("x", "y", "z", "Magnitude"):
        made = made.override_by_name(name, [panels.prop("decimals", 4)])
    return made.override_by_name("Reading", [panels.prop("custom.inspect", True)])
