"""A gate's application behind the real HTTP server on a loopback port, for what only a socket shows."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn

from broker.clock import SystemClock
from broker.web.wire import Bounds, look_for_ever, protocol_of

HOST = b"localhost:8480"
"""The Host that the world's gate answers to, whatever the port."""


@contextlib.asynccontextmanager
async def served(app: Any, bounds: Bounds | None = None) -> AsyncIterator[int]:
    """Serve ``app`` as ``wicketgate serve`` does (its protocol, no lifespan: the world runs it); yields the port."""
    bounds = bounds or Bounds(2_048, 60, 60, SystemClock().monotonic, lambda _: None)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=protocol_of(bounds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve(sockets=[listener]))
    await until(lambda: server.started or running.done())
    looking = asyncio.create_task(look_for_ever(server.server_state.connections))
    try:
        yield int(listener.getsockname()[1])
    finally:
        looking.cancel()
        server.should_exit = server.force_exit = True
        await running


async def until(condition: Callable[[], bool], *, seconds: float = 90) -> None:
    """Look every few milliseconds until ``condition`` holds; it must within ``seconds``."""
    for _ in range(round(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen in time")


async def exchange(port: int, sent: bytes, *, wait: float = 60) -> bytes:
    """Write ``sent`` on a new connection and read until the server closes it or an answer is whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(wait):
            return await _answer(reader)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """One answer with its body, or what came before the connection ended."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as cut:
        return cut.partial
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return head + await reader.readexactly(int(value))
    return head


def request(
    method: bytes, path: bytes, *headers: bytes, body: bytes = b"", version: bytes = b"1.1", host: bytes | None = HOST
) -> bytes:
    """Bytes of one request; headers as whole lines."""
    lines = [method + b" " + path + b" HTTP/" + version, *([b"Host: " + host] if host is not None else []), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    """HTTP status of an answer; 0 where the server said nothing."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
