"""From judged claims to the verdict on a cause: diagnosed, or inconclusive with what is missing. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.evidence.claims import SUPPORTING, Cause, Claim, RuledOut
from broker.evidence.subjects import Paths
from broker.evidence.syntax import parse
from broker.evidence.telling import NOT_JUDGED, Worth
from broker.evidence.tracing import path_of
from broker.evidence.verdicts import REFUTED, UNVERIFIABLE, VERIFIED, Finding
from broker.model import Json

DIAGNOSED, INCONCLUSIVE = "diagnosed", "inconclusive"

MISSING: Mapping[str, str] = {
    "evidence.no_claims": "cite observations: submit typed claims over what the gate answered",
    "evidence.few_verified": "give at least two different claims about the component that the gate can verify and count",
    "evidence.idle": "what is verified would be true anyway: each claim says why it does not count",
    "evidence.not_about": "cite observations of the component itself, or complaints of what depends on it that name it",
    "evidence.no_cause": "verify at least one claim about the cause itself, or about what it predicts",
    "evidence.one_source": "add a claim over an independent source: another service, backend or query",
    "evidence.one_signal": "add a claim of another signal class: metric, log, change, state, config, trace or alert",
    "evidence.cause_refuted": "a claim about the cause is false: correct it, or look for another cause",
    "evidence.prediction_refuted": "what the hypothesis predicts did not happen: look for another cause",
    "evidence.cause_after_symptom": "the cause begins after the symptom: look for what came before",
    "evidence.excluded": "a person excluded this cause in the incident: look for another, or let them take their word back",
    "evidence.no_path": "no path of dependencies leads from this component to the affected service",
}
"""Code -> what to do about it."""


SLACK_S = 60
"""Clocks of two systems may differ by this much."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """The affected service, and the unix second at which the alert began (None: unknown)."""

    service: str
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """One claim with its verdict; all else comes from the gate's own record of the observation."""

    claim: Claim
    finding: Finding
    source: str = ""
    signal: str = ""
    about: frozenset[str] = frozenset()
    """The components that it is about (``subjects.py``)."""
    worth: Worth = NOT_JUDGED
    """Whether it says anything (``telling.py``)."""
    measured: frozenset[str] = frozenset()
    """The metrics that it looks at (``independence.py``); empty where it looks at something else."""

    @property
    def verified(self) -> bool:
        """Whether the gate verified it."""
        return self.finding.verdict == VERIFIED

    @property
    def identity(self) -> tuple[object, ...]:
        """What is read of which source: reading it once more, or computing something else from it, is no more evidence."""
        return (self.source, self.signal, self.measured or path_of(parse(self.claim.selector)))

    def counts_for(self, component: str) -> bool:
        """Whether it speaks for a cause at ``component``: verified, in a role that supports, about it, and not idle."""
        return self.verified and self.claim.role in SUPPORTING and not self.worth.idle and component in self.about

    def as_json(self) -> dict[str, Json]:
        """The claim as sent, and what the gate found."""
        found = self.finding
        return {
            **self.claim.as_sent,
            "role": self.claim.role,
            "verdict": found.verdict,
            "reason": found.reason,
            "actual": found.actual,
            "source": self.source,
            "signal": self.signal,
            "onset": found.onset,
            "about": sorted(self.about),
            "idle": self.worth.idle if self.verified else "",
        }


@dataclass(frozen=True, slots=True)
class Weighed:
    """What the claims come to."""

    verdict: str
    missing: tuple[str, ...]
    verified: int
    refuted: int
    unverifiable: int
    sources: int
    signals: int
    rivals_out: int
    """Rivals that are out (``rivals_out``)."""
    rivals_claimed: int
    support: tuple[Judged, ...]
    """The verified claims that count, each once."""


def weigh(  # noqa: PLR0913 - one argument a part
    cause: Cause,
    judged: Sequence[Judged],
    ruled_out: Sequence[RuledOut],
    paths: Paths,
    symptom: Symptom,
    *,
    excluded: bool = False,
) -> Weighed:
    """The verdict on ``cause``, and each reason why it is not better; ``excluded``: a person said that it is not it."""
    support = supporting(judged, cause.component)
    sources, signals = {one.source for one in support}, {one.signal for one in support}
    few, said = len(support) < 2, [one for one in judged if one.verified and one.claim.role in SUPPORTING]
    flaws = (
        (not judged, "evidence.no_claims"),
        (few, "evidence.few_verified"),
        (few and any(one.worth.idle for one in said), "evidence.idle"),
        (few and any(cause.component not in one.about for one in said), "evidence.not_about"),
        (not any(one.claim.role in ("cause", "prediction") for one in support), "evidence.no_cause"),
        (len(sources) < 2, "evidence.one_source"),
        (len(signals) < 2, "evidence.one_signal"),
        (_refuted(judged, "cause"), "evidence.cause_refuted"),
        (_refuted(judged, "prediction"), "evidence.prediction_refuted"),
        (_too_late(cause, judged, paths, symptom), "evidence.cause_after_symptom"),
        (not _reaches(cause.component, paths, symptom), "evidence.no_path"),
        (excluded, "evidence.excluded"),
    )
    missing = tuple(code for flaw, code in flaws if flaw)
    return Weighed(
        verdict=INCONCLUSIVE if missing else DIAGNOSED,
        missing=missing,
        verified=len(support),
        refuted=sum(1 for one in judged if one.finding.verdict == REFUTED),
        unverifiable=sum(1 for one in judged if one.finding.verdict == UNVERIFIABLE),
        sources=len(sources),
        signals=len(signals),
        rivals_out=sum(rivals_out(judged, ruled_out, cause)),
        rivals_claimed=len(ruled_out),
        support=support,
    )


def supporting(judged: Sequence[Judged], component: str) -> tuple[Judged, ...]:
    """The claims that speak for a cause at ``component``, each thing that was read once."""
    return tuple({one.identity: one for one in reversed(judged) if one.counts_for(component)}.values())[::-1]


def independent(support: Sequence[Judged]) -> int:
    """How many of ``support`` rest on nothing in common: each of another source and another kind of signal."""
    return min(len({one.source for one in support}), len({one.signal for one in support}))


def rivals_out(judged: Sequence[Judged], ruled_out: Sequence[RuledOut], cause: Cause) -> list[bool]:
    """Of each rival whether it is out: every claim against it is verified, and one of them is about its component.

    That one is not what spoke against another rival already, unless it is about both, and not one that any result meets.
    """
    used: dict[tuple[object, ...], set[str]] = {}
    found = []
    for rival in ruled_out:
        cited = [judged[at] for at in rival.claims]
        fresh = [one for one in cited if rival.component in one.about and one.worth.idle not in TRIVIAL]
        fresh = [one for one in fresh if not used.get(one.identity, set()) & {rival.component}]
        own = (rival.component, rival.fault) == (cause.component, cause.fault)
        out = bool(fresh) and not own and all(one.verified for one in cited)
        if out:
            used.setdefault(fresh[0].identity, set()).add(rival.component)
        found.append(out)
    return found


TRIVIAL = frozenset({"claim.existence", "claim.of_the_window", "claim.not_judged"})
"""Claims that say nothing even against a rival."""


def _refuted(judged: Sequence[Judged], role: str) -> bool:
    """Whether a claim in this role is false."""
    return any(one.claim.role == role and one.finding.verdict == REFUTED for one in judged)


def _too_late(cause: Cause, judged: Sequence[Judged], paths: Paths, symptom: Symptom) -> bool:
    """Whether something that dates the cause begins after the symptom, as the gate itself reads both.

    Each claim about the cause stands for itself: an early one excuses none that is late. What the cause predicts may come
    later; it dates the cause by its first where nothing else does. What a claim shows began within an interval: the cause
    is late only if it surely began after the symptom surely had.
    An agent's own ``at`` may date a symptom earlier; it excuses no cause. An earlier alert dates the symptom, too.
    """
    support = supporting(judged, cause.component)
    dated = [(one.claim.role, one.worth.began[0]) for one in support if one.worth.began]
    causes = [at for role, at in dated if role == "cause"]
    causes = causes or sorted(at for role, at in dated if role == "prediction")[:1]
    symptoms = [end for one in judged if _is_symptom(one, paths, symptom) and (end := _begun(one)) is not None]
    if symptom.at is not None:
        symptoms.append(symptom.at)
    return bool(causes) and bool(symptoms) and max(causes) > min(symptoms) + SLACK_S


def _is_symptom(one: Judged, paths: Paths, symptom: Symptom) -> bool:
    """Whether a claim dates the symptom: verified, telling, and of the affected service or something on the way to it."""
    if not one.verified or one.claim.role != "symptom" or one.worth.idle:
        return False
    return any(_reaches(name, paths, symptom) for name in one.about)


def _begun(one: Judged) -> int | None:
    """By when it had begun; the agent's instant where that is earlier."""
    known = [at for at in (one.worth.began[1] if one.worth.began else None, one.finding.onset) if at is not None]
    return min(known) if known else None


def _reaches(component: str, paths: Paths, symptom: Symptom) -> bool:
    """Whether a fault of the component can show at the affected service; its own always can."""
    return component == symptom.service or bool(paths.path(component, symptom.service))
