"""The main job as it waits for a person: opened and decided in the console or on the command line, whichever is first."""

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo import tally
from tests.browser.chrome import chromium
from tests.browser.test_by_keyboard import by_keys, enter, tab_to
from tests.parts import require
from tests.sim.visitor import Visitor

pytestmark = pytest.mark.timeout(1500)
WICKETGATE = Path(sys.executable).parent / "wicketgate"
KEYS = itertools.count()


class Browser(Visitor):
    """A person's browser before a gate in a process of its own."""

    def __init__(self, url: str) -> None:
        self.client = httpx.AsyncClient(base_url=url, timeout=60)
        self.page = httpx.Response(0)


@dataclass
class Waiting:
    """A running demo; ``story`` is what it has told so far."""

    process: subprocess.Popen[str]
    story: list[str] = field(default_factory=list)

    def until(self, pattern: str) -> re.Match[str]:
        """The next line that fits; fails where the demo ends before."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.story.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError("".join(self.story[-40:]))

    def ended(self) -> dict[str, Any]:
        """The final object, once it has come to its end with exit code 0."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.story += self.process.stderr.readlines()
        figures = self.process.stdout.read()
        assert self.process.wait() == 0, "".join(self.story[-40:])
        return dict(json.loads(figures))


@contextmanager
def demo(folder: Path) -> Iterator[Waiting]:
    """The demo without ``--yes`` and with a browser that only notes what it was to open."""
    opened = folder / "opened"
    browser = folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >>{opened}\n')
    browser.chmod(0o700)
    command = [str(WICKETGATE), "demo", "--json", "--no-model", "--keep", str(folder / "data")]
    environment = {**os.environ, "BROWSER": str(browser)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield Waiting(process)
        finally:
            process.terminate()


async def in_the_console(page: str, code: str) -> tuple[int, str]:
    """Approve by the page's own form as the security persona: (status, the page that follows)."""
    url = httpx.URL(page)
    async with Browser(f"{url.scheme}://{url.netloc.decode()}") as security:
        begun = await security.open(f"/console/signin?to={url.path}")
        await security.at_provider(begun.headers["location"], "security", code=code)
        shown = await security.open(url.path)
        assert shown.status_code == 200, shown.text
        digest = re.search(r'name="digest" value="([0-9a-f]{64})"', shown.text)
        if digest is None:
            return 409, security.text
        fields = {"digest": digest[1], "verdict": "approve", "reason": "seen", "key": f"form-{next(KEYS)}"}
        token = await security.token(url.path)
        answer = await security.send(f"{url.path}/reviews", fields, token=token)
        return answer.status_code, security.text


@dataclass(frozen=True)
class Gate:
    """Where the demo's gate is."""

    url: str


def by_keyboard(watched: str, page: str, code: str) -> None:
    """From the incident that the demo opened to the approval of its fix, in a real browser and without a mouse."""
    require("chromium")
    url = httpx.URL(watched)
    with (
        chromium() as chrome,
        chrome.window(Gate(f"{url.scheme}://{url.netloc.decode()}")) as window,
    ):
        shown = by_keys(window, url.path, "security", code)
        tab_to(shown, "Read it all and decide")
        with shown.expect_navigation():
            shown.keyboard.press("a")
        shown.wait_for_function("() => document.activeElement.id === 'approve-note'")
        assert shown.url == f"{page}#approve-note"
        shown.keyboard.type("the change before the errors, and nothing else changed")
        shown.keyboard.press("Tab")
        enter(shown)
        shown.get_by_role("status").filter(has_text="Your approval is on record.").wait_for()
        assert window.look() == []


def on_the_command_line(command: str) -> subprocess.CompletedProcess[str]:
    """Run the printed command as it stands."""
    given = command.strip().replace(" wicketgate ", f" {WICKETGATE} ", 1)
    return subprocess.run(["sh", "-c", given], capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.parametrize("first", ["console", "command line"])
def test_who_is_first_decides_and_it_is_done_once(first: str, tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        watched = running.until(r"watch it: (\S+)")[1]
        code = running.until(r"sign in as `oncall`, or as `security` to approve; the code is (\S+)")[1]
        page = running.until(r"decide in the console, as `security`: (\S+)")[1]
        command = running.until(r"(WICKETGATE_DEV_CODE=\S+ \S+ approvals approve .*)")[1]
        assert (tmp_path / "opened").read_text().split() == [watched]
        assert "/console/incidents/inc_" in watched
        if first == "console":
            by_keyboard(watched, page, code)
            assert on_the_command_line(command).returncode != 0, "the other one comes too late"
        else:
            assert on_the_command_line(command).returncode == 0
            assert asyncio.run(in_the_console(page, code))[0] != 303, "the other one comes too late"
        running.until(r"✓ apr_\S+: approve by dev:security")
        figures = running.ended()
    assert (figures["approved"], figures["executed"], figures["recovered"]) == (1, 1, True)
    assert figures["action"]["name"] == "git.change.revert"
    records = list(tally.records(tmp_path / "data" / "log"))
    reverts = [
        one for one in records if one["kind"] == "intent" and one["body"]["action"]["name"] == "git.change.revert"
    ]
    assert len(reverts) == 1
