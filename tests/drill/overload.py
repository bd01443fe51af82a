"""Five times what the gate can do, from clients who do not wait for each other, and people who want in meanwhile.

First the peak: so many clients at once as keep the gate busy, each asking again as soon as it is answered. Then the
overload: requests come by the clock at five times that rate, whatever became of those before (open loop), each on its own
kept-alive connection while there are any. Beside it somebody asks for the approvals, all the time: the controls' lane. What
counts is what was done a second, how long the controls took, and what memory the gate held.
"""

import asyncio
import itertools
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tests.bench.client import Connection, connect
from tests.bench.gates import TICKET, WRITE, MeasuredGate, fixed_server, gate_toml, larger_limits
from tests.drill.machine import memory_kib, summary
from tests.parts import ROOT
from tests.sim.running_gate import running_gate

AT_ONCE = 24
TARGETS = 2_000
_LENGTH = re.compile(rb"content-length: \d+")
_PROJECT = re.compile(rb"project-\d+")
CONNECTIONS_MAX = 900
FACTOR = 5
GOODPUT_MIN = 0.9
CONTROL_MS_MAX = 250
GROWTH_KIB_MAX = 300 * 1024
"""What the gate may hold more in an overload: bodies and answers of everything that it lets wait."""


class Clients:
    """Connections that are free, and what was answered on all of them."""

    def __init__(self, port: int, made: Callable[[], bytes]) -> None:
        self._port = port
        self._made = made
        self._free: list[Connection] = []
        self._open = 0
        self.answers: Counter[str] = Counter()
        self.milliseconds: list[float] = []
        self.under_way: set[asyncio.Task[None]] = set()

    async def ask(self) -> None:
        """One request; a client without a connection gives up at once."""
        if not self._free and self._open >= CONNECTIONS_MAX:
            self.answers["no connection"] += 1
            return
        began = time.perf_counter()
        try:
            if self._free:
                connection = self._free.pop()
            else:
                self._open += 1
                connection = await connect(self._port)
            status = await connection.ask(self._made())
        except OSError:
            self._open -= 1
            self.answers["broken"] += 1
            return
        self.answers[str(status)] += 1
        if status == 200:
            self.milliseconds.append((time.perf_counter() - began) * 1000)
        if connection.closed.is_set():
            self._open -= 1
        else:
            self._free.append(connection)

    def start(self) -> None:
        """One request, without waiting for it."""
        task = asyncio.create_task(self.ask())
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)


def writes(gate: MeasuredGate) -> Callable[[], bytes]:
    """Makes writes, each with its own key and the next target: enough that none is still held when its turn comes again."""
    made, numbers = gate.request(WRITE), itertools.count()

    def write() -> bytes:
        head, _, body = made().partition(b"\r\n\r\n")
        body = _PROJECT.sub(b"project-%04d" % (next(numbers) % TARGETS), body)
        return _LENGTH.sub(b"content-length: %d" % len(body), head) + b"\r\n\r\n" + body

    return write


def more_projects() -> str:
    """Targets beside those of the bench."""
    return "".join(
        f'[[inventory]]\ntype = "project"\nid = "project-{number:04}"\nenv = "prod"\nregion = "eu-west-1"\n'
        for number in range(TARGETS)
    )


async def peak(gate: MeasuredGate, seconds: float) -> float:
    """What is done a second when nobody is turned away."""
    clients = Clients(gate.gate.port, writes(gate))
    until = time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < until:
            await clients.ask()

    began = time.monotonic()
    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    assert set(clients.answers) == {"200"}, clients.answers
    return clients.answers["200"] / (time.monotonic() - began)


async def controls(port: int, seconds: float, token: str) -> list[float]:
    """Milliseconds of one control after another, from a process of its own."""
    asking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.drill.control", str(port), str(seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    told, _ = await asking.communicate(token.encode() + b"\n")
    took: list[float] = orjson.loads(told)
    return took


async def overload(gate: MeasuredGate, rate: float, seconds: float, token: str) -> dict[str, Any]:
    """Requests by the clock at ``rate``; what came of them."""
    clients = Clients(gate.gate.port, writes(gate))
    asking = asyncio.create_task(controls(gate.gate.port, seconds, token))
    memory = [memory_kib(gate.pid)]
    began = time.monotonic()
    for number in itertools.count():
        now = time.monotonic() - began
        if now >= seconds:
            break
        while number / rate > now:
            await asyncio.sleep(max(0.0, number / rate - now))
            now = time.monotonic() - began
        clients.start()
        if number % 500 == 0:
            memory.append(memory_kib(gate.pid))
    done, sent = clients.answers["200"], number
    took = time.monotonic() - began
    control_ms = await asking
    await asyncio.gather(*clients.under_way)
    return {
        "sent/s": round(sent / took, 1),
        "done/s": done / took,
        "answers": dict(clients.answers),
        "done ms p50": round(statistics.median(clients.milliseconds), 1),
        "done ms p99": round(statistics.quantiles(clients.milliseconds, n=100)[98], 1),
        "controls": len(control_ms),
        "control ms p50": round(statistics.median(control_ms), 1),
        "control ms p99": round(statistics.quantiles(control_ms, n=100)[98], 1),
        "KiB before": memory[0],
        "KiB most": max(memory),
    }


def run(seconds: float) -> dict[str, Any]:
    """The campaign and its verdict."""
    with tempfile.TemporaryDirectory(prefix="wgdrill") as place:
        folder = Path(place)
        policies = larger_limits(folder)
        with (
            fixed_server(folder, "tool", orjson.dumps(TICKET)) as (_, port),
            running_gate(folder, gate_toml(port) + more_projects(), options=["--policies", str(policies)]) as running,
        ):
            gate = MeasuredGate("regorus", running, None)
            gate.refresh()
            token = gate.gate.token("oncall")
            asyncio.run(peak(gate, 3))
            before = asyncio.run(peak(gate, seconds / 2))
            found = asyncio.run(overload(gate, FACTOR * before, seconds, token))
            after = asyncio.run(peak(gate, seconds / 2))
    # The machine is shared: the peak before and the one after say what it could do meanwhile.
    most = max(before, after)
    share = found.pop("done/s") / most
    violations = []
    if share < GOODPUT_MIN:
        violations.append(f"in the overload {share:.0%} of the peak was done, not {GOODPUT_MIN:.0%}")
    if found["control ms p99"] > CONTROL_MS_MAX:
        violations.append(f"the controls took {found['control ms p99']} ms (p99), not {CONTROL_MS_MAX}")
    if found["KiB most"] - found["KiB before"] > GROWTH_KIB_MAX:
        violations.append(f"memory grew by {found['KiB most'] - found['KiB before']} KiB")
    return {
        "campaign": "overload",
        "store": "sqlite",
        "peak/s before": round(before, 1),
        "peak/s after": round(after, 1),
        "share of the peak": round(share, 3),
        **found,
        **summary(),
        "violations": violations,
    }
