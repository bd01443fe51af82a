"""``python -m tests.drill [--campaign NAME] [--kills N] [--store sqlite|postgres|both] [--seed N]``.

``gate``: kill the gate under load, again and again; ``stop``: tell it to end instead. ``responder``: many incidents at once, their workers killed. ``demo``: the main job
over its faults and seeds. ``identity``: real identity providers in the place of ours. ``races``: everybody at once about one approval. ``limits``: four gates and one budget. ``faults``: each kind at each step. ``conformance``, ``overload``, ``kill-switch``, ``soak``: as their files say. Prints a table, writes the raw figures to ``tests/bench/results`` with ``--keep``, exits 1 on any violation.
"""

import argparse
import asyncio
import datetime as dt
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.attacks import campaign as attacks
from tests.drill import claude_code, conformance, demo_seeds, identity, kill_switch, limit_races, overload, races, soak
from tests.drill.campaign import Campaign
from tests.drill.responder import Campaign as Responder
from tests.drill.responder_verdict import judge as judge_responder
from tests.drill.verdict import judge
from tests.parts import ROOT, fresh_database

INCIDENTS = 20
"""Of one campaign of the responder; its workers die a fifth as often as the gate of the other."""
ALONE: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "claude-code": lambda _: claude_code.run(),
    "conformance": lambda _: conformance.run(),
    "faults": lambda _: attacks.run(),
    "overload": lambda seconds: overload.run(seconds or 30),
    "kill-switch": lambda _: kill_switch.run(),
    "soak": lambda seconds: soak.run(seconds or 3_600),
}
"""Campaigns that choose their database themselves, by name; of so many seconds, 0 for their own."""
RESULTS = ROOT / "tests" / "bench" / "results"


def drill(store: str, *, kills: int, seed: int, folder: Path, told: bool = False) -> dict[str, Any]:
    """One campaign on ``store`` and its verdict, as plain values; ``told``: the gate is told to end, not killed."""
    url = fresh_database() if store == "postgres" else ""
    began = time.monotonic()
    campaign = Campaign(
        folder, store_url=url.replace("postgresql://", "postgresql+psycopg://"), kills=kills, seed=seed, told=told
    )
    asyncio.run(campaign.run())
    seen = campaign.seen
    verdict = judge(seen, campaign.data, url, told=told)
    return {
        "campaign": "gate",
        "store": store,
        "seed": seed,
        "kills": seen.kills,
        "kills while starting": seen.early_kills,
        **verdict.counts,
        "answers": {str(status): count for status, count in sorted(seen.answers.items())},
        "start ms p50": round(statistics.median(seen.starts_ms)),
        "start ms max": round(max(seen.starts_ms)),
        "seconds": round(time.monotonic() - began, 1),
        "violations": verdict.violations,
    }


def incidents(store: str, *, kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """One campaign of the responder on ``store`` and its verdict."""
    url = fresh_database().replace("postgresql://", "postgresql+psycopg://") if store == "postgres" else ""
    campaign = Responder(folder, store_url=url, incidents=INCIDENTS, kills=kills, seed=seed, patience=900)
    seen = asyncio.run(campaign.run())
    verdict = judge_responder(seen)
    told = {"campaign": "responder", "store": store, "seed": seed, **verdict.counts}
    return {**told, "seconds": round(seen.seconds, 1), "violations": verdict.violations}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows side by side, violations as a number."""
    lines = []
    for name in rows[0]:
        cells = [len(row[name]) if name == "violations" else row[name] for row in rows]
        shown = [
            " ".join(f"{key}:{count}" for key, count in cell.items()) if isinstance(cell, dict) else str(cell)
            for cell in cells
        ]
        lines.append(f"{name:<22}" + "".join(f"{text:>28}" for text in shown))
    return "\n".join(lines)


def _run(campaign: str, store: str, kills: int, seed: int) -> dict[str, Any]:
    """One campaign in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="wgdrill") as folder:
        if campaign == "responder":
            return incidents(store, kills=max(1, kills // 5), seed=seed, folder=Path(folder))
        if campaign == "stop":
            told = drill(store, kills=max(1, kills // 10), seed=seed, folder=Path(folder), told=True)
            return {**told, "campaign": campaign}
        return drill(store, kills=kills, seed=seed, folder=Path(folder))


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--store", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--campaign",
        choices=[*ALONE, "gate", "responder", "stop", "races", "limits", "demo", "identity", "both", "all"],
        default="all",
    )
    parser.add_argument("--races", type=int, default=10_000, help="of the campaign races, over all stores")
    parser.add_argument("--rounds", type=int, default=500, help="of the campaign limits, on each store")
    parser.add_argument("--seconds", type=int, default=0, help="of the soak (3600) or the overload (30)")
    parser.add_argument("--fault", action="append", choices=list(demo_seeds.SEEDS), help="of the demo; else all")
    parser.add_argument("--seeds", type=int, default=5, help="of each fault of the demo, at most")
    parser.add_argument("--no-model", action="store_true", help="the demo by its rules alone")
    parser.add_argument("--jobs", type=int, default=1, help="runs of the demo at one time")
    parser.add_argument("--keep", action="store_true", help="write the raw figures to tests/bench/results")
    chosen = parser.parse_args()
    stores = ("sqlite", "postgres") if chosen.store == "both" else (chosen.store,)
    killed = ("gate", "responder", "stop")
    alone = tuple(ALONE) if chosen.campaign == "all" else tuple(name for name in ALONE if name == chosen.campaign)
    campaigns = {"both": killed, "all": killed}.get(chosen.campaign, tuple({chosen.campaign} & set(killed)))
    rows = []
    for campaign in campaigns:
        rows += [_run(campaign, store, chosen.kills, chosen.seed) for store in stores]
        print(table([row for row in rows if row["campaign"] == campaign]))
    if chosen.campaign in {"races", "all"}:
        each = -(-chosen.races // len(stores))
        raced = [races.run(store, races=each, first=chosen.seed + n * each) for n, store in enumerate(stores)]
        print(table(raced), flush=True)
        rows += raced
    if chosen.campaign in {"limits", "all"}:
        crowds = [limit_races.run(store, rounds=chosen.rounds, first=chosen.seed) for store in stores]
        print(table(crowds), flush=True)
        rows += crowds
    for name in alone:
        rows.append(ALONE[name](chosen.seconds))
        print(
            table([{key: value for key, value in rows[-1].items() if key not in {"samples", "scenarios"}}]), flush=True
        )
    for row in rows:
        for violation in row["violations"]:
            print(f"{row['campaign']}, {row['store']}: {violation}", file=sys.stderr)
    shown = []
    if chosen.campaign in {"demo", "all"}:
        shown = _demo(chosen.fault or (), chosen.seeds, jobs=chosen.jobs, model=not chosen.no_model)
    believed = identity.rows() if chosen.campaign in {"identity", "all"} else []
    for line in identity.lines(believed):
        print(line)
    if chosen.keep:
        _keep("drill", rows)
        _keep("demo-seeds", shown)
        _keep("drill-identity", believed)
    return 1 if any(row["violations"] for row in (*rows, *shown, *believed)) else 0


def _demo(faults: Sequence[str], most: int, *, jobs: int, model: bool) -> list[dict[str, Any]]:
    """The main job over faults and seeds, a line a run."""
    rows = []
    print(demo_seeds.heading(), flush=True)
    for row in demo_seeds.runs(demo_seeds.seeds(faults, most), jobs=jobs, model=model):
        print(demo_seeds.line(row), flush=True)
        rows.append(row)
    return rows


def _keep(what: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write the raw figures, where there are any."""
    if rows:
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        (RESULTS / f"{what}-{stamp}.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
