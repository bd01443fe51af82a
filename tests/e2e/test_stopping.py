"""Told to end: not ready, no new work, what is under way finishes or is called unknown, the log is whole."""

import asyncio
from pathlib import Path

import pytest

from tests.drill.__main__ import drill
from tests.parts import postgres_url
from tests.sim.model_server import Turn
from tests.sim.served import until
from tests.sim.world import MODEL, world

TIMES = 1
"""Each costs a start; `make drill` does it more often."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_ended_under_load_no_acknowledged_record_is_lost_and_every_intent_has_its_end(
    tmp_path: Path, store: str
) -> None:
    if store == "postgres":
        postgres_url()
    row = drill(store, kills=TIMES, seed=11, folder=tmp_path, told=True)
    assert row["violations"] == []
    assert row["open"] == 0
    assert row["kills"] == TIMES
    assert row["acknowledged"] >= TIMES, row


def test_from_the_moment_that_it_is_told_it_is_not_ready_and_takes_no_work_but_the_controls(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            session = await it.session(agent)
            assert (await it.client.get("/readyz")).status_code == 200
            it.gate.stopping.set()
            it.clock.advance(2)
            told = await it.client.get("/readyz")
            assert (told.status_code, told.json()["missing"]) == (503, {"gate": "the gate is stopping"})
            refused = await it.act(agent, "local.process.status", session)
            assert (refused.status_code, refused.json()["code"]) == (503, "gate.stopping")
            assert refused.headers["retry-after"] == "1"
            assert (await it.client.get("/livez")).status_code == 200
            assert (await it.client.get("/v1/approvals", headers=oncall)).status_code == 200

    asyncio.run(main())


def test_what_is_not_done_when_the_time_is_over_is_on_record_as_unknown_under_the_last_checkpoint(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn(hang=True)], gate="stop_seconds_max = 1") as it:
            agent = await it.agent()
            session = await it.session(agent)
            body = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "well?"}]}
            calling = asyncio.create_task(
                it.client.post(
                    "/llm/anthropic/v1/messages", json=body, headers={**agent, "Wicketgate-Session": session}
                )
            )
            await until(lambda: bool(it.models.seen))
            stopping = asyncio.create_task(it.gate.background.aclose())
            await asyncio.gather(stopping, calling, return_exceptions=True)
            intent, outcome = [one for one in await it.records() if one["kind"] in {"intent", "outcome"}][-2:]
            assert (intent["kind"], outcome["kind"], outcome["about"]) == ("intent", "outcome", intent["id"])
            assert outcome["body"]["outcome"]["status"] == "unknown"
            size = len(await it.records())
            assert (it.data / "log" / "checkpoint").read_text().split("\n")[1] == str(size)

    asyncio.run(main())
