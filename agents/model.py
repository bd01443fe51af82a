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
from wicketgate import GateError, TokenSource, from_problem, is_loopback, token_of

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
        headers = {"Authorization": f"Bearer {await token_of(self._token)}"}
        try:
            async with self._client.messages.stream(
                model=self.name,
                max_tokens=MAX_TOKENS,
                system=conversation.system,
                messages=conversation.messages,
                tools=tools,
                extra_headers=headers,
            ) as stream:
                answer = await stream.get_final_message()
        except anthropic.APIStatusError as error:
            raise _refusal(error) from error
        except anthropic.APIConnectionError as error:
            raise from_problem(
                0, {"code": "gate.unreachable", "detail": "the model endpoint does not answer"}
            ) from error
        conversation.messages.append(answer.to_param())
        return answer

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


def _refusal(error: anthropic.APIStatusError) -> GateError:
    """What the gate said inside the provider's error form; without it, the provider's own error type as the code."""
    body: Mapping[str, Json] = error.body if isinstance(error.body, Mapping) else {}
    provider = body.get("error") or {}
    detail = str(provider.get("message", "")).partition(" [")[0]
    said = body.get("wicketgate") or {"code": f"model.{provider.get('type', 'failed')}"}
    return from_problem(error.status_code, {"detail": detail, **said})


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
