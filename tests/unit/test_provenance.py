"""Labels on values: what an attacker could have written is untrusted, and no spelling of it launders it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import provenance
from broker.model import Intent, Label, Resource, Session

CHECKOUT = Resource(type="process", id="checkout", env="prod", region="eu-west-1")


def session(*intents: tuple[str, bool], tainted: bool = True) -> Session:
    pieces = tuple(
        Intent(kind="task", text=text, source="", author="dev:oncall", trusted=trusted) for text, trusted in intents
    )
    return Session(
        id="ses_1",
        tenant="default",
        opened_by="dev:oncall",
        agent="",
        tainted=tainted,
        intent=pieces,
        opened_at=0,
        expires_at=10,
    )


def labels(arguments: dict[str, Any], where: Session | None) -> dict[str, str]:
    return {
        path: label.value
        for path, label in provenance.label_arguments(arguments, session=where, resource=CHECKOUT).items()
    }


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("checkout", "trusted"),
        ("prod", "trusted"),
        ("release-7", "trusted"),
        ("release", "trusted"),
        ("elease-7", "untrusted"),
        ("release-77", "untrusted"),
        ("evil@attacker.example", "untrusted"),
        ("e", "untrusted"),
        ("", "trusted"),
        (7, "trusted"),
        (True, "trusted"),
        (None, "trusted"),
    ],
)
def test_in_a_tainted_session_only_what_trusted_people_or_the_inventory_said_is_trusted(value: Any, label: str) -> None:
    where = session(("roll back release-7 of the shop, e-mail nobody", True), ("evil@attacker.example", False))
    assert labels({"x": value}, where) == {"$.x": label}


def test_before_taint_and_without_a_session_nothing_an_outsider_wrote_can_stand_there() -> None:
    assert labels({"x": "anything"}, session(tainted=False)) == {"$.x": "trusted"}
    assert labels({"x": "anything"}, None) == {"$.x": "trusted"}


def test_a_path_is_as_untrusted_as_its_worst_value_and_keys_count() -> None:
    where = session(("use blue and green", True))
    assert labels({"x": ["blue", "green"]}, where) == {"$.x": "trusted"}
    for hidden in (
        ["blue", "red"],
        ["red", "blue"],
        ["blue", {"green": "red"}],
        [{"red": "blue"}],
        {"red": 1},
        [[["red"]]],
    ):
        assert labels({"x": hidden}, where) == {"$.x": "untrusted"}, hidden


@given(
    st.recursive(
        st.just("attacker"),
        lambda below: (
            st.lists(below, min_size=1, max_size=3)
            | st.dictionaries(st.sampled_from(["blue", "green"]), below, min_size=1, max_size=2)
        ),
        max_leaves=6,
    ),
    st.integers(0, 3),
)
def test_no_nesting_hides_an_untrusted_value(value: Any, around: int) -> None:
    for _ in range(around):
        value = ["blue", value]
    assert labels({"x": value}, session(("blue or green", True))) == {"$.x": Label.UNTRUSTED.value}


@pytest.mark.parametrize(
    ("path", "value", "taints"),
    [
        ("$.lines[*].text", {"lines": [{"text": ""}, {"text": "hello"}]}, True),
        ("$.lines[*].text", {"lines": [{"text": ""}, {"other": "hello"}]}, False),
        ("$.lines[*].text", {"lines": []}, False),
        ("$.lines[*].text", {"lines": {"text": "hello"}}, False),
        ("$.title", {"title": "x"}, True),
        ("$.title", {"title": None}, False),
        ("$", {"any": "thing"}, True),
        ("$", {}, False),
        ("$.a.b", {"a": {"b": 0}}, True),
        ("$.a.b", {"a": "b"}, False),
        ("$.rows[*]", {"rows": ["x"]}, True),
        ("$.rows[*][*]", {"rows": [["x"]]}, True),
    ],
)
def test_a_result_taints_where_an_outsiders_field_holds_something(path: str, value: Any, taints: bool) -> None:
    assert provenance.taints([path], value) is taints
