"""A whole gate in one process with real parts around it: supervised processes, a model server, the development provider.

The gate is wired as in production; only the server in front of it is the test's own event loop (ASGI, no socket).
The clock is seeded: tokens, approvals and leases age when the test says so.
"""

import asyncio
import atexit
import contextlib
import functools
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from broker import config, wiring
from broker.clock import SeededClock
from broker.identity.dev import PERSONAS, Persona, agent_key, client_assertion
from broker.web import app as web
from broker.web.guard import Guard
from tests.sim import few_goldens
from tests.sim.model_server import ModelServer, Turn
from tests.sim.supervisor import Supervisor

ROOT = Path(__file__).resolve().parent.parent.parent
URL = "http://localhost:8480"
CODE = "TESTCODE42"
MODEL = "claude-sonnet-5-5"
FAR_MODEL = "claude-opus-5-5"
PATIENT = "[policy]\nwall_milliseconds_max = 30000\n"
"""A machine that pauses for a second is no policy that loops: those are ended by the time that they compute."""
PEOPLE = {
    **PERSONAS,
    "stranger": Persona("stranger", ("oncall", "security", "auditor"), "acme"),
}
"""Those of `serve --dev`; the stranger holds every role, in another tenant."""
DEPENDS_ON = {"storefront": ["checkout"], "checkout": ["inventory", "payments"], "payments": [], "inventory": []}
LOG_LINES = (
    '2026-01-01T00:00:00Z level=error msg="card declined" user=alice.miller@example.org card=4111111111111111\n'
    '2026-01-01T00:00:00Z level=info msg="token" key=AKIAIOSFODNN7EXAMPLE secret=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n'
)


@dataclass
class World:
    """What a test holds: the client, the parts, the clock and the data folder."""

    folder: Path
    clock: SeededClock
    supervisor: Supervisor
    models: ModelServer
    settings: config.Settings
    store_url: str = ""
    policies: Path = field(default_factory=few_goldens.policies)
    gate: wiring.Wiring = field(init=False)
    app: Guard = field(init=False)
    client: httpx.AsyncClient = field(init=False)
    _stop: asyncio.Event = field(init=False)
    _running: asyncio.Task[None] = field(init=False)
    _keys: int = 0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    async def start(self) -> None:
        """Wire and start a gate on the data folder, as a fresh process would."""
        self.gate = wiring.Wiring(
            self.settings,
            clock=self.clock,
            development=wiring.Development(CODE, self.policies, PEOPLE, agents=("agent-2",)),
        )
        self.app = web.build(self.gate)
        self._stop, started = asyncio.Event(), asyncio.Event()
        self._running = asyncio.create_task(self._lifespan(started))
        await asyncio.wait({self._running, asyncio.create_task(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            self._running.result()
        transport = httpx.ASGITransport(app=self.app, client=("127.0.0.1", 40000))  # type: ignore[arg-type]
        self.client = httpx.AsyncClient(transport=transport, base_url=URL, timeout=90)

    async def stop(self) -> None:
        """Stop it as a supervisor would, letting effects finish."""
        await self.client.aclose()
        self._stop.set()
        await self._running

    async def _lifespan(self, started: asyncio.Event) -> None:
        events: list[Mapping[str, Any]] = []

        async def receive() -> dict[str, str]:
            if not events:
                events.append({})
                return {"type": "lifespan.startup"}
            await self._stop.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                started.set()
            elif message["type"].endswith("failed"):
                raise RuntimeError(message.get("message", "start failed"))

        await self.app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    # -- people and agents --------------------------------------------------------------------------------------------

    async def person(self, name: str) -> dict[str, str]:
        """Headers of a person who just signed in."""
        form = {
            "grant_type": "urn:wicketgate:dev:persona",
            "client_id": "wicketgate-cli",
            "persona": name,
            "code": CODE,
        }
        return _bearer(await self.client.post("/dev-idp/token", data=form))

    async def agent(self, name: str = "agent-1") -> dict[str, str]:
        """Headers of the agent, by its own key."""
        form = {"grant_type": "client_credentials", **self._assertion(name)}
        return _bearer(await self.client.post("/dev-idp/token", data=form))

    async def on_behalf(self, person: Mapping[str, str], name: str = "agent-1") -> dict[str, str]:
        """Headers of the agent that acts for ``person``, by token exchange."""
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": person["Authorization"].removeprefix("Bearer "),
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            **self._assertion(name),
        }
        return _bearer(await self.client.post("/dev-idp/token", data=form))

    def _assertion(self, name: str) -> dict[str, str]:
        """What the agent authenticates with."""
        key = agent_key(self.data / "keys" / f"{name}.jwk")
        return {
            "client_id": name,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": client_assertion(
                key, name, wiring.dev_issuer(self.settings), self.clock.now_ns() // 10**9
            ),
        }

    def key(self) -> dict[str, str]:
        """A fresh idempotency key."""
        self._keys += 1
        return {"Idempotency-Key": f"test-{self._keys}"}

    async def session(self, who: Mapping[str, str]) -> str:
        """Open a session; returns its id."""
        body = {"intent": [{"kind": "task", "text": "look after checkout", "source": "test"}]}
        answer = await self.client.post("/v1/sessions", json=body, headers={**who, **self.key()})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["session"])

    async def act(
        self,
        who: Mapping[str, str],
        action: str,
        session: str = "",
        arguments: Mapping[str, Any] | None = None,
        *,
        id_: str = "checkout",
        type_: str = "process",
        env: str = "prod",
        key: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """POST /v1/actions."""
        body = {
            "session": session,
            "action": action,
            "resource": {"type": type_, "id": id_, "env": env},
            "arguments": dict(arguments or {}),
            "reason": "the error rate rose",
        }
        return await self.client.post(
            "/v1/actions", json=body, headers={**who, **(key if key is not None else self.key())}
        )

    async def review(
        self, who: Mapping[str, str], approval: Mapping[str, Any], verdict: str = "approve", **more: Any
    ) -> httpx.Response:
        """Answer a proposal as shown."""
        body = {"verdict": verdict, "digest": approval["digest"], "reason": "seen", **more}
        return await self.client.post(
            f"/v1/approvals/{approval['id']}/reviews", json=body, headers={**who, **self.key()}
        )

    async def outcome(self, who: Mapping[str, str], action_id: str) -> httpx.Response:
        """The action's state, waiting for it to end."""
        return await self.client.get(f"/v1/actions/{action_id}", params={"wait": 50}, headers=who)

    async def records(self, tenant: str = "default") -> list[dict[str, Any]]:
        """Every record of the tenant."""
        found, after = [], -1
        while page := await self.gate.log.read(tenant, after=after, limit=500):
            found.extend(dict(entry.record) for entry in page)
            after = page[-1].seq
        return found

    async def work_off(self) -> None:
        """The gate's own due work is done, whoever does it: its own loop may be at some of it in this moment."""
        for _ in range(9_000):
            await self.gate.background.work_off()
            rows, now = await self.gate.work.page("default"), self.clock.now_ns() // 10**9
            if not any(row.holder.startswith("gate:") and row.until > now for row in rows):
                return
            await asyncio.sleep(0.01)

    async def sweep(self) -> None:
        """What people approved is done, whoever does it: the gate's own loop may be at some of it in this moment."""
        await self.gate.background.sweep()
        for _ in range(9_000):
            if not self.gate.background._resuming:
                return
            await asyncio.sleep(0.01)

    def restarts(self, name: str = "checkout") -> int:
        """How often the real process was restarted."""
        return self.supervisor.children[name].restarts

    def everything_stored(self) -> bytes:
        """All bytes under the data folder but the keys."""
        return b"".join(
            path.read_bytes() for path in sorted(self.data.rglob("*")) if path.is_file() and "keys" not in path.parts
        )


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    *,
    turns: list[Turn] | None = None,
    store_url: str = "",
    extra: str = "",
    policies: Path | None = None,
    clock: SeededClock | None = None,
    depends_on: Mapping[str, Sequence[str]] = DEPENDS_ON,
    gate: str = "",
) -> AsyncIterator[World]:
    """A running world under ``folder``; ``extra`` is more TOML, ``gate`` more lines of ``[gate]``, ``depends_on`` its
    services and what each needs."""
    async with (
        Supervisor(tuple(depends_on)) as supervisor,
        ModelServer(turns or [Turn("all is well")], key="provider-key") as models,
    ):
        (folder / "logs").mkdir(exist_ok=True)
        (folder / "logs" / "checkout.log").write_text("".join(LOG_LINES))
        _repository(folder / "settings")
        (folder / "model.key").write_text("provider-key")
        (folder / "model.key").chmod(0o600)
        settings = config.load(_toml(folder, supervisor, models, store_url, extra, depends_on, gate), environment={})
        made = World(folder, clock or SeededClock(), supervisor, models, settings, store_url)
        if policies is not None:
            made.policies = policies
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


@contextlib.asynccontextmanager
async def replica(it: World, folder: Path) -> AsyncIterator[World]:
    """A second gate on the same database, keys, clock and parts as ``it``, with a data folder of its own."""
    shutil.copytree(it.data / "keys", folder / "data" / "keys")
    gate = it.settings.gate.model_copy(update={"data": folder / "data"})
    settings = it.settings.model_copy(update={"gate": gate})
    made = World(folder, it.clock, it.supervisor, it.models, settings, it.store_url, it.policies)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def _repository(folder: Path) -> None:
    """The services' settings in git, with a credential and an address in them."""
    if not folder.exists():
        shutil.copytree(_committed(), folder)


@functools.cache
def _committed() -> Path:
    """That repository, made once a process."""
    above = tempfile.mkdtemp(prefix="settings-")
    atexit.register(shutil.rmtree, above, ignore_errors=True)
    folder = Path(above) / "settings"
    folder.mkdir()
    (folder / "checkout.json").write_text(
        '{"pool": 8, "owner": "bob.stone@example.org", "aws": "AKIAIOSFODNN7EXAMPLE"}\n'
    )
    name = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*name, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def _toml(  # noqa: PLR0917 - one argument a part
    folder: Path,
    supervisor: Supervisor,
    models: ModelServer,
    store_url: str,
    extra: str,
    depends_on: Mapping[str, Sequence[str]],
    gate: str,
) -> Path:
    """The configuration of this world."""
    items = [("process", name, "prod", "eu-west-1" if name != "payments" else "us-east-1") for name in depends_on]
    items += [
        ("process", "checkout", "staging", "eu-west-1"),
        ("config", "checkout", "prod", "eu-west-1"),
        ("model", MODEL, "prod", "eu-west-1"),
        ("model", FAR_MODEL, "prod", "us-east-1"),
        ("model", "any", "prod", "eu-west-1"),
    ]
    inventory = "".join(
        f"[[inventory]]\ntype = {json.dumps(t)}\nid = {json.dumps(i)}\nenv = {json.dumps(e)}\nregion = {json.dumps(r)}\n"
        + (
            f"depends_on = {json.dumps(depends_on[i])}\nowners = ['team-{i}']\n"
            if (t, e) == ("process", "prod")
            else ""
        )
        for t, i, e, r in items
    )
    store = f"[store]\nurl = {json.dumps(store_url)}\n" if store_url else ""
    policy = "" if "[policy]" in extra else PATIENT
    path = folder / "gate.toml"
    path.write_text(f"""
[gate]
data = {json.dumps(str(folder / "data"))}
{gate}
{store}
{policy}
{inventory}
[[connectors]]
name = "local"
adapter = "local"
[connectors.settings]
supervisor_url = {json.dumps(supervisor.server.url)}
allow_networks = ["127.0.0.1/32"]
config_repository = {json.dumps(str(folder / "settings"))}
config_files = {{checkout = "checkout.json"}}
processes = [
  {{id = "checkout", log_files = [{json.dumps(str(folder / "logs" / "checkout.log"))}]}},
  {", ".join(f"{{id = {json.dumps(name)}}}" for name in depends_on if name != "checkout")}
]
[[connectors]]
name = "llm"
adapter = "llm"
[connectors.settings]
provider = "anthropic"
credential_file = {json.dumps(str(folder / "model.key"))}
allow_networks = ["127.0.0.1/32"]
endpoints = [
  {{region = "eu-west-1", base_url = {json.dumps(models.url)}, models = [{json.dumps(MODEL)}]}},
  {{region = "us-east-1", base_url = {json.dumps(models.url)}, models = [{json.dumps(FAR_MODEL)}]}},
]
{extra}
""")
    return path


def _bearer(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}
