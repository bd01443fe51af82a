"""``make bench-console``: what a page of the console costs where the log has a million records.

A real log, indexed and published, with the lists that go with it (``filled.py``). In process, by a signed-in person, pages
in turns: server time, statements, asks and bytes of each list page and of each search; then, in a real browser, requests of
a page with a warm cache and of open pages that nobody touches; and the scripts' size as it travels.

Server time is from the whole request at the gate's guard to the last byte of the answer: sign-in looked up, policy asked,
two durable records for each ask with their syncs, the queries, the template. Not in it: the HTTP server's parsing and the
network. Milliseconds of this machine, as busy as it was (``load``): ``sync`` is what one durable write of 4 KB took between the pages,
``processor`` the process's own share. ``results/console.json`` keeps every sample.
"""

import argparse
import asyncio
import gzip
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import text
from starlette.types import Receive, Scope, Send

from broker.web.console.static import FOLDER
from broker.web.guard import App
from tests.bench.filled import fill
from tests.bench.log_search import SEARCHES
from tests.browser.chrome import Visited, chromium, sign_in
from tests.browser.lived_in import LivedIn, lived_in
from tests.sim.statements import Watch, watched
from tests.sim.visitor import SAME_ORIGIN, signed_in
from tests.sim.world import World, world
from tests.stores import fresh_url

RESULTS = Path(__file__).with_name("results") / "console.json"
WEEK = "2020-01-01T00:00"
LISTS = tuple(
    f"/console/{name}"
    for name in ("inbox", "live", "incidents", "agents", "exports", "policies", "usage", "health", "simulate", "keys")
)
GOAL_MS, REQUESTS_MAX, IDLE_A_SECOND, SCRIPT_BYTES = 50, 3, 1.0, 25 * 1024
IDLE_SECONDS = 20


def pages() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> path and query: each list, and each search of the explorer over the whole log."""
    found: dict[str, tuple[str, dict[str, Any]]] = {path.rpartition("/")[2]: (path, {}) for path in LISTS}
    for name, said in SEARCHES.items():
        asked = {key: int(one) if isinstance(one, bool) else one for key, one in said.items() if key != "since"}
        found[f"audit: {name}"] = ("/console/audit", {"since": WEEK, **asked})
    return found


class Timed:
    """An application that says how long its last answer took, by the clock and of the processor, in milliseconds."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.ms = self.processor_ms = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI event scope."""
        started, used = time.perf_counter(), time.process_time()
        await self._app(scope, receive, send)
        self.ms, self.processor_ms = (time.perf_counter() - started) * 1000, (time.process_time() - used) * 1000


async def served(it: World, watch: Watch, rounds: int) -> dict[str, Any]:
    """Each page ``rounds`` times, in turns; the person is another login each round, as limits and presence ask.

    A round before them warms up and one counts what is asked; neither is timed.
    """
    found: dict[str, dict[str, Any]] = {name: {"ms": [], "processor_ms": [], "sync_ms": []} for name in pages()}
    timed = it.app = Timed(it.app)
    for round_ in range(-1, rounds + 1):
        visitor = await signed_in(it, "security")
        for name, (path, query) in pages().items():
            before = await it.gate.log.size("default")
            with watch.listening() if round_ == 0 else nullcontext() as asked:
                answer = await visitor.client.get(path, params=query, headers=SAME_ORIGIN)
            assert answer.status_code == 200, (name, answer.status_code, answer.text[:400])
            if asked is not None:
                asks = (await it.gate.log.size("default") - before) // 2
                found[name] |= {"bytes": len(answer.content), "statements": len(asked.statements), "asks": asks}
            if round_ > 0:
                found[name]["ms"].append(round(timed.ms, 3))
                found[name]["processor_ms"].append(round(timed.processor_ms, 3))
                found[name]["sync_ms"].append(round(synced(it.data), 3))
        await visitor.client.aclose()
        it.clock.advance(120)
    for one in found.values():
        one |= {f"p{share}": percentile(one["ms"], share) for share in (50, 95, 99)}
        one |= {"processor": percentile(one["processor_ms"], 50), "sync": percentile(one["sync_ms"], 50)}
    return found


def synced(folder: Path) -> float:
    """Milliseconds of one durable write of a page, beside the databases."""
    with (folder / "synced").open("ab", buffering=0) as file:
        started = time.perf_counter()
        file.write(bytes(4_096))
        os.fsync(file.fileno())
        return (time.perf_counter() - started) * 1000


def percentile(samples: list[float], share: int) -> float:
    """The value below which ``share`` hundredths of the samples lie (nearest rank)."""
    ordered = sorted(samples)
    return round(statistics.median(ordered) if share == 50 else ordered[-(-len(ordered) * share // 100) - 1], 2)


def in_browser(lived: LivedIn) -> dict[str, Any]:
    """Requests of each page once its files are in the browser's cache, and what open pages ask for by themselves."""
    with chromium(*lived.arguments) as chrome, chrome.window(lived) as window:
        sign_in(window, "security")
        loads = {path: _loads(window, path) for path in (*LISTS, "/console/audit")}
        idle: dict[str, list[str]] = {}
        for path in ("/console/inbox", "/console/live"):
            window.page.goto(path)
            window.page.wait_for_load_state("load")
            window.requests.clear()
            window.page.wait_for_timeout(IDLE_SECONDS * 1000)
            idle[path] = [urlsplit(one).path for one in window.requests]
        return {"requests": loads, "idle_seconds": IDLE_SECONDS, "idle": idle}


def _loads(window: Visited, path: str) -> int:
    """How often the browser asked the gate for a page that it has seen before; files from its cache do not count."""
    window.page.goto(path)
    window.page.wait_for_load_state("load")
    answered: list[dict[str, Any]] = []
    kept: set[str] = set()
    wire = window.context.new_cdp_session(window.page)
    wire.on("Network.responseReceived", lambda one: answered.append(one))  # noqa: PLW0108 - it marks what it is given
    wire.on("Network.requestServedFromCache", lambda one: kept.add(one["requestId"]))
    wire.send("Network.enable")
    window.page.goto(path)
    window.page.wait_for_load_state("load")
    wire.detach()
    return sum(1 for one in answered if not one["response"]["fromDiskCache"] and one["requestId"] not in kept)


def scripts() -> dict[str, int]:
    """Bytes of each script, compressed."""
    return {one.name: len(gzip.compress(one.read_bytes(), 9)) for one in sorted(FOLDER.rglob("*.js"))}


def shown(found: dict[str, Any]) -> str:
    """The figures as a table, each against its goal."""
    names = ("p50", "p95", "p99", "processor", "sync", "statements", "asks")
    lines = [f"{'page':<34}" + "".join(f"{name:>11}" for name in (*names, "KB"))]
    lines += [
        f"{page:<34}" + "".join(f"{one[name]:>11}" for name in names) + f"{one['bytes'] / 1024:>11.1f}"
        for page, one in found["pages"].items()
    ]
    worst = max(one["p50"] for one in found["pages"].values())
    total = sum(found["scripts"].values())
    requests = max(found["browser"]["requests"].values())
    idle = max(len(one) for one in found["browser"]["idle"].values()) / IDLE_SECONDS
    summary = (
        f"{found['records']} records, {found['cores']} cores, load {found['load'][0]} to {found['load'][1]}; "
        f"worst median {worst} ms (goal {GOAL_MS}); requests a page {requests} "
        f"(goal {REQUESTS_MAX}); idle {idle:.2f} requests a second (goal {IDLE_A_SECOND:.0f}); "
        f"scripts {total / 1024:.1f} KB (goal {SCRIPT_BYTES // 1024})"
    )
    return "\n".join([*lines, "", summary])


def made(folder: Path, count: int, store_url: str) -> float:
    """The data folder (and database) of a gate that has ``count`` records and was stopped; seconds."""
    seconds = 0.0

    async def scene() -> None:
        nonlocal seconds
        async with world(folder, store_url=store_url) as it:
            seconds = await fill(it, count)
            if store_url:
                await it.gate.store.write(lambda c: c.execute(text("ANALYZE")))

    asyncio.run(scene())
    return seconds


def main() -> None:
    """Fill a gate, start one on what it left, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.console", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--out", type=Path, help="where the samples go; default: beside those that are kept")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--kept", type=Path, help="a filled gate's data: used if it is there, else made and left there")
    given = parser.parse_args()
    store_url = fresh_url("postgresql", Path()) if given.store == "postgresql" else ""
    found: dict[str, Any] = {"store": given.store, "records": given.records, "rounds": given.rounds}
    found |= {"python": platform.python_version(), "cores": os.cpu_count(), "scripts": scripts()}

    async def scene(it: World) -> dict[str, Any]:
        found["records"] = await it.gate.log.size("default")
        found["load"] = [round(os.getloadavg()[0], 1)]
        found["pages"] = await served(it, watch, given.rounds)
        found["load"].append(round(os.getloadavg()[0], 1))
        return {}

    with tempfile.TemporaryDirectory(prefix="wgconsole") as folder, watched() as watch:
        here = Path(folder)
        data = given.kept or here / "filled" / "data"
        if not data.is_dir():
            (here / "first").mkdir()
            found["filled_s"] = round(made(here / "first", given.records, store_url), 1)
            print(f"{given.records} records made in {found['filled_s']:.0f} s", flush=True)
            data.parent.mkdir(exist_ok=True)
            shutil.move(here / "first" / "data", data)
        shutil.copytree(data, here / "data")
        found["databases"] = {one.name: one.stat().st_size for one in sorted(data.glob("*.db"))}
        with lived_in(here, scene, wait=3_600, store_url=store_url) as lived:
            found["browser"] = in_browser(lived)
    out = given.out or RESULTS.with_name(RESULTS.name if given.store == "sqlite" else f"console-{given.store}.json")
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{shown(found)}\n\nsamples: {out}")


if __name__ == "__main__":
    main()
