"""Sure, healthy, or neither: where the rules abstain."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.rules.candidates import Weighted, explains
from agents.rules.faults import family
from agents.rules.finding import Claim, Ruled
from agents.rules.reading import Line
from agents.rules.scope import Scope
from agents.rules.signs import Sign, explained

MARGIN_MILLI = 100
SPECIFIC_MILLI = 800
LEADER_MILLI = 750
LEFT_OVER_SHARE = 0.5
_DIGITS = re.compile(r"[0-9a-f]*\d[0-9a-f]*|0x[0-9a-f]+", re.IGNORECASE)

_ASKED: Mapping[str, re.Pattern[str]] = {
    "metric": re.compile(
        r"slow|latency|lag|cpu|throttl|storage|disk|memory|connection|traffic|throughput", re.IGNORECASE
    ),
    "log": re.compile(r"\blogs?\b|\berrors?\b|exception", re.IGNORECASE),
    "state": re.compile(
        r"crash|restart|not ready|unhealthy|pending|down\b|not running|stopp?ed|pods?\b", re.IGNORECASE
    ),
}
"""What must have been looked at before a complaint in these words may be called unfounded."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdict looks at."""

    scope: Scope
    signs: Sequence[Sign]
    errors: Sequence[Line]
    """Error lines that matter."""
    read: frozenset[str]
    """Signal classes with an answer about what matters."""
    well: Sequence[Claim]
    """Claims that something is well."""
    failed: int
    """Reads that gave no answer."""


def conclude(ranked: Sequence[Weighted], evidence: Evidence) -> tuple[str, str]:
    """(verdict, why)."""
    if not ranked:
        why = unwell(evidence)
        if not why:
            return "healthy", "what was read is within bounds, and nothing says that something fails"
        return "abstain", f"no rule names a cause: {why}"
    return _of_leader(ranked, evidence)


def _of_leader(ranked: Sequence[Weighted], evidence: Evidence) -> tuple[str, str]:
    leader = ranked[0]
    component, fault = leader.key
    named = f"{fault} at {component}"
    if len(leader.classes) < 2 or len(leader.sources) < 2:
        return "abstain", f"{named} rests on one signal: a second, independent one is missing"
    if leader.candidate.score_milli < LEADER_MILLI:
        return "abstain", f"the evidence for {named} is weak"
    if leader.specific < SPECIFIC_MILLI and len(leader.cause_classes) < 2:
        return "abstain", f"only one weak sign names {named}"
    rival = next((one for one in ranked[1:] if _rivals(one, leader, evidence.scope)), None)
    if rival is not None and leader.candidate.score_milli - rival.candidate.score_milli < MARGIN_MILLI:
        return "abstain", f"{named} and {rival.key[1]} at {rival.key[0]} are too close"
    left = left_over(evidence.errors, leader, ranked)
    if left:
        return "abstain", f"{named} does not explain: {left[:160]}"
    known = ", as seen before" if leader.recognised else ""
    return "sure", f"{named}: {len(leader.classes)} independent signals, no rival{known}"


def _rivals(other: Weighted, leader: Weighted, scope: Scope) -> bool:
    """A candidate of another component or kind that the leader does not bring about itself."""
    if other.key[0] == leader.key[0] and family(other.key[1]) == family(leader.key[1]):
        return False
    return not explains(leader, other, scope)


def left_over(errors: Sequence[Line], leader: Weighted, ranked: Sequence[Weighted]) -> str:
    """An error line that neither the leader nor what it brings about explains; empty where most are explained."""
    faults = {one.key[1] for one in ranked}
    counts: dict[str, int] = {}
    open_: dict[str, str] = {}
    total = 0
    for line in errors:
        total += line.count
        if explained(line, faults) or leader.key[1] in {"bad-config", "bad-deploy"}:
            continue
        template = _DIGITS.sub("#", line.text)
        counts[template] = counts.get(template, 0) + line.count
        open_.setdefault(template, line.text)
    if not counts or sum(counts.values()) <= LEFT_OVER_SHARE * total:
        return ""
    return open_[max(counts, key=lambda one: (counts[one], one))].strip()


def unwell(evidence: Evidence) -> str:
    """Why ``healthy`` cannot be said; empty where it can."""
    if evidence.errors:
        return f"unexplained: {evidence.errors[0].text.strip()[:160]}"
    shown = [sign for sign in evidence.signs if sign.kind != "alert"]
    if shown:
        return f"unexplained: {shown[0].text[:160]}"
    if not evidence.read:
        return "nothing was read"
    facts = evidence.scope.facts
    words = " ".join([facts.title, *map(str, facts.alert.get("annotations", {}).values())])
    for signal, pattern in _ASKED.items():
        if pattern.search(words) and signal not in evidence.read:
            return f"it is about something that only a {signal} shows, and none was read"
    if not evidence.well:
        return "nothing shows that it is well"
    return ""


def ruled_out(
    ranked: Sequence[Weighted],
    against: Sequence[tuple[str, str, Claim]],
    passing: Mapping[str, Sequence[Claim]],
) -> list[Ruled]:
    """What the evidence speaks against: by a claim of its own, or because a component only passes errors on."""
    found: list[Ruled] = []
    for component, fault, claim in against:
        found.append(Ruled(component, fault, [{**claim, "role": "context"}], "the load waits for something else"))
    for one in ranked:
        claims = passing.get(one.key[0], ())
        if claims:
            found.append(Ruled(*one.key, list(claims), "its errors come from behind"))
    return found[:8]
