"""Following the log through the SDK, over a real socket to a whole gate: resumed without loss or repeat."""

import asyncio
from pathlib import Path

import httpx
import pytest
from wicketgate import Gate
from wicketgate.errors import Denied

from tests.sim.served import served, until
from tests.sim.world import World, world

QUICK = "[events]\npace_seconds = 0.02\nlook_seconds = 0.05\ndecide_seconds = 0.2\nheartbeat_seconds = 0.3\n"


def gate_of(it: World, port: int, person: str) -> Gate:
    async def token() -> str:
        return (await it.person(person))["Authorization"].removeprefix("Bearer ")

    client = httpx.AsyncClient(headers={"Host": "localhost:8480"}, trust_env=False, timeout=90)

    async def soon(_: float) -> None:
        await asyncio.sleep(0.01)

    return Gate(f"http://127.0.0.1:{port}", token=token, client=client, sleep=soon)


async def _act(it: World) -> None:
    agent = await it.agent()
    assert (await it.act(agent, "local.process.status", await it.session(agent))).status_code == 200


def test_events_go_on_over_cut_connections_each_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it:
            got: list[int] = []
            async with served(it.app) as port:
                gate = gate_of(it, port, "oncall")
                events = gate.events(after=-1)
                await _act(it)
                while len(got) < 3:
                    got.append((await anext(events)).seq)
                # The gate ends every stream, and takes new ones again, as after a restart.
                await it.gate.feed.aclose()
                await until(lambda: not it.gate.feed.following)
                it.gate.feed.closing.clear()
                it.gate.feed._tails.clear()
                await _act(it)
                size = len(await it.records())
                while got[-1] < size - 1:
                    got.append((await anext(events)).seq)
                await gate._client.aclose()
            assert got == list(range(got[-1] + 1))

    asyncio.run(main())


def test_a_refusal_is_raised_and_not_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it, served(it.app) as port:

            async def token() -> str:
                return (await it.agent())["Authorization"].removeprefix("Bearer ")

            client = httpx.AsyncClient(headers={"Host": "localhost:8480"}, trust_env=False, timeout=90)
            gate = Gate(f"http://127.0.0.1:{port}", token=token, client=client)
            with pytest.raises(Denied) as refused:
                await anext(gate.events())
            assert refused.value.code == "allowlist.action_not_granted"
            await client.aclose()

    asyncio.run(main())


def test_filters_are_the_gates(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK) as it, served(it.app) as port:
            gate = gate_of(it, port, "auditor")
            await _act(it)
            event = await anext(gate.events(kinds=("outcome",), action="local.", own=False, after=-1))
            assert (event.kind, event.action, event.name) == ("outcome", "local.process.status", "dev:agent-1")
            await gate._client.aclose()

    asyncio.run(main())
