"""The stages of a selector: nodes in, nodes out. What each takes and gives stands in README.md."""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

from broker.evidence.evaluate import (
    Budget,
    Point,
    as_points,
    bounded_nodes,
    lines_of,
    meets,
    texts_of,
    walk,
)
from broker.evidence.quantities import (
    EXACT,
    UNITS,
    Instant,
    Unverifiable,
    divide,
    instant_of,
    measure,
    number_of,
    spelled_number,
)
from broker.evidence.syntax import Condition, Index, Selector, Slice, Stage

WHOLE_ONLY = frozenset(
    [
        *("count", "sum", "min", "max", "avg", "median", "p50", "p90", "p95", "p99", "first", "last", "delta", "ratio"),
        *("rate", "at_first", "at_last", "at_max", "at_min", "span", "onset", "rising", "falling", "grew", "shrank"),
        *("distinct", "slice"),
    ]
)
"""Stages whose result the unseen rest of a truncated answer could change."""


def evaluate(selector: Selector, value: Any, *, empty: bool = False, budget: Budget | None = None) -> list[Any]:
    """Nodes of ``selector`` on a result; on an ``empty`` one every source has none. Raises ``Unverifiable``."""
    budget = budget or Budget()
    if empty:
        nodes: list[Any] = []
    elif selector.source == "path":
        nodes = walk(value, selector.path, budget)
    else:
        nodes = texts_of(value)
        if selector.source == "text" and len(nodes) != 1:
            raise Unverifiable("selector.not_text")
        if selector.pattern is not None:
            nodes = lines_of(nodes, selector.pattern, budget)
    for stage in selector.stages:
        budget.spend(len(nodes) + 1)
        nodes = bounded_nodes(_run(stage, nodes, budget))
    return nodes


def _run(stage: Stage, nodes: list[Any], budget: Budget) -> list[Any]:
    """One stage."""
    name, given = stage.name, stage.arguments
    if name in _REDUCE:
        return [_REDUCE[name](_numbers(nodes))]
    if name in _ON_POINTS:
        return [_ON_POINTS[name](_series(nodes))]
    if name in _PLAIN:
        return _PLAIN[name](nodes, given)
    return _SEARCHING[name](nodes, given, budget)


# -- plain stages ---------------------------------------------------------------------------------------------------


def _value(node: Any) -> Any:
    """A point's value; any other node itself."""
    return node.value if isinstance(node, Point) else node


def _number(nodes: list[Any], _: Sequence[Any]) -> list[Any]:
    """Texts that spell numbers, as numbers."""
    found = []
    for node in nodes:
        bare = _value(node)
        number = spelled_number(bare) if isinstance(bare, str) else number_of(bare)
        if number is None:
            raise Unverifiable("selector.not_number")
        found.append(number)
    return found


def _time(nodes: list[Any], given: Sequence[Any]) -> list[Any]:
    """Instants; ``given`` may name the unit of unix time."""
    scale = None
    if given:
        dimension, scale = UNITS.get(given[0], ("", None))
        if dimension != "time":
            raise Unverifiable("unit.unknown")
    found = [instant_of(_value(node), scale) for node in nodes]
    if None in found:
        raise Unverifiable("selector.not_instant")
    return found


def _floor(nodes: list[Any], given: Sequence[Any]) -> list[Any]:
    """Down to a multiple."""
    if given[0] <= 0:
        raise Unverifiable("selector.arguments")
    found: list[Any] = []
    for node in nodes:
        moment = node if isinstance(node, Instant) else None
        number = moment.seconds if moment else number_of(_value(node))
        if number is None:
            raise Unverifiable("selector.not_number")
        rest = EXACT.remainder(number, given[0])
        down = EXACT.subtract(number, rest if rest >= 0 else EXACT.add(rest, given[0]))
        found.append(Instant(down) if moment else down)
    return found


def _lower(nodes: list[Any], _: Sequence[Any]) -> list[Any]:
    """Texts in small letters."""
    if not all(isinstance(node, str) for node in nodes):
        raise Unverifiable("selector.not_text")
    return [node.lower() for node in nodes]


def _length(nodes: list[Any], _: Sequence[Any]) -> list[Any]:
    """Sizes of texts, arrays and objects."""
    if not all(isinstance(node, (str, list, dict)) for node in nodes):
        raise Unverifiable("selector.not_text")
    return [Decimal(len(node)) for node in nodes]


def _distinct(nodes: list[Any], _: Sequence[Any]) -> list[Any]:
    """Each different value once, in the order of first appearance."""
    seen: dict[Any, Any] = {}
    for node in nodes:
        bare = _value(node)
        key = bare if isinstance(bare, (Decimal, Instant)) else json.dumps(bare, sort_keys=True)
        seen.setdefault(key, bare)
    return list(seen.values())


def _count(nodes: list[Any], _: Sequence[Any]) -> list[Any]:
    """How many; an array among the nodes is a forgotten ``[*]``, not one thing."""
    if as_points(nodes) is None and any(isinstance(node, list) for node in nodes):
        raise Unverifiable("selector.array")
    return [Decimal(len(nodes))]


def _ends(nodes: list[Any], at: int) -> list[Any]:
    """The first or last node; of points in ascending order, the value."""
    points = as_points(nodes)
    if points:
        return [_series(nodes)[at].value]
    return nodes[at:][:1]


_PLAIN: dict[str, Callable[[list[Any], Sequence[Any]], list[Any]]] = {
    "as": lambda nodes, given: [measure(_value(node), *given) for node in nodes],
    "since": lambda nodes, given: [point for point in _points(nodes) if point.at >= _edge(given[0])],
    "until": lambda nodes, given: [point for point in _points(nodes) if point.at < _edge(given[0])],
    "slice": lambda nodes, given: _sliced(nodes, given[0]),
    "grew": lambda nodes, given: [_moved(_numbers(nodes), "grew", given[0])],
    "shrank": lambda nodes, given: [_moved(_numbers(nodes), "shrank", given[0])],
    "times": lambda nodes, _: [point.at for point in _points(nodes)],
    "values": lambda nodes, _: [point.value for point in _points(nodes)],
    "number": _number,
    "time": _time,
    "floor": _floor,
    "lower": _lower,
    "length": _length,
    "distinct": _distinct,
    "count": _count,
    "first": lambda nodes, _: _ends(nodes, 0),
    "last": lambda nodes, _: _ends(nodes, -1),
}


def _sliced(nodes: list[Any], position: Index | Slice) -> list[Any]:
    """Some nodes by their place."""
    if isinstance(position, Index):
        return [nodes[position.at]] if -len(nodes) <= position.at < len(nodes) else []
    return nodes[position.start : position.stop]


# -- numbers --------------------------------------------------------------------------------------------------------


def _numbers(nodes: list[Any]) -> list[Decimal]:
    """Every node as a number, one at least."""
    if not nodes:
        raise Unverifiable("selector.none")
    points = as_points(nodes)
    found = [number_of(point.value) for point in points] if points else [number_of(node) for node in nodes]
    numbers = [number for number in found if number is not None]
    if len(numbers) != len(found):
        raise Unverifiable("selector.not_number")
    return numbers


def _sum(numbers: list[Decimal]) -> Decimal:
    total = Decimal(0)
    for number in numbers:
        total = EXACT.add(total, number)
    return total


def _rank(share: str) -> Callable[[list[Decimal]], Decimal]:
    """Nearest-rank percentile."""

    def rank(numbers: list[Decimal]) -> Decimal:
        place = EXACT.multiply(Decimal(len(numbers)), Decimal(share)).to_integral_value(rounding="ROUND_CEILING")
        return sorted(numbers)[max(int(place), 1) - 1]

    return rank


def _median(numbers: list[Decimal]) -> Decimal:
    """The middle one, or half of the two middle ones' sum."""
    ranked, half = sorted(numbers), len(numbers) // 2
    if len(ranked) % 2:
        return ranked[half]
    return EXACT.multiply(EXACT.add(ranked[half - 1], ranked[half]), Decimal("0.5"))


def _one_way(numbers: list[Decimal], sign: int) -> bool:
    """Whether ``numbers`` never go against ``sign`` and move overall."""
    if len(numbers) < 2:
        raise Unverifiable("selector.none")
    steps = [EXACT.compare(after, before) * sign for before, after in pairwise(numbers)]
    return all(step >= 0 for step in steps) and any(step > 0 for step in steps)


def _moved(numbers: list[Decimal], name: str, factor: Decimal) -> bool:
    """Whether the last is at least ``factor`` times the first, or at most the first divided by it."""
    if factor < 1:
        raise Unverifiable("selector.arguments")
    first, last = numbers[0], numbers[-1]
    if name == "grew":
        return first >= 0 and last > first and last >= EXACT.multiply(first, factor)
    return last >= 0 and last < first and EXACT.multiply(last, factor) <= first


_REDUCE: dict[str, Callable[[list[Decimal]], Any]] = {
    "sum": _sum,
    "min": min,
    "max": max,
    "avg": lambda numbers: divide(_sum(numbers), Decimal(len(numbers))),
    "median": _median,
    "p50": _rank("0.5"),
    "p90": _rank("0.9"),
    "p95": _rank("0.95"),
    "p99": _rank("0.99"),
    "delta": lambda numbers: EXACT.subtract(numbers[-1], numbers[0]),
    "ratio": lambda numbers: divide(numbers[-1], numbers[0]),
    "rising": lambda numbers: _one_way(numbers, 1),
    "falling": lambda numbers: _one_way(numbers, -1),
}


# -- points ---------------------------------------------------------------------------------------------------------


def _points(nodes: list[Any]) -> list[Point]:
    """Every node as a point."""
    points = as_points(nodes)
    if points is None:
        raise Unverifiable("selector.not_series")
    return points


def _series(nodes: list[Any]) -> list[Point]:
    """One series: points in ascending order of time, one at least."""
    points = _points(nodes)
    if not points:
        raise Unverifiable("selector.none")
    if any(after.at < before.at for before, after in pairwise(points)):
        raise Unverifiable("selector.order")
    return points


def _make_series(nodes: list[Any], given: Sequence[Any], budget: Budget) -> list[Any]:
    """Points from two paths below each node."""
    points: list[Any] = []
    for node in nodes:
        times, values = walk(node, given[0], budget), walk(node, given[1], budget)
        if len(times) != len(values):
            raise Unverifiable("selector.not_series")
        for time, value in zip(times, values, strict=True):
            at = instant_of(time)
            if at is None:
                raise Unverifiable("selector.not_instant")
            points.append(Point(at, value))
    return points


def _edge(given: Any) -> Instant:
    """The instant that a window begins or ends at."""
    edge = instant_of(given)
    if edge is None:
        raise Unverifiable("selector.not_instant")
    return edge


def _at(points: list[Point], best: Callable[[list[Decimal]], Decimal]) -> Instant:
    """The first instant of the ``best`` value."""
    numbers = _numbers(list(points))
    return points[numbers.index(best(numbers))].at


def _rate(points: list[Point]) -> Decimal:
    """Delta a second."""
    numbers = _numbers(list(points))
    return divide(EXACT.subtract(numbers[-1], numbers[0]), EXACT.subtract(points[-1].at.seconds, points[0].at.seconds))


_ON_POINTS: dict[str, Callable[[list[Point]], Any]] = {
    "rate": _rate,
    "at_first": lambda points: points[0].at,
    "at_last": lambda points: points[-1].at,
    "at_max": lambda points: _at(points, max),
    "at_min": lambda points: _at(points, min),
    "span": lambda points: EXACT.subtract(points[-1].at.seconds, points[0].at.seconds),
}


def _onset(points: list[Point], condition: Condition | None, budget: Budget) -> list[Any]:
    """The instant at which the change begins; no node if there is none."""
    if condition is not None:
        return [point.at for point in points if meets(point, condition, budget)][:1]
    numbers = _numbers(list(points))
    steps = [EXACT.abs(EXACT.subtract(after, before)) for before, after in pairwise(numbers)]
    if len(steps) < 2:
        raise Unverifiable("selector.few_points")
    jitter, swing = _median(steps), EXACT.subtract(max(numbers), min(numbers))
    if not swing or swing < EXACT.multiply(jitter, Decimal(8)):
        return []
    bound = max(EXACT.multiply(swing, Decimal("0.1")), EXACT.multiply(jitter, Decimal(3)))
    sides = [_side(number, numbers[0], bound) for number in numbers]
    for place, side in enumerate(sides):
        if side and (place + 1 == len(sides) or sides[place + 1] == side):
            return [points[place].at]
    return []


def _side(number: Decimal, base: Decimal, bound: Decimal) -> int:
    """1 above the bound, -1 below it, 0 between."""
    off = EXACT.subtract(number, base)
    return (off > bound) - (off < EXACT.minus(bound))


_SEARCHING: dict[str, Callable[[list[Any], Sequence[Any], Budget], list[Any]]] = {
    "lines": lambda nodes, given, budget: lines_of(nodes, given[0], budget),
    "where": lambda nodes, given, budget: [node for node in as_points(nodes) or nodes if meets(node, given[0], budget)],
    "series": _make_series,
    "onset": lambda nodes, given, budget: _onset(_series(nodes), given[0] if given else None, budget),
}


ALWAYS_ONE = frozenset([*_REDUCE, *_ON_POINTS, "count", "grew", "shrank"])
"""Stages that give one node or an error: existence of their result says nothing."""
