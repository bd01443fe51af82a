"""What people see when something of the gate itself is broken: a page, never a stack trace, and what to do next."""

import asyncio
import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from broker.web.console import render
from tests.sim.visitor import signed_in
from tests.sim.world import world

REFERENCE = re.compile(r"under ([0-9a-f]{16})")
INSIDE = ("Traceback", "jinja2", "TemplateSyntaxError", "TemplateNotFound", ".py", "site-packages", "line 1")


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The console's templates, where a test may break them."""
    folder = tmp_path / "templates"
    shutil.copytree(render.TEMPLATES, folder)
    monkeypatch.setattr(render, "TEMPLATES", folder)
    return folder


@pytest.mark.parametrize(
    ("broken", "whole"),
    [("usage.html", True), ("fragments/rooms.html", True), ("problem.html", False)],
)
def test_a_broken_template_is_a_page_with_a_reference_and_no_stack(
    tmp_path: Path, templates: Path, capfd: pytest.CaptureFixture[str], broken: str, whole: bool
) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as security:
            (templates / broken).write_text("{% if %}")
            (templates / "usage.html").write_text("{{ page.nothing_like_it }}")
            capfd.readouterr()
            answer = await security.open("/console/usage")
            assert (answer.status_code, answer.headers["content-type"]) == (500, "text/html; charset=utf-8")
            assert answer.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "Something failed at the gate" in answer.text
            assert "give the operator the reference" in answer.text
            assert not [word for word in INSIDE if word in answer.text]
            assert ("<nav" in answer.text) == whole
            (reference,) = set(REFERENCE.findall(answer.text))
            lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
            crashes = [line for line in lines if line["event"] == "gate.crashed"]
            assert {line["reference"] for line in crashes} == {reference}
            assert len(crashes) == (1 if whole else 2)
            again = await security.open("/console/usage")
            assert set(REFERENCE.findall(again.text)) != {reference}, "each failure has its own"

    asyncio.run(main())


def test_a_database_that_is_away_is_a_page_that_says_so_and_heals(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as security:
            assert (await security.open("/console/usage")).status_code == 200
            other = sqlite3.connect(it.data / "gate.db", isolation_level=None)
            for table in ("login", "log_use"):
                other.execute(f"ALTER TABLE {table} RENAME TO away")
                answer = await security.open("/console/usage")
                assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
                assert int(answer.headers["retry-after"]) >= 1
                assert "Not possible right now" in answer.text
                assert "store.unavailable" in answer.text
                assert "sqlite" not in answer.text.lower()
                other.execute(f"ALTER TABLE away RENAME TO {table}")
            other.close()
            assert (await security.open("/console/usage")).status_code == 200

    asyncio.run(main())
