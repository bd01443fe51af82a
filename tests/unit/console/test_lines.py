"""What a row of the log says in one word, and by which colour and mark: green only where something was let happen."""

from dataclasses import fields
from typing import Any

import pytest

from broker.logbook import Line, shown
from broker.web.console.pages.incidents import _claim, _pairs
from broker.web.console.pages.log_lines import LineView


def line_of(**said: Any) -> LineView:
    """A line of the log as a page shows it."""
    empty: dict[str, Any] = {one.name: "" for one in fields(Line)}
    empty |= {"seq": 1, "at": 1, "tier": 0, "codes": (), "roles": ()}
    return LineView.of(shown(Line(**empty | said), str))


@pytest.mark.parametrize(
    ("line", "word", "look"),
    [
        ({"kind": "intent", "effect": "permit"}, "permit", "good"),
        ({"kind": "refusal", "effect": "permit", "codes": ("limit.exceeded",)}, "refused", "bad"),
        ({"kind": "refusal", "effect": "deny"}, "deny", "bad"),
        ({"kind": "proposal", "effect": "permit"}, "waits", "warn"),
        ({"kind": "outcome", "status": "done"}, "done", "good"),
        ({"kind": "outcome", "status": "failed"}, "failed", "bad"),
    ],
)
def test_what_was_refused_or_waits_is_not_green_though_policy_permitted_it(
    line: dict[str, Any], word: str, look: str
) -> None:
    view = line_of(**line)
    assert (view.said, view.look) == (word, look)


def test_found_values_of_a_claim_stand_as_on_record_and_not_as_python_writes_them() -> None:
    told = {
        "role": "support",
        "observation": "obs_1",
        "selector": "rows",
        "op": "eq",
        "verdict": "refuted",
        "reason": "",
    }
    claim = _claim({**told, "value": [True, None], "actual": {"up": False, "name": "a"}})
    assert (claim.test, claim.actual) == ("rows eq [true, null]", '{"up": false, "name": "a"}')
    assert _claim({**told, "value": "x", "actual": "as it is"}).actual == "as it is"
    assert _claim({**told, "actual": None}).actual == ""
    assert _pairs({"on": True, "hosts": ["a"], "note": "text"}) == [
        ("hosts", '["a"]'),
        ("note", "text"),
        ("on", "true"),
    ]
