"""Break one real part from the beginning of one step of an action's life until its caller has the answer.

A fault is an asynchronous context that is entered inside the gate, at the first line of the step: another process holds the
database's lock, the policy worker is killed, the target answers garbage. It ends once the caller has its answer; what the
gate did then stands in the log, and what happened is what the target says was done under that action's id.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.sim.world import World

RESTART = "local.process.restart"
LATER_S = 86_400
"""Between two cells: buckets are full again, tokens are new, and nothing was done today."""


@dataclass(slots=True)
class Struck:
    """Where a fault strikes: the world, and the request that it strikes."""

    it: World
    asking: "asyncio.Task[httpx.Response]"


Fault = Callable[[Struck], contextlib.AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one action."""

    answer: str
    """``<status> <code>``, ``200 done``, or ``none`` where the caller did not stay."""
    effects: int
    """How often the target did it."""
    records: tuple[str, ...]
    """What stands in the log about it: kind, and code or status."""
    text: str
    """The whole answer."""


def seam(it: World, step: int) -> tuple[Any, str]:
    """The function that a step begins with: whose, and its name."""
    pipeline: Any = it.gate.pipeline
    return {
        1: (pipeline._identity, "authenticate"),
        2: (pipeline._reader, "ask"),
        3: (pipeline, "_decide"),
        4: (pipeline._policy, "decide"),
        5: (pipeline._obligations, "before"),
        6: (pipeline, "_intent"),
        7: (it.gate.connectors["local"], "execute"),
        8: (pipeline, "_after"),
        9: (pipeline, "close"),
    }[step]


@contextlib.asynccontextmanager
async def at_step(it: World, step: int, begins: Callable[[], Awaitable[None]]) -> AsyncIterator[asyncio.Event]:
    """``begins`` runs when the first action inside comes to ``step``; the event says that it did."""
    owner, name = seam(it, step)
    real: Callable[..., Awaitable[Any]] = getattr(owner, name)
    reached = asyncio.Event()

    async def first(*args: Any, **more: Any) -> Any:
        if not reached.is_set():
            reached.set()
            await begins()
        return await real(*args, **more)

    setattr(owner, name, first)
    try:
        yield reached
    finally:
        delattr(owner, name)


async def strike(it: World, step: int, fault: Fault) -> Told:
    """An automatic write of an agent, with ``fault`` from ``step`` on; what the gate and its target say of it."""
    it.clock.advance(LATER_S)
    agent = await it.agent()
    session = await it.session(agent)
    before, done = len(await it.records()), set(it.supervisor.actions)
    async with contextlib.AsyncExitStack() as broken:

        async def begins() -> None:
            await broken.enter_async_context(fault(Struck(it, asking)))

        async with at_step(it, step, begins) as reached:
            asking = asyncio.create_task(it.act(agent, RESTART, session, env="staging"))
            (answer,) = await asyncio.gather(asking, return_exceptions=True)
            assert reached.is_set(), f"step {step} was not reached"
    await it.gate.pipeline.drain()
    while await it.gate.log.open_intents("default"):
        # Nobody closed it: the background does, by what the target says, once it can be no other replica's any more.
        it.clock.advance(600)
        await it.gate.background.recover()
    written = (await it.records())[before:]
    others = {_action(one) for one in written if _session(one) not in {"", session} and one["kind"] == "intent"}
    # A recovery names its action alone.
    mine = {_action(one) for one in written if _session(one) == session}
    kept = [one for one in written if _session(one) == session or (not _session(one) and _concerns(one, mine))]
    told = answer if isinstance(answer, httpx.Response) else None
    body: Mapping[str, Any] = told.json() if told is not None else {}
    return Told(
        f"{told.status_code} {body.get('code') or body['status']}" if told is not None else "none",
        len(set(it.supervisor.actions) - done - others),
        tuple(_shown(one) for one in kept),
        told.text if told is not None else "",
    )


def _action(record: Mapping[str, Any]) -> str:
    return str(record["body"].get("action", {}).get("id") or record.get("about") or "")


def _session(record: Mapping[str, Any]) -> str:
    return str(record["body"].get("session", ""))


def _concerns(record: Mapping[str, Any], mine: set[str]) -> bool:
    """Whether a record without a session is about this action, or about one that was not read."""
    return _action(record) in mine or record["kind"] == "refusal"


def _shown(record: Mapping[str, Any]) -> str:
    body = record["body"]
    code = body.get("error") or body.get("outcome", {}).get("status", "")
    return f"{record['kind']} {code}".strip()
