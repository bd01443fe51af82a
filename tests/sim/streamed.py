"""The beginning of an answer that may never end: as a client that hangs up once it knows the status."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx


async def beginning(app: Any, path: str, headers: Mapping[str, str], *, host: str = "localhost:8480") -> httpx.Response:
    """GET ``path``; the whole answer where it is refused, and an empty body where a stream begins."""
    gone = asyncio.Event()
    started: dict[str, Any] = {}
    body = bytearray()

    async def receive() -> dict[str, Any]:
        if not started.setdefault("asked", False):
            started["asked"] = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
            if message["status"] == 200:
                gone.set()
        elif started["status"] != 200:
            body.extend(message.get("body", b""))

    scope = get_scope(path, {"host": host, **headers})
    async with asyncio.timeout(90):
        await app(scope, receive, send)
    return httpx.Response(started["status"], headers=started["headers"], content=bytes(body))


def get_scope(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The ASGI scope of a GET of ``url`` with these headers."""
    parts = urlsplit(url)
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 40001),
        "server": ("127.0.0.1", 8480),
        "state": {},
    }
