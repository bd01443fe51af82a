"""A model provider's answers on its wire (messages, streams, errors), and scripted models that see only their prompt."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from demo.wire import Answer

Json = Any


def says(*uses: tuple[str, Mapping[str, Json]], text: str = "", stop: str = "", number: int = 1) -> Answer:
    """A streamed message: text, then the uses of tools."""
    content: list[dict[str, Json]] = [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "tool_use", "id": f"toolu_{number:03}{n:017}", "name": name, "input": dict(given)}
        for n, (name, given) in enumerate(uses)
    ]
    return streamed(content, stop or ("tool_use" if uses else "end_turn"))


def streamed(content: Sequence[Mapping[str, Json]], stop: str, *, cut: bool = False, error: str = "") -> Answer:
    """The wire's events; ``cut`` ends before the end, ``error`` breaks off with that type."""
    usage = {"input_tokens": 100, "output_tokens": 1}
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": []}
    events: list[tuple[str, dict[str, Json]]] = [
        ("message_start", {"message": {**start, "stop_reason": None, "stop_sequence": None, "usage": usage}})
    ]
    for index, block in enumerate(content):
        opened = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
        events.append(("content_block_start", {"index": index, "content_block": opened}))
        if block["type"] == "text":
            events.append(
                ("content_block_delta", {"index": index, "delta": {"type": "text_delta", "text": block["text"]}})
            )
        else:
            given = block["input"]
            written = given if isinstance(given, str) else json.dumps(given)
            delta = {"type": "input_json_delta", "partial_json": written}
            events.append(("content_block_delta", {"index": index, "delta": delta}))
        events.append(("content_block_stop", {"index": index}))
    if error:
        events.append(("error", {"error": {"type": error, "message": "no"}}))
    elif not cut:
        ended = {"stop_reason": stop, "stop_sequence": None}
        events.append(("message_delta", {"delta": ended, "usage": {"output_tokens": 20}}))
        events.append(("message_stop", {}))
    written_events = [
        f"event: {name}\ndata: {json.dumps({'type': name, **event})}\n\n".encode() for name, event in events
    ]
    return Answer(200, written_events, "text/event-stream; charset=utf-8")


def fails(status: int, kind: str, **headers: str) -> Answer:
    """An error of the provider."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"type": "error", "error": {"type": kind, "message": "no"}}, headers=named)


def results(body: Mapping[str, Json]) -> list[dict[str, Json]]:
    """The results of tools in a prompt, in order; each as the JSON that was told."""
    blocks = [
        block for message in body["messages"] if isinstance(message["content"], list) for block in message["content"]
    ]
    return [
        {**json.loads(block["content"]), "is_error": block["is_error"]}
        for block in blocks
        if block["type"] == "tool_result"
    ]


def used(body: Mapping[str, Json]) -> list[str]:
    """Names of the tools that were used so far."""
    blocks = [
        block for message in body["messages"] if isinstance(message["content"], list) for block in message["content"]
    ]
    return [block["name"] for block in blocks if block["type"] == "tool_use"]


def is_skeptic(body: Mapping[str, Json]) -> bool:
    """Whether the prompt is the skeptic's."""
    return "refute a finding" in json.dumps(body["system"])


WINDOW = {"since_s": 1_799_999_000, "until_s": 1_800_000_000}


def hypotheses(component: str = "checkout", fault: str = "bad-config") -> dict[str, Json]:
    """Input of ``propose``: three hypotheses, the second of which is right."""
    log = {"tool": "shop_logs_search", "input": {"resource": "process:checkout", "pattern": "error", **WINDOW}}
    change = {"tool": "shop_change_list", "input": {"resource": "repository:config", **WINDOW}}
    metric = {"tool": "shop_metrics_range", "input": {"resource": "process:payments", "metric": "errors", **WINDOW}}
    rows = [
        ("h1", "upstream_dependency", "payments", "dependency-down", metric),
        ("h2", "recent_change", component, fault, change),
        ("h3", "no_fault", "checkout", "unknown", log),
    ]
    return {
        "hypotheses": [
            {
                "id": id_,
                "kind": kind,
                "component": where,
                "fault": what,
                "statement": f"it is {what}",
                "refuting_query": query,
            }
            for id_, kind, where, what, query in rows
        ]
    }


def claim(observation: str, value: Json = "x", role: str = "cause", **more: Json) -> dict[str, Json]:
    """A claim in a submission."""
    made = {"observation": observation, "selector": "$.a", "op": "eq", "value": value, "role": role, "text": "it shows"}
    return {**made, **more}


def answers(body: Mapping[str, Json]) -> dict[str, dict[str, Json]]:
    """What ``propose`` was answered, by hypothesis."""
    return next((one["answers"] for one in results(body) if "answers" in one), {})


def diligent(body: Mapping[str, Json], *, false_first: bool = False) -> Answer:
    """A model that does what it is asked: proposes, submits what it read, and as a skeptic queries and predicts."""
    number = len(used(body)) + 1
    if is_skeptic(body):
        if not used(body):
            query = {"resource": "process:checkout", "metric": "latency", **WINDOW}
            return says(("shop_metrics_range", query), number=number)
        return says(("submit", {"predictions": [claim(results(body)[0]["observation"])]}), number=number)
    if not answers(body):
        return says(("propose", hypotheses()), text="I see 5 hypotheses.", number=number)
    told = answers(body)
    false = false_first and used(body).count("submit") == 0
    claims = [
        claim(told["h2"]["observation"], "false claim" if false else "x"),
        claim(told["h3"]["observation"], role="symptom"),
    ]
    ruled = [{"hypothesis": "h1", "claims": [1], "why": "payments answers"}]
    return says(
        ("submit", {"leader": "h2", "claims": claims, "ruled_out": ruled, "summary": "99 errors by {0}"}), number=number
    )
