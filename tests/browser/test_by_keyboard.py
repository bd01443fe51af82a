"""A day at the gate without a mouse: sign in, choose, read, decide, and never be caught or lost."""

import itertools
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from playwright.sync_api import Page

from tests.browser.chrome import Chrome, Visited, sign_in, visit
from tests.browser.lived_in import LivedIn
from tests.e2e.console.test_reviewing import proposed
from tests.sim.troubled import Counters, Troubled
from tests.sim.world import CODE

FOCUS = """() => {
  const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);
  return {tag: one.tagName, id: one.id, text: (one.innerText || one.value || '').trim().slice(0, 80),
          outline: style.outlineStyle, inside: box.bottom > 0 && box.top < innerHeight && box.width > 0};
}"""
MARKED = """() => {
  window.told = window.told || [];
  const at = window.told.indexOf(document.activeElement);
  if (at >= 0 || document.activeElement === document.body) return true;
  const last = window.told.at(-1), one = document.activeElement;
  window.told.push(one);
  return !last || Boolean(last.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING) ? false : 'order';
}"""
REACHABLE = """() => [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')]
  .filter((one) => one.checkVisibility() && !window.told.includes(one)).map((one) => one.outerHTML.slice(0, 120))"""
"""What a person sees and the keyboard does not reach."""


def focus(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(FOCUS)
    return found


def tab_to(page: Page, text: str) -> dict[str, Any]:
    """Press Tab until something that says ``text`` is chosen."""
    for _ in range(80):
        page.keyboard.press("Tab")
        found = focus(page)
        if text in found["text"] and found["tag"] in {"BUTTON", "A", "SUMMARY"}:
            assert found["outline"] == "solid", found
            assert found["inside"], found
            return found
    raise AssertionError(f"no way to {text!r} by Tab")


def enter(page: Page) -> None:
    """Enter on what is chosen, and the page that follows."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


def by_keys(window: Visited, path: str, persona: str, code: str = CODE) -> Page:
    """Sign in at the provider's page by keyboard, from ``path``."""
    page = window.page
    page.goto(path)
    page.locator("input:focus").wait_for()  # the field of the code
    page.keyboard.press("Shift+Tab")
    page.keyboard.type(persona)
    page.keyboard.press("Tab")
    page.keyboard.type(code)
    page.keyboard.press("Tab")
    enter(page)
    page.wait_for_url("**" + path)
    window.look()
    return page


def request(lived: LivedIn, **more: Any) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        lived.it.clock.advance(1)
        return await proposed(lived.it, **more)

    return lived.run(ask())


def until_mark(page: Page, selector: str, text: str) -> None:
    page.wait_for_function(
        "([where, text]) => document.querySelector(where)?.innerText.includes(text)", arg=[selector, text]
    )


def test_from_the_sign_in_to_the_fixed_service_without_a_mouse(there: Chrome, lived: LivedIn) -> None:
    with there.window(lived) as window:
        page = by_keys(window, "/console/inbox", "oncall")
        assert focus(page)["tag"] == "BODY", "nothing is chosen before the person chooses"
        page.keyboard.press("j")
        first = focus(page)
        page.keyboard.press("j")
        second = focus(page)
        assert (first["tag"], second["tag"]) == ("SUMMARY", "SUMMARY")
        assert first != second
        page.keyboard.press("k")
        assert focus(page) == first
        assert first["outline"] == "solid"
        page.keyboard.press("Enter")
        assert page.locator("details[data-row][open]").count() == 1, "a look inside, without leaving"
        page.keyboard.press("Enter")
        rows = page.eval_on_selector_all("[data-row]", "all => all.map((one) => one.dataset.row)")
        [(steps, wanted)] = [(at, row) for at, row in enumerate(rows) if row.rpartition("/")[2] in lived.kept["alike"]]
        for _ in range(steps):
            page.keyboard.press("j")
        before = lived.it.restarts("checkout")
        with page.expect_navigation():
            page.keyboard.press("a")
        page.wait_for_load_state("load")
        assert page.url.endswith(f"{wanted}#approve-note")
        page.wait_for_function("document.activeElement.id === 'approve-note'")
        page.keyboard.type("seen; a and d and ? are text here")
        page.keyboard.press("Tab")
        assert focus(page)["text"] == "Approve"
        assert focus(page)["outline"] == "solid"
        enter(page)
        page.wait_for_url("**" + wanted)
        assert "seen; a and d" in page.locator("main").inner_text()
        until_mark(page, "#state", "done")
        assert lived.it.restarts("checkout") == before + 1
        visit(window)


def test_a_denial_by_keyboard_needs_its_reason(there: Chrome, lived: LivedIn) -> None:
    waiting = request(lived, id_="payments")
    with there.window(lived) as window:
        page = by_keys(window, f"/console/inbox/{waiting['approval']['id']}", "security")
        page.keyboard.press("d")
        assert focus(page)["id"] == "deny-reason"
        page.keyboard.press("Tab")
        assert focus(page)["text"] == "Deny"
        page.keyboard.press("Enter")
        page.wait_for_function("document.activeElement.id === 'deny-reason'")
        assert page.evaluate("document.activeElement.validity.valueMissing"), "the browser asks for the reason"
        page.keyboard.type("not during the sale")
        page.keyboard.press("Tab")
        enter(page)
        until_mark(page, "#state", "denied")
        assert "not during the sale" in page.locator("main").inner_text()
        visit(window)


def test_the_keys_are_explained_and_can_be_switched_off(there: Chrome, lived: LivedIn) -> None:
    with there.window(lived) as window:
        page = by_keys(window, "/console/inbox", "oncall")
        page.keyboard.press("?")
        assert page.locator("#keys[open]").count() == 1
        assert focus(page)["tag"] == "SUMMARY"
        visit(window)
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        page.keyboard.press("Tab")
        page.keyboard.press("j")
        assert page.evaluate("!document.activeElement.closest('[data-row]')")
        page.reload()
        page.keyboard.press("j")
        assert focus(page)["tag"] == "BODY", "switched off for good"


def test_an_incident_is_followed_and_its_remedy_approved_without_a_mouse(there: Chrome, lived: LivedIn) -> None:
    path, approval = f"/console/incidents/{lived.kept['awaiting']}", f"/console/inbox/{lived.kept['evidence']}"
    with there.window(lived) as window:
        page = by_keys(window, path, "oncall")
        visit(window)
        page.keyboard.press("Tab")
        assert focus(page)["text"] == "Skip to content"
        page.keyboard.press("Enter")
        tab_to(page, "Read it all and decide")
        with page.expect_navigation():
            page.keyboard.press("a")
        page.wait_for_function("document.activeElement.id === 'approve-note'")
        assert page.url.endswith(f"{approval}#approve-note")
        page.keyboard.press("Tab")
        enter(page)
        until_mark(page, "#state", "done")
        assert "inventory" not in lived.it.supervisor.caches, "the remedy ran"
        lived.run(Troubled(lived.it, Counters()).pass_time(30))
        page.goto(path)
        assert page.locator("[data-row]").count() == 0, "nothing waits there any more"
        page.locator("#note").focus()
        page.keyboard.type("the cache was rotten")
        page.keyboard.press("Tab")
        enter(page)
        assert "the cache was rotten" in page.locator("main").inner_text()


def test_tab_goes_through_a_page_in_its_order_sees_each_stop_and_is_never_caught(there: Chrome, lived: LivedIn) -> None:
    paths = ("/console/inbox", f"/console/inbox/{lived.kept['written']}", f"/console/incidents/{lived.kept['hostile']}")
    with there.window(lived) as window:
        page = by_keys(window, "/console/health", "oncall")
        for path in paths:
            page.goto(path)
            for stop in itertools.count():
                assert stop < 400, f"{path}: no end"
                page.keyboard.press("Tab")
                over = page.evaluate(MARKED)
                assert over != "order", (path, focus(page))
                if over:
                    break
                seen = focus(page)
                assert seen["outline"] == "solid", (path, seen)
                assert seen["inside"], (path, seen)
            assert page.evaluate(REACHABLE) == [], path


def _asked(requests: Sequence[str]) -> list[str]:
    """What a page's script asked for; the browser fetches what belongs to the page (its icon) when it has time."""
    return [one for one in requests if "/static/" not in one]


def test_an_open_page_that_nobody_touches_asks_less_than_once_a_second(there: Chrome, lived: LivedIn) -> None:
    with there.window(lived) as window:
        window.page.clock.install()
        sign_in(window, "security")
        # A faked minute passes before the gate has said a word: how often a silent stream is asked for again is no
        # matter of this clock, and stands in the test of the stream that dies.
        for path in ("/console/inbox", "/console/live", "/console/incidents", "/console/agents"):
            window.page.goto(path)
            window.page.wait_for_load_state("load")
            window.page.evaluate("document.activeElement.blur()")
            before = len(window.requests)
            asks = path == "/console/inbox"
            with window.page.expect_request("**/console/inbox*") if asks else nullcontext():
                window.page.clock.run_for(60_000)
            since = [one for one in _asked(window.requests[before:]) if path != "/console/live" or "/stream" not in one]
            assert bool(since) == asks, (path, since)
            assert len(since) < 60, (path, since)
        assert any("/console/live/stream" in one for one in window.requests)


def test_a_list_that_renews_itself_leaves_the_chosen_row_alone(there: Chrome, lived: LivedIn) -> None:
    with there.window(lived) as window:
        window.page.clock.install()
        page = by_keys(window, "/console/inbox", "security")
        new = request(lived, id_="storefront")
        page.keyboard.press("j")
        before, asked = focus(page), _asked(window.requests)
        page.clock.run_for(11_000)
        assert focus(page) == before
        assert _asked(window.requests) == asked, "nothing is asked while a person stands in the list"
        page.locator("h1").click()
        page.evaluate("document.activeElement.blur()")
        page.clock.run_for(5_500)
        page.locator(f"[data-row$='{new['approval']['id']}'], a[href$='{new['approval']['id']}']").first.wait_for(
            state="attached"
        )
        visit(window)
