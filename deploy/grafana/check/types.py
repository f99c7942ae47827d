"""Dashboards against Grafana's own TypeScript types, compiled strictly as constants.

Each panel, its options, its plugin's field options and every override is a constant of its own, so that a property that
Grafana does not know is an error, and not only a value of the wrong type.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path

from check import queries

STRUCTURE = Path(__file__).resolve().parent / "structure"
#: The file with a panel's types, by its type in JSON.
KINDS = {
    "barchart": "barchart/panelcfg/x/BarChartPanelCfg_types.gen",
    "bargauge": "bargauge/panelcfg/x/BarGaugePanelCfg_types.gen",
    "gauge": "gauge/panelcfg/x/GaugePanelCfg_types.gen",
    "geomap": "geomap/panelcfg/x/GeomapPanelCfg_types.gen",
    "piechart": "piechart/panelcfg/x/PieChartPanelCfg_types.gen",
    "stat": "stat/panelcfg/x/StatPanelCfg_types.gen",
    "state-timeline": "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen",
    "table": "table/panelcfg/x/TablePanelCfg_types.gen",
    "text": "text/panelcfg/x/TextPanelCfg_types.gen",
    "timeseries": "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen",
}
#: Panels whose plugins have field options of their own.
WITH_FIELDS = {"barchart", "piechart", "state-timeline", "table", "timeseries"}
CONFIG = {
    "compilerOptions": {
        "strict": True, "noEmit": True, "skipLibCheck": True, "target": "es2022", "module": "esnext",
        "moduleResolution": "bundler", "types": [],
    },
    "include": ["*.ts"],
}


class Constants:
    """The lines of one file, and of which thing each constant is."""

    def __init__(self, name):
        self.name, self.kinds, self.lines = name, set(), []

    def add(self, kind, what, value):
        """`what` is a comment, so that an error can be told by it."""
        self.lines.append(f"// {what}\nexport const c{len(self.lines)}: {kind} = {json.dumps(value, ensure_ascii=False)};")

    def text(self):
        imports = [
            'import type { AnnotationQuery, Dashboard, FieldConfig, Panel, RowPanel, VariableModel } from "@grafana/schema/dist/esm/'
            'raw/dashboard/x/dashboard_types.gen.d.ts";',
            'import type { Automatic, Plain, Some } from "./types";',
        ]
        for kind in sorted(self.kinds):
            imports.append(f'import type * as {alias(kind)} from "@grafana/schema/dist/esm/raw/composable/{KINDS[kind]}.d.ts";')
        return "\n".join(imports + self.lines) + "\n"


def alias(kind):
    return re.sub(r"\W", "_", kind)


def add_panel(constants, panel):
    what, kind = panel["title"], panel["type"]
    if kind == "row":
        constants.add("Plain<RowPanel>", f"row {what}", panel | {"panels": []})
        return
    bare = {key: value for key, value in panel.items() if key not in ("options", "fieldConfig")}
    constants.add("Plain<Omit<Panel, 'options' | 'fieldConfig'>>", f"panel {what}", bare)
    fields = panel.get("fieldConfig", {})
    defaults = {key: value for key, value in fields.get("defaults", {}).items() if key != "custom"}
    constants.add("Plain<FieldConfig>", f"fields of {what}", defaults)
    if kind not in KINDS:
        constants.lines.append(f"// panel {what}\nexport const unknown_{len(constants.lines)}: never = {json.dumps(kind)};")
        return
    constants.kinds.add(kind)
    name = alias(kind)
    constants.add(f"Some<Plain<{name}.Options>>", f"options of {what}", panel.get("options", {}))
    own = f"Some<Plain<{name}.FieldConfig>>" if kind in WITH_FIELDS else "Record<string, never>"
    constants.add(own, f"custom fields of {what}", fields.get("defaults", {}).get("custom", {}))
    for override in fields.get("overrides", []):
        whom = f"override {override['matcher']['options']!r} of {what}"
        standard, custom = {}, {}
        for one in override["properties"]:
            head, _, rest = one["id"].partition(".")
            (custom if head == "custom" else standard)[rest or head] = one["value"]
        constants.add("Plain<FieldConfig>", whom, standard)
        constants.add(own, whom, custom)


def constants_of(source, name, dashboard):
    found = Constants(f"{source}-{name}")
    bare = {key: value for key, value in dashboard.items() if key not in ("panels", "templating", "annotations")}
    found.add("Plain<Omit<Dashboard, 'panels' | 'templating' | 'annotations'>>", "the dashboard", bare)
    for variable in dashboard.get("templating", {}).get("list", []):
        found.add("Plain<VariableModel> & Automatic", f"variable {variable['name']}", variable)
    for annotation in dashboard.get("annotations", {}).get("list", []):
        # What is asked is the data source's, for which Grafana has no type.
        bare = {key: value for key, value in annotation.items() if key != "target"}
        found.add("Plain<Omit<AnnotationQuery, 'target'>>", f"annotation {annotation['name']}", bare)
    for panel in queries.panels(dashboard):
        add_panel(found, panel)
    return found


def wrong(node):
    """What the compiler says, a line for each error, with the thing that it is about."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "node_modules").symlink_to(Path(node) / "node_modules")
        (folder / "types.d.ts").write_text((STRUCTURE / "types.d.ts").read_text())
        (folder / "tsconfig.json").write_text(json.dumps(CONFIG))
        for one in queries.dashboards():
            constants = constants_of(*one)
            (folder / f"{constants.name}.ts").write_text(constants.text(), encoding="utf-8")
        done = subprocess.run(["node", "node_modules/typescript/bin/tsc", "--pretty", "false", "-p", "."], cwd=folder,
                              capture_output=True, text=True)
        for line in done.stdout.splitlines():
            found = re.match(r"([\w-]+)\.ts\((\d+),\d+\): (.*)", line)
            if found:
                lines = (folder / f"{found[1]}.ts").read_text(encoding="utf-8").splitlines()
                yield f"{found[1]}: {lines[int(found[2]) - 2].removeprefix('// ')}: {found[3]}"
            elif not line.startswith(" "):
                yield line
        if done.returncode and not done.stdout:
            yield f"tsc: {done.stderr}"
