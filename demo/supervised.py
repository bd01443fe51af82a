"""One service's process as the supervisor keeps it: started, watched, tried again when it dies, ended."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from demo import warm
from demo.wire import Json, call

READY_SECONDS = 120.0
STOP_SECONDS = 3.0
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0)
WELL_SECONDS = 10.0


class NotUp(Exception):
    """A process that was started did not come up; the text says how it ended."""


class Supervised:
    """One service's process; callers hold ``turn`` while they change it.

    Each start and end is a line of ``processes.jsonl``: ``{"at","service","pid","event"}`` with the events ``started``,
    ``stopped``, ``restarted``, ``deployed`` (started anew for a new configuration) and ``exited`` (by itself).
    """

    def __init__(self, name: str, address: str, folder: Path, control: str) -> None:
        self.name = name
        self.turn = threading.RLock()
        self.address = address
        self.restarts = self.exits = self.exit_code = self.last_exit_s = self.started_at_ns = 0
        self.cache = folder / "cache" / name
        self._folder = folder
        self._control = control
        self._child: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._wanted = False
        self._try_at = 0.0

    def start(self, event: str = "started") -> None:
        """Start the process and wait until it answers. Raises ``NotUp``; it is tried again later then."""
        command = [sys.executable, "-m", "demo.shop", self.name, "--folder", str(self._folder)]
        self._ready, self._wanted = False, True
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own module
        assert self._child.stdin is not None
        self._child.stdin.write(self._control.encode() + b"\n")
        self._child.stdin.close()
        self.started_at_ns = time.time_ns()
        until = time.monotonic() + READY_SECONDS
        while not self._answers():
            if self._child.poll() is not None:
                self._died()
                raise NotUp(f"{self.name} ended with {self._child.returncode} at its start")
            if time.monotonic() > until:
                raise NotUp(f"{self.name} did not answer within {READY_SECONDS:.0f} seconds")
            time.sleep(0.02)
        self._ready = True
        self._note(event)

    def stop(self) -> None:
        """End the process, by force if it does not go."""
        self._wanted = False
        if self._child is None or self._child.poll() is not None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._note("stopped")

    def watch(self) -> None:
        """Notice an end that nobody asked for, and try again when the pause is over."""
        if not self.turn.acquire(blocking=False):
            return
        try:
            if self._child is None or not self._wanted:
                return
            if self._child.poll() is None:
                if self.exits and time.time_ns() - self.started_at_ns > WELL_SECONDS * 10**9:
                    self.exits = self.exit_code = 0
            elif self._ready:
                self._died()
            elif time.monotonic() >= self._try_at:
                self.retry()
        finally:
            self.turn.release()

    def retry(self) -> None:
        """Try to start it now; the next pause is longer where it dies again."""
        try:
            self.start()
        except NotUp as error:
            sys.stderr.write(f"{error}\n")

    def running(self) -> bool:
        """Whether its process is there."""
        return self._child is not None and self._child.poll() is None

    def state(self) -> dict[str, Json]:
        """What the control interface tells of it."""
        child = self._child
        if self.running():
            state = "running" if self._ready else "starting"
        elif child is None or not self._wanted:
            state = "stopped"
        else:
            state = "backoff"
        return {
            "name": self.name,
            "pid": child.pid if child is not None and self.running() else 0,
            "state": state,
            "started_at_ns": self.started_at_ns,
            "restarts": self.restarts,
            "exits": self.exits,
            "exit_code": self.exit_code,
            "last_exit_s": self.last_exit_s,
        }

    def _died(self) -> None:
        """Its process ended by itself."""
        assert self._child is not None
        self._ready = False
        self.exit_code = self._child.wait()
        self.last_exit_s = int(time.time())
        self._try_at = time.monotonic() + BACKOFF_SECONDS[min(self.exits, len(BACKOFF_SECONDS) - 1)]
        self.exits += 1
        self._note("exited")

    def _answers(self) -> bool:
        try:
            return call("GET", self.address + "/healthz", seconds=5.0)[0] == 200
        except OSError:
            return False

    def _note(self, event: str) -> None:
        assert self._child is not None
        line = {"at": round(time.time(), 3), "service": self.name, "pid": self._child.pid, "event": event}
        with (self._folder / "processes.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def cache_state(folder: Path) -> Mapping[str, Json]:
    """What is known of a cache on disk: ``{"present","digest","bytes"}``."""
    try:
        content = (folder / warm.FILE).read_bytes()
    except FileNotFoundError:
        return {"present": False, "digest": "", "bytes": 0}
    return {"present": True, "digest": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def cache_clear(folder: Path) -> None:
    """Move the cache aside, under its digest."""
    now = cache_state(folder)
    if now["present"]:
        (folder / warm.FILE).replace(folder / f"aside-{now['digest']}")


def cache_restore(folder: Path, digest: str) -> bool:
    """Bring back what was moved aside under ``digest``; False where there is no such thing."""
    if cache_state(folder)["digest"] == digest:
        return True
    aside = folder / f"aside-{digest}"
    if not aside.exists():
        return False
    cache_clear(folder)
    aside.replace(folder / warm.FILE)
    return True
