"""Narrowing: an order, and never a step outside what was allowed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.approvals import bounds_of, narrowed
from broker.errors import BadRequest
from broker.model import Constrain
from tests.stores import decision_of

integers = st.integers(-100, 100)
values = st.recursive(
    st.none() | st.booleans() | integers | st.text(max_size=3), lambda inner: st.lists(inner, max_size=4), max_leaves=6
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "max": integers,
        "min": integers,
        "one_of": st.lists(values, max_size=4),
        "max_length": st.integers(0, 5),
        "subset": st.just(value=True),
    },
)


def narrows(old: Any, new: Any, rule: Any) -> bool:
    try:
        return narrowed({"a": old}, {"a": new}, {} if rule is None else {"a": rule})["a"] is new
    except BadRequest:
        return False


@given(values, st.none() | rules)
def test_a_value_narrows_itself(value: Any, rule: Any) -> None:
    assert narrows(value, value, rule)


@given(values, values)
def test_without_a_rule_nothing_changes(old: Any, new: Any) -> None:
    if narrows(old, new, None):
        assert (type(old), old) == (type(new), new)


@given(integers, integers, integers, rules)
def test_narrowing_twice_is_narrowing(one: int, two: int, three: int, rule: Any) -> None:
    if narrows(one, two, rule) and narrows(two, three, rule):
        assert narrows(one, three, rule)


@given(integers, integers, rules)
def test_two_numbers_do_not_narrow_each_other(one: int, two: int, rule: Any) -> None:
    if one != two:
        assert not (narrows(one, two, rule) and narrows(two, one, rule))


@given(integers, integers, rules)
def test_a_narrowed_number_keeps_its_bounds(old: int, new: int, rule: Any) -> None:
    if old != new and narrows(old, new, rule) and ("max" in rule or "min" in rule):
        assert new <= rule.get("max", new)
        if "max" in rule:
            assert rule.get("min", new) <= new < old
        else:
            assert new > old


@given(st.lists(values, max_size=5), st.lists(values, max_size=5), rules)
def test_a_narrowed_list_is_a_part_of_the_old_one(old: list[Any], new: list[Any], rule: Any) -> None:
    if narrows(old, new, rule):
        assert new or not old
        assert len(new) <= len(old)
        assert all(any(type(a) is type(b) and a == b for b in old) for a in new)


@pytest.mark.parametrize(
    ("old", "new", "rule", "fits"),
    [
        ("82000.00", "820.00", {"max": "100000"}, True),
        ("820.00", "82000.00", {"max": "100000"}, False),
        ("820.00", "9e1", {"max": "100000"}, False),
        ("820.00", "820", {"max": "100000"}, True),
        ("820.00", "\uff10", {"max": "100000"}, False),
        (["rm", "-r", "/tmp/x"], ["rm", "-r"], {"max_length": 9}, False),
        (["a", "b"], ["b"], {"subset": True}, True),
        ("820.00", "NaN", {"max": "100000"}, False),
        ("820.00", "-1", {"max": "100000"}, False),
        ("abc", "abb", {"max": 9}, False),
        (30, 60, {"min": 10}, True),
        (30, 20, {"min": 10}, False),
        (-5, -9, {"max": 0}, True),
        ("large", "small", {"one_of": ["small", "large"]}, True),
        ("small", "large", {"one_of": ["small", "large"]}, False),
        ("small", "tiny", {"one_of": ["small", "large"]}, False),
        (True, False, {"one_of": [False, True]}, True),
        (1, True, {"one_of": [True, 1]}, False),
        ([1, 2], [True], {"subset": True}, False),
        ([1, 2, 3], [1, 3], {"one_of": [1, 2]}, False),
        ({"n": 2}, {"n": 1}, {"max": 9}, False),
        (None, 1, {"max": 9}, False),
    ],
)
def test_examples(old: Any, new: Any, rule: Any, fits: bool) -> None:
    assert narrows(old, new, rule) is fits


def test_bounds_come_from_schema_and_constrain_and_the_tighter_one_counts() -> None:
    schema = {
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 50},
            "size": {"enum": ["s", "m", "l"]},
            "list": {"type": "array", "uniqueItems": True, "maxItems": 9},
            "command": {"type": "array", "maxItems": 9},
            "free": {"type": "string"},
        }
    }
    decision = decision_of(Constrain({"n": {"max": 20}, "size": {"one_of": ["m", "s"]}, "more": {"min": 2}}))
    assert bounds_of(decision, schema) == {
        "n": {"min": 1, "max": 20},
        "size": {"one_of": ["m", "s"]},
        "list": {"subset": True},
        "more": {"min": 2},
    }
    assert bounds_of(decision_of(Constrain({"n": {"max": 90}})), schema)["n"] == {"min": 1, "max": 50}
