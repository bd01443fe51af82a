"""Fields of the approval form offer nothing wider, and come back as the values that they stand for."""

import pytest

from broker.approvals import narrowed
from broker.errors import BadRequest
from broker.model import Json
from broker.web.console.pages.difference import Line, difference
from broker.web.console.pages.narrowing import fields_of, read

ARGUMENTS: dict[str, Json] = {"count": 5, "share": "0.50", "mode": "all", "hosts": ["a", "b"], "name": "x", "dry": True}
BOUNDS: dict[str, dict[str, Json]] = {
    "count": {"max": 10, "min": 1},
    "share": {"max": "0.75"},
    "mode": {"one_of": ["one", "some", "all", "more"]},
    "hosts": {"subset": True},
    "dry": {"max": 1},
    "gone": {"max": 1},
}


def test_fields_start_at_the_present_value_and_lead_down_only() -> None:
    fields = {one.name: one for one in fields_of(ARGUMENTS, BOUNDS)}
    assert sorted(fields) == ["count", "hosts", "mode", "share"]
    assert (fields["count"].value, fields["count"].most, fields["count"].least) == ("5", "5", "1")
    assert [value for value, _ in fields["mode"].options] == ['"one"', '"some"', '"all"']
    assert fields["share"].kind == "decimal"


def test_what_the_form_sends_back_unchanged_changes_nothing() -> None:
    pairs: list[tuple[str, str]] = []
    for one in fields_of(ARGUMENTS, BOUNDS):
        pairs.append((one.field, one.value))
        if one.kind == "list":
            pairs += [(f"narrow:part:{one.name}", value) for value, _ in one.options]
    said = read([("reason", "x"), *pairs])
    assert narrowed(ARGUMENTS, said, BOUNDS) == ARGUMENTS


def test_a_narrower_form_narrows_and_an_emptied_list_is_refused() -> None:
    said = read([("narrow:int:count", "3"), ("narrow:list:hosts", ""), ("narrow:part:hosts", '"b"')])
    assert narrowed(ARGUMENTS, said, BOUNDS) == {**ARGUMENTS, "count": 3, "hosts": ["b"]}
    with pytest.raises(BadRequest, match=r"narrow\.hosts"):
        narrowed(ARGUMENTS, read([("narrow:list:hosts", "")]), BOUNDS)
    with pytest.raises(BadRequest, match=r"narrow\.count"):
        narrowed(ARGUMENTS, read([("narrow:int:count", "6")]), BOUNDS)


@pytest.mark.parametrize(
    "pair", [("narrow:int:count", "many"), ("narrow:choice:mode", "{"), ("narrow:what:count", "1")]
)
def test_a_field_that_holds_no_value_is_refused_by_its_name(pair: tuple[str, str]) -> None:
    with pytest.raises(BadRequest) as refused:
        read([pair])
    assert refused.value.error_code == "approval.not_narrower"
    assert pair[0].rpartition(":")[2] in refused.value.detail


def test_a_difference_is_whole_and_in_order() -> None:
    assert difference("a\nb\nc", "a\nx\nc") == [
        Line("same", "a"),
        Line("gone", "b"),
        Line("new", "x"),
        Line("same", "c"),
    ]
    assert difference({"a": 1}, {"a": 1}) == []
    assert difference(None, "new") == [Line("new", "new")]
    # A carriage return, or another character that some readers take for a line's end, stays in its line to be seen.
    assert difference("a\rb\u2028c", "d") == [Line("gone", "a\rb\u2028c"), Line("new", "d")]
