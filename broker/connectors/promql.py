"""PromQL, read and judged before it leaves: what cannot be bounded is refused, and what leaves is our own rendering.

The text is parsed (promql-parser: the grammar of Prometheus 2.45 and later), every selector is checked, the labels that
the settings enforce are put into each, and the tree is written out again. The server reads only what we judged, so a
difference between two parsers can refuse a query but cannot widen one. Pure; length, nesting and operators are bounded
before parsing, because the parser's time grows faster than the query.

A selector is bounded when it names its metric exactly, or holds one label that is not enforced to an exact, non-empty
value beside a name pattern that does not match everything. Ranges, subqueries and offsets count against the look-back,
and the product of all steps against the evaluations that one query may cost.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import promql_parser
import re2
from promql_parser import (
    AggregateExpr,
    AtModifierType,
    BinaryExpr,
    Call,
    Expr,
    Matcher,
    MatchOp,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

from broker.errors import BadRequest

CHARACTERS_MAX: Final = 4000
_NESTING_MAX: Final = 64
_OPERATORS_MAX: Final = 64
_OPERATOR: Final = re.compile(r"""[-+*/%^(<>]|==|!=(?!\s*["'`])|\b(?:and|or|unless|atan2)\b""", re.IGNORECASE)
_CLASS: Final = re.compile(r"\\[wWdDsSpPbB]")
_REPEATED: Final = re.compile(r"\{\s*(\d{1,6})\s*(?:,\s*(\d{0,6})\s*)?\}")
_PATTERN_WEIGHT_MAX: Final = 500
"""Classes of characters times counted repetitions: what the parser spends on compiling a query's patterns."""
_NAME: Final = "__name__"
_NO_METRIC: Final = ("wicketgate_no_such_metric_5d3f", "0", "zZ:")
"""Names that no sane pattern of metrics matches all of; a pattern that does stands for every metric."""
_SIGNS: Final[Mapping[str, str]] = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}
_PLAIN_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_FORBIDDEN_CALLS: Final = frozenset({"info"})
"""``info`` reads series that no selector of the query names."""


@dataclass(frozen=True, slots=True)
class QueryBounds:
    """What one query may ask for. Seconds as the names say."""

    window_seconds_max: int = 604_800
    points_max: int = 11_000
    """Points a series: Prometheus' own cap."""
    step_seconds_min: int = 1
    lookback_seconds_max: int = 604_800
    """A range, a subquery and their offsets together, before the window."""
    evaluations_max: int = 110_000
    """Steps of the window times the steps of each subquery."""
    selectors_max: int = 16


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start_s`` to ``end_s`` in steps of ``step_s`` seconds; an instant has no width."""

    start_s: int
    end_s: int
    step_s: int = 1

    @property
    def points(self) -> int:
        """Points of one series."""
        return (self.end_s - self.start_s) // self.step_s + 1


def check_window(window: Window, bounds: QueryBounds) -> None:
    """Refuse (``BadRequest``) a window that is reversed, too wide, or cut into too many points."""
    width = window.end_s - window.start_s
    if width < 0:
        raise _refusal("field `arguments.end_s` lies before `arguments.start_s`", "send the earlier time as start_s")
    if width > bounds.window_seconds_max:
        raise _refusal(
            f"the window is {width} s wide; at most {bounds.window_seconds_max} s may be asked for at once",
            "ask for a narrower window",
        )
    if width and window.step_s < bounds.step_seconds_min:
        raise _refusal(f"field `arguments.step_s` must be at least {bounds.step_seconds_min}", "use a longer step")
    if window.points > bounds.points_max:
        least = max(-(-width // (bounds.points_max - 1)), 1)
        raise _refusal(
            f"the window holds {window.points} points a series; at most {bounds.points_max} are given",
            f"use a step of at least {least} s, or a narrower window",
        )


def bounded_query(query: str, window: Window, *, enforce: Mapping[str, str], bounds: QueryBounds) -> str:
    """Return what may be sent in the place of ``query``; raises ``BadRequest`` that says why and what to do.

    The window must have passed ``check_window``. Only expressions that give a vector or a scalar are let through.
    """
    with _readable():
        return _judged(_parsed(query), window, enforce, bounds)


def bounded_matchers(matchers: str, *, enforce: Mapping[str, str]) -> str:
    """Return one series selector that may be sent, such as ``up{job="checkout"}``; raises ``BadRequest``."""
    with _readable():
        tree = _parsed(matchers)
        if not isinstance(tree, VectorSelector) or tree.offset is not None or tree.at is not None:
            raise _refusal("field `arguments.matchers` must hold plain selectors", 'write them as name{label="value"}')
        _check_selector(tree, enforce, named=False)
        return _enforced(tree, enforce)


@contextmanager
def _readable() -> Iterator[None]:
    """What the parser's objects cannot hold (depth, times beyond the calendar) is refused like any other query."""
    try:
        yield
    except (ValueError, OverflowError, RecursionError):
        raise _refusal("the query holds a time or a nesting that cannot be judged", "write it in other words") from None


def _judged(tree: Expr, window: Window, enforce: Mapping[str, str], bounds: QueryBounds) -> str:
    if isinstance(_bare(tree), MatrixSelector | SubqueryExpr | StringLiteral):
        raise _refusal(
            "the query gives a range or a text, not a vector",
            "wrap it in a function such as rate() or last_over_time()",
        )
    selectors = [node for node in _nodes(tree) if isinstance(node, VectorSelector)]
    if len(selectors) > bounds.selectors_max:
        raise _refusal(
            f"the query holds {len(selectors)} selectors; at most {bounds.selectors_max} are allowed", "split the query"
        )
    for selector in selectors:
        _check_selector(selector, enforce, named=True)
    _cost(tree, window, bounds, before=0.0, steps=window.points)
    return _enforced(tree, enforce)


def _parsed(query: str) -> Expr:
    """Parse after bounds that keep the parser's time and depth small."""
    depth = deepest = 0
    for character in query:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if len(query) > CHARACTERS_MAX or deepest > _NESTING_MAX or len(_OPERATOR.findall(query)) > _OPERATORS_MAX:
        raise _refusal(
            f"the query is too large to be judged: at most {CHARACTERS_MAX} characters, {_NESTING_MAX} levels and "
            f"{_OPERATORS_MAX} operators are read",
            "split it into smaller queries",
        )
    repeated = (max(int(least), int(most or 0), 1) for least, most in _REPEATED.findall(query))
    if (len(_CLASS.findall(query)) + 1) * math.prod(repeated) > _PATTERN_WEIGHT_MAX:
        raise _refusal("the patterns of the query are too heavy to be judged", "use shorter repetitions, or plain text")
    try:
        tree: Expr = promql_parser.parse(query)
    except ValueError as error:
        raise _refusal(
            f"the query is not PromQL that the gate can read: {str(error)[:200]}", "correct the query"
        ) from None
    return tree


def _children(node: Expr) -> tuple[Expr, ...]:
    """The expressions below a node, over a closed set of kinds: one that is not known here is refused."""
    match node:
        case NumberLiteral() | StringLiteral() | VectorSelector():
            return ()
        case MatrixSelector():
            return (node.vector_selector,)
        case ParenExpr() | UnaryExpr() | SubqueryExpr():
            return (node.expr,)
        case BinaryExpr():
            return (node.lhs, node.rhs)
        case Call():
            if node.func.name in _FORBIDDEN_CALLS:
                raise _refusal(
                    f"the function {node.func.name}() reads series that the query does not name", "join explicitly"
                )
            return tuple(node.args)
        case AggregateExpr():
            return (node.expr, node.param) if isinstance(node.param, Expr) else (node.expr,)
        case _:
            raise _refusal("the query holds an expression that the gate does not know", "write it in other words")


def _nodes(node: Expr) -> Iterator[Expr]:
    yield node
    for child in _children(node):
        yield from _nodes(child)


def _bare(node: Expr) -> Expr:
    while isinstance(node, ParenExpr):
        node = node.expr
    return node


def _check_selector(selector: VectorSelector, enforce: Mapping[str, str], *, named: bool) -> None:
    """Refuse selectors that could stand for everything, or that reach for another value of an enforced label."""
    if selector.matchers.or_matchers:
        raise _refusal("`or` between matchers is not PromQL of the server", "use a regular expression, or two queries")
    matchers = selector.matchers.matchers
    for matcher in matchers:
        wanted = enforce.get(matcher.name)
        if wanted is not None and not (matcher.op == MatchOp.Equal and matcher.value == wanted):
            raise BadRequest(
                f"the label `{matcher.name}` is fixed for this target, and the query asks for another value of it",
                code="request.label_enforced",
                remedy=f"leave the label `{matcher.name}` out: the gate puts it into every selector",
            )
    names = [matcher for matcher in matchers if matcher.name == _NAME]
    if len(names) + (selector.name is not None) > 1:
        raise _refusal("a selector names its metric twice", "name the metric once")
    if selector.name is not None or any(m.op == MatchOp.Equal and m.value for m in names):
        return
    exact = any(m.op == MatchOp.Equal and m.value and m.name not in {_NAME, *enforce} for m in matchers)
    if exact and (not named or any(m.op == MatchOp.Re and not _matches_all(m.value) for m in names)):
        return
    raise BadRequest(
        "a selector of the query is unbounded: it could stand for every series of the server",
        code="request.unbounded",
        remedy='name the metric, or give a pattern of its name and one exact label: {__name__=~"http_.+", job="checkout"}',
    )


def _matches_all(pattern: str) -> bool:
    try:
        options = re2.Options()
        options.log_errors = False
        compiled = re2.compile(pattern, options)
    except re2.error:
        return True
    return all(compiled.fullmatch(name) for name in _NO_METRIC)


def _cost(node: Expr, window: Window, bounds: QueryBounds, *, before: float, steps: int) -> None:
    """Add up how far back, and multiply how often; ``before`` and ``steps`` come from the nodes around."""
    match node:
        case MatrixSelector():
            reach = before + _seconds(node.range)
            _check_lookback(reach + _moved(node.vector_selector, window), bounds)
            return
        case VectorSelector():
            _check_lookback(before + _moved(node, window), bounds)
            return
        case SubqueryExpr():
            if node.step is None or _seconds(node.step) <= 0:
                raise _refusal("a subquery has no step of its own", "write its step, such as [1h:1m]")
            steps *= math.ceil(_seconds(node.range) / _seconds(node.step))
            before += _seconds(node.range) + _moved(node, window)
            if steps > bounds.evaluations_max:
                raise _refusal(
                    f"the query asks for {steps} evaluations; at most {bounds.evaluations_max} are allowed",
                    "use longer steps, a narrower window, or a subquery over less time",
                )
            _check_lookback(before, bounds)
        case _:
            pass
    for child in _children(node):
        _cost(child, window, bounds, before=before, steps=steps)


def _moved(node: VectorSelector | SubqueryExpr, window: Window) -> float:
    """How far ``offset`` and ``@`` carry a selector away from the window, either way."""
    moved = abs(_seconds(node.offset))
    if node.at is not None and node.at.type == AtModifierType.At and node.at.at is not None:
        at = node.at.at.timestamp()
        moved += max(window.start_s - at, at - window.end_s, 0.0)
    return moved


def _check_lookback(reach: float, bounds: QueryBounds) -> None:
    if reach > bounds.lookback_seconds_max:
        raise _refusal(
            f"the query reaches {reach:.0f} s beyond its window; at most {bounds.lookback_seconds_max} s are allowed",
            "use shorter ranges and offsets",
        )


def _seconds(span: timedelta | None) -> float:
    return span.total_seconds() if span is not None else 0.0


def _enforced(tree: Expr, enforce: Mapping[str, str]) -> str:
    """Write the tree with the enforced labels in every selector, read it back, and see that they are there."""

    def put(node: Expr) -> Expr | None:
        # A changed attribute does not reach the tree: the selector is written anew and parsed.
        return promql_parser.parse(_selector(node, enforce)) if isinstance(node, VectorSelector) else None

    text = promql_parser.transform(tree, put).prettify()
    _assert_enforced(_nodes(promql_parser.parse(text)), enforce, len(list(_nodes(tree))))
    return text


def _selector(node: VectorSelector, enforce: Mapping[str, str]) -> str:
    """One selector in PromQL, with the enforced labels after its own matchers."""
    own = [(m.name, _SIGNS[str(m.op)], m.value) for m in node.matchers.matchers if m.name not in enforce]
    matchers = [*own, *((name, "=", value) for name, value in enforce.items())]
    written = ",".join(f"{_label_name(name)}{sign}{_quoted(value)}" for name, sign, value in matchers)
    text = f"{node.name or ''}{{{written}}}"
    if node.at is not None:
        at = f"{node.at.at.timestamp():.3f}" if node.at.at is not None else ""
        text += {
            "AtModifierType.At": f" @ {at}",
            "AtModifierType.Start": " @ start()",
            "AtModifierType.End": " @ end()",
        }[str(node.at.type)]
    if node.offset:
        moved = round(node.offset.total_seconds() * 1000)
        text += f" offset {'-' if moved < 0 else ''}{abs(moved)}ms"
    return text


def _label_name(name: str) -> str:
    return name if _PLAIN_LABEL.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    """A string literal: the escapes of JSON are escapes of PromQL, too."""
    return json.dumps(text, ensure_ascii=False)


def _assert_enforced(nodes: Iterable[Expr], enforce: Mapping[str, str], count: int) -> None:
    """The rendering must read back as the same tree with the labels in it; anything else stays here."""
    written = list(nodes)
    selectors = [node.matchers.matchers for node in written if isinstance(node, VectorSelector)]
    holds: Callable[[list[Matcher]], bool] = lambda matchers: all(  # noqa: E731
        [(m.op, m.value) for m in matchers if m.name == name] == [(MatchOp.Equal, value)]
        for name, value in enforce.items()
    )
    if len(written) != count or not all(map(holds, selectors)):
        raise _refusal("the query cannot be written out without changing its meaning", "write it in other words")


def _refusal(detail: str, remedy: str) -> BadRequest:
    return BadRequest(detail, code="request.query", remedy=remedy)
