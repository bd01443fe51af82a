"""The kill switch over four replicas: when the last action arrives after somebody has pulled it at one of them.

Four gates on one PostgreSQL with the same keys, agents that write through each of them, and a service that notes when each write
arrives. A person stops the connector at the first gate; the seconds count from the moment at which they press. It is resumed, and
pulled again. Between, the agents go on asking, and are refused.
"""

import asyncio
import contextlib
import itertools
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.bench.gates import WRITE, MeasuredGate, gate_toml, larger_limits, request_body
from tests.drill.machine import summary
from tests.parts import fresh_database
from tests.sim.running_gate import running_gate
from tests.sim.upstream import Seen, UpstreamSim, whole

REPLICAS = 4
CLIENTS = 2
"""Of each replica."""
SECONDS_MAX = 1.0


class Pulls:
    """Agents at every replica, and people at the first."""

    def __init__(self, gates: list[MeasuredGate]) -> None:
        self.gates = gates
        self._numbers = itertools.count()
        self.arrived: list[float] = []
        self.answers: dict[int, int] = {}
        self._over = False
        self._some = asyncio.Event()

    async def service(self, _: Seen, writer: Any) -> None:
        """A write arrives."""
        self.arrived.append(time.monotonic())
        self._some.set()
        writer.write(whole(201, {"id": len(self.arrived)}))

    async def run(self, times: int) -> list[float]:
        """Seconds from each pull to the last write that arrived after it; 0 where none did."""
        agents = [asyncio.create_task(self._agent(gate)) for gate in self.gates for _ in range(CLIENTS)]
        took = []
        first = self.gates[0].gate
        async with httpx.AsyncClient(base_url=first.url, trust_env=False, timeout=90) as client:
            person = {"Authorization": f"Bearer {await asyncio.to_thread(first.token, 'security')}"}
            for number in range(times):
                await self._busy()
                body = {"scope": "connector", "target": "tickets", "reason": "drill"}
                pulled = time.monotonic()
                answer = await client.post("/v1/kill", json=body, headers=person)
                assert answer.status_code == 200, answer.text
                await asyncio.sleep(3 * SECONDS_MAX)
                after = [at - pulled for at in self.arrived if at > pulled]
                took.append(max(after, default=0.0))
                asked = {name: body[name] for name in ("scope", "target", "reason")}
                key = {"Idempotency-Key": f"resume-{number}"}
                answer = await client.post("/v1/kill/resume", json=asked, headers={**person, **key})
                assert answer.status_code == 200, answer.text
        self._over = True
        await asyncio.gather(*agents)
        return took

    async def _busy(self) -> None:
        """Until writes arrive again, from everybody."""
        target = len(self.arrived) + 5 * REPLICAS * CLIENTS
        async with asyncio.timeout(120):
            while len(self.arrived) < target:
                self._some.clear()
                await self._some.wait()

    async def _agent(self, gate: MeasuredGate) -> None:
        async with httpx.AsyncClient(base_url=gate.gate.url, trust_env=False, timeout=90) as client:
            while not self._over:
                number = next(self._numbers)
                headers = {
                    "Authorization": f"Bearer {gate._token}",
                    "Idempotency-Key": f"agent-{number}",
                    "Content-Type": "application/json",
                }
                body = request_body(WRITE, gate._session, number)
                answer = await client.post("/v1/actions", content=body, headers=headers)
                self.answers[answer.status_code] = self.answers.get(answer.status_code, 0) + 1


def run(times: int = 10) -> dict[str, Any]:
    """The campaign and its verdict."""
    with tempfile.TemporaryDirectory(prefix="wgdrill") as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        policies = larger_limits(folder)
        loop = stack.enter_context(asyncio.Runner())
        pulls = Pulls([])
        service = UpstreamSim(pulls.service)
        loop.run(service.__aenter__())
        url = fresh_database().replace("postgresql://", "postgresql+psycopg://")
        toml = f'[store]\nurl = "{url}"\n' + gate_toml(service.port)
        for number in range(REPLICAS):
            place_of = folder / str(number)
            if number:
                shutil.copytree(folder / "0" / "data" / "keys", place_of / "data" / "keys")
            place_of.mkdir(exist_ok=True)
            gate = stack.enter_context(running_gate(place_of, toml, options=["--policies", str(policies)]))
            pulls.gates.append(MeasuredGate("regorus", gate, None))
            pulls.gates[-1].refresh()
        took = loop.run(pulls.run(times))
        loop.run(service.__aexit__())
    violations = [f"the last action came {one:.2f} s after the pull" for one in took if one > SECONDS_MAX]
    if pulls.answers.get(403, 0) < times:
        violations.append(f"the agents were not refused: {pulls.answers}")
    return {
        "campaign": "kill-switch",
        "store": "postgres",
        "replicas": REPLICAS,
        "pulls": times,
        "last action after s": [round(one, 3) for one in took],
        "actions": len(pulls.arrived),
        "answers": {str(status): count for status, count in sorted(pulls.answers.items())},
        **summary(),
        "violations": violations,
    }
