"""What a model must not see does not reach it, and what its provider sends does not pass unread."""

import asyncio
import base64
import contextlib
import json
import random
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import orjson
import pytest

from audit.sqlite import SqliteStore
from broker import modelwire
from broker.errors import OutcomeOwed
from broker.identity import Credential
from broker.reading import Ask
from broker.streams import Relay
from tests.e2e.test_bad_days_storage import locked
from tests.sim.model_server import Turn
from tests.sim.world import FAR_MODEL, MODEL, World, world

MAIL = "alice.miller@example.org"
CARD = "4111111111111111"
AWS_KEY = "AKIAIOSFODNN7EXAMPLE"
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PLANTED = (MAIL, CARD, AWS_KEY, JWT)
SIGNATURE = base64.b64encode(random.Random(7).randbytes(240)).decode()
HIDDEN = base64.b64encode(f"the user {MAIL} paid with the card {CARD} this morning, said bob".encode()).decode()
MESSAGES = "/llm/anthropic/v1/messages"
CODING_AGENT_BETAS = "claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14"


def event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: ".encode() + orjson.dumps({"type": name, **fields}) + b"\n\n"


def block(index: int, start: Mapping[str, Any], *deltas: Mapping[str, Any]) -> tuple[bytes, ...]:
    return (
        event("content_block_start", index=index, content_block=start),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    )


HEAD = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "usage": {"input_tokens": 3},
    },
)
TAIL = (
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 123_456}),
    event("message_stop"),
)
TEXT = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "all is well"})


async def call(it: World, body: Mapping[str, Any], *, path: str = MESSAGES, **headers: str) -> httpx.Response:
    agent = await it.agent()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    session = await it.session(agent)
    asked = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "what now?"}], **body}
    return await it.client.post(path, json=asked, headers={**agent, "Wicketgate-Session": session, **named})


async def outcome(it: World) -> Any:
    """How the last model call ended, on record."""
    records = [record for record in await it.records() if record["kind"] == "outcome"]
    return records[-1]["body"]["outcome"]


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


# -- the prompt ---------------------------------------------------------------------------------------------------------


def planted_body(value: str) -> dict[str, Any]:
    """``value`` in every position of a body; each text also holds the name of its position."""

    def here(position: str) -> str:
        return f"at-{position} holds {value} today"

    tool = {
        "name": "look",
        "description": here("tool-description"),
        "input_schema": {
            "type": "object",
            "description": here("schema"),
            "properties": {
                "who": {
                    "type": "string",
                    "description": here("schema-property"),
                    "enum": [here("schema-enum")],
                    "default": value,
                },
                here("schema-key"): {"type": "string"},
            },
        },
        "input_examples": [{"who": here("tool-example")}],
    }
    used = {
        "type": "tool_use",
        "id": "toolu_1",
        "name": "look",
        "input": {"who": value, "deep": [{"a": here("tool-input")}]},
    }
    inner = [
        {"type": "text", "text": here("result-nested")},
        {"type": "text", "text": json.dumps({"row": {"note": here("result-json")}})},
    ]
    return {
        "system": [{"type": "text", "text": here("system-block")}],
        "metadata": {"user_id": here("user-id")},
        "stop_sequences": [here("stop")],
        "tools": [tool],
        "tool_choice": {"type": "tool", "name": here("tool-choice")},
        "output_config": {"format": {"type": "json_schema", "schema": {"description": here("output-format")}}},
        "messages": [
            {"role": "user", "content": here("user-string")},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": here("thinking"), "signature": SIGNATURE},
                    {"type": "text", "text": here("assistant-text"), "citations": [{"cited_text": here("citation")}]},
                    used,
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": here("result-string")},
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": inner},
                    {"type": "document", "title": here("title"), "context": here("context"), "source": {"type": "text", "media_type": "text/plain", "data": here("document")}},
                    {"type": "text", "text": here("user-block")},
                ],
            },
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "", "signature": value},
                {"type": "redacted_thinking", "data": value},
                {"type": "redacted_thinking", "data": HIDDEN},
            ]},
        ],
    }  # fmt: skip


def test_no_position_of_a_prompt_carries_a_planted_value_to_the_model(tmp_path: Path) -> None:
    positions = {word for value in PLANTED for word in json.dumps(planted_body(value)).split() if "at-" in word}
    names = {word[word.index("at-") :] for word in positions}
    assert len(names) == 23, names

    async def main() -> None:
        async with world(tmp_path) as it:
            for value in PLANTED:
                for body in (planted_body(value), {"system": f"at-system-string {value}"}):
                    for path in (MESSAGES, f"{MESSAGES}/count_tokens"):
                        answer = await call(it, body, path=path)
                        assert answer.status_code == 200, answer.text
            assert len(it.models.seen) == 16
            for seen in it.models.seen:
                sent = seen.body.decode()
                assert not [value for value in (*PLANTED, HIDDEN) if value in sent]
                if "at-system-string" not in sent:
                    assert not [name for name in names if name not in sent], "a position was lost, not redacted"
                    assert SIGNATURE in sent, "what only the provider can read goes back as it came"
        stored = it.everything_stored()
        assert not [value for value in PLANTED if value.encode() in stored]

    asyncio.run(main())


def test_what_is_not_on_the_list_reaches_no_model(tmp_path: Path) -> None:
    image = {"type": "image", "source": {"type": "url", "url": f"https://elsewhere.example/?q={AWS_KEY}"}}
    refused: list[tuple[int, str, dict[str, Any], dict[str, str]]] = [
        (400, "model.field_not_allowed", {"mcp_servers": [{"type": "url", "url": "https://elsewhere.example"}]}, {}),
        (400, "model.field_not_allowed", {"messages": [{"role": "user", "content": [image]}]}, {}),
        (403, "model.beta_forbidden", {}, {"anthropic_beta": f"{CODING_AGENT_BETAS},mcp-client-2025-11-20"}),
        (403, "model.provider_tool_forbidden", {"tools": [{"type": "advisor_20260301", "name": "advisor"}]}, {}),
        (403, "model.geo_not_routed", {"inference_geo": "us"}, {}),
    ]

    async def main() -> None:
        async with world(tmp_path) as it:
            for status, code, body, headers in refused:
                for stream in (False, True):
                    answer = await call(it, {**body, "stream": stream}, **headers)
                    assert (answer.status_code, answer.json()["wicketgate"]["code"]) == (status, code), answer.text
                    assert AWS_KEY not in answer.text
            assert it.models.seen == []
            allowed = await call(it, {"inference_geo": "eu-west-1"}, anthropic_beta=CODING_AGENT_BETAS)
            assert allowed.status_code == 200, allowed.text
            assert it.models.seen[-1].headers["anthropic-beta"] == CODING_AGENT_BETAS
            assert it.models.seen[-1].json["inference_geo"] == "eu-west-1"
            far = await call(it, {"model": FAR_MODEL, "inference_geo": "eu-west-1"})
            assert far.json()["wicketgate"]["code"] == "model.geo_not_routed"

    asyncio.run(main())


# -- the answer -----------------------------------------------------------------------------------------------------------

LEAKS: dict[str, tuple[bytes, ...]] = {
    "initial text": block(0, {"type": "text", "text": f"ask {MAIL} now"}),
    "text cut between start and delta": block(0, {"type": "text", "text": "ask alice.mil"}, {"type": "text_delta", "text": "ler@example.org now"}),
    "text cut in deltas": block(0, {"type": "text", "text": ""}, *({"type": "text_delta", "text": letter} for letter in f"ask {MAIL} or pay {CARD} now")),
    "thinking": block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": f"key {AWS_KEY} "}, {"type": "thinking_delta", "thinking": f"of {MAIL}"}),
    "initial thinking": block(0, {"type": "thinking", "thinking": f"key {AWS_KEY}", "signature": ""}),
    "tool input": block(0, {"type": "tool_use", "id": "toolu_1", "name": "x", "input": {}}, {"type": "input_json_delta", "partial_json": '{"to": "alice.mil'}, {"type": "input_json_delta", "partial_json": 'ler@example.org"}'}),
    "initial tool input": block(0, {"type": "tool_use", "id": "toolu_1", "name": "x", "input": {"to": [MAIL]}}),
    "citation": block(0, {"type": "text", "text": ""}, {"type": "citations_delta", "citation": {"type": "char_location", "cited_text": f"mail {MAIL}"}}),
    "provider's tool result": block(0, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"title": f"about {MAIL}", "page_age": JWT}]}),
    "message start": (event("message_start", message={"type": "message", "id": MAIL, "content": [{"type": "text", "text": f"mail {MAIL}"}]}),),
    "message delta": (event("message_delta", delta={"stop_reason": "refusal", "stop_details": {"explanation": f"mail {MAIL}"}}),),
    "ping": (event("ping", note=MAIL),),
    "comment and id lines": (f": {MAIL}\n\n".encode(), f'id: {MAIL}\nretry: 1\nevent: ping\ndata: {{"type": "ping"}}\n\n'.encode()),
    "stop": (event("content_block_stop", index=0, note=MAIL),),
    "extra field of a delta": block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "fine", "note": MAIL}),
    "block never stopped": block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": f"ask {MAIL}"})[:-1],
    "error": (event("error", error={"type": MAIL, "message": f"bad prompt: {MAIL}"}),),
    "unnamed event": (b"data: " + orjson.dumps({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": MAIL}}) + b"\n\n",),
    "event of another name": (event("ping").replace(b'"type":"ping"', b'"type":"content_block_start","note":"' + MAIL.encode() + b'"'),),
    "unknown event": (event("content_block_hint", text=MAIL),),
    "unknown delta": block(0, {"type": "text", "text": ""}, {"type": "compaction_delta", "content": MAIL}),
    "no JSON": (f"event: ping\ndata: {MAIL}\n\n".encode(),),
    "signature that is none": block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "signature_delta", "signature": MAIL}),
}  # fmt: skip
BREAKS = {
    "error": "upstream.error",
    "unnamed event": "stream.unknown_event",
    "event of another name": "stream.unknown_event",
    "unknown event": "stream.unknown_event",
    "unknown delta": "stream.unknown_event",
    "no JSON": "upstream.garbage",
    "signature that is none": "upstream.garbage",
}


def test_nothing_planted_in_any_event_of_a_stream_passes(tmp_path: Path) -> None:
    turns = [Turn("x", raw=(HEAD, *leak, *TAIL)) for leak in LEAKS.values()]

    async def main() -> None:
        async with world(tmp_path, turns=turns) as it:
            for name in LEAKS:
                answer = await call(it, {"stream": True})
                assert answer.status_code == 200, (name, answer.text)
                assert not [value for value in PLANTED if value in answer.text], (name, answer.text)
                assert "alice" not in json.dumps(events_of(answer.text)), name
                end = await outcome(it)
                if name in BREAKS:
                    assert (end["status"], end["code"]) == ("partial", BREAKS[name]), name
                    assert events_of(answer.text)[-1]["type"] == "error", name
                else:
                    assert end["status"] == "done", name
                    assert events_of(answer.text)[-1] == {"type": "message_stop"}, name
            assert await it.gate.log.open_intents("default") == []
        assert MAIL.encode() not in it.everything_stored()

    asyncio.run(main())


def test_a_harmless_stream_passes_whole_with_its_signature_and_its_numbers(tmp_path: Path) -> None:
    thinking = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "well"},
        {"type": "signature_delta", "signature": SIGNATURE},
    )
    hidden = block(1, {"type": "redacted_thinking", "data": SIGNATURE})
    said = block(
        2,
        {"type": "text", "text": "so", "citations": None},
        {"type": "text_delta", "text": ", restart "},
        {"type": "text_delta", "text": "it"},
    )

    async def main() -> None:
        async with world(
            tmp_path, turns=[Turn("x", raw=(HEAD, event("ping"), *thinking, *hidden, *said, *TAIL))]
        ) as it:
            answer = await call(it, {"stream": True})
            events = events_of(answer.text)
            assert events[0] == events_of(HEAD.decode())[0]
            assert {"type": "signature_delta", "signature": SIGNATURE} in [each.get("delta") for each in events]
            assert {"type": "redacted_thinking", "data": SIGNATURE} in [each.get("content_block") for each in events]
            assert events[-2]["usage"] == {"output_tokens": 123_456}
            text = [each["delta"]["text"] for each in events if each.get("delta", {}).get("type") == "text_delta"]
            assert "".join(text) == "so, restart it"
            stops = [place for place, each in enumerate(events) if each == {"type": "content_block_stop", "index": 2}]
            last = max(place for place, each in enumerate(events) if each.get("delta", {}).get("type") == "text_delta")
            assert [last + 1] == stops, "text that was held back comes before its block ends"
            names = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
            assert names == [each["type"] for each in events]

    asyncio.run(main())


def test_a_whole_answer_is_redacted_but_for_what_goes_back_to_the_provider(tmp_path: Path) -> None:
    blocks: tuple[dict[str, Any], ...] = (
        {"type": "thinking", "thinking": f"key {AWS_KEY}", "signature": SIGNATURE},
        {"type": "redacted_thinking", "data": SIGNATURE},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"title": MAIL}]},
    )
    turn = Turn(f"ask {MAIL}", tools=(("look", {"who": CARD, "signature": AWS_KEY}),), blocks=blocks, tokens_in=123_456)

    async def main() -> None:
        async with world(tmp_path, turns=[turn]) as it:
            agent = await it.agent()
            session = await it.session(agent)
            body = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "what now?"}]}
            headers = {**agent, "Wicketgate-Session": session, "Idempotency-Key": "once"}
            answer = await it.client.post(MESSAGES, json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            assert not [value for value in PLANTED if value in answer.text]
            message = answer.json()
            assert (message["id"], message["type"], message["model"]) == (
                "msg_000000000000000000000001",
                "message",
                MODEL,
            )
            assert message["content"][1]["id"] == "toolu_00000000000000010000"
            assert message["content"][2]["signature"] == message["content"][3]["data"] == SIGNATURE
            assert message["usage"]["input_tokens"] == 123_456
            again = await it.client.post(MESSAGES, json=body, headers=headers)
            assert again.json() == message, "a stored answer is the provider's message, too"
            assert again.headers["wicketgate-receipt"] == answer.headers["wicketgate-receipt"]
            assert len(it.models.seen) == 1

    asyncio.run(main())


def test_text_of_a_block_that_never_ends_comes_before_the_end(tmp_path: Path) -> None:
    unended = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "restart it"})[:-1]

    async def main() -> None:
        for number, tail in enumerate((TAIL, TAIL[1:], (event("error", error={"type": "overloaded_error"}),))):
            folder = tmp_path / str(number)
            folder.mkdir()
            async with world(folder, turns=[Turn("x", raw=(HEAD, *unended, *tail))]) as it:
                events = events_of((await call(it, {"stream": True})).text)
                assert [each["type"] for each in events[-1 - len(tail) :]] == [
                    "content_block_delta",
                    *(e["type"] for e in events[-len(tail) :]),
                ]
                assert events[-1 - len(tail)]["delta"] == {"type": "text_delta", "text": "restart it"}

    asyncio.run(main())


# -- the call's two ends ----------------------------------------------------------------------------------------------------


def test_a_stream_names_its_action_and_receipt(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn(status=529, error_type="overloaded_error"), Turn("well")]) as it:
            for status in (529, 200):
                answer = await call(it, {"stream": True})
                assert answer.status_code == status
                intent = (await it.records())[int(answer.headers["wicketgate-receipt"])]
                assert intent["kind"] == "intent"
                assert intent["id"] == answer.headers["wicketgate-action"]

    asyncio.run(main())


async def streaming(it: World, send: Any) -> None:
    """A streamed call straight into the application, so that ``send`` sees each message as it goes out."""
    agent = await it.agent()
    body = json.dumps(
        {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "now?"}], "stream": True}
    ).encode()
    headers = {
        **agent,
        "Wicketgate-Session": await it.session(agent),
        "Host": "localhost:8480",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    scope: Any = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": MESSAGES, "raw_path": MESSAGES.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()], "server": ("127.0.0.1", 8480),
    }  # fmt: skip
    events: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop()
        await asyncio.Event().wait()
        raise AssertionError

    await it.app(scope, receive, send)


def test_a_providers_refusal_goes_out_once_its_outcome_is_durable(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn(status=529, error_type="overloaded_error")]) as it:
            open_at_body: list[int] = []

            async def send(message: Any) -> None:
                if message.get("body"):
                    open_at_body.append(len(await it.gate.log.open_intents("default")))

            await streaming(it, send)
            assert open_at_body == [0]
            end = await outcome(it)
            assert (end["status"], end["code"]) == ("failed", "upstream.refused")

    asyncio.run(main())


def test_the_upstream_is_cut_even_when_the_outcome_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteStore.__init__, "__kwdefaults__", {"busy_seconds": 0.1})

    async def main() -> None:
        async with world(tmp_path, turns=[Turn("well " * 400, hang_after=100)]) as it:
            agent = await it.agent()
            body = {"model": MODEL, "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "now?"}]}
            ask = Ask(
                "llm.messages.create",
                {"type": "model", "id": MODEL, "env": "prod"},
                {**modelwire.facts(body), "headers": {}},
                session=await it.session(agent),
                reason="model call",
                content=body,
            )
            relay = await it.gate.streams.open(Credential(authorization=agent["Authorization"]), ask)
            assert isinstance(relay, Relay)
            reader = relay.chunks()
            await anext(reader)
            it.models.server.closed.clear()
            with locked(it.data / "audit.db"):
                with pytest.raises(OutcomeOwed):
                    await relay.aclose()
                async with asyncio.timeout(60):
                    await it.models.server.closed.wait()
            with contextlib.suppress(OutcomeOwed):
                await cast("AsyncGenerator[bytes]", reader).aclose()
            await it.gate.pipeline.drain()
            assert (await outcome(it))["status"] == "partial"

    asyncio.run(main())


def test_a_stop_waits_for_the_outcome_of_a_stream_whose_reader_was_torn_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn("well " * 400, hang_after=100)]) as it:
            streams = asyncio.Event()

            async def send(message: Any) -> None:
                if b"text_delta" in message.get("body", b""):
                    streams.set()

            caller = asyncio.create_task(streaming(it, send))
            await streams.wait()
            while not caller.done():
                caller.cancel()  # also while it is closing
                await asyncio.sleep(0)
            await it.gate.pipeline.drain()
            assert (await outcome(it))["status"] == "partial"
            assert await it.gate.log.open_intents("default") == []

    asyncio.run(main())
