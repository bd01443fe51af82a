"""One client for every variant: keep-alive connections that write prepared bytes and wait for the whole answer."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import httptools

Prepared = Callable[[], bytes]
"""Makes the bytes of the next request."""


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[int] | None = None
        self.body = b""
        self.closed = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        assert self._waiting
        self._waiting.set_result(self._parser.get_status_code())

    async def ask(self, request: bytes) -> int:
        """Send one request; its status, with the answer's bytes in ``body``."""
        self._waiting = asyncio.get_running_loop().create_future()
        self._parser, self.body = httptools.HttpResponseParser(self), b""
        self.transport.write(request)
        return await self._waiting


async def connect(port: int) -> Connection:
    """Open a connection to a loopback port."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


async def burst(connections: list[Connection], prepared: Prepared, count: int) -> list[int]:
    """Ask ``count`` times over all connections, each its next as soon as its last was answered; nanoseconds of each.

    Raises ``AssertionError`` with the answer for any status but 200: a refusal is cheap and would flatter the gate.
    """
    left, times = iter(range(count)), []

    async def ask_on(connection: Connection, numbers: Iterator[int]) -> None:
        for _ in numbers:
            request = prepared()
            started = time.perf_counter_ns()
            status = await connection.ask(request)
            times.append(time.perf_counter_ns() - started)
            assert status == 200, connection.body.decode()

    await asyncio.gather(*(ask_on(connection, left) for connection in connections))
    return times


def post(path: str, body: bytes, **headers: str) -> bytes:
    """Bytes of one POST of a JSON body; ``_`` in a header's name stands for ``-``."""
    lines = [f"POST {path} HTTP/1.1", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
