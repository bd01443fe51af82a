"""A stream that either side cuts has an outcome, and the outcome says how far it came."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.sim.model_server import Turn
from tests.sim.served import HOST, served, until
from tests.sim.world import MODEL, World, world

DELTA = re.compile(rb'"text_delta", ?"text": ?"([^"]*)"')
SAID = "first look at the error rate of checkout, then restart it; " * 20


def call(**more: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "what now?"}],
        "stream": True,
        **more,
    }


async def ended(it: World, number: int = 1) -> dict[str, Any]:
    """The outcome of the last model call, once it is there."""
    for _ in range(18_000):
        outcomes = [
            record
            for record in await it.records()
            if record["kind"] == "outcome" and record["body"]["action"]["name"].startswith("llm.")
        ]
        if len(outcomes) >= number:
            return outcomes[-1]
        await asyncio.sleep(0.005)
    raise AssertionError("the call has no outcome")


async def observed(it: World, who: Mapping[str, str], outcome: Mapping[str, Any]) -> Any:
    kept, session = outcome["body"]["outcome"]["observation"], outcome["body"]["session"]
    answer = await it.client.get(f"/v1/observations/{kept}", params={"session": session}, headers=who)
    return answer.json()["value"]


@pytest.mark.parametrize(
    "turn", [Turn(SAID, cut_after=9), Turn(SAID, stream_error="overloaded_error")], ids=["cut", "error event"]
)
def test_a_stream_cut_by_the_provider_is_partial_with_what_was_said(tmp_path: Path, turn: Turn) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[turn]) as it:
            agent = await it.agent()
            session = await it.session(agent)
            answer = await it.client.post(
                "/llm/anthropic/v1/messages", json=call(), headers={**agent, "Wicketgate-Session": session}
            )
            assert answer.status_code == 200
            assert "message_stop" not in answer.text
            assert "event: error" in answer.text
            outcome = await ended(it)
            assert outcome["body"]["outcome"]["status"] == "partial"
            text = (await observed(it, agent, outcome))["text"]
            assert SAID.startswith(text)
            assert text[:10] == "first look"
            assert (text == SAID) is (not turn.cut_after)
            assert await it.gate.log.open_intents("default") == []

    asyncio.run(main())


def test_a_call_that_the_provider_refuses_or_never_answers_has_its_outcome(tmp_path: Path) -> None:
    async def main() -> None:
        refused = Turn(status=529, error_type="overloaded_error")
        async with world(tmp_path, turns=[refused, Turn(cut_after=0)]) as it:
            agent = await it.agent()
            session = await it.session(agent)
            for number in (1, 2):
                answer = await it.client.post(
                    "/llm/anthropic/v1/messages", json=call(), headers={**agent, "Wicketgate-Session": session}
                )
                outcome = await ended(it, number)
                assert outcome["body"]["outcome"]["status"] in {"failed", "partial"}
                assert "message_stop" not in answer.text
            assert await it.gate.log.open_intents("default") == []

    asyncio.run(main())


def test_a_stream_that_the_client_leaves_is_cut_upstream_and_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn(SAID, hang_after=150)]) as it, served(it.app) as port:
            agent = await it.agent()
            session = await it.session(agent)
            body = json.dumps(call()).encode()
            head = [
                b"POST /llm/anthropic/v1/messages HTTP/1.1",
                b"Host: " + HOST,
                b"Content-Type: application/json",
                b"Content-Length: %d" % len(body),
            ]
            head += [b"Authorization: " + agent["Authorization"].encode(), b"Wicketgate-Session: " + session.encode()]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
            told = b""
            while sum(len(one) for one in DELTA.findall(told)) <= 600:
                told += await reader.read(65_536) or pytest.fail(f"{told[-300:]!r}")
            assert [entry.kind for entry in await it.gate.log.open_intents("default")] == ["intent"]
            it.models.server.closed.clear()
            writer.transport.abort()
            outcome = await ended(it)
            assert outcome["body"]["outcome"]["status"] == "partial"
            text = (await observed(it, agent, outcome))["text"]
            assert SAID.startswith(text)
            assert 600 < len(text) < len(SAID)
            async with asyncio.timeout(90):
                await it.models.server.closed.wait()
            assert await it.gate.log.open_intents("default") == []

    asyncio.run(main())


def test_a_client_that_leaves_before_the_answer_began_leaves_no_intent_open(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn(SAID, hang_after=2)]) as it:
            agent = await it.agent()
            session = await it.session(agent)
            body = json.dumps(call()).encode()
            headers = {
                **agent,
                "Wicketgate-Session": session,
                "Host": HOST.decode(),
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
            }
            scope = {
                "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST", "scheme": "http",
                "path": "/llm/anthropic/v1/messages", "raw_path": b"/llm/anthropic/v1/messages", "query_string": b"", "root_path": "",
                "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8480),
            }  # fmt: skip
            events = [{"type": "http.request", "body": body, "more_body": False}]

            async def receive() -> dict[str, Any]:
                return events.pop() if events else {"type": "http.disconnect"}

            async def send(_: Any) -> None:
                await asyncio.sleep(0)

            await it.app(scope, receive, send)
            assert (await ended(it))["body"]["outcome"]["status"] == "partial"
            assert await it.gate.log.open_intents("default") == []

    asyncio.run(main())


def test_an_action_whose_client_hangs_up_still_gets_its_outcome(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            arrived, released = asyncio.Event(), asyncio.Event()
            restart = it.supervisor.restart

            async def held(child: Any, asked: Any) -> bytes:
                arrived.set()
                await released.wait()
                return await restart(child, asked)

            it.supervisor.restart = held  # type: ignore[method-assign]
            caller = asyncio.create_task(it.act(agent, "local.process.restart", session, env="staging"))
            await arrived.wait()
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
            released.set()
            await until(lambda: it.restarts() == 1)
            await it.gate.pipeline.drain()
            last = (await it.records())[-1]
            assert (last["kind"], last["body"]["outcome"]["status"]) == ("outcome", "done")

    asyncio.run(main())
