"""From signs to possible causes with a score: what names the fault, what supports it, how the walk and the past weigh it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.rules.faults import FAULTS, family
from agents.rules.finding import Candidate, Claim
from agents.rules.profiles import SUPPORT
from agents.rules.reading import excerpt
from agents.rules.scope import Scope
from agents.rules.signs import CAUSE, SYMPTOM, Sign
from agents.rules.templates import SHAPES
from agents.rules.walk import Place

CLAIMS_MAX = 8
OWN_MILLI, UPSTREAM_MILLI, PASSED_MILLI = 120, 100, -400
CLASS_MILLI, MORE_MILLI = 150, 60
SEEN_MILLI = 250
DEEPER_MILLI, DEEPER_LEAST = 300, 700
"""How far behind its own effect a cause may stand and still lead, and how specific it must be."""

EFFECTS: Mapping[str, frozenset[str]] = {
    "bad-config": frozenset(FAULTS) - {"bad-config", "bad-deploy"},
    "bad-deploy": frozenset(FAULTS) - {"bad-config", "bad-deploy"},
    "memory-exhausted": frozenset({"crash-loop", "probe-failing", "node-pressure"}),
    "missing-config": frozenset({"crash-loop", "probe-failing", "bad-command", "volume-unavailable"}),
    "bad-command": frozenset({"crash-loop", "probe-failing"}),
    "certificate-expired": frozenset({"crash-loop", "dependency-down", "access-denied", "probe-failing"}),
    "dns-failure": frozenset({"crash-loop", "dependency-down", "probe-failing"}),
    "network-policy": frozenset({"crash-loop", "dependency-down", "dns-failure", "probe-failing"}),
    "access-denied": frozenset({"crash-loop", "dependency-down", "probe-failing"}),
    "dependency-down": frozenset({"crash-loop", "probe-failing", "pool-leak"}),
    "volume-unavailable": frozenset({"unschedulable", "probe-failing"}),
    "image-unavailable": frozenset({"probe-failing"}),
    "cpu-throttled": frozenset({"cpu-saturated", "probe-failing"}),
    "pool-leak": frozenset({"connections-exhausted", "dependency-down"}),
    "maintenance-load": frozenset(
        {"cpu-saturated", "io-saturated", "connections-exhausted", "replication-lag", "memory-exhausted", "lock-hang"}
    ),
    "slow-query": frozenset({"cpu-saturated", "io-saturated", "connections-exhausted", "lock-hang"}),
    "cpu-saturated": frozenset({"connections-exhausted", "replication-lag"}),
    "io-saturated": frozenset({"replication-lag"}),
    "connections-exhausted": frozenset({"cpu-saturated", "pool-leak"}),
    "disk-full": frozenset({"io-saturated", "crash-loop"}),
    "bad-cache": frozenset({"probe-failing", "dependency-down"}),
    "crash-loop": frozenset({"probe-failing", "dependency-down"}),
    "failover": frozenset({"dependency-down", "connections-exhausted"}),
}
"""What a fault brings about at its own component, or at whatever depends on it."""


@dataclass(frozen=True, slots=True)
class Weighted:
    """A candidate with what the verdict is made of."""

    candidate: Candidate
    causes: Sequence[Sign]
    support: Sequence[Sign]
    recognised: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Component and fault."""
        return self.candidate.component, self.candidate.fault

    @property
    def specific(self) -> int:
        """The best weight among what names the fault."""
        return max(sign.weight for sign in self.causes)

    @property
    def cause_classes(self) -> frozenset[str]:
        """Signal classes that name the fault."""
        return frozenset(sign.signal for sign in self.causes)

    @property
    def classes(self) -> frozenset[str]:
        """Signal classes of all its claims."""
        return frozenset(sign.signal for sign in (*self.causes, *self.support))

    @property
    def sources(self) -> frozenset[str]:
        """Observations of all its claims."""
        return frozenset(sign.observation for sign in (*self.causes, *self.support))


def weigh(
    scope: Scope, signs: Sequence[Sign], places: Mapping[str, Place], past: frozenset[tuple[str, str]]
) -> list[Weighted]:
    """Every candidate, best first; ties by name."""
    keys = dict.fromkeys((sign.component, sign.fault) for sign in signs if _names(sign))
    made = [_candidate(scope, key, signs, places, past) for key in keys]
    ranked = sorted(made, key=lambda one: (-one.candidate.score_milli, one.key))
    deeper = next((one for one in ranked[1:] if _is_deeper(one, ranked[0], scope)), None)
    return [deeper, *(one for one in ranked if one is not deeper)] if deeper else ranked


def _is_deeper(one: Weighted, leader: Weighted, scope: Scope) -> bool:
    """True where ``one`` brings the leader about, not the other way round, and is nearly as well founded."""
    near = leader.candidate.score_milli - one.candidate.score_milli <= DEEPER_MILLI and one.specific >= DEEPER_LEAST
    return near and explains(one, leader, scope) and not explains(leader, one, scope)


def _names(sign: Sign) -> bool:
    """True for a sign that names a fault by itself."""
    return sign.role == CAUSE and bool(sign.fault) and sign.kind != SUPPORT


def _candidate(
    scope: Scope,
    key: tuple[str, str],
    signs: Sequence[Sign],
    places: Mapping[str, Place],
    past: frozenset[tuple[str, str]],
) -> Weighted:
    component, fault = key
    causes = sorted(
        (sign for sign in signs if (sign.component, sign.fault, sign.role) == (component, fault, CAUSE)),
        key=lambda sign: (-sign.weight, sign.observation, sign.text),
    )
    support = [sign for sign in signs if _supports(scope, sign, component, fault)]
    score = causes[0].weight
    score += MORE_MILLI * (min(3, len({_read(sign) for sign in causes})) - 1)
    score += CLASS_MILLI * (len({sign.signal for sign in causes}) - 1)
    score += CLASS_MILLI // 2 if {sign.signal for sign in support} - {sign.signal for sign in causes} else 0
    score += _of_place(scope, component, places)
    score += SEEN_MILLI if key in past else 0
    claims = _claims([*causes, *support])
    said = FAULTS[fault].title if fault in FAULTS else fault
    summary = f"{component}: {said} ({excerpt(causes[0].text, 200)})"
    return Weighted(Candidate(component, fault, max(score, 0), claims, summary), causes, support, key in past)


def _read(sign: Sign) -> str:
    """Where a sign was read. A component's log is one, however often it is searched, through whichever tool."""
    return "log" if sign.signal == "log" else sign.observation


def _of_place(scope: Scope, component: str, places: Mapping[str, Place]) -> int:
    """The walk: its own errors speak for a component, passed-on ones against it; what is needed comes before who needs it."""
    place = places.get(component)
    bonus = 0
    if place is not None and place.passes:
        bonus += PASSED_MILLI
    elif place is not None and place.own:
        bonus += OWN_MILLI
    if component != scope.service and scope.facts.depends(scope.facts.service, component):
        bonus += UPSTREAM_MILLI if place is not None and place.own else 0
    return bonus


def _supports(scope: Scope, sign: Sign, component: str, fault: str) -> bool:
    """A symptom at the component or at what depends on it, or a fault that this one brings about there."""
    at_or_above = sign.component == component or scope.facts.depends(sign.component, component)
    if not at_or_above:
        return False
    if sign.role == SYMPTOM:
        return sign.kind not in SHAPES
    return sign.fault in EFFECTS.get(fault, frozenset()) and sign.fault != fault


def _claims(signs: Sequence[Sign]) -> list[Claim]:
    """Claims of the signs, the few that are sent as independent as can be: new classes first, then new sources, then the rest."""
    ordered: list[Sign] = []
    classes: set[str] = set()
    sources: set[tuple[str, str]] = set()
    for sign in signs:
        if sign.signal not in classes:
            classes.add(sign.signal)
            sources.add((sign.signal, sign.source))
            ordered.append(sign)
    for sign in signs:
        if (sign.signal, sign.source) not in sources:
            sources.add((sign.signal, sign.source))
            ordered.append(sign)
    said = {(sign.signal, sign.text) for sign in ordered}
    for sign in signs:
        if (sign.signal, sign.text) not in said:
            said.add((sign.signal, sign.text))
            ordered.append(sign)
    return [_as(sign, signs[0].fault) for sign in ordered[:CLAIMS_MAX]]


def _as(sign: Sign, fault: str) -> Claim:
    """The sign's claim in its role for ``fault``: what the fault brings about is a symptom of it."""
    effect = sign.role != CAUSE or sign.fault != fault
    return {**sign.claim, "role": SYMPTOM} if effect else sign.claim


def explains(one: Weighted, other: Weighted, scope: Scope) -> bool:
    """True where ``one`` brings about ``other``, at its own component or at one that depends on it."""
    (component, fault), (there, effect) = one.key, other.key
    if there != component and not scope.facts.depends(there, component):
        return False
    if there != component:
        return (
            effect in EFFECTS.get(fault, frozenset()) or effect == "dependency-down" or family(effect) == family(fault)
        )
    return effect in EFFECTS.get(fault, frozenset())
