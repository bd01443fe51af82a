"""Figures as coordinates of a small chart, lines or bars; the figures themselves stand in the table beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

WIDTH, HEIGHT, EDGE = 480, 120, 12


@dataclass(frozen=True, slots=True)
class Point:
    """One figure that was measured, where it stands in the chart."""

    x: int
    y: int
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """``lines`` are polylines: one ends where a figure is missing. ``between`` is x of the line between before and after."""

    points: list[Point]
    lines: list[str]
    between: int
    low: str
    high: str


def chart(before: str | None, after: Sequence[str | None]) -> Chart | None:
    """One figure before, then those after; None where nothing was measured."""
    figures = [_figure(one) for one in (before, *after)]
    known = [one for one in figures if one is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    step = (WIDTH - 2 * EDGE) / max(1, len(figures) - 1)
    runs: list[list[Point]] = [[]]
    for place, figure in enumerate(figures):
        if figure is None:
            runs.append([])
        else:
            share = (figure - low) / (high - low) if high > low else Decimal("0.5")
            y = round(HEIGHT - EDGE - float(share) * (HEIGHT - 2 * EDGE))
            runs[-1].append(Point(round(EDGE + place * step), y, f"{figure:f}"))
    lines = [" ".join(f"{one.x},{one.y}" for one in run) for run in runs if len(run) > 1]
    return Chart([one for run in runs for one in run], lines, round(EDGE + step / 2), f"{low:f}", f"{high:f}")


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure, where it stands in the chart."""

    x: int
    y: int
    width: int
    height: int
    text: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Figures from zero up, in their order; ``high`` is the greatest."""

    bars: list[Bar]
    high: str


def bars(figures: Sequence[Decimal | int], texts: Sequence[str], high: str) -> Bars | None:
    """Whole figures of at least zero and what each says; None where all are zero. ``high`` labels the greatest."""
    top = max(figures, default=0)
    if not top:
        return None
    step = (WIDTH - 2 * EDGE) / len(figures)
    made = []
    for place, (figure, text) in enumerate(zip(figures, texts, strict=True)):
        # What is not zero is seen.
        height = max(1, round(float(Decimal(figure) / Decimal(top)) * (HEIGHT - 2 * EDGE))) if figure else 0
        x = round(EDGE + place * step)
        made.append(Bar(x, HEIGHT - EDGE - height, max(1, round(step) - 4), height, text))
    return Bars(made, high)


def _figure(text: str | None) -> Decimal | None:
    """A finite number of decent length, or None: a figure that no chart can hold is in the table only."""
    try:
        figure = Decimal(text) if text is not None else None
    except InvalidOperation:
        return None
    return figure if figure is not None and figure.is_finite() and abs(figure.adjusted()) < 30 else None
