"""``python -m tests.bench``: a gated action beside the same call without a gate and beside the least that Python can do.

Everything runs at once on this machine and is measured in turns, so that a noisy neighbour meets every variant alike.
The latest figures are printed as a table and written, with every sample, to ``tests/bench/results``.
"""

import argparse
import asyncio
import datetime as dt
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from tests.bench.report import report, table
from tests.bench.side_by_side import Bench

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--alone", type=int, default=60, help="requests one after the other, each round and variant")
    parser.add_argument("--at-once", type=int, default=320, help="requests over 16 connections, each round and variant")
    parser.add_argument("--engines", default="regorus,opa")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wgbench") as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack, engines=tuple(given.engines.split(",")))

        async def run() -> None:
            await bench.prepare()
            await bench.rounds(given.rounds, alone=given.alone, at_once=given.at_once)
            await bench.aclose()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        path = given.out / f"{stamp}.json"
        path.write_text(
            json.dumps(
                report(
                    bench.variants, bench.disk, {"rounds": given.rounds, "alone": given.alone, "at_once": given.at_once}
                )
            )
        )
        print(f"{table(bench.variants, bench.disk)}\n\nsamples: {path}")


if __name__ == "__main__":
    main()
