"""The table of OWASP ASVS is whole, names tests that exist, and claims nothing beside them."""

import ast
import re
from collections import Counter

import pytest

from broker.web.console.render import TEMPLATES
from tests.asvs import CHAPTERS, COUNTS, ITEMS, LEVEL_3, Item
from tests.asvs_page import chapter_of
from tests.parts import ROOT
from tests.test_docs import exists
from tests.test_documents import section


def numbers(id_: str) -> tuple[int, ...]:
    return tuple(map(int, id_.split(".")))


def test_it_is_whole_by_chapter_and_level() -> None:
    """The counts are the source's own; with level 3 each section of each chapter counts up from one without a hole."""
    assert set(COUNTS) == set(CHAPTERS)
    for chapter, counts in COUNTS.items():
        mine = [one for one in ITEMS if chapter_of(one) == chapter]
        assert tuple(sum(one.level == level for one in mine) for level in (1, 2)) == counts, chapter
    ids = [one.id for one in ITEMS]
    assert [one for one, count in Counter(ids).items() if count > 1] == []
    assert not LEVEL_3 & set(ids)
    seen: dict[tuple[int, ...], list[int]] = {}
    for id_ in sorted({*ids, *LEVEL_3}, key=numbers):
        *place, number = numbers(id_)
        seen.setdefault(tuple(place), []).append(number)
    assert {place: found for place, found in seen.items() if found != list(range(1, len(found) + 1))} == {}
    for chapter in CHAPTERS:
        sections = [place[1] for place in seen if place[0] == chapter]
        assert sections == list(range(1, len(sections) + 1)), chapter


def test_the_order_is_the_sources() -> None:
    assert [numbers(one.id) for one in ITEMS] == sorted(numbers(one.id) for one in ITEMS)


@pytest.mark.parametrize("item", ITEMS, ids=lambda one: one.id)
def test_each_is_held_by_tests_or_says_why_not_or_what_is_missing(item: Item) -> None:
    assert item.level in {1, 2}
    assert sum(map(bool, (item.claim, item.why_not, item.gap))) == 1
    assert not item.why_not or not item.tests
    assert not item.claim or item.tests
    assert [one for one in item.tests if not exists(f"tests/{one}")] == []
    assert len(set(item.tests)) == len(item.tests)
    if item.page:
        file, _, heading = item.page.partition("#")
        assert section(file, heading).strip()


def test_a_test_that_does_not_exist_would_be_found() -> None:
    assert not exists("tests/test_asvs.py::test_that_is_not_there")
    assert not exists("tests/test_that_is_not_there.py::test_x")
    assert exists("tests/test_asvs.py::test_the_order_is_the_sources")


ABSENT = {
    "graphql",
    "strawberry",
    "ariadne",
    "saml2",
    "onelogin",
    "websockets",
    "wsproto",
    "pyotp",
    "bcrypt",
    "argon2",
    "passlib",
}


def test_what_does_not_apply_is_not_there() -> None:
    """No password is asked for or kept, and neither GraphQL, SAML, WebSocket nor one-time passwords are spoken."""
    imported = {
        (name.partition(".")[0])
        for path in sorted((ROOT / "broker").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported & ABSENT == set()
    pages = "".join(path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.rglob("*.html")))
    assert not re.search(r"""type=["']?password|name=["']?password""", pages, re.IGNORECASE)
    assert [one for one in ITEMS if one.why_not and len(one.why_not) < len("there is no SAML")] == []
