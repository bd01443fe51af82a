"""Where the gate's CPU goes: ``python -m tests.bench.inside [read|write] [--profile SORT]``, one gate in this process.

The same gate, policy and tool server as the bench's, called as ASGI without a socket, alone and sixteen at once. Prints CPU
an action by thread in the quietest tenth of short batches, and with ``--profile`` the functions that it goes to.
"""

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from broker import config, wiring
from broker.clock import SystemClock
from broker.identity.dev import agent_key, client_assertion
from broker.web import app as web
from tests.bench.gates import READ, TICKET, WRITE, fixed_server, gate_toml, larger_limits, request_body
from tests.bench.meters import children, cpu_us

BATCH = 32


class Inside:
    """A wired gate; ``ask`` is one request."""

    def __init__(self, folder: Path, tool_port: int) -> None:
        path = folder / "gate.toml"
        path.write_text(f"[gate]\ndata = {json.dumps(str(folder / 'data'))}\n" + gate_toml(tool_port))
        self.settings = config.load(path, environment={})
        development = wiring.Development(code="TESTCODE42", policies=larger_limits(folder))
        self.gate = wiring.Wiring(self.settings, clock=SystemClock(), development=development)
        self.app = web.build(self.gate)
        self.headers: list[tuple[bytes, bytes]] = []
        self.session, self.number = "", 0

    async def sign_in(self) -> None:
        """An agent's token and session."""
        key = agent_key(self.settings.gate.data / "keys" / "agent-1.jwk")
        assertion = client_assertion(key, "agent-1", wiring.dev_issuer(self.settings), time.time_ns() // 10**9)
        kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
        form = (
            f"grant_type=client_credentials&client_id=agent-1&client_assertion_type={kind}&client_assertion={assertion}"
        )
        answer = await self.post("/dev-idp/token", form.encode(), b"application/x-www-form-urlencoded")
        self.headers = [(b"authorization", f"Bearer {json.loads(answer)['access_token']}".encode())]
        intent = [{"kind": "task", "text": "look after the tickets", "source": "bench"}]
        opened = await self.post("/v1/sessions", json.dumps({"intent": intent}).encode(), key=b"bench")
        self.session = json.loads(opened)["session"]

    async def ask(self, action: str) -> None:
        """One gated action."""
        self.number += 1
        key = f"bench-{self.number}".encode() if action == WRITE else b""
        await self.post("/v1/actions", request_body(action, self.session, self.number), key=key)

    async def post(self, path: str, body: bytes, kind: bytes = b"application/json", key: bytes = b"") -> bytes:
        """The answer to one POST; raises ``AssertionError`` for a refusal."""
        headers = [
            (b"host", b"localhost:8480"), (b"content-type", kind), (b"content-length", str(len(body)).encode()),
            *self.headers, *([(b"idempotency-key", key)] if key else []),
        ]  # fmt: skip
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
            "client": ("127.0.0.1", 40000), "server": ("127.0.0.1", 8480), "state": {},
        }  # fmt: skip
        sent: list[Any] = []
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if given:
                return given.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        whole = b"".join(message.get("body", b"") for message in sent)
        assert sent[0]["status"] < 300, whole.decode()
        return whole


async def measure(inside: Inside, action: str, count: int, sort: str) -> None:
    """Warm up, then ask and count."""
    async with inside.gate.running():
        await inside.sign_in()
        for _ in range(100):
            await inside.ask(action)
        if sort:
            await _profiled(inside, action, count, sort)
            return
        for at_once in (1, 16):
            engine = sum(map(cpu_us, children(os.getpid())))
            spent = [await _batch(inside, action, at_once) for _ in range(max(1, count // BATCH))]
            engine = (sum(map(cpu_us, children(os.getpid()))) - engine) / (len(spent) * BATCH)
            spent.sort(key=lambda batch: sum(batch.values()))
            quiet = spent[len(spent) // 10]
            shown = ", ".join(f"{name} {us:.0f}" for name, us in quiet.items() if us > 5)
            middle = sum(spent[len(spent) // 2].values())
            print(
                f"{action} {at_once:2} at once: {sum(quiet.values()):6.0f} us = {shown}; median {middle:.0f}; engine {engine:.0f}"
            )


async def _batch(inside: Inside, action: str, at_once: int) -> dict[str, float]:
    """CPU an action of each thread, in microseconds, over one short batch: a noisy neighbour meets few of them."""
    before, left = threads_us(), iter(range(BATCH))

    async def some() -> None:
        for _ in left:
            await inside.ask(action)

    await asyncio.gather(*(some() for _ in range(at_once)))
    return {name: (us - before.get(name, 0)) / BATCH for name, us in threads_us().items()}


def threads_us() -> dict[str, float]:
    """CPU of each thread of this process, in microseconds."""
    tasks = Path("/proc/self/task")
    return {
        one.name: int((tasks / str(one.native_id) / "schedstat").read_text().split()[0]) / 1000
        for one in threading.enumerate()
    }


async def _profiled(inside: Inside, action: str, count: int, sort: str) -> None:
    profile = cProfile.Profile(time.thread_time)
    profile.enable()
    for _ in range(count):
        await inside.ask(action)
    profile.disable()
    pstats.Stats(profile).sort_stats(sort).print_stats(70)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.inside")
    parser.add_argument("what", choices=("read", "write"), nargs="?", default="read")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--profile", default="", metavar="SORT", help="tottime or cumulative")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wgbench") as name, ExitStack() as stack:
        folder = Path(name)
        _, port = stack.enter_context(fixed_server(folder, "tool", json.dumps(TICKET).encode()))
        inside = Inside(folder, port)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(inside, READ if given.what == "read" else WRITE, given.count, given.profile))


if __name__ == "__main__":
    main()
