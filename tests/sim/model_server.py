"""A scripted model server on Anthropic's wire: messages (JSON and SSE), count_tokens, models, errors, slow, cut.

The script is a list of turns, taken in order; the last one repeats. Every request is kept as it came. ``in_thread``
serves code that has no event loop of its own or blocks it.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from tests.sim.upstream import Seen, UpstreamSim, whole

HELD = 3
MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")


@dataclass(frozen=True)
class Turn:
    """One answer: text, tool uses, or an error; ``cut_after`` ends a stream after that many events, ``hang_after`` goes on with pings only."""

    text: str = ""
    tools: tuple[tuple[str, dict[str, object]], ...] = ()
    status: int = 200
    error_type: str = ""
    error_message: str = "no"
    headers: tuple[tuple[str, str], ...] = ()
    cut_after: int | None = None
    hang_after: int | None = None
    stream_error: str = ""
    hang: bool = False
    blocks: tuple[dict[str, object], ...] = ()
    """More blocks of a whole message, as they are."""
    raw: tuple[bytes, ...] = ()
    """A stream's bytes instead of the wire's own events."""
    tokens_in: int = 25
    tokens_out: int = 15
    stop_reason: str = ""
    """Instead of the one that fits the content."""
    hold: asyncio.Event | None = None
    """A stream waits for it after its third event."""


@dataclass
class ModelServer:
    """Speaks the wire to whoever holds ``key`` (empty: anybody)."""

    turns: list[Turn] = field(default_factory=lambda: [Turn("hello")])
    key: str = ""
    script: Callable[[Any], Turn] | None = None
    """Chooses the turn by the request's body; then ``turns`` do not count."""

    def __post_init__(self) -> None:
        self._next = itertools.chain(self.turns[:-1], itertools.repeat(self.turns[-1]))
        self._ids = itertools.count(1)
        self.server = UpstreamSim(self._answer)

    @property
    def seen(self) -> list[Seen]:
        return self.server.seen

    @property
    def url(self) -> str:
        return self.server.url

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.__aexit__()

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        given = seen.headers.get("x-api-key") or seen.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key and given != self.key:
            writer.write(
                _error(Turn(status=401, error_type="authentication_error", error_message=f"invalid key {given}"))
            )
            return
        if not seen.headers.get("anthropic-version"):
            writer.write(
                _error(Turn(status=400, error_type="invalid_request_error", error_message="anthropic-version"))
            )
            return
        match (seen.method, seen.target.split("?")[0]):
            case ("POST", "/v1/messages"):
                await self._messages(seen, writer)
            case ("POST", "/v1/messages/count_tokens"):
                writer.write(whole(200, {"input_tokens": max(1, len(seen.body) // 4)}))
            case ("GET", "/v1/models"):
                writer.write(whole(200, _models()))
            case _:
                writer.write(_error(Turn(status=404, error_type="not_found_error")))

    async def _messages(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        turn = self.script(seen.json) if self.script else next(self._next)
        if turn.hang:
            await asyncio.Event().wait()
        if turn.status != 200:
            writer.write(_error(turn))
            return
        message = _message(turn, seen.json["model"], f"msg_{next(self._ids):024d}")
        if not seen.json.get("stream"):
            writer.write(whole(200, message, request_id="req_1"))
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nrequest-id: req_1\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        events = list(turn.raw or _events(turn, message))
        for number, event in enumerate(events[: turn.cut_after]):
            if number == HELD and turn.hold is not None:
                await turn.hold.wait()
            while number == turn.hang_after:
                # Alive, but with nothing more to say, until the reader goes away.
                writer.write(b"%x\r\n" % len(PING) + PING + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
            writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            await writer.drain()
        if turn.cut_after is None:
            writer.write(b"0\r\n\r\n")
        else:
            writer.transport.abort() if turn.cut_after == 0 else writer.close()


def _message(turn: Turn, model: str, id_: str) -> dict[str, object]:
    content: list[dict[str, object]] = [{"type": "text", "text": turn.text, "citations": None}] if turn.text else []
    content += [
        {
            "type": "tool_use",
            "id": f"toolu_{id_[-16:]}{n:04d}",
            "name": name,
            "input": given,
            "caller": {"type": "direct"},
        }
        for n, (name, given) in enumerate(turn.tools)
    ]
    content += turn.blocks
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": turn.stop_reason or ("tool_use" if turn.tools else "end_turn"),
        "stop_sequence": None,
        "usage": {
            "input_tokens": turn.tokens_in,
            "output_tokens": turn.tokens_out,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 4,
            "inference_geo": "eu",
            "service_tier": "standard",
        },
    }


def _events(turn: Turn, message: dict[str, object]) -> Iterator[bytes]:
    """The wire's order: message_start, ping, blocks, message_delta (cumulative usage), message_stop."""
    content = message["content"]
    assert isinstance(content, list)
    usage: Any = message["usage"]
    yield _event(
        "message_start", message={**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    )
    yield _event("ping")
    for index, block in enumerate(content):
        if block["type"] == "text":
            yield _event("content_block_start", index=index, content_block={**block, "text": ""})
            for start in range(0, len(block["text"]), 7):
                yield _event(
                    "content_block_delta",
                    index=index,
                    delta={"type": "text_delta", "text": block["text"][start : start + 7]},
                )
        else:
            yield _event("content_block_start", index=index, content_block={**block, "input": {}})
            text = orjson.dumps(block["input"]).decode()
            yield _event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": text})
        yield _event("content_block_stop", index=index)
    if turn.stream_error:
        yield _event("error", error={"type": turn.stream_error, "message": "no"})
        return
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=delta, usage={"output_tokens": turn.tokens_out})
    yield _event("message_stop")


def _event(name: str, **data: object) -> bytes:
    return f"event: {name}\ndata: ".encode() + orjson.dumps({"type": name, **data}) + b"\n\n"


PING = _event("ping")


def _error(turn: Turn) -> bytes:
    body = {"type": "error", "error": {"type": turn.error_type, "message": turn.error_message}, "request_id": "req_1"}
    return whole(turn.status, body, **{name.replace("-", "_"): value for name, value in turn.headers})


def _models() -> dict[str, object]:
    rows = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z", "lifecycle": "active"}
        for name in MODELS
    ]
    return {"data": rows, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}


@contextmanager
def in_thread(server: ModelServer) -> Iterator[ModelServer]:
    """Serve from a thread of its own until the block ends."""
    ready, stop = threading.Event(), threading.Event()

    async def main() -> None:
        async with server:
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield server
    finally:
        stop.set()
        thread.join()
