"""OPA and regorus decide alike on generated inputs that reach every reason."""

import copy
import functools
import json
from typing import Any

from jsonschema import Draft202012Validator

from broker.policy.decision import Readings, canonical_answer, read_decision
from tests.property.policies.inputs import Input, inputs
from tests.unit.policies.engines import codes, content, on_opa, on_regorus

COUNT, SEED = 500, 20260101


@functools.cache
def decided() -> list[tuple[Input, Any]]:
    """Each input with the decision that regorus gives it."""
    decide = on_regorus(content().modules, content().config)
    return [(value, decide(value)) for value in inputs(COUNT, SEED)]


def _canonical(decision: Any) -> bytes:
    return canonical_answer(json.dumps(decision).encode())


def test_generated_inputs_fit_the_input_schema_and_are_reproducible() -> None:
    validator = Draft202012Validator(content().schema("input.v1"))
    made = inputs(COUNT, SEED)
    assert made == [value for value, _ in decided()]
    for value in made:
        assert [error.message for error in validator.iter_errors(value)] == []


def test_both_engines_decide_alike_on_500_inputs() -> None:
    theirs = on_opa([value for value, _ in decided()])
    differing = [
        (value["request_id"], ours, other)
        for (value, ours), other in zip(decided(), theirs, strict=True)
        if _canonical(ours) != _canonical(other)
    ]
    assert not differing


def test_the_inputs_reach_every_reason_and_a_fifth_are_permitted() -> None:
    decisions = [decision for _, decision in decided()]
    assert set().union(*map(codes, decisions)) == set(content().config["reasons"])
    assert sum(decision["effect"] == "permit" for decision in decisions) >= COUNT // 5
    assert {decision["risk"]["tier"] for decision in decisions} == {0, 1, 2, 3, 4}


def test_every_decision_is_one_that_the_gate_reads() -> None:
    validator = Draft202012Validator(content().schema("decision.v1"))
    for _, decision in decided():
        assert [error.message for error in validator.iter_errors(decision)] == []
        read_decision(
            json.dumps(decision).encode(), readings=Readings({}), revision="1", digest="", engine="", input_digest=""
        )


def test_without_any_one_area_of_the_configuration_nothing_is_permitted() -> None:
    permitted = [value for value, decision in decided() if decision["effect"] == "permit"][:40]
    assert len(permitted) == 40
    read_by_no_rule = {"authzen", "reasons", "redaction", "slis"}
    for area in content().config.keys() - read_by_no_rule:
        decide = on_regorus(content().modules, {name: part for name, part in content().config.items() if name != area})
        assert [value for value in permitted if decide(value)["effect"] == "permit"] == [], area


def test_pulling_the_kill_switch_permits_nothing_that_was_denied() -> None:
    decide = on_regorus(content().modules, content().config)
    for value, decision in decided():
        if decision["effect"] == "deny":
            stopped = copy.deepcopy(value)
            stopped["context"]["killed"] = True
            assert decide(stopped)["effect"] == "deny"
