"""From prose to the gate's verdict, and systematic falsification."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.evidence import Judged, judge_claim, read_claims
from broker.evidence.prose import backed
from tests.eval.opensre.cases import Case, Prose
from tests.eval.opensre.events import type_events
from tests.eval.opensre.falsify import Falsehood, falsehoods
from tests.eval.opensre.insights import type_insights
from tests.eval.opensre.metrics import type_metrics
from tests.eval.opensre.reading import Reading


@dataclass(frozen=True)
class Judgement:
    """What became of one prose claim: accepted only if every typed claim of it is verified."""

    reading: Reading
    verdicts: tuple[Mapping[str, Any], ...]
    """Each typed claim with the gate's verdict, as an answer of the gate carries it."""

    @property
    def typed(self) -> bool:
        return bool(self.verdicts)

    @property
    def shown(self) -> str:
        """The prose as a page shows it: figures that no verified claim backs are struck."""
        return backed(self.reading.text, self.verdicts)

    @property
    def accepted(self) -> bool:
        return self.typed and all(one["verdict"] == "verified" for one in self.verdicts)


def read(case: Case, prose: Prose, text: str) -> Reading:
    """Type ``text``, which is the prose or a falsification of it."""
    reading = Reading(case, prose, text)
    if "aws_cloudwatch_metrics" in prose.sources:
        type_metrics(reading)
    type_insights(reading)
    type_events(reading)
    return reading


def judge(case: Case, prose: Prose, text: str) -> Judgement:
    """The gate's verdict on each typed claim of ``text``."""
    reading = read(case, prose, text)
    by_id = {one.id: one for one in case.observations.values()}
    found = [
        Judged(claim, judge_claim(claim, by_id[claim.observation])).as_json()
        for claim in read_claims(reading.claims[:64])
    ]
    return Judgement(reading, tuple(found))


@dataclass(frozen=True)
class Falsified:
    """One falsification: whether a typed claim binds its token, whether the gate accepted it, whether a page shows it."""

    key: str
    false: Falsehood
    typed: bool
    accepted: bool
    shown: bool


def judged_falsehoods(case: Case, prose: Prose, whole: Reading) -> list[Falsified]:
    """Every falsification of a claim that was typed, judged like any prose."""
    found = []
    for false in falsehoods(case, prose.text):
        typed = all(whole.binds(token) for token in false.tokens)
        judged = judge(case, prose, false.text)
        shown = judged.accepted and judged.shown == false.text
        found.append(Falsified(prose.key, false, typed, judged.accepted, shown))
    return found
