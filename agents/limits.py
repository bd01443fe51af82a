"""Runs into each kind of limit, on purpose, so that a person can watch the gate say no.

A query without bounds, a target that is forbidden, one that nobody knows, a model in a region where the data may not go,
a burst; and, where a proposal of its own waits, its review. Each is refused, and the work goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wicketgate import Gate, GateError, Intent, Resource, TokenSource

from agents import actions
from agents.events import Teller
from agents.first import BURST_AT_ONCE, BURST_MAX, SYSTEM
from agents.model import Conversation, Model

TASK = "Show what the gate does not let through."


@dataclass(frozen=True, slots=True)
class Tried:
    """What to run into. ``far_model`` is empty where there is no model; ``approval`` where no proposal waits."""

    gate: str
    token: TokenSource
    service: str
    far_model: str = ""
    forbidden: str = "secrets"
    unknown: str = "vault"


async def overreach(tried: Tried, teller: Teller) -> None:
    """Ask for what is not allowed, one after the other; raises ``GateError`` only where no session opens."""
    intents = [Intent(kind="task", text=TASK, source="demo")]
    async with (
        Gate(tried.gate, tried.token, observer=teller.told, patience=0) as gate,
        gate.session(intents) as session,
    ):
        teller.step("ask for a week of logs, every line")
        await _refused(lambda: actions.search_all_logs(tried.service))
        teller.step("ask for a forbidden target")
        await _refused(lambda: actions.read_config(tried.forbidden))
        teller.step("ask for a target that the gate does not know")
        await _refused(lambda: actions.search_logs(tried.unknown))
        if tried.far_model:
            teller.step("ask a model in a region where the data may not go")
            await _far(tried, teller, session.id)
        teller.step("ask in a burst")
        await _burst(tried, teller, session.id)


async def review_own(tried: Tried, teller: Teller, approval: str, digest: str) -> None:
    """Try to approve the agent's own proposal."""
    async with Gate(tried.gate, tried.token, patience=0) as gate:
        teller.step("try to approve its own proposal")
        teller.tell("asked", action="gate.review.create", resource="gate:gate@prod", arguments={"approval": approval})
        try:
            await gate.approvals.review(approval, "approve", digest=digest, reason="I need it")
        except GateError as error:
            teller.refused(error)


async def _refused(ask: Callable[[], Awaitable[object]]) -> None:
    """Go on after a refusal: the teller has told it."""
    try:
        await ask()
    except GateError:
        return


async def _far(tried: Tried, teller: Teller, session: str) -> None:
    """A model call that policy must refuse."""
    conversation = Conversation(SYSTEM)
    conversation.messages.append({"role": "user", "content": TASK})
    teller.tell("asked", action="llm.messages.create", resource=f"model:{tried.far_model}@prod", arguments={})
    async with Model(tried.gate, token=tried.token, session=session, name=tried.far_model) as model:
        try:
            await model.ask(conversation)
        except GateError as error:
            teller.refused(error)


async def _burst(tried: Tried, teller: Teller, session: str) -> None:
    """Ask faster than the limit, and stop at the first refusal."""
    target = Resource("process", tried.service, "prod")
    async with Gate(tried.gate, tried.token, patience=0) as quiet:
        for _ in range(BURST_MAX // BURST_AT_ONCE):
            calls = (
                quiet.act("local.logs.search", target, {"window_seconds": 1, "lines_max": 1}, session=session)
                for _ in range(BURST_AT_ONCE)
            )
            answers = await asyncio.gather(*calls, return_exceptions=True)
            failed = next((answer for answer in answers if isinstance(answer, BaseException)), None)
            if isinstance(failed, GateError):
                teller.refused(failed)
                return
            if failed is not None:
                raise failed
    teller.tell("note", text=f"{BURST_MAX} requests met no limit")
