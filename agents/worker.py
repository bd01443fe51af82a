"""``python -m agents worker``: claims what is due, does the step that the incident's state asks for, and keeps nothing.

A step is what ``triage.py``, ``investigate.py`` or ``remediate.py`` makes of the incident as the gate tells it. While it
runs its hold is renewed; where the hold is lost the step stops at once, wherever it is. Killed at any point, the step is
claimed again when the hold has run out, by any worker, and runs again from its start: everything that it asked for is
answered again from the log, under the same keys (``keys.py``). So several workers, on any machines, need nothing of each
other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from wicketgate import Claimed, Denied, Gate, GateError, NotAuthenticated, TokenSource, Unavailable

from agents.asking import Asking, Budget
from agents.case import OVER, Case, Offered, Pause, StepOver, detail_of, offers
from agents.investigate import Investigation, Result
from agents.model import Model
from agents.remediate import remediate
from agents.triage import triage

Json = Any

IDLE_SECONDS = 2.0
DENIED_SECONDS = 30.0
"""Who may not work, because people stopped it for example, asks less often: each refusal is on record."""
HOLD_SECONDS = 60
RENEWALS = 3
"""Renewals within one hold: two may fail before it is lost."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker is given. ``model`` is empty where it works without one."""

    url: str
    token: TokenSource
    model: str = ""
    budget: Budget = field(default_factory=Budget)
    hold_seconds: int = HOLD_SECONDS


class Worker:
    """One worker. ``tell`` gets what it does; ``pause`` is how it waits."""

    def __init__(self, gate: Gate, setup: Setup, *, tell: Callable[..., None], pause: Pause = asyncio.sleep) -> None:
        """``gate`` is the SDK's client with the worker's own identity; it stays the caller's to close."""
        self._gate = gate
        self._setup = setup
        self._tell = tell
        self._pause = pause

    async def run(self, *, once: bool = False) -> int:
        """Work until cancelled, or until nothing is due where ``once``; how many steps were finished.

        Raises ``NotAuthenticated``; whatever else the gate refuses or fails with is told, and tried again later.
        """
        finished = 0
        while True:
            wait = IDLE_SECONDS
            try:
                claimed = await self._gate.work.claim(["incident"], hold_seconds=self._setup.hold_seconds)
                if claimed is not None:
                    finished += await self.step(claimed)
                    continue
            except NotAuthenticated:
                raise
            except GateError as error:
                wait = max(DENIED_SECONDS if isinstance(error, Denied) else IDLE_SECONDS, error.retry_after or 0.0)
                self._tell("failed", code=error.code, detail=error.detail, remedy=error.remedy)
                if once and not isinstance(error, Unavailable):
                    return finished
            except Exception as crash:
                # The worker's edge: one incident must not end the work on all others.
                self._tell("failed", code="agent.crashed", detail=type(crash).__name__, remedy="tell the agent's owner")
                if once:
                    raise
            else:
                if once:
                    return finished
            await self._pause(wait)

    async def step(self, claimed: Claimed) -> int:
        """Do one step under its hold: 1 where it was finished, 0 where it was somebody else's by then."""
        doing = asyncio.create_task(self._do(claimed))
        holding = asyncio.create_task(self._hold(claimed))
        try:
            await asyncio.wait({doing, holding}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                self._tell("lost", incident=claimed.subject, step=claimed.step)
                return 0
            doing.result()
        except StepOver as over:
            self._tell("lost", incident=claimed.subject, step=claimed.step, code=str(over))
            return 0
        finally:
            await _ended(doing, holding)
        return 1

    async def _do(self, claimed: Claimed) -> None:
        """What the incident's state asks for."""
        detail = await _over(detail_of(self._gate, claimed.subject, claimed.session))
        state = detail.incident.state
        self._tell("claimed", incident=claimed.subject, state=state, step=claimed.step, session=claimed.session)
        case = Case(self._gate, claimed, detail, await self._offers(), self._pause, self._tell)
        async with AsyncExitStack() as stack:
            asking = None
            if self._setup.model:
                model = await stack.enter_async_context(self._model(claimed))
                asking = Asking(model, case.key, replace(self._setup.budget), self._pause)
            result = await _result(case, asking)
        await case.finish(result.to, result.body)

    def _model(self, claimed: Claimed) -> Model:
        """The model in the incident's session. It repeats nothing by itself: what comes again has a key of its own."""
        setup = self._setup
        return Model(setup.url, token=setup.token, session=claimed.session, name=setup.model, retries=0)

    async def _offers(self) -> Sequence[Offered]:
        return offers(await self._gate.actions.catalog())

    async def _hold(self, claimed: Claimed) -> None:
        """Renew the hold as long as it is ours; ends where it is not."""
        while True:
            await self._pause(self._setup.hold_seconds / RENEWALS)
            try:
                await self._gate.work.renew(claimed, hold_seconds=self._setup.hold_seconds)
            except GateError as error:
                if error.code in OVER:
                    return
                self._tell("failed", code=error.code, detail=error.detail, remedy=error.remedy)


async def _result(case: Case, asking: Asking | None) -> Result:
    """The step of the incident's state. Raises ``StepOver`` for a state that asks nothing of an agent."""
    match case.detail.incident.state:
        case "triaging":
            return await triage(case)
        case "investigating":
            return await Investigation(case, asking).run()
        case "diagnosed":
            return await remediate(case)
        case other:
            raise StepOver(f"state.{other}")


async def _over(reading: Awaitable[Any]) -> Any:
    """A read of the incident; a claim that is lost by now ends the step."""
    try:
        return await reading
    except GateError as error:
        if error.code in OVER:
            raise StepOver(error.code) from error
        raise


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    """Stop what still runs, and wait until it has stopped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
