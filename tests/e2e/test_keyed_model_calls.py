"""A streamed model call with an idempotency key: asked once, paid for once, given again as often as it is asked for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import orjson
import pytest
from anthropic.types import Message

from tests.e2e.test_bad_days_model import SIGNATURE, TAIL, TEXT, block, event
from tests.sim.model_server import Turn
from tests.sim.served import HOST, served, until
from tests.sim.world import MODEL, World, world

MAIL = "alice.miller@example.org"
TOOL = ("look", {"service": "checkout", "window": {"minutes": 10}, "share": 0.25, "who": MAIL})
TOOLS = [{"name": "look", "description": "look", "input_schema": {"type": "object"}}]
HEAD = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
)


class Caller:
    """The provider's own SDK, pointed at a gate behind a real socket."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self.sdk = anthropic.AsyncAnthropic(
            auth_token="set-for-each-call",
            base_url=f"http://127.0.0.1:{port}/llm/anthropic",
            default_headers={**headers, "Host": HOST.decode()},
            max_retries=0,
            http_client=httpx2.AsyncClient(trust_env=False, timeout=90),
            _strict_response_validation=True,
        )

    def stream(self, key: str, text: str = "what now?") -> Any:
        return self.sdk.messages.stream(
            model=MODEL,
            max_tokens=100,
            messages=[{"role": "user", "content": text}],
            tools=TOOLS,  # type: ignore[arg-type]
            extra_headers={"Idempotency-Key": key},
        )

    async def message(self, key: str, text: str = "what now?") -> Message:
        async with self.stream(key, text) as stream:
            message: Message = await stream.get_final_message()
            return message


@contextlib.asynccontextmanager
async def caller(it: World, session: str = "") -> AsyncIterator[Caller]:
    agent = await it.agent()
    async with served(it.app) as port:
        made = Caller(port, {**agent, "Wicketgate-Session": session or await it.session(agent)})
        async with made.sdk:
            yield made


async def refused(it: Caller, key: str, text: str = "what now?") -> tuple[int, Any]:
    with pytest.raises(anthropic.APIStatusError) as raised:
        await it.message(key, text)
    body: Any = raised.value.body
    return raised.value.status_code, body.get("wicketgate", {}).get("code", body["error"]["type"])


async def outcomes(it: World) -> list[Any]:
    return [r["body"]["outcome"] for r in await it.records() if r["kind"] == "outcome" and "llm" in r["body"]]


def test_the_same_key_gives_the_same_message_and_the_model_is_asked_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn("I look at it.", tools=(TOOL,))]) as it, caller(it) as by:
            first, again = await by.message("k1"), await by.message("k1")
            assert again == first
            assert again.stop_reason == "tool_use"
            assert again.usage.output_tokens == 15
            assert MAIL not in again.to_json()
            assert len(it.models.seen) == 1
            assert len(await outcomes(it)) == 1
            other = await by.message("k2")
            assert other.id != first.id
            assert len(it.models.seen) == 2

    asyncio.run(main())


def test_thinking_signatures_citations_and_odd_tool_input_come_again_as_they_came(tmp_path: Path) -> None:
    thinking = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "it may be "},
        {"type": "thinking_delta", "thinking": "the pool"},
        {"type": "signature_delta", "signature": SIGNATURE},
    )
    cited = {"type": "char_location", "cited_text": "pool", "document_index": 0, "document_title": None,
             "start_char_index": 0, "end_char_index": 4, "file_id": None}  # fmt: skip
    text = block(
        1,
        {"type": "text", "text": "So: ", "citations": []},
        {"type": "text_delta", "text": "the pool "},
        {"type": "citations_delta", "citation": cited},
        {"type": "text_delta", "text": "is empty"},
    )
    tool = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}, "caller": {"type": "direct"}}
    whole = block(2, tool, {"type": "input_json_delta", "partial_json": '{"n": 1.50, '}, {"type": "input_json_delta", "partial_json": '"a": []}'})  # fmt: skip
    empty = block(3, {**tool, "id": "toolu_2"})
    hidden = block(4, {"type": "redacted_thinking", "data": SIGNATURE})
    turn = Turn("x", raw=(HEAD, *thinking, *text, *whole, *empty, *hidden, *TAIL))

    async def main() -> None:
        async with world(tmp_path, turns=[turn]) as it, caller(it) as by:
            first, again = await by.message("k1"), await by.message("k1")
            assert again == first
            assert [b.type for b in again.content] == ["thinking", "text", "tool_use", "tool_use", "redacted_thinking"]
            shown = again.to_dict()["content"]
            assert isinstance(shown, list)
            assert shown[0] == {"type": "thinking", "thinking": "it may be the pool", "signature": SIGNATURE}
            assert shown[1]["text"] == "So: the pool is empty"
            assert shown[1]["citations"] == [cited]
            assert [shown[2]["input"], shown[3]["input"]] == [{"n": 1.5, "a": []}, {}]

    asyncio.run(main())


def test_a_caller_that_hangs_up_does_not_cut_a_keyed_call(tmp_path: Path) -> None:
    async def main() -> None:
        hold = asyncio.Event()
        async with world(tmp_path, turns=[Turn("all is " + "well " * 50, hold=hold)]) as it, caller(it) as by:
            with contextlib.suppress(anthropic.APIConnectionError):
                async with by.stream("k1") as stream:
                    await anext(aiter(stream))
            assert await refused(by, "k1") == (409, "action.running")
            hold.set()
            await it.gate.pipeline.drain()
            assert [o["status"] for o in await outcomes(it)] == ["done"]
            message = await by.message("k1")
            assert message.content[0].type == "text"
            assert message.content[0].text == "all is " + "well " * 50
            assert len(it.models.seen) == 1

    asyncio.run(main())


def test_a_caller_that_hangs_up_before_the_first_byte_still_finds_its_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn("all is well")]) as it, caller(it) as by:
            asking = asyncio.create_task(by.message("k1"))
            await until(lambda: bool(it.models.seen))
            asking.cancel()
            await asyncio.wait({asking})
            await it.gate.pipeline.drain()
            assert (await by.message("k1")).id == "msg_" + "1".zfill(24)
            assert len(it.models.seen) == 1

    asyncio.run(main())


def test_a_keyed_call_that_nobody_hears_ends_in_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.streams.READ_ON_SECONDS", 0.05)

    async def main() -> None:
        async with world(tmp_path, turns=[Turn("well " * 40, hang_after=6)]) as it, caller(it) as by:
            with contextlib.suppress(anthropic.APIConnectionError):
                async with by.stream("k1") as stream:
                    await anext(aiter(stream))
            await it.gate.pipeline.drain()
            assert [(o["status"], o["code"]) for o in await outcomes(it)] == [("partial", "stream.cut")]
            await it.models.server.closed.wait()

    asyncio.run(main())


def test_another_payload_under_the_key_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn("well")]) as it, caller(it) as by:
            await by.message("k1")
            assert await refused(by, "k1", "and now?") == (422, "idempotency.key_reused")
            assert len(it.models.seen) == 1

    asyncio.run(main())


def test_a_refusal_of_the_provider_is_kept_like_an_answer_and_a_fresh_key_asks_anew(tmp_path: Path) -> None:
    overload = Turn(status=529, error_type="overloaded_error", headers=(("retry-after", "3"),))

    async def main() -> None:
        async with world(tmp_path, turns=[overload, Turn("well")]) as it, caller(it) as by:
            assert await refused(by, "k1") == (529, "overloaded_error")
            assert await refused(by, "k1") == (529, "overloaded_error")
            assert len(it.models.seen) == 1
            assert (await by.message("k2")).stop_reason == "end_turn"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (Turn("all is well", stream_error="overloaded_error"), "overloaded_error"),
        (Turn("all is well", cut_after=4), "api_error"),
        (Turn("x", raw=(HEAD, *TEXT, event("surprise", note="hello"), *TAIL)), "api_error"),
    ],
)
def test_a_stream_that_broke_off_breaks_off_again_the_same_way(tmp_path: Path, turn: Turn, said: str) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[turn]) as it, caller(it) as by:
            for _ in range(2):
                with pytest.raises(anthropic.APIStatusError) as raised:
                    await by.message("k1")
                body: Any = raised.value.body
                assert body["error"]["type"] == said
            assert len(it.models.seen) == 1
            assert [o["status"] for o in await outcomes(it)] == ["partial"]

    asyncio.run(main())


def test_the_answer_outlives_the_gate(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn("well")]) as it:
            session = await it.session(await it.agent())
            async with caller(it, session) as by:
                first = await by.message("k1")
            await it.stop()
            await it.start()
            async with caller(it, session) as by:
                assert await by.message("k1") == first
            assert len(it.models.seen) == 1

    asyncio.run(main())


def test_a_gate_that_died_in_between_says_so_and_a_fresh_key_asks_anew(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn("well " * 40, hold=asyncio.Event()), Turn("well")]) as it:
            session = await it.session(await it.agent())
            async with caller(it, session) as by:
                with contextlib.suppress(anthropic.APIConnectionError):
                    async with by.stream("k1") as stream:
                        await anext(aiter(stream))
            # What a crash leaves: an intent without an outcome, which the next start closes.
            intents = await it.gate.records.open_intents("default")
            assert [entry.record["kind"] for entry in intents] == ["intent"]
            action = str(intents[0].record["id"])
            await it.gate.records.recovery("default", action, status="unknown", detail="after a crash")
            async with caller(it, session) as by:
                assert await refused(by, "k1") == (409, "model.answer_gone")
                assert (await by.message("k2")).stop_reason == "end_turn"
            for task in set(it.gate.pipeline._running):
                task.cancel()

    asyncio.run(main())


def test_a_repetition_costs_no_decision_and_no_limit(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn("well")]) as it, caller(it) as by:
            await by.message("k1")
            before = len(await it.records())
            for _ in range(5):
                await by.message("k1")
            assert len(await it.records()) == before

    asyncio.run(main())


def test_a_keyed_call_that_is_no_stream_is_given_again_as_json(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, turns=[Turn("well")]) as it, caller(it) as by:
            asked: Any = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "now?"}]}
            first = await by.sdk.messages.create(**asked, extra_headers={"Idempotency-Key": "k1"})
            assert await by.sdk.messages.create(**asked, extra_headers={"Idempotency-Key": "k1"}) == first
            assert len(it.models.seen) == 1
            with pytest.raises(anthropic.APIStatusError) as raised:
                await by.message("k1")
            assert raised.value.status_code == 422

    asyncio.run(main())


def test_what_is_kept_holds_no_secret(tmp_path: Path) -> None:
    async def main() -> None:
        text = f"ask {MAIL} about AKIAIOSFODNN7EXAMPLE"
        async with world(tmp_path, turns=[Turn(text)]) as it, caller(it) as by:
            await by.message("k1")
            again = (await by.message("k1")).to_json()
            assert MAIL not in again
            assert "AKIAIOSFODNN7EXAMPLE" not in again
            stored = it.everything_stored()
            assert MAIL.encode() not in stored
            assert orjson.dumps(text) not in stored

    asyncio.run(main())
