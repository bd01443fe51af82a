"""The model relay against a server on the real wire, which the provider's own SDK checks."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anthropic
import orjson
import pytest

from broker.connectors.base import ModelReply
from broker.connectors.llm import LlmConnector, LlmEndpoint, LlmSettings
from broker.connectors.llm_sse import SseSplitter, StreamFacts
from broker.egress import Egress
from broker.errors import BadRequest, Denied, TooLarge, UpstreamFailed
from broker.model import Resource, ResultStatus
from tests.sim.model_server import ModelServer, Turn, in_thread

Run = Callable[[Coroutine[Any, Any, Any]], Any]
KEY = "sk-ant-provider-key-0001"
MODEL = Resource(type="model", id="claude-sonnet-5-5", env="prod")
TOOL = {"name": "act", "description": "d", "input_schema": {"type": "object"}}
BODY = {"model": MODEL.id, "max_tokens": 100, "temperature": 0.5, "messages": [{"role": "user", "content": "hi é"}]}
PLAIN: Any = {key: value for key, value in BODY.items() if key != "temperature"}
MANIFEST = "connector: llm\nactions:" + "".join(
    f"\n  {name}: {{title: T, effect: read, reversibility: irreversible, idempotent: false, arguments: {{body: {{type: object}}, headers: {{type: object}}}}}}"
    for name in ("llm.messages.create", "llm.tokens.count", "llm.models.list")
)


def relay(url: str, tmp_path: Path, **more: Any) -> LlmConnector:
    (tmp_path / "key").write_text(KEY)
    settings = LlmSettings(
        **{
            "endpoints": (LlmEndpoint(region="eu-west-1", base_url=url),),
            "credential_file": str(tmp_path / "key"),
            "allow_networks": ("127.0.0.1/32",),
            **more,
        }
    )
    return LlmConnector(settings, Egress())


def grant(
    asked: Any, action: str = "llm.messages.create", resource: Resource = MODEL, region: str = "", **arguments: Any
) -> Any:
    return asked(MANIFEST).grant(action, resource, {"body": BODY, **arguments}, region=region)


async def drained(reply: ModelReply, facts: StreamFacts | None = None) -> tuple[bytes, StreamFacts]:
    splitter, facts, raw = SseSplitter(), facts or StreamFacts(), b""
    try:
        async for chunk in reply.chunks:
            for event in splitter.feed(chunk):
                facts.see(event)
                raw += event.raw
    finally:
        await reply.aclose()
    return raw + splitter.rest(), facts


# -- the simulator speaks the wire: the provider's SDK, strict, says so ------------------------------------------------


def test_the_model_server_satisfies_the_sdk_in_strict_mode() -> None:
    turns = [
        Turn("hello there"),
        Turn("text", tools=(("act", {"a": 1}),)),
        Turn("streamed " * 5, tools=(("act", {"b": [2]}),)),
        Turn("end"),
    ]
    with in_thread(ModelServer(turns, key=KEY)) as server:
        client = anthropic.Anthropic(api_key=KEY, base_url=server.url, max_retries=0, _strict_response_validation=True)
        ask: Any = {
            "model": MODEL.id,
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [TOOL],
        }
        assert client.messages.create(**ask).content[0].text == "hello there"
        assert client.messages.create(**ask).content[1].input == {"a": 1}
        with client.messages.stream(**ask) as stream:
            final = stream.get_final_message()
        assert (final.content[0].text, final.content[1].input) == ("streamed " * 5, {"b": [2]})
        assert (final.stop_reason, final.usage.output_tokens) == ("tool_use", 15)
        count: Any = {key: ask[key] for key in ("model", "messages")}
        assert client.messages.count_tokens(**count).input_tokens > 0
        assert next(iter(client.models.list())).id == "claude-opus-5-5"
        client.close()


# -- the relay ---------------------------------------------------------------------------------------------------------


def test_the_canonical_bytes_are_sent_with_the_gates_key_and_the_callers_version(
    run: Run, asked: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with ModelServer([Turn("hello")], key=KEY) as server:
            connector = relay(server.url, tmp_path)
            headers = {
                "anthropic-version": "2026-10-21",
                "anthropic-beta": "a-1,b-2",
                "authorization": "Bearer caller",
                "x-api-key": "caller",
            }
            result = await connector.execute(*grant(asked, headers=headers))
            await connector.aclose()
            seen = server.seen[0]
            assert seen.body == orjson.dumps(BODY, option=orjson.OPT_SORT_KEYS)
            assert (seen.method, seen.target) == ("POST", "/v1/messages")
            assert seen.headers["x-api-key"] == KEY
            assert (seen.headers["anthropic-version"], seen.headers["anthropic-beta"]) == ("2026-10-21", "a-1,b-2")
            assert "authorization" not in seen.headers
            assert (result.status, result.value["content"][0]["text"]) == (ResultStatus.OK, "hello")
            assert (result.units["tokens_in"], result.units["tokens_out"]) == (32, 15)

    run(main())


def test_a_stream_is_relayed_byte_for_byte_and_its_facts_are_counted(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        turn = Turn("hello " * 20, tools=(("act", {"a": 1}), ("look", {})))
        async with ModelServer([turn]) as server:
            connector = relay(server.url, tmp_path)
            reply = await connector.open(*grant(asked, body={**BODY, "stream": True}))
            raw, facts = await drained(reply)
            assert (reply.status, reply.headers["content-type"], reply.headers["request-id"]) == (
                200,
                "text/event-stream; charset=utf-8",
                "req_1",
            )
            direct = anthropic.AsyncAnthropic(api_key="x", base_url=server.url, max_retries=0)
            async with direct.messages.with_streaming_response.create(**PLAIN, stream=True) as response:  # type: ignore[call-overload]
                again = b"".join([chunk async for chunk in response.iter_bytes()])
            await direct.close()
            assert (
                hashlib.sha256(raw).hexdigest() == hashlib.sha256(again.replace(b"%016d" % 2, b"%016d" % 1)).hexdigest()
            )
            assert (facts.tokens_in, facts.tokens_out, facts.tools, facts.stop_reason) == (
                32,
                15,
                ["act", "look"],
                "tool_use",
            )
            assert (facts.complete, facts.model, facts.inference_geo, facts.bytes) == (True, MODEL.id, "eu", len(raw))
            await connector.aclose()

    run(main())


@pytest.mark.parametrize("cut_after", [0, 1, 4])
def test_a_stream_that_is_cut_fails_or_ends_incomplete_and_what_came_stands(
    run: Run, asked: Any, tmp_path: Path, cut_after: int
) -> None:
    async def main() -> None:
        async with ModelServer([Turn("hello " * 20, cut_after=cut_after)]) as server:
            connector = relay(server.url, tmp_path)
            facts = StreamFacts()
            with pytest.raises(UpstreamFailed) as caught:
                await drained(await connector.open(*grant(asked, body={**BODY, "stream": True})), facts)
            assert (caught.value.error_code, caught.value.sent, facts.complete) == ("upstream.cut", True, False)
            assert facts.tokens_in == (32 if cut_after else 0)
            await connector.aclose()

    run(main())


def test_an_error_in_mid_stream_is_seen_by_its_type(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with ModelServer([Turn("hello", stream_error="overloaded_error")]) as server:
            connector = relay(server.url, tmp_path)
            _, facts = await drained(await connector.open(*grant(asked, body={**BODY, "stream": True})))
            assert (facts.error, facts.complete) == ("overloaded_error", False)
            await connector.aclose()

    run(main())


def test_closing_a_reply_early_cuts_the_provider(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with ModelServer([Turn("hello", cut_after=1_000_000)]) as server:
            connector = relay(server.url, tmp_path)
            reply = await connector.open(*grant(asked, body={**BODY, "stream": True}))
            await reply.aclose()
            await asyncio.wait_for(server.server.closed.wait(), 60)
            await connector.aclose()

    run(main())


@pytest.mark.parametrize(("turn", "status", "kind"), [
    (Turn(status=429, error_type="rate_limit_error", error_message=f"key {KEY}", headers=(("retry-after", "7"),)), 429, "rate_limit_error"),
    (Turn(status=529, error_type="overloaded_error"), 529, "overloaded_error"),
    (Turn(status=400, error_type="invalid_request_error", error_message=f"you sent {BODY}"), 400, "invalid_request_error"),
    (Turn(status=500, error_type=f"odd {KEY}"), 500, "api_error"),
    (Turn(status=401, error_type="authentication_error", error_message=f"invalid key {KEY}"), 502, "api_error"),
    (Turn(status=403, error_type="permission_error"), 502, "api_error"),
])  # fmt: skip
def test_a_refusal_is_relayed_as_the_providers_type_and_quotes_nothing(
    run: Run, asked: Any, tmp_path: Path, *, turn: Turn, status: int, kind: str
) -> None:
    async def main() -> None:
        async with ModelServer([turn]) as server:
            connector = relay(server.url, tmp_path)
            reply = await connector.open(*grant(asked))
            raw = b"".join([chunk async for chunk in reply.chunks])
            await reply.aclose()
            error = orjson.loads(raw)
            assert (reply.status, error["type"], error["error"]["type"]) == (status, "error", kind)
            assert KEY.encode() not in raw
            assert b"hi" not in raw.replace(b"which", b"")
            assert reply.headers.get("retry-after") == dict(turn.headers).get("retry-after")
            result = await connector.execute(*grant(asked))
            assert (result.status, result.detail) == (ResultStatus.ERROR, kind)
            await connector.aclose()

    run(main())


def test_what_a_client_acts_on_is_kept_when_it_is_numbers_only(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        message = "prompt is too long: 200001 tokens > 200000 maximum"
        async with ModelServer([Turn(status=400, error_type="invalid_request_error", error_message=message)]) as server:
            connector = relay(server.url, tmp_path)
            result = await connector.execute(*grant(asked))
            assert result.value["body"]["error"]["message"] == message
            await connector.aclose()

    run(main())


def test_counting_and_listing_go_to_their_own_addresses(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with ModelServer(key=KEY) as server:
            connector = relay(server.url, tmp_path)
            count = await connector.execute(*grant(asked, "llm.tokens.count"))
            models = await connector.execute(*grant(asked, "llm.models.list"))
            assert count.value["input_tokens"] > 0
            assert [row["id"] for row in models.value["data"]][-1] == "claude-haiku-5-5"
            assert [seen.target.split("?")[0] for seen in server.seen] == ["/v1/messages/count_tokens", "/v1/models"]
            await connector.aclose()

    run(main())


@pytest.mark.parametrize("body", [{**BODY, "model": "claude-opus-5-5"}, {}, [], "x", None])
def test_a_body_for_another_model_than_was_decided_is_refused_unsent(
    run: Run, asked: Any, tmp_path: Path, body: Any
) -> None:
    async def main() -> None:
        async with ModelServer() as server:
            connector = relay(server.url, tmp_path)
            made, action = grant(asked)
            object.__setattr__(made, "arguments", {"body": body})
            with pytest.raises(BadRequest):
                await connector.open(made, action)
            assert server.seen == []

    run(main())


def test_the_relay_has_its_own_limit_on_bodies(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with ModelServer() as server:
            with pytest.raises(TooLarge):
                await relay(server.url, tmp_path, body_bytes_max=50).open(*grant(asked))
            assert server.seen == []

    run(main())


def test_a_call_goes_to_the_endpoint_of_its_model_and_region_or_nowhere(run: Run, asked: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with ModelServer([Turn("us")]) as american, ModelServer([Turn("eu")]) as european:
            endpoints = (
                LlmEndpoint(region="us-east-1", base_url=american.url, models=("claude-opus-*",)),
                LlmEndpoint(region="eu-west-1", base_url=european.url, models=("claude-opus-*", MODEL.id)),
            )
            connector = relay(european.url, tmp_path, endpoints=endpoints)
            world = asked(MANIFEST)

            def where(model: str, region: str = "") -> Any:
                return connector.endpoint(
                    world.request(
                        "llm.messages.create", Resource(type="model", id=model, env="prod", region=region), {}
                    )
                )

            assert where(MODEL.id) == {"region": "eu-west-1", "provider": "anthropic"}
            assert where("claude-opus-5-5")["region"] == "us-east-1"
            assert where("claude-opus-5-5", "eu-west-1")["region"] == "eu-west-1"
            assert where(MODEL.id, "us-east-1") == {"region": "", "provider": ""}
            result = await connector.execute(*grant(asked, region="eu-west-1"))
            assert result.value["content"][0]["text"] == "eu"
            with pytest.raises(Denied) as caught:
                await connector.execute(*grant(asked, region="us-east-1"))
            assert caught.value.error_code == "llm.no_endpoint"
            assert american.seen == []
            await connector.aclose()

    run(main())
