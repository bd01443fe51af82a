"""A worker as a process of its own, to be killed anywhere: claims what is due and takes each incident to its end.

``python tests/unit/work/worker.py URL TENANT NAME SECONDS``: its clock starts ``SECONDS`` after the beginning and moves with its
steps; it prints one line a claim and one a finished step, and ends when nothing comes any more.
"""

import asyncio
import sys
import uuid

from broker.clock import SeededClock
from broker.config import IncidentSettings
from broker.errors import BrokerError
from broker.incidents import Incidents
from broker.sessions import Sessions
from broker.store import Store, Timeouts
from broker.store.diagnoses import DiagnosisRow, add
from broker.topology import Topology
from broker.work import GATE_KINDS, Claimed, Work

FORWARD = {
    "proposed": "auto_ok",
    "auto_ok": "leased",
    "leased": "executing",
    "executing": "verifying",
    "verifying": "mitigated",
}
AGENTS = {"triaging": "investigating", "investigating": "diagnosed", "diagnosed": "proposed"}
IDLE_MAX = 20


class Worker:
    """One process's desk."""

    def __init__(self, url: str, tenant: str, name: str, seconds: int) -> None:
        self.store = Store(url, timeouts=Timeouts(lock_ms=60_000, statement_ms=60_000, connect_s=60))
        self.clock = SeededClock()
        self.clock.advance(seconds)
        self.tenant, self.name = tenant, name
        self.incidents = Incidents(
            self.store, self.clock, Sessions(self.store, self.clock), Topology({}), IncidentSettings()
        )
        self.work = Work(self.store, self.clock)

    async def run(self) -> None:
        """Work until nothing comes for a while."""
        idle = 0
        while idle < IDLE_MAX:
            try:
                idle = 0 if await self.turn() else idle + 1
            except BrokerError as error:
                say("lost", error.error_code)
            self.clock.advance(5)

    async def turn(self) -> bool:
        """One step of somebody's work; False where there is none."""
        for event in await self.incidents.unrecorded(self.tenant):
            await self.incidents.recorded(self.tenant, event.id)
        claimed = await self.work.claim(self.tenant, ["incident"], f"dev:{self.name}", 60)
        claimed = claimed or await self.work.claim(self.tenant, GATE_KINDS, self.name, 60)
        if claimed is None:
            return False
        say("claimed", f"{claimed.id} {claimed.step} {claimed.fence}")
        await self.step(claimed)
        say("finished", f"{claimed.id} {claimed.step} {claimed.fence}")
        return True

    async def step(self, claimed: Claimed) -> None:
        """Do what its kind and the incident's state ask for."""
        if claimed.kind == "notify":
            await self.work.done(claimed)
        elif claimed.kind == "baseline":
            await self.work.pass_on(claimed)
        elif claimed.kind == "learn":
            await self.incidents.learn(claimed)
        else:
            stands = await self.incidents.get(self.tenant, claimed.incident)
            if claimed.kind == "incident":
                await self.agents_step(claimed, AGENTS[stands.state])
            else:
                await self.incidents.advance(
                    self.tenant, stands.id, to=FORWARD[stands.state], by="gate", claimed=claimed
                )

    async def agents_step(self, claimed: Claimed, to: str) -> None:
        """Finish an agent's step."""
        body = {"action_id": "act_1", "diagnosis": await self.diagnosis(claimed) if to == "diagnosed" else ""}
        await self.incidents.finish(
            self.tenant,
            claimed.id,
            holder=claimed.holder,
            fence=claimed.fence,
            step=claimed.step,
            to=to,
            by=claimed.holder,
            body=body,
        )

    async def diagnosis(self, claimed: Claimed) -> str:
        """A diagnosis that holds."""
        row = DiagnosisRow(
            tenant=self.tenant,
            id=f"dgn_{uuid.uuid4().hex[:26]}",
            incident=claimed.incident,
            session=claimed.session,
            verdict="diagnosed",
            confidence_milli=800,
            verified=2,
            refuted=0,
            sources=2,
            signals=2,
            component="c",
            fault="f",
            cause={},
            claims=[],
            ruled_out=[],
            missing=[],
            at=1,
        )
        await self.store.write(lambda c: add(c, row))
        return row.id


def say(*words: str) -> None:
    """One line, at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(Worker(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])).run())
