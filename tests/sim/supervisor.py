"""A supervisor of real child processes that speaks the control protocol of ``broker/connectors/local.py``."""

import asyncio
import hashlib
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from tests.sim.upstream import Seen, UpstreamSim, whole

PROGRAM = "import time\nwhile True: time.sleep(3600)"


@dataclass
class Child:
    """One supervised process."""

    name: str
    running: asyncio.subprocess.Process
    started_at_ns: int
    restarts: int = 0

    def shown(self) -> dict[str, object]:
        alive = self.running.returncode is None
        return {
            "name": self.name,
            "pid": self.running.pid if alive else 0,
            "state": "running" if alive else "failed",
            "started_at_ns": self.started_at_ns,
            "restarts": self.restarts,
            "exits": 0,
            "exit_code": 0,
            "last_exit_s": 0,
            "note": "text that the protocol does not know",
        }


@dataclass
class Supervisor:
    """Starts the named processes; ``server`` is its control endpoint."""

    names: tuple[str, ...]
    unix: str = ""
    token: str = ""
    children: dict[str, Child] = field(default_factory=dict)
    actions: dict[str, dict[str, object]] = field(default_factory=dict)
    caches: dict[str, bytes] = field(default_factory=dict)
    """The cache of a process, where it has one; what was moved aside is in ``aside`` by digest."""
    aside: dict[str, bytes] = field(default_factory=dict)
    indexes: set[str] = field(default_factory=set)
    schema: Any = field(default_factory=list)
    series: Any = ()
    """What the history answers, or ``(name, asked)`` to it; ``asked`` is what it was asked."""
    asked: Any = None
    refusing: set[str] = field(default_factory=set)
    """Processes whose restart answers 500 and does nothing."""
    cutting: set[str] = field(default_factory=set)
    """Processes that do what is asked and break the line instead of answering."""

    meanwhile: Callable[[], Awaitable[object]] | None = None
    """What happens, once, while somebody looks at a cache: the last look before a plan is bound."""

    arrived: list[tuple[str, str, str]] = field(default_factory=list)
    """Every request for a repair that came, a repeated one again: (action id, verb, process)."""
    mended: Callable[[str, str], object] | None = None
    """Told of each repair that was done: (verb, process)."""

    async def __aenter__(self) -> Self:
        for name in self.names:
            self.children[name] = Child(name, await _start(), time.time_ns())
        self.server = await UpstreamSim(self._answer, unix=self.unix).__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.__aexit__()
        for child in self.children.values():
            await _stop(child.running)

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        if self.token and seen.headers.get("authorization") != f"Bearer {self.token}":
            writer.write(whole(401, {}))
            return
        match (seen.method, *seen.target.strip("/").split("/")):
            case ("GET", "processes", name, *rest) if name in self.children and rest in ([], ["schema"]):
                writer.write(whole(200, {"indexes": self.schema} if rest else self.children[name].shown()))
            case ("POST", "processes", name, "restart") if name in self.children:
                writer.write(await self.restart(self.children[name], orjson.loads(seen.body)))
            case ("GET", "processes", name, "cache") if name in self.children:
                meanwhile, self.meanwhile = self.meanwhile, None
                if meanwhile is not None:
                    await meanwhile()
                writer.write(whole(200, self.cache(name)))
            case ("POST", "processes", name, "metrics") if name in self.children:
                self.asked = orjson.loads(seen.body)
                series = self.series(name, self.asked) if callable(self.series) else self.series
                writer.write(whole(200, {"series": series}))
            case ("POST", "processes", name, *verb) if name in self.children:
                answer = await self.repair(self.children[name], "/".join(verb), orjson.loads(seen.body))
                if name in self.cutting:
                    writer.transport.abort()
                else:
                    writer.write(answer)
            case ("GET", "actions", action_id) if action_id in self.actions:
                writer.write(whole(200, self.actions[action_id]))
            case _:
                writer.write(whole(404, {}))

    async def restart(self, child: Child, asked: dict[str, object]) -> bytes:
        action_id = str(asked["action_id"])
        if child.name in self.refusing:
            return whole(500, {})
        if action_id not in self.actions:
            if asked["expected_pid"] != child.shown()["pid"]:
                return whole(409, {})
            await _stop(child.running)
            child.running, child.started_at_ns, child.restarts = await _start(), time.time_ns(), child.restarts + 1
            self.actions[action_id] = {"action_id": action_id, "state": "done", "process": child.shown()}
        return whole(200, self.actions[action_id])

    def cache(self, name: str) -> dict[str, object]:
        content = self.caches.get(name)
        digest = hashlib.sha256(content).hexdigest() if content is not None else ""
        return {"present": content is not None, "digest": digest, "bytes": len(content or b"")}

    async def repair(self, child: Child, verb: str, asked: dict[str, object]) -> bytes:
        action_id, held = str(asked["action_id"]), self.cache(child.name)
        self.arrived.append((action_id, verb, child.name))
        if child.name in self.refusing:
            return whole(500, {})
        if action_id in self.actions:
            return whole(200, self.actions[action_id])
        match verb:
            case "cache/clear":
                if asked["expected_digest"] != held["digest"]:
                    return whole(409, {})
                if child.name in self.caches:
                    self.aside[str(held["digest"])] = self.caches.pop(child.name)
            case "cache/restore":
                self.caches[child.name] = self.aside.pop(str(asked["digest"]))
            case "index":
                self.indexes.add(str(asked["index"]))
            case "start" if child.running.returncode is not None:
                child.running, child.started_at_ns = await _start(), time.time_ns()
        if self.mended is not None:
            self.mended(verb, child.name)
        done = {"action_id": action_id, "state": "done", "process": child.shown(), "cache": self.cache(child.name)}
        self.actions[action_id] = done
        return whole(200, done)


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", PROGRAM)


async def _stop(running: asyncio.subprocess.Process) -> None:
    if running.returncode is None:
        running.kill()
    await running.wait()
