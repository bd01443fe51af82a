"""One gate under load, killed at random points of its work and started again, until it has died often enough.

The load is a handful of agents' clients that write through the gate to a service which counts every effect by the
action's id. A client that got no answer sends the same request again under the same key, as clients do.
"""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from broker.identity.dev import agent_key, client_assertion
from demo.wire import free_port
from tests.bench.gates import WRITE, gate_toml, larger_limits, request_body
from tests.sim.running_gate import CODE, wicketgate
from tests.sim.upstream import Seen, UpstreamSim, whole

CLIENTS = 8
START_SECONDS = 120.0
STOP_SECONDS = 90.0
ANSWERS_MAX = 12
"""Answers between two kills, at most; none is possible."""
TOKEN_SECONDS = 240.0
STATUS_OF = '\n      status_of: {path: "/effects/{action_id}", field: state, done: [done], not_done: [absent]}'


@dataclass(frozen=True)
class Acknowledged:
    """One 200 or 202 that a client received, whole."""

    key: str
    action: str
    status: str
    seq: int
    leaf: str


@dataclass
class Outside:
    """What the drill saw from outside, for the verdict."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    effects: dict[str, list[int]] = field(default_factory=dict)
    """Action id -> when its effect arrived, ns since the epoch."""
    answers: dict[int, int] = field(default_factory=dict)
    """HTTP status -> how often; 0: the connection broke."""
    keys: dict[str, set[str]] = field(default_factory=dict)
    """Idempotency key -> action ids that it led to."""
    kills: int = 0
    early_kills: int = 0
    starts_ms: list[float] = field(default_factory=list)


class Campaign:
    """The gate, its clients and the service behind it; run once."""

    def __init__(self, folder: Path, *, store_url: str, kills: int, seed: int, told: bool = False) -> None:
        """``store_url`` is SQLAlchemy's; empty for SQLite. ``told``: the gate is told to end (SIGTERM) and not killed."""
        self._told = told
        self.seen = Outside()
        self._folder = folder
        self._store_url = store_url
        self._kills = kills
        self._random = random.Random(seed)
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = asyncio.Event()
        self._grown = asyncio.Event()
        self._over = False
        self._token, self._token_until, self._session, self._number = "", 0.0, "", 0

    @property
    def data(self) -> Path:
        """The gate's data folder."""
        return self._folder / "data"

    async def run(self) -> None:
        """Load, kill and restart; ends with a gate that was stopped in order."""
        async with UpstreamSim(self._answer) as service:
            self._configure(service.port)
            await self._start()
            clients = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]
            while self.seen.kills < self._kills:
                # So many answers, then a moment: a slow host is killed at the same points of the work as a fast one.
                await self._more_acknowledged(self._random.randint(0, ANSWERS_MAX))
                await asyncio.sleep(self._random.uniform(0, 0.2))
                await self._kill()
                if not self._told and self.seen.kills < self._kills and self._random.random() < 0.15:
                    # Dying again while it starts, reads its log and recovers.
                    self._spawn()
                    await asyncio.sleep(self._random.uniform(0.1, 1.5))
                    await self._kill()
                    self.seen.early_kills += 1
                await self._start()
            await asyncio.sleep(0.3)
            self._over = True
            await asyncio.gather(*clients)
            assert self._process is not None
            self._process.terminate()
            code = await asyncio.to_thread(self._process.wait, 30)
            assert code in {0, -15}, f"the gate ended with {code}"

    # -- the gate -------------------------------------------------------------------------------------------------------

    def _configure(self, service_port: int) -> None:
        policies = larger_limits(self._folder)
        manifest = policies / "manifests" / "tickets.yaml"
        head, name, rest = manifest.read_text().partition(f"  {WRITE}:\n")
        header = "      idempotency_header: Idempotency-Key"
        manifest.write_text(head + name + rest.replace(header, header + STATUS_OF, 1))
        store = f"[store]\nurl = {json.dumps(self._store_url)}\n" if self._store_url else ""
        (self._folder / "gate.toml").write_text(gate_toml(service_port) + store)

    def _spawn(self) -> None:
        command = [
            wicketgate(),
            "serve",
            "--dev",
            "--config",
            str(self._folder / "gate.toml"),
            "--data",
            str(self.data),
        ]
        command += ["--port", str(self._port), "--policies", str(self._folder / "policies")]
        known = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "TMPDIR") if name in os.environ}
        with (self._folder / "gate.out").open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**known, "HOME": str(self._folder), "WICKETGATE_DEV_CODE": CODE},
            )

    async def _start(self) -> None:
        began = time.monotonic()
        self._spawn()
        async with httpx.AsyncClient(base_url=f"http://localhost:{self._port}", trust_env=False, timeout=30) as client:
            while time.monotonic() - began < START_SECONDS:
                assert self._process is not None
                assert self._process.poll() is None, (self._folder / "gate.out").read_text()[-3000:]
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get("/readyz")).status_code == 200:
                        break
                await asyncio.sleep(0.02)
            else:
                raise AssertionError((self._folder / "gate.out").read_text()[-3000:])
            self.seen.starts_ms.append((time.monotonic() - began) * 1000)
            # The development provider's keys are new with each start.
            self._token_until = 0.0
            await self._sign_in(client)
        self._ready.set()

    async def _more_acknowledged(self, count: int) -> None:
        until = len(self.seen.acknowledged) + count
        async with asyncio.timeout(START_SECONDS):
            while len(self.seen.acknowledged) < until:
                self._grown.clear()
                await self._grown.wait()

    async def _kill(self) -> None:
        assert self._process is not None
        self._ready.clear()
        if self._told:
            self._process.terminate()
            code = await asyncio.to_thread(self._process.wait, STOP_SECONDS)
            assert code in {0, -15}, f"the gate ended with {code}"
        else:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self.seen.kills += 1

    async def _sign_in(self, client: httpx.AsyncClient) -> None:
        if time.monotonic() > self._token_until:
            issuer = f"http://localhost:{self._port}/dev-idp"
            form = {
                "grant_type": "client_credentials",
                "client_id": "agent-1",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": client_assertion(
                    agent_key(self.data / "keys" / "agent-1.jwk"), "agent-1", issuer, int(time.time())
                ),
            }
            answer = await client.post("/dev-idp/token", data=form)
            assert answer.status_code == 200, answer.text
            self._token, self._token_until = answer.json()["access_token"], time.monotonic() + TOKEN_SECONDS
        if not self._session:
            body = {"intent": [{"kind": "task", "text": "look after the tickets", "source": "drill"}]}
            answer = await client.post(
                "/v1/sessions",
                json=body,
                headers={"Authorization": f"Bearer {self._token}", "Idempotency-Key": "drill"},
            )
            assert answer.status_code == 201, answer.text
            self._session = answer.json()["session"]

    # -- clients and the service ----------------------------------------------------------------------------------------

    async def _client(self, number: int) -> None:
        """Write, one request at a time; a request without an answer is sent again under its key until it has one."""
        while not self._over:
            self._number += 1
            key, mine = f"drill-{number}-{self._number}", self._number
            while not await self._settled(key, mine):
                if self._over and not self._ready.is_set():
                    return

    async def _settled(self, key: str, mine: int) -> bool:
        """Send once; False where nothing is known of it yet."""
        await self._ready.wait()
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": key, "Content-Type": "application/json"}
        try:
            async with httpx.AsyncClient(
                base_url=f"http://localhost:{self._port}", trust_env=False, timeout=30
            ) as client:
                await self._sign_in(client)
                answer = await client.post(
                    "/v1/actions", content=request_body(WRITE, self._session, mine), headers=headers
                )
                self._count(answer.status_code)
        except (httpx.HTTPError, AssertionError):
            self._count(0)
            await asyncio.sleep(0.02)
            return False
        if answer.status_code in {200, 202}:
            self._acknowledge(key, answer.json())
        if answer.status_code == 409:
            # Its target is still held by what was killed, or, on a shared database, another replica may still run it.
            return True
        if answer.status_code >= 500:
            # Sent, but nothing is known of it, or nothing was done: asked again.
            await asyncio.sleep(0.05)
        return answer.status_code < 500 and answer.status_code != 401

    def _count(self, status: int) -> None:
        self.seen.answers[status] = self.seen.answers.get(status, 0) + 1

    def _acknowledge(self, key: str, body: Mapping[str, Any]) -> None:
        receipt = body["receipt"]
        self.seen.acknowledged.append(
            Acknowledged(key, body["action_id"], body["status"], receipt["seq"], receipt["leaf"])
        )
        self.seen.keys.setdefault(key, set()).add(body["action_id"])
        self._grown.set()

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        """The service: an effect is counted when it arrives, and answered a little later."""
        if seen.method == "GET":
            state = "done" if seen.target.rsplit("/", 1)[1] in self.seen.effects else "absent"
            writer.write(whole(200, {"state": state}))
            return
        action = seen.headers["idempotency-key"]
        self.seen.effects.setdefault(action, []).append(time.time_ns())
        await asyncio.sleep(self._random.uniform(0, 0.03))
        writer.write(whole(201, {"id": len(self.seen.effects)}))
