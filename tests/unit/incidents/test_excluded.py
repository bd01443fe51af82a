"""The last word of a person on a cause counts, whatever an agent proves."""

import asyncio
from typing import Any

import pytest

from tests.shop import Shop


@pytest.mark.parametrize(
    ("said", "excluded"),
    [
        ([], False),
        ([("note", {"component": "payments"})], False),
        ([("rule_out", {"component": "payments"})], True),
        ([("rule_out", {"fault": "bad-config"})], True),
        ([("rule_out", {"component": "payments", "fault": "crash"})], False),
        ([("rule_out", {"component": "search", "fault": "bad-config"})], False),
        ([("rule_out", {})], False),
        ([("correct", {"component": "search", "fault": "crash"})], True),
        ([("correct", {"component": "payments", "fault": "bad-config"})], False),
        ([("rule_out", {"component": "payments"}), ("correct", {"component": "payments"})], False),
        ([("correct", {"component": "payments"}), ("rule_out", {"component": "payments"})], True),
    ],
)
def test_what_people_said_last_of_the_cause_that_was_diagnosed(
    shop: Shop, said: list[tuple[str, dict[str, Any]]], excluded: bool
) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), "investigating", "diagnosed")
        for kind, body in said:
            await shop.incidents.note(shop.tenant, opened.id, kind=kind, by="dev:ann", body=body)
        asked = await shop.incidents.excluded(shop.tenant, opened.id)
        assert asked("payments", "bad-config") is excluded

    asyncio.run(main())
