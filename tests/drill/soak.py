"""A gate that works for long: does it hold more memory, files, threads or tasks in the end than when it was warm?

A gentle mix at an even pace: reads and writes through the pipeline, sessions that are opened and closed, refusals, streams of
events that come and go, pages of the log, scrapes. Every few seconds the process is measured from outside. What counts are the
slope of its resident memory after the warm-up (least squares, per hour) and the other counts' first and last quarter.
"""

import asyncio
import itertools
import re
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.bench.gates import READ, TICKET, WRITE, MeasuredGate, fixed_server, gate_toml, larger_limits, request_body
from tests.drill.machine import files, memory_kib, summary, threads
from tests.sim.running_gate import running_gate

EVERY_SECONDS = 5.0
SLOPE_KIB_MAX = 1024.0
"""Per hour."""
WARM_SHARE = 0.33
_TASKS = re.compile(r"^wicketgate_tasks (\S+)$", re.MULTILINE)


class Soak:
    """One gate, one client, and what was measured."""

    def __init__(self, gate: MeasuredGate, *, seconds: float, rate: float) -> None:
        self._gate = gate
        self._seconds = seconds
        self._pause = 1 / rate
        self.answers: Counter[str] = Counter()
        self.samples: list[dict[str, float]] = []

    async def run(self) -> None:
        """Work and measure until the time is over."""
        until = time.monotonic() + self._seconds
        async with httpx.AsyncClient(base_url=self._gate.gate.url, trust_env=False, timeout=90) as client:
            measuring = asyncio.create_task(self._measure(client, until))
            for number in itertools.count():
                if time.monotonic() >= until:
                    break
                await asyncio.gather(self._one(client, number), asyncio.sleep(self._pause))
            await measuring

    async def _one(self, client: httpx.AsyncClient, number: int) -> None:
        """One of the mix, in turn."""
        await asyncio.to_thread(self._gate.refresh)
        who = {"Authorization": f"Bearer {self._gate._token}"}
        key = {"Idempotency-Key": f"soak-{number}"}
        match number % 10:
            case 0:
                intent = {"intent": [{"kind": "task", "text": f"look at {number}", "source": "soak"}]}
                opened = await client.post("/v1/sessions", json=intent, headers={**who, **key})
                answer = await client.delete(f"/v1/sessions/{opened.json()['session']}", headers=who)
            case 1:
                answer = await client.get("/v1/actions", headers=who)
            case 2:
                answer = await client.post("/v1/actions", json={"action": "no.such.thing"}, headers={**who, **key})
            case 3:
                answer = await client.get("/metrics")
            case 4:
                answer = await self._followed(client, who)
            case 5 | 6:
                body = request_body(WRITE, self._gate._session, number)
                answer = await client.post("/v1/actions", content=body, headers={**who, **key, **_JSON})
            case _:
                body = request_body(READ, self._gate._session, number)
                answer = await client.post("/v1/actions", content=body, headers={**who, **_JSON})
        self.answers[str(answer.status_code)] += 1

    async def _followed(self, client: httpx.AsyncClient, who: dict[str, str]) -> httpx.Response:
        """A stream of events that is left after its first bytes."""
        async with client.stream("GET", "/v1/events", headers=who) as answer:
            async for _ in answer.aiter_bytes():
                break
            return answer

    async def _measure(self, client: httpx.AsyncClient, until: float) -> None:
        began, pid = time.monotonic(), self._gate.pid
        while time.monotonic() < until:
            tasks = _TASKS.search((await client.get("/metrics")).text)
            assert tasks
            self.samples.append(
                {
                    "at": time.monotonic() - began,
                    "KiB": memory_kib(pid),
                    "files": files(pid),
                    "threads": threads(pid),
                    "tasks": float(tasks[1]),
                }
            )
            await asyncio.sleep(EVERY_SECONDS)


_JSON = {"Content-Type": "application/json"}


def run(seconds: float, rate: float = 20) -> dict[str, Any]:
    """The campaign and its verdict."""
    with tempfile.TemporaryDirectory(prefix="wgdrill") as place:
        folder = Path(place)
        policies = larger_limits(folder)
        with (
            fixed_server(folder, "tool", orjson.dumps(TICKET)) as (_, port),
            running_gate(folder, gate_toml(port), options=["--policies", str(policies)]) as running,
        ):
            gate = MeasuredGate("regorus", running, None)
            gate.refresh()
            soak = Soak(gate, seconds=seconds, rate=rate)
            asyncio.run(soak.run())
    warm = [one for one in soak.samples if one["at"] >= seconds * WARM_SHARE]
    slope = statistics.linear_regression([one["at"] for one in warm], [one["KiB"] for one in warm]).slope * 3600
    violations = [f"{slope:.0f} KiB an hour more, not {SLOPE_KIB_MAX:.0f}"] if slope > SLOPE_KIB_MAX else []
    grown = {}
    for name in ("files", "threads", "tasks"):
        first, last = (
            statistics.median(one[name] for one in part) for part in (warm[: len(warm) // 4], warm[-len(warm) // 4 :])
        )
        grown[name] = f"{first:.0f} -> {last:.0f}"
        if last > first + 2:
            violations.append(f"{name} grew from {first:.0f} to {last:.0f}")
    if set(soak.answers) - {"200", "400", "403"}:
        violations.append(f"unexpected answers: {dict(soak.answers)}")
    return {
        "campaign": "soak",
        "store": "sqlite",
        "seconds": seconds,
        "rate/s": rate,
        "answers": dict(soak.answers),
        "KiB warm": warm[0]["KiB"],
        "KiB end": warm[-1]["KiB"],
        "KiB/hour": round(slope),
        **grown,
        **summary(),
        "samples": [[round(one["at"]), one["KiB"], one["files"], one["tasks"]] for one in soak.samples[::6]],
        "violations": violations,
    }
