"""`python3 -m generate` writes all dashboards; `--check` says which of those committed differ, and fails."""

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

import generate
from generate import alerts

ROOT = Path(__file__).resolve().parent.parent


def dashboards():
    """Every dashboard as path below `ROOT` and JSON text, in order.

    A module of this package that has `SOURCES` is a dashboard: its name is the file's, `build(source)` makes it for
    one of its data sources.
    """
    for module in sorted(info.name for info in pkgutil.iter_modules(generate.__path__)):
        loaded = importlib.import_module(f"generate.{module}")
        for source in getattr(loaded, "SOURCES", ()):
            built = numbered(loaded.build(source).build())
            text = json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
            yield Path("dashboards") / source.folder / f"{module}.json", text + "\n"


def numbered(dashboard):
    """Gives every panel its id: its place, so that the same source gives the same file."""
    panels = [panel for top in dashboard.panels for panel in (top, *(getattr(top, "panels", None) or ()))]
    for number, panel in enumerate(panels, 1):
        panel.id_val = number
    return dashboard


def check(wanted):
    """What is committed and should not be so: a line for each."""
    for path, text in wanted.items():
        committed = ROOT / path
        if not committed.exists():
            yield f"{path} is missing"
        elif committed.read_text(encoding="utf-8") != text:
            yield f"{path} differs from what its module makes"
    for found in sorted((ROOT / "dashboards").rglob("*.json")):
        if found.relative_to(ROOT) not in wanted:
            yield f"{found.relative_to(ROOT)} is made by no module"


def write(wanted):
    for path, text in wanted.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
    for found in sorted((ROOT / "dashboards").rglob("*.json")):
        if found.relative_to(ROOT) not in wanted:
            found.unlink()


def main():
    parser = argparse.ArgumentParser(prog="python3 -m generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    arguments = parser.parse_args()
    wanted = dict(dashboards()) | dict(alerts.files())
    if not arguments.check:
        write(wanted)
        return 0
    wrong = list(check(wanted))
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        print("run `python3 -m generate` in deploy/grafana and commit what it writes", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
