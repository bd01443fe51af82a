"""The main job over its faults and seeds: the command as a person runs it, and the final object that it prints.

The program judges itself against ``demo/outcome.py`` and exits 0 only if all holds; this counts, and keeps what it said.
Raises nothing for a run that fails: that is a violation of its row.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.parts import ROOT

Json = Any
SECONDS = 420
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


def seeds(faults: Sequence[str] = ()) -> list[tuple[str, int]]:
    """Each (fault, seed), first seeds first: a campaign that is cut short has seen every fault."""
    chosen = {fault: SEEDS[fault] for fault in faults or SEEDS}
    longest = max(len(one) for one in chosen.values())
    return [(fault, one[place]) for place in range(longest) for fault, one in chosen.items() if place < len(one)]


def runs(chosen: Sequence[tuple[str, int]], *, jobs: int) -> Iterator[dict[str, Json]]:
    """A row a run, ``jobs`` at a time, as they end."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda one: run(*one), chosen)


def run(fault: str, seed: int) -> dict[str, Json]:
    """One run in a folder of its own, and what it came to."""
    command = [sys.executable, "-m", "demo", "--yes", "--no-browser", "--json", "--fault", fault, "--seed", str(seed)]
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return _row(fault, seed, [f"no end within {SECONDS} s"], {}, float(SECONDS))
    figures = json.loads(done.stdout) if done.stdout.strip() else {}
    wrong = [line.strip(" ✗") for line in done.stderr.splitlines() if line.strip().startswith("✗")]
    violations = [] if done.returncode == 0 else wrong or [f"exit {done.returncode}"]
    return _row(fault, seed, violations, figures, time.monotonic() - began)


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
        "model calls": figures.get("model_calls", 0),
        "seconds": round(seconds, 1),
        "violations": list(violations),
    }


def line(row: Mapping[str, Json]) -> str:
    """One row of the printed table."""
    names = ("fault", "seed", "verdict", "cause", "verified", "refuted", "action", "state", "model calls", "seconds")
    widths = (16, 4, 12, 30, 3, 3, 22, 10, 3, 6)
    ended = "; ".join(row["violations"]) or "as it has to"
    return " ".join(f"{row[name]!s:<{width}}" for name, width in zip(names, widths, strict=True)) + " " + ended
