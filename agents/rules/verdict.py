"""Sure, healthy, or neither: where the rules abstain."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.rules.candidates import DEEPER_MILLI, Weighted, explains
from agents.rules.faults import family
from agents.rules.finding import Claim, Ruled
from agents.rules.metrics import Calm
from agents.rules.profiles import SUPPORT
from agents.rules.reading import Line
from agents.rules.scope import Scope
from agents.rules.signs import SYMPTOM, Sign, explained

MARGIN_MILLI = 100
SPECIFIC_MILLI = 800
LEADER_MILLI = 750
LEFT_OVER_SHARE = 0.5
STRAY_LINES = 2
CHANGES = frozenset({"bad-config", "bad-deploy"})
SLOWING = "database"
"""Family of the faults that are nothing but slow work: a busy machine can look like them."""
MEASURED = frozenset({"process", "service"})
SHOWN = frozenset({"crash-loop"})
"""Faults that a state or a metric shows: anybody's job or request may "not start", too."""
SAID = frozenset({"log", ""})
FELT = frozenset({"latency", "errors", "own-errors", "passed-errors"})
_DIGITS = re.compile(r"[0-9a-f]*\d[0-9a-f]*|0x[0-9a-f]+", re.IGNORECASE)

_TOPICS: Mapping[str, re.Pattern[str]] = {
    word: re.compile(series, re.IGNORECASE)
    for word, series in (
        (r"cpu|processor", r"cpu"),
        (r"connection", r"conn|pool"),
        (r"storage|disk", r"storage|disk|filesystem"),
        (r"memory|\boom", r"mem"),
        (r"\blag", r"lag"),
        (r"latency|slow", r"latency|duration|_seconds|_ms\b|p9\d|response"),
        (r"error|fail", r"error|fail|5xx"),
        (r"iops|throughput", r"iops|throughput"),
        (r"queue|backlog", r"queue|backlog"),
        (r"queue|backlog", r"queue|backlog"),
    )
}
"""What a complaint is about -> the series that must have been read, and be calm, before it may be called unfounded."""
_ABOUT_STATE = re.compile(
    r"crash|restart|not ?ready|unhealthy|pending|\bdown\b|not running|stopp?ed|mismatch|"
    r"(?:metrics?|data|telemetry|scrape|target) ?(?:is |are )?(?:missing|absent|down|fail\w*)|no ?data|"
    r"\b(?:metrics?|telemetry|scrapes?|targets?)\b.{0,40}\b(?:missing|absent|fail\w*|cannot be read)",
    re.IGNORECASE,
)
"""Also what cannot be measured any more: whether it runs is then to be seen from its state and its log."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdict looks at."""

    scope: Scope
    signs: Sequence[Sign]
    errors: Sequence[Line]
    """Error lines that matter."""
    troubles: Sequence[Line]
    """Lines that tell of trouble in any words."""
    read: frozenset[str]
    """Signal classes with an answer about what matters."""
    well: Sequence[Claim]
    """Claims that something is well."""
    calm: Sequence[Calm]
    """Series that show no trouble."""
    resolved: bool
    """The alert ended by itself."""


def conclude(ranked: Sequence[Weighted], evidence: Evidence) -> tuple[str, str]:
    """(verdict, why)."""
    if not ranked:
        why = unwell(evidence)
        if not why:
            return "healthy", "what was read is within bounds, and nothing says that something fails"
        return "abstain", f"no rule names a cause: {why}"
    if _is_stray(ranked[0], evidence) and not unmeasured(evidence) and evidence.well:
        return "healthy", "what customers notice is calm; a line that stands alone convicts nobody"
    return _of_leader(ranked, evidence)


def _of_leader(ranked: Sequence[Weighted], evidence: Evidence) -> tuple[str, str]:
    leader = ranked[0]
    component, fault = leader.key
    named = f"{fault} at {component}"
    if against := _thin(leader, named):
        return "abstain", against
    if unfelt(leader, evidence):
        return "abstain", f"{named} is slow work that nobody who waits for it was seen to feel"
    rival = next((one for one in ranked[1:] if _rivals(one, leader, evidence.scope)), None)
    if rival is not None and leader.candidate.score_milli - rival.candidate.score_milli < MARGIN_MILLI:
        return "abstain", f"{named} and {rival.key[1]} at {rival.key[0]} are too close"
    if tied := next((one for one in ranked[1:] if _ties(one, leader, evidence.scope)), None):
        return "abstain", f"{named} and {tied.key[1]} there are equally good"
    left = left_over(evidence.errors, leader, ranked)
    if left:
        return "abstain", f"{named} does not explain: {left[:160]}"
    known = ", as seen before" if leader.recognised else ""
    return "sure", f"{named}: {len(leader.classes)} independent signals, no rival{known}"


def _is_stray(leader: Weighted, evidence: Evidence) -> bool:
    """One or two lines of a log, while errors and latency were measured and are calm."""
    lines = all(sign.signal == "log" and sign.count <= STRAY_LINES for sign in leader.causes)
    symptoms = any(sign.role == SYMPTOM and sign.kind != "alert" for sign in evidence.signs)
    calm = {one.symptom for one in evidence.calm}
    return lines and not symptoms and {"errors", "latency"} <= calm


def _thin(leader: Weighted, named: str) -> str:
    """Why the leader's own evidence is not enough; empty where it is."""
    if len(leader.classes) < 2 or len(leader.sources) < 2:
        return f"{named} rests on one signal: a second, independent one is missing"
    if leader.candidate.score_milli < LEADER_MILLI:
        return f"the evidence for {named} is weak"
    if leader.specific < SPECIFIC_MILLI and len(leader.cause_classes) < 2:
        return f"only one weak sign names {named}"
    if leader.key[1] in SHOWN and leader.cause_classes <= SAID:
        return f"lines alone name {named}: neither a state nor a metric shows it"
    return ""


def unfelt(leader: Weighted, evidence: Evidence) -> bool:
    """A fault that makes slow, of a service that can be measured, whose customers were not seen to wait or fail."""
    facts = evidence.scope.facts
    if family(leader.key[1]) != SLOWING or facts.nodes.get(facts.service) not in MEASURED:
        return False
    return not any(
        sign.role == SYMPTOM and sign.kind in FELT and sign.component in {facts.service, evidence.scope.service}
        for sign in evidence.signs
    )


def _rivals(other: Weighted, leader: Weighted, scope: Scope) -> bool:
    """A candidate of another component or kind that the leader does not bring about itself."""
    if other.key[0] == leader.key[0] and family(other.key[1]) == family(leader.key[1]):
        return False
    return not explains(leader, other, scope)


def _ties(other: Weighted, leader: Weighted, scope: Scope) -> bool:
    """Another fault of the same component that is exactly as well founded: names must not decide between them."""
    equal = other.candidate.score_milli == leader.candidate.score_milli
    return equal and other.key[0] == leader.key[0] and not explains(leader, other, scope)


def left_over(errors: Sequence[Line], leader: Weighted, ranked: Sequence[Weighted]) -> str:
    """An error line that neither the leader nor what it brings about explains; empty where most are explained."""
    faults = {one.key[1] for one in ranked}
    counts: dict[str, int] = {}
    open_: dict[str, str] = {}
    total = 0
    for line in errors:
        total += line.count
        if explained(line, faults) or leader.key[1] in CHANGES:
            continue
        template = _DIGITS.sub("#", line.text)
        counts[template] = counts.get(template, 0) + line.count
        open_.setdefault(template, line.text)
    if not counts or sum(counts.values()) <= LEFT_OVER_SHARE * total:
        return ""
    return open_[max(counts, key=lambda one: (counts[one], one))].strip()


def changed_first(ranked: Sequence[Weighted], errors: Sequence[Line]) -> Sequence[Weighted]:
    """``ranked``, led by a change just before where the leader leaves errors over that no rule knows.

    What a change breaks has words of its own; a fault that is known by its words must not lead for them alone.
    """
    if not ranked or not left_over(errors, ranked[0], ranked):
        return ranked
    least = ranked[0].candidate.score_milli - DEEPER_MILLI
    near = (one for one in ranked if one.specific >= SPECIFIC_MILLI and one.candidate.score_milli >= least)
    change = next((one for one in near if one.key[1] in CHANGES), None)
    return [change, *(one for one in ranked if one is not change)] if change else ranked


def unwell(evidence: Evidence) -> str:
    """Why ``healthy`` cannot be said; empty where it can."""
    shown = [line.text for line in (*evidence.errors, *evidence.troubles)]
    shown += [sign.text for sign in evidence.signs if sign.kind not in {"alert", SUPPORT}]
    if shown:
        return f"unexplained: {shown[0].strip()[:160]}"
    if not evidence.read - {"alert", "config"}:
        return "nothing was read"
    return unmeasured(evidence) or ("" if evidence.well else "nothing shows that it is well")


def unmeasured(evidence: Evidence) -> str:
    """What the complaint is about and nothing that was read can show; empty where it was looked at.

    Where the topology knows the service that complains, what is calm elsewhere does not speak for it.
    """
    facts = evidence.scope.facts
    title = facts.title
    own = [one for one in evidence.calm if one.component == facts.service or facts.service not in facts.nodes]
    topics = [(word, pattern) for word, pattern in _TOPICS.items() if re.search(word, title, re.IGNORECASE)]
    for word, pattern in topics:
        if not any(pattern.search(one.name) for one in own):
            return f"it is about {word.split('|')[0]}, and nothing that was read measures that"
    about_state = _ABOUT_STATE.search(title) is not None
    if about_state and not {"state", "log"} <= evidence.read:
        return "it is about a state, and its state and log were not both read"
    if not (topics or about_state or evidence.resolved):
        return "what it is about is nothing that can be measured here"
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
