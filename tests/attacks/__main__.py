"""``python -m tests.attacks``: run what holds each line of attack and write ``tests/bench/results/attacks.json``.

The tests are run here and now; of campaigns, which take minutes to hours, the newest kept row of each counts, with its date.
A line without a test that ran and without a kept row is ``not measured``. Exits 1 where one does not hold.
"""

import argparse
import datetime as dt
import json
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tests.attacks.lines import LINES, RESULTS, Line, kept
from tests.parts import ROOT

TABLE = RESULTS / "attacks.json"
TOOLS = ("atheris", "hypothesis", "mcp", "mutmut", "pytest", "schemathesis")


def main() -> int:
    """Run, write, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument(
        "--figures", action="store_true", help="read campaigns and files again; keep what the tests said"
    )
    chosen = parser.parse_args()
    before = json.loads(TABLE.read_text()) if chosen.figures else {}
    ran = (
        {test: counts for row in before["lines"] for test, counts in row["tests"].items()}
        if before
        else _ran(sorted({test for line in LINES for test in line.tests}))
    )
    rows = [row_of(line, ran) for line in LINES]
    today = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%MZ")
    versions = {"python": platform.python_version(), **{name: version(name) for name in TOOLS}}
    at = {"tests at": before.get("tests at", today), "figures at": today}
    TABLE.write_text(json.dumps({**at, "versions": versions, "lines": rows}, indent=1) + "\n")
    for row in rows:
        print(f"{row['line']:<24}{row['result']:<16}{row['cases']}")
    return 1 if any(row["result"] == "does not hold" for row in rows) else 0


def row_of(line: Line, ran: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """One row of the table; ``ran`` counts outcomes by test."""
    counts = {test: dict(ran.get(test, {})) for test in line.tests}
    campaigns = [found for name in line.campaigns for found in newest(name)]
    files = sorted(path.name for path in RESULTS.glob(line.files)) if line.files else []
    return {
        "line": line.name,
        "what": line.what,
        "must hold": line.bound,
        "cases": line.cases(),
        "tests": counts,
        "campaigns": campaigns,
        "files": files,
        "result": _result(counts, campaigns, bool(line.campaigns), files),
    }


def _result(
    counts: Mapping[str, Mapping[str, int]], kept: list[dict[str, Any]], has_campaign: bool, files: list[str]
) -> str:
    """``holds`` where all tests passed and no kept row has a violation."""
    if any(one.get("failed") for one in counts.values()) or any(one["violations"] for one in kept):
        return "does not hold"
    if any(not one.get("passed") for one in counts.values()) or (has_campaign and not kept):
        return "not measured"
    return "holds" if counts or kept or files else "not measured"


def newest(campaign: str) -> list[dict[str, Any]]:
    """What counts of the newest kept rows of ``campaign``."""
    at, name, rows = kept(campaign)
    return [
        {
            "campaign": campaign,
            "store": row.get("store", ""),
            "at": at,
            "load": row.get("load"),
            "file": name,
            "violations": row["violations"],
        }
        for row in rows
    ]


def _ran(tests: Iterable[str]) -> dict[str, Counter[str]]:
    """Outcomes of ``tests`` by name, each case counted."""
    with tempfile.TemporaryDirectory(prefix="wgattacks") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        subprocess.run(command, cwd=ROOT, check=False)
        return outcomes(report.read_text())


def outcomes(report: str) -> dict[str, Counter[str]]:
    """pytest's report of its run, read."""
    counts: dict[str, Counter[str]] = {}
    for case in ET.fromstring(report).iter("testcase"):
        test = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name'].partition('[')[0]}"
        kinds = {child.tag for child in case}
        said = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts.setdefault(test, Counter())[said] += 1
    return counts


if __name__ == "__main__":
    sys.exit(main())
