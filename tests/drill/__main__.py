"""``python -m tests.drill [--kills N] [--store sqlite|postgres|both] [--seed N]``: kill the gate under load, again and again.

Prints a table, writes the raw figures to ``tests/bench/results`` with ``--keep``, exits 1 on any violation.
"""

import argparse
import asyncio
import datetime as dt
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.drill.campaign import Campaign
from tests.drill.verdict import judge
from tests.parts import ROOT, fresh_database

RESULTS = ROOT / "tests" / "bench" / "results"


def drill(store: str, *, kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """One campaign on ``store`` and its verdict, as plain values."""
    url = fresh_database() if store == "postgres" else ""
    began = time.monotonic()
    campaign = Campaign(folder, store_url=url.replace("postgresql://", "postgresql+psycopg://"), kills=kills, seed=seed)
    asyncio.run(campaign.run())
    seen = campaign.seen
    verdict = judge(seen, campaign.data, url)
    return {
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


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--store", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="write the raw figures to tests/bench/results")
    chosen = parser.parse_args()
    rows = []
    for store in ("sqlite", "postgres") if chosen.store == "both" else (chosen.store,):
        with tempfile.TemporaryDirectory(prefix="wgdrill") as folder:
            rows.append(drill(store, kills=chosen.kills, seed=chosen.seed, folder=Path(folder)))
    print(table(rows))
    for row in rows:
        for violation in row["violations"]:
            print(f"{row['store']}: {violation}", file=sys.stderr)
    if chosen.keep:
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        (RESULTS / f"drill-{stamp}.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if any(row["violations"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
