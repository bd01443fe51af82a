"""From judged claims to the verdict on a cause: diagnosed, or inconclusive with what is missing. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.evidence.claims import SUPPORTING, Cause, Claim, RuledOut
from broker.evidence.quantities import number_of
from broker.evidence.syntax import parse
from broker.evidence.verdicts import REFUTED, UNVERIFIABLE, VERIFIED, Finding
from broker.model import Json

DIAGNOSED, INCONCLUSIVE = "diagnosed", "inconclusive"

MISSING: Mapping[str, str] = {
    "evidence.no_claims": "cite observations: submit typed claims over what the gate answered",
    "evidence.few_verified": "give at least two different claims that the gate can verify",
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


class Paths(Protocol):
    """How a fault travels; ``broker.topology.Graph`` is one."""

    def path(self, component: str, symptom: str) -> tuple[str, ...]:
        """The way on which a fault of ``component`` reaches ``symptom``; empty if none."""
        ...


NEGATIVE = frozenset({"ne", "not_contains"})
"""Operators of claims that are true of nearly any result: they may refute a rival, and count towards no diagnosis."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """The affected service, and the unix second at which the alert began (None: unknown)."""

    service: str
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """One claim with its verdict; source and signal come from the observation's action."""

    claim: Claim
    finding: Finding
    source: str = ""
    signal: str = ""

    @property
    def verified(self) -> bool:
        """Whether the gate verified it."""
        return self.finding.verdict == VERIFIED

    @property
    def identity(self) -> tuple[object, ...]:
        """What a verified claim says, however it is spelled; saying it twice is saying it once."""
        claim = self.claim
        number = number_of(claim.value)
        return (claim.observation, parse(claim.selector), claim.op, repr(claim.value) if number is None else number)

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
    """Rivals against which every cited claim is verified."""
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
    support = tuple({one.identity: one for one in judged if one.verified and _supports(one)}.values())
    sources, signals = {one.source for one in support}, {one.signal for one in support}
    flaws = (
        (not judged, "evidence.no_claims"),
        (len(support) < 2, "evidence.few_verified"),
        (not any(one.claim.role in ("cause", "prediction") for one in support), "evidence.no_cause"),
        (len(sources) < 2, "evidence.one_source"),
        (len(signals) < 2, "evidence.one_signal"),
        (_refuted(judged, "cause"), "evidence.cause_refuted"),
        (_refuted(judged, "prediction"), "evidence.prediction_refuted"),
        (_too_late(support, symptom), "evidence.cause_after_symptom"),
        (not _reaches(cause, paths, symptom), "evidence.no_path"),
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
        rivals_out=sum(1 for rival in ruled_out if rival.claims and all(judged[at].verified for at in rival.claims)),
        rivals_claimed=len(ruled_out),
        support=support,
    )


def _supports(one: Judged) -> bool:
    """Whether the claim speaks for anything: that something is not this or not there is true of nearly all results."""
    return one.claim.role in SUPPORTING and one.claim.op not in NEGATIVE


def _refuted(judged: Sequence[Judged], role: str) -> bool:
    """Whether a claim in this role is false."""
    return any(one.claim.role == role and one.finding.verdict == REFUTED for one in judged)


def _too_late(support: Sequence[Judged], symptom: Symptom) -> bool:
    """Whether the cause begins after the symptom, where both are known. An earlier alert dates the symptom, too."""
    causes = [one.finding.onset for one in support if one.claim.role == "cause" and one.finding.onset is not None]
    symptoms = [one.finding.onset for one in support if one.claim.role == "symptom" and one.finding.onset is not None]
    if symptom.at is not None:
        symptoms.append(symptom.at)
    return bool(causes) and bool(symptoms) and min(causes) > min(symptoms)


def _reaches(cause: Cause, paths: Paths, symptom: Symptom) -> bool:
    """Whether a fault of the component can show at the affected service; its own always can."""
    return cause.component == symptom.service or bool(paths.path(cause.component, symptom.service))
