"""From claims and observations to judged claims: verdict, what each is about, whether it says anything, its source. Pure."""

from collections.abc import Collection, Sequence
from functools import partial

from broker.evidence.claims import Claim
from broker.evidence.diagnosis import Judged, Symptom
from broker.evidence.evaluate import VISITS_MAX, Budget
from broker.evidence.independence import measured, sources
from broker.evidence.observations import Absent, Observation
from broker.evidence.quantities import Unverifiable
from broker.evidence.subjects import Names, Paths, about
from broker.evidence.syntax import parse
from broker.evidence.telling import NOT_JUDGED, Worth, matching, series_names, worth
from broker.evidence.tracing import Found
from broker.evidence.verdicts import VERIFIED, Finding, judge_claim

SUBMISSION_VISITS_MAX = 1_000_000
"""Node visits for all verdicts together, and as many for what the claims are worth; each claim has ``VISITS_MAX``."""
_NOTHING: frozenset[str] = frozenset()


def assess(
    claims: Sequence[Claim],
    seen: Sequence[Observation | Absent],
    paths: Paths,
    symptom: Symptom,
    besides: Collection[str] = (),
) -> list[Judged]:
    """Each claim with all that the gate finds of it; ``besides`` names components of which no topology may know."""
    names, left, spare = Names(paths, symptom.service, besides), SUBMISSION_VISITS_MAX, SUBMISSION_VISITS_MAX
    parts: list[tuple[Finding, frozenset[str], Worth, frozenset[str]]] = []
    for claim, one in zip(claims, seen, strict=True):
        budget = Budget(min(left, VISITS_MAX))
        given = budget.left
        finding = judge_claim(claim, one, budget)
        left -= given - max(budget.left, 0)
        subjects, said, rows = _NOTHING, NOT_JUDGED, _NOTHING
        if finding.verdict == VERIFIED and isinstance(one, Observation):
            # Bounded apart: what the others are worth changes no verdict. What is past the bound does not count.
            budget = Budget(min(spare, VISITS_MAX))
            given = budget.left
            subjects = _about(claim, one, names, budget)
            own = partial(_shares, one, names, budget, subjects)
            said = worth(claim, one, symptom.at, budget, own)
            rows = _metrics(claim, one, budget) - subjects
            spare -= given - max(budget.left, 0)
        parts.append((finding, subjects, said, rows))
    cited = [(one, part[1], part[3]) for one, part in zip(seen, parts, strict=True) if isinstance(one, Observation)]
    named = iter(sources(cited))
    return [
        Judged(claim, finding, next(named), one.signal, subjects, said, measured(one, rows))
        if isinstance(one, Observation)
        else Judged(claim, finding)
        for claim, one, (finding, subjects, said, rows) in zip(claims, seen, parts, strict=True)
    ]


def _about(claim: Claim, seen: Observation, names: Names, budget: Budget) -> frozenset[str]:
    """What the claim is about; nothing where that cannot be judged within the bound."""
    try:
        return about(seen, matching(claim, parse(claim.selector), seen, budget), names, budget)
    except Unverifiable:
        return _NOTHING


def _metrics(claim: Claim, seen: Observation, budget: Budget) -> frozenset[str]:
    """Names of metrics on the rows that the claim selects; none where that cannot be read within the bound."""
    try:
        return frozenset(series_names(parse(claim.selector), seen, budget)) if seen.signal == "metric" else _NOTHING
    except Unverifiable:
        return _NOTHING


def _shares(seen: Observation, names: Names, budget: Budget, subjects: frozenset[str], found: Found) -> bool:
    """Whether what stands in an answer is about one of ``subjects``, too. Raises ``Unverifiable`` past the bound."""
    return bool(subjects & about(seen, [found], names, budget))
