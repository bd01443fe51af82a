"""``python -m tests.bench.peers``: the gate beside ContextForge and LiteLLM: same upstream, same client, in turns.

Each is asked one request after the other and then over several connections, a few rounds; what counts is what it adds to
the direct call to the same upstream. The gate authenticates, decides, redacts and writes two synced records for each
request; the peers run as ``peer_gateways.py`` says. Printed as a table, and written with every sample to ``results``.
"""

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.client import Prepared, connect, post
from tests.bench.gates import READ, TICKET, MeasuredGate, fixed_server, larger_limits, measured_gate
from tests.bench.meters import Variant, at, middle
from tests.bench.peer_gateways import TOOL, contextforge, litellm

RESULTS = Path(__file__).with_name("results")
CONNECTIONS = 8
WARM = 24
MODEL = "claude-opus-4-1"
SAID = "the rollout of 14:02 is the cause"
CALL = {
    "model": MODEL,
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "why is checkout slow since 14:02?"}],
}
REPLY = {
    "id": "msg_bench",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": SAID}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 40, "output_tokens": 12},
}
GOALS = {"tool call": 25, "model call": 4}
"""How many times less the gate is to add than the peer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured: which workload, and what its answer must hold (a refusal is cheap, and may be a 200)."""

    work: str
    who: str
    variant: Variant
    port: int
    holds: str


class Peers:
    """The upstreams, the gateways and the rounds."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        tool = json.dumps(TICKET).encode()
        _, self.tool_port = stack.enter_context(fixed_server(folder, "tool", tool))
        _, self.model_port = stack.enter_context(fixed_server(folder, "model", json.dumps(REPLY).encode()))
        more = model_toml(self.model_port)
        self.gate: MeasuredGate = stack.enter_context(
            measured_gate(folder, "regorus", larger_limits(folder), self.tool_port, more)
        )
        self.forge = stack.enter_context(contextforge(folder, self.tool_port))
        self.proxy = stack.enter_context(litellm(folder, MODEL, self.model_port))
        self.rows: list[Row] = []

    async def prepare(self) -> None:
        """Connect everything and see that each really answers."""
        self.gate.refresh()
        forged = {"host": "127.0.0.1", "authorization": f"Bearer {self.forge.token}"}
        proxied = {
            "host": "127.0.0.1",
            "authorization": f"Bearer {self.proxy.token}",
            "anthropic_version": "2023-06-01",
        }
        asked = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": TOOL, "arguments": {"ticket": 7}},
        }
        tool = post("/api/tickets/7", b'{"ticket":7}', host="127.0.0.1")
        call = json.dumps(CALL).encode()
        model = post("/v1/messages", call, host="127.0.0.1")
        rpc = post("/rpc", json.dumps(asked).encode(), **forged)
        gate, forge, proxy = self.gate, self.forge, self.proxy
        title = str(TICKET["title"])
        await self._add("tool call", "direct", self.tool_port, [], lambda: tool, title)
        await self._add("tool call", "Wicketgate", gate.gate.port, [gate.pid], gate.request(READ), title)
        await self._add("tool call", "ContextForge, tools/call", forge.port, [forge.pid], lambda: rpc, title)
        await self._add("model call", "direct", self.model_port, [], lambda: model, SAID)
        await self._add("model call", "Wicketgate", gate.gate.port, [gate.pid], gate.model_call(call), SAID)
        for name, path in (("messages", "/v1/messages"), ("chat completions", "/v1/chat/completions")):
            sent = post(path, call, **proxied)
            await self._add("model call", f"LiteLLM, {name}", proxy.port, [proxy.pid], lambda sent=sent: sent, SAID)  # type: ignore[misc]

    async def rounds(self, count: int, *, alone: int, at_once: int) -> None:
        """Measure in turns, in one order and then the other, so that nobody always comes after the same neighbour."""
        for row in self.rows:
            await _connected(row)
            await row.variant.warm(WARM)
        for number in range(count):
            self.gate.refresh()
            for row in self.rows if number % 2 == 0 else reversed(self.rows):
                await _connected(row)
                await row.variant.sequential(alone)
                await row.variant.at_once(at_once)
                await self._seen(row)

    async def aclose(self) -> None:
        """Close every connection of the client."""
        for row in self.rows:
            await _closed(row)

    async def _add(self, work: str, who: str, port: int, pids: Sequence[int], prepared: Prepared, holds: str) -> None:  # noqa: PLR0917
        row = Row(work, who, Variant(f"{work}, {who}", [], prepared, pids), port, holds)
        row.variant.engines = self.gate.engines if who == "Wicketgate" else list
        await _connected(row)
        await self._seen(row)
        self.rows.append(row)

    async def _seen(self, row: Row) -> None:
        """Raises ``AssertionError`` with the answer where it is not the upstream's."""
        connection = row.variant.connections[0]
        status = await connection.ask(row.variant.prepared())
        found = status == 200 and row.holds in connection.body.decode()
        assert found, f"{row.variant.name}: {connection.body!r}"


async def _connected(row: Row) -> None:
    """Fresh connections: servers close those that were idle while the others had their turn."""
    await _closed(row)
    row.variant.connections = [await connect(row.port) for _ in range(CONNECTIONS)]


async def _closed(row: Row) -> None:
    for connection in row.variant.connections:
        connection.transport.close()
        await connection.closed.wait()


def model_toml(port: int) -> str:
    """The gate's connector to the model server, and the model as a target."""
    return (
        '[[connectors]]\nname = "llm"\nadapter = "llm"\n[connectors.settings]\nprovider = "anthropic"\ncredential = "none"\n'
        f'allow_networks = ["127.0.0.1/32"]\nendpoints = [{{region = "eu-west-1", base_url = "http://127.0.0.1:{port}"}}]\n'
        f'[[inventory]]\ntype = "model"\nid = "{MODEL}"\nenv = "prod"\nregion = "eu-west-1"\n'
    )


def table(rows: Sequence[Row]) -> str:
    """Per workload the direct call, the gate and the peers; then how many times less the gate adds."""
    lines = [
        f"{'':38}| one at a time, ms                | {CONNECTIONS} at once",
        f"{'':38}|    p50    p99  added p50  CPU us |   p50 ms   p99 ms   per s  CPU us",
    ]
    goals = []
    for work, goal in GOALS.items():
        mine = {row.who: row.variant for row in rows if row.work == work}
        base = at(mine["direct"].latencies, 50)
        added = {who: at(one.latencies, 50) - base for who, one in mine.items()}
        for who, one in mine.items():
            cpu, crowded = _sum(one.sequential_cpu, one.sequential_engine), _crowded(one)
            lines.append(
                f"{one.name:38}| {at(one.latencies, 50):6.2f} {at(one.latencies, 99):6.2f}  {added[who]:9.2f} {cpu:7.0f} |"
                f" {at(one.crowded, 50):8.2f} {at(one.crowded, 99):8.2f} {middle(one.rates):7.0f} {crowded:7.0f}"
            )
        for who in mine.keys() - {"direct", "Wicketgate"}:
            times, rate = added[who] / added["Wicketgate"], middle(mine["Wicketgate"].rates) / middle(mine[who].rates)
            word, cpu = "met" if times >= goal else "MISSED", _crowded(mine[who]) / _crowded(mine["Wicketgate"])
            goals.append(
                f"{work}: {who} adds {times:.1f} times what Wicketgate adds (goal {goal}, {word}), takes {cpu:.1f} times"
                f" its CPU and answers {1 / rate:.2f} times as many a second"
            )
    return "\n".join([*lines, "", *sorted(goals)])


def _crowded(one: Variant) -> float:
    return _sum(one.crowded_cpu, one.crowded_engine)


def _sum(own: Sequence[float], engine: Sequence[float]) -> float:
    """Microseconds of CPU an answer, whoever decides included: the middle round."""
    return middle([first + second for first, second in zip(own, engine, strict=True)])


def report(peers: Peers, given: Mapping[str, Any]) -> dict[str, Any]:
    """Machine, versions, command and every sample; times in microseconds."""
    return {
        "command": [Path(sys.executable).name, "-m", "tests.bench.peers", *sys.argv[1:]],
        "given": dict(given),
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()},
        "versions": {
            "wicketgate": {"python": platform.python_version(), "wicketgate": version("wicketgate")},
            "contextforge": dict(peers.forge.versions),
            "litellm": dict(peers.proxy.versions),
        },
        "rows": [
            {
                "name": row.variant.name,
                "alone_us": [time // 1000 for time in row.variant.latencies],
                "at_once_us": [time // 1000 for time in row.variant.crowded],
                "alone_cpu_us": [round(value, 1) for value in row.variant.sequential_cpu],
                "alone_engine_cpu_us": [round(value, 1) for value in row.variant.sequential_engine],
                "at_once_cpu_us": [round(value, 1) for value in row.variant.crowded_cpu],
                "at_once_engine_cpu_us": [round(value, 1) for value in row.variant.crowded_engine],
                "per_second": [round(value, 1) for value in row.variant.rates],
            }
            for row in peers.rows
        ],
    }


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--alone", type=int, default=30, help="requests one after the other, each round and variant")
    parser.add_argument("--at-once", type=int, default=64, help="requests over 8 connections, each round and variant")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wgpeers") as folder, ExitStack() as stack:
        peers = Peers(Path(folder), stack)

        async def run() -> None:
            await peers.prepare()
            await peers.rounds(given.rounds, alone=given.alone, at_once=given.at_once)
            await peers.aclose()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        whole = report(peers, {"rounds": given.rounds, "alone": given.alone, "at_once": given.at_once})
        (given.out / f"peers-{stamp}.json").write_text(json.dumps(whole))
        named = "; ".join(
            f"{name}: {', '.join(f'{part} {value}' for part, value in parts.items())}"
            for name, parts in whole["versions"].items()
        )
        load = ", ".join(f"{value:.1f}" for value in whole["machine"]["load"])
        said = f"{table(peers.rows)}\n\n{named}\n{whole['machine']['cores']} cores, load {load}\n"
        (given.out / f"peers-{stamp}.txt").write_text(said)
        print(f"{said}\nsamples: {given.out / f'peers-{stamp}.json'}")


if __name__ == "__main__":
    main()
