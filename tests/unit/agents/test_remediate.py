"""At most one remedy, as the gate's catalogue derived it; everything else goes to people with what is known."""

from collections.abc import Mapping
from typing import Any

import pytest

from demo.wire import Answer, Asked
from tests.sim.gate import Refusal
from tests.sim.incident_gate import INCIDENT, SINCE, IncidentGate, incident, incident_gate
from tests.unit.agents.responder import Waits, work

Json = Any
TARGET = {"type": "process", "id": "checkout", "env": "prod"}


def diagnosis(fault: str = "bad-cache") -> dict[str, Json]:
    verified = {"observation": "obs_1", "selector": "$.a", "op": "eq", "value": "x", "actual": "x", "role": "cause"}
    return {
        "id": "dgn_9",
        "verdict": "diagnosed",
        "cause": {"component": "checkout", "fault": fault, "summary": "it is {0}, not {1} or 42"},
        "claims": [{**verified, "verdict": "verified"}, {**verified, "verdict": "refuted", "actual": "y"}],
        "ruled_out": [{"component": "payments", "fault": "dependency-down"}],
    }


def remedy(action: str = "shop.cache.clear", **more: Json) -> dict[str, Json]:
    return {
        "action": action, "faults": ["bad-cache"], "resource": TARGET, "arguments": {}, "open": [], "reversibility": "reversible",
        "idempotent": True, "preconditions": [], **more,
    }  # fmt: skip


def diagnosed(
    *remedies: Mapping[str, Json], memory: Json = (), fault: str = "bad-cache", **row: Json
) -> dict[str, Json]:
    made = incident(incident={"state": "diagnosed", "diagnosis": "dgn_9", **row})
    made["events"].append(
        {"id": f"{INCIDENT}.3", "seq": 3, "kind": "diagnosed", "at": SINCE + 9, "from_state": "investigating", "to_state": "diagnosed",
         "body": {}, "actor": "x"}
    )  # fmt: skip
    return {**made, "diagnoses": [diagnosis(fault)], "remedies": list(remedies), "memory": list(memory)}


def ended(gate: IncidentGate) -> tuple[str, dict[str, Json]]:
    assert len(gate.finished) == 1
    return gate.finished[0]["to"], gate.finished[0]["body"]


def asked(gate: IncidentGate) -> list[dict[str, Json]]:
    """Bodies of what was asked for beside reads."""
    return [one for one in gate.bodies("/v1/actions") if one.get("work")]


def test_the_remedy_is_asked_for_with_its_diagnosis_and_its_work() -> None:
    with incident_gate(shop__cache__clear={"cleared": True}) as gate:
        gate.detail = diagnosed(remedy())
        work(gate, model=False)
        to, body = ended(gate)
        [request] = asked(gate)
    assert to == "proposed"
    assert body["action_id"].startswith("act_")
    assert request["diagnosis"] == "dgn_9"
    assert request["work"] == {"id": "wrk_1", "fence": 1}
    assert request["reason"] == f"bad-cache of checkout, incident {INCIDENT}"
    assert body["cause"]["summary"] == "it is x, not … or …"
    assert [one["verdict"] for one in body["evidence"]] == ["verified"]


def test_a_remedy_that_waits_for_a_person_ends_the_agent_s_step() -> None:
    with incident_gate(shop__cache__clear="wait") as gate:
        gate.detail = diagnosed(remedy())
        work(gate, model=False)
        assert ended(gate)[0] == "proposed"


@pytest.mark.parametrize(
    ("remedies", "fault", "against"),
    [
        ((), "bad-cache", []),
        ((remedy(faults=["crash-loop"]),), "bad-cache", []),
        ((remedy(),), "slow-query", []),
        ((remedy(open=["commit"]),), "bad-cache", ["the diagnosis gives no commit"]),
    ],
)
def test_without_a_fitting_remedy_people_get_the_evidence(remedies: Json, fault: str, against: Json) -> None:
    with incident_gate() as gate:
        gate.detail = diagnosed(*remedies, fault=fault)
        work(gate, model=False)
        to, body = ended(gate)
        assert asked(gate) == []
    assert (to, body["reason"]) == ("escalated", "no remedy fits")
    assert [one["against"] for one in body["remedies"]] == against
    assert body["evidence"]
    assert body["ruled_out"] == [{"component": "payments", "fault": "dependency-down"}]


def test_a_refusal_goes_to_people_with_what_was_tried() -> None:
    with incident_gate(shop__cache__clear=Refusal(403, "risk.manual_only")) as gate:
        gate.detail = diagnosed(remedy(), remedy("shop.process.restart"))
        work(gate, model=False)
        to, body = ended(gate)
        assert len(asked(gate)) == 1, "one remedy, not one after the other"
    assert to == "escalated"
    assert body["refusal"] == {"code": "risk.manual_only", "reasons": ["risk.manual_only"]}
    assert body["tried"]["remedy"] == "shop.cache.clear"


@pytest.mark.parametrize(
    "refusal", [Refusal(403, "incident.conflict", retry_after=20, times=2), Refusal(409, "lease.held", 5, 2)]
)
def test_another_incident_in_the_way_is_waited_for(refusal: Refusal) -> None:
    waits = Waits()
    with incident_gate(shop__cache__clear=refusal) as gate:
        gate.detail = diagnosed(remedy())
        work(gate, model=False, waits=waits)
        assert ended(gate)[0] == "proposed"
        keys = {
            one.headers["idempotency-key"] for one in gate.seen if one.path == "/v1/actions" and b'"work"' in one.body
        }
    assert len(keys) == 1
    assert waits[:2] == [refusal.retry_after] * 2


def test_nobody_is_waited_for_for_ever() -> None:
    waits = Waits()
    with incident_gate(shop__cache__clear=Refusal(403, "remedy.cooldown", retry_after=150)) as gate:
        gate.detail = diagnosed(remedy())
        work(gate, model=False, waits=waits)
        to, body = ended(gate)
    assert (to, body["refusal"]["code"]) == ("escalated", "remedy.cooldown")
    assert sum(one for one in waits if one == 150) <= 900


def test_what_ends_by_itself_while_waiting_is_left_alone() -> None:
    with incident_gate(shop__cache__clear=Refusal(403, "incident.conflict", retry_after=20)) as gate:
        gate.detail = diagnosed(remedy())
        known = gate._fresh

        def resolving(one: Asked, path: str) -> Answer:
            if path == "/v1/actions" and one.method == "POST":
                gate.detail["incident"] = {**gate.detail["incident"], "until": SINCE + 20}
            return known(one, path)

        gate._fresh = resolving  # type: ignore[assignment, method-assign]
        work(gate, model=False)
        to, body = ended(gate)
    assert (to, body["reason"]) == ("noise", "resolved by itself")


@pytest.mark.parametrize(("state", "to"), [("failed", "proposed"), ("running", "escalated")])
def test_preconditions_are_looked_at_first(state: str, to: str) -> None:
    condition = {
        "action": "shop.logs.search",
        "arguments": {"since_s": 1, "until_s": 2},
        "selector": "$.state",
        "op": "ne",
        "value": "running",
    }
    with incident_gate(shop__logs__search={"state": state}, shop__cache__clear={}) as gate:
        gate.detail = diagnosed(remedy(preconditions=[condition]))
        work(gate, model=False)
        assert ended(gate)[0] == to
        assert len(asked(gate)) == (to == "proposed")


@pytest.mark.parametrize(
    ("remedies", "memory", "first"),
    [
        ([remedy("shop.b.clear"), remedy("shop.a.start", reversibility="compensable")], [], "shop.b.clear"),
        ([remedy("shop.b.clear"), remedy("shop.a.clear")], [], "shop.a.clear"),
        (
            [remedy("shop.a.clear"), remedy("shop.b.start", reversibility="compensable")],
            [
                {
                    "component": "checkout",
                    "fault": "bad-cache",
                    "outcome": "mitigated",
                    "remedies": [{"action": "shop.b.start"}],
                }
            ],
            "shop.b.start",
        ),
        (
            [remedy("shop.a.clear"), remedy("shop.b.start", reversibility="compensable")],
            [
                {
                    "component": "checkout",
                    "fault": "bad-cache",
                    "outcome": "rolled_back",
                    "remedies": [{"action": "shop.b.start"}],
                }
            ],
            "shop.a.clear",
        ),
    ],
)
def test_what_helped_before_comes_first_then_what_can_be_undone(remedies: Json, memory: Json, first: str) -> None:
    with incident_gate() as gate:
        gate.detail = diagnosed(*remedies, memory=memory)
        work(gate, model=False)
        assert [one["action"] for one in asked(gate)] == [first]


def test_an_alert_that_ended_asks_for_nothing() -> None:
    with incident_gate(shop__cache__clear={}) as gate:
        gate.detail = diagnosed(remedy(), until=SINCE + 20)
        work(gate, model=False)
        assert ended(gate)[0] == "noise"
        assert asked(gate) == []


def test_a_diagnosis_that_is_not_there_is_people_s_to_find() -> None:
    with incident_gate(shop__cache__clear={}) as gate:
        gate.detail = {**diagnosed(remedy()), "diagnoses": []}
        work(gate, model=False)
        assert ended(gate) == ("escalated", {"reason": "no diagnosis holds", "queries": 0, "model_calls": 0})
