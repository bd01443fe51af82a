"""What a selector looks at, before anything is computed from it: nodes with what stands around them, series, dated rows.

A verdict needs only values; whether a claim says anything, and of whom, also needs the row, the labels and the series that
a value was taken from. Nothing here changes a verdict.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.evidence.evaluate import Budget, Point, as_points, holds, lines_of, meets, texts_of
from broker.evidence.quantities import Instant, instant_of, number_of
from broker.evidence.stages import evaluate
from broker.evidence.syntax import Each, Index, Name, Selector, Slice, Stage, Step, Where

TIMES = (
    *("at", "time", "timestamp", "ts", "date", "when", "at_s", "first_s", "deployed_at"),
    *("timestamps", "times"),
)
"""Members that date what stands beside them."""
_KEEPING = frozenset({"distinct", "lower", "number", "as", "time", "floor", "since", "until", "times", "values"})
"""Stages that give their nodes on, one for one or fewer: what they look at is what they got."""
_PAIR = 2


@dataclass(frozen=True, slots=True)
class Found:
    """A node, and the objects and arrays around it, outermost first (of a line: also the text that it stands in)."""

    node: Any
    around: tuple[Any, ...] = ()

    @property
    def row(self) -> Mapping[str, Any] | None:
        """The nearest object that is dated, or else the nearest object."""
        objects = [one for one in (*self.around, self.node) if isinstance(one, Mapping)]
        dated = next((one for one in reversed(objects) if when(one) is not None), None)
        return dated if dated is not None else objects[-1] if objects else None

    def lines(self) -> list["Found"]:
        """A text of several lines as these; anything else as it is."""
        if not isinstance(self.node, str) or "\n" not in self.node:
            return [self]
        return [Found(line.removesuffix("\r"), self.around) for line in self.node.split("\n")]

    @property
    def at(self) -> Instant | None:
        """When it happened, by the nearest date beside it."""
        row = self.row
        return when(row) if row is not None else None


def when(row: Mapping[str, Any]) -> Instant | None:
    """The instant in an object's own members."""
    found = (instant_of(row[name]) for name in TIMES if isinstance(row.get(name), (str, int, float)))
    return next((one for one in found if one is not None), None)


def trace(selector: Selector, value: Any, budget: Budget) -> list[Found]:
    """What the selector looks at; stages that compute end it. Raises ``Unverifiable`` past the bound."""
    if selector.source == "path":
        nodes = _path(value, selector.path, budget)
    else:
        nodes = [Found(text, () if text is value else (value,)) for text in texts_of(value)]
        if selector.pattern is not None:
            nodes = _lines(nodes, selector.pattern, budget)
    for stage in selector.stages:
        budget.spend(len(nodes) + 1)
        following = _stage(stage, nodes, budget)
        if following is None:
            return nodes
        nodes = following
    return nodes


def _path(value: Any, path: Sequence[Step], budget: Budget) -> list[Found]:
    nodes = [Found(value)]
    for step in path:
        budget.spend(len(nodes) + 1)
        nodes = [child for one in nodes for child in _below(one, step, budget)]
    return nodes


def _below(found: Found, step: Step, budget: Budget) -> Iterator[Found]:
    """The children that one step leads to."""
    node, around = found.node, (*found.around, found.node)
    match step:
        case Name(name) if isinstance(node, Mapping) and name in node:
            yield Found(node[name], around)
        case Index(at) if isinstance(node, list) and -len(node) <= at < len(node):
            yield Found(node[at], around)
        case Slice(start, stop) if isinstance(node, list):
            yield from (Found(child, around) for child in node[start:stop])
        case Each() | Where() if isinstance(node, (list, Mapping)):
            for child in node.values() if isinstance(node, Mapping) else node:
                budget.spend(1)
                if isinstance(step, Each) or holds(child, step.filter, budget):
                    yield Found(child, around)
        case _:
            return


def _lines(nodes: Sequence[Found], pattern: Any, budget: Budget) -> list[Found]:
    """Lines, or what the group of the pattern holds; the line itself stands around it."""
    found = []
    for one in nodes:
        if not isinstance(one.node, str):
            continue
        for line in one.node.split("\n"):
            found += [Found(hit, (*one.around, line)) for hit in lines_of([line], pattern, budget)]
    return found


def _stage(stage: Stage, nodes: list[Found], budget: Budget) -> list[Found] | None:
    """The nodes that a stage leaves; None where it computes."""
    if stage.name in _KEEPING:
        return nodes
    if stage.name == "lines":
        return _lines(nodes, stage.arguments[0], budget)
    if stage.name == "where":
        return [one for one in nodes if meets(_pointed(one.node), stage.arguments[0], budget)]
    if not all(isinstance(one.node, (str, Mapping)) for one in nodes):
        return None
    places = {
        "first": Slice(None, 1),
        "last": Slice(-1, None),
        "slice": stage.arguments[0] if stage.arguments else None,
    }
    position = places.get(stage.name)
    if isinstance(position, Index):
        return [nodes[position.at]] if -len(nodes) <= position.at < len(nodes) else []
    return nodes[position.start : position.stop] if isinstance(position, Slice) else None


def _pointed(node: Any) -> Any:
    """A pair of an instant and a value as the point that it is."""
    points = as_points([node])
    return points[0] if points else node


# -- series -----------------------------------------------------------------------------------------------------------


def series_of(selector: Selector, value: Any, found: Sequence[Found], budget: Budget) -> list[list[Point]]:
    """The whole numeric series that the selector takes its values from, each once; empty where it looks at none."""
    made = next((stage for stage in selector.stages if stage.name == "series"), None)
    if made is not None:
        return _numeric([_made(selector, made, value, budget)])
    known: dict[int, list[Point]] = {}
    for one in found:
        budget.spend(1)
        holder, read = _around(one)
        if holder and holder not in known:
            known[holder] = read()
            budget.spend(len(known[holder]))
    return _numeric([points for points in known.values() if points])


def _made(selector: Selector, stage: Stage, value: Any, budget: Budget) -> list[Point]:
    """What the stage ``series`` makes of all its nodes."""
    upto = selector.stages[: selector.stages.index(stage) + 1]
    points = as_points(evaluate(Selector(selector.source, selector.path, selector.pattern, upto), value, budget=budget))
    return points or []


def _around(found: Found) -> tuple[int, Callable[[], list[Point]]]:
    """Which series a node is of, 0 for none, and how to read it: pairs, an array beside its times, a member of dated rows."""
    chain = [*found.around, found.node]
    for holder in reversed(chain):
        if isinstance(holder, list) and len(holder) >= _PAIR and _is_pair(holder[0]):
            return id(holder), lambda pairs=holder: as_points(pairs) or []
    for outer, inner in zip(reversed(chain[:-1]), reversed(chain), strict=False):
        if isinstance(outer, Mapping) and isinstance(inner, list) and _has_times(outer, inner):
            return id(inner), lambda outer=outer, inner=inner: _levels(outer, inner)
    return _member_of_rows(found, chain)


def _has_times(holder: Mapping[str, Any], levels: list[Any]) -> bool:
    """Whether an array that may hold the times of ``levels`` stands beside them."""
    stamps = (holder.get(name) for name in TIMES)
    return any(isinstance(one, list) and one is not levels and len(one) == len(levels) >= _PAIR for one in stamps)


def _levels(holder: Mapping[str, Any], levels: list[Any]) -> list[Point]:
    """Levels with the times beside them; none where there are no times."""
    times = beside(holder, levels)
    return [Point(at, level) for at, level in zip(times, levels, strict=True)] if times else []


def _is_pair(node: Any) -> bool:
    return isinstance(node, list) and len(node) == _PAIR and instant_of(node[0]) is not None


def beside(holder: Mapping[str, Any], levels: list[Any]) -> list[Instant]:
    """The instants that stand beside an array of as many levels; empty where none do."""
    for name in TIMES:
        stamps = holder.get(name)
        if isinstance(stamps, list) and stamps is not levels and len(stamps) == len(levels) >= _PAIR:
            instants = [instant_of(one) for one in stamps]
            if None not in instants:
                return [one for one in instants if one is not None]
    return []


def _member_of_rows(found: Found, chain: Sequence[Any]) -> tuple[int, Callable[[], list[Point]]]:
    """A number in one of several dated rows, with its neighbours in the others."""
    rows, row = (chain[-3], chain[-2]) if len(chain) > _PAIR else (None, None)
    if not isinstance(rows, list) or not isinstance(row, Mapping) or when(row) is None or number_of(found.node) is None:
        return 0, list
    name = next((name for name, level in row.items() if level is found.node and name not in TIMES), "")
    return (id(rows) ^ hash(name), lambda: _column(rows, name)) if name else (0, list)


def _column(rows: Sequence[Any], name: str) -> list[Point]:
    """One member of each dated row."""
    dated = [(when(one), one[name]) for one in rows if isinstance(one, Mapping) and name in one]
    return [Point(at, level) for at, level in dated if at is not None]


def _numeric(found: Sequence[list[Point]]) -> list[list[Point]]:
    """Those of which every level is a number, in order of time."""
    numeric = [one for one in found if len(one) > _PAIR and all(number_of(point.value) is not None for point in one)]
    return [sorted(one, key=lambda point: point.at) for one in numeric]


def all_series(
    value: Any, budget: Budget, depth: int = 8, around: tuple[Any, ...] = ()
) -> Iterator[tuple[Found, list[Point]]]:
    """Every numeric series in an answer, with where it stands."""
    budget.spend(1)
    if depth == 0:
        return
    here = (*around, value)
    if isinstance(value, list):
        if len(value) > _PAIR and _is_pair(value[0]):
            yield from ((Found(value, around), points) for points in _numeric([as_points(value) or []]))
        else:
            for child in value:
                yield from all_series(child, budget, depth - 1, here)
    elif isinstance(value, Mapping):
        for child in value.values():
            times = beside(value, child) if isinstance(child, list) else []
            if times:
                points = [Point(at, level) for at, level in zip(times, child, strict=True)]
                yield from ((Found(child, here), numeric) for numeric in _numeric([points]))
            else:
                yield from all_series(child, budget, depth - 1, here)


# -- the part before an instant -----------------------------------------------------------------------------------------


def before(value: Any, edge: Instant, budget: Budget) -> Any:
    """``value`` without what is dated at or after ``edge``: points, dated rows, levels beside their times."""
    budget.spend(1)
    if isinstance(value, list):
        kept = [one for one in value if not _is_late(one, edge)]
        return [before(one, edge, budget) if isinstance(one, (list, Mapping)) else one for one in kept]
    if not isinstance(value, Mapping):
        return value
    cut: dict[str, Any] = {}
    for name, child in value.items():
        times = beside(value, child) if isinstance(child, list) else []
        if times:
            cut[name] = [level for at, level in zip(times, child, strict=True) if at < edge]
        elif name in TIMES and isinstance(child, list):
            cut[name] = [one for one in child if (at := instant_of(one)) is None or at < edge]
        else:
            cut[name] = before(child, edge, budget) if isinstance(child, (list, Mapping)) else child
    return cut


def _is_late(node: Any, edge: Instant) -> bool:
    at = instant_of(node[0]) if _is_pair(node) else when(node) if isinstance(node, Mapping) else None
    return at is not None and at >= edge


def anywhere(selector: Selector, value: Any, budget: Budget) -> Selector:
    """The selector without the windows and places that it chooses in a series: what it asks, asked of any part."""
    stages = tuple(
        one
        for one in selector.stages
        if one.name not in {"since", "until"} and not (one.name == "slice" and _is_place(one.arguments[0]))
    )
    return Selector(selector.source, _any_point(selector.path, value, budget), selector.pattern, stages)


def _any_point(path: tuple[Step, ...], value: Any, budget: Budget) -> tuple[Step, ...]:
    """The path with every point of a series where it chooses some by their place."""
    for at, step in enumerate(path):
        if _is_place(step) and any(_is_series(one) for one in _path(value, path[:at], budget)):
            return (*path[:at], Each(), *path[at + 1 :])
    return path


def _is_series(found: Found) -> bool:
    """Whether a node is an array of points, of dated rows, or of levels beside their times."""
    node, holder = found.node, found.around[-1] if found.around else None
    if not isinstance(node, list) or not node:
        return False
    dated = isinstance(node[0], Mapping) and when(node[0]) is not None
    return dated or _is_pair(node[0]) or (isinstance(holder, Mapping) and bool(beside(holder, node)))


def _is_place(step: Any) -> bool:
    """A place counted from the beginning, or a span that does not end at the last."""
    if isinstance(step, Index):
        return step.at >= 0
    tail = isinstance(step, Slice) and step.start is not None and step.start < 0 and step.stop is None
    return isinstance(step, Slice) and not tail


def path_of(selector: Selector) -> tuple[object, ...]:
    """What is read, whatever is computed from it."""
    return (selector.source, selector.path, selector.pattern)
