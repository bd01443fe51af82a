"""The least that a Python server can do: asyncio, httptools, one fixed JSON answer. ``python floor.py BODY_FILE``.

It prints its port. The bench runs it twice: as the floor (answering the bytes that the gate answers) and as the tool
server that both the direct call and the gate reach.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import httptools


class Exchange(asyncio.Protocol):
    """One keep-alive connection; the request is parsed whole and its content ignored."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(self._answer)


async def serve(body: bytes) -> None:
    """Serve until the process is ended."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    answer = head.encode() + body
    server = await asyncio.get_running_loop().create_server(lambda: Exchange(answer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=__import__("uvloop").new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1]).read_bytes()))
