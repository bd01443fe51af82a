"""Streams that tell MCP clients that their tools changed."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.test_mcp_approvals import PATIENTLY, waiting
from tests.e2e.test_mcp_calls import without_cache_clear
from tests.e2e.test_mcp_conformance import reachable
from tests.sim.mcp_client import Mcp
from tests.sim.sse import Reader, reading
from tests.sim.world import world

QUICKLY = "[events]\nlook_seconds = 0.05\n"


def subscribed(app: Any, asked: Mcp) -> AbstractAsyncContextManager[Reader]:
    """A stream of ``subscriptions/listen``."""
    headers, message = asked.message("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    return reading(app, "/mcp", {**headers, "Content-Type": "application/json"}, json.dumps(message).encode())


def test_open_streams_are_told_that_the_tools_changed(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "w").mkdir()
        async with world(tmp_path / "w") as it:
            who = await it.agent()
            async with (
                reachable(it.app, who["Authorization"]) as port,
                httpx2.AsyncClient(timeout=90, trust_env=False) as http,
                Client(
                    streamable_http_client(f"http://localhost:{port}/mcp", http_client=http), mode="2026-07-28"
                ) as client,
                client.listen(tools_list_changed=True) as told,
                reading(it.app, "/mcp", {**who, "Accept": "text/event-stream"}) as older,
            ):
                before = [tool.name for tool in (await client.list_tools()).tools]
                assert "local_cache_clear" in before
                await without_cache_clear(it, tmp_path / "changed")
                assert type(await anext(told)).__name__ == "ToolsListChanged"
                await older.until(lambda r: b"notifications/tools/list_changed" in r.body)
                after = [tool.name for tool in (await client.list_tools()).tools]
                assert set(before) - set(after) == {"local_cache_clear"}

    asyncio.run(main())


def test_a_stream_ends_with_its_readers_sign_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICKLY) as it:
            async with reading(it.app, "/mcp", await it.agent()) as older:
                assert older.status == 200
                assert not older.ended
                it.clock.advance(700)
                await older.until(lambda r: r.ended)
            asked = Mcp(it, await it.agent())
            async with subscribed(it.app, asked) as newer:
                await newer.until(lambda r: b"notifications/subscriptions/acknowledged" in r.body)
                assert (newer.status, newer.ended) == (200, False)
                it.clock.advance(700)
                await newer.until(lambda r: r.ended)
                assert b"identity." in newer.body

    asyncio.run(main())


def test_to_subscribe_is_decided_and_on_record_like_reading_the_list(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            before = len(await it.records())
            async with subscribed(it.app, Mcp(it, await it.agent("alerts-1"))) as refused:
                await refused.until(lambda r: r.ended)
                assert b"allowlist.action_not_granted" in refused.body
            told = [one for one in (await it.records())[before:] if one["kind"] == "refusal"]
            assert [one["body"]["action"]["name"] for one in told] == ["gate.catalog.read"]

    asyncio.run(main())


def test_a_party_has_so_many_streams_and_those_without_a_right_to_the_list_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra="[mcp]\nstreams_per_party_max = 1\n") as it:
            who = await it.agent()
            async with reading(it.app, "/mcp", who) as first, reading(it.app, "/mcp", who) as second:
                await second.until(lambda r: r.ended)
                assert (first.status, second.status) == (200, 429)
            async with reading(it.app, "/mcp", who) as again:
                assert again.status == 200, "a closed one gave its seat back"
            async with reading(it.app, "/mcp", await it.agent("alerts-1")) as refused:
                await refused.until(lambda r: r.ended)
                assert refused.status == 403

    asyncio.run(main())


def test_a_gate_that_ends_lets_streams_and_held_calls_go(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=PATIENTLY) as it:
            who = await it.agent()
            call = asyncio.create_task(Mcp(it, who).restart())
            await waiting(it, await it.person("oncall"))
            async with reading(it.app, "/mcp", who) as stream:
                for let_go in it.gate.leaving:
                    let_go()
                await stream.until(lambda r: r.ended)
            assert (await call)["resultType"] == "input_required", "the client comes back to the next process"

    asyncio.run(main())


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_revision_without_handshakes_has_post_alone(tmp_path: Path, method: str) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            headers = {**await it.agent(), "MCP-Protocol-Version": "2026-07-28"}
            assert (await it.client.request(method, "/mcp", headers=headers)).status_code == 405

    asyncio.run(main())
