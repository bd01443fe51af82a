"""Keeps the shop's processes: ``python -m demo.supervisor --folder DIR --port N``; the control token on standard input.

The control interface, on loopback, with ``Authorization: Bearer TOKEN``:

- ``GET /processes`` and ``GET /processes/{name}``: ``{"name","pid","state": "running|stopped","restarts","started_at"}``
- ``POST /processes/{name}/restart {"action_id"}``: ends the process and starts a fresh one, once for each action id; the
  same id again gives the stored answer and does nothing. 200 ``{"action_id","name","pid","state"}``.
- ``GET /actions/{action_id}``: that answer with ``"status": "done"``, or 404 where no such action happened.

Each start and end is a line of ``processes.jsonl``: ``{"at","service","pid","event": "started|stopped|restarted|exited"}``.
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from demo.shop import SERVICES, Config
from demo.sli import Sampler
from demo.wire import Answer, Asked, Json, LoopbackServer, call

READY_SECONDS = 20.0
STOP_SECONDS = 3.0


class Supervised:
    """One service's process; callers hold ``turn`` while they change it."""

    def __init__(self, name: str, folder: Path, control: str) -> None:
        self.name = name
        self.turn = threading.Lock()
        self.restarts = 0
        self.started_at = 0.0
        self.config = folder / "config" / f"{name}.toml"
        self.address = f"http://127.0.0.1:{Config.read(self.config).port}"
        self._folder = folder
        self._control = control
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, event: str = "started") -> int:
        """Start the process and wait until it answers; its pid. Raises ``TimeoutError``."""
        command = [
            sys.executable,
            "-m",
            "demo.shop",
            self.name,
            "--config",
            str(self.config),
            "--logs",
            str(self._folder / "logs"),
        ]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own module
        assert self._child.stdin is not None
        self._child.stdin.write(self._control.encode() + b"\n")
        self._child.stdin.flush()  # kept open: its end would be a second way to lose the parent
        self.started_at = time.time()
        until = time.monotonic() + READY_SECONDS
        while not self._answers():
            if time.monotonic() > until or self._child.poll() is not None:
                raise TimeoutError(f"{self.name} did not come up")
            time.sleep(0.02)
        self._note(event)
        return self._child.pid

    def stop(self) -> None:
        """End the process, by force if it does not go."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._note("stopped")

    def state(self) -> dict[str, Json]:
        """What the control interface tells of it."""
        running = self._child is not None and self._child.poll() is None
        return {
            "name": self.name,
            "pid": self._child.pid if self._child else 0,
            "state": "running" if running else "stopped",
            "restarts": self.restarts,
            "started_at": round(self.started_at, 3),
        }

    def _answers(self) -> bool:
        try:
            return call("GET", self.address + "/healthz", seconds=0.5)[0] == 200
        except OSError:
            return False

    def _note(self, event: str) -> None:
        assert self._child is not None
        line = {"at": round(time.time(), 3), "service": self.name, "pid": self._child.pid, "event": event}
        with (self._folder / "processes.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


class Supervisor:
    """All processes, and which actions already happened (kept in ``actions.jsonl``)."""

    def __init__(self, folder: Path, control: str) -> None:
        self.processes: Mapping[str, Supervised] = {name: Supervised(name, folder, control) for name in SERVICES}
        self._control = control
        self._journal = folder / "actions.jsonl"
        lines = self._journal.read_text(encoding="utf-8").splitlines() if self._journal.exists() else []
        self._done: dict[str, dict[str, Json]] = {entry["action_id"]: entry for entry in map(json.loads, lines)}

    def route(self, asked: Asked) -> Answer:
        """Answer the control interface."""
        if asked.headers.get("authorization") != f"Bearer {self._control}":
            return Answer(401, {"error": "the control token is required"})
        match (asked.method, *asked.path.strip("/").split("/")):
            case ("GET", "processes"):
                return Answer(200, {"processes": [process.state() for process in self.processes.values()]})
            case ("GET", "processes", name) if name in self.processes:
                return Answer(200, self.processes[name].state())
            case ("POST", "processes", name, "restart") if name in self.processes:
                return self._restart(self.processes[name], asked.json().get("action_id"))
            case ("GET", "actions", action_id) if action_id in self._done:
                return Answer(200, {**self._done[action_id], "status": "done"})
            case _:
                return Answer(404, {"error": "no such thing"})

    def _restart(self, process: Supervised, action_id: Json) -> Answer:
        """Restart once for ``action_id``; the journal is written after the fact, so it never claims too much."""
        if not isinstance(action_id, str) or not action_id:
            return Answer(400, {"error": "field `action_id` is required"})
        with process.turn:
            if action_id not in self._done:
                process.stop()
                try:
                    pid = process.start("restarted")
                except TimeoutError as error:
                    return Answer(500, {"error": str(error)})
                process.restarts += 1
                entry = {"action_id": action_id, "name": process.name, "pid": pid, "state": "running"}
                with self._journal.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(entry) + "\n")
                self._done[action_id] = entry
        return Answer(200, self._done[action_id])


def main() -> None:
    """Start the shop, serve the control interface, and end everything on SIGTERM."""
    options = argparse.ArgumentParser(prog="demo.supervisor")
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--port", type=int, required=True)
    given = options.parse_args()
    (given.folder / "logs").mkdir(exist_ok=True)
    supervisor = Supervisor(given.folder, input())
    server = LoopbackServer(given.port, supervisor.route)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    starts = [threading.Thread(target=process.start) for process in supervisor.processes.values()]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    addresses = {name: process.address for name, process in supervisor.processes.items()}
    sampler = Sampler(addresses, given.folder / "sli.jsonl")
    sampler.start()
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        sampler.stop()
        for process in supervisor.processes.values():
            process.stop()


if __name__ == "__main__":
    main()
