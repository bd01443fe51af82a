"""Queues that hold what waits inside the gate: full, they refuse, and lose nothing that is on record."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from broker.policy import pdp
from tests.sim.world import world


def test_decisions_beyond_the_bound_are_refused_and_the_next_ones_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdp, "DECIDING_MAX", 1)

    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            asked = [it.act(agent, "local.process.status", session) for _ in range(12)]
            codes = Counter(answer.json().get("code", answer.status_code) for answer in await asyncio.gather(*asked))
            assert codes[200] >= 1
            assert codes["policy.engine_down"] == it.gate.policy.depth[2] >= 1
            assert set(codes) == {200, "policy.engine_down"}
            assert (await it.act(agent, "local.process.status", session)).status_code == 200

    asyncio.run(main())


def test_an_approved_request_that_finds_the_queue_full_still_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            full = it.gate.approved
            full._waiting_max = 0
            agent = await it.agent()
            waiting = await it.act(agent, "local.process.restart", await it.session(agent))
            assert waiting.status_code == 202, waiting.text
            for name in ("oncall", "security"):
                await it.review(await it.person(name), waiting.json()["approval"])
            assert full.depth == (0, 0, full.turned_away)
            assert full.turned_away >= 1
            await it.sweep()
            assert it.restarts() == 1

    asyncio.run(main())
