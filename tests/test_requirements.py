"""The requirements and the tests name each other; a gap says why."""

import re
from collections import Counter

from tests.parts import ROOT
from tests.requirements import REQUIREMENTS
from tests.test_docs import exists, names_in

TESTS = ROOT / "tests"


def test_ids_are_unique_and_of_one_form() -> None:
    assert [one for one, count in Counter(one.id for one in REQUIREMENTS).items() if count > 1] == []
    assert [one.id for one in REQUIREMENTS if not re.fullmatch(r"[a-z][a-z-]*:[a-z][a-z-]*", one.id)] == []


def test_each_requirement_has_tests_or_says_why_not() -> None:
    for one in REQUIREMENTS:
        assert bool(one.tests) != bool(one.gap), f"{one.id}: either tests or a gap"
        assert one.behaviour, one.id
        assert one.source, one.id


def test_each_test_that_a_requirement_names_exists() -> None:
    lost = []
    for one in REQUIREMENTS:
        for name in one.tests:
            file = f"tests/{name.partition('::')[0]}"
            if not (ROOT / file).is_file() or ("::" in name and not exists(f"tests/{name}")) or not _has_tests(file):
                lost.append(f"{one.id}: {name}")
    assert lost == []


def _has_tests(file: str) -> bool:
    """Functions, or the case that a state machine makes."""
    return bool(names_in(file)) or ".TestCase" in (ROOT / file).read_text()


def test_each_test_file_serves_a_requirement() -> None:
    named = {name.partition("::")[0] for one in REQUIREMENTS for name in one.tests}
    files = {str(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")}
    assert sorted(files - named) == [], "add a row to tests/requirements.py"


def test_a_source_that_is_a_room_is_there() -> None:
    """A source is a folder or file of ours, a command, or a specification's name."""
    rooms = ("audit", "broker", "policies", "sdk", "agents", "demo", "deploy", "docs")
    for one in REQUIREMENTS:
        if one.source.split("/")[0] in rooms:
            assert (ROOT / one.source).exists() or (ROOT / f"{one.source}.py").exists(), f"{one.id}: {one.source}"
