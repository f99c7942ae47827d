"""The dashboard Pipeline: whether what phones send arrives, how soon, whole and once, and what keeping it costs."""

from grafana_foundation_sdk.builders.dashboard import Row

from generate import panels, pipeline_checks, pipeline_cost, pipeline_flow
from generate.sources import WAREHOUSES

SOURCES = WAREHOUSES

ABOUT = """\
Whether what phones send arrives, how soon, whole and once, and what keeping it costs. Readings and pushes are in the \
time range by when they were measured, on the phone's clock; a push is there if its last reading is. What was measured \
outside the range is not looked at: `gaitway audit` holds everything against everything."""


def build(source):
    made = panels.board(source, "pipeline", "Pipeline", ABOUT, "now-6h", ("phone", "zone"))
    for variable in (panels.phone(source), panels.zone(source), *pipeline_cost.variables(source)):
        made = made.with_variable(variable)
    sections = [
        (None, pipeline_checks.OVERVIEW),
        ("How soon, and how much", pipeline_flow.PANELS),
        ("Whole, and once", pipeline_checks.PANELS),
        ("What keeping it costs", pipeline_cost.panels_of(source)),
    ]
    for title, section in sections:
        if title:
            made = made.with_row(Row(title))
        for panel in section:
            made = made.with_panel(panel(source))
    return made
