"""What the scripted model says: a function of the request alone, as a model's answer is.

It knows nothing of the shop. It reads rates of errors from its prompt (``service=NAME … own_error_rate=X``), takes the
highest, looks for a tool to read that service's logs, then for one to restart it, and sums up when a tool has answered.
Which tools exist, and what their fields are called, it learns from the request's ``tools``.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demo import thinking

Json = Any

_RATE = re.compile(r"service=(?P<service>[\w-]+)[^\n]*?own_error_rate=(?P<rate>\d+(?:\.\d+)?)")
_ERROR_LINE = re.compile(r"[^\n\"]*(?:level=error|level\W+error)[^\n]*")
NOTABLE_RATE = 0.05


@dataclass(frozen=True, slots=True)
class Reply:
    """One turn of the model: content blocks and why it stopped."""

    content: Sequence[Mapping[str, Json]]
    stop_reason: str


def reply(request: Mapping[str, Json]) -> Reply:
    """The next turn for ``request`` (the body of ``POST /v1/messages``)."""
    messages = request["messages"]
    if any(tool["name"] == "submit" for tool in request.get("tools", ())):
        return _thinking(request)
    rates = {found["service"]: float(found["rate"]) for text in _texts(messages) for found in _RATE.finditer(text)}
    if not rates:
        return _say("I see no error rates here. Read the services' metrics and ask me again.")
    worst = max(sorted(rates), key=lambda service: rates[service])
    if rates[worst] < NOTABLE_RATE:
        return _say(
            f"All services answer well: the highest rate of own errors is {rates[worst]:.3f} ({worst}). Do nothing."
        )
    tools = {tool["name"]: tool for tool in request.get("tools", ())}
    used = [block["name"] for message in messages for block in _blocks(message) if block["type"] == "tool_use"]
    for purpose in ("logs", "restart"):
        tool = next((tools[name] for name in sorted(tools) if purpose in name), None)
        if tool is not None and tool["name"] not in used:
            return _use(tool, worst, rates[worst], messages)
    return _sum_up(worst, rates[worst], messages)


def _thinking(request: Mapping[str, Json]) -> Reply:
    """A turn of an investigation; a prompt that is none gets words, as a confused model gives them."""
    try:
        text, name, given = thinking.turn(request)
    except (ValueError, KeyError, TypeError, IndexError):
        return _say("I do not understand what I am asked.")
    digest = hashlib.sha256(f"{name} {len(request['messages'])} {json.dumps(given)}".encode()).hexdigest()
    use = {"type": "tool_use", "id": f"toolu_{digest[:24]}", "name": name, "input": given}
    return Reply(({"type": "text", "text": text}, use), "tool_use")


def message(request: Mapping[str, Json]) -> dict[str, Json]:
    """The whole answer on the provider's wire (``Message``)."""
    turn = reply(request)
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    return {
        "id": f"msg_{digest[:24]}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [dict(block) for block in turn.content],
        "stop_reason": turn.stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": tokens(request), "output_tokens": tokens(turn.content)},
    }


def tokens(value: Json) -> int:
    """A stand-in for counting tokens: a quarter of the characters."""
    return 1 + len(json.dumps(value, ensure_ascii=False)) // 4


def events(answer: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    """The same answer as the wire's stream of server-sent events: (event, payload)."""
    usage = {**answer["usage"], "output_tokens": 1}
    start = {**answer, "content": [], "stop_reason": None, "usage": usage}
    yield "message_start", {"type": "message_start", "message": start}
    yield "ping", {"type": "ping"}
    for index, block in enumerate(answer["content"]):
        opened, deltas = _in_pieces(block)
        yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": opened}
        for delta in deltas:
            yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
        yield "content_block_stop", {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": delta, "usage": answer["usage"]}
    yield "message_stop", {"type": "message_stop"}


def _in_pieces(block: Mapping[str, Json]) -> tuple[dict[str, Json], list[dict[str, Json]]]:
    """A block's opening form and its deltas; pieces end in the middle of words, as real ones do."""
    if block["type"] == "text":
        text = block["text"]
        pieces = [text[at : at + 17] for at in range(0, len(text), 17)]
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]
    arguments = json.dumps(block["input"])
    pieces = [arguments[at : at + 11] for at in range(0, len(arguments), 11)]
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _use(tool: Mapping[str, Json], service: str, rate: float, messages: Sequence[Json]) -> Reply:
    """Use a tool on ``service``: fill the fields that it requires, by what they are called."""
    schema = tool["input_schema"]
    why = f"{rate:.0%} of the requests to {service} fail by its own fault"
    filled: dict[str, Json] = {}
    for name in schema.get("required", ()):
        filled[name] = f"{why}; {_evidence(messages)}" if name == "reason" else service
    digest = hashlib.sha256(f"{tool['name']} {len(messages)} {json.dumps(filled)}".encode()).hexdigest()
    use = {"type": "tool_use", "id": f"toolu_{digest[:24]}", "name": tool["name"], "input": filled}
    return Reply(({"type": "text", "text": f"{why}. I use {tool['name']}."}, use), "tool_use")


def _evidence(messages: Sequence[Json]) -> str:
    """The last line at level error in the prompt, shortened: what the logs say."""
    lines = [line for text in _texts(messages) for line in _ERROR_LINE.findall(text)]
    found = re.search(r"msg\W+([\w :]+)", lines[-1]) if lines else None
    return f"its log says: {found[1].strip()}" if found else "its log has no line at level error"


def _sum_up(service: str, rate: float, messages: Sequence[Json]) -> Reply:
    """The last word, after the tools have answered."""
    results = [block for message_ in messages for block in _blocks(message_) if block["type"] == "tool_result"]
    if results and results[-1].get("is_error"):
        return _say(f"{service} fails at {rate:.0%}, and the gate did not allow what I proposed. A person must decide.")
    return _say(f"{service} failed at {rate:.0%} by its own fault ({_evidence(messages)}). What I proposed was done.")


def _say(text: str) -> Reply:
    return Reply(({"type": "text", "text": text},), "end_turn")


def _blocks(message_: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
    """A message's content as blocks."""
    content = message_["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _texts(messages: Sequence[Json]) -> Iterator[str]:
    """Every text that the model was given, tool results included."""
    for block in (block for message_ in messages for block in _blocks(message_)):
        if block["type"] == "text":
            yield block["text"]
        elif block["type"] == "tool_result":
            inner = block.get("content", "")
            yield inner if isinstance(inner, str) else "\n".join(part.get("text", "") for part in inner)
