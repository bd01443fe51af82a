"""Server-sent events (WHATWG HTML §9.2) as the Anthropic wire uses them: split without changing a byte. Pure.

``SseSplitter`` cuts a byte stream into events whose raw bytes, joined, are the stream: a relay passes them on as they
came and can still hold one back (the terminal ``message_stop``) until something else is true.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from broker.errors import UpstreamFailed

TERMINAL: Final = "message_stop"
_KINDS: Final = frozenset({
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
    "message_stop", "ping", "error",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event: its name (``message`` where the stream names none), its data, and the bytes it came in."""

    name: str
    data: bytes
    raw: bytes


class SseSplitter:
    """Incremental: any split of the same bytes gives the same events. LF, CR LF and CR end lines."""

    def __init__(self, *, event_bytes_max: int = 8_388_608) -> None:
        self._max = event_bytes_max
        self._pending = b""
        self._scanned = 0

    def feed(self, chunk: bytes) -> Iterator[SseEvent]:
        """Events that ``chunk`` completes; raises ``UpstreamFailed`` for one that grows over its cap."""
        self._pending += chunk
        while (end := self._end()) is not None:
            raw, self._pending, self._scanned = self._pending[:end], self._pending[end:], 0
            yield _event(raw)
        if len(self._pending) > self._max:
            raise UpstreamFailed(f"one event of the stream is larger than {self._max} bytes", code="upstream.too_large")

    def rest(self) -> bytes:
        """Bytes of an event that never ended: a stream that was cut."""
        return self._pending

    def _end(self) -> int | None:
        """Index after the blank line that ends the first event; a final CR waits, for an LF may follow it."""
        data, at = self._pending, self._scanned
        while True:
            line_end = _next_break(data, at)
            if line_end is None:
                return None
            if line_end > 0 and data[at:line_end].strip(b"\r\n") == b"":
                return line_end
            at = self._scanned = line_end


def _next_break(data: bytes, start: int) -> int | None:
    """Index after the first line break at or after ``start``, or None while it is not certain where it ends."""
    lf, cr = data.find(b"\n", start), data.find(b"\r", start)
    if cr == -1 or (lf != -1 and lf < cr):
        return lf + 1 if lf != -1 else None
    if cr + 1 == len(data):
        return None
    return cr + 2 if data[cr + 1 : cr + 2] == b"\n" else cr + 1


def _event(raw: bytes) -> SseEvent:
    name, data = "message", []
    for line in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        key, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if key == b"event":
            name = value.decode("utf-8", errors="replace")
        elif key == b"data":
            data.append(value)
    return SseEvent(name, b"\n".join(data), raw)


@dataclass(slots=True)
class StreamFacts:
    """What a record may say of a streamed reply: counts, never content."""

    tokens_in: int = 0
    tokens_out: int = 0
    model: str = ""
    inference_geo: str = ""
    stop_reason: str = ""
    tools: list[str] = field(default_factory=list)
    """Names of the tools that the model asked for, in order."""
    error: str = ""
    """The provider's error type in mid-stream, or empty."""
    complete: bool = False
    """True once ``message_stop`` came; a stream that ends without it is partial."""
    bytes: int = 0

    def see(self, event: SseEvent) -> None:
        """Take the facts of ``event``; data that is not the wire's JSON counts as bytes only."""
        self.bytes += len(event.raw)
        if event.name not in _KINDS:
            return
        self.complete = self.complete or event.name == TERMINAL
        if event.name not in {"message_start", "message_delta", "content_block_start", "error"}:
            return
        try:
            value = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            return
        if not isinstance(value, dict):
            return
        if event.name == "message_start":
            self.take(value.get("message"))
        elif event.name == "message_delta":
            self.take({"usage": value.get("usage"), **_object(value.get("delta"))})
        elif event.name == "content_block_start":
            self._block(value.get("content_block"))
        else:
            self.error = str(_object(value.get("error")).get("type", "api_error"))[:64]

    def take(self, message: Any) -> None:
        """Take the facts of a whole message, or of the part of one that a stream carries."""
        message = _object(message)
        usage = _object(message.get("usage"))
        tokens_in = sum(
            _count(usage.get(key)) for key in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        )
        self.tokens_in = max(self.tokens_in, tokens_in)
        self.tokens_out = max(self.tokens_out, _count(usage.get("output_tokens")))
        self.inference_geo = _word(usage.get("inference_geo")) or self.inference_geo
        self.model = _word(message.get("model")) or self.model
        self.stop_reason = _word(message.get("stop_reason")) or self.stop_reason
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            self._block(block)

    def _block(self, block: Any) -> None:
        block = _object(block)
        if str(block.get("type", "")).endswith("tool_use") and len(self.tools) < 256:
            self.tools.append(_word(block.get("name")))

    def units(self) -> dict[str, int]:
        """Counted use, as ``Result.units`` names it."""
        return {"bytes": self.bytes, "tokens_in": self.tokens_in, "tokens_out": self.tokens_out}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _word(value: Any) -> str:
    return value[:128] if isinstance(value, str) else ""
