"""A gate with too much to do: bodies take the room of what has arrived, controls always get in, tenants have their turns."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.web import guard
from broker.web.lanes import Name
from tests.sim.mcp_client import Mcp
from tests.sim.model_server import Turn
from tests.sim.served import exchange, request, served, status_of, until
from tests.sim.visitor import SAME_ORIGIN, signed_in
from tests.sim.world import MODEL, World, world

JSON_TYPE = b"Content-Type: application/json"
KILL = {"scope": "agent", "target": "dev:agent-1", "reason": "a loop"}
LONG = "and what then? " * 4_000
PATIENT = "waiting_seconds_max = 90\n"


def test_bodies_that_are_announced_but_not_sent_take_no_room(tmp_path: Path) -> None:
    async def main() -> None:
        extra = "[web]\nbodies_bytes_max = 1048576\nbody_seconds_max = 90\n"
        async with world(tmp_path, extra=extra) as it, served(it.app) as port:
            agent, oncall = await it.agent(), await it.person("oncall")
            lengths = (b"Content-Length: 1", b"Content-Length: 1048576", b"Transfer-Encoding: chunked")
            sent = [request(b"POST", b"/v1/actions", token_of(agent), JSON_TYPE, length) for length in lengths]
            held = [asyncio.create_task(exchange(port, one, wait=90)) for one in sent * 4]
            await until(lambda: it.app.busy == 12)
            assert await it.session(agent)
            assert (await it.client.post("/v1/kill", json=KILL, headers=oncall)).status_code == 200
            await left(held)

    asyncio.run(main())


def test_bodies_that_fill_all_room_keep_no_control_out(tmp_path: Path) -> None:
    async def main() -> None:
        extra = "[web]\nbodies_bytes_max = 1048576\nbody_seconds_max = 90\n"
        async with world(tmp_path, extra=extra) as it, served(it.app) as port:
            agent, oncall = await it.agent(), await it.person("oncall")
            held = [begin(port, b"/v1/actions", agent, 1_048_576)]
            bodies = it.app.bodies
            await until(lambda: bodies.taken == 1_048_570)
            refused = await it.client.post("/v1/sessions", json={"intent": []}, headers={**agent, **it.key()})
            assert (refused.status_code, refused.json()["code"]) == (503, "gate.overloaded")
            assert b'queue_refusals_total{queue="bodies"} 1' in it.gate.telemetry.exposition()
            assert (await it.client.post("/v1/kill", json=KILL, headers=oncall)).status_code == 200
            assert bodies.taken == 1_048_570, "what was refused or answered takes no room"
            await left(held)
            await until(lambda: bodies.taken == 0)

    asyncio.run(main())


def test_bodies_of_controls_keep_neither_other_work_nor_other_controls_out(tmp_path: Path) -> None:
    async def main() -> None:
        extra = "[web]\nbodies_bytes_max = 1048576\nconcurrent_requests_max = 2\nbody_seconds_max = 90\n"
        async with world(tmp_path, extra=extra) as it, served(it.app) as port:
            agent, oncall = await it.agent(), await it.person("oncall")
            alerts, others = it.app.alert_bodies, it.app.control_bodies
            held = [begin(port, b"/v1/kill", agent, 65_536) for _ in range(5)]
            held += [begin(port, b"/v1/incidents", agent, alerts.most // 2 + 5) for _ in range(2)]
            await until(lambda: (others.taken, alerts.taken) == (5 * 65_530, alerts.most - 2))
            assert (it.app.busy, it.app.bodies.taken) == (0, 0)
            alert = await it.client.post("/v1/incidents", json={"more": 1}, headers=agent)
            assert (alert.status_code, alert.json()["code"]) == (503, "gate.overloaded")
            assert b'queue_refusals_total{queue="alert_bodies"} 1' in it.gate.telemetry.exposition()
            assert await it.session(agent)
            assert (await it.client.post("/v1/kill", json=KILL, headers=oncall)).status_code == 200
            await left(held)
            await until(lambda: alerts.taken == others.taken == 0)

    asyncio.run(main())


def test_whoever_fills_the_room_of_alerts_keeps_nobody_elses_out(tmp_path: Path) -> None:
    async def main() -> None:
        extra = "[web]\nbodies_bytes_max = 1048576\nbody_seconds_max = 90\n"
        async with world(tmp_path, extra=extra) as it, served(it.app) as port:
            agent, oncall, stranger = await it.agent(), await it.person("oncall"), await it.person("stranger")
            room = it.app.alert_bodies
            held = [begin(port, b"/v1/incidents", agent, room.most // 2 + 6) for _ in range(2)]
            for who in (oncall, stranger):
                await until(lambda: room.taken == room.most)
                alert = await it.client.post("/v1/incidents", json={"title": "down"}, headers=who)
                assert alert.status_code != 503, alert.text
                [done], held = (list(some) for some in await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED))
                assert status_of(done.result()) == 503
                assert b"gate.overloaded" in done.result()
                held.append(begin(port, b"/v1/incidents", agent, room.most // 2 + 6))
            await left(held)
            await until(lambda: room.taken == 0)

    asyncio.run(main())


def test_a_body_without_a_caller_and_that_of_a_control_are_short(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            for path, most in (("/console/backchannel", 8_192), ("/v1/kill", 65_536)):
                short, long = [
                    await it.client.post(
                        path, content=bytes(size), headers={**agent, "Content-Type": "application/json"}
                    )
                    for size in (most, most + 1)
                ]
                assert short.status_code != 413, path
                assert long.status_code == 413, path

    asyncio.run(main())


def test_open_model_streams_take_no_room_of_bodies_and_keep_no_control_out(tmp_path: Path) -> None:
    async def main() -> None:
        hold = asyncio.Event()
        async with world(tmp_path, turns=[Turn("look at it " * 20, hold=hold)]) as it, served(it.app) as port:
            agent, oncall = await it.agent(), await it.person("oncall")
            session = await it.session(agent)
            asked = {
                "model": MODEL,
                "max_tokens": 10,
                "stream": True,
                "messages": [{"role": "user", "content": "now? " + LONG}],
            }
            body = json.dumps(asked).encode()
            assert kept() == asked["messages"]
            del asked
            lines = [
                token_of(agent),
                JSON_TYPE,
                b"Content-Length: %d" % len(body),
                b"Wicketgate-Session: " + session.encode(),
            ]
            ask = request(b"POST", b"/llm/anthropic/v1/messages", *lines, body=body)
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(8):
                    assert status_of(await stack.enter_async_context(begun(port, ask))) == 200
                assert it.app.busy == 8
                assert it.app.bodies.taken == 0
                assert kept() == [], "what was sent is let go of once the answer has begun"
                assert (await it.client.post("/v1/kill", json=KILL, headers=oncall)).status_code == 200
                hold.set()

    asyncio.run(main())


def test_a_call_that_is_held_for_people_holds_no_place_and_no_room_of_bodies(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra="[mcp]\nhold_seconds = 300\n") as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            call = asyncio.create_task(Mcp(it, agent).restart())
            lane, bodies = it.app.lanes.lanes["write"], it.app.bodies
            waiting: list[Any] = []
            while not waiting:
                waiting = (await it.client.get("/v1/approvals", headers=oncall)).json()["approvals"]
            await until(lambda: lane.running == 0)
            assert (it.app.busy, bodies.taken) == (1, 0)
            await it.review(oncall, waiting[0])
            assert (await call)["structuredContent"]["status"] == "done"

    asyncio.run(main())


def kept() -> list[Mapping[str, str]]:
    """Messages of model calls that somebody holds on to."""
    gc.collect()
    lists = [held for held in gc.get_objects() if isinstance(held, list)]
    return [
        one for held in lists for one in held if isinstance(one, dict) and str(one.get("content")) == "now? " + LONG
    ]


def token_of(who: Mapping[str, str]) -> bytes:
    """The line of headers."""
    return b"Authorization: " + who["Authorization"].encode()


def begin(port: int, path: bytes, who: Mapping[str, str], length: int) -> "asyncio.Task[bytes]":
    """A body that lacks its last six bytes."""
    told = b"Content-Length: %d" % length
    sent = request(b"POST", path, token_of(who), JSON_TYPE, told, body=bytes(length - 6))
    return asyncio.create_task(exchange(port, sent, wait=90))


async def left(held: list["asyncio.Task[bytes]"]) -> None:
    """Their clients hang up."""
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


@contextlib.asynccontextmanager
async def begun(port: int, sent: bytes) -> AsyncIterator[bytes]:
    """The head of an answer that goes on for as long as its reader stays."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(90):
            yield await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def crowded(it: World, tenant: str, *lanes: Name) -> AsyncIterator[None]:
    """Every place is taken, and ``tenant`` fills the queues of ``lanes``."""
    web, queues = it.gate.settings.web, it.app.lanes
    places = [await queues.enter("write", tenant) for _ in range(web.work_places)]
    loud = [asyncio.create_task(queues.enter(name, tenant)) for name in lanes for _ in range(web.waiting_max)]
    await until(lambda: all(queues.lanes[name].full for name in lanes))
    try:
        yield
    finally:
        for one in loud:
            one.cancel()
        await asyncio.gather(*loud, return_exceptions=True)
        for place in places:
            place.leave()


@pytest.mark.parametrize(
    ("credential", "lane", "path"),
    [("authorization", "write", "/v1/sessions"), ("x-api-key", "model", "/llm/anthropic/v1/messages")],
)
def test_in_a_full_lane_another_tenant_gets_its_turn_whatever_it_shows_itself_by(
    tmp_path: Path, credential: str, lane: Name, path: str
) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=f"[web]\nwaiting_max = 3\n{PATIENT}") as it:
            loud, quiet = [
                {credential: who["Authorization"].removeprefix("" if credential == "authorization" else "Bearer ")}
                for who in (await it.person("oncall"), await it.person("stranger"))
            ]
            for who in (quiet, loud):
                assert (await it.client.get("/llm/anthropic/v1/models", headers=who)).status_code != 401
            queues = it.app.lanes.lanes[lane].queues
            body = {"intent": [{"kind": "task", "text": "look", "source": "test"}]}
            async with crowded(it, "default", lane):
                # A body of the wrong type would be told so, if anybody looked at it.
                for beside in ({}, {"Cookie": "a=1"}, {"Client-Cert": ":AAAA:"}):
                    shed = await it.client.post(path, content=b"", headers={**loud, **beside})
                    assert (shed.status_code, "gate.overloaded" in shed.text) == (503, True)
                heard = asyncio.create_task(it.client.post(path, json=body, headers={**quiet, **it.key()}))
                await until(lambda: "acme" in queues or heard.done())
                assert not heard.done()
            assert (await heard).status_code != 503

    asyncio.run(main())


def test_a_credential_too_many_takes_the_place_of_the_one_that_was_shown_longest_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_TENANTS_MAX", 2)

    async def main() -> None:
        async with world(tmp_path) as it:
            oncall, stranger, agent = await it.person("oncall"), await it.person("stranger"), await it.agent()
            for who in (oncall, stranger, oncall, agent):
                assert (await it.client.get("/v1/actions", headers=who)).status_code == 200
            assert it.app._tenants == {hash(who["Authorization"].encode()): "default" for who in (oncall, agent)}

    asyncio.run(main())


def test_what_counts_for_nothing_on_a_route_makes_nobody_somebody_new(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            async with await signed_in(it, "oncall") as desk:
                it.app._tenants.clear()
                for more in ("a=1", "a=2"):
                    shown = f"{more}; wicketgate-8480={desk.login}"
                    page = await it.client.get("/console/health", headers={**SAME_ORIGIN, "Cookie": shown})
                    assert page.status_code == 200
                    assert (await it.client.get("/v1/actions", headers={**agent, "x-api-key": more})).status_code == 200
                assert len(it.app._tenants) == 2
            key = {"x-api-key": agent["Authorization"].removeprefix("Bearer ")}
            assert (await it.client.get("/v1/actions", headers=key)).status_code == 401

    asyncio.run(main())


def test_an_action_that_only_reads_waits_among_reads_where_the_lane_of_writes_is_full(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=f"[web]\nwaiting_max = 3\n{PATIENT}") as it:
            agent = await it.agent()
            session = await it.session(agent)
            read = it.app.lanes.lanes["read"]
            async with crowded(it, "default", "write"):
                asked = asyncio.create_task(it.act(agent, "local.process.status", session))
                await until(lambda: read.waiting == 1 or asked.done())
                assert not asked.done()
                assert (await it.act(agent, "local.process.restart", session)).status_code == 503
            assert (await asked).status_code == 200
            async with crowded(it, "default", "write", "read"):
                shed = await it.client.post("/v1/actions", content=b"", headers=agent)
                assert (shed.status_code, shed.json()["code"]) == (503, "gate.overloaded")

    asyncio.run(main())


def test_where_nobody_may_wait_a_free_place_is_still_given(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra="[web]\nwaiting_max = 0\n") as it:
            agent = await it.agent()
            assert (await it.client.get("/v1/actions", headers=agent)).status_code == 200
            async with crowded(it, "default"):
                assert (await it.client.get("/v1/actions", headers=agent)).status_code == 503

    asyncio.run(main())


def test_who_is_turned_away_gets_the_request_id_back_that_they_sent(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=f"[web]\nwaiting_max = 1\n{PATIENT}") as it:
            oncall = await it.person("oncall")
            assert (await it.client.get("/v1/actions", headers=oncall)).status_code == 200
            async with crowded(it, "default", "write"):
                for sent in ({"X-Request-ID": "one"}, {"X-Request-ID": "two"}, {}):
                    answer = await it.client.post("/access/v1/evaluation", json={}, headers={**oncall, **sent})
                    assert (answer.status_code, answer.headers.get("x-request-id")) == (503, sent.get("X-Request-ID"))

    asyncio.run(main())
