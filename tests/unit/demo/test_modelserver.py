"""The scripted model on the provider's wire, called with the provider's own SDK, its validation strict."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest

from demo import script, tally
from demo.modelserver import MODELS, Provider
from demo.wire import LoopbackServer

PROMPT = "service=storefront requests=100 own_errors=0 own_error_rate=0.0000\nservice=payments requests=80 own_errors=40 own_error_rate=0.5000"
TOOL: dict[str, Any] = {
    "name": "restart",
    "description": "d",
    "input_schema": {"type": "object", "required": ["service", "reason"]},
}


@contextmanager
def provider(folder: Path) -> Iterator[str]:
    server = LoopbackServer(0, Provider("key-1", folder / "requests.jsonl").route)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(folder: Path, call: Callable[[anthropic.AsyncAnthropic], Awaitable[Any]], key: str = "key-1") -> Any:
    async def main() -> Any:
        http = httpx2.AsyncClient(trust_env=False, timeout=90)
        async with anthropic.AsyncAnthropic(
            api_key=key,
            base_url=url,
            http_client=http,
            max_retries=0,
            open_telemetry=False,
            _strict_response_validation=True,
        ) as client:
            return await call(client)

    with provider(folder) as url:
        return asyncio.run(main())


def request(**more: Any) -> dict[str, Any]:
    return {
        "model": "claude-sonnet-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": PROMPT}],
        "tools": [TOOL],
        **more,
    }


def test_it_proposes_the_restart_of_the_service_with_the_highest_rate(tmp_path: Path) -> None:
    answer = ask(tmp_path, lambda client: client.messages.create(**request()))
    assert answer.stop_reason == "tool_use"
    assert answer.content[-1].name == "restart"
    assert answer.content[-1].input["service"] == "payments"
    assert answer.usage.input_tokens > 0


def test_a_stream_says_the_same_as_a_whole_answer(tmp_path: Path) -> None:
    async def streamed(client: anthropic.AsyncAnthropic) -> Any:
        async with client.messages.stream(**request()) as stream:
            pieces = [event async for event in stream]
            return len(pieces), await stream.get_final_message()

    pieces, message = ask(tmp_path, streamed)
    whole = script.message(request())
    assert pieces > 8
    assert [block.to_dict() for block in message.content] == whole["content"]
    assert message.usage.output_tokens == whole["usage"]["output_tokens"]


def test_it_knows_only_its_prompt(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "What is wrong with the shop?"}]
    answer = ask(tmp_path, lambda client: client.messages.create(**request(messages=messages)))
    assert answer.stop_reason == "end_turn"
    assert "no error rates" in answer.content[0].text


def test_it_proposes_nothing_where_nothing_is_wrong(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "service=payments own_error_rate=0.0100"}]
    answer = ask(tmp_path, lambda client: client.messages.create(**request(messages=messages)))
    assert answer.stop_reason == "end_turn"


def test_tokens_are_counted_and_models_listed(tmp_path: Path) -> None:
    async def both(client: anthropic.AsyncAnthropic) -> Any:
        count = await client.messages.count_tokens(model="claude-sonnet-5-5", messages=request()["messages"])
        return (
            count.input_tokens,
            [model.id async for model in client.models.list()],
            (await client.models.retrieve("claude-haiku-5-5")).id,
        )

    count, models, one = ask(tmp_path, both)
    assert count > 10
    assert models == list(MODELS)
    assert one == "claude-haiku-5-5"


def test_the_wrong_key_gets_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        ask(tmp_path, lambda client: client.messages.create(**request()), key="key-2")
    assert tally.lines(tmp_path / "requests.jsonl") == []


def test_a_malformed_request_is_refused_as_the_provider_does(tmp_path: Path) -> None:
    with pytest.raises(anthropic.BadRequestError, match="model"):
        ask(tmp_path, lambda client: client.messages.create(**request(model="claude-1")))


def test_every_request_body_is_kept(tmp_path: Path) -> None:
    ask(tmp_path, lambda client: client.messages.create(**request()))
    (line,) = tally.lines(tmp_path / "requests.jsonl")
    assert (line["path"], line["body"]["messages"][0]["content"]) == ("/v1/messages", PROMPT)


def test_the_same_request_gives_the_same_answer() -> None:
    assert script.message(request()) == script.message(request())
