"""Gates to measure: ``wicketgate serve`` as a process, with the shipped policy under larger limits, on either engine."""

import asyncio
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.policy.keys import dev_key
from demo.wire import free_port
from tests.bench.client import post
from tests.bench.meters import children
from tests.sim import few_goldens
from tests.sim.opa import RunningOpa
from tests.sim.running_gate import RunningGate, running_gate

READ, WRITE = "tickets.ticket.read", "tickets.comment.create"
PROJECTS = 64
"""Targets that writes go round, so that they do not wait for each other's lease."""
TOKEN_SECONDS = 200
TICKET = {
    "id": 7,
    "title": "checkout is slow",
    "state": "open",
    "description": "since the last release the p99 of /pay went from 120 ms to 900 ms",
    "labels": ["performance", "checkout"],
    "comments": [{"author": "storefront-bot", "text": "seen on all hosts"}],
}
MANY = 1_000_000


def larger_limits(folder: Path) -> Path:
    """The shipped policy, but a bench is no longer a burst: only sizes of limits differ."""
    policies = folder / "policies"
    shutil.copytree(few_goldens.policies(), policies)
    path = policies / "config" / "limits" / "data.yaml"
    path.write_text(re.sub(r"(max|burst): \d+", rf"\1: {MANY}", path.read_text()))
    return policies


@contextmanager
def fixed_server(folder: Path, name: str, body: bytes) -> Iterator[tuple[int, int]]:
    """A process of ``floor.py`` that answers ``body``: pid and port."""
    path = folder / f"{name}.body"
    path.write_bytes(body)
    command = [sys.executable, str(Path(__file__).with_name("floor.py")), str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def request_body(action: str, session: str, number: int) -> bytes:
    """What the agent asks: a read, or a write whose text says why."""
    said: dict[str, Any] = {"ticket": 7}
    if action == WRITE:
        said["text"] = "the rollout of 14:02 is the cause"
    body = {
        "session": session,
        "action": action,
        "resource": {"type": "project", "id": f"project-{number % PROJECTS}", "env": "prod"},
        "arguments": said,
        "reason": "the error rate of checkout rose after the last release",
    }
    return json.dumps(body).encode()


@dataclass
class MeasuredGate:
    """A running gate with an agent's token and session."""

    engine: str
    gate: RunningGate
    opa: RunningOpa | None
    _token: str = ""
    _until: float = 0.0
    _session: str = ""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def pid(self) -> int:
        return self.gate.process.pid

    def engines(self) -> Sequence[int]:
        """Processes that decide."""
        if self.opa is not None:
            assert self.opa._process
            return [self.opa._process.pid]
        return children(self.pid)

    def refresh(self) -> None:
        """A fresh token where the old one will soon be refused; a session where there is none."""
        if time.monotonic() > self._until:
            self._token, self._until = self.gate.token("agent"), time.monotonic() + TOKEN_SECONDS
        if not self._session:
            with self.gate.client("agent", **{"Idempotency-Key": "bench"}) as client:
                intent = [{"kind": "task", "text": "look after the tickets", "source": "bench"}]
                answer = client.post("/v1/sessions", json={"intent": intent})
                assert answer.status_code == 201, answer.text
                self._session = answer.json()["session"]

    def request(self, action: str) -> Callable[[], bytes]:
        """Makes requests of ``action``, each with its own key and the next target."""

        def made() -> bytes:
            number = next(self._numbers)
            key = {"idempotency_key": f"bench-{number}"} if action == WRITE else {}
            body = request_body(action, self._session, number)
            return post("/v1/actions", body, **self._signed(), **key)

        return made

    def model_call(self, body: bytes) -> Callable[[], bytes]:
        """Makes calls of the model endpoint with one body, as the provider's own clients make them."""

        def made() -> bytes:
            named = {"wicketgate_session": self._session, "anthropic_version": "2023-06-01"}
            return post("/llm/anthropic/v1/messages", body, **self._signed(), **named)

        return made

    def _signed(self) -> dict[str, str]:
        return {"host": f"localhost:{self.gate.port}", "authorization": f"Bearer {self._token}"}


@contextmanager
def measured_gate(folder: Path, engine: str, policies: Path, tool_port: int, more: str = "") -> Iterator[MeasuredGate]:
    """A gate on ``engine`` (``regorus`` or ``opa``) with the tool server behind it; ``more`` ends its configuration."""
    place = folder / engine
    place.mkdir()
    with ExitStack() as stack:
        port, opa, toml = free_port(), None, gate_toml(tool_port) + more
        if engine == "opa":
            token = place / "bundle.token"
            token.write_text("bench-bundle-token")
            key = dev_key(place / "data" / "keys", dev=True)
            short = stack.enter_context(tempfile.TemporaryDirectory(prefix="wgb", dir="/tmp"))
            opa = RunningOpa(Path(short), f"http://127.0.0.1:{port}", key, token=token)
            asyncio.run(opa.start())
            stack.callback(opa.stop)
            toml = (
                f'[policy]\nengine = "opa"\nopa_socket = "{opa.socket}"\nopa_milliseconds_max = 2000\nbundle_token_file = "{token}"\n'
                + toml
            )
        # A bench is no longer a burst of attempts, either.
        gate = stack.enter_context(running_gate(place, toml, port=port, options=["--policies", str(policies)]))
        yield MeasuredGate(engine, gate, opa)


def gate_toml(tool_port: int) -> str:
    """The inventory's targets, and the connector to the tool server."""
    inventory = "".join(
        f'[[inventory]]\ntype = "project"\nid = "project-{number}"\nenv = "prod"\nregion = "eu-west-1"\n'
        for number in range(PROJECTS)
    )
    return (
        f"[web]\nattempts_per_minute_max = {MANY}\nattempts_burst_max = {MANY}\n"
        f'[sessions]\nactions_max = {MANY}\ntokens_max = {100 * MANY}\n[[connectors]]\nname = "tickets"\nadapter = "http"\n'
        f'[connectors.settings]\nbase_url = "http://127.0.0.1:{tool_port}"\nregion = "eu-west-1"\n'
        f'allow_networks = ["127.0.0.1/32"]\n{inventory}'
    )
