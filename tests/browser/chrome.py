"""Chromium with a person in it, and the judgement of a page: content policy, errors, accessibility, width."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.parts import require
from tests.sim.running_gate import CODE, RunningGate

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
NARROW = 360
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_LISTEN = """
addEventListener('securitypolicyviolation', (event) => {
  console.error('CSP ' + event.effectiveDirective + ' ' + event.blockedURI + ' ' + event.sample);
}, true);
"""


@dataclass
class Visited:
    """One browser window of one person; ``problems`` is what went wrong since the last look."""

    page: Page
    context: BrowserContext
    gate: RunningGate
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def look(self) -> list[str]:
        """What went wrong until now, taken."""
        found, self.problems[:] = list(self.problems), []
        return found


class Chrome:
    """A browser; ``window`` opens a fresh profile in it."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    @contextmanager
    def window(
        self, gate: RunningGate, persona: str = "", *, theme: Theme = "light", width: int = 1280, scripts: bool = True
    ) -> Iterator[Visited]:
        """A window at ``gate``, with ``persona`` signed in through the provider's own page."""
        context = self.browser.new_context(
            color_scheme=theme,
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
            base_url=gate.url,
            reduced_motion="reduce",
        )
        context.add_init_script(_LISTEN)
        page = context.new_page()
        made = Visited(page, context, gate)
        page.on("console", lambda said: made.problems.append(f"console: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: made.problems.append(f"script: {error}"))
        page.on("request", lambda request: made.requests.append(request.url))
        try:
            if persona:
                sign_in(made, persona)
            yield made
        finally:
            context.close()


def sign_in(window: Visited, persona: str, path: str = "/console/health") -> None:
    """Open ``path`` and follow the way that a person is led."""
    window.page.goto(path)
    fill_provider(window, persona)
    window.page.wait_for_url("**/console/**")
    window.look()


def fill_provider(window: Visited, persona: str) -> None:
    """The development provider's form, as a person fills it."""
    window.page.locator("select[name=persona]").select_option(persona)
    window.page.locator("input[name=code]").fill(CODE)
    window.page.locator("button[value=allow]").click()


def visit(window: Visited, path: str = "", *, status: int = 200, axe: bool = True) -> Page:
    """Open ``path`` (empty: stay) and fail on any problem of the page: policy report, console error, axe violation."""
    page = window.page
    if path:
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == status, f"{path}: {answer.status} {page.locator('main').inner_text()}"
    expected = f"status of {status}"  # Chromium reports a refused page itself as an error
    problems = [one for one in window.look() if status < 400 or expected not in one]
    assert problems == [], f"{page.url}: {problems}"
    wide = page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{page.url}: {wide} px too wide"
    if axe:
        found = violations(page)
        assert found == [], f"{page.url}:\n" + "\n".join(found)
    assert window.look() == []
    return page


def violations(page: Page) -> list[str]:
    """What axe-core finds, by rule and element."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate(
        f"axe.run(document, {{runOnly: {json.dumps(RULES)}, resultTypes: ['violations']}})"
    )
    return [
        f"{one['id']}: {node['target']} {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@contextmanager
def chromium() -> Iterator[Chrome]:
    """Debian's Chromium without a window; skips with the reason where it is missing."""
    program = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield Chrome(browser)
        finally:
            browser.close()
