"""What is measured: CPU of whole processes from the kernel's scheduler, latencies, and the disk's own two syncs."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.client import Connection, Prepared, burst

RECORD = b"\0" * 4096
"""What one commit writes at least: a page."""


def cpu_us(pid: int) -> float:
    """CPU of a process over all its threads, in microseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1000


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started."""
    return [int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()]


@dataclass
class Variant:
    """One thing measured in every round: who is asked, how, and whose CPU counts."""

    name: str
    connections: list[Connection]
    prepared: Prepared
    pids: Sequence[int]
    engines: Callable[[], Sequence[int]] = list
    """Processes that do nothing but decide: their CPU is policy time."""
    latencies: list[int] = field(default_factory=list)
    crowded: list[int] = field(default_factory=list)
    sequential_cpu: list[float] = field(default_factory=list)
    """Microseconds an action, one value a round; ``engine`` likewise."""
    sequential_engine: list[float] = field(default_factory=list)
    crowded_cpu: list[float] = field(default_factory=list)
    crowded_engine: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    @property
    def gated(self) -> bool:
        """Whether the gate stands in between."""
        return self.name.startswith("gated")

    async def warm(self, count: int) -> None:
        """Fill caches and open the connections behind; nothing is kept."""
        await burst(self.connections, self.prepared, count)

    async def sequential(self, count: int) -> None:
        """Ask one after the other."""
        cpu, engine, _, times = await self._measured(self.connections[:1], count)
        self.latencies += times
        self.sequential_cpu.append(cpu)
        self.sequential_engine.append(engine)

    async def at_once(self, count: int) -> None:
        """Ask over all connections at once."""
        cpu, engine, seconds, times = await self._measured(self.connections, count)
        self.crowded += times
        self.crowded_cpu.append(cpu)
        self.crowded_engine.append(engine)
        self.rates.append(count / seconds)

    async def _measured(self, over: list[Connection], count: int) -> tuple[float, float, float, list[int]]:
        engines = self.engines()
        cpu, engine, started = sum(map(cpu_us, self.pids)), sum(map(cpu_us, engines)), time.perf_counter()
        times = await burst(over, self.prepared, count)
        seconds = time.perf_counter() - started
        used = (sum(map(cpu_us, self.pids)) - cpu) / count, (sum(map(cpu_us, engines)) - engine) / count
        return *used, seconds, times


class Disk:
    """Two durable writes, one after the other, with nothing around them: the floor below two durable records."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "two-syncs", os.O_WRONLY | os.O_CREAT, 0o600)
        self.times: list[int] = []

    def measure(self, count: int) -> None:
        """Write and sync twice, ``count`` times."""
        for _ in range(count):
            started = time.perf_counter_ns()
            for _ in range(2):
                os.write(self._file, RECORD)
                os.fdatasync(self._file)
            self.times.append(time.perf_counter_ns() - started)


def at(times: Sequence[int], percent: int) -> float:
    """Percentile in milliseconds."""
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)] / 1e6


def middle(values: Sequence[float]) -> float:
    """Median over rounds: what a noisy neighbour did to one round does not count."""
    return statistics.median(values)
