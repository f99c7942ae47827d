"""Real recordings of the repository's tests as readings of a phone's accelerometer."""

import csv
import gzip
from dataclasses import dataclass, field
from pathlib import Path

DATA = Path(__file__).resolve().parents[3] / "tests/data"


@dataclass
class Reading:
    """One reading as the app sends it: its sensor, its time on the phone's clock, its values."""

    sensor: str
    time_ns: int
    values: dict
    more: dict = field(default_factory=dict)

    @property
    def xyz(self):
        """Its three axes, if these are all its values: what a warehouse has columns for."""
        if set(self.values) == {"x", "y", "z"} and all(type(v) in (int, float) for v in self.values.values()):
            return self.values["x"], self.values["y"], self.values["z"]
        return None


def trials(subject, names):
    """Trials of a subject (`motionsense/ms02`) one after the other, as (time_ns, x, y, z), moved to begin at 0."""
    rows = []
    for path in sorted((DATA / "har" / subject).glob("*.csv.gz")):
        if path.name.removesuffix(".csv.gz") in names:
            with gzip.open(path, "rt", newline="") as lines:
                rows.extend(
                    (int(row["time_ns"]), float(row["x"]), float(row["y"]), float(row["z"]))
                    for row in csv.DictReader(lines)
                )
    if not rows:
        raise FileNotFoundError(f"no trial of {names} in {DATA / 'har' / subject}")
    rows.sort()
    return rows


def packed(rows, pause_ns):
    """The same with what lies between trials cut down to a pause, from 0 on."""
    moved, before, shift = [], None, 0
    for time, x, y, z in rows:
        if before is None:
            shift = time
        elif time - before > 2_000_000_000:
            shift += time - before - pause_ns
        moved.append((time - shift, x, y, z))
        before = time
    return moved
