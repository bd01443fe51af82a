from typing import Any

import pytest

from broker.errors import BadRequest
from broker.policy.golden import mismatch, read_goldens

BASES = {"bases": {"a": {"input": {"x": {"y": 1}, "list": [1, 2]}}, "b": {"base": "a", "set": {"x.y": 2}}}}
DENY = {"effect": "deny"}


def read(*cases: Any, bases: Any = BASES) -> Any:
    return read_goldens({"golden/bases.json": bases, "golden/main.json": {"cases": list(cases)}})


def test_a_base_is_copied_and_changed_by_dotted_path() -> None:
    one, two, three = read(
        {"name": "one", "base": "b", "set": {"x.z.w": None, "list.0": 9, "x.y.-": None}, "expect": DENY},
        {"name": "two", "base": "a", "expect": DENY},
        {"name": "three", "input": {"whole": True}, "expect": DENY},
    )
    assert one.input == {"x": {"z": {"w": None}}, "list": [9, 2]}
    assert two.input == {"x": {"y": 1}, "list": [1, 2]}
    assert three.input == {"whole": True}
    assert one.where == "golden/main.json: one"


def test_a_case_that_changes_a_value_of_its_base_changes_it_for_itself_alone() -> None:
    bases = {"bases": {"a": {"input": {}}, "b": {"base": "a", "set": {"deep": {"x": 1}}}}}
    one, two = read(
        {"name": "one", "base": "b", "set": {"deep.x": 2}, "expect": DENY},
        {"name": "two", "base": "b", "expect": DENY},
        bases=bases,
    )
    assert (one.input, two.input) == ({"deep": {"x": 2}}, {"deep": {"x": 1}})


@pytest.mark.parametrize(
    "case",
    [
        {"base": "a", "expect": DENY},
        {"name": "n", "expect": DENY},
        {"name": "n", "base": "a", "input": {}, "expect": DENY},
        {"name": "n", "base": "absent", "expect": DENY},
        {"name": "n", "base": "a"},
        {"name": "n", "base": "a", "expect": {"effect": "allow"}},
        {"name": "n", "base": "a", "expect": {"effect": "deny", "tiers": 1}},
        {"name": "n", "base": "a", "expect": DENY, "sets": {}},
        {"name": "n", "base": "a", "set": {"list.7": 1}, "expect": DENY},
        {"name": "n", "base": "a", "set": {"x.y.z": 1}, "expect": DENY},
        {"name": "n", "base": "a", "set": {"gone.-": 1}, "expect": DENY},
    ],
)
def test_a_case_that_says_less_or_more_than_it_must_is_refused(case: Any) -> None:
    with pytest.raises(BadRequest, match="golden"):
        read(case)


def test_a_base_that_builds_on_itself_is_refused() -> None:
    bases = {"bases": {"a": {"base": "b"}, "b": {"base": "a"}}}
    with pytest.raises(BadRequest):
        read({"name": "n", "base": "a", "expect": DENY}, bases=bases)


FOUND = {
    "effect": "permit",
    "risk": {"tier": 1},
    "reasons": [{"code": "a"}, {"code": "b"}, {"code": "a"}],
    "obligations": {"cap": {"bytes": 5, "rows": 6}, "limits": [{"name": "x", "max": 1}, {"name": "y", "max": 2}]},
}


@pytest.mark.parametrize(
    ("expect", "fault"),
    [
        ({"effect": "permit"}, ""),
        ({"effect": "deny"}, "effect is 'permit'"),
        ({"tier": 1, "effect": "permit"}, ""),
        ({"tier": 2, "effect": "permit"}, "tier is 1"),
        ({"effect": "permit", "reasons": ["b", "a"]}, ""),
        ({"effect": "permit", "reasons": ["a"]}, "reasons are ['a', 'b']"),
        ({"effect": "permit", "obligations": {"cap": {"bytes": 5}}}, ""),
        ({"effect": "permit", "obligations": {"cap": {"bytes": True}}}, "obligation cap"),
        ({"effect": "permit", "obligations": {"lease": None}}, ""),
        ({"effect": "permit", "obligations": {"cap": None}}, "expected none"),
        ({"effect": "permit", "obligations": {"lease": {}}}, "obligation lease is None"),
        ({"effect": "permit", "obligations": {"limits": [{"name": "y"}, {"name": "x"}]}}, ""),
        ({"effect": "permit", "obligations": {"limits": [{"name": "y"}]}}, "obligation limits"),
    ],
)
def test_a_decision_is_compared_where_the_case_says_something(expect: Any, fault: str) -> None:
    (golden,) = read({"name": "n", "base": "a", "expect": {"effect": "permit", **expect}})
    found = mismatch(golden, FOUND)
    assert found.startswith(fault) if fault.startswith("effect") or not fault else fault in found
    assert bool(found) == bool(fault)
