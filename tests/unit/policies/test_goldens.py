"""The golden decisions hold on both engines and leave no rule, condition or reason code unbound."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import regorus
from jsonschema import Draft202012Validator

from broker.policy.golden import Golden, mismatch
from tests.unit.policies.engines import (
    Decide,
    codes,
    content,
    decider,
    goldens,
    loaded,
    on_opa,
    on_regorus,
    opted,
)

# Conditions of `permitted` that the denials of the areas already imply: kept so that a permit never rests on the
# absence of a denial alone. broker/main/main_test.rego removes each fact and sees `policy.incomplete`.
IMPLIED = {
    "input.schema ==",
    "configured",
    "data.broker.allowlist.complete",
    "data.broker.approval.settled",
    "obligations.limits",
    "obligations.cap",
}


def test_every_golden_decision_holds_on_regorus() -> None:
    decide = on_regorus(content().modules, content().config)
    faults = [f"{golden.where}: {fault}" for golden in goldens() if (fault := mismatch(golden, decide(golden.input)))]
    assert not faults


def test_every_golden_decision_holds_on_opa() -> None:
    decisions = on_opa([golden.input for golden in goldens()])
    faults = [
        f"{golden.where}: {fault}"
        for golden, decision in zip(goldens(), decisions, strict=True)
        if (fault := mismatch(golden, decision))
    ]
    assert not faults


def test_decisions_under_a_configuration_that_is_not_shipped_hold_on_both_engines() -> None:
    for config, cases in opted():
        decide = on_regorus(content().modules, config)
        theirs = on_opa([golden.input for golden in cases], config)
        faults = [
            f"{golden.where}: {fault}"
            for golden, other in zip(cases, theirs, strict=True)
            for decision in (decide(golden.input), other)
            if (fault := mismatch(golden, decision))
        ]
        assert not faults


def test_goldens_are_inputs_and_give_decisions_of_their_schemas() -> None:
    decide = on_regorus(content().modules, content().config)
    asked, answered = (Draft202012Validator(content().schema(name)) for name in ("input.v1", "decision.v1"))
    for golden in goldens():
        assert [error.message for error in asked.iter_errors(golden.input)] == [], golden.where
        assert [error.message for error in answered.iter_errors(decide(golden.input))] == [], golden.where


def test_every_golden_has_a_name_of_its_own() -> None:
    names = [golden.where for golden in goldens()]
    assert len(names) == len(set(names))


def test_every_registered_reason_has_a_golden_and_every_area_permits_and_denies() -> None:
    decide = on_regorus(content().modules, content().config)
    seen: set[str] = set()
    effects: dict[str, set[str]] = {}
    for golden in goldens():
        seen |= codes(decide(golden.input))
        effects.setdefault(golden.where.split("/")[1], set()).add(golden.expect["effect"])
    assert seen == set(content().config["reasons"])
    assert {area for area, both in effects.items() if len(both) < 2} <= {"bounds", "redaction"}


@pytest.mark.parametrize("path", sorted(content().modules))
def test_removing_any_rule_or_condition_breaks_a_golden(path: str) -> None:
    killers = [(_rest(path), Killers(path.split("/")[1]))]
    killers += [(_rest(path, config), Killers("opted", cases)) for config, cases in opted()]
    survivors = []
    for line, cut, mutant in mutants(path, content().modules[path]):
        implied = path == "broker/main/main.rego" and cut.startswith(tuple(IMPLIED))
        if not implied and all(each.none(_with(rest, path, mutant)) for rest, each in killers):
            survivors.append(f"{path}:{line}: {cut}")
    assert not survivors


def test_the_goldens_hold_and_the_mutants_are_many() -> None:
    assert Killers("").none(decider(_rest("")))
    assert sum(len(list(mutants(path, text))) for path, text in content().modules.items()) > 200


def mutants(path: str, text: str) -> Iterator[tuple[int, str, str]]:
    """(line, what is cut, the module without it) for each rule clause and each condition of a body of several."""
    engine = regorus.Engine()
    engine.add_policy(path, text)
    raw = text.encode()
    for rule in json.loads(engine.get_ast_as_json())[0]["ast"]["rules"]:
        ((_, node),) = rule.items()
        yield _without(path, raw, node["span"])
        for body in node.get("bodies", []):
            conditions = body["query"]["stmts"]
            for condition in conditions if len(conditions) > 1 else []:
                line, cut, mutant = _without(path, raw, condition["span"])
                if not re.match(r"some |\w+ :=", cut):
                    yield line, cut, mutant


def _without(path: str, raw: bytes, span: Mapping[str, int]) -> tuple[int, str, str]:
    # A span may end before a closing quote; formatted Rego has one statement a line, so the line's end is the end.
    end = raw.find(b"\n", span["end"])
    cut, mutant = raw[span["start"] : end].decode(), (raw[: span["start"]] + raw[end:]).decode()
    return span["line"], cut, mutant


def _rest(path: str, config: Mapping[str, Any] | None = None) -> Any:
    """An engine with everything but the module at ``path``; ``config`` is the shipped one if not given."""
    engine = loaded({other: text for other, text in content().modules.items() if other != path})
    engine.add_data_json(json.dumps({"config": config or content().config}))
    return engine


def _with(rest: Any, path: str, mutant: str) -> Decide:
    """Decide with ``mutant`` at ``path``."""
    engine = rest.clone()
    engine.add_policy(path, mutant)
    return decider(engine)


class Killers:
    """All goldens, those that broke last first: neighbouring mutants mostly break the same ones."""

    def __init__(self, area: str, cases: Sequence[Golden] | None = None) -> None:
        """Begin with the goldens of ``area``; of all of them, if ``cases`` is not given."""
        self._order = sorted(cases or goldens(), key=lambda golden: not golden.where.startswith(f"golden/{area}/"))

    def none(self, decide: Decide) -> bool:
        """Whether all goldens hold."""
        try:
            for at, golden in enumerate(self._order):
                raw = decide(golden.input)
                if not isinstance(raw, dict) or mismatch(golden, raw):
                    self._order.insert(0, self._order.pop(at))
                    return False
        except RuntimeError:  # the engine refuses what now refers to nothing
            return False
        return True
