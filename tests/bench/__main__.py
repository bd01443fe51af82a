"""``python -m tests.bench``: a gated action beside the same call without a gate and beside the least that Python can do.

Everything runs at once on this machine and is measured in turns, so that a noisy neighbour meets every variant alike.
The latest figures are printed as a table and written, with every sample, to ``tests/bench/results``.
"""

import argparse
import asyncio
import datetime as dt
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from tests.bench.client import connect, post
from tests.bench.gates import READ, TICKET, WRITE, MeasuredGate, fixed_server, larger_limits, measured_gate
from tests.bench.meters import Disk, Variant
from tests.bench.report import report, table

CONNECTIONS = 16
RESULTS = Path(__file__).with_name("results")
WARM = 60


class Bench:
    """All variants, their processes and the disk."""

    def __init__(self, folder: Path, stack: ExitStack, *, engines: tuple[str, ...]) -> None:
        self._stack = stack
        body = json.dumps(TICKET).encode()
        self.tool_pid, self.tool_port = stack.enter_context(fixed_server(folder, "tool", body))
        policies = larger_limits(folder)
        self.gates = [
            stack.enter_context(measured_gate(folder, engine, policies, self.tool_port)) for engine in engines
        ]
        self._folder = folder
        self.disk = Disk(folder)
        self.variants: list[Variant] = []

    async def prepare(self) -> None:
        """Connect everything, and give the floor the bytes that the gate answers."""
        for gate in self.gates:
            gate.refresh()
        answer = await self._answer(self.gates[0])
        floor_pid, floor_port = self._stack.enter_context(fixed_server(self._folder, "floor", answer))
        fixed = self.gates[0].request(READ)()
        call = post("/api/projects/project-1/tickets/7/comments", b'{"text":"the rollout"}', host="127.0.0.1")
        self.variants = [
            await self._variant("raw httptools floor", floor_port, lambda: fixed, [floor_pid]),
            await self._variant("tool server, direct", self.tool_port, lambda: call, [self.tool_pid]),
        ]
        for gate in self.gates:
            for name, action in (("read", READ), ("write", WRITE)):
                made = await self._variant(
                    f"gated {name}, {gate.engine}", gate.gate.port, gate.request(action), [gate.pid]
                )
                made.engines = gate.engines
                self.variants.append(made)

    async def rounds(self, count: int, *, alone: int, at_once: int) -> None:
        """Measure in turns: ``alone`` requests one after the other and ``at_once`` over all connections, each round."""
        for variant in self.variants:
            await variant.warm(WARM)
        for _ in range(count):
            for gate in self.gates:
                gate.refresh()
            self.disk.measure(max(10, alone // 2))
            for variant in self.variants:
                await variant.sequential(alone)
            for variant in self.variants:
                await variant.at_once(at_once)

    async def _variant(self, name: str, port: int, prepared: object, pids: list[int]) -> Variant:
        return Variant(name, [await connect(port) for _ in range(CONNECTIONS)], prepared, pids)  # type: ignore[arg-type]

    async def _answer(self, gate: MeasuredGate) -> bytes:
        connection = await connect(gate.gate.port)
        status = await connection.ask(gate.request(READ)())
        assert status == 200, connection.body.decode()
        connection.transport.close()
        return connection.body


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--alone", type=int, default=60, help="requests one after the other, each round and variant")
    parser.add_argument("--at-once", type=int, default=320, help="requests over 16 connections, each round and variant")
    parser.add_argument("--engines", default="regorus,opa")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wgbench") as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack, engines=tuple(given.engines.split(",")))

        async def run() -> None:
            await bench.prepare()
            await bench.rounds(given.rounds, alone=given.alone, at_once=given.at_once)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
        print(table(bench.variants, bench.disk))
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        path = given.out / f"{stamp}.json"
        path.write_text(json.dumps(report(bench.variants, bench.disk, vars(given) | {"out": str(given.out)})))
        print(f"\nsamples: {path}")


if __name__ == "__main__":
    main()
