"""Bounds, residency and caps: what cannot be checked is not kept, and what is cut says so."""

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import obligations
from broker.errors import ObligationFailed
from broker.model import ActionRequest, Cap, Constrain, Residency, Resource


def asking(**arguments: Any) -> ActionRequest:
    return ActionRequest(
        id="act_1",
        tenant="default",
        session="",
        action="local.logs.search",
        resource=Resource(type="process", id="checkout", env="prod"),
        arguments=arguments,
        reason="",
        digest="0" * 64,
    )


@pytest.mark.parametrize(
    ("rule", "bound", "keeping", "breaking"),
    [
        ("max", 5, [5, 4, -1], [6, "5", 5.0, True, None, [5]]),
        ("min", 5, [5, 6], [4, "6", True, None]),
        ("one_of", ["a", "b"], ["a", "b"], ["c", "A", "", None, ["a"]]),
        ("max_length", 3, ["", "abc", [1, 2, 3]], ["abcd", [1, 2, 3, 4], 2, None, {"a": 1}]),
        ("max_lenght", 3, [], ["", "a", 1, None]),
    ],
)
def test_a_bound_keeps_what_it_names_and_refuses_what_it_cannot_compare(
    rule: str, bound: Any, keeping: list[Any], breaking: list[Any]
) -> None:
    duty = Constrain({"x": {rule: bound}})
    for value in keeping:
        obligations._constrain(duty, asking(x=value))
    for value, place in itertools.product(breaking, ("x", "y")):
        with pytest.raises(ObligationFailed) as caught:
            obligations._constrain(duty, asking(**{place: value}))
        assert caught.value.error_code == "obligation.constrain"
        assert repr(value) not in caught.value.detail or len(repr(value)) < 3, "the value is not told"


@pytest.mark.parametrize("region", ["us-east-1", "", "EU-WEST-1", "eu-west-1 "])
def test_data_goes_only_where_it_may(region: str) -> None:
    duty = Residency(regions=("eu-west-1", "local"), data_classes=("pii",))
    obligations._residency(duty, {"region": "eu-west-1", "provider": "x"})
    with pytest.raises(ObligationFailed) as caught:
        obligations._residency(duty, {"region": region, "provider": "x"} if region else {})
    assert caught.value.error_code == "residency.region_forbidden"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=30),
    lambda below: st.lists(below, max_size=6) | st.dictionaries(st.text(max_size=4), below, max_size=4),
    max_leaves=25,
)


def longest(value: Any) -> int:
    if isinstance(value, list):
        return max([len(value), *map(longest, value)])
    return max(map(longest, value.values()), default=0) if isinstance(value, dict) else 0


@given(VALUES, st.integers(40, 400), st.integers(1, 5))
def test_what_a_cap_lets_through_is_within_it_and_says_whether_it_was_cut(value: Any, size: int, rows: int) -> None:
    shown, capped = obligations._cap(value, Cap(bytes=size, rows=rows))
    head = isinstance(shown, dict) and set(shown) == {"head", "bytes"} and capped
    assert head or (longest(shown) <= rows and len(orjson.dumps(shown)) <= size)
    assert not head or len(shown["head"].encode()) <= size
    assert capped or shown == value
    fits = longest(value) <= rows and len(orjson.dumps(value)) <= size
    assert capped is not fits
    assert obligations._cap(value, None) == (value, False)
