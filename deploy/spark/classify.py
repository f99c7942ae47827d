"""A window's label and the probability that it is right: the agent's rule `threshold` (agent/src/classify.rs)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

#: P(moving) and P(running | moving) at the default thresholds: slope and midpoint of a logistic in ln(mean).
FITTED = ((4.01, 0.908), (9.31, 7.75))

#: Slopes at other thresholds, which are the midpoints then.
SLOPES = (3.7, 6.8)

#: What is known without any reading: one of three coarse classes.
PRIOR = 1.0 / 3.0

#: The share of a window's readings at which half of what they tell is left.
HALF = 0.001

LABELS = ("stationary", "walking", "running", "sprinting")


@dataclass(frozen=True)
class Threshold:
    """Means below `stationary` are stationary, below `walking` walking, below `running` running, others sprinting."""

    stationary: float = 2.0
    walking: float = 8.0
    running: float = 20.0

    def __post_init__(self) -> None:
        if not 0.0 < self.stationary < self.walking < self.running < math.inf:
            raise ValueError(f"thresholds {self.spelled()} must be above 0 and each greater than the one before")

    @classmethod
    def read(cls, text: str) -> Threshold:
        """From `1/9.5/20`."""
        try:
            stationary, walking, running = (float(part) for part in text.split("/"))
        except ValueError:
            raise ValueError(
                f"thresholds {text!r}: three numbers with / between them are expected, such as 2/8/20"
            ) from None
        return cls(stationary, walking, running)

    def spelled(self) -> str:
        bounds = (self.stationary, self.walking, self.running)
        return "/".join(_plain(bound) for bound in bounds)

    def name(self) -> str:
        """As records tell it."""
        return "threshold" if self == Threshold() else f"threshold({self.spelled()})"

    def label(self, mean: float) -> str:
        for bound, label in zip((self.stationary, self.walking, self.running), LABELS, strict=False):
            if mean < bound:
                return label
        return LABELS[-1]

    def probability(self, mean: float) -> float:
        """That `label` is right for a window with all its readings. `mean` ≥ 0."""
        moving, running = (_logistic(mean, slope, midpoint) for slope, midpoint in self._logistics())
        label = self.label(mean)
        if label == "stationary":
            return 1.0 - moving
        if label == "walking":
            return moving * (1.0 - running)
        return moving * running

    def confidence(self, mean: float, fill: float) -> float:
        """`probability`, shrunk towards the prior for a window with only the share `fill` of its readings."""
        probability, weight = self.probability(mean), _weight(fill)
        return min(probability, weight * probability + (1.0 - weight) * PRIOR)

    def _logistics(self):
        if (self.stationary, self.walking) == (2.0, 8.0):
            return FITTED
        return tuple(zip(SLOPES, (self.stationary, self.walking), strict=True))


def _logistic(mean: float, slope: float, midpoint: float) -> float:
    if mean <= 0.0:
        return 0.0
    # ln of a quotient that is infinite or 0 is infinite, and the exponential of that is 0 or beyond every number.
    ratio = mean / midpoint
    exponent = -slope * (math.log(ratio) if 0.0 < ratio < math.inf else math.copysign(math.inf, ratio - 1.0))
    return 0.0 if exponent > 709.0 else 1.0 / (1.0 + math.exp(exponent))


def _weight(fill: float) -> float:
    fill = min(max(fill, 0.0), 1.0)
    return fill * (1.0 + HALF) / (fill + HALF)


def _plain(number: float) -> str:
    """As Rust shows a float: no exponent, no `.0`."""
    text = repr(number)
    if "e" in text:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")
