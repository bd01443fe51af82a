"""Real faults, each an asynchronous context around the rest of one action: see ``striking``."""

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from broker.leases import Leases
from broker.policy.regorus import RegorusEngine
from tests.attacks.striking import RESTART, Fault, Struck
from tests.sim.upstream import Seen, whole

DAY_S = 86_400
OTHER = "act_somebodyelse"
PLANTED = "planted-text"
"""What no answer may repeat."""


def locked(database: str) -> Fault:
    """Another process holds the write lock of ``database``."""

    @asynccontextmanager
    async def fault(at: Struck) -> AsyncIterator[None]:
        with contextlib.closing(sqlite3.connect(at.it.data / database, isolation_level=None, timeout=60)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")

    return fault


@asynccontextmanager
async def log_read_only(at: Struck) -> AsyncIterator[None]:
    """The log's connection writes no more; the writer opens another one after the record that failed."""
    writer: Any = at.it.gate.log._writer
    writer._session.rows("PRAGMA query_only = ON")
    yield


@asynccontextmanager
async def log_full(at: Struck) -> AsyncIterator[None]:
    """As many records wait for the log as may."""
    writer = at.it.gate.log._writer
    most, writer._max_waiting = writer._max_waiting, 0
    yield
    writer._max_waiting = most


@asynccontextmanager
async def log_halted(at: Struck) -> AsyncIterator[None]:
    """Somebody found that the log's history does not fit."""
    writer = at.it.gate.log._writer
    at.it.gate.log.halt("the history does not fit")
    yield
    writer._closed, writer.halted = "", False


@asynccontextmanager
async def store_overloaded(at: Struck) -> AsyncIterator[None]:
    """As many calls wait for the database as may: it is locked, and every queue is full."""
    lanes = at.it.gate.store._lanes
    most = {name: lane.max_waiting for name, lane in lanes.items()}
    for lane in lanes.values():
        lane.max_waiting = 0
    async with locked("gate.db")(at), locked("gate-counters.db")(at):
        yield
    for name, lane in lanes.items():
        lane.max_waiting = most[name]


@asynccontextmanager
async def policy_gone(at: Struck) -> AsyncIterator[None]:
    """No verified bundle is loaded, and none is being loaded."""
    policy = at.it.gate.policy
    async with policy._changing:
        active, policy._active = policy._active, None
        yield
        policy._active = active


@asynccontextmanager
async def engine_killed(at: Struck) -> AsyncIterator[None]:
    """Every policy worker is killed by the system; at the end others are there."""
    active = at.it.gate.policy._active
    assert active is not None
    assert isinstance(active.engine, RegorusEngine)
    killed = list(active.engine._workers)
    for worker in killed:
        if worker._process is not None:
            os.kill(worker._process.pid, signal.SIGKILL)
            worker._process.wait()
    yield
    await asyncio.gather(*(asyncio.shield(worker.closed) for worker in killed))
    await active.engine._ready.wait()


def clock(seconds: int) -> Fault:
    """The clock steps."""

    @asynccontextmanager
    async def fault(at: Struck) -> AsyncIterator[None]:
        at.it.clock.step_wall(seconds)
        yield
        at.it.clock.step_wall(-seconds)

    return fault


@asynccontextmanager
async def vault_key_gone(at: Struck) -> AsyncIterator[None]:
    """The key that pseudonyms of this region are kept under is gone."""
    vault: Any = at.it.gate.redactor._vault
    keks = dict(vault._keks)
    vault._open.clear()
    vault._keks.clear()
    yield
    vault._keks.update(keks)


@asynccontextmanager
async def killed(at: Struck) -> AsyncIterator[None]:
    """A person stops the agent, and lets it go again later."""
    oncall, security = await at.it.person("oncall"), await at.it.person("security")
    about = {"scope": "agent", "target": "dev:agent-1", "reason": "a loop"}
    assert (await at.it.client.post("/v1/kill", json=about, headers=oncall)).status_code == 200
    yield
    resumed = await at.it.client.post("/v1/kill/resume", json=about, headers={**security, **at.it.key()})
    assert resumed.status_code == 200, resumed.text


@asynccontextmanager
async def lease_held(at: Struck) -> AsyncIterator[None]:
    """Another action holds the target."""
    leases = Leases(at.it.gate.store, at.it.clock)
    held = await leases.acquire("default", ["process/staging/checkout"], OTHER, 600)
    yield
    await leases.release(held.tenant, held.holder, held.fences)


@asynccontextmanager
async def limit_spent(at: Struck) -> AsyncIterator[None]:
    """The agent and the target have had all the writes that they may have."""
    agent = await at.it.agent()
    session = await at.it.session(agent)
    for _ in range(20):
        if (await at.it.act(agent, RESTART, session, env="staging")).status_code == 429:
            break
    yield


@asynccontextmanager
async def session_over(at: Struck) -> AsyncIterator[None]:
    """The session is closed while its action is under way."""
    with contextlib.closing(sqlite3.connect(at.it.data / "gate.db")) as rows, rows:
        rows.execute("UPDATE session SET expires_at = 1")
    yield


@asynccontextmanager
async def caller_gone(at: Struck) -> AsyncIterator[None]:
    """The caller hangs up."""
    at.asking.cancel()
    yield


@asynccontextmanager
async def stopping(at: Struck) -> AsyncIterator[None]:
    """The process is told to end."""
    at.it.gate.stopping.set()
    yield
    at.it.gate.stopping._by = None


@asynccontextmanager
async def defect(at: Struck) -> AsyncIterator[None]:
    """Something of ours fails in a way that nobody thought of."""
    raise RuntimeError(PLANTED)
    yield


# -- the target ----------------------------------------------------------------------------------------------------------


def target(answer: Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]) -> Fault:
    """The target answers otherwise."""

    @asynccontextmanager
    async def fault(at: Struck) -> AsyncIterator[None]:
        server = at.it.supervisor.server
        real, server.answer = server.answer, answer
        yield
        server.answer = real

    return fault


def says(data: bytes) -> Fault:
    """The target answers everything with these bytes, and closes."""

    async def answer(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return target(answer)


async def _reset(_: Seen, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _endless(_: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")
        await writer.drain()


def done_but(then: str) -> Fault:
    """The target does what is asked and then breaks the line, or answers with what is no answer."""

    @asynccontextmanager
    async def fault(at: Struck) -> AsyncIterator[None]:
        server = at.it.supervisor.server
        real = server.answer

        async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
            if seen.method != "POST":
                await real(seen, writer)
                return
            name = seen.target.strip("/").split("/")[1]
            await at.it.supervisor.restart(at.it.supervisor.children[name], seen.json)
            if then == "cut":
                writer.transport.abort()
            else:
                writer.write(whole(200, b"<html>"))

        server.answer = answer
        yield
        server.answer = real

    return fault


@asynccontextmanager
async def target_down(at: Struck) -> AsyncIterator[None]:
    """Nobody listens at the target's port."""
    server = at.it.supervisor.server
    server._server.close()
    for task in list(server._tasks):
        task.cancel()
    await asyncio.gather(*server._tasks, return_exceptions=True)
    yield
    server._server = await asyncio.start_server(server._serve, server.host, server.port)


FAULTS: dict[str, Fault] = {
    "log locked": locked("audit.db"),
    "log read-only": log_read_only,
    "log full": log_full,
    "log halted": log_halted,
    "store locked": locked("gate.db"),
    "store overloaded": store_overloaded,
    "counters locked": locked("gate-counters.db"),
    "policy not loaded": policy_gone,
    "engine killed": engine_killed,
    "clock a day ahead": clock(DAY_S),
    "clock a day behind": clock(-DAY_S),
    "vault key gone": vault_key_gone,
    "kill switch": killed,
    "target held": lease_held,
    "limit spent": limit_spent,
    "session over": session_over,
    "caller gone": caller_gone,
    "told to stop": stopping,
    "defect of ours": defect,
    "target down": target_down,
    "target resets": target(_reset),
    "target answers garbage": says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "target answers half": says(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"),
    "target answers too much": target(_endless),
    "target redirects": says(whole(307, b"", location="http://127.0.0.2:1/")),
    "target fails": says(whole(500, {"error": PLANTED})),
    "target acts and cuts": done_but("cut"),
    "target acts and lies": done_but("lie"),
}
