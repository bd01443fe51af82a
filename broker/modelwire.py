"""The shapes of Anthropic's Messages wire that the gate must know (source: the provider's API reference, 2023-06-01).

What the gate relays, it has read. A request may hold only the fields, blocks and sources listed here: whatever makes the
provider fetch, run, store or route is either refused or a fact for policy. Of a streamed reply only the events listed here pass, each written
anew. Every text goes through redaction; what only the provider can read (signatures, redacted thinking) is recognised by
its place and form, and in a prompt it is scanned like text all the same.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson

from broker.errors import BadRequest, UpstreamFailed
from broker.model import Json

Path = tuple[str | int, ...]
OPAQUE: Final = {"thinking": "signature", "redacted_thinking": "data"}
"""Field of a block that only the provider can read."""

_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/_=-]{64,}", re.ASCII)
"""Base64, as long as the shortest of the provider's signatures; what is shorter is text."""
_WORD: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}", re.ASCII)
_ID: Final = re.compile(r"(?:msg|toolu|srvtoolu|req|compl|resp)_[A-Za-z0-9_-]{1,64}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)

_TOP: Final = frozenset({
    "model", "max_tokens", "messages", "system", "tools", "tool_choice", "stop_sequences", "stream", "temperature", "top_p",
    "top_k", "metadata", "thinking", "cache_control", "output_config", "context_management", "inference_geo",
})  # fmt: skip
_FLAT: Final[Mapping[str, frozenset[str]]] = {
    "cache_control": frozenset({"type", "ttl", "scope"}),
    "citations": frozenset({"enabled"}),
    "metadata": frozenset({"user_id"}),
    "output_config": frozenset({"effort", "format"}),
    "thinking": frozenset({"type", "budget_tokens", "display"}),
    "tool_choice": frozenset({"type", "name", "disable_parallel_tool_use"}),
}
"""Keys of small objects; none of them names an address."""
_BLOCKS: Final[Mapping[str, frozenset[str]]] = {
    "text": frozenset({"text", "citations"}),
    "image": frozenset({"source"}),
    "document": frozenset({"source", "title", "context", "citations"}),
    "search_result": frozenset({"source", "title", "content", "citations"}),
    "thinking": frozenset({"thinking", "signature"}),
    "redacted_thinking": frozenset({"data"}),
    "tool_use": frozenset({"id", "name", "input", "caller", "toolset_name"}),
    "tool_result": frozenset({"tool_use_id", "content", "is_error", "toolset_name"}),
    "tool_reference": frozenset({"tool_name"}),
    "server_tool_use": frozenset({"id", "name", "input", "caller"}),
    "tool_search_tool_result": frozenset({"tool_use_id", "content"}),
}
_SOURCES: Final[Mapping[str, frozenset[str]]] = {
    "base64": frozenset({"media_type", "data"}),
    "text": frozenset({"media_type", "data"}),
    "content": frozenset({"content"}),
}
"""Sources whose content is in the request: an address or a stored file would be fetched past the gate."""
_TOOL: Final = frozenset({
    "type", "name", "description", "input_schema", "input_examples", "cache_control", "strict", "eager_input_streaming",
    "defer_loading",
})  # fmt: skip
DELTAS: Final[Mapping[str, str]] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
}
"""Deltas that carry text in pieces, and the field that holds it."""
_STARTS: Final[Mapping[str, str]] = {"text": "text_delta", "thinking": "thinking_delta"}
_EVENTS: Final = frozenset({
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    "ping", "error",
})  # fmt: skip
_ERRORS: Final = frozenset({
    "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
    "request_too_large", "rate_limit_error", "timeout_error", "overloaded_error", "api_error",
})  # fmt: skip
_PIECE: Final = re.compile(r"[A-Za-z0-9+/_=-]*", re.ASCII)
_ROLES: Final = frozenset({"user", "assistant", "system"})
_ON_BLOCK: Final = frozenset({"type", "cache_control"})


def facts(body: Mapping[str, Json]) -> dict[str, Json]:
    """What policy may know of a call: model, tokens, streaming, tools, where it shall be computed.

    Raises ``BadRequest``: ``model.field_not_allowed`` for whatever this page does not list, by name and never by value.
    """
    _closed(body, "", _TOP)
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("field `model` is required and must be text", code="model.model_required")
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRequest("field `tools` must be a list of objects", code="model.tools")
    tokens = body.get("max_tokens", 0)
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise BadRequest("field `max_tokens` must be a whole number", code="model.max_tokens")
    _check(body, tools)
    # A provider-side tool is known by its type as well as by its name; policy judges both.
    typed = {str(tool["type"]) for tool in tools if tool.get("type") not in (None, "custom")}
    names = {str(tool["name"]) for tool in tools if tool.get("name")}
    return {
        "model": model,
        "max_tokens": tokens,
        "stream": body.get("stream") is True,
        "tools": sorted(names | typed),
        "provider_tools": sorted(typed),
        "inference_geo": str(body.get("inference_geo") or ""),
    }


def take_opaque(body: Json) -> tuple[Json, dict[Path, str]]:
    """A copy of ``body`` without what only the provider can read, and those values by path, for a scan as bare text.

    Only an assistant's own thinking blocks have such values, in blocks with exactly the wire's keys. Real signatures
    are ciphertext: a scan of them finds nothing, so that one in which it finds something is not one.
    """
    taken: dict[Path, str] = {}
    copy = dict(body) if isinstance(body, dict) else {}
    messages = copy.get("messages")
    if not isinstance(messages, list):
        return body, taken
    copy["messages"] = [
        _without(message, ("messages", index), taken) if _assistant(message) else message
        for index, message in enumerate(messages)
    ]
    return copy, taken


def take_wire(reply: Json) -> tuple[Json, dict[Path, str]]:
    """A copy of a provider's message without ids, types and opaque values, and those by path; the rest is for redaction."""
    taken: dict[Path, str] = {}
    if not isinstance(reply, dict) or reply.get("type") != "message":
        return reply, taken
    copy = _words(reply, (), taken)
    return (_without(copy, (), taken) if isinstance(copy.get("content"), list) else copy), taken


def put_back(body: Json, taken: Mapping[Path, Json]) -> Json:
    """Undo ``take_opaque`` or ``take_wire`` on the redacted copy, which it leaves as it is."""
    for path, value in taken.items():
        body = _with(body, path, value)
    return body


def word(value: str) -> str:
    """``value`` if it is a word of the wire's own, such as a stop reason; else nothing."""
    return value if _WORD.fullmatch(value) else ""


def is_opaque(value: Json) -> bool:
    """Whether ``value`` has the form of a signature."""
    return isinstance(value, str) and _SIGNATURE.fullmatch(value) is not None


# -- streams -------------------------------------------------------------------------------------------------------------


def read_event(name: str, text: bytes) -> dict[str, Any]:
    """The JSON of one event of the closed set, named as its ``type`` says.

    Raises ``UpstreamFailed`` for anything else: what is not understood could hide something from redaction.
    """
    try:
        event = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _garbage("an event that is not JSON") from None
    if not isinstance(event, dict):
        raise _garbage("an event that is not an object")
    if event.get("type") != name or name not in _EVENTS:
        raise _unknown("an event")
    if name.startswith("content_block_"):
        index = event.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            raise _garbage("a content block without its index")
    for field in {
        "message_start": ("message",),
        "content_block_start": ("content_block",),
        "content_block_delta": ("delta",),
    }.get(name, ()):
        if not isinstance(event.get(field), dict):
            raise _garbage(f"an event without its `{field}`")
    return event


def read_delta(event: Mapping[str, Any]) -> tuple[str, Json]:
    """(delta kind, what it carries): text for ``DELTAS``, a signature, or a citation. Raises ``UpstreamFailed``."""
    delta = event["delta"]
    kind = delta.get("type")
    field = (
        {**DELTAS, "signature_delta": "signature", "citations_delta": "citation"}.get(kind)
        if isinstance(kind, str)
        else None
    )
    if field is None:
        raise _unknown("a delta")
    carried = delta.get(field)
    if kind != "citations_delta" and not isinstance(carried, str):
        raise _garbage("a delta without its text")
    if kind == "signature_delta" and not _PIECE.fullmatch(carried):
        raise _garbage("a signature that is not base64")
    return kind, carried


def split_start(event: Mapping[str, Any]) -> tuple[dict[str, Any], str, str]:
    """The block of a ``content_block_start`` without its first text, the delta kind that goes on with it, and that text."""
    block = dict(event["content_block"])
    kind = block.get("type")
    start = _STARTS.get(kind) if isinstance(kind, str) else None
    if start is None or not isinstance(block.get(DELTAS[start]), str):
        return block, "", ""
    text, block[DELTAS[start]] = block[DELTAS[start]], ""
    return block, start, text


def delta_event(index: int, kind: str, carried: Json) -> dict[str, Any]:
    """A delta, made anew."""
    field = {**DELTAS, "signature_delta": "signature", "citations_delta": "citation"}[kind]
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: carried}}


def written(event: Mapping[str, Json]) -> bytes:
    """One event in the wire's form: its name, its JSON, and nothing else."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def error_event(message: str, event: Mapping[str, Json] | None = None) -> dict[str, Any]:
    """The wire's own way to say that a stream broke off; of the provider's own ``event`` only the type of error stays."""
    error = (event or {}).get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    shown = kind if isinstance(kind, str) and kind in _ERRORS else "api_error"
    return {"type": "error", "error": {"type": shown, "message": message}}


def _garbage(what: str) -> UpstreamFailed:
    return UpstreamFailed(f"the provider sent {what}", code="upstream.garbage")


def _unknown(what: str) -> UpstreamFailed:
    return UpstreamFailed(
        f"the provider sent {what} that the gate does not know",
        code="stream.unknown_event",
        remedy="leave out the feature that brings it, or ask the gate's owner for an update",
    )


# -- requests ------------------------------------------------------------------------------------------------------------


def _check(body: Mapping[str, Json], tools: list[dict[str, Json]]) -> None:
    """Every place of a request where a field could mean something to the provider."""
    for name in _FLAT:
        _flat(body, name, "")
    for index, tool in enumerate(tools):
        _tool(tool, f"tools[{index}]")
    if not isinstance(body.get("inference_geo"), str | None):
        raise _refused("inference_geo")
    _edits(body.get("context_management"))
    _content(body.get("system"), "system", {"text"})
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise BadRequest("field `messages` must be a list", code="model.messages")
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _refused(where)
        _closed(message, where, {"role", "content"})
        if message.get("role") not in _ROLES:
            raise _refused(f"{where}.role")
        _content(message.get("content"), f"{where}.content", _BLOCKS.keys())


def _content(content: Json, where: str, kinds: Collection[str]) -> None:
    """Text, or a list of blocks of ``kinds``."""
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _refused(where)
    for index, block in enumerate(content):
        _block(block, f"{where}[{index}]", kinds)


def _block(block: Json, where: str, kinds: Collection[str]) -> None:
    """One block with exactly the wire's keys, and what it holds."""
    if not isinstance(block, dict):
        raise _refused(where)
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        raise _refused(f"{where}.type")
    _closed(block, where, _BLOCKS[kind] | _ON_BLOCK)
    _flat(block, "cache_control", where)
    if kind in {"image", "document"}:
        _source(block.get("source"), f"{where}.source", kind)
    if kind in {"document", "search_result"}:
        _flat(block, "citations", where)
    if kind == "tool_result":
        _content(
            block.get("content"), f"{where}.content", {"text", "image", "document", "search_result", "tool_reference"}
        )
    if kind == "search_result":
        _content(block.get("content"), f"{where}.content", {"text"})


def _source(source: Json, where: str, kind: str) -> None:
    """Where an image's or document's bytes are: in the request."""
    if not isinstance(source, dict):
        raise _refused(where)
    form = source.get("type")
    if not isinstance(form, str) or form not in _SOURCES or (kind == "image" and form != "base64"):
        raise _refused(f"{where}.type", "send the content itself, as base64; the gate lets no provider fetch")
    _closed(source, where, _SOURCES[form] | {"type"})
    if form == "content":
        _content(source.get("content"), f"{where}.content", {"text", "image"})


def _tool(tool: Mapping[str, Json], where: str) -> None:
    """A tool of the caller's own has closed keys; one of the provider's has a type, which policy judges."""
    kind = tool.get("type")
    if kind is not None and not isinstance(kind, str):
        raise _refused(f"{where}.type")
    if kind in (None, "custom"):
        _closed(tool, where, _TOOL)
        _flat(tool, "cache_control", where)


def _edits(value: Json) -> None:
    """Of context management, only what clears: the provider forgets, and does nothing else."""
    if value is None:
        return
    if not isinstance(value, dict):
        raise _refused("context_management")
    _closed(value, "context_management", {"edits"})
    edits = value.get("edits") or []
    for index, edit in enumerate(edits if isinstance(edits, list) else [None]):
        if not isinstance(edit, dict) or not str(edit.get("type")).startswith("clear_"):
            raise _refused(f"context_management.edits[{index}].type")


def _flat(value: Mapping[str, Json], name: str, where: str) -> None:
    """A small object with closed keys, where it is there."""
    inner = value.get(name)
    if inner is None:
        return
    place = f"{where}.{name}" if where else name
    if not isinstance(inner, dict):
        raise _refused(place)
    _closed(inner, place, _FLAT[name])


def _closed(value: Mapping[str, Json], where: str, keys: Collection[str]) -> None:
    """Raise for the first key that is not in ``keys``; a key that is no plain name is not repeated."""
    for key in value:
        if key not in keys:
            shown = key if _NAME.fullmatch(key) else "(a name of another form)"
            raise _refused(f"{where}.{shown}" if where else shown)


def _refused(where: str, remedy: str = "") -> BadRequest:
    return BadRequest(
        f"field `{where}` is not one that the gate relays to a model",
        code="model.field_not_allowed",
        remedy=remedy or "leave the field out; broker/README.md lists what the gate relays",
    )


# -- what is taken out and put back ---------------------------------------------------------------------------------------


def _assistant(message: Json) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant" and isinstance(message.get("content"), list)


def _without(message: dict[str, Any], path: Path, taken: dict[Path, str]) -> dict[str, Any]:
    """Copy ``message``, its opaque values moved into ``taken``; a reply's blocks (``path`` empty) lose ids and types too."""
    blocks = []
    for index, block in enumerate(message["content"]):
        here = (*path, "content", index)
        copy = block
        if isinstance(block, dict):
            copy = dict(block) if path else _words(block, here, taken)
            kind = block.get("type")
            field = OPAQUE.get(kind) if isinstance(kind, str) else None
            if (
                isinstance(kind, str)
                and field
                and is_opaque(block.get(field))
                and block.keys() == _BLOCKS[kind] | {"type"}
            ):
                taken[*here, field] = block[field]
                copy[field] = ""
        blocks.append(copy)
    return {**message, "content": blocks}


def _words(value: Mapping[str, Json], path: Path, taken: dict[Path, str]) -> dict[str, Any]:
    """Copy ``value`` without ids and the wire's own words."""
    copy = dict(value)
    for name, form in (("id", _ID), ("tool_use_id", _ID), ("type", _WORD), ("role", _WORD), ("model", _WORD)):
        word = copy.get(name)
        if isinstance(word, str) and form.fullmatch(word):
            taken[*path, name] = word
            copy[name] = ""
    return copy


def _with(value: Any, path: Path, leaf: Json) -> Any:
    """``value`` with ``leaf`` at ``path``; only what lies on the path is copied."""
    if not path:
        return leaf
    copy: Any = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = _with(copy[path[0]], path[1:], leaf)
    return copy
