"""Figures from answers: growth of counters, shares, one number at a selector."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.remedies.measure import filled, growth, number_at, ratio


def series(*values: Any) -> dict[str, Any]:
    return {"labels": {}, "points": [[at, value] for at, value in enumerate(values)]}


def answer(*rows: dict[str, Any], status: str = "ok") -> dict[str, Any]:
    return {"result": {"status": status, "value": {"series": list(rows)}}}


def test_growth_sees_a_counter_begin_afresh() -> None:
    assert growth([series("10", "15", "3", "4")]) == 9
    assert growth([series("1", "2"), series("0", "5")]) == 6
    assert growth([series("1")]) is None
    assert growth([series("1", "not a number", "3", "NaN")]) == 2


def test_a_share_needs_traffic_and_two_answers() -> None:
    traffic = answer(series("0", "100"))
    assert ratio(answer(series("0", "5")), traffic) == Decimal("0.05")
    assert ratio(answer(status="empty"), traffic) == 0
    assert ratio(answer(series("0", "5")), answer(series("7", "7"))) is None
    assert ratio(answer(series("0", "5")), answer(status="empty")) is None
    assert ratio(answer(series("0", "5"), status="truncated"), traffic) is None
    assert ratio(answer(series("0", "5")), answer(series("0", "100"), status="error")) is None
    assert ratio(None, traffic) is None
    assert ratio(traffic, None) is None
    assert ratio({"result": {"status": "ok", "value": {"head": "cut off", "bytes": 9}}}, traffic) is None


def test_one_number_at_a_selector_and_nothing_else() -> None:
    value = {"value": {"a": [1, 2], "b": "0.25", "c": "x"}, "status": "ok"}
    assert number_at("$.b", value) == Decimal("0.25")
    assert number_at("$.a[*] | sum", value) == 3
    assert number_at("$.a[*]", value) is None
    assert number_at("$.c", value) is None
    assert number_at("$.absent", value) is None


def test_holes_keep_the_type_of_what_fills_them() -> None:
    known = {"component": "checkout", "from": 10}
    assert filled({"since_s": "{from}", "q": 'up{service="{component}"}', "n": 3}, known) == {
        "since_s": 10,
        "q": 'up{service="checkout"}',
        "n": 3,
    }


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=20))
def test_growth_is_never_negative(values: list[int]) -> None:
    found = growth([series(*map(str, values))])
    assert found is not None
    assert found >= 0


@pytest.mark.parametrize("value", [[], {}, None, 3])
def test_malformed_series_measure_nothing(value: Any) -> None:
    assert ratio({"result": {"status": "ok", "value": value}}, answer(series("0", "100"))) is None
