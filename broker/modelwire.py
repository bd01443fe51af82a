"""The shapes of Anthropic's Messages wire that the gate must know (source: the provider's API reference, 2023-06-01).

The gate relays a model call's bytes; it reads just enough of them to give policy facts, to redact text where text
stands, and to leave alone what only the provider can read: signatures of thinking blocks and redacted thinking.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from broker.errors import BadRequest
from broker.model import Json

_OPAQUE = {"thinking": "signature", "redacted_thinking": "data"}
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]*", re.ASCII)
Path = tuple[str | int, ...]


def facts(body: Mapping[str, Json]) -> dict[str, Json]:
    """What policy may know of a call: model, tokens asked for, streaming, tool names; raises ``BadRequest``."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("field `model` is required and must be text", code="model.model_required")
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRequest("field `tools` must be a list of objects", code="model.tools")
    # A provider-side tool is known by its type as well as by its name; policy judges both.
    names = {
        str(tool.get(key)) for tool in tools for key in ("name", "type") if tool.get(key) and tool.get(key) != "custom"
    }
    tokens = body.get("max_tokens", 0)
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise BadRequest("field `max_tokens` must be a whole number", code="model.max_tokens")
    return {"model": model, "max_tokens": tokens, "stream": body.get("stream") is True, "tools": sorted(names)}


def take_opaque(body: Json) -> tuple[Json, dict[Path, str]]:
    """A copy of ``body`` without what only the provider can read, and those values by path.

    A signature that is not base64 is no signature: it stays and is scanned like any text.
    """
    taken: dict[Path, str] = {}
    return _without(body, (), taken), taken


def put_back(body: Json, taken: Mapping[Path, str]) -> Json:
    """Undo ``take_opaque`` on the redacted copy, in place."""
    for path, value in taken.items():
        place: Any = body
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
    return body


def texts(message: Mapping[str, Json]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each (block, key) of a reply that carries what the model wrote: text and tool input."""
    for block in message.get("content") or ():
        if isinstance(block, dict) and block.get("type") == "text":
            yield block, "text"
        elif isinstance(block, dict) and block.get("type") in ("tool_use", "server_tool_use", "mcp_tool_use"):
            yield block, "input"


def delta_text(event: Mapping[str, Any]) -> tuple[int, str, str] | None:
    """(block index, key, text) of a stream event that carries model text, else None."""
    delta = event.get("delta")
    if event.get("type") != "content_block_delta" or not isinstance(delta, dict):
        return None
    for kind, key in (("text_delta", "text"), ("input_json_delta", "partial_json")):
        if delta.get("type") == kind and isinstance(delta.get(key), str):
            return int(event.get("index", 0)), key, delta[key]
    return None


def delta_event(index: int, key: str, text: str) -> bytes:
    """A stream event of our own making, for text that redaction changed or held back."""
    kind = "text_delta" if key == "text" else "input_json_delta"
    event = {"type": "content_block_delta", "index": index, "delta": {"type": kind, key: text}}
    return b"event: content_block_delta\ndata: " + orjson.dumps(event) + b"\n\n"


def error_event(message: str) -> bytes:
    """The wire's own way to say that a stream broke off."""
    return (
        b"event: error\ndata: "
        + orjson.dumps({"type": "error", "error": {"type": "api_error", "message": message}})
        + b"\n\n"
    )


def _without(value: Json, path: Path, taken: dict[Path, str]) -> Json:
    """Copy ``value``, moving opaque leaves of message blocks into ``taken``."""
    if isinstance(value, dict):
        opaque = _OPAQUE.get(str(value.get("type")))
        copy: dict[str, Json] = {}
        for key, child in value.items():
            if key == opaque and isinstance(child, str) and _BASE64.fullmatch(child):
                taken[(*path, key)] = child
                copy[key] = ""
            else:
                copy[key] = _without(child, (*path, key), taken)
        return copy
    if isinstance(value, list):
        return [_without(child, (*path, index), taken) for index, child in enumerate(value)]
    return value
