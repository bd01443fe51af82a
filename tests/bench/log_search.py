"""``python -m tests.bench.log_search``: what searching the log costs at a million records.

A gate is filled with made-up records in the proportions of real traffic (``filled.py``); then the page of the console, the
route behind it and the bare query are measured in turns, in process, for the searches that people make and for those that
are hardest (two common filters that never meet). Figures are milliseconds on this machine; ``results/log-search.json`` keeps them.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from broker.store import logindex
from broker.store.logindex import Sought
from tests.bench.filled import START, fill
from tests.sim.visitor import signed_in
from tests.sim.world import World, world

RESULTS = Path(__file__).with_name("results") / "log-search.json"
SEARCHES: dict[str, dict[str, Any]] = {
    "newest": {},
    "a week": {"since": START + 23 * 86_400},
    "one agent": {"principal": "per_" + "0" * 31 + "7"},
    "rare agent": {"principal": "per_" + "f" * 32},
    "one action": {"action": "local.process.restart"},
    "actions that begin so": {"action": "tickets."},
    "denied": {"effect": "deny"},
    "one rule": {"code": "limits.exceeded"},
    "one session": {"session": "ses_000123"},
    "one incident": {"incident": "inc_0007"},
    "tier 3": {"tier": 3},
    "without looks": {"own": False},
    "never meet": {"effect": "deny", "action": "local.metrics.query"},
    "never meet, in a window": {"effect": "deny", "action": "local.metrics.query", "since": START + 86_400},
}


async def timed(what: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    """Milliseconds of each."""
    await what()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        await what()
        found.append((time.perf_counter() - started) * 1000)
    return found


def told(samples: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the slowest."""
    ordered = sorted(samples)
    return {
        "p50": round(statistics.median(ordered), 2),
        "p95": round(ordered[int(len(ordered) * 0.95)], 2),
        "max": round(ordered[-1], 2),
    }


async def measure(it: World, times: int) -> dict[str, Any]:
    """Each search as query, as route and as page."""
    found: dict[str, Any] = {}
    for name, said in SEARCHES.items():
        sought = Sought(**{"since": 1, **said})
        query = {"since": 1, **{key: int(one) if isinstance(one, bool) else one for key, one in said.items()}}
        auditor, visitor = await it.person("auditor"), await signed_in(it, "auditor")
        page = {key: one for key, one in query.items() if key != "since"}

        async def bare(sought: Sought = sought) -> None:
            await it.gate.store.read(lambda c: logindex.page(c, "default", sought, limit=50))

        async def route(query: dict[str, Any] = query, who: dict[str, str] = auditor) -> None:
            answer = await it.client.get("/v1/audit/search", params=query, headers=who)
            assert answer.status_code == 200, answer.text

        async def shown(page: dict[str, Any] = page, visitor: Any = visitor) -> None:
            answer = await visitor.client.get("/console/audit", params={"since": "2020-01-01T00:00", **page})
            assert answer.status_code == 200, answer.text

        found[name] = {
            "query": told(await timed(bare, times)),
            "route": told(await timed(route, times)),
            "page": told(await timed(shown, times)),
        }
        await visitor.client.aclose()
        it.clock.advance(120)
        print(
            f"{name:<26}" + "".join(f"{kind} {one['p50']:>7} / {one['p95']:>7}   " for kind, one in found[name].items())
        )
    return found


def main() -> None:
    """Fill, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.log_search", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()

    async def run() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="wglog") as folder:
            async with world(Path(folder)) as it:
                filled = await fill(it, given.records)
                print(f"{given.records} records made in {filled:.0f} s; milliseconds p50 / p95")
                size = (Path(folder) / "data" / "gate.db").stat().st_size
                found = await measure(it, given.times)
                return {"filled_s": round(filled, 1), "database_bytes": size, "searches": found}

    measured = asyncio.run(run())
    facts = {
        "records": given.records,
        "times": given.times,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    given.out.write_text(json.dumps({**facts, **measured}, indent=1) + "\n")


if __name__ == "__main__":
    main()
