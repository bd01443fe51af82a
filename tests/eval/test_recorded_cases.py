"""What the deterministic tier must hold on corpora that nobody here wrote. Skips without ``CORPUS_DIR``.

All cases go through the rules without a gate, which takes seconds; a few go through a real one.
``python -m tests.eval`` takes all of them through a gate.
"""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.rules import Finding, investigate
from broker.connectors.replay_case import read_case
from broker.evidence.confidence import weights
from tests.eval.__main__ import main
from tests.eval.expected import Expected, judged
from tests.eval.figures import SHEET, curve, figures, text
from tests.eval.fit_confidence import shown
from tests.eval.offline import RecordedView
from tests.eval.running import Fixture, fixtures, investigated
from tests.parts import ROOT, corpus

WRONG_PERCENT_MAX = 5
HOLMESGPT_CASES, RDS_CASES = 53, 15
UNKNOWN_REPLICA = "rds.012-replic"
THROUGH_A_GATE = ("rds.007", "rds.012", "rds.013", "rds.001", "investigate.05", "investigate.15", "ask_holmes.47")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Every case of both corpora by the rules alone."""
    root = corpus("holmesgpt").parent
    folder = tmp_path_factory.mktemp("cases")
    return {
        name: [_offline(one, folder / one.name) for one in fixtures(name, root)] for name in ("holmesgpt", "opensre")
    }


def _offline(one: Fixture, folder: Path) -> dict[str, Any]:
    """A case by the rules and the judge of single claims; a conviction here still misses the gate's other conditions."""
    one.convert(one.folder, folder)
    view = RecordedView(folder)
    finding = asyncio.run(investigate(view))
    return {"case": one.name, "kind": one.expected.kind, "expected": one.expected} | _as_result(view, finding)


def _as_result(view: RecordedView, finding: Finding) -> dict[str, Any]:
    verdicts = {"sure": "diagnosed", "healthy": "healthy"}
    ranked = []
    for one in finding.ranked[:1]:
        found = view.judge(one.claims)
        claims = [{**made, "verdict": verdict.verdict} for made, verdict in zip(one.claims, found, strict=True)]
        ranked.append({"component": one.component, "fault": one.fault, "summary": one.summary, "claims": claims})
    return {"verdict": verdicts.get(finding.verdict, "inconclusive"), "ranked": ranked, "why": finding.why}


def outcomes(results: list[dict[str, Any]]) -> dict[str, str]:
    return {one["case"]: judged(one["expected"], one) for one in results}


def test_the_converter_makes_a_folder_of_each_case_that_the_command_reads(tmp_path: Path) -> None:
    corpus("holmesgpt")
    assert main(["--into", str(tmp_path)]) == 0
    read = [read_case(folder) for folder in sorted(tmp_path.iterdir())]
    assert len(read) == HOLMESGPT_CASES + RDS_CASES
    assert all(one.entries and one.id for one in read)


def test_all_cases_load(results: dict[str, Any]) -> None:
    assert len(results["holmesgpt"]) == HOLMESGPT_CASES
    assert len(results["opensre"]) == RDS_CASES


def test_every_claim_of_a_leader_holds_on_what_was_recorded(results: dict[str, Any]) -> None:
    leaders = [(one["case"], one["ranked"][0]) for part in results.values() for one in part if one["ranked"]]
    false = [(name, claim) for name, one in leaders for claim in one["claims"] if claim["verdict"] != "verified"]
    assert leaders
    assert not false


def test_wrong_convictions_are_few_and_causes_are_named(results: dict[str, Any]) -> None:
    found = outcomes(results["holmesgpt"])
    wrong = [name for name, outcome in found.items() if outcome in {"wrong", "missed"}]
    assert 100 * len(wrong) <= WRONG_PERCENT_MAX * len(found), wrong
    assert sum(outcome == "named" for outcome in found.values()) >= 8


def test_healthy_incidents_end_without_a_conviction(results: dict[str, Any]) -> None:
    healthy = [one for part in results.values() for one in part if one["kind"] == "healthy"]
    assert len(healthy) >= 3
    assert not [one["case"] for one in healthy if one["verdict"] == "diagnosed"]
    assert all(outcomes(healthy)[one["case"]] == "healthy" for one in healthy if one["case"].startswith("rds."))


def test_database_incidents_are_named_or_left_open_never_wrong(results: dict[str, Any]) -> None:
    found = outcomes(results["opensre"])
    wrong = [name for name, outcome in found.items() if outcome in {"wrong", "missed"}]
    assert wrong == []
    assert sum(outcome == "named" for outcome in found.values()) >= 8


def test_a_database_incident_at_another_component_is_wrong_in_every_case(results: dict[str, Any]) -> None:
    named = [one for one in results["opensre"] if judged(one["expected"], one) == "named"]
    moved = [{**one, "ranked": [{**one["ranked"][0], "component": "some-other-db"}]} for one in named]
    assert {judged(one["expected"], one) for one in moved} == {"wrong"}
    expected = {one["case"][:7]: set(one["expected"].components) for one in results["opensre"]}
    assert expected["rds.001"] == {"payments-prod-replica-1"}
    assert expected["rds.002"] == {"payments-prod"}
    assert expected["rds.012"] == {"reporting-prod-replica-1"}


def test_kinds_that_no_rule_knows_convict_almost_nobody(results: dict[str, Any]) -> None:
    unknown = [one for one in results["holmesgpt"] if one["kind"] == "unknown"]
    assert len(unknown) >= 10
    assert sum(one["verdict"] == "diagnosed" for one in unknown) <= 1


def test_through_a_gate_no_case_is_convicted_wrongly() -> None:
    root = corpus("holmesgpt").parent
    chosen = [
        one for name in ("opensre", "holmesgpt") for one in fixtures(name, root) if one.name.startswith(THROUGH_A_GATE)
    ]
    found = {one["case"][:14]: one for one in investigated(chosen)}
    assert len(found) == len(THROUGH_A_GATE)
    assert {one["judged"] for one in found.values()} <= {"named", "abstained", "healthy"}
    assert found["investigate.05"]["judged"] == "named"
    assert found[UNKNOWN_REPLICA]["judged"] == "abstained"
    assert sum(one["judged"] == "healthy" for one in found.values()) == 2


# -- the yardstick itself; needs no corpus -----------------------------------------------------------------------------


def _answer(fault: str, text: str, verdict: str = "diagnosed") -> dict[str, Any]:
    claim = {"verdict": "verified", "text": text, "value": text}
    leader = {"component": "worker", "fault": fault, "summary": "", "claims": [claim], "confidence": 0.7}
    return {"verdict": verdict, "ranked": [leader]}


OOM = Expected(
    "cause", frozenset({"memory-exhausted"}), frozenset({"worker", "killed"}), "worker was killed: out of memory"
)


def test_a_right_fault_without_a_telling_word_of_the_expectation_does_not_count() -> None:
    expected = Expected("cause", frozenset({"memory-exhausted"}), frozenset({"analytics"}), "")
    assert judged(expected, _answer("memory-exhausted", "it says: Reason: OOMKilled")) == "wrong"
    assert judged(OOM, _answer("memory-exhausted", "it says: Reason: OOMKilled")) == "named"


def test_another_component_than_the_expected_one_is_wrong() -> None:
    for component, outcome in (("worker", "named"), ("worker-2", "wrong")):
        expected = replace(OOM, components=frozenset({component}))
        assert judged(expected, _answer("memory-exhausted", "killed")) == outcome


def test_another_fault_is_wrong_and_an_open_end_is_not() -> None:
    assert judged(OOM, _answer("crash-loop", "killed")) == "wrong"
    assert judged(OOM, _answer("crash-loop", "killed", verdict="inconclusive")) == "abstained"
    assert judged(OOM, {"verdict": "healthy", "ranked": []}) == "missed"


def test_a_conviction_where_nothing_was_wrong_or_nothing_is_known_is_wrong() -> None:
    for kind in ("healthy", "unknown"):
        assert judged(Expected(kind, frozenset(), frozenset({"worker"}), ""), _answer("crash-loop", "x")) == "wrong"


def test_the_curve_counts_from_the_most_confident_down() -> None:
    rows = [
        {"case": str(n), "kind": "cause", "judged": outcome, "ranked": [{"confidence": confidence}], "model_calls": 0,
         "observations_read": 1}
        for n, (outcome, confidence) in enumerate([("named", 0.9), ("wrong", 0.5), ("named", 0.5), ("abstained", 0.4)])
    ]  # fmt: skip
    assert curve(rows) == [
        {"confidence_at_least": 0.9, "coverage": 0.25, "risk": 0.0},
        {"confidence_at_least": 0.5, "coverage": 0.75, "risk": 0.333},
    ]
    assert figures(rows)["all"]["wrong_convictions_percent"] == 25.0


# -- what is written of it ---------------------------------------------------------------------------------------------

RESULTS = ROOT / "tests" / "bench" / "results"


def written(*path: str) -> str:
    """A document on one line."""
    return " ".join(ROOT.joinpath(*path).read_text(encoding="utf-8").split())


def test_what_is_written_of_confidence_is_what_was_measured_with_the_weights_that_ship() -> None:
    found = json.loads((RESULTS / "evidence-confidence.json").read_text(encoding="utf-8"))
    assert found["given_weights"] == shown(weights())
    given, fitted = found["given_diagnosed"], found["fitted_left_out_diagnosed"]
    count, held = given["n"], round(given["n"] * given["held"])
    readme, data = written("broker", "evidence", "README.md"), written("broker", "evidence", "confidence.json")
    assert f"say {given['said']:.2f} on average where {held} of {count} hold" in readme
    assert f"say {fitted['said']:.2f} of every diagnosis, which {count} examples" in readme
    assert f"of the {count} candidates diagnosed there {held} hold" in data
    assert f"say {given['said']:.2f} of them on average (Brier {given['brier']:.3f})" in data
    assert f"say {fitted['said']:.2f} of each (Brier {fitted['brier']:.3f} on cases left out)" in data


def test_what_is_written_of_the_recorded_cases_is_what_was_measured() -> None:
    known = json.loads((RESULTS / "investigations.json").read_text(encoding="utf-8"))
    assert (RESULTS / "investigations.txt").read_text(encoding="utf-8") == text(known)
    readme = written("tests", "eval", "README.md")
    opensre, holmes = (known["corpora"][name]["figures"] for name in ("opensre", "holmesgpt"))
    cause, well = opensre["cause"], opensre["healthy"]
    assert (
        f"opensre, {cause['named']} of {cause['cases']} causes named, {cause['abstained']} left open, {cause['wrong']} wrong,"
        f" {well['healthy']} of {well['cases']} healthy ones without a conviction"
    ) in readme
    cause, others = holmes["cause"], holmes["all"]["cases"] - holmes["cause"]["cases"]
    assert f"holmesgpt, {cause['named']} of {cause['cases']} named, {cause['abstained']} left open" in readme
    assert f"{cause['wrong']} wrong, none of the {others} others convicted" in readme
    for one in (opensre, holmes):
        assert one["all"]["wrong_convictions_percent"] <= WRONG_PERCENT_MAX
        assert not any(kind["wrong"] for name, kind in one.items() if name in {"healthy", "unknown"})


def test_the_result_for_people_has_the_curve_and_what_others_published() -> None:
    told = (RESULTS / "investigations.txt").read_text(encoding="utf-8")
    assert told.count("confidence >=   coverage   risk") == 2
    assert all(f"- {what}: {said}" in told for what, said in SHEET.items())
