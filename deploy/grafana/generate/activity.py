"""The dashboard Activity: who does what, for how long, and how surely that is known."""

from grafana_foundation_sdk.builders.dashboard import Row

from generate import activity_compare, activity_now, activity_sessions, activity_weeks, panels
from generate.sources import WAREHOUSES

SOURCES = WAREHOUSES

ABOUT = """\
What the owners of the phones do, as windows of the accelerometer were classified (10 s long, every 2 s, unless \
configured otherwise). A window that was reclassified counts as classified last."""


def build(source):
    made = panels.board(source, "activity", "Activity", ABOUT, carried=("phone", "session", "zone"))
    for variable in (panels.phone(source), sessions(source), panels.zone(source)):
        made = made.with_variable(variable)
    sections = [
        (None, activity_now.PANELS),
        ("Sessions", activity_sessions.PANELS),
        ("Days and weeks", activity_weeks.PANELS),
        ("The phone's own word", activity_compare.PANELS),
    ]
    for title, section in sections:
        if title:
            made = made.with_row(Row(title))
        for panel in section:
            made = made.with_panel(panel(source))
    return made


def sessions(source):
    return panels.several(panels.session(source), "session_id")
