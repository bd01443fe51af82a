"""A client of the Model Context Protocol, message by message: what the SDK's own client does not let a test send."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.sim.world import World

LEGACY, MODERN = "2025-11-25", "2026-07-28"
ACCEPT = {"Accept": "application/json, text/event-stream"}
TARGET = {"type": "process", "id": "checkout", "env": "prod"}
_META = "io.modelcontextprotocol/"


@dataclass
class Mcp:
    """One client of one gate, in one revision, with one identity."""

    it: World
    who: Mapping[str, str]
    revision: str = MODERN
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[dict[str, Any]] = field(default_factory=list)
    """Notifications that came with answers."""
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    async def hello(self) -> dict[str, Any]:
        """The handshake of the older revision; its session is kept."""
        client = {"name": "test", "version": "1"}
        said = {"protocolVersion": LEGACY, "capabilities": dict(self.capabilities), "clientInfo": client}
        answer = await self.post("initialize", said)
        assert answer.status_code == 200, answer.text
        if session := answer.headers.get("mcp-session-id", ""):
            self.headers["Mcp-Session-Id"] = session
        return self.read(answer)["result"]  # type: ignore[no-any-return]

    async def post(
        self, method: str, params: Mapping[str, Any] | None = None, *, id_: Any = None, **more: str
    ) -> httpx.Response:
        """Send one request as the revision has it."""
        headers, message = self.message(method, params, id_=id_)
        return await self.it.client.post("/mcp", json=message, headers={**headers, **more})

    def message(
        self, method: str, params: Mapping[str, Any] | None = None, *, id_: Any = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """Headers and body of one request as the revision has it."""
        said: dict[str, Any] = dict(params or {})
        headers = {**self.who, **ACCEPT, **self.headers}
        if self.revision == MODERN:
            meta = {
                f"{_META}protocolVersion": MODERN,
                f"{_META}clientInfo": {"name": "test", "version": "1"},
                f"{_META}clientCapabilities": dict(self.capabilities),
            }
            said["_meta"] = {**meta, **said.get("_meta", {})}
            headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
            headers |= {"Mcp-Name": str(said["name"])} if "name" in said else {}
        elif method != "initialize":
            headers["MCP-Protocol-Version"] = LEGACY
        id_ = next(self._ids) if id_ is None else id_
        return headers, {"jsonrpc": "2.0", "id": id_, "method": method, "params": said}

    def read(self, answer: httpx.Response) -> dict[str, Any]:
        """The response in an answer, JSON or stream; notifications before it are kept in ``seen``."""
        if not answer.headers["content-type"].startswith("text/event-stream"):
            return answer.json()  # type: ignore[no-any-return]
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        messages = [json.loads(line) for line in lines]
        self.seen += [one for one in messages if "id" not in one]
        return next(one for one in messages if "id" in one)  # type: ignore[no-any-return]

    async def ask(self, method: str, params: Mapping[str, Any] | None = None, *, id_: Any = None) -> dict[str, Any]:
        """The JSON-RPC response."""
        answer = await self.post(method, params, id_=id_)
        assert "content-type" in answer.headers, answer.status_code
        return self.read(answer)

    async def names(self) -> list[str]:
        """Every tool, over all pages."""
        found: list[str] = []
        cursor: dict[str, Any] = {}
        while True:
            page = (await self.ask("tools/list", cursor))["result"]
            found += [one["name"] for one in page["tools"]]
            if "nextCursor" not in page:
                return found
            cursor = {"cursor": page["nextCursor"]}

    async def call(self, name: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """``tools/call`` and its result; raises ``AssertionError`` for a protocol error."""
        answer = await self.ask("tools/call", {"name": name, "arguments": dict(arguments or {}), **more})
        assert "result" in answer, answer
        return answer["result"]  # type: ignore[no-any-return]

    async def restart(self, **more: Any) -> dict[str, Any]:
        """Ask for what people have to approve."""
        return await self.call("local_process_restart", {"resource": TARGET, "reason": "it does not answer"}, **more)
