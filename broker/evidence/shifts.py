"""Whether a series changed, and when: the gate's own test, so that a claim need not be believed about what is usual.

The change point is where the running sum of differences from the mean is farthest from nought (CUSUM). It counts where the
level after it is none that the series had before, and is away from it by several times what the series moves anyhow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from broker.evidence.evaluate import Point
from broker.evidence.quantities import EXACT, Instant, divide, number_of

BEFORE_MIN, AFTER_MIN = 2, 2
"""Points before and after a change, at least."""
TIMES_NOISE, TIMES_NOISE_OF_FEW, FEW = Decimal(4), Decimal(8), 12
"""The change, in what the series moves anyhow; in a series of fewer than so many points it must be clearer."""
_BASE, _NOISY = 3, Decimal(3)
_TENTH, _HALF = Decimal("0.1"), Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Shift:
    """``edge``: the first instant of the new level. ``earliest``: the last instant at which it had surely not begun."""

    edge: Instant
    earliest: Instant


def shift(points: Sequence[Point], *, counter: bool) -> Shift | None:
    """The change of a series in order of time, or None; of a ``counter`` what changes is how fast it counts."""
    series = _rates(points) if counter else [(point.at, _level(point)) for point in points]
    if len(series) < BEFORE_MIN + AFTER_MIN:
        return None
    levels = [level for _, level in series]
    at = _farthest(levels)
    if at is None:
        return None
    old, new = levels[:at], levels[at:]
    was, now = _median(old), _median(new)
    moved = EXACT.abs(EXACT.subtract(now, was))
    steps = [EXACT.abs(EXACT.subtract(after, before)) for before, after in pairwise(levels)]
    spread = _median([*_away(old, was), *_away(new, now)])
    noise = max(_median(steps), EXACT.multiply(spread, _HALF))
    factor = TIMES_NOISE if len(levels) >= FEW else TIMES_NOISE_OF_FEW
    beyond = sum(1 for level in new if (level > max(old) if now > was else level < min(old)))
    if 2 * beyond <= len(new) or moved < EXACT.multiply(factor, noise):
        return None
    began = _first_off(levels, at, EXACT.multiply(moved, _TENTH))
    return Shift(series[began][0], series[began - 1][0])


def _level(point: Point) -> Decimal:
    number = number_of(point.value)
    assert number is not None
    return number


def _rates(points: Sequence[Point]) -> list[tuple[Instant, Decimal]]:
    """Growth a second from point to point; a counter that fell began anew at nought."""
    found = []
    for one, other in pairwise(points):
        seconds = EXACT.subtract(other.at.seconds, one.at.seconds)
        before, after = _level(one), _level(other)
        if seconds > 0:
            grown = EXACT.subtract(after, before) if after >= before else after
            found.append((other.at, divide(grown, seconds)))
    return found


def _farthest(levels: Sequence[Decimal]) -> int | None:
    """Where the running sum of differences from the mean is farthest from nought, within the least sizes of both parts."""
    total = Decimal(0)
    for level in levels:
        total = EXACT.add(total, level)
    count, run = Decimal(len(levels)), Decimal(0)
    best, place = Decimal(0), None
    for at, level in enumerate(levels[:-1], 1):
        run = EXACT.add(run, level)
        away = EXACT.abs(EXACT.subtract(EXACT.multiply(run, count), EXACT.multiply(total, Decimal(at))))
        if BEFORE_MIN <= at <= len(levels) - AFTER_MIN and away > best:
            best, place = away, at
    return place


def _first_off(levels: Sequence[Decimal], at: int, bound: Decimal) -> int:
    """The first point of the way to the new level: off from where the series began by more than ``bound``, and on."""
    first, begin = at, levels[: min(at, _BASE)]
    base = _median(begin)
    usual = min(EXACT.abs(EXACT.subtract(after, before)) for before, after in pairwise(begin))
    bound = max(bound, EXACT.multiply(_NOISY, usual))
    while first > 1 and EXACT.abs(EXACT.subtract(levels[first - 1], base)) > bound:
        first -= 1
    return first


def _away(levels: Sequence[Decimal], from_: Decimal) -> list[Decimal]:
    return [EXACT.abs(EXACT.subtract(level, from_)) for level in levels]


def _median(levels: Sequence[Decimal]) -> Decimal:
    ranked, half = sorted(levels), len(levels) // 2
    if len(ranked) % 2:
        return ranked[half]
    return EXACT.multiply(EXACT.add(ranked[half - 1], ranked[half]), _HALF)
