"""What a run found, as `gaitway reclassify` tells it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from compare import Outcome
from recompute import Recomputed
from windows import SECOND, Params

SUMS = "sessions windows changes relabelled measuredAnew onlyHere onlyThere byMean open other silences".split()

NOTES = {
    "measuredAnew": "with another mean or count too: other readings counted when they were told",
    "onlyHere": "not in the warehouse although their session is past them",
    "onlyThere": "in the warehouse, of whose readings none should count: silence is a guess here",
    "byMean": "without all of their readings in the warehouse, by their stored mean: the label is exact, the confidence takes the session's rate from the windows around",
    "open": "not in the warehouse and still the agent's to close: left alone",
    "other": "of another length or without what is needed: left alone",
}


def sums(recomputed: Recomputed, outcome: Outcome) -> list[int]:
    """Of one session, in the order of `SUMS`."""
    changes = outcome.changes
    relabelled, anew = (
        sum(told) for told in ([c.is_relabelled() for c in changes], [c.is_measured_anew() for c in changes])
    )
    only_here = sum(change.old is None for change in changes)
    counts = (1, outcome.windows, len(changes), relabelled, anew, only_here)
    return [*counts, outcome.only_there, outcome.by_mean, outcome.open, outcome.other, recomputed.silences]


@dataclass
class Report:
    params: Params
    sums: dict[str, int]
    lines: list[dict]
    written: int | None = field(default=None)

    def to_json(self, source: str) -> str:
        head = {"warehouse": source, "classifier": self.params.rule.name()}
        return json.dumps(head | self.sums | {"lines": self.lines, "written": self.written}, indent=2)

    def to_text(self, source: str) -> str:
        window, slide = (f"{value / SECOND:g}s" for value in (self.params.window, self.params.slide))
        text = [f"{source}: {self.params.rule.name()}, windows of {window} every {slide}", ""]
        if self.lines:
            text += [*_table(self.lines), ""]
        text += [f"note: {_windows(self.sums[key])} {what}" for key, what in NOTES.items() if self.sums[key]]
        if self.sums["silences"]:
            text.append(
                f"note: silence is taken to have closed windows {self.sums['silences']} times, by when the agent had the pushes"
            )
        return "\n".join([*text, self._verdict()])

    def _verdict(self) -> str:
        sums, s = self.sums, "" if self.sums["sessions"] == 1 else "s"
        of = f"{_windows(sums['windows'])} of {sums['sessions']} session{s}"
        if not sums["changes"]:
            return f"nothing to do: {of} are as the warehouse has them"
        if self.written == 0:
            return f"nothing is new: {sums['changes']} of {of} differ, and their next revisions are there already"
        if self.written is not None:
            return f"written: {self.written} revisions among {of}, {sums['relabelled']} with another label"
        return f"{sums['changes']} of {of} differ, {sums['relabelled']} in their label; nothing was written: --write, --out or --topic stores them as next revisions"


def gather(found: DataFrame, params: Params) -> Report:
    """Computes everything."""
    counts = [F.sum(F.col("sums")[at]).alias(name) for at, name in enumerate(SUMS)]
    total = found.where("sums IS NOT NULL").agg(*counts).first()
    by = found.where("sums IS NULL").groupBy("device", "was", F.col("activity").alias("is"))
    lines = by.agg(F.count("*").alias("windows"), F.sum(F.col("by_mean").cast("long")).alias("byMean"))
    lines = [line.asDict() for line in lines.orderBy("device", "was", "is").collect()]
    lines = [line | {"device": line["device"] if line["device"] is not None else "(none)"} for line in lines]
    return Report(params, {name: total[name] or 0 for name in SUMS}, lines)


def _table(lines: list[dict]) -> list[str]:
    rows = [("DEVICE", "WAS", "IS", "WINDOWS", "BY STORED MEAN")]
    rows += [tuple(_plain(line[key]) for key in ("device", "was", "is", "windows", "byMean")) for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return [
        "  ".join(
            cell.ljust(width) if at < 3 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _plain(value: object) -> str:
    """Text that cannot move a terminal's cursor."""
    return "-" if value is None else "".join(letter if letter.isprintable() else "\ufffd" for letter in str(value))


def _windows(count: int) -> str:
    return f"{count} window{'' if count == 1 else 's'}"
