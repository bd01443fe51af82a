"""A supervisor of real child processes that speaks the control protocol of ``broker/connectors/local.py``."""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import Self

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
    refusing: set[str] = field(default_factory=set)
    """Processes whose restart answers 500 and does nothing."""

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
            case ("GET", "processes", name) if name in self.children:
                writer.write(whole(200, self.children[name].shown()))
            case ("POST", "processes", name, "restart") if name in self.children:
                writer.write(await self.restart(self.children[name], orjson.loads(seen.body)))
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


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", PROGRAM)


async def _stop(running: asyncio.subprocess.Process) -> None:
    if running.returncode is None:
        running.kill()
    await running.wait()
