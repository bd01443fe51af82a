"""The main job over its faults and seeds: the command as a person runs it, and the final object that it prints.

The program judges itself against ``demo/outcome.py`` and exits 0 only if all holds; this counts, and keeps what it said.
Raises nothing for a run that fails: that is a violation of its row.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.parts import ROOT

Json = Any
SECONDS = 1200
NUMBERS = {
    "alert to finding s": re.compile(r"from the alert to the finding: (\d+) s"),
    "queries": re.compile(r"(\d+) queries"),
    "tokens": re.compile(r"(\d+) model tokens"),
}
"""What the story tells in words, by name."""
SEEDS: Mapping[str, Sequence[int]] = {
    "bad-config": (1, 2, 3, 4, 5),
    "dependency-down": (1, 2, 3, 4),
    "slow-query": (1, 2, 3, 4),
    "crash-loop": (1, 2, 3, 4),
    "noisy-alert": (1, 2, 3, 4),
    "healthy": (1, 2, 3, 4),
    "pool-leak": (1, 2, 3, 4),
    "lock-hang": (1, 2, 3, 4),
    "bad-cache": (1, 2, 3, 4),
}


def seeds(faults: Sequence[str] = (), most: int = 5) -> list[tuple[str, int]]:
    """Each (fault, seed), first seeds first: a campaign that is cut short has seen every fault."""
    chosen = {fault: SEEDS[fault][:most] for fault in faults or SEEDS}
    longest = max(len(one) for one in chosen.values())
    return [(fault, one[place]) for place in range(longest) for fault, one in chosen.items() if place < len(one)]


def runs(chosen: Sequence[tuple[str, int]], *, jobs: int, model: bool = True) -> Iterator[dict[str, Json]]:
    """A row a run, ``jobs`` at a time, as they end."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda one: run(*one, model=model), chosen)


def run(fault: str, seed: int, *, model: bool = True) -> dict[str, Json]:
    """One run in a folder of its own, and what it came to, with the machine's load before and after it."""
    command = [sys.executable, "-m", "demo", "--yes", "--no-browser", "--json", "--fault", fault, "--seed", str(seed)]
    command += [] if model else ["--no-model"]
    began, load = time.monotonic(), os.getloadavg()[0]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return _row(fault, seed, [f"no end within {SECONDS} s"], {}, float(SECONDS))
    figures = json.loads(done.stdout) if done.stdout.strip() else {}
    wrong = [line.strip(" ✗") for line in done.stderr.splitlines() if line.strip().startswith("✗")]
    violations = [] if done.returncode == 0 else wrong or [f"exit {done.returncode}"]
    row = _row(fault, seed, violations, figures, time.monotonic() - began)
    told = {
        name: found and int(found[1])
        for name, found in ((name, one.search(done.stderr)) for name, one in NUMBERS.items())
    }
    return row | told | {"model": model, "load": [round(load, 1), round(os.getloadavg()[0], 1)]}


def _row(
    fault: str, seed: int, violations: Sequence[str], figures: Mapping[str, Json], seconds: float
) -> dict[str, Json]:
    diagnosis = figures.get("diagnosis", {})
    cause = diagnosis.get("cause") or {}
    action = figures.get("action") or {}
    verdicts = [one["verdict"] for one in diagnosis.get("claims", ())]
    return {
        "campaign": "demo",
        "fault": fault,
        "seed": seed,
        "verdict": diagnosis.get("verdict", ""),
        "cause": f"{cause.get('fault', '')} at {cause.get('component', '')}" if cause else "",
        "verified": verdicts.count("verified"),
        "refuted": verdicts.count("refuted"),
        "action": action.get("name", ""),
        "tier": action.get("tier", 0),
        "state": figures.get("incident", {}).get("state", ""),
        "recovered": figures.get("recovered", False),
        "escalated": figures.get("escalated", False),
        "notices": figures.get("notices", 0),
        "model calls": figures.get("model_calls", 0),
        "seconds": round(seconds, 1),
        "violations": list(violations),
    }


WIDTHS = {
    "fault": 15, "seed": 4, "verdict": 12, "cause": 29, "verified": 8, "refuted": 7, "action": 21, "state": 9, "notices": 7,
    "alert to finding s": 18, "queries": 7, "tokens": 6, "model calls": 11, "seconds": 7, "load": 11,
}  # fmt: skip


def line(row: Mapping[str, Json]) -> str:
    """One row of the printed table."""
    ended = "; ".join(row["violations"]) or "as it has to"
    return " ".join(f"{row.get(name, '')!s:<{width}}" for name, width in WIDTHS.items()) + " " + ended


def heading() -> str:
    """The table's first line."""
    return " ".join(f"{name:<{width}}" for name, width in WIDTHS.items())
