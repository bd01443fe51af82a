"""A reader of server-sent events straight on an ASGI application, which takes what comes only as fast as a test says."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.sim.streamed import get_scope


@dataclass(frozen=True, slots=True)
class Event:
    """One message as a browser would see it: ``id`` is what ``Last-Event-ID`` would say after it."""

    name: str
    id: str
    data: Any


@dataclass
class Reader:
    """What one connection got."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    taking: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: the connection takes nothing, as one whose buffers are full."""
    ended: bool = False

    def events(self) -> list[Event]:
        """Messages until now, by the standard's own rules."""
        found, last = [], ""
        for block in bytes(self.body).decode().split("\n\n")[:-1]:
            name, data = "message", []
            for line in block.split("\n"):
                field_, _, value = line.partition(": ")
                if field_ == "id":
                    last = value
                elif field_ == "event":
                    name = value
                elif field_ == "data":
                    data.append(value)
            if data:
                found.append(Event(name, last, json.loads("\n".join(data))))
        return found

    @property
    def last_id(self) -> str:
        """What the browser would send as ``Last-Event-ID``."""
        ids = [line[4:] for line in bytes(self.body).decode().split("\n") if line.startswith("id: ")]
        return ids[-1] if ids else ""

    def records(self) -> list[dict[str, Any]]:
        return [event.data for event in self.events() if event.name == "record"]

    async def until(self, wanted: Any, seconds: float = 90) -> None:
        """Wait until ``wanted(self)``."""
        async with asyncio.timeout(seconds):
            while not wanted(self):
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def reading(app: Any, url: str, headers: Mapping[str, str], body: bytes = b"") -> AsyncIterator[Reader]:
    """Ask for ``url``, with ``body`` by POST, and read until the block ends or the server does."""
    reader, gone = Reader(), asyncio.Event()
    reader.taking.set()
    scope = get_scope(url, {"host": "localhost:8480", **headers})
    scope["method"] = "POST" if body else "GET"
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            reader.status = message["status"]
            pairs = [(name.decode(), value.decode()) for name, value in message["headers"]]
            reader.headers = [pair for pair in pairs if pair[0] != "content-length"]
            reader.began.set()
            return
        await reader.taking.wait()
        reader.body += message.get("body", b"")
        reader.ended = not message.get("more_body", False)
        reader.changed.set()

    task = asyncio.create_task(app(scope, receive, send))
    task.add_done_callback(lambda _: (setattr(reader, "ended", True), reader.began.set(), reader.changed.set()))
    try:
        async with asyncio.timeout(90):
            await reader.began.wait()
        yield reader
    finally:
        gone.set()
        reader.taking.set()
        await task
