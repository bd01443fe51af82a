"""Samples to a table for people and to one JSON object for whoever wants to compute anew."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.meters import Disk, Variant, at, middle
from tests.parts import PARTS, ROOT

DIRECT = 1
"""Index of the direct call among the variants."""
GOAL_ADDED_MS, GOAL_CPU_US = 1.5, 800
PACKAGES = ("uvicorn", "uvloop", "httptools", "starlette", "fastapi", "orjson", "aiohttp", "sqlalchemy", "cryptography", "gordon-to-regorus", "opa-python-client")  # fmt: skip
THROWAWAY = """\
For comparison, throw-away prototypes measured while the design was made, on the same kind of machine and not in this run:
  token cache, pydantic, limiter, 2 chained records, no policy, no redaction, no call out: 247 us CPU quiet, 345-450 noisy;
    alone p50 0.88 ms, p99 3.1 ms; 3,770/s at 16
  typed routes, middleware class, signature check each, HTTP client a call, ORM rows:    7,860 us CPU; 122/s at 16
  budget of a gated write: 800-1,100 us CPU, of which 380-570 us policy and 140-340 us the call out"""


def table(variants: Sequence[Variant], disk: Disk) -> str:
    """The figures side by side, then the goals."""
    direct, syncs = at(variants[DIRECT].latencies, 50), at(disk.times, 50)
    direct_p99, floor = at(variants[DIRECT].latencies, 99), middle(variants[0].crowded_cpu)
    head = f"{'':24}| one at a time, ms                            | CPU us an action   | 16 at once"
    names = f"{'':24}|    p50    p99  added  added  over 2 | process  engine    |  CPU us  engine  x floor   p50 ms   p99 ms  per s"
    more = f"{'':24}|                  p50    p99   syncs |"
    lines = [head, names, more]
    for one in variants:
        p50, p99 = at(one.latencies, 50), at(one.latencies, 99)
        cpu, engine = middle(one.sequential_cpu), middle(one.sequential_engine)
        crowded, deciding = middle(one.crowded_cpu), middle(one.crowded_engine)
        added = f"{p50 - direct:6.2f} {p99 - direct_p99:6.2f} {p50 - direct - syncs:7.2f}" if one.gated else " " * 21
        lines.append(
            f"{one.name:24}| {p50:6.2f} {p99:6.2f} {added} | {cpu:7.0f} {engine:7.0f}    | {crowded:7.0f} {deciding:7.0f}"
            f" {crowded / floor:8.0f} {at(one.crowded, 50):8.2f} {at(one.crowded, 99):8.2f} {middle(one.rates):6.0f}"
        )
    lines.append(f"{'two syncs of this disk':24}| {syncs:6.2f} {at(disk.times, 99):6.2f}")
    return "\n".join([*lines, "", *_goals(variants, direct, syncs), "", THROWAWAY])


def _goals(variants: Sequence[Variant], direct: float, syncs: float) -> list[str]:
    lines = []
    for one in variants:
        if one.gated:
            over, cpu = at(one.latencies, 50) - direct - syncs, middle(one.crowded_cpu)
            kept = [f"{over:5.2f} ms of {GOAL_ADDED_MS} {_word(over <= GOAL_ADDED_MS)}"]
            kept.append(f"{cpu:5.0f} us CPU of {GOAL_CPU_US} {_word(cpu <= GOAL_CPU_US)}")
            lines.append(f"goal, {one.name:24} added p50 over two syncs {kept[0]};  without policy time {kept[1]}")
    return lines


def _word(met: bool) -> str:
    return "met" if met else "MISSED"


def report(variants: Sequence[Variant], disk: Disk, given: Mapping[str, Any]) -> dict[str, Any]:
    """Machine, versions, command and every sample; times in microseconds."""
    return {
        "command": [Path(sys.executable).name, "-m", "tests.bench", *sys.argv[1:]],
        "given": dict(given),
        "commit": _told("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "load": os.getloadavg(),
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in PACKAGES} | {"opa": _told(str(PARTS / "opa"), "version")[:16]},
        "two_syncs_us": [time // 1000 for time in disk.times],
        "variants": [_samples(one) for one in variants],
    }


def _samples(one: Variant) -> dict[str, Any]:
    times = {"alone_us": one.latencies, "at_once_us": one.crowded}
    rounds = {
        "alone_cpu_us": one.sequential_cpu,
        "alone_engine_cpu_us": one.sequential_engine,
        "at_once_cpu_us": one.crowded_cpu,
        "at_once_engine_cpu_us": one.crowded_engine,
        "per_second": one.rates,
    }
    return {
        "name": one.name,
        **{name: [time // 1000 for time in values] for name, values in times.items()},
        **{name: [round(value, 1) for value in values] for name, values in rounds.items()},
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _told(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
