"""The table of attacks: no line is missing, its tests exist, its campaigns can be run, and what was kept is read as it is."""

import json
import re

from tests.attacks import __main__ as table
from tests.attacks.lines import LINES, RESULTS
from tests.drill import __main__ as drill
from tests.parts import ROOT
from tests.test_docs import exists

ASKED = {
    "HTTP framing",
    "SSRF",
    "schemathesis",
    "atheris",
    "naughty strings",
    "approval races",
    "limit races",
    "clock steps",
    "faults",
    "mutation",
    "overload",
    "kill switch",
    "soak",
    "MCP conformance",
    "AuthZEN certification",
}
KEPT = json.loads((RESULTS / "attacks.json").read_text())


def test_no_line_of_attack_is_missing_and_each_has_something_that_holds_it() -> None:
    assert {line.name for line in LINES} == ASKED
    assert len(LINES) == len(ASKED)
    assert [line.name for line in LINES if not (line.tests or line.campaigns or line.files)] == []


def test_every_test_and_campaign_that_a_line_names_exists() -> None:
    assert [test for line in LINES for test in line.tests if not exists(test)] == []
    said = (ROOT / "tests/drill/__main__.py").read_text()
    named = {campaign for line in LINES for campaign in line.campaigns}
    assert {one for one in named if one not in drill.ALONE and f'"{one}"' not in said} == set()


def test_the_kept_table_has_a_row_of_each_line_and_says_no_more_than_its_parts() -> None:
    assert [row["line"] for row in KEPT["lines"]] == [line.name for line in LINES]
    for row, line in zip(KEPT["lines"], LINES, strict=True):
        assert set(row["tests"]) == set(line.tests), f"{line.name}: run python -m tests.attacks"
        for file in (*row["files"], *(one["file"] for one in row["campaigns"])):
            assert (RESULTS / file).is_file(), f"{line.name}: {file}"
        newest = [found for name in line.campaigns for found in table.newest(name)]
        assert row["campaigns"] == newest, f"{line.name}: run python -m tests.attacks --figures"
        failed = any(one.get("failed") for one in row["tests"].values())
        if row["result"] == "holds":
            assert not failed
            assert not any(one["violations"] for one in row["campaigns"])
            assert all(one.get("passed") for one in row["tests"].values())


def test_security_cites_the_table() -> None:
    assert re.search(r"tests/bench/results/attacks\.json", (ROOT / "SECURITY.md").read_text())


def test_what_failed_was_skipped_or_not_kept_is_not_said_to_hold() -> None:
    report = (
        '<testsuites><testsuite><testcase classname="tests.e2e.test_x" name="test_a[1]"/>'
        '<testcase classname="tests.e2e.test_x" name="test_a[2]"><failure/></testcase>'
        '<testcase classname="tests.e2e.test_x" name="test_b"><skipped/></testcase></testsuite></testsuites>'
    )
    counted = table.outcomes(report)
    assert counted == {
        "tests/e2e/test_x.py::test_a": {"passed": 1, "failed": 1},
        "tests/e2e/test_x.py::test_b": {"skipped": 1},
    }
    framing = LINES[0]
    assert table.row_of(framing, {test: {"passed": 1} for test in framing.tests})["result"] == "holds"
    assert table.row_of(framing, {test: {"failed": 1} for test in framing.tests})["result"] == "does not hold"
    assert table.row_of(framing, {test: {"skipped": 1} for test in framing.tests})["result"] == "not measured"
    assert table.row_of(framing, {})["result"] == "not measured"
    assert table.newest("a campaign that nobody ran") == []
