"""Between the conformance suite and the gate: what the suite calls by the reference server's names, the gate's names.

The suite knows the reference server's tools by name, calls them with bare arguments and reads their content. At the gate a
tool is an action on a resource, named after its connector, and its result is part of an answer. This adapter is the
checker's, not the gate's: it translates names, the envelope of a call and of its result, both ways, and nothing else. It
invents no answer: what the gate refuses, withholds or leaves out arrives as the gate said it.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
_ACTION = re.compile(r"Action (?P<action>[a-z0-9_.]+);")


class Front:
    """An ASGI application before the gate's. ``prefix`` is that of the reference server's actions."""

    def __init__(self, app: Any, *, token: str, prefix: str, resource: Mapping[str, str], names: list[str]) -> None:
        """``names`` are the reference server's tools; ``token`` a whole ``Authorization``, which the suite does not have."""
        self._app = app
        self._token = token.encode()
        self._resource = dict(resource)
        self._theirs = {f"{prefix}.{name}": name for name in names}
        self._ours: dict[str, str] = {}
        """Reference name -> the gate's, as listed."""

    def learn(self, tools: list[dict[str, Any]]) -> None:
        """The gate's own list, so that a call before any list has its name, too."""
        for one in tools:
            if (found := _ACTION.search(one["description"])) and found["action"] in self._theirs:
                self._tool(one, found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One exchange."""
        body = await _whole(receive)
        asked = _read(body)
        method = asked.get("method") if isinstance(asked, dict) else None
        renamed = ""
        if method == "tools/call" and isinstance(asked.get("params"), dict):
            renamed = self._call(asked["params"])
            body = json.dumps(asked).encode()
        inner = {**scope, "headers": self._headers(scope, len(body), renamed)}
        if method not in {"tools/call", "tools/list"}:
            await self._app(inner, _replay(body, receive), send)
            return
        start, answer = await self._answered(inner, body, receive)
        answer = self._translated(method, answer)
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(len(answer)).encode())]})
        await send({"type": "http.response.body", "body": answer})

    def _call(self, params: dict[str, Any]) -> str:
        """Put a call into the gate's envelope; the gate's name of the tool, or nothing where it has none."""
        name = self._ours.get(str(params.get("name")), "")
        if name:
            given = params.get("arguments") or {}
            params["name"] = name
            params["arguments"] = {"resource": self._resource, "reason": "conformance", **({"arguments": given} if given else {})}  # fmt: skip
        return name

    def _headers(self, scope: Scope, length: int, renamed: str) -> list[tuple[bytes, bytes]]:
        address = b"localhost:%d" % scope["server"][1]
        here = {b"host": (address, b"localhost:8480"), b"origin": (b"http://" + address, b"http://localhost:8480")}
        kept = []
        for name, value in scope["headers"]:
            told = here[name][1] if name in here and value == here[name][0] else value
            theirs = value.decode("latin-1").strip()
            if name == b"mcp-name" and renamed and self._ours.get(theirs) == renamed:
                told = value.replace(theirs.encode("latin-1"), renamed.encode())
            kept.append((name, str(length).encode() if name == b"content-length" else told))
        return [*kept, (b"authorization", self._token)]

    async def _answered(self, scope: Scope, body: bytes, receive: Receive) -> tuple[Any, bytes]:
        """The gate's whole answer."""
        sent: list[Any] = []

        async def keep(message: Any) -> None:
            sent.append(message)

        await self._app(scope, _replay(body, receive), keep)
        return sent[0], b"".join(one.get("body", b"") for one in sent[1:])

    def _translated(self, method: str, answer: bytes) -> bytes:
        """Each JSON-RPC message of an answer, JSON or a stream of events."""
        lines = answer.split(b"\n")
        if not any(line.startswith(b"data: ") for line in lines):
            return self._message(method, answer)
        return b"\n".join(b"data: " + self._message(method, line[6:]) if line.startswith(b"data: ") else line for line in lines)  # fmt: skip

    def _message(self, method: str, text: bytes) -> bytes:
        message = _read(text)
        result = message.get("result") if isinstance(message, dict) else None
        if not isinstance(result, dict):
            return text
        if method == "tools/list":
            result["tools"] = [self._tool(one, found) for one in result.get("tools", []) if (found := _ACTION.search(one["description"])) and found["action"] in self._theirs]  # fmt: skip
        elif "content" in (value := result.get("structuredContent", {}).get("result", {}).get("value") or {}):
            result["content"] = [_block(one) for one in value["content"]]
            del result["structuredContent"]
            if "structured" in value:
                result["structuredContent"] = value["structured"]
        return json.dumps(message).encode()

    def _tool(self, tool: dict[str, Any], found: re.Match[str]) -> dict[str, Any]:
        """One tool under the reference server's name, with the schema of its own arguments."""
        name = self._theirs[found["action"]]
        self._ours[name] = tool["name"]
        schema = tool["inputSchema"]["properties"].get("arguments", {"type": "object", "properties": {}})
        return {**tool, "name": name, "inputSchema": schema}


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of the gate's answer as MCP has it; one that is withheld has no content to show."""
    if part["type"] == "resource" and "text" in part:
        return {"type": "resource", "resource": {"uri": part["uri"], "mimeType": part["media_type"], "text": part["text"]}}  # fmt: skip
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    return {"type": "text", "text": json.dumps(part)}


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


async def _whole(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    told: list[bool] = []

    async def again() -> Any:
        if told:
            return await receive()
        told.append(True)
        return {"type": "http.request", "body": body, "more_body": False}

    return again
