"""Chromium with a person in it, and the judgement of a page: content policy, errors, accessibility, width."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.parts import require
from tests.sim.running_gate import CODE

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
NARROW = 360
WAIT_MS = 90_000
"""A busy machine may take its time; every wait ends on what it waits for."""
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_LISTEN = """
addEventListener('securitypolicyviolation', (event) => {
  console.error('CSP ' + event.effectiveDirective + ' ' + event.blockedURI + ' ' + event.sample);
}, true);
"""

_LOOSE = """
() => [
  ...[...document.querySelectorAll('script')].filter((one) => !one.nonce),
  ...document.querySelectorAll('main img, iframe, object, embed, style, base, math, [style], [autofocus], [contenteditable]'),
  ...[...document.querySelectorAll('*')].filter((one) => one.getAttributeNames().some((name) => name.startsWith('on'))),
  ...[...document.querySelectorAll('*')].filter((one) =>
    one.getAttributeNames().some((name) => /^(data-)?hx-/.test(name)) && !one.hasAttribute('hx-nonce') && !one.nonce),
  ...[...document.querySelectorAll('[href], [src], [action], [formaction]')].filter((one) =>
    ['href', 'src', 'action', 'formaction'].some((name) =>
      one.hasAttribute(name) && !/^(#|\\/(?!\\/))/.test(one.getAttribute(name)))),
].map((one) => one.outerHTML.slice(0, 200))
"""
"""Elements that run, ask or lead away, and that no page of ours has."""
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)


class Served(Protocol):
    """A gate that a browser can reach."""

    @property
    def url(self) -> str:
        """Its public address."""


@dataclass
class Visited:
    """One browser window of one person; ``problems`` is what went wrong since the last look."""

    page: Page
    context: BrowserContext
    gate: Served
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
        self, gate: Served, persona: str = "", *, theme: Theme = "light", width: int = 1280, scripts: bool = True
    ) -> Iterator[Visited]:
        """A window at ``gate``, with ``persona`` signed in through the provider's own page."""
        context = self.browser.new_context(
            color_scheme=theme,
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
            base_url=gate.url,
            reduced_motion="reduce",
        )
        context.set_default_timeout(WAIT_MS)
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


def dangers(window: Visited) -> list[str]:
    """What of the page's text ran, asked, leads away or is hidden; empty on a page that is sound."""
    page = window.page
    found: list[str] = page.evaluate(_LOOSE)
    found += [f"it ran: {one}" for one in page.evaluate("['ran'].filter((name) => name in window)")]
    found += [f"unseen {one!r}" for one in _HIDDEN.findall(page.locator("body").inner_text())]
    found += [f"asked for {one}" for one in window.requests if not one.startswith(window.gate.url + "/")]
    return found


def violations(page: Page, rules: Sequence[str] = RULES) -> list[str]:
    """What axe-core finds, by rule and element; ``rules`` are tags, or ``color-contrast`` alone."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate(
        f"axe.run(document, {{runOnly: {json.dumps(list(rules))}, resultTypes: ['violations']}})"
    )
    return [
        f"{one['id']}: {node['target']} {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@contextmanager
def chromium(*arguments: str) -> Iterator[Chrome]:
    """Debian's Chromium without a window; skips with the reason where it is missing."""
    program = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *arguments])
        try:
            yield Chrome(browser)
        finally:
            browser.close()
