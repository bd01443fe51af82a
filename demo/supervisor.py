"""Keeps the shop's processes: ``python -m demo.supervisor --folder DIR --port N``; the control token on standard input.

It starts the services, tries again when one dies, deploys what the configuration's branch holds, samples their metrics once
a second (``sli.jsonl``) and remembers the samples for 15 minutes. Its control interface, on loopback behind
``Authorization: Bearer TOKEN``, is the protocol of the gate's connector ``local``: it stands in
``broker/connectors/local_supervisor.py``. The same action id again gives the first answer and does nothing.

``GET /deployed`` answers ``{"commit"}``: what the services run with.
"""

import argparse
import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from demo import repository, stock
from demo.history import History
from demo.shop import SERVICES
from demo.sli import Sampler
from demo.supervised import NotUp, Supervised, cache_clear, cache_restore, cache_state
from demo.wire import Answer, Asked, Json, LoopbackServer

WATCH_SECONDS = 0.1
INDEXED = "inventory"
"""The service with a database."""
DEPLOY_EVERY = 5
"""Looks at the processes for one look at the repository."""


class Refused(Exception):
    """Something that is asked cannot be done; ``status`` is the answer's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


Step = Callable[[Supervised, dict[str, Json]], None]


class Supervisor:
    """All processes, and which actions already happened (kept in ``actions.jsonl``)."""

    def __init__(self, folder: Path, control: str) -> None:
        addresses = json.loads((folder / "addresses.json").read_text(encoding="utf-8"))
        self.processes: Mapping[str, Supervised] = {
            name: Supervised(name, addresses[name], folder, control) for name in SERVICES
        }
        self.history = History()
        self.commit = ""
        self._folder = folder
        self._control = control
        self._journal = folder / "actions.jsonl"
        lines = self._journal.read_text(encoding="utf-8").splitlines() if self._journal.exists() else []
        self._known: dict[str, dict[str, Json]] = {entry["action_id"]: entry for entry in map(json.loads, lines)}
        self._writing = threading.Lock()

    def route(self, asked: Asked) -> Answer:
        """Answer the control interface."""
        if asked.headers.get("authorization") != f"Bearer {self._control}":
            return Answer(401, {"error": "the control token is required"})
        match (asked.method, *asked.path.strip("/").split("/")):
            case ("GET", "deployed"):
                return Answer(200, {"commit": self.commit})
            case ("GET", "actions", action_id) if action_id in self._known:
                return Answer(200, self._known[action_id])
            case (method, "processes", name, *verb) if name in self.processes:
                return self._process(method, self.processes[name], "/".join(verb), asked.json())
            case _:
                return Answer(404, {"error": "no such thing"})

    def _process(self, method: str, process: Supervised, verb: str, wish: dict[str, Json]) -> Answer:
        match (method, verb):
            case ("GET", ""):
                return Answer(200, process.state())
            case ("GET", "cache"):
                return Answer(200, cache_state(process.cache))
            case ("GET", "schema"):
                return Answer(200, {"indexes": self._schema(process.name)})
            case ("POST", "metrics"):
                return self._past(process.name, wish)
            case ("POST", _):
                return self._once(process, verb, wish)
            case _:
                return Answer(404, {"error": "no such thing"})

    # -- what is asked ----------------------------------------------------------------------------------------------

    def _past(self, name: str, asked: dict[str, Json]) -> Answer:
        """Series of the kept samples."""
        try:
            series = self.history.read(
                name,
                str(asked["metric"]),
                dict(asked.get("labels", {})),
                since_s=int(asked["since_s"]),
                until_s=int(asked["until_s"]),
                step_s=max(1, int(asked["step_s"])),
            )
        except (KeyError, TypeError, ValueError):
            return Answer(400, {"error": "fields `metric`, `since_s`, `until_s` and `step_s` are required"})
        return Answer(200, {"series": series})

    def _once(self, process: Supervised, verb: str, wish: dict[str, Json]) -> Answer:
        """Do it once for ``action_id``; the journal says ``running`` before and ``done`` or ``failed`` after."""
        steps: Mapping[str, tuple[Step, Step]] = {
            "restart": (_same_process, _restart),
            "start": (_nothing, _start),
            "cache/clear": (_same_cache, _clear),
            "cache/restore": (_digest_given, _restore),
            "index": (_known_index, self._index),
        }
        action_id = wish.get("action_id")
        if verb not in steps or not isinstance(action_id, str) or not action_id:
            return Answer(400, {"error": "field `action_id` is required, and the verb must be known"})
        check, do = steps[verb]
        with process.turn:
            if action_id in self._known:
                return Answer(200, self._known[action_id])
            try:
                check(process, wish)
            except Refused as refused:
                return Answer(refused.status, {"error": str(refused)})
            self._write(action_id, "running", process)
            try:
                do(process, wish)
            except (NotUp, OSError, sqlite3.Error) as error:
                self._write(action_id, "failed", process)
                return Answer(500, {"error": str(error)})
            self._write(action_id, "done", process)
        return Answer(200, self._known[action_id])

    def _schema(self, name: str) -> list[dict[str, Json]]:
        """The indexes of the database that the process works on; none where it has no database."""
        return list(stock.compare(self._folder / "data" / stock.FILE)) if name == INDEXED else []

    def _index(self, _: Supervised, wish: dict[str, Json]) -> None:
        stock.create_index(self._folder / "data" / stock.FILE, str(wish["index"]))

    def _write(self, action_id: str, state: str, process: Supervised) -> None:
        """Remember what is known of an action, also past this process."""
        known = {"process": process.state(), "cache": dict(cache_state(process.cache))}
        entry = {"action_id": action_id, "state": state, **known}
        with self._writing, self._journal.open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")
        self._known[action_id] = entry

    # -- what it does by itself -------------------------------------------------------------------------------------

    def deploy(self) -> None:
        """Bring the services to what the branch holds, where it holds something else."""
        bare = self._folder / "config.git"
        commit = repository.head(bare)
        if commit == self.commit:
            return
        changed = repository.deploy(bare, commit, self._folder / "deployed")
        first, self.commit = not self.commit, commit
        for name in [] if first else changed:
            process = self.processes[name]
            with process.turn:
                process.stop()
                try:
                    process.start("deployed")
                except NotUp as error:
                    sys.stderr.write(f"deployment of {commit[:12]}: {error}\n")

    def keep(self, stop: threading.Event) -> None:
        """Watch processes and repository until ``stop``."""
        looks = 0
        while not stop.wait(WATCH_SECONDS):
            looks += 1
            for process in self.processes.values():
                process.watch()
            if looks % DEPLOY_EVERY == 0:
                try:
                    self.deploy()
                except (subprocess.CalledProcessError, OSError) as error:
                    sys.stderr.write(f"deployment: {error}\n")


def _nothing(_: Supervised, __: dict[str, Json]) -> None:
    """Check nothing."""


def _same_process(process: Supervised, wish: dict[str, Json]) -> None:
    if wish.get("expected_pid") not in {None, process.state()["pid"]}:
        raise Refused(409, "the process is another one: nothing was done")


def _same_cache(process: Supervised, wish: dict[str, Json]) -> None:
    if wish.get("expected_digest") not in {None, cache_state(process.cache)["digest"]}:
        raise Refused(409, "the cache is another one: nothing was done")


def _digest_given(_: Supervised, wish: dict[str, Json]) -> None:
    if not re.fullmatch("[0-9a-f]{64}", str(wish.get("digest"))):
        raise Refused(400, "field `digest` is no SHA-256")


def _known_index(process: Supervised, wish: dict[str, Json]) -> None:
    if process.name != INDEXED or wish.get("index") not in stock.INDEXES:
        raise Refused(404, "the schema of this process names no such index")


def _restart(process: Supervised, _: dict[str, Json]) -> None:
    process.stop()
    process.start("restarted")
    process.restarts += 1


def _start(process: Supervised, _: dict[str, Json]) -> None:
    if not process.running():
        process.start()


def _clear(process: Supervised, wish: dict[str, Json]) -> None:
    """Whoever clears the cache of a process that cannot start wants it to start."""
    cache_clear(process.cache)
    _start(process, wish)


def _restore(process: Supervised, wish: dict[str, Json]) -> None:
    if not cache_restore(process.cache, str(wish["digest"])):
        raise FileNotFoundError("no cache was moved aside under this digest")


def main() -> None:
    """Start the shop, serve the control interface, and end everything on SIGTERM."""
    options = argparse.ArgumentParser(prog="demo.supervisor")
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--port", type=int, required=True)
    given = options.parse_args()
    for name in ("logs", "deployed", "cache"):
        (given.folder / name).mkdir(exist_ok=True)
    supervisor = Supervisor(given.folder, input())
    server = LoopbackServer(given.port, supervisor.route)
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()  # first: the services get the same signal, and their end is no crash
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    supervisor.deploy()
    starts = [threading.Thread(target=process.start) for process in supervisor.processes.values()]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    addresses = {name: process.address for name, process in supervisor.processes.items()}
    sampler = Sampler(addresses, given.folder / "sli.jsonl", supervisor.history)
    sampler.start()
    keeper = threading.Thread(target=supervisor.keep, args=(stop,), daemon=True)
    keeper.start()
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        stop.set()
        keeper.join(timeout=5)
        sampler.stop()
        for process in supervisor.processes.values():
            process.stop()


if __name__ == "__main__":
    main()
