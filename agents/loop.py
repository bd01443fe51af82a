"""The loop of one model over bounded tools, until it submits or there is an end to patience.

What a model may do wrong is answered here, each to the model as an error that names the remedy, and counted: a tool that
was not offered, an input that does not fit, words instead of a submission, an answer that was cut off. Refusals end it.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator

from agents.asking import Asking, ModelFailed
from agents.model import Reply

Json = Any

FOULS_MAX = 5
"""Wrong turns of one conversation before it ends as nonsense."""
RESULT_BYTES_MAX = 6000
TURN_TOKENS = 4096
CUT_OFF = "Your answer was cut off at the limit of its length. Answer again, shorter."
NO_SUBMISSION = "Nothing is submitted by words. Use the tools; end with `submit`."


class InputUnfit(Exception):
    """A tool's input does not fit; the text goes to the model."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a tool returns that ends the conversation, with its result."""

    value: Json


@dataclass(frozen=True, slots=True)
class LoopTool:
    """What the model may ask for. ``call`` gives JSON for the model or ``Ended``; raises ``InputUnfit``."""

    name: str
    description: str
    schema: Mapping[str, Json]
    call: Callable[[Mapping[str, Json]], Awaitable[Json | Ended]]

    @property
    def definition(self) -> dict[str, Json]:
        """On the provider's wire."""
        return {"name": self.name, "description": self.description, "input_schema": dict(self.schema)}


Heard = Callable[[Reply], None]


@dataclass
class Loop:
    """One conversation, with a context of its own."""

    asking: Asking
    system: str
    tools: Sequence[LoopTool]
    heard: Heard
    fouls: int = 0
    not_offered: list[str] = field(default_factory=list)
    """Names of tools that the model asked for and was not given."""

    async def run(self, opening: str) -> Json:
        """What was submitted. Raises ``ModelFailed`` (``model.refusal``, ``model.nonsense``, …), ``StepOver``, ``GateError``."""
        messages: list[dict[str, Json]] = [{"role": "user", "content": opening}]
        while True:
            reply = await self._turn(messages)
            messages.append({"role": "assistant", "content": [dict(block) for block in reply.blocks]})
            if not reply.uses:
                self._foul()
                messages.append({"role": "user", "content": NO_SUBMISSION})
                continue
            results = []
            for use in reply.uses:
                told, failed = await self._used(use)
                if isinstance(told, Ended):
                    return told.value
                results.append(_result(use, told, failed=failed))
            messages.append({"role": "user", "content": results})

    async def _turn(self, messages: Sequence[Mapping[str, Json]]) -> Reply:
        """One reply that can be worked with."""
        said = list(messages)
        while True:
            reply = await self.asking.answer({
                "max_tokens": TURN_TOKENS,
                "system": [{"type": "text", "text": self.system, "cache_control": {"type": "ephemeral"}}],
                "tools": [tool.definition for tool in self.tools],
                "messages": said,
            })  # fmt: skip
            self.heard(reply)
            if reply.stop == "refusal":
                raise ModelFailed("model.refusal")
            if reply.stop == "model_context_window_exceeded":
                raise ModelFailed("model.context_full")
            if reply.stop == "max_tokens" or not reply.blocks:
                # What was cut off is not used: half an input can look like a whole one.
                self._foul()
                said = [*said, {"role": "assistant", "content": "…"}, {"role": "user", "content": CUT_OFF}]
                continue
            return reply

    async def _used(self, use: Mapping[str, Json]) -> tuple[Json | Ended, bool]:
        """Carry out one use of a tool: (what to tell, whether it failed)."""
        tool = next((one for one in self.tools if one.name == use["name"]), None)
        if tool is None:
            self.not_offered.append(str(use["name"])[:64])
            self._foul()
            return {"code": "tool.not_offered", "remedy": "use only the tools of this conversation"}, True
        try:
            check(tool.schema, use["input"])
            return await tool.call(use["input"]), False
        except InputUnfit as unfit:
            self._foul()
            return {"code": "tool.input", "detail": str(unfit), "remedy": "mend the input and use the tool again"}, True

    def _foul(self) -> None:
        self.fouls += 1
        if self.fouls > FOULS_MAX:
            raise ModelFailed("model.nonsense")


def check(schema: Mapping[str, Json], given: Json) -> None:
    """Raise ``InputUnfit`` where ``given`` does not fit ``schema``; the text names the place, and never repeats the value."""
    error = next(iter(Draft202012Validator(dict(schema)).iter_errors(given)), None)
    if error is not None:
        allowed = json.dumps(error.validator_value, ensure_ascii=False)[:300]
        raise InputUnfit(f"{error.json_path}: does not fit `{error.validator}`: {allowed}")


def _result(use: Mapping[str, Json], told: Json, *, failed: bool) -> dict[str, Json]:
    text = json.dumps(told, ensure_ascii=False, sort_keys=True)
    if len(text.encode()) > RESULT_BYTES_MAX:
        text = json.dumps({"status": "error", "code": "result.too_large", "remedy": "narrow the query"})
    return {"type": "tool_result", "tool_use_id": use["id"], "content": text, "is_error": failed}
