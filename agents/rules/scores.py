"""Robust scores of a series: how far a value lies from the usual, in scaled median absolute deviations.

Signed and unsigned scores are kept apart: a drop of traffic and a rise of errors mean different things, and a score
that forgets the sign lets the drop of a healthy component outweigh the rise of the sick one. Values are floats inside
this tier only; what leaves it as a claim is recomputed exactly by the gate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

Point = tuple[int, float]
"""Instant in unix seconds, level."""

SCALE = 1.4826
"""Makes the median absolute deviation of a normal distribution its standard deviation."""
OFF = 6.0
BASE_MIN = 3


@dataclass(frozen=True, slots=True)
class Score:
    """How a series ends against how it began: ``signed`` up is positive; ``onset`` where it left the usual, or None."""

    signed: float
    onset: int | None
    base: float
    last: float
    peak: float

    @property
    def unsigned(self) -> float:
        """Distance from the usual, whatever the direction."""
        return abs(self.signed)

    @property
    def recovered(self) -> bool:
        """True where it left the usual and came back."""
        return self.onset is not None and self.unsigned < OFF


def deviation(values: Sequence[float], whole: Sequence[float]) -> float:
    """The scale of ``values``: never less than a tenth of the median or a hundredth of the range of ``whole``, over 6."""
    middle = median(values)
    mad = SCALE * median(abs(value - middle) for value in values)
    floor = max(abs(middle) / 10, (max(whole) - min(whole)) / 100) / OFF
    return max(mad, floor) or 1e-12


def score(points: Sequence[Point]) -> Score | None:
    """Score the end of the series against its first quarter (3 points at least); None for fewer than 6 points."""
    if len(points) < 2 * BASE_MIN:
        return None
    values = [value for _, value in points]
    head = values[: max(BASE_MIN, len(values) // 4)]
    base = median(head)
    scale = deviation(head, values)
    last = median(values[-BASE_MIN:])
    off = [(value - base) / scale for value in values]
    onset = None
    for place, (at, _) in enumerate(points):
        after = off[place + 1] if place + 1 < len(off) else off[place]
        if abs(off[place]) > OFF and abs(after) > OFF and off[place] * after > 0:
            onset = at
            break
    peak = max(values, key=lambda value: abs(value - base))
    return Score(signed=(last - base) / scale, onset=onset, base=base, last=last, peak=peak)
