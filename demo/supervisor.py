"""Keeps the shop's processes: ``python -m demo.supervisor --folder DIR --port N``; the control token on standard input.

The control interface, on loopback, with ``Authorization: Bearer TOKEN`` (the protocol of the gate's connector ``local``):

- ``GET /processes/{name}``: ``{"name","pid","state": "running|starting|stopped|failed","started_at_ns","restarts"}``
- ``POST /processes/{name}/restart {"action_id","expected_pid"?}``: ends the process and starts a fresh one, once for each
  action id: ``{"action_id","state": "done","process"}``. The same id again gives that answer and does nothing; 409, and
  nothing done, where the process is not the expected one.
- ``GET /actions/{action_id}``: that answer (``state`` is ``running``, ``done`` or ``failed``), or 404 for an unknown id.

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
        self.started_at_ns = 0
        self.config = folder / "config" / f"{name}.toml"
        self.address = f"http://127.0.0.1:{Config.read(self.config).port}"
        self._folder = folder
        self._control = control
        self._child: subprocess.Popen[bytes] | None = None
        self._ready = self._stopped = False

    def start(self, event: str = "started") -> None:
        """Start the process and wait until it answers. Raises ``TimeoutError``."""
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
        self._ready = self._stopped = False
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own module
        assert self._child.stdin is not None
        self._child.stdin.write(self._control.encode() + b"\n")
        self._child.stdin.close()
        self.started_at_ns = time.time_ns()
        until = time.monotonic() + READY_SECONDS
        while not self._answers():
            if time.monotonic() > until or self._child.poll() is not None:
                raise TimeoutError(f"{self.name} did not come up")
            time.sleep(0.02)
        self._ready = True
        self._note(event)

    def stop(self) -> None:
        """End the process, by force if it does not go."""
        if self._child is None:
            return
        self._stopped = True
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._note("stopped")

    def state(self) -> dict[str, Json]:
        """What the control interface tells of it."""
        child = self._child
        if child is None:
            state = "stopped"
        elif child.poll() is None:
            state = "running" if self._ready else "starting"
        else:
            state = "stopped" if self._stopped else "failed"
        return {
            "name": self.name,
            "pid": child.pid if child is not None and child.poll() is None else 0,
            "state": state,
            "started_at_ns": self.started_at_ns,
            "restarts": self.restarts,
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
        self._known: dict[str, dict[str, Json]] = {entry["action_id"]: entry for entry in map(json.loads, lines)}

    def route(self, asked: Asked) -> Answer:
        """Answer the control interface."""
        if asked.headers.get("authorization") != f"Bearer {self._control}":
            return Answer(401, {"error": "the control token is required"})
        match (asked.method, *asked.path.strip("/").split("/")):
            case ("GET", "processes", name) if name in self.processes:
                return Answer(200, self.processes[name].state())
            case ("POST", "processes", name, "restart") if name in self.processes:
                return self._restart(self.processes[name], asked.json())
            case ("GET", "actions", action_id) if action_id in self._known:
                return Answer(200, self._known[action_id])
            case _:
                return Answer(404, {"error": "no such thing"})

    def _restart(self, process: Supervised, wish: dict[str, Json]) -> Answer:
        """Restart once for ``action_id``; the journal says ``running`` before and ``done`` or ``failed`` after."""
        action_id, expected = wish.get("action_id"), wish.get("expected_pid")
        if not isinstance(action_id, str) or not action_id:
            return Answer(400, {"error": "field `action_id` is required"})
        with process.turn:
            if action_id in self._known:
                return Answer(200, self._known[action_id])
            if expected is not None and expected != process.state()["pid"]:
                return Answer(409, {"error": "the process is another one: nothing was done"})
            self._write({"action_id": action_id, "state": "running", "process": process.state()})
            process.stop()
            try:
                process.start("restarted")
            except TimeoutError as error:
                self._write({"action_id": action_id, "state": "failed", "process": process.state()})
                return Answer(500, {"error": str(error)})
            process.restarts += 1
            self._write({"action_id": action_id, "state": "done", "process": process.state()})
        return Answer(200, self._known[action_id])

    def _write(self, entry: dict[str, Json]) -> None:
        """Remember what is known of an action, also past this process."""
        with self._journal.open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")
        self._known[entry["action_id"]] = entry


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
