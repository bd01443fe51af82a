"""The model loop: the anthropic SDK, pointed at the gate's model endpoint, never at the provider.

The only home of the SDK. Each call carries the agent's own bearer and the session; the gate decides on it like on any
action, redacts the prompt and holds the provider's key. Tools run through the gate too: the loop only carries the
model's wish to a callable and the answer back.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import anthropic
import httpx2
from anthropic.types import Message, MessageParam, ToolParam, ToolResultBlockParam, ToolUseBlock
from pydantic import ValidationError
from wicketgate import GateError, NotAuthenticated, TokenSource, Unreachable, from_problem, is_loopback, token_of
from wicketgate.answers import Problem

Json = Any
TURNS_MAX = 8
MAX_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Tool:
    """What a model may ask for: the definition on the wire, and the callable that carries it out."""

    definition: Mapping[str, Json]
    call: Callable[[Mapping[str, Json]], Awaitable[Json]]


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model: its text, the tools it wants, and the tokens that it cost."""

    text: str
    wants: Sequence[str]
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One turn of a keyed call, as JSON: ``blocks`` are what the next request repeats of it."""

    blocks: Sequence[Mapping[str, Json]]
    stop: str
    """``tool_use``, ``end_turn``, ``max_tokens``, ``refusal``, … as the provider says; empty where it said nothing."""
    tokens_in: int
    tokens_out: int

    @property
    def text(self) -> str:
        """What was said beside the uses of tools."""
        return "".join(str(block["text"]) for block in self.blocks if block["type"] == "text")

    @property
    def uses(self) -> Sequence[Mapping[str, Json]]:
        """The uses of tools."""
        return [block for block in self.blocks if block["type"] == "tool_use"]


@dataclass(slots=True)
class Conversation:
    """Messages so far; grows with each turn."""

    system: str
    messages: list[MessageParam] = field(default_factory=list)


Heard = Callable[[Turn], None]


class Model:
    """One model, as one agent in one session may use it. Raises ``wicketgate`` errors for what the gate refuses."""

    def __init__(self, gate_url: str, *, token: TokenSource, session: str, name: str, retries: int = 2) -> None:
        """``name`` is the provider's name of the model. Nothing is read from the environment."""
        self.name = name
        self._token = token
        self._client = anthropic.AsyncAnthropic(
            auth_token="set-for-each-call",  # noqa: S106 - a placeholder: the bearer goes with each call
            base_url=gate_url.rstrip("/") + "/llm/anthropic",
            default_headers={"Wicketgate-Session": session},
            max_retries=retries,
            open_telemetry=False,
            http_client=httpx2.AsyncClient(trust_env=not is_loopback(gate_url), timeout=120),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._client.close()

    async def ask(self, conversation: Conversation, tools: Sequence[ToolParam] = ()) -> Message:
        """One turn, streamed; the answer is added to the conversation. Raises ``GateError``."""
        answer = await self._streamed(
            {"system": conversation.system, "messages": conversation.messages, "tools": tools}
        )
        conversation.messages.append(answer.to_param())
        return answer

    async def turn(self, request: Mapping[str, Json], key: str) -> Reply:
        """One turn under an idempotency key; ``request`` holds ``system``, ``messages``, ``tools``, ``max_tokens``.

        The same key gives the same answer, bought once. Raises ``GateError``: the gate's own codes; ``model.<type>`` for
        what the provider refused or broke off with; ``model.garbage`` for an answer that cannot be read.
        """
        try:
            try:
                answer = await self._streamed(request, key)
            except NotAuthenticated:
                # A token that was kept may have ended before its time, as with a restarted issuer.
                forget = getattr(self._token, "forget", None)
                if forget is None:
                    raise
                forget()
                answer = await self._streamed(request, key)
        except ValueError as error:
            detail = "the model's answer cannot be read"
            raise from_problem(502, {"code": "model.garbage", "detail": detail}) from error
        if not answer.stop_reason:
            raise _cut()
        blocks = [
            kept for block in answer.content if (kept := _block(block.to_dict(mode="json", warnings=False))) is not None
        ]
        usage = answer.usage
        cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
        return Reply(blocks, answer.stop_reason or "", usage.input_tokens + cached, usage.output_tokens)

    async def _streamed(self, request: Mapping[str, Json], key: str = "") -> Message:
        headers = {"Authorization": f"Bearer {await token_of(self._token)}"}
        headers |= {"Idempotency-Key": key} if key else {}
        try:
            async with self._client.messages.stream(
                model=self.name, extra_headers=headers, **{"max_tokens": MAX_TOKENS, **request}
            ) as stream:
                return await stream.get_final_message()
        except anthropic.APIStatusError as error:
            raise _refusal(error) from error
        except (anthropic.APIConnectionError, httpx2.HTTPError, AssertionError) as error:
            # The SDK asserts that a stream brought a message.
            raise _cut() from error

    async def converse(self, conversation: Conversation, tools: Sequence[Tool], heard: Heard) -> str:
        """Let the model use ``tools`` until it has said its last word, or ``TURNS_MAX`` turns are over; that word.

        A tool that the gate refuses, or whose input does not fit, is answered to the model as an error with the code
        and the remedy: it may choose another way, but it cannot go on as if nothing had happened.
        """
        by_name = {str(tool.definition["name"]): tool for tool in tools}
        definitions = [ToolParam(**tool.definition) for tool in tools]  # type: ignore[typeddict-item] # made from a schema
        text = ""
        for _ in range(TURNS_MAX):
            answer = await self.ask(conversation, definitions)
            wants = [block for block in answer.content if isinstance(block, ToolUseBlock)]
            text = "".join(block.text for block in answer.content if block.type == "text")
            heard(Turn(text, [want.name for want in wants], answer.usage.input_tokens, answer.usage.output_tokens))
            if answer.stop_reason != "tool_use":
                return text
            results = [await _result(want, by_name.get(want.name)) for want in wants]
            conversation.messages.append({"role": "user", "content": results})
        return text


_KEPT: Mapping[str, Sequence[str]] = {
    "text": ("type", "text"),
    "tool_use": ("type", "id", "name", "input"),
    "thinking": ("type", "thinking", "signature"),
    "redacted_thinking": ("type", "data"),
}
"""What of an answer the next request repeats."""


def _block(block: Mapping[str, Json]) -> Mapping[str, Json] | None:
    names = _KEPT.get(str(block["type"]))
    return {name: block[name] for name in names} if names else None


def _refusal(error: anthropic.APIStatusError) -> GateError:
    """What the gate said inside the provider's error form; without it, the provider's own error type as the code."""
    body: Mapping[str, Json] = error.body if isinstance(error.body, Mapping) else {}
    provider = body.get("error") or {}
    detail = str(provider.get("message", "")).partition(" [")[0]
    said = body.get("wicketgate") or {"code": f"model.{provider.get('type', 'failed')}"}
    # In the middle of a stream the status is still 200.
    status = error.status_code if error.status_code >= 400 else 502
    return from_problem(status, {"detail": detail, **said}, retry_after=_seconds(error.response.headers))


def _cut() -> GateError:
    """The gate does not answer, or not to the end; under the same key the answer can be had again."""
    detail, remedy = "the model endpoint does not answer to the end", "check that the gate runs (wicketgate doctor)"
    return Unreachable(Problem(status=0, code="gate.unreachable", detail=detail, remedy=remedy))


def _seconds(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` in seconds, where it is there."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


async def _result(want: ToolUseBlock, tool: Tool | None) -> ToolResultBlockParam:
    """Carry out one wish; the block that answers it."""
    failed = True
    if tool is None:
        said: Json = {"code": "tool.unknown", "remedy": "use one of the tools of this conversation"}
    else:
        try:
            said, failed = await tool.call(dict(want.input)), False
        except GateError as error:
            said = {"code": error.code, "detail": error.detail, "remedy": error.remedy}
        except ValidationError as error:
            said = {
                "code": "tool.input",
                "detail": [f"{e['loc']}: {e['msg']}" for e in error.errors(include_input=False)],
            }
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    return {"type": "tool_result", "tool_use_id": want.id, "content": text, "is_error": failed}
