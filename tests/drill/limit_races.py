"""Four whole gates and one budget: together they let through what policy allows, and not one less.

Two agents ask at once at every gate, each with a key of its own, for what a limit of one scope bounds: the party, the tenant, or
everybody. The clock is the test's, so what may pass is known to the unit: while it stands still, as many as the bucket has room for,
over all gates; after some seconds, as many more as have flowed out. In some rounds it steps while they ask, forwards or back:
then no fewer pass than had room before, and no more than had room after.

PostgreSQL serves four gates. SQLite serves one; there all ask that one.
"""

import asyncio
import contextlib
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.bench.gates import PROJECTS, gate_toml, larger_limits
from tests.drill.machine import summary
from tests.parts import fresh_database
from tests.sim.upstream import Seen, UpstreamSim, whole
from tests.sim.world import World, replica, world

NS = 1_000_000_000
REPLICAS = 4
AGENTS = ("agent-1", "agent-2")
FRESH_S = 300
PATIENCE = 300.0
COMMENT, TICKET, READ = "tickets.comment.create", "tickets.ticket.create", "tickets.ticket.read"
SAID: Mapping[str, Mapping[str, Any]] = {
    COMMENT: {"ticket": 7, "text": "seen"},
    TICKET: {"title": "it is slow"},
    READ: {"ticket": 7},
}


@dataclass
class Bucket:
    """What a limit promises, in its own arithmetic: one unit an interval flows out of at most ``burst``."""

    action: str
    scope: str
    burst: int
    interval_s: int
    empty_at: dict[str, int] = field(default_factory=dict)
    """By whose bucket it is: when it is empty, ns."""

    def owner(self, agent: str) -> str:
        """Whose bucket ``agent`` takes from."""
        return agent if self.scope == "actor" else ""

    def room(self, owner: str, now_ns: int) -> int:
        """How many pass at once."""
        full = self.burst * self.interval_s * NS
        return max(0, full - max(0, self.empty_at.get(owner, 0) - now_ns)) // (self.interval_s * NS)

    def took(self, owner: str, units: int, now_ns: int) -> None:
        """So many passed."""
        self.empty_at[owner] = max(self.empty_at.get(owner, 0), now_ns) + units * self.interval_s * NS

    def line(self) -> str:
        """As policy's data has it: one unit an interval."""
        tier = 0 if self.action == READ else 1
        return (
            f"raced-{self.scope}: {{scope: {self.scope}, tiers: [{tier}], holders: [agent], actions: [{self.action}], "
            f"except: [], max: 1, window_s: {self.interval_s}, burst: {self.burst}, cost: action}}\n"
        )


def buckets() -> list[Bucket]:
    """The limits that are raced, a scope each."""
    return [Bucket(COMMENT, "actor", 5, 2), Bucket(TICKET, "tenant", 7, 3), Bucket(READ, "global", 6, 1)]


@dataclass
class Crowd:
    """Gates, and agents at each of them."""

    gates: list[World]
    limits: list[Bucket]
    violations: list[str] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    _headers: list[dict[str, Mapping[str, str]]] = field(default_factory=list)
    _sessions: dict[str, str] = field(default_factory=dict)
    _until: int = 0
    _numbers: Any = field(default_factory=itertools.count)

    @property
    def now_ns(self) -> int:
        return self.gates[0].clock.now_ns()

    async def round(self, seed: int) -> None:
        """Some seconds pass; then everybody asks at once for what one limit bounds."""
        chance = random.Random(seed)
        clock = self.gates[0].clock
        clock.advance(chance.choice([0, 1, 2, 3, 5, 8]))
        await self._sign_in()
        limit = self.limits[seed % len(self.limits)]
        asking = [chance.choice(AGENTS) for _ in range(2 * limit.burst + chance.randint(1, 4))]
        steps = chance.choice([0, 0, 0, 4, 31, -20])
        before = self.now_ns
        async with asyncio.timeout(PATIENCE):
            asked = [asyncio.create_task(self._ask(limit, agent, chance.randrange(50))) for agent in asking]
            if steps:
                await asyncio.sleep(0)
                clock.step_wall(steps)
            came = await asyncio.gather(*asked)
        for owner in sorted({limit.owner(agent) for agent in asking}):
            theirs = [went for went, agent in zip(came, asking, strict=True) if limit.owner(agent) == owner]
            self._judge(f"seed {seed}", limit, owner, theirs, (before, steps))
        if steps or None in came:
            # Who asked before the step is not known, nor what a unit was taken for: every bucket runs empty, and all is known again.
            clock.step_wall(max(0, -steps))
            clock.advance(limit.burst * limit.interval_s)

    def _judge(self, where: str, limit: Bucket, owner: str, came: list[bool | None], at: tuple[int, int]) -> None:
        """What passed against what had room; ``at``: when they began to ask, and by how much the clock stepped meanwhile."""
        began, steps = at
        unclear = came.count(None)
        went, room, units = came.count(True), limit.room(owner, began), -(-abs(steps) // limit.interval_s)
        # Behind a step forwards a gate that read the clock before it sees a fuller bucket; never an emptier one.
        # What a gate could not serve may have taken its unit.
        least = max(0, min(len(came), room - units) - unclear)
        most = min(len(came), room + (units if steps > 0 else 0))
        if not least <= went <= most:
            self.violations.append(
                f"{where}: of {len(came)} of {limit.action} {went} passed, and there was room for {least} to {most}"
            )
        self.passed[limit.scope] += went
        self.refused[limit.scope] += came.count(False)
        limit.took(owner, went, began)

    async def _ask(self, limit: Bucket, agent: str, turns: int) -> bool | None:
        """One request at some gate; whether it passed, None where the gate could not serve."""
        for _ in range(turns):
            await asyncio.sleep(0)
        number = next(self._numbers)
        place = number % len(self.gates)
        answer: httpx.Response = await self.gates[place].act(
            self._headers[place][agent],
            limit.action,
            self._sessions[agent],
            SAID[limit.action],
            type_="project",
            id_=f"project-{number % PROJECTS}",
            key={"Idempotency-Key": f"crowd-{number}"},
        )
        if answer.status_code == 503:
            return None
        if answer.status_code not in {200, 429}:
            self.violations.append(f"an answer that is no limit's: {answer.text[:300]}")
        elif answer.status_code == 429 and answer.json()["code"] != "limit.exceeded":
            self.violations.append(f"refused for another reason: {answer.text[:300]}")
        return answer.status_code == 200

    async def _sign_in(self) -> None:
        now = self.now_ns // NS
        if now >= self._until:
            self._headers = [{name: await gate.agent(name) for name in AGENTS} for gate in self.gates]
            self._sessions = {name: await self.gates[0].session(self._headers[0][name]) for name in AGENTS}
            self._until = now + FRESH_S


def _policies(folder: Path, limits: list[Bucket]) -> Path:
    """The shipped policy with larger limits and those that are raced; who writes much needs nobody's leave."""
    policies = larger_limits(folder)
    path = policies / "config" / "limits" / "data.yaml"
    path.write_text(path.read_text() + "".join(limit.line() for limit in limits))
    path = policies / "config" / "risk" / "data.yaml"
    text = path.read_text()
    assert "writes_today: 50," in text
    path.write_text(text.replace("writes_today: 50,", "writes_today: 1000000,"))
    return policies


async def _service(_: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(whole(200, {"id": 7, "title": "it is slow"}))


@contextlib.asynccontextmanager
async def crowd(store: str, folder: Path) -> AsyncIterator[Crowd]:
    """Four gates on one PostgreSQL, or the one of SQLite."""
    limits = buckets()
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(UpstreamSim(_service))
        url = fresh_database().replace("postgresql://", "postgresql+psycopg://") if store == "postgres" else ""
        policies = _policies(folder, limits)
        one = world(folder, store_url=url, extra=gate_toml(service.port), policies=policies)
        gates = [await stack.enter_async_context(one)]
        for number in range(1, REPLICAS if store == "postgres" else 1):
            gates.append(await stack.enter_async_context(replica(gates[0], folder / str(number))))
        yield Crowd(gates, limits)


def run(store: str, *, rounds: int, first: int = 1) -> dict[str, Any]:
    """Rounds of the seeds from ``first`` on ``store``, and the verdict."""

    async def all_of_them(folder: Path) -> Crowd:
        async with crowd(store, folder) as made:
            for seed in range(first, first + rounds):
                await made.round(seed)
            return made

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wglimits") as folder:
        made = asyncio.run(all_of_them(Path(folder)))
    return {
        "campaign": "limits",
        "store": store,
        "replicas": len(made.gates),
        "first seed": first,
        "rounds": rounds,
        "passed": dict(sorted(made.passed.items())),
        "refused": dict(sorted(made.refused.items())),
        "seconds": round(time.monotonic() - began, 1),
        **summary(),
        "violations": made.violations,
    }
