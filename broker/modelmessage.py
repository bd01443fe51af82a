"""A streamed message of the model's wire as one value, and the stream again out of it. Pure.

Gathered are the events that the gate released: read, redacted and written anew. So what is kept holds what the caller was
given, and the stream made from it says the same in fewer pieces.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from broker.model import Json

Event = dict[str, Any]

_PIECES: Final[Mapping[str, str]] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "signature_delta": "signature",
}
_ENDING: Final = ("stop_reason", "stop_sequence", "stop_details", "container")
"""Fields of a message that its stream tells at the end."""


class Gathering:
    """Takes the events of one stream, in order."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._message: Event = {}
        self._blocks: dict[int, Event] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        self._error = ""

    def take(self, event: Event) -> None:
        """Add one event."""
        match event["type"]:
            case "message_start":
                self._message = dict(event["message"])
            case "content_block_start":
                self._blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                self._delta(event["index"], event["delta"])
            case "message_delta":
                usage = {**(self._message.get("usage") or {}), **(event.get("usage") or {})}
                more = {name: value for name, value in event.items() if name not in {"type", "delta", "usage"}}
                self._message |= {**(event.get("delta") or {}), **more, "usage": usage}
            case "error":
                self._error = event["error"]["type"]
            case _:
                """Pings and ends of blocks say nothing that is kept."""

    def value(self) -> Json:
        """``{"message": …, "error": type or ""}``; nothing where no message began."""
        if not self._message:
            return None
        content = [self._block(index) for index in sorted(self._blocks)]
        return {"message": {**self._message, "content": content}, "error": self._error}

    def _delta(self, index: int, delta: Mapping[str, Any]) -> None:
        kind = delta["type"]
        if kind == "citations_delta" and index in self._blocks:
            block = self._blocks[index]
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        elif kind in _PIECES:
            self._pieces.setdefault((index, _PIECES[kind]), []).append(delta[_PIECES[kind]])

    def _block(self, index: int) -> Event:
        """One block with its pieces joined; a tool's input that is no JSON object stays text."""
        block = dict(self._blocks[index])
        for field in ("text", "thinking", "signature"):
            if (index, field) in self._pieces:
                block[field] = (block.get(field) or "") + "".join(self._pieces[index, field])
        if text := "".join(self._pieces.get((index, "partial_json"), ())):
            try:
                read = orjson.loads(text)
            except orjson.JSONDecodeError:
                read = None
            block["input"] = read if isinstance(read, dict) else text
        return block


def replay(kept: Mapping[str, Any]) -> Iterator[Event]:
    """The events that give ``kept`` (of ``Gathering.value``) again; one that broke off breaks off again."""
    message = kept["message"]
    start = {name: value for name, value in message.items() if name not in {"context_management", *_ENDING}}
    yield {"type": "message_start", "message": {**start, "content": [], "stop_reason": None, "stop_sequence": None}}
    for index, block in enumerate(message["content"]):
        bare, deltas = _apart(block)
        yield {"type": "content_block_start", "index": index, "content_block": bare}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    if kept["error"]:
        text = "the model provider broke off its answer"
        yield {"type": "error", "error": {"type": kept["error"], "message": text}}
        return
    delta = {name: message[name] for name in _ENDING if name in message}
    more = {name: message[name] for name in ("context_management",) if name in message}
    yield {"type": "message_delta", "delta": delta, "usage": message["usage"], **more}
    yield {"type": "message_stop"}


def _apart(block: Mapping[str, Any]) -> tuple[Event, list[Event]]:
    """A block as it opens, and the deltas that fill it."""
    bare, deltas = dict(block), []
    for citation in bare.get("citations") or ():
        deltas.append({"type": "citations_delta", "citation": citation})
        bare["citations"] = []
    for kind, field in _PIECES.items():
        if field != "partial_json" and bare.get(field):
            deltas.append({"type": kind, field: bare[field]})
            bare[field] = ""
    if "input" in bare:
        given = bare["input"]
        text = given if isinstance(given, str) else orjson.dumps(given).decode()
        deltas.append({"type": "input_json_delta", "partial_json": text})
        bare["input"] = {}
    return bare, deltas
