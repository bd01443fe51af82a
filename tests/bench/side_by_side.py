"""All variants beside each other: their processes, the disk, and the rounds in which they are measured in turns."""

import json
from contextlib import ExitStack
from pathlib import Path

from tests.bench.client import Prepared, connect, post
from tests.bench.gates import READ, TICKET, WRITE, MeasuredGate, fixed_server, larger_limits, measured_gate
from tests.bench.meters import Disk, Variant

CONNECTIONS = 16
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

    async def aclose(self) -> None:
        """Close every connection of the client."""
        for connection in (one for variant in self.variants for one in variant.connections):
            connection.transport.close()
            await connection.closed.wait()

    async def _variant(self, name: str, port: int, prepared: Prepared, pids: list[int]) -> Variant:
        return Variant(name, [await connect(port) for _ in range(CONNECTIONS)], prepared, pids)

    async def _answer(self, gate: MeasuredGate) -> bytes:
        connection = await connect(gate.gate.port)
        status = await connection.ask(gate.request(READ)())
        assert status == 200, connection.body.decode()
        connection.transport.close()
        await connection.closed.wait()
        return connection.body
