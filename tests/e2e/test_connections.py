"""Clients that are slow, half gone or too many, over real sockets; and what is not begun for who does not wait."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from broker import patience
from broker.clock import SeededClock
from broker.errors import Unavailable
from broker.identity import Credential
from broker.reading import Ask
from broker.web.guard import GONE
from broker.web.wire import LEAST_BYTES, Bounds, GateProtocol, protocol_of
from tests.sim.served import exchange, request, served, status_of, until
from tests.sim.world import world

JSON_TYPE = b"Content-Type: application/json"
LIVEZ = request(b"GET", b"/livez")
PATIENT = "[web]\nwaiting_seconds_max = 90\n"


class Watched:
    """Bounds whose clock the test moves, and why connections were closed."""

    def __init__(self, *, connections: int = 100) -> None:
        self.clock = SeededClock(1)
        self.closed: list[str] = []
        self.bounds = Bounds(connections, 10, 60, self.clock.monotonic, self.closed.append)


@contextlib.asynccontextmanager
async def connected(port: int, sent: bytes = b"") -> AsyncIterator[socket.socket]:
    """A connection that has sent ``sent`` and reads only what it is told to."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", port))
        await loop.sock_sendall(raw, sent)
        yield raw


async def some(raw: socket.socket) -> bytes:
    """The next bytes; empty when the connection has ended."""
    async with asyncio.timeout(90):
        try:
            return await asyncio.get_running_loop().sock_recv(raw, 65_536)
        except ConnectionError:
            return b""


def answers(status: int, body: bytes = b"") -> Any:
    """An application that answers so, and what it was asked."""

    async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


def test_headers_that_do_not_come_to_their_end_are_cut_off_and_others_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        watched = Watched()
        async with (
            world(tmp_path) as it,
            served(it.app, watched.bounds) as port,
            connected(port) as silent,
            connected(port, b"GET /livez HTTP/1.1\r\nHost: ") as slow,
            connected(port, LIVEZ) as kept,
        ):
            assert (await some(kept)).endswith(b"ok\n")
            # Between two requests an empty line keeps nobody's connection open, either.
            await asyncio.get_running_loop().sock_sendall(kept, b"\r\n")
            assert status_of(await exchange(port, LIVEZ)) == 200
            assert watched.closed == []
            watched.clock.advance(11)
            assert [await some(one) for one in (silent, slow, kept)] == [b"", b"", b""]
            assert watched.closed == ["headers"] * 3
            assert status_of(await exchange(port, LIVEZ)) == 200

    asyncio.run(main())


def test_a_reader_that_takes_nothing_of_a_big_answer_is_cut_off() -> None:
    async def main() -> None:
        watched = Watched()
        async with (
            served(answers(200, bytes(64 * 2**20)), watched.bounds) as port,
            connected(port, request(b"GET", b"/big")) as stuck,
        ):
            while not watched.closed:
                watched.clock.advance(7)
                await asyncio.sleep(0.05)
            assert watched.closed == ["reader"]
            while await some(stuck):
                pass

    asyncio.run(main())


def test_a_reader_that_is_slow_but_goes_on_is_not_cut_off() -> None:
    async def main() -> None:
        watched, asked = Watched(), []

        async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
            asked.append(scope["extensions"][GONE].__self__)
            await answers(200, bytes(64 * 2**20))(scope, receive, send)

        async with served(app, watched.bounds) as port, connected(port, request(b"GET", b"/big")) as slow:
            await until(lambda: bool(asked))
            [one] = asked
            unread = one.transport.get_write_buffer_size
            await until(lambda: unread() > 0)
            one.look()
            for _ in range(4):
                before = unread()
                while unread() > before - LEAST_BYTES:
                    assert await some(slow)
                watched.clock.advance(50)
                one.look()
                assert (watched.closed, unread() > 0) == ([], True)
            while not watched.closed:
                watched.clock.advance(61)
                one.look()
                await asyncio.sleep(0)
            assert watched.closed == ["reader"]

    asyncio.run(main())


class Buffer(asyncio.Transport):
    """Somebody's unread bytes."""

    unread = 10 * LEAST_BYTES

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unread += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.unread = 0


@pytest.mark.parametrize("written", [0, 1_000])
@pytest.mark.parametrize(("taken", "closed"), [(1, ["reader"]), (LEAST_BYTES // 60 + 1, [])])
def test_a_reader_takes_some_in_each_minute_or_is_cut_off(taken: int, closed: list[str], written: int) -> None:
    watched, buffer = Watched(), Buffer()

    async def main() -> None:
        config = uvicorn.Config(answers(200), ws="none", lifespan="off", log_config=None)
        one: GateProtocol = protocol_of(watched.bounds)(config, ServerState(), {})
        one.connection_made(buffer)
        one.data_received(request(b"GET", b"/"))
        for _ in range(62):
            one.look()
            watched.clock.advance(1)
            one.transport.write(bytes(written))
            buffer.unread -= taken * (buffer.unread > 0)

    asyncio.run(main())
    assert watched.closed == closed


def test_a_connection_too_many_takes_the_place_of_the_one_that_was_idle_longest() -> None:
    async def main() -> None:
        watched = Watched(connections=3)
        async with served(answers(200), watched.bounds) as port, contextlib.AsyncExitStack() as stack:
            idle = []
            for _ in range(3):
                one = await stack.enter_async_context(connected(port, request(b"GET", b"/")))
                await some(one)
                idle.append(one)
                watched.clock.advance(1)
                # A new request is begun and left there, so that each has its own time.
                await asyncio.get_running_loop().sock_sendall(one, b"GET")
            assert status_of(await exchange(port, request(b"GET", b"/"))) == 200
            assert await some(idle[0]) == b""
            assert watched.closed == ["idle"]

    asyncio.run(main())


def test_where_every_connection_is_busy_a_new_one_is_told_to_come_again() -> None:
    async def main() -> None:
        watched, let_go, asked = Watched(connections=2), asyncio.Event(), []

        async def busy(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
            asked.append(scope["path"])
            await let_go.wait()
            await answers(200)(scope, receive, send)

        async with (
            served(busy, watched.bounds) as port,
            connected(port, request(b"GET", b"/1")) as one,
            connected(port, request(b"GET", b"/2")) as two,
        ):
            await until(lambda: len(asked) == 2)
            async with connected(port) as third:
                told = await some(third)
                assert status_of(told) == 503
                assert b"gate.connections" in told
                assert b"retry-after: 1\r\n" in told
                assert int(told.partition(b"content-length: ")[2].split(b"\r")[0]) == len(
                    told.partition(b"\r\n\r\n")[2]
                )
                assert await some(third) == b""
            assert watched.closed == ["full"]
            let_go.set()
            assert [status_of(await some(each)) for each in (one, two)] == [200, 200]

    asyncio.run(main())


def test_a_peer_that_is_silently_gone_is_asked_for_by_tcp() -> None:
    async def main() -> None:
        options: list[int] = []

        async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
            found = scope["extensions"][GONE].__self__.transport.get_extra_info("socket")
            options.append(found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            options.append(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
            await answers(200)(scope, receive, send)

        async with served(app) as port:
            await exchange(port, request(b"GET", b"/"))
        assert options == [1, 30]

    asyncio.run(main())


def test_what_its_caller_does_not_wait_for_any_more_is_not_begun(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=PATIENT) as it, served(it.app) as port:
            agent = await it.agent()
            session = await it.session(agent)
            body = (
                f'{{"session":"{session}","action":"local.process.restart","resource":{{"type":"process","id":"checkout",'
                f'"env":"staging"}},"arguments":{{}},"reason":"slow"}}'
            ).encode()
            lines = [JSON_TYPE, b"Content-Length: %d" % len(body), b"Authorization: " + agent["Authorization"].encode()]
            ask = request(b"POST", b"/v1/actions", *lines, b"Idempotency-Key: left-alone", body=body)
            places = [await it.app.lanes.enter("write", "other") for _ in range(it.gate.settings.web.work_places)]
            write = it.app.lanes.lanes["write"]
            async with connected(port, ask):
                await until(lambda: write.waiting == 1)
            records = len(await it.records())
            # The server learns of the end when its loop looks at the socket; the one in front of it is served by then.
            assert status_of(await exchange(port, LIVEZ)) == 200
            for place in places:
                place.leave()
            await until(lambda: write.waiting == write.running == 0)
            assert (it.restarts(), len(await it.records())) == (0, records)
            assert b"request.abandoned" in it.gate.telemetry.exposition()

    asyncio.run(main())


def test_what_is_over_its_time_before_the_intent_is_refused_on_record_and_may_come_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            target = {"type": "process", "id": "checkout", "env": "prod"}
            shown = Credential(authorization=agent["Authorization"], proof="", method="POST", url="", certificate=None)
            ask = Ask("local.process.status", target, {}, session=await it.session(agent), idempotency_key="again")
            now = it.clock.monotonic

            async def impatient() -> None:
                with patience.bound(patience.Patience(now() - 1, now, lambda: False)):
                    await it.gate.pipeline.act(shown, ask)

            with pytest.raises(Unavailable) as refused:
                await impatient()
            assert refused.value.error_code == "request.abandoned"
            last = (await it.records())[-1]
            assert (last["kind"], last["body"]["error"]) == ("refusal", "request.abandoned")
            assert (await it.gate.pipeline.act(shown, ask)).status == "done"

    asyncio.run(main())


def test_a_caller_says_in_a_header_how_long_it_waits(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=PATIENT) as it, served(it.app) as port:
            who = b"Authorization: " + (await it.agent())["Authorization"].encode()
            wait = request(b"GET", b"/v1/actions", who, b"Wicketgate-Timeout: soon")
            assert b"http.timeout_header" in await exchange(port, wait)
            wait = request(b"GET", b"/v1/actions", who, b"Wicketgate-Timeout: 60000")
            assert status_of(await exchange(port, wait)) == 200
            held = [await it.app.lanes.enter("read", "other") for _ in range(it.gate.settings.web.work_places * 3 // 4)]
            short = asyncio.create_task(exchange(port, request(b"GET", b"/v1/actions", who, b"Wicketgate-Timeout: 1")))
            await until(lambda: it.app.lanes.lanes["read"].waiting == 1)
            it.clock.advance(1)
            for place in held:
                place.leave()
            told = await short
            assert (status_of(told), b"request.abandoned" in told) == (503, True)

    asyncio.run(main())
