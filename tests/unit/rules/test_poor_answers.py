"""Tools that answer nothing, an error, too late, a part, or the contrary: the rules are right or abstain, never wrong, never calm."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.rules import Finding, Query, Seen, investigate
from tests.unit.rules.test_investigate import METRIC, leak
from tests.unit.rules.views import MemoryView, errors, log, shop

Json = Any
KEYS = sorted(leak())
HOW = ("ok", "empty", "error", "late", "truncated", "contrary")
CONTRARY: dict[tuple[str, str, str], Json] = {
    ("local.metrics.range", "payments", METRIC): errors("payments"),
    ("local.metrics.range", "checkout", METRIC): errors("checkout", own=2),
    ("local.logs.search", "payments", ""): log((0, "info", "all is well")),
}
"""One tool against the others. What denies the symptom itself is no contradiction but a noisy alert, and a process that is
said not to run is another fault."""


class PoorView(MemoryView):
    """Answers of which some are bad, each in its way."""

    def __init__(self, how: dict[tuple[str, str, str], str]) -> None:
        super().__init__(shop(), leak())
        self.how = how

    async def read(self, query: Query) -> Seen:
        seen = await super().read(query)
        key = (query.action, query.id, str(query.arguments.get("metric", "")))
        match self.how.get(key, "ok"):
            case "empty":
                return replace(seen, status="empty", value=None)
            case "error":
                return replace(seen, status="error", value={"code": "upstream.failed"}, observation="")
            case "late":
                return replace(seen, status="error", value={"code": "upstream.timeout"}, observation="")
            case "truncated":
                return replace(seen, status="truncated", value=_half(seen.value))
            case "contrary":
                return replace(seen, value=CONTRARY.get(key, seen.value))
            case _:
                return seen


def _half(value: Json) -> Json:
    """The first half of whatever is a list in it."""
    if isinstance(value, dict):
        return {name: _half(one) for name, one in value.items()}
    return value[: (len(value) + 1) // 2] if isinstance(value, list) else value


def found(how: dict[tuple[str, str, str], str]) -> Finding:
    return asyncio.run(investigate(PoorView(how)))


def right_or_open(finding: Finding) -> None:
    assert finding.verdict in {"sure", "abstain"}, finding.why
    if finding.verdict == "sure":
        assert (finding.ranked[0].component, finding.ranked[0].fault) == ("payments", "pool-leak"), finding.why


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("key", KEYS, ids=["/".join(key) for key in KEYS])
def test_one_poor_answer_convicts_nobody_else(key: tuple[str, str, str], how: str) -> None:
    right_or_open(found({key: how}))


@given(st.fixed_dictionaries({key: st.sampled_from(HOW) for key in KEYS}))
@settings(max_examples=60, deadline=None)
def test_whatever_mixture_of_poor_answers_comes_the_rules_are_right_or_abstain(
    how: dict[tuple[str, str, str], str],
) -> None:
    right_or_open(found(how))


@pytest.mark.parametrize("how", ["empty", "error", "late"])
def test_when_nothing_answers_nothing_is_known(how: str) -> None:
    assert found(dict.fromkeys(KEYS, how)).verdict == "abstain"
