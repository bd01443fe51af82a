"""A selector's tree over one result: nodes, or the code that says why there are none.

Every visit of a node is counted; past the bound evaluation ends with ``selector.steps``. A name that no element has is
``selector.no_path``: a misspelt path must not look like absence.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from broker.evidence.quantities import EXACT, Instant, Unverifiable, instant_of, number_of
from broker.evidence.syntax import Both, Condition, Each, Filter, Index, Name, Not, Pattern, Slice, Step, Test, Where

VISITS_MAX = 200_000
NODES_MAX = 50_000
TEXT_KEYS = ("text", "stdout", "output")
"""Where a connector that answers an object keeps its whole text."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a series and its instant."""

    at: Instant
    value: Any


@dataclass(slots=True)
class Budget:
    """Visits that are left."""

    left: int = VISITS_MAX

    def spend(self, visits: int) -> None:
        """Count ``visits``; raises ``selector.steps``."""
        self.left -= visits
        if self.left < 0:
            raise Unverifiable("selector.steps")


def bounded_nodes(nodes: list[Any]) -> list[Any]:
    """``nodes`` unless they are too many."""
    if len(nodes) > NODES_MAX:
        raise Unverifiable("selector.nodes")
    return nodes


def walk(value: Any, path: Sequence[Step], budget: Budget, *, lenient: bool = False) -> list[Any]:
    """Nodes at ``path`` below ``value``; ``lenient`` lets a missing name be no node."""
    nodes = [value]
    for step in path:
        budget.spend(len(nodes) + 1)
        found, known = _step(nodes, step, budget)
        if nodes and not known and not lenient:
            raise Unverifiable("selector.no_path")
        nodes = bounded_nodes(found)
    return nodes


def _step(nodes: list[Any], step: Step, budget: Budget) -> tuple[list[Any], bool]:
    """The nodes one step on, and whether the step was known to any of ``nodes``."""
    match step:
        case Name(name):
            here = [node[name] for node in nodes if isinstance(node, Mapping) and name in node]
            return here, bool(here)
        case Index(at):
            arrays = [node for node in nodes if isinstance(node, list)]
            return [node[at] for node in arrays if -len(node) <= at < len(node)], bool(arrays)
        case Slice(start, stop):
            arrays = [node for node in nodes if isinstance(node, list)]
            found = [child for node in arrays for child in node[start:stop]]
            budget.spend(len(found))
            return found, bool(arrays)
        case Each():
            found, known = _elements(nodes, budget)
            return found, known
        case Where(wanted):
            found, known = _elements(nodes, budget)
            return select(found, wanted, budget), known


def _elements(nodes: list[Any], budget: Budget) -> tuple[list[Any], bool]:
    """Elements of arrays and members of objects, and whether any node had elements to give."""
    holders = [node for node in nodes if isinstance(node, (list, Mapping))]
    found: list[Any] = []
    for node in holders:
        budget.spend(len(node))
        found.extend(node.values() if isinstance(node, Mapping) else node)
    return found, bool(holders)


def select(elements: list[Any], wanted: Filter, budget: Budget) -> list[Any]:
    """The elements for which ``wanted`` holds; every path in it must be known to some element."""
    for path in _paths(wanted):
        if path and elements and not any(walk(element, path, budget, lenient=True) for element in elements):
            raise Unverifiable("selector.no_path")
    return [element for element in elements if holds(element, wanted, budget)]


def _paths(wanted: Filter) -> Iterable[tuple[Step, ...]]:
    """Every path that a filter looks at."""
    match wanted:
        case Test(path, _):
            yield path
        case Both(parts, _):
            for part in parts:
                yield from _paths(part)
        case Not(part):
            yield from _paths(part)


def holds(element: Any, wanted: Filter, budget: Budget) -> bool:
    """Whether a filter holds for one element."""
    match wanted:
        case Test(path, condition):
            nodes = walk(element, path, budget, lenient=True) if path else [element]
            if condition is None:
                return bool(nodes)
            return any(meets(node, condition, budget) for node in nodes)
        case Both(parts, every):
            found = [holds(element, part, budget) for part in parts]
            return all(found) if every else any(found)
        case Not(part):
            return not holds(element, part, budget)


def meets(node: Any, condition: Condition, budget: Budget) -> bool:
    """Whether one node meets a condition; kinds that do not compare do not meet it."""
    operand, op = condition.operand, condition.op
    if isinstance(operand, Pattern):
        return isinstance(node, str) and search(operand, node, budget) is not None
    if isinstance(node, Point):
        node = node.value
    if isinstance(operand, Decimal):
        number = number_of(node)
        return number is not None and ordered(number, op, operand)
    if op in ("==", "!="):
        same = type(node) is type(operand) and node == operand
        return same if op == "==" else not same
    left, right = instant_of(node), instant_of(operand)
    return left is not None and right is not None and ordered(left.seconds, op, right.seconds)


def ordered(left: Decimal, op: str, right: Decimal) -> bool:
    """``left op right``, exactly."""
    sign = EXACT.compare(left, right)
    return {
        "==": sign == 0,
        "!=": sign != 0,
        "<": sign < 0,
        "<=": sign <= 0,
        ">": sign > 0,
        ">=": sign >= 0,
    }[op]


def search(pattern: Pattern, text: str, budget: Budget) -> str | None:
    """What ``pattern`` finds in ``text``: its one group's text, or the whole text; None where it finds nothing."""
    budget.spend(1 + len(text) // 256)
    try:
        found = pattern.compiled.search(text)
    except UnicodeEncodeError:  # a lone surrogate: no text that RE2 can read
        return None
    if found is None:
        return None
    if not pattern.groups:
        return text
    group = found.group(1)
    return group if isinstance(group, str) else None


def lines_of(nodes: list[Any], pattern: Pattern, budget: Budget) -> list[Any]:
    """Lines of texts in which ``pattern`` is found, or what its group holds."""
    found = []
    for node in nodes:
        text = node.value if isinstance(node, Point) else node
        if not isinstance(text, str):
            raise Unverifiable("selector.not_text")
        for line in text.split("\n"):
            hit = search(pattern, line.removesuffix("\r"), budget)
            if hit is not None:
                found.append(hit)
    return bounded_nodes(found)


def texts_of(value: Any) -> list[Any]:
    """A whole result as texts: one text, an array of texts, or an object that holds either under a known name."""
    if isinstance(value, Mapping):
        held = [value[key] for key in TEXT_KEYS if key in value]
        if len(held) != 1:
            raise Unverifiable("selector.not_text")
        value = held[0]
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise Unverifiable("selector.not_text")
    return bounded_nodes(list(texts))


def as_points(nodes: list[Any]) -> list[Point] | None:
    """``nodes`` as points where each is one, or is a pair of an instant and a value; else None."""
    points = []
    for node in nodes:
        if isinstance(node, Point):
            points.append(node)
            continue
        at = instant_of(node[0]) if isinstance(node, list) and len(node) == 2 else None
        if at is None or isinstance(node[1], (list, Mapping)):
            return None
        points.append(Point(at, node[1]))
    return points
