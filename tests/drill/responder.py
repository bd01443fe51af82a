"""Many incidents at once over services that depend on each other, worked on by processes that are killed at random.

The gate runs in this process with real parts around it; its clock goes faster than the wall's. The workers are processes of
their own, each killed with SIGKILL in the middle of whatever it does and followed by another. People answer what waits, some
with no; some services break again. What came of it is judged by ``responder_verdict``, from rows, log and the services.
"""

import asyncio
import contextlib
import multiprocessing
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from wicketgate import Gate, token_file

from agents.asking import Budget
from agents.worker import Setup, Worker
from broker.store.incidents import Event, Incident
from broker.store.work import WorkRow
from tests.sim.responding import rehosted, responder
from tests.sim.served import served
from tests.sim.supervisor import _start
from tests.sim.troubled import Counters
from tests.sim.world import MODEL, World, world

Json = Any
SERVICES: Mapping[str, Sequence[str]] = {
    "web": ["cart", "pay"],
    "mail": ["pay", "search", "stock"],
    "cart": [],
    "pay": [],
    "search": [],
    "stock": [],
}
"""Four that need nothing and meet in those above them: a remedy of one is felt by who depends on another."""
SETTINGS = """[incidents]
verify_settle_seconds = 5
verify_window_seconds = 40
verify_interval_seconds = 20
merge_seconds = 0
quiet_seconds = 5
"""
SPEED = 80
"""Seconds of the gate in one of the wall."""
HOLD_SECONDS = 400
BROKEN_AGAIN = 3
ENDED = frozenset({"closed", "linked"})
PAUSE_MIN = 0.05


@dataclass
class Seen:
    """What rows, log and services say afterwards."""

    incidents: list[Incident] = field(default_factory=list)
    events: dict[str, list[Event]] = field(default_factory=dict)
    work: list[WorkRow] = field(default_factory=list)
    records: list[dict[str, Json]] = field(default_factory=list)
    arrived: list[tuple[str, str, str]] = field(default_factory=list)
    model_requests: int = 0
    kills: int = 0
    seconds: float = 0.0


class Campaign:
    """``incidents`` alerts at once, ``kills`` deaths of ``workers`` workers; run once."""

    def __init__(self, folder: Path, *, store_url: str, incidents: int, kills: int, seed: int, patience: float) -> None:
        """``store_url`` is SQLAlchemy's, empty for SQLite; after ``patience`` seconds whatever is not over is stranded."""
        self.seen = Seen()
        self._folder = folder
        self._store_url = store_url
        self._incidents = incidents
        self._kills = kills
        self._patience = patience
        self._random = random.Random(seed)
        self._token = folder / "agent.token"
        self._counters = Counters()
        self._broken_again = 0
        self._handed_back: set[str] = set()
        self._restarts: set[asyncio.Task[None]] = set()

    async def run(self) -> Seen:
        """Everything, to its end or to the end of patience."""
        began = time.monotonic()
        async with world(self._folder, store_url=self._store_url, extra=SETTINGS, depends_on=SERVICES) as it:
            self._shop(it)
            await self._signed_in(it)
            await self._alerts(it)
            async with served(rehosted(it.app)) as port, asyncio.TaskGroup() as group:
                beside = [
                    group.create_task(_forever(each, 0.05, it)) for each in (self._time, self._people, self._signed_in)
                ]
                await self._worked(it, f"http://127.0.0.1:{port}")
                for task in beside:
                    task.cancel()
            await self._look(it)
        self.seen.seconds = time.monotonic() - began
        return self.seen

    # -- the shop -------------------------------------------------------------------------------------------------------

    def _shop(self, it: World) -> None:
        """Every service fails; its latency rose long ago."""
        it.models.script = responder
        it.supervisor.series = self._measured
        it.supervisor.mended = lambda verb, name: self._mended(it, verb, name)
        for name in SERVICES:
            self._break(it, name)

    def _measured(self, name: str, asked: Mapping[str, Json]) -> list[dict[str, Json]]:
        """Counters as the shop's script has them; any other metric stepped up within the window."""
        if asked["metric"] in {"shop_errors_total", "shop_requests_total"}:
            return self._counters(name, asked)
        instants = range(asked["since_s"], asked["until_s"] + 1, asked["step_s"])
        points = [[at, "0.02" if number * 3 < len(instants) else "0.9"] for number, at in enumerate(instants)]
        return [{"labels": {"service": name}, "points": points}]

    def _break(self, it: World, name: str) -> None:
        it.supervisor.caches[name] = self._random.randbytes(8)
        self._counters.set(name, it.clock.now_ns() // 10**9, 0.5)
        running = it.supervisor.children[name].running
        if running.returncode is None:
            running.kill()

    def _mended(self, it: World, verb: str, name: str) -> None:
        """A cleared cache heals, mostly; some break again later."""
        if verb != "cache/clear" or self._random.random() < 0.2:
            return
        task = asyncio.get_running_loop().create_task(self._well(it, name))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _well(self, it: World, name: str) -> None:
        self._counters.set(name, it.clock.now_ns() // 10**9, 0.0)
        it.supervisor.children[name].running = await _start()
        if self._broken_again < BROKEN_AGAIN and self._random.random() < 0.6:
            self._broken_again += 1
            await asyncio.sleep(self._random.uniform(0.5, 4))
            self._break(it, name)

    # -- alerts, people, time -------------------------------------------------------------------------------------------

    async def _alerts(self, it: World) -> None:
        """All at once: each service several times, in any order."""
        names = [list(SERVICES)[number % len(SERVICES)] for number in range(self._incidents)]
        self._random.shuffle(names)
        oncall = await it.person("oncall")

        async def report(number: int, name: str) -> None:
            severity = self._random.choice(["high", "critical", "critical"])
            body = {"title": f"errors {number}", "service": name, "env": "prod", "severity": severity}
            body["fingerprint"] = f"{number:016x}"
            answer = await it.client.post("/v1/incidents", json=body, headers={**oncall, **it.key()})
            assert answer.status_code == 201, answer.text

        await asyncio.gather(*(report(number, name) for number, name in enumerate(names)))

    async def _signed_in(self, it: World) -> None:
        """The workers' credential, fresh."""
        text = (await it.agent())["Authorization"].removeprefix("Bearer ")
        beside = self._token.with_suffix(".new")
        beside.write_text(text)
        beside.chmod(0o600)
        beside.replace(self._token)
        await asyncio.sleep(1)

    async def _time(self, it: World) -> None:
        it.clock.advance(max(1, round(0.05 * SPEED)))
        await it.gate.background.work_off()

    async def _people(self, it: World) -> None:
        """Somebody looks at what waits; mostly it is fine."""
        oncall = await it.person("oncall")
        answer = await it.client.get("/v1/approvals", params={"state": "waiting"}, headers=oncall)
        for one in answer.json()["approvals"]:
            await it.review(oncall, one, "approve" if self._random.random() < 0.85 else "deny")
        page = await it.gate.incidents.page("default", ("escalated",))
        for stands in page.items:
            # Who was called lets it be looked into once more, or is done with it.
            again = stands.id not in self._handed_back and self._random.random() < 0.25
            self._handed_back.add(stands.id)
            body = {"kind": "hand_back" if again else "close", "text": "looked at"}
            await it.client.post(f"/v1/incidents/{stands.id}/events", json=body, headers={**oncall, **it.key()})
        await asyncio.sleep(0.3)

    # -- workers --------------------------------------------------------------------------------------------------------

    async def _worked(self, it: World, url: str) -> None:
        """Workers live and die; the last ones live until nothing is left to do."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.drill.responder"])

        def born() -> ForkServerProcess:
            process = context.Process(target=live, args=(url, str(self._token)), daemon=True)
            process.start()
            return process

        workers = [born() for _ in range(3)]
        until = time.monotonic() + self._patience
        try:
            while time.monotonic() < until:
                await asyncio.sleep(self._random.uniform(0.2, 0.9))
                if self.seen.kills < self._kills:
                    place = self._random.randrange(len(workers))
                    workers[place].kill()
                    self.seen.kills += 1
                    await asyncio.to_thread(workers[place].join)
                    workers[place] = born()
                elif await self._over(it):
                    return
                for place, one in enumerate(workers):
                    if not one.is_alive():
                        workers[place] = born()
        finally:
            for one in workers:
                one.kill()
                await asyncio.to_thread(one.join)

    async def _over(self, it: World) -> bool:
        """Whether nothing is left to do for agents or the gate."""
        page = await it.gate.incidents.page("default", limit=500)
        rows = await it.gate.work.page("default", states=("due",))
        return all(one.state in ENDED for one in page.items) and not rows

    async def _look(self, it: World) -> None:
        await it.gate.pipeline.drain()
        with contextlib.suppress(IndexError):
            await it.gate.incident_acts.record()
        seen = self.seen
        seen.incidents = list((await it.gate.incidents.page("default", limit=500)).items)
        for one in seen.incidents:
            seen.events[one.id] = await it.gate.incidents.events("default", one.id)
        seen.work = await it.gate.work.page("default", states=("due", "aside"))
        seen.records = await it.records()
        seen.arrived = list(it.supervisor.arrived)
        seen.model_requests = len(it.models.seen)


async def _forever(each: Callable[[World], Awaitable[None]], seconds: float, it: World) -> None:
    while True:
        await each(it)
        await asyncio.sleep(seconds)


def live(url: str, token: str) -> None:
    """One worker's life, in a process of its own."""

    async def pause(seconds: float) -> None:
        await asyncio.sleep(max(PAUSE_MIN, seconds / SPEED))

    async def main() -> None:
        source = token_file(token)
        async with Gate(url, source, sleep=pause) as gate:
            setup = Setup(url, source, MODEL, Budget(), HOLD_SECONDS)
            await Worker(gate, setup, tell=lambda *_, **__: None, pause=pause).run()

    asyncio.run(main())
