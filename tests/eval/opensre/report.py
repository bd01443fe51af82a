"""The table and the figures: what was accepted, what was refused, what could not be typed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.eval.opensre.cases import load
from tests.eval.opensre.judging import Falsified, Judgement, judge, judged_falsehoods

KINDS = ("number", "time", "name", "sign")
SHEET = {
    "the corpus's own validator": "64 of 65 true accepted, 1 of 65 falsified refused",
    "number occurs in the evidence": "47 of 65 true accepted, 53 of 65 falsified refused",
}
"""Measured earlier on the numeric claims of the same corpus, one falsification each."""


@dataclass
class Outcome:
    """Everything that was judged. ``false_as_given`` maps the keys of ``truth.json`` to their reasons."""

    false_as_given: Mapping[str, str]
    judged: dict[str, Judgement] = field(default_factory=dict)
    falsified: list[Falsified] = field(default_factory=list)

    @property
    def typed(self) -> list[str]:
        return [key for key, one in self.judged.items() if one.typed]

    @property
    def true(self) -> list[str]:
        return [key for key in self.typed if key not in self.false_as_given]

    def accepted(self, keys: list[str]) -> list[str]:
        return [key for key in keys if self.judged[key].accepted]

    def refused(self, kind: str = "", *, typed: bool = True) -> tuple[int, int]:
        """(refused, all) falsifications of a kind; all kinds for none."""
        these = [one for one in self.falsified if one.typed is typed and kind in ("", one.false.kind)]
        return sum(1 for one in these if not one.accepted), len(these)


def measure(root: Path) -> Outcome:
    """Judge every claim of every given response, and every falsification of the true ones that were accepted."""
    truth = orjson.loads((Path(__file__).parent / "truth.json").read_bytes())
    outcome = Outcome(truth["false"])
    for case in load(root):
        for prose in case.prose:
            judged = judge(case, prose, prose.text)
            outcome.judged[prose.key] = judged
            if judged.accepted and prose.key not in outcome.false_as_given:
                outcome.falsified += judged_falsehoods(case, prose, judged.reading)
    return outcome


def figures(outcome: Outcome) -> dict[str, Any]:
    """The results as data."""
    untyped = Counter(token.kind for key in outcome.typed for token in outcome.judged[key].reading.untyped())
    blind = [one for one in outcome.falsified if not one.typed]
    return {
        "corpus": "opensre-rds, claims under VALIDATED_CLAIMS of the given model responses",
        "claims": len(outcome.judged),
        "typed_claims": sum(len(one.verdicts) for one in outcome.judged.values()),
        "untyped": sorted(set(outcome.judged) - set(outcome.typed)),
        "typed": len(outcome.typed),
        "contradicted_by_their_own_evidence": dict(outcome.false_as_given),
        "contradicted_accepted": outcome.accepted([key for key in outcome.typed if key in outcome.false_as_given]),
        "true": len(outcome.true),
        "true_accepted": len(outcome.accepted(outcome.true)),
        "true_refused": sorted(set(outcome.true) - set(outcome.accepted(outcome.true))),
        "falsified": {kind: _pair(outcome.refused(kind)) for kind in KINDS} | {"all": _pair(outcome.refused())},
        "falsified_accepted": [f"{one.key} {one.false.how}" for one in outcome.falsified if one.typed and one.accepted],
        "tokens_that_no_claim_binds": dict(untyped),
        "falsified_there": {"all": len(blind), "struck_from_the_prose": sum(1 for one in blind if not one.shown)},
        "beside": SHEET,
    }


def _pair(counts: tuple[int, int]) -> dict[str, Any]:
    refused, total = counts
    return {"falsehoods": total, "refused": refused, "share": round(refused / total, 4) if total else None}


def table(found: Mapping[str, Any]) -> str:
    """The figures for people."""
    lines = [
        (
            f"claims in prose        {found['claims']}: {found['typed']} typed ({found['typed_claims']} typed claims), "
            f"{len(found['untyped'])} without anything to recompute ({', '.join(found['untyped'])})"
        ),
        (
            f"false as given         {len(found['contradicted_by_their_own_evidence'])}: contradicted by their own evidence; "
            f"accepted {len(found['contradicted_accepted'])}"
        ),
        (
            f"true                   {found['true']}: accepted {found['true_accepted']} "
            f"({found['true_accepted'] / found['true']:.1%}); refused {found['true_refused'] or 'none'}"
        ),
        "falsified, one token a time, in the true ones:",
    ]
    for kind, row in found["falsified"].items():
        share = f"{row['share']:.1%}" if row["share"] is not None else "-"
        lines.append(f"  {kind:<8} {row['falsehoods']:>5}   refused {row['refused']:>5}   {share}")
    lines += [f"  accepted: {one}" for one in found["falsified_accepted"]]
    there = found["falsified_there"]
    lines.append(
        f"tokens that no claim binds: {found['tokens_that_no_claim_binds']}; of {there['all']} falsifications there "
        f"{there['struck_from_the_prose']} are struck from the prose"
    )
    lines += [f"beside: {name}: {what}" for name, what in found["beside"].items()]
    return "\n".join(lines)
