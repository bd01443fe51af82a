"""``python -m tests.eval --corpus holmesgpt|opensre|all``: investigate every recorded case through a gate, and count.

The corpora are found by ``CORPUS_DIR``. Prints a table; ``--out`` (default ``tests/bench/results/investigations.json``)
gets the same as JSON.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.eval.figures import SHEET, curve, figures, table
from tests.eval.running import fixtures, investigated

CORPORA = ("opensre", "holmesgpt")
OUT = Path(__file__).parent.parent / "bench" / "results" / "investigations.json"
_KEPT = ("case", "kind", "verdict", "judged", "observations_read", "model_calls", "why")


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0, 2 without corpora."""
    options = argparse.ArgumentParser(prog="python -m tests.eval", description=__doc__)
    options.add_argument("--corpus", choices=[*CORPORA, "all"], default="all")
    options.add_argument("--out", type=Path, default=OUT)
    given = options.parse_args(arguments)
    root = os.environ.get("CORPUS_DIR")
    if not root:
        sys.stderr.write("CORPUS_DIR is not set: it names the folder of the corpora\n")
        return 2
    known = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {"corpora": {}}
    for corpus in CORPORA if given.corpus == "all" else [given.corpus]:
        results = investigated(fixtures(corpus, Path(root)))
        sys.stdout.write("\n".join(table(corpus, results)) + "\n")
        cases = [_brief(one) for one in results]
        known["corpora"][corpus] = {"figures": figures(results), "curve": curve(results), "cases": cases}
    known["beside"] = dict(SHEET)
    sys.stdout.write("beside it, published or measured by others:\n")
    sys.stdout.writelines(f"- {what}: {said}\n" for what, said in SHEET.items())
    given.out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return 0


def _brief(one: dict[str, Any]) -> dict[str, Any]:
    """A case without its texts: they are the corpus's."""
    names = ("component", "fault", "confidence", "accepted")
    return {name: one[name] for name in _KEPT if name != "why"} | {
        "ranked": [{name: cause[name] for name in names} for cause in one["ranked"]]
    }


if __name__ == "__main__":
    sys.exit(main())
