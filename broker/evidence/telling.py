"""Whether a verified claim says anything: of what is true of nearly any answer, or was as true before, it says nothing.

The gate needs something to compare with, and has it from its own observation: the series before it changed (``shifts.py``),
the rows before the trouble, the state that the manifest declares to be well. What has no such thing beside it must tell
of trouble in words (``TROUBLE``). A claim that says nothing stays verified; it does not count. README.md states the rule
and its limits. Pure.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.evidence.claims import Claim
from broker.evidence.evaluate import Budget, Point
from broker.evidence.independence import is_counter
from broker.evidence.observations import Observation
from broker.evidence.quantities import Unverifiable, instant_of, number_of
from broker.evidence.shifts import Shift, shift
from broker.evidence.stages import ALWAYS_ONE, evaluate
from broker.evidence.syntax import Selector, parse
from broker.evidence.tracing import Found, all_series, anywhere, before, path_of, series_of, trace
from broker.evidence.verdicts import ORDER, REFUTED, is_met, judge_claim
from broker.model import Json

NEAR_S, SLACK_S = 3600, 60
"""A change explains what begins at most this long after it; clocks of two systems may differ by this much."""
OFTENER = 3
"""Rows that tell of trouble must come this much oftener in the later half of the time up to the alert than in the earlier."""

REASONS: Mapping[str, str] = {
    "claim.existence": "that there is something says nothing: say what it is, or how much more than before",
    "claim.absence": "that something is not so, or not there, speaks for no cause",
    "claim.unchanged": "the series did not change in this window: cite one that did, with the time before it",
    "claim.true_before": "it was as true before the change: claim what was not",
    "claim.of_the_window": "it says how much was read, not what was measured",
    "claim.not_trouble": "what it found tells of no trouble",
    "claim.usual": "the same was there as often before: cite what is new",
    "claim.no_baseline": "the window begins too late to show what was usual: read from before the alert",
    "claim.not_near": "the change is not of the hour before the alert",
    "claim.well": "the state that was seen is what the manifest calls well",
    "claim.no_reference": "nothing in the observation shows what would be usual: cite a series, dated rows, or trouble",
    "claim.alert": "the alert is what is to be explained, not what explains it",
    "claim.document": "settings and documents say what was ordered, not what happened",
    "claim.not_judged": "the observation is too large for this selector: read less of it",
}
"""Code -> what to do about it."""

_OF_NOTHING = {"config": "claim.document", "alert": "claim.alert"}
_OF_WINDOW = frozenset({"count", "length", "span", "times", "at_first", "at_last"})
_LEVELS = frozenset({"error", "fatal", "critical", "panic", "severe", "emergency", "alert", "warn", "warning"})
_LEVEL_KEYS = ("level", "severity", "lvl")
TROUBLE = re.compile(
    r"\berr(?:or|no|s)?\b|errors?\b|\bErr[A-Z]|exception|\w(?:Exception|Error)\b|fatal|panic|critical|severe|segfault|traceback"
    r"|fail|refus|reject|declin|denied|forbidden|unauthori[sz]ed|invalid|malformed|unknown (?:field|key|option|value)"
    r"|time(?:d)?[ -]?out|unavailable|unreachable|unresponsive|unable|cannot|can't|could not|couldn't|does not|did not"
    r"|doesn't|didn't|\b0/[1-9]|no route|no such|no space|not (?:found|set|ready|acquired|running|available)|undefined|missing"
    r"|exhaust|exceed|insufficient|out of|ran out|too (?:many|few|long|large|frequent\w*)|saturat|throttl|pressure|full\b"
    r"|oom|kill|crash|back-?off|abort|corrupt|exit(?:ed)? (?:with )?(?:code|status)?:? ?[1-9]|died|dead|stopped|exited"
    r"|lost|reset by|broken|disconnect|degraded|unhealthy|\bdown\b|evict|unschedul|pending|waiting|deadlock|lock"
    r"|slow|drop|\blag|behind|leak|expired|failover|vacuum|checkpoint|\b5\d\d\b",
    re.IGNORECASE,
)
"""Wording of trouble in general, that of no one incident."""
_HARMLESS = re.compile(
    r"\b(?:0|no|zero|without|any) (?:errors?|exceptions?|failures?|issues?)\b"
    r"|\berrors?[=:]\s*\"?(?:0|null|none|nil|false)\b|\"errors?\":\s*(?:0|null|\"\"|false|\[\])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Worth:
    """``idle``: why the claim says nothing, a code of ``REASONS``; empty where it counts.

    ``began``: unix seconds between which what it shows began, by the gate's own reading; None where that is not dated.
    """

    idle: str = ""
    began: tuple[int, int] | None = None


NOT_JUDGED = Worth("claim.not_judged")


def worth(
    claim: Claim, seen: Observation, since: int | None, budget: Budget, own: Callable[[Found], bool] = lambda _: True
) -> Worth:
    """What a verified claim is worth in an incident whose alert began at ``since`` (unix seconds; None: unknown).

    ``own``: whether a series beside what the claim looks at is of the same component.
    """
    try:
        return _worth(claim, seen, since, budget, own)
    except Unverifiable:
        return NOT_JUDGED


def _worth(claim: Claim, seen: Observation, since: int | None, budget: Budget, own: Callable[[Found], bool]) -> Worth:
    selector = parse(claim.selector)
    if code := _shape(claim, selector):
        return Worth(code)
    if seen.signal in _OF_NOTHING:
        return Worth(_OF_NOTHING[seen.signal])
    found = matching(claim, selector, seen, budget)
    if series := series_of(selector, seen.value, found, budget):
        return _of_series(claim, selector, seen, series, budget)
    if found and all(one.at is not None for one in found):
        return _of_rows(selector, seen, found, since)
    return _of_snapshot(selector, seen, found, budget, own)


def matching(claim: Claim, selector: Selector, seen: Observation, budget: Budget) -> list[Found]:
    """What the claim looks at; where it asks for some text, only the lines that make it true."""
    found = trace(selector, seen.value, budget)
    if claim.op not in {"contains", "matches"}:
        return found
    lines = [line for one in found for line in one.lines()]
    budget.spend(len(lines))
    return [one for one in lines if is_met(claim, [one.node])] or [one for one in found if is_met(claim, [one.node])]


# -- what a claim asks, whatever the answer -----------------------------------------------------------------------------


def _shape(claim: Claim, selector: Selector) -> str:
    """The code for a question that says nothing by its form."""
    wanted, last = number_of(claim.value), selector.stages[-1].name if selector.stages else ""
    counted = wanted if last == "count" else None
    none = counted is not None and (claim.op in {"lt", "le"} or (claim.op == "eq" and counted == 0))
    some = counted is not None and claim.op in {"gt", "ge"} and counted <= (0 if claim.op == "gt" else 1)
    denied = last in ALWAYS_ONE and claim.value is False
    forms = (
        (none or denied or claim.op in {"ne", "not_contains", "absent"}, "claim.absence"),
        (some or claim.op == "exists", "claim.existence"),
        (last in {"length", "span"}, "claim.of_the_window"),
    )
    return next((code for fits, code in forms if fits), "")


# -- series -------------------------------------------------------------------------------------------------------------


def _of_series(
    claim: Claim, selector: Selector, seen: Observation, series: Sequence[list[Point]], budget: Budget
) -> Worth:
    """A series must have changed, and the claim must not hold of the part before."""
    if any(stage.name in _OF_WINDOW for stage in selector.stages):
        return Worth("claim.of_the_window")
    counter = is_counter(seen, series_names(selector, seen, budget))
    found = [one for points in series if (one := _shifted(points, counter=counter, budget=budget))]
    if not found:
        return Worth("claim.unchanged")
    first = min(found, key=lambda one: one.edge)
    if _held(claim, anywhere(selector, seen.value, budget), before(seen.value, first.edge, budget), budget):
        return Worth("claim.true_before")
    return Worth("", (int(first.earliest.seconds), int(first.edge.seconds)))


def _held(claim: Claim, selector: Selector, earlier: Any, budget: Budget) -> bool:
    """Whether the claim held before: of some value, where it is about one and the part before has several."""
    try:
        nodes = evaluate(selector, earlier, budget=budget)
        parts = [[node] for node in nodes] if claim.op in ORDER else [nodes]
        return any(is_met(claim, part) for part in parts)
    except Unverifiable as reason:
        if reason.code == "selector.steps":
            raise
        return False


def series_names(selector: Selector, seen: Observation, budget: Budget) -> set[str]:
    """Names of metrics beside what the selector looks at."""
    names: set[str] = set()
    for one in trace(selector, seen.value, budget):
        for holder in one.around:
            if isinstance(holder, Mapping):
                labels = holder.get("labels") or holder.get("metric")
                given = [holder.get("name"), holder.get("metric_name"), holder.get("metric")]
                given += [labels.get("__name__")] if isinstance(labels, Mapping) else []
                names |= {name for name in given if isinstance(name, str)}
    return names


def _shifted(points: list[Point], *, counter: bool, budget: Budget) -> Shift | None:
    budget.spend(4 * len(points))
    return shift(points, counter=counter)


# -- dated rows ---------------------------------------------------------------------------------------------------------


def _of_rows(selector: Selector, seen: Observation, found: Sequence[Found], since: int | None) -> Worth:
    """A change must be near the alert; anything else must tell of trouble, and not have been there as often before."""
    instants = sorted(int(one.at.seconds) for one in found if one.at is not None)
    began = (instants[0], instants[0])
    near = [at for at in instants if since is None or since - NEAR_S <= at <= since + SLACK_S]
    if seen.signal == "change" and near:
        return Worth("", (near[0], near[0]))
    counting = bool(selector.stages) and selector.stages[-1].name == "count"
    if not counting and not all(isinstance(one.node, (str, Mapping)) for one in found):
        return Worth("claim.no_reference")
    if not all(_tells(one) for one in found):
        return Worth("claim.not_near" if seen.signal == "change" else "claim.not_trouble")
    if since is not None and (code := _usual(seen, instants, since)):
        return Worth(code)
    return Worth("", began)


def _usual(seen: Observation, instants: Sequence[int], since: int) -> str:
    """The code for rows that came as often before, or of which the window cannot show it."""
    start = window_start(seen)
    if start is None:
        return ""
    if start > since - SLACK_S:
        return "claim.no_baseline"
    half = start + (since - start) // 2
    early = sum(1 for at in instants if at < half)
    late = len(instants) - early
    until = max(since, instants[-1]) + 1
    return "claim.usual" if early and late * (half - start) < OFTENER * early * (until - half) else ""


def window_start(seen: Observation) -> int | None:
    """Unix second from which on was read, as the call says; None where it says nothing."""
    said = seen.arguments
    for name in ("since_s", "start_s", "since", "start", "start_time", "from"):
        at = instant_of(said.get(name))
        if at is not None:
            return int(at.seconds)
    width = next((number for name in ("window_seconds", "window_s") if (number := number_of(said.get(name)))), None)
    if width is None:
        return None
    ends = (instant_of(said.get(name)) for name in ("end_s", "until_s", "end"))
    end = next((int(one.seconds) for one in ends if one is not None), seen.at)
    return end - int(width)


def _tells(found: Found) -> bool:
    """Whether a node, or the level beside it, tells of trouble."""
    row = found.row or {}
    if any(str(row.get(key, "")).lower() in _LEVELS for key in _LEVEL_KEYS):
        return True
    nodes = found.node.values() if isinstance(found.node, Mapping) else [found.node, *found.around[-1:]]
    return any(isinstance(one, str) and is_trouble(one) for one in nodes)


def is_trouble(text: str) -> bool:
    """Whether a text tells of trouble in any words."""
    return TROUBLE.search(_HARMLESS.sub(" ", text)) is not None


# -- what is not dated --------------------------------------------------------------------------------------------------


def _of_snapshot(
    selector: Selector, seen: Observation, found: Sequence[Found], budget: Budget, own: Callable[[Found], bool]
) -> Worth:
    """A state must not be what is declared to be well; a profile stands with the load beside it; a text tells of trouble."""
    if seen.well:
        asked = [(one, parse(str(one["selector"]))) for one in seen.well]
        mine = [one for one, own in asked if path_of(own) == path_of(selector)]
        ill = any(judge_claim(_well(one), seen, budget).verdict == REFUTED for one in mine)
        return Worth("" if ill or _among(trace(selector, seen.value, budget), seen, budget) else "claim.well")
    if found and all(_tells(one) for one in found):
        return Worth()
    if seen.signal == "trace" and not any(stage.name == "count" for stage in selector.stages):
        series = [points for beside, points in all_series(seen.value, budget) if own(beside)]
        changed = [one for points in series if (one := _shifted(points, counter=False, budget=budget))]
        first = min(changed, key=lambda one: one.edge, default=None)
        return (
            Worth("", (int(first.earliest.seconds), int(first.edge.seconds))) if first else Worth("claim.no_reference")
        )
    return Worth(
        "claim.not_trouble" if found and all(isinstance(one.node, str) for one in found) else "claim.no_reference"
    )


def _among(selected: Sequence[Found], seen: Observation, budget: Budget) -> bool:
    """Whether all that a selector looks at stands in rows that the manifest says a well state has none of."""
    none = [parse(str(one["selector"])) for one in seen.well if one["op"] == "eq" and one.get("value") == 0]
    counted = [own for own in none if own.stages and own.stages[-1].name == "count"]
    ill = {id(one.around[-1]) for own in counted for one in trace(own, seen.value, budget) if one.around}
    return bool(selected) and all(bool(one.around) and id(one.around[-1]) in ill for one in selected)


def _well(declared: Mapping[str, Json]) -> Claim:
    return Claim("", str(declared["selector"]), str(declared["op"]), declared.get("value"))
