"""What one decision costs on each engine: ``python -m tests.bench.policy_engines [COUNT]``.

Real policies, inputs of the golden decisions, one question at a time, the engines interleaved so that both see the
same neighbours on the host. CPU of this process and of the engine's own processes; wall times are the host's mood.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.policy.bundle import build_bundle
from broker.policy.decision import Readings, read_decision
from broker.policy.delivery import BundleShelf
from broker.policy.golden import read_goldens
from broker.policy.input import prepare
from broker.policy.keys import SigningKey
from broker.policy.opa import OpaHost, OpaSettings
from broker.policy.regorus import Bounds, RegorusHost
from broker.policy.schema import compile_schema
from tests.parts import ROOT
from tests.sim.opa import running_opa

TICK_NS = 1_000


def process_cpu_us(pid: int) -> float:
    """CPU of a process over all its threads, in microseconds."""
    return (
        sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / TICK_NS
    )


class Meter:
    """Times of one variant."""

    def __init__(self, name: str, decide: Callable[[bytes], Awaitable[Any]], pids: Callable[[], list[int]]) -> None:
        self.name, self._decide, self._pids = name, decide, pids
        self.wall: list[float] = []
        self.own, self.engine = 0.0, 0.0

    async def once(self, body: bytes) -> None:
        """Ask once and count."""
        before, own, wall = sum(map(process_cpu_us, self._pids())), time.process_time(), time.perf_counter()
        await self._decide(body)
        self.wall.append((time.perf_counter() - wall) * 1e6)
        self.own += (time.process_time() - own) * 1e6
        self.engine += sum(map(process_cpu_us, self._pids())) - before

    def line(self) -> str:
        """Median and tail in microseconds; CPU per decision."""
        walls, count = sorted(self.wall), len(self.wall)
        return (
            f"{self.name:22} p50 {walls[count // 2]:7.0f}  p90 {walls[count * 9 // 10]:7.0f}  p99 {walls[count * 99 // 100]:7.0f}"
            f"  cpu here {self.own / count:6.0f}  cpu engine {self.engine / count:6.0f}"
        )


def overhead(check: Any, inputs: list[Any], answers: list[bytes]) -> str:
    """What the gate itself adds around an engine: check and serialise the input, read the decision."""
    before, reading = [], []
    for value, answer in zip(inputs, answers, strict=True):
        start = time.process_time_ns()
        for _ in range(20):
            ready = prepare(value, check)
        middle = time.process_time_ns()
        for _ in range(20):
            read_decision(answer, readings=Readings({}), revision="1", digest="", engine="", input_digest=ready.digest)
        before.append((middle - start) / 20_000)
        reading.append((time.process_time_ns() - middle) / 20_000)
    return f"{'gate around an engine':22} prepare {statistics.median(before):6.1f}  read decision {statistics.median(reading):6.1f}"


async def main(count: int) -> None:
    """Measure and print."""
    key = SigningKey("bench", Ed25519PrivateKey.generate())
    bundle = build_bundle(ROOT / "policies", key, "1")
    check = compile_schema(bundle.content.schema("input.v1"))
    inputs = [golden.input for golden in read_goldens(bundle.content.goldens) if check(golden.input) is None]
    bodies = [prepare(value, check).json for value in inputs]
    embedded = await RegorusHost(Bounds()).start(bundle)
    shelf = BundleShelf()
    async with running_opa(shelf, key) as opa:
        host = OpaHost(OpaSettings(opa.socket, timeout_seconds=5.0), shelf, RegorusHost())
        server = await host.load(bundle)
        answers = [(await embedded.decide(body)).value for body in bodies]
        meters = [
            Meter("regorus worker", embedded.decide, lambda: [worker._process.pid for worker in embedded._workers]),  # type: ignore[union-attr]
            Meter("OPA over unix socket", server.decide, lambda: [opa._process.pid]),  # type: ignore[union-attr]
        ]
        for number in range(count):
            for meter in meters:
                await meter.once(bodies[number % len(bodies)])
        await host.aclose()
    await embedded.aclose()
    size = len(json.dumps(bundle.content.data))
    print(
        f"{len(inputs)} inputs, median {statistics.median(map(len, bodies)):.0f} bytes; data {size} bytes; microseconds"
    )
    for meter in meters:
        print(meter.line())
    print(overhead(check, inputs, answers))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
