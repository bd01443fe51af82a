"""``python -m tests.eval --corpus holmesgpt|opensre|all``: investigate every recorded case through a gate, and count.

The corpora are found by ``CORPUS_DIR``. Prints a table; ``--out`` (default ``tests/bench/results/investigations.json``)
gets the same as JSON, and beside it the table as text, made of that JSON alone.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.eval.figures import SHEET, curve, figures, text
from tests.eval.running import fixtures, investigated

CORPORA = ("opensre", "holmesgpt")
OUT = Path(__file__).parent.parent / "bench" / "results" / "investigations.json"
_KEPT = ("case", "kind", "verdict", "judged", "observations_read", "model_calls", "why")


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0, 2 without corpora."""
    options = argparse.ArgumentParser(prog="python -m tests.eval", description=__doc__)
    options.add_argument("--corpus", choices=[*CORPORA, "all"], default="all")
    options.add_argument("--out", type=Path, default=OUT)
    options.add_argument("--into", type=Path, help="convert the cases into folders below this one, and do nothing else")
    given = options.parse_args(arguments)
    root = os.environ.get("CORPUS_DIR")
    if not root:
        sys.stderr.write("CORPUS_DIR is not set: it names the folder of the corpora\n")
        return 2
    chosen = CORPORA if given.corpus == "all" else (given.corpus,)
    if given.into:
        for one in (one for corpus in chosen for one in fixtures(corpus, Path(root))):
            one.convert(one.folder, given.into / one.name)
        return 0
    known = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {"corpora": {}}
    for corpus in chosen:
        results = investigated(fixtures(corpus, Path(root)))
        cases = [_brief(one) for one in results]
        known["corpora"][corpus] = {"figures": figures(results), "curve": curve(results), "cases": cases}
    known["claims"] = _claims(given.out.parent / "evidence-opensre.json")
    known["beside"] = dict(SHEET)
    given.out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    told = text(known)
    given.out.with_suffix(".txt").write_text(told, encoding="utf-8")
    sys.stdout.write(told)
    return 0


def _claims(path: Path) -> dict[str, Any]:
    """What ``python -m tests.eval.opensre`` found; nothing where it was not asked."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    falsified = found["falsified"]["all"]
    return {
        **{name: found[name] for name in ("true", "true_accepted")},
        **{name: falsified[name] for name in ("falsehoods", "refused")},
    }


def _brief(one: dict[str, Any]) -> dict[str, Any]:
    """A case without its texts: they are the corpus's."""
    names = ("component", "fault", "confidence", "accepted")
    return {name: one[name] for name in _KEPT if name != "why"} | {
        "ranked": [{name: cause[name] for name in names} for cause in one["ranked"]]
    }


if __name__ == "__main__":
    sys.exit(main())
