"""A real HTTP/1.1 server on loopback whose answers a test writes byte by byte, and sockets that must stay untouched."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import orjson


@dataclass(frozen=True)
class Seen:
    """One request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


Answer = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def whole(status: int = 200, body: bytes | object = b"", *, kind: str = "application/json", **headers: str) -> bytes:
    """Bytes of one complete answer; objects become JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@dataclass
class UpstreamSim:
    """Answers with ``answer(seen, writer)``; keeps every request and counts connections."""

    answer: Answer
    tls: ssl.SSLContext | None = None
    unix: str = ""
    host: str = "127.0.0.1"
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a client goes away."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    def fixed(cls, data: bytes, **more: Any) -> "UpstreamSim":
        async def answer(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(data)

        return cls(answer, **more)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        if self.unix:
            self._server = await asyncio.start_unix_server(self._serve, self.unix)
        else:
            self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while not writer.is_closing():
                seen = await _request(reader)
                self.seen.append(seen)
                await self.answer(seen, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self.closed.set()
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head[1:] if line}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body)


class Traps:
    """Listening sockets that nobody may connect to, on one port of every loopback spelling."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        first = self._listen(socket.AF_INET, "127.0.0.1", 0)
        self.port = int(first.getsockname()[1])
        self._listen(socket.AF_INET, "127.0.0.2", self.port)
        if socket.has_ipv6:
            with suppress(OSError):  # a machine without IPv6 on loopback
                self._listen(socket.AF_INET6, "::1", self.port)

    def _listen(self, family: socket.AddressFamily, host: str, port: int) -> socket.socket:
        trap = socket.socket(family)
        trap.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trap.bind((host, port))
        trap.listen(16)
        trap.setblocking(False)
        self._sockets.append(trap)
        return trap

    def caught(self) -> int:
        """Connections that came in; the kernel completes a handshake without us, so none is missed."""
        count = 0
        for trap in self._sockets:
            while True:
                try:
                    connection, _ = trap.accept()
                except BlockingIOError:
                    break
                connection.close()
                count += 1
        return count

    def close(self) -> None:
        for trap in self._sockets:
            trap.close()


@asynccontextmanager
async def traps() -> AsyncIterator[Traps]:
    made = Traps()
    try:
        yield made
    finally:
        made.close()
