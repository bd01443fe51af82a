"""No connection off the list: every class of spelling, by each of five ways, and through every door that goes out."""

import ast
import asyncio
from pathlib import Path

import pytest

from tests.attacks.doors import DOORS
from tests.attacks.reaching import WAYS, ground, through_door
from tests.attacks.spellings import CLASSES, Class
from tests.parts import ROOT

DRIVEN = {
    "broker/connectors/exchange.py": ("token exchange",),
    "broker/connectors/git_clone.py": ("git repository",),
    "broker/connectors/http.py": ("http connector",),
    "broker/connectors/llm.py": ("model provider",),
    "broker/connectors/local.py": ("local connector, supervisor", "local connector, metrics"),
    "broker/connectors/mcp.py": ("MCP server",),
    "broker/connectors/notify.py": ("notifications",),
    "broker/connectors/prometheus.py": ("Prometheus",),
    "broker/wiring/foundations.py": ("identity provider",),
}
"""Files that take a client from egress, and the doors that are driven for them."""
ALONE = {
    "broker/wiring/watching.py",  # traces, one client of fixed settings
    "broker/cli/reaches.py",  # the doctor, on the operator's own word
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("of", CLASSES, ids=lambda one: one.name)
def test_no_way_of_writing_an_address_makes_a_connection_off_the_list(of: Class, way: str) -> None:
    async def main() -> None:
        async with ground() as at:
            await WAYS[way](of, at)
            assert at.problems == []
            assert at.cases >= len(of.answers)

    asyncio.run(main())


@pytest.mark.parametrize("name", DOORS)
def test_no_door_of_the_gate_connects_off_its_list(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with ground() as at:
            git = name == "git repository"  # a program of its own, a process a question
            moved = "upstream.unreachable" if git else "upstream.redirect"
            await through_door(DOORS[name], at, tmp_path, few=git, moved=moved)
            assert at.problems == []

    asyncio.run(main())


def test_every_part_that_goes_out_is_a_door_that_is_driven() -> None:
    found = set()
    for path in (ROOT / "broker").rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "egress" in text else ():
            called = node.func if isinstance(node, ast.Call) else None
            if (
                isinstance(called, ast.Attribute)
                and called.attr in {"upstream", "addresses"}
                and "egress" in ast.unparse(called.value)
            ):
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {*DRIVEN, *ALONE}
    assert {name for names in DRIVEN.values() for name in names} == set(DOORS)
