"""One claim on one observation: verified, refuted, or unverifiable with a code.

Pure: the same claim on the same observation has the same verdict for ever.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from broker.evidence.claims import Claim
from broker.evidence.evaluate import Budget, Point, ordered, search
from broker.evidence.observations import Absent, Observation
from broker.evidence.quantities import EXACT, Instant, Unverifiable, instant_of, number_of, plain
from broker.evidence.stages import ALWAYS_ONE, WHOLE_ONLY, evaluate
from broker.evidence.syntax import (
    Both,
    Condition,
    Filter,
    Index,
    Not,
    Pattern,
    Selector,
    Slice,
    Test,
    Where,
    parse,
    pattern_of,
)
from broker.model import Json, ResultStatus

VERIFIED, REFUTED, UNVERIFIABLE = "verified", "refuted", "unverifiable"
ORDER = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one claim. ``actual`` is what the selector gave; ``reason`` a code, empty if verified."""

    verdict: str
    reason: str = ""
    actual: Json = None
    onset: int | None = None
    """Unix second that the claim's ``at`` gives."""


def judge_claim(claim: Claim, seen: Observation | Absent, budget: Budget | None = None) -> Finding:
    """The verdict on ``claim`` within ``budget``; never raises for anything that a claim or a result can hold."""
    if isinstance(seen, Absent):
        return Finding(UNVERIFIABLE, seen.code)
    try:
        selector = parse(claim.selector)
        budget = budget or Budget()
        nodes = evaluate(selector, seen.value, empty=_empty(seen), budget=budget)
        if _vacuous(claim, selector):
            return Finding(UNVERIFIABLE, "claim.vacuous")
        holds = is_met(claim, nodes)
        if seen.status is ResultStatus.TRUNCATED and _needs_whole(claim, selector, holds=holds):
            return Finding(UNVERIFIABLE, "observation.truncated")
        onset = _onset(claim, seen, budget)
        actual = shown(nodes, claim.op)
    except Unverifiable as reason:
        return Finding(UNVERIFIABLE, reason.code)
    return Finding(VERIFIED, "", actual, onset) if holds else Finding(REFUTED, "claim.differs", actual, onset)


def _empty(seen: Observation) -> bool:
    """An empty answer has no nodes, whatever the shape that the connector gives it."""
    return seen.status is ResultStatus.EMPTY


def _onset(claim: Claim, seen: Observation, budget: Budget) -> int | None:
    """The instant that ``at`` selects, in whole unix seconds."""
    if not claim.at:
        return None
    if seen.status is ResultStatus.TRUNCATED and _looks_at_all(parse(claim.at)):
        raise Unverifiable("observation.truncated")
    nodes = evaluate(parse(claim.at), seen.value, empty=_empty(seen), budget=budget)
    at = instant_of(_bare(nodes[0])) if len(nodes) == 1 else None
    if at is None:
        raise Unverifiable("claim.at")
    return int(at.seconds)


# -- operators ------------------------------------------------------------------------------------------------------


def is_met(claim: Claim, nodes: list[Any]) -> bool:
    """Whether the operator holds on the nodes; raises ``Unverifiable`` where it cannot be asked of them."""
    match claim.op:
        case "exists":
            return bool(nodes)
        case "absent":
            return not nodes
        case "contains":
            return any(_contains(_bare(node), claim.value) for node in nodes)
        case "not_contains":
            return not any(_contains(_bare(node), claim.value) for node in nodes)
        case "matches":
            return _matches(claim.value, nodes)
        case _:
            return _compares(_only(nodes), claim)


def _only(nodes: list[Any]) -> Any:
    """The one node."""
    if not nodes:
        raise Unverifiable("selector.none")
    if len(nodes) > 1:
        raise Unverifiable("selector.many")
    return _bare(nodes[0])


def _bare(node: Any) -> Any:
    """A point's value, a pair's value, any other node itself."""
    return node.value if isinstance(node, Point) else node


def _contains(node: Any, value: Json) -> bool:
    """A text in a text; elsewhere equality."""
    if isinstance(node, str):
        return isinstance(value, str) and value in node
    if isinstance(node, list):
        return any(_same(child, value) for child in node)
    return _same(node, value)


def _matches(value: Json, nodes: list[Any]) -> bool:
    """Whether RE2 ``value`` is found in some text."""
    if not isinstance(value, str):
        raise Unverifiable("op.kind")
    pattern, budget = pattern_of(value), Budget()
    return any(isinstance(_bare(node), str) and search(pattern, _bare(node), budget) is not None for node in nodes)


def _compares(node: Any, claim: Claim) -> bool:
    """``eq ne gt ge lt le`` on one node."""
    sign = ORDER[claim.op]
    if isinstance(node, Instant) or (claim.op not in ("eq", "ne") and _is_instant_text(claim.value)):
        left, right = instant_of(node), instant_of(claim.value)
        if left is None or right is None or claim.tolerance is not None:
            raise Unverifiable("op.kind")
        return ordered(left.seconds, sign, right.seconds)
    if claim.op in ("eq", "ne") and claim.tolerance is None:
        return _same(node, claim.value) is (claim.op == "eq")
    number, wanted = number_of(node), number_of(claim.value)
    if number is None or wanted is None:
        raise Unverifiable("op.kind")
    if claim.tolerance is None:
        return ordered(number, sign, wanted)
    room = EXACT.multiply(EXACT.abs(wanted), claim.tolerance)
    near = EXACT.abs(EXACT.subtract(number, wanted)) <= room
    return near is (claim.op == "eq")


def _is_instant_text(value: Json) -> bool:
    """Whether ``value`` is the text of an instant, not a number."""
    return isinstance(value, str) and number_of(value) is None and instant_of(value) is not None


def _same(node: Any, value: Json) -> bool:
    """Equality: texts as texts, numbers as numbers, nothing across kinds."""
    if isinstance(node, bool) or isinstance(value, bool) or node is None or value is None:
        return type(node) is type(value) and bool(node == value)
    if isinstance(node, Instant):
        at = instant_of(value)
        return at is not None and ordered(at.seconds, "==", node.seconds)
    if isinstance(node, str) and isinstance(value, str):
        return node == value
    left, right = number_of(node), number_of(value)
    return left is not None and right is not None and ordered(left, "==", right)


# -- what proves nothing --------------------------------------------------------------------------------------------


def _vacuous(claim: Claim, selector: Selector) -> bool:
    """Whether the claim would hold of nearly any result, and so says nothing."""
    last = selector.stages[-1].name if selector.stages else ""
    wanted = number_of(claim.value) if last in ("count", "length", "span") else None
    forms = (
        claim.op in ("exists", "absent") and last in ALWAYS_ONE,
        claim.op == "exists" and not selector.stages and selector.pattern is None and not selector.path,
        claim.op == "ge" and wanted is not None and wanted <= 0,
        claim.op in ("gt", "ne") and wanted is not None and wanted < 0,
    )
    return any(forms) or _found_anywhere(claim, selector)


def _found_anywhere(claim: Claim, selector: Selector) -> bool:
    """Whether the text or a pattern that the claim looks for would be found in anything."""
    said = claim.value
    if isinstance(said, str) and claim.op == "contains" and (not said or _is_anywhere(lambda text: said in text)):
        return True
    patterns = [*_patterns(selector), *([said] if isinstance(said, str) and claim.op == "matches" else [])]
    return any(matches_anything(one) for one in patterns)


UNRELATED = (
    "GET /orders/4711 answered 200 in 12 ms",
    'level=info msg="worker 3 started" pid=20183',
    "Zuletzt gespeichert: Montag, 14:03 Uhr",
    "accepted connection from 10.0.0.7:51234",
    '{"user":"u-19","items":[1,2,3]}',
    "cache warmed with 1024 entries",
    "a1b2c3d4",
    "OK",
)
"""Texts that have nothing in common: what is found in half of them is found anywhere."""


def matches_anything(pattern: str) -> bool:
    """Whether RE2 ``pattern`` is found in the empty text, or in texts that have nothing in common."""
    compiled, budget = pattern_of(pattern), Budget()
    return _is_anywhere(lambda text: search(compiled, text, budget) is not None, "")


def _is_anywhere(found: Callable[[str], bool], *empty: str) -> bool:
    return any(map(found, empty)) or 2 * sum(map(found, UNRELATED)) >= len(UNRELATED)


def _patterns(selector: Selector) -> Iterator[str]:
    """Patterns by which the selector chooses lines or nodes, those that cut something out of them left aside."""
    stages = [argument for stage in selector.stages for argument in stage.arguments]
    chosen = [selector.pattern, *(one.operand if isinstance(one, Condition) else one for one in stages)]
    chosen += [one.operand for step in selector.path if isinstance(step, Where) for one in _conditions(step.filter)]
    yield from (one.text for one in chosen if isinstance(one, Pattern) and not one.groups)


def _conditions(wanted: Filter) -> Iterator[Condition]:
    """Every condition of a filter."""
    match wanted:
        case Test(_, condition) if condition is not None:
            yield condition
        case Both(parts, _):
            for part in parts:
                yield from _conditions(part)
        case Not(part):
            yield from _conditions(part)
        case _:
            return


def _needs_whole(claim: Claim, selector: Selector, *, holds: bool) -> bool:
    """Whether what a truncated answer left out could change the verdict."""
    if claim.op in ("absent", "not_contains", "ne"):
        return True
    if claim.op in ("exists", "contains", "matches") and not holds:
        return True
    return _looks_at_all(selector)


def _looks_at_all(selector: Selector) -> bool:
    """Whether the selector aggregates, or counts from the end."""
    from_end = any((isinstance(step, Index) and step.at < 0) or isinstance(step, Slice) for step in selector.path)
    return from_end or any(stage.name in WHOLE_ONLY for stage in selector.stages)


# -- display --------------------------------------------------------------------------------------------------------


def shown(nodes: list[Any], op: str) -> Json:
    """What the selector gave, as pages show it: one value, or how many nodes there are."""
    if op in ("exists", "absent") or len(nodes) != 1:
        return {"nodes": len(nodes)}
    node = _bare(nodes[0])
    if isinstance(node, (Decimal, float)):
        number = number_of(node)
        return plain(number) if number is not None else None
    if isinstance(node, Instant):
        return str(node)
    if isinstance(node, (list, dict)):
        return {"size": len(node)}
    if isinstance(node, str) and len(node) > _SHOWN_MAX:
        return node[:_SHOWN_MAX] + "…"
    return node


def specificity(claim: Claim) -> int:
    """How much a claim rules out, 0 to 4: equality over order over existence, and a selection by name over none."""
    try:
        selector = parse(claim.selector)
    except Unverifiable:
        return 0
    points = {"eq": 2, "contains": 1, "matches": 1}.get(claim.op, 1 if claim.op in ORDER else 0)
    narrow = any(isinstance(step, Where) for step in selector.path) or selector.pattern is not None
    narrow = narrow or any(
        any(not isinstance(argument, str) or isinstance(argument, Condition) for argument in stage.arguments)
        for stage in selector.stages
        if stage.name in ("where", "lines", "onset")
    )
    return points + int(narrow) + int(bool(claim.at))
