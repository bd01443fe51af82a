"""``python -m tests.eval.opensre``: measure, print the table, write the result. Needs ``CORPUS_DIR``."""

import os
import sys
from pathlib import Path

import orjson

from tests.eval.opensre.report import figures, measure, table

RESULT = Path(__file__).resolve().parents[2] / "bench" / "results" / "evidence-opensre.json"


def main() -> int:
    """Exit status 1 where a goal is missed, 2 without the corpus."""
    root = Path(os.environ.get("CORPUS_DIR", "")) / "opensre-rds"
    if not os.environ.get("CORPUS_DIR") or not root.is_dir():
        sys.stderr.write("set CORPUS_DIR to the folder that holds opensre-rds\n")
        return 2
    found = figures(measure(root))
    RESULT.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    print(table(found))
    falsified = found["falsified"]["all"]["share"]
    return 0 if found["true_accepted"] >= 0.95 * found["true"] and falsified >= 0.99 else 1


if __name__ == "__main__":
    sys.exit(main())
