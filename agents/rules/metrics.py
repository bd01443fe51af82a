"""Levels and onsets of series: what saturates, what runs out, and which symptom can be measured.

A metric is recognised by its name and judged by a bound that means trouble on any system (a processor at 85 percent, a
free space down to a tenth), never by a bound that fits one recording. Names of counters end in ``_total``, ``_count`` or
``_sum`` and are judged by their growth.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from re import Pattern
from statistics import median

from agents.rules.finding import Claim, claim
from agents.rules.reading import Series
from agents.rules.scores import OFF, Point, Score, score
from agents.rules.signs import CAUSE, SYMPTOM, Sign
from agents.rules.view import Seen

TAIL = 3
CPU_PERCENT, CPU_RATIO = 85.0, 0.85
LAG_SECONDS = 60.0
LEFT_SHARE = 0.1
QUEUE_DEPTH = 10.0
GROWN = 1.25
THROTTLED = 0.25
_COUNTER = re.compile(r"_(?:total|count|sum)\b|restarts?\b", re.IGNORECASE)
_HOW_OFTEN = re.compile(r"(?:latency|duration|response.?time|seconds|_ms)(?:_\w+)?_(?:count|bucket)$", re.IGNORECASE)
"""How often something was timed: it says nothing of how long that took."""
_SUMMED = re.compile(r"_sum$", re.IGNORECASE)
_SERVED = re.compile(r"_count$|requests?_total$", re.IGNORECASE)
SLOWER = 1.5
_CALLS = re.compile(r"(?:^|_)calls?(?:_total|_count)?$", re.IGNORECASE)
_CALLED = ("to", "peer", "target", "destination", "callee")
_UNANSWERED = frozenset({"refused", "timeout", "timed_out", "unreachable"})
_ANSWERED = frozenset({"error", "failed", "failure"})
UNANSWERED, ANSWERED = "unanswered", "answered"
"""Kinds of symptoms of what is called, as its caller counts them: no answer, or one that says no."""
_OWN = frozenset({"self", "own", "internal", "local"})
_PASSED = frozenset({"upstream", "downstream", "dependency", "passed", "behind"})


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a series shows: the stage after its selector, operator and bound of the claim, and the words for it."""

    stage: str
    op: str
    bound: str
    words: str
    weight: int


Judge = Callable[[Series, Score | None], Trouble | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """Metrics whose names fit ``pattern``, judged by ``judge``; with a fault, trouble is a cause, else a symptom."""

    pattern: Pattern[str]
    judge: Judge
    fault: str = ""
    symptom: str = ""
    calm: tuple[str, str, str | bool] = ("", "", "")
    """The claim that there is no such trouble: stage, operator, value; empty where none can be made."""


@dataclass(frozen=True, slots=True)
class Calm:
    """A series that was recognised and shows no trouble at its end: what it speaks against, and the claim that does."""

    component: str
    fault: str
    symptom: str
    name: str
    claims: Sequence[Claim]


def _tail(series: Series) -> float:
    return median(series.values[-TAIL:])


def _high(series: Series, _: Score | None) -> Trouble | None:
    """A utilisation, in percent or as a share."""
    bound = CPU_RATIO if max(series.values) <= 1.0 else CPU_PERCENT
    if _tail(series) < bound:
        return None
    return Trouble(f"[-{TAIL}:] | median", "ge", _text(bound), f"{series.name} ends at {bound:g} or more", 700)


def _lag(series: Series, how: Score | None) -> Trouble | None:
    if _tail(series) < LAG_SECONDS or (how is not None and how.last < 2 * how.base and how.base < LAG_SECONDS):
        return None
    return Trouble(f"[-{TAIL}:] | median", "ge", _text(LAG_SECONDS), f"{series.name} ends at a minute or more", 850)


def _left(series: Series, _: Score | None) -> Trouble | None:
    """What is left of something that runs out."""
    first, last = series.values[0], series.values[-1]
    if first <= 0 or max(last, _tail(series)) > LEFT_SHARE * first:
        return None
    return Trouble(f"shrank({_text(1 / LEFT_SHARE)})", "eq", "true", f"{series.name} fell to a tenth or less", 800)


def _queue(series: Series, _: Score | None) -> Trouble | None:
    if _tail(series) < QUEUE_DEPTH:
        return None
    return Trouble(
        f"[-{TAIL}:] | median", "ge", _text(QUEUE_DEPTH), f"{series.name} ends at {QUEUE_DEPTH:g} or more", 650
    )


def _grown(series: Series, how: Score | None) -> Trouble | None:
    """A level that ends well above where it began, and above its own noise."""
    if how is None or how.signed < OFF or min(how.last, series.values[-1]) < GROWN * max(how.base, series.values[0]):
        return None
    return Trouble(f"grew({_text(GROWN)})", "eq", "true", f"{series.name} grew by a quarter or more", 450)


def _risen(series: Series, how: Score | None) -> Trouble | None:
    """A symptom: clearly above the usual at the end, or, for a counter, counting faster."""
    if _COUNTER.search(series.name):
        return _counted(series, how)
    if how is None or how.signed < OFF or how.last < 1.5 * max(how.base, 0.0) or how.last <= 0:
        return None
    between = (how.base + how.last) / 2
    return Trouble(f"[-{TAIL}:] | median", "gt", _text(between), f"{series.name} ends well above where it began", 500)


def _counted(series: Series, how: Score | None) -> Trouble | None:
    """A counter of failures that goes up, faster at the end than at the beginning; what it claims was not so before."""
    steps = _steps(series.points)
    if not steps:
        return None
    total = sum(value for _, value in steps)
    third = max(1, len(steps) // 3)
    head, tail = sum(v for _, v in steps[:third]), sum(v for _, v in steps[-third:])
    if total < 3 or tail <= 2 * head:
        return None
    began = how.onset if how is not None and how.onset is not None else steps[-third][0]
    before = sum(value for at, value in steps if at < began)
    return Trouble("delta", "ge", str(max(3, int((before + total) / 2))), f"{series.name} counts up", 500)


def _restarted(series: Series, _: Score | None) -> Trouble | None:
    if series.values[-1] - series.values[0] < 2:
        return None
    return Trouble("delta", "ge", "2", f"{series.name} rose by two or more", 700)


def _dropped(series: Series, how: Score | None) -> Trouble | None:
    """Traffic that is gone: signed, downwards."""
    if how is None or how.signed > -OFF or how.base <= 0:
        return None
    if max(how.last, series.values[-1]) > min(how.base, series.values[0]) / 2:
        return None
    return Trouble("shrank(2)", "eq", "true", f"{series.name} fell to a half or less", 350)


def _zero(series: Series, _: Score | None) -> Trouble | None:
    if max(series.values) <= 0 or series.values[-1] > 0:
        return None
    return Trouble("last", "eq", "0", f"{series.name} is 0 at the end", 750)


def _share(series: Series, _: Score | None) -> Trouble | None:
    last = _tail(series)
    bound = THROTTLED if max(series.values) <= 1.0 else 100 * THROTTLED
    if last < bound:
        return None
    return Trouble(f"[-{TAIL}:] | median", "ge", _text(bound), f"{series.name} ends at a quarter or more", 800)


_LEVEL = f"[-{TAIL}:] | median"
_CALM: Mapping[Judge, tuple[str, str, str | bool]] = {
    _high: (_LEVEL, "lt", "85"),
    _lag: (_LEVEL, "lt", "60"),
    _queue: (_LEVEL, "lt", "10"),
    _left: ("shrank(10)", "eq", False),
    _grown: ("grew(1.25)", "eq", False),
}


def _kind(pattern: str, judge: Judge, fault: str = "", symptom: str = "") -> Kind:
    return Kind(re.compile(pattern, re.IGNORECASE), judge, fault, symptom, _CALM.get(judge, ("", "", "")))


KINDS: Sequence[Kind] = (
    _kind(r"throttl", _share, "cpu-throttled"),
    _kind(r"replica.{0,12}lag|replication.{0,12}lag|replay.{0,8}lag", _lag, "replication-lag"),
    _kind(r"cpu.{0,12}(?:util|percent|usage|busy|load)|(?:util|usage).{0,8}cpu", _high, "cpu-saturated"),
    _kind(r"free.{0,6}(?:storage|disk|space)|(?:storage|disk|filesystem).{0,10}(?:free|avail)", _left, "disk-full"),
    _kind(r"free(?:able)?.{0,4}mem|mem\w*.{0,6}(?:free|avail)", _left, "memory-exhausted"),
    _kind(r"disk.{0,6}queue", _queue, "io-saturated"),
    _kind(r"queue.{0,6}(?:depth|length|size)|backlog", _risen, "", "queue"),
    _kind(r"connections?\b|conn_(?:active|in_use)|pool_(?:in_use|used|busy)", _grown, "connections-exhausted"),
    _kind(r"restart", _restarted, "crash-loop"),
    _kind(r"^up$|health(?:y|_status)|available_replicas", _zero, "", "down"),
    _kind(r"error|fail|exception|5xx|reject|timeouts?\b", _risen, "", "errors"),
    _kind(r"latency|duration|response.?time|_seconds|p9\d|_ms\b", _risen, "", "latency"),
    _kind(r"requests?|throughput|rps|qps", _dropped, "", "traffic"),
)


def read(seen: Seen, found: Sequence[Series]) -> tuple[list[Sign], list[Calm]]:
    """What the series of an answer show: signs of trouble, and what is recognised and calm.

    A part of an answer can show trouble; it never shows calm.
    """
    signs: list[Sign] = []
    calm: list[Calm] = []
    for one in found:
        if _CALLS.search(one.name) and one.points:
            called = _called(seen, one)
            signs += [called] if called is not None else []
            continue
        kind = next((kind for kind in KINDS if kind.pattern.search(one.name)), None)
        if kind is None or not one.points or _HOW_OFTEN.search(one.name):
            continue
        sign = _sign(seen, one, kind)
        if sign is not None:
            signs.append(sign)
        elif seen.status != "truncated":
            calm.append(_calm(seen, one, kind))
    return signs, calm


def sums(found: Sequence[Series]) -> list[Series]:
    """Series that add up how long things took."""
    return [one for one in found if one.points and _SUMMED.search(one.name)]


def counts(found: Sequence[Series]) -> list[Series]:
    """Series that count what was served."""
    return [one for one in found if one.points and _SERVED.search(one.name)]


def slower(one: Series, counted: Sequence[Series]) -> bool | None:
    """Whether a sum grew faster because each took longer, and not because more was served; None where nobody counted that."""
    steps = _steps(one.points)
    name = _SUMMED.sub("_count", one.name)
    own = [
        other
        for other in counted
        if other.component == one.component and other.name == name and _bare(other) == _bare(one)
    ]
    served = own or [
        other for other in counted if other.component == one.component and not other.name.endswith("_count")
    ]
    if not steps or not served:
        return None
    third = max(1, len(steps) // 3)
    before, after = steps[third - 1][0], steps[-third][0]
    times = [step for other in served for step in _steps(other.points)]
    head, tail = sum(v for at, v in times if at <= before), sum(v for at, v in times if at >= after)
    spent, now = sum(v for _, v in steps[:third]), sum(v for _, v in steps[-third:])
    return tail <= 0 or (head > 0 and now * head >= SLOWER * spent * tail)


def _bare(series: Series) -> Mapping[str, str]:
    return {name: value for name, value in series.labels.items() if name != "__name__"}


def _calm(seen: Seen, series: Series, kind: Kind) -> Calm:
    stage, op, value = kind.calm
    claims = []
    if stage:
        words = f"{series.name} of {series.component} shows no trouble at the end"
        claims = [claim(seen.observation, f"{series.selector} | {stage}", op, value, text=words, role="context")]
    return Calm(series.component, kind.fault, kind.symptom, series.name, claims)


def _sign(seen: Seen, series: Series, kind: Kind) -> Sign | None:
    counter = _COUNTER.search(series.name) is not None
    how = score(_steps(series.points) if counter else series.points)
    trouble = kind.judge(series, how)
    if trouble is None:
        return None
    role = CAUSE if kind.fault else SYMPTOM
    onset = how.onset if how is not None else None
    made = claim(
        seen.observation,
        f"{series.selector} | {trouble.stage}",
        trouble.op,
        True if trouble.bound == "true" else trouble.bound,
        text=f"{trouble.words} ({series.component})",
        role=role,
        component=series.component,
        at=f"{series.selector} | onset" if onset is not None and not counter else "",
    )
    return Sign(
        series.component,
        kind.fault,
        role,
        trouble.weight,
        seen.query.signal or "metric",
        seen.query.source or f"{seen.query.type}/{seen.query.id}",
        seen.observation,
        onset,
        made,
        trouble.words,
        kind=_whose(series, kind.symptom),
    )


def _called(seen: Seen, series: Series) -> Sign | None:
    """Calls that fail more and more: a symptom of what is called, told by who calls it."""
    to = next((series.labels[name] for name in _CALLED if series.labels.get(name)), "")
    said = {value.lower() for value in series.labels.values()}
    kind = UNANSWERED if said & _UNANSWERED else ANSWERED if said & _ANSWERED else ""
    trouble = _counted(series, score(_steps(series.points))) if to and kind else None
    if trouble is None:
        return None
    text = f"calls to {to} fail more and more ({series.component} counts them)"
    made = claim(
        seen.observation, f"{series.selector} | delta", "ge", trouble.bound, text=text, role="symptom", component=to
    )
    source = seen.query.source or f"{seen.query.type}/{seen.query.id}"
    signal = seen.query.signal or "metric"
    return Sign(to, "", SYMPTOM, trouble.weight, signal, source, seen.observation, None, made, text, kind=kind)


def _whose(series: Series, symptom: str) -> str:
    """Errors of its own, or passed on from behind, where a label tells."""
    values = {value.lower() for value in series.labels.values()}
    if symptom == "errors" and values & _OWN:
        return "own-errors"
    if symptom == "errors" and values & _PASSED:
        return "passed-errors"
    return symptom


def _steps(points: Sequence[Point]) -> list[Point]:
    """Growth from point to point of a counter; a reset counts from zero."""
    return [(at, now - before if now >= before else now) for (_, before), (at, now) in pairwise(points)]


def _text(value: float) -> str:
    """Decimal text with at most 6 places: claims carry no floats."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
