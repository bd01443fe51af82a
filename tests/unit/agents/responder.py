"""What tests of the worker share: a worker in the test's own loop against a simulated gate, and what it told."""

import asyncio
from typing import Any

from wicketgate import Gate

from agents.asking import Budget
from agents.worker import Setup, Worker
from tests.sim.gate import TOKEN
from tests.sim.incident_gate import MODEL, IncidentGate

Json = Any
HOLD_SECONDS = 600


class Told(list[dict[str, Json]]):
    """Events in order."""

    def tell(self, event: str, **fields: Json) -> None:
        self.append({"event": event, **fields})

    def of(self, event: str) -> list[dict[str, Json]]:
        return [one for one in self if one["event"] == event]


class Waits(list[float]):
    """A pause that takes no time; the renewal of a hold never comes, unless ``renewing``."""

    renewing = False

    async def pause(self, seconds: float) -> None:
        if seconds >= HOLD_SECONDS / 3 and not self.renewing:
            await asyncio.Event().wait()
        self.append(seconds)
        await asyncio.sleep(0)


def work(gate: IncidentGate, *, model: bool = True, budget: Budget | None = None, waits: Waits | None = None) -> Told:
    """Let a worker take what is due, once."""
    told = Told()

    async def main() -> None:
        async def no_time(seconds: float) -> None:
            await asyncio.sleep(0)

        async with Gate(gate.url, TOKEN, sleep=no_time) as client:
            setup = Setup(gate.url, TOKEN, MODEL if model else "", budget or Budget(), HOLD_SECONDS)
            worker = Worker(client, setup, tell=told.tell, pause=(waits if waits is not None else Waits()).pause)
            await worker.run(once=True)

    asyncio.run(main())
    return told
