"""``make bench-console``: what a page of the console costs where the log has a million records.

In process, by a signed-in person, pages in turns: server time (median, 99th percentile), asks and bytes of each list page
and of each search; then, in a real browser, requests of a page with a warm cache and of an open page that nobody touches;
and the scripts' size as it travels. Milliseconds of this machine; ``results/console.json`` keeps every sample.
"""

import argparse
import gzip
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from broker.web.console.static import FOLDER
from tests.bench.log_search import SEARCHES, fill
from tests.browser.chrome import Visited, chromium, sign_in
from tests.browser.lived_in import LivedIn, lived_in
from tests.sim.visitor import signed_in
from tests.sim.world import World

RESULTS = Path(__file__).with_name("results") / "console.json"
WEEK = "2020-01-01T00:00"
LISTS = ("/console/inbox", "/console/live", "/console/incidents", "/console/exports", "/console/agents")
GOAL_MS, REQUESTS_MAX, IDLE_A_SECOND, SCRIPT_BYTES = 50, 3, 1.0, 25 * 1024
IDLE_SECONDS = 20


def pages() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> path and query: each list, and each search of the explorer over the whole log."""
    found: dict[str, tuple[str, dict[str, Any]]] = {path.rpartition("/")[2]: (path, {}) for path in LISTS}
    for name, said in SEARCHES.items():
        asked = {key: int(one) if isinstance(one, bool) else one for key, one in said.items() if key != "since"}
        found[f"audit: {name}"] = ("/console/audit", {"since": WEEK, **asked})
    return found


async def served(it: World, rounds: int) -> dict[str, Any]:
    """Each page ``rounds`` times, in turns; the person is another login each round, as limits and presence ask."""
    found: dict[str, dict[str, Any]] = {name: {"ms": [], "bytes": 0, "asks": 0} for name in pages()}
    for round_ in range(rounds + 1):
        visitor = await signed_in(it, "security")
        for name, (path, query) in pages().items():
            before = await it.gate.records.checkpoint("default") if round_ == 0 else ""
            started = time.perf_counter()
            answer = await visitor.client.get(path, params=query, headers={"Sec-Fetch-Site": "same-origin"})
            taken = (time.perf_counter() - started) * 1000
            assert answer.status_code == 200, (name, answer.status_code, answer.text[:400])
            if round_:
                found[name]["ms"].append(round(taken, 3))
                continue
            after = await it.gate.records.checkpoint("default")
            found[name] |= {"bytes": len(answer.content), "asks": (_size(after) - _size(before)) // 2}
        await visitor.client.aclose()
        it.clock.advance(120)
    for one in found.values():
        one |= {"p50": percentile(one["ms"], 50), "p99": percentile(one["ms"], 99)}
    return found


def percentile(samples: list[float], share: int) -> float:
    """The value below which ``share`` hundredths of the samples lie (nearest rank)."""
    ordered = sorted(samples)
    return round(statistics.median(ordered) if share == 50 else ordered[-(-len(ordered) * share // 100) - 1], 2)


def _size(checkpoint: str) -> int:
    """Number of records under a checkpoint: its second line."""
    return int(checkpoint.split("\n")[1])


def in_browser(lived: LivedIn) -> dict[str, Any]:
    """Requests of each page once its files are in the browser's cache, and what an open inbox asks for by itself."""
    with chromium(*lived.arguments) as chrome, chrome.window(lived) as window:
        sign_in(window, "security")
        loads = {path: _loads(window, path) for path in (*LISTS, "/console/audit")}
        window.page.goto("/console/inbox")
        window.requests.clear()
        window.page.wait_for_timeout(IDLE_SECONDS * 1000)
        return {"requests": loads, "idle_requests_a_second": len(window.requests) / IDLE_SECONDS}


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
    lines = [f"{'page':<34}{'p50 ms':>8}{'p99 ms':>8}{'asks':>6}{'KB':>7}"]
    lines += [
        f"{name:<34}{one['p50']:>8}{one['p99']:>8}{one['asks']:>6}{one['bytes'] / 1024:>7.1f}"
        for name, one in found["pages"].items()
    ]
    worst = max(one["p50"] for one in found["pages"].values())
    total = sum(found["scripts"].values())
    requests = max(found["browser"]["requests"].values())
    idle = found["browser"]["idle_requests_a_second"]
    summary = (
        f"worst median {worst} ms (goal {GOAL_MS}); requests a page {requests} (goal {REQUESTS_MAX}); idle {idle:.2f} "
        f"requests a second (goal {IDLE_A_SECOND:.0f}); scripts {total / 1024:.1f} KB (goal {SCRIPT_BYTES // 1024})"
    )
    return "\n".join([*lines, "", summary])


def main() -> None:
    """Fill, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.console", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    found: dict[str, Any] = {"records": given.records, "rounds": given.rounds}
    found |= {"python": platform.python_version(), "cores": os.cpu_count(), "scripts": scripts()}

    async def scene(it: World) -> dict[str, Any]:
        filled = await fill(it, given.records)
        found.update(filled_s=round(filled, 1), pages=await served(it, given.rounds))
        return {}

    with tempfile.TemporaryDirectory(prefix="wgconsole") as folder, lived_in(Path(folder), scene, wait=3_600) as lived:
        found["browser"] = in_browser(lived)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{shown(found)}\n\nsamples: {given.out}")


if __name__ == "__main__":
    main()
