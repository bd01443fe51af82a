"""``python -m tests.eval.fit_confidence``: is confidence calibrated, and do fitted weights do better than the given ones?

Every candidate of the deterministic tier on every recorded case is one example: the gate's own judge weighs its claims,
``expected.py`` says whether it is the cause. Weights are fitted by logistic regression, pulled towards the given ones
(the corpora are small) and held to the sign that each feature must have. What is compared is the error on cases that
were left out of the fit, case by case. Prints the report, writes ``tests/bench/results/evidence-confidence.json``;
``--write`` puts the fitted weights into ``broker/evidence/confidence.json``. Needs ``CORPUS_DIR``.
"""

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from agents.rules import investigate
from broker.evidence import Symptom, read_claims
from broker.evidence.assessing import assess
from broker.evidence.claims import Cause, read_ruled_out
from broker.evidence.confidence import FEATURES, Weights, confidence_milli, features, read, weights
from broker.evidence.diagnosis import Weighed, weigh
from broker.topology import Component, Graph
from tests.eval.expected import judged as right_or_wrong
from tests.eval.offline import RecordedView
from tests.eval.running import Fixture, fixtures

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "bench" / "results" / "evidence-confidence.json"
DATA = ROOT / "broker" / "evidence" / "confidence.json"
PULL = 4.0
"""Weight of the given weights against one example: as much as four examples a feature."""
ROUNDS, PACE = 1500, 0.05
AGAINST = {"refuted", "unverifiable", "missing"}


@dataclass(frozen=True)
class Example:
    """One candidate of one case, weighed by the gate, and whether it is the cause."""

    case: str
    weighed: Weighed
    right: bool

    def row(self, model: Weights) -> list[float]:
        found = features(self.weighed, None)
        return [float(min(found[name], model.caps.get(name, found[name]))) for name in FEATURES]


def graph_of(view: RecordedView) -> Graph:
    """The topology of a recorded case."""
    needs: dict[str, tuple[str, ...]] = {}
    serves: dict[str, tuple[str, ...]] = {}
    for start, end in view.facts.edges:
        needs[start] = (*needs.get(start, ()), end)
        serves[end] = (*serves.get(end, ()), start)
    return Graph({name: Component(name, "prod", kind, ()) for name, kind in view.facts.nodes.items()}, needs, serves)


def examples(root: Path) -> list[Example]:
    """Every candidate of every case that has a cause or is healthy."""
    found: list[Example] = []
    with tempfile.TemporaryDirectory() as made:
        for corpus in ("opensre", "holmesgpt"):
            for fixture in fixtures(corpus, root):
                folder = Path(made) / fixture.name
                fixture.convert(fixture.folder, folder)
                found += _of_case(fixture, folder)
    return found


def _of_case(fixture: Fixture, folder: Path) -> Iterator[Example]:
    view = RecordedView(folder)
    finding = asyncio.run(investigate(view))
    if fixture.expected.kind == "unknown":
        return
    graph = graph_of(view)
    for place, candidate in enumerate(finding.ranked):
        body: Mapping[str, Any] = finding.diagnosis(place)
        claims = read_claims(body["claims"])
        rivals = read_ruled_out(body.get("ruled_out", []), claims)
        symptom = Symptom(view.facts.service, view.facts.until)
        besides = {candidate.component, *(rival.component for rival in rivals)}
        judged = assess(claims, [view.kept[claim.observation] for claim in claims], graph, symptom, besides)
        weighed = weigh(Cause(candidate.component, candidate.fault), judged, rivals, graph, symptom)
        told = {
            "component": candidate.component,
            "fault": candidate.fault,
            "summary": candidate.summary,
            "claims": [one.as_json() for one in judged],
        }
        verdict = right_or_wrong(fixture.expected, {"verdict": "diagnosed", "ranked": [told]})
        yield Example(fixture.name, weighed, verdict == "named")


def fitted(known: Sequence[Example], given: Weights) -> Weights:
    """Weights that fit ``known`` best, pulled towards ``given``; every sign kept."""
    rows = [(one.row(given), float(one.right)) for one in known]
    prior = [float(given.intercept), *(float(given.by_feature[name]) for name in FEATURES)]
    now = list(prior)
    for _ in range(ROUNDS):
        slope = [PULL * (here - there) for here, there in zip(now, prior, strict=True)]
        for row, right in rows:
            error = 1 / (1 + math.exp(-_logit(now, row))) - right
            for place, value in enumerate([1.0, *row]):
                slope[place] += error * value
        now = [here - PACE * step / len(rows) for here, step in zip(now, slope, strict=True)]
        for place, name in enumerate(FEATURES, 1):
            now[place] = min(now[place], 0.0) if name in AGAINST else max(now[place], 0.0)
    rounded = [Decimal(f"{value:.3f}") for value in now]
    by_feature = dict(zip(FEATURES, rounded[1:], strict=True))
    return Weights(rounded[0], by_feature, given.caps, given.inconclusive_max_milli)


def _logit(model: Sequence[float], row: Sequence[float]) -> float:
    return max(-30.0, min(30.0, model[0] + sum(weight * value for weight, value in zip(model[1:], row, strict=True))))


def report(pairs: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """What was said on average and what held, Brier score, expected calibration error over five bins, and the bins."""
    mean_said, mean_held = (sum(one[side] for one in pairs) / len(pairs) for side in (0, 1))
    brier = sum((share - right) ** 2 for share, right in pairs) / len(pairs)
    bins, error = [], 0.0
    for place in range(5):
        inside = [(share, right) for share, right in pairs if min(int(share * 5), 4) == place]
        if inside:
            said, held = (sum(one[side] for one in inside) / len(inside) for side in (0, 1))
            error += abs(said - held) * len(inside) / len(pairs)
            bins.append({"from": place / 5, "n": len(inside), "said": round(said, 3), "held": round(held, 3)})
    means = {"n": len(pairs), "said": round(mean_said, 3), "held": round(mean_held, 3)}
    return {**means, "brier": round(brier, 4), "ece": round(error, 4), "bins": bins}


def share(one: Example, model: Weights) -> float:
    """Confidence as a share of one."""
    return confidence_milli(one.weighed, None, model) / 1000


def measured(known: Sequence[Example], given: Weights) -> dict[str, Any]:
    """The given and the fitted weights on cases that the fit did not see."""
    left_out: list[tuple[float, bool]] = []
    of_diagnosed: list[tuple[float, bool]] = []
    for case in sorted({one.case for one in known}):
        model = fitted([one for one in known if one.case != case], given)
        here = [one for one in known if one.case == case]
        left_out += [(share(one, model), one.right) for one in here]
        of_diagnosed += [(share(one, model), one.right) for one in here if one.weighed.verdict == "diagnosed"]
    base = sum(one.right for one in known) / len(known)
    return {
        "examples": len(known),
        "cases": len({one.case for one in known}),
        "right": sum(one.right for one in known),
        "diagnosed": sum(one.weighed.verdict == "diagnosed" for one in known),
        "always_the_base_rate": report([(base, one.right) for one in known]),
        "given": report([(share(one, given), one.right) for one in known]),
        "fitted_left_out": report(left_out),
        "fitted_left_out_diagnosed": report(of_diagnosed),
        "given_diagnosed": report(
            [(share(one, given), one.right) for one in known if one.weighed.verdict == "diagnosed"]
        ),
    }


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0, 2 without corpora."""
    options = argparse.ArgumentParser(prog="python -m tests.eval.fit_confidence", description=__doc__)
    options.add_argument("--write", action="store_true")
    chosen = options.parse_args(arguments)
    root = os.environ.get("CORPUS_DIR")
    if not root:
        sys.stderr.write("CORPUS_DIR is not set: it names the folder of the corpora\n")
        return 2
    known, given = examples(Path(root)), weights()
    found = measured(known, given)
    model = fitted(known, given)
    found["given_weights"], found["fitted_weights"] = shown(given), shown(model)
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    if chosen.write:
        _write(model)
    return 0


def shown(model: Weights) -> dict[str, str]:
    """The weights as the results keep them."""
    return {"intercept": str(model.intercept)} | {name: str(weight) for name, weight in model.by_feature.items()}


def _write(model: Weights) -> None:
    data = json.loads(DATA.read_text(encoding="utf-8"))
    data["intercept"] = float(model.intercept)
    data["weights"] = {name: float(model.by_feature[name]) for name in data["weights"]}
    data["fitted"] = "by tests/eval/fit_confidence.py on the recorded cases, pulled towards hand-set monotone weights"
    text = json.dumps(data, indent=2) + "\n"
    read(text)
    DATA.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
