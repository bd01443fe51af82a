"""Bad days of a page that is open: its stream is cut, an approval expires under the cursor, somebody else is faster."""

import re
from typing import Any

from playwright.sync_api import Page

from tests.browser.chrome import Chrome, sign_in, visit
from tests.browser.lived_in import LivedIn
from tests.e2e.console.test_reviewing import proposed

NOTHING_SAID = "() => document.getElementById('live-end').textContent === ''"


def request(lived: LivedIn, **more: Any) -> str:
    """A request of an agent that waits; the path of its page."""

    async def ask() -> dict[str, Any]:
        lived.it.clock.advance(1)
        return await proposed(lived.it, **more)

    return f"/console/inbox/{lived.run(ask())['approval']['id']}"


def rows(page: Page) -> list[int]:
    """Numbers of the records that the live table shows, as they stand."""
    found: list[str] = page.eval_on_selector_all("#live > tr", "all => all.map((one) => one.id)")
    return [int(one.removeprefix("r")) for one in found]


def newest(lived: LivedIn) -> int:
    """Number of the newest proposal's record."""

    async def read() -> int:
        return max(at for at, one in enumerate(await lived.it.records()) if one["kind"] == "proposal")

    return lived.run(read())


def shown(page: Page, lived: LivedIn) -> None:
    """Wait until the newest proposal stands in the live table."""
    page.wait_for_selector(f"#r{newest(lived)}", state="attached")


def test_a_stream_that_is_cut_goes_on_without_loss_or_repeat(there: Chrome, lived: LivedIn) -> None:
    with there.window(lived) as window:
        sign_in(window, "oncall")
        page = window.page
        page.goto("/console/live?own=1")
        first = max(rows(page))
        request(lived, id_="storefront")
        shown(page, lived)
        lived.wire.down = True
        assert lived.run(lived.wire.cut()) >= 1, "a stream was open"
        said = page.locator("#live-end")
        said.filter(has_text="The connection was lost").wait_for()
        request(lived, id_="payments")  # while nobody listens
        lived.wire.down = False
        shown(page, lived)
        page.wait_for_function(NOTHING_SAID, polling=100)
        lived.run(lived.wire.cut_after(300))  # in the middle of a row
        request(lived, id_="storefront")
        shown(page, lived)
        seen = [one for one in rows(page) if one > first]
        assert len(seen) == len(set(seen)), "no row twice"
        assert sorted(seen) == list(range(first + 1, max(seen) + 1)), "and none is missing"
        streams = [one for one in window.requests if "/console/live/stream" in one]
        assert len(streams) >= 3, "it was cut, twice"
        window.look()  # the browser itself reports connections that were cut


def test_a_stream_that_dies_without_a_word_is_noticed_and_goes_on(there: Chrome, lived: LivedIn) -> None:
    with there.window(lived) as window:
        sign_in(window, "oncall")
        page = window.page
        page.goto("/console/live?own=1")
        page.evaluate(
            "() => { window.beats = 0; document.getElementById('live').addEventListener('beat', () => { window.beats += 1; }); }"
        )
        page.wait_for_function("() => window.beats >= 3", polling=100)
        said = page.locator("#live-end")
        page.wait_for_function(NOTHING_SAID, polling=100)
        lived.wire.down = True
        assert lived.run(lived.wire.silence()) >= 1, "a stream was open"
        request(lived, id_="storefront")  # nobody hears of it
        said.filter(has_text="The connection was lost").wait_for()
        lived.wire.down = False
        shown(page, lived)
        page.wait_for_function(NOTHING_SAID, polling=100)
        window.look()


def test_a_sign_out_elsewhere_ends_the_stream_for_good_and_the_page_says_why(there: Chrome, lived: LivedIn) -> None:
    with there.window(lived) as window:
        sign_in(window, "auditor")
        page = window.page
        page.goto("/console/live?own=1")
        page.evaluate(
            "() => document.getElementById('live').addEventListener('htmx:sse:close', () => { window.closed_ = true; })"
        )
        page.evaluate("() => { document.getElementById('live').dataset.silent = '90'; }")  # slow is not lost
        other = window.context.new_page()
        other.goto("/console/health")
        other.locator("details.account > summary").click()
        streams = [one for one in window.requests if "/console/live/stream" in one]
        other.get_by_role("button", name="Sign out").click()
        other.wait_for_url("**/console/signedout")
        page.wait_for_function("() => window.closed_", polling=100)
        said = page.locator("#live-end").inner_text()
        assert "The gate ended the stream" in said
        assert "reload the page" in said
        after = [one for one in window.requests if "/console/live/stream" in one]
        assert len(after) <= len(streams) + 1, "it was asked once more, and no more"
        window.look()


def test_an_approval_that_expires_under_the_cursor_is_refused_and_the_page_says_so(
    there: Chrome, lived: LivedIn
) -> None:
    path = request(lived, id_="payments")
    with there.window(lived) as window:
        sign_in(window, "security", path)
        before = lived.it.restarts("payments")
        window.page.locator("#approve-note").fill("in the last moment")
        lived.later(901)
        window.page.get_by_role("button", name="Approve").click()
        window.page.wait_for_url(re.compile(r"/reviews\Z"))
        assert "approval.expired" in window.page.locator("[role=alert]").inner_text()
        assert window.page.locator("textarea").count() == 0, "nothing is left to press"
        assert lived.it.restarts("payments") == before
        window.look()
        visit(window)


def test_the_slower_of_two_browsers_is_told_and_it_happens_once(there: Chrome, lived: LivedIn) -> None:
    path = request(lived)
    before = lived.it.restarts()
    with there.window(lived) as ann, there.window(lived) as bob:
        for window, persona in ((ann, "oncall"), (bob, "security")):
            sign_in(window, persona, path)
        ann.page.get_by_role("button", name="Approve").click()
        ann.page.wait_for_url("**" + path)
        bob.page.get_by_role("button", name="Approve").click()
        bob.page.wait_for_url(re.compile(r"/reviews\Z"))
        assert "approval.closed" in bob.page.locator("[role=alert]").inner_text()
        ann.page.wait_for_function("() => document.getElementById('state').innerText.includes('done')")
        assert lived.it.restarts() == before + 1
        bob.look()


EVIL = "http://evil.test/"


def test_another_sites_page_neither_reads_nor_frames_nor_sends(there: Chrome, lived: LivedIn) -> None:
    """A page of another origin in the browser of a person who is signed in, with a form token that was stolen."""
    path = request(lived, id_="inventory")
    before, records = lived.it.restarts("inventory"), len(lived.run(lived.it.records()))
    with there.window(lived) as window:
        sign_in(window, "security", path)
        fields = window.page.eval_on_selector_all(
            "form:has([value=approve]) input", "all => all.map((one) => [one.name, one.value])"
        )
        form = "".join(f'<input name="{name}" value="{value}">' for name, value in fields)
        evil = (
            f'<form method="post" action="{lived.url}{path}/reviews">{form}</form>'
            f'<iframe src="{lived.url}{path}"></iframe>'
        )
        window.page.route(EVIL + "**", lambda one: one.fulfill(body=evil, content_type="text/html"))
        window.page.goto(EVIL)
        read = window.page.evaluate(
            "(url) => fetch(url, {credentials: 'include'}).then(() => 'read', () => 'refused')", lived.url + path
        )
        assert read == "refused"
        assert window.page.frames[1].url.startswith("chrome-error:")
        with window.page.expect_navigation():
            window.page.evaluate("() => document.forms[0].submit()")
        assert "/console/signin" in window.page.url, "SameSite kept the cookie back: nobody is signed in there"
        assert window.page.get_by_role("link", name="Sign in").count() == 1, "and nobody is led on without a click"
        window.look()
        visit(window, path)
        assert window.page.get_by_role("button", name="Approve").count() == 1, "it waits as before"
    assert lived.it.restarts("inventory") == before
    told = lived.run(lived.it.records())[records:]
    assert [one["kind"] for one in told if one["kind"] not in {"intent", "outcome"}] == [], "no review, nothing refused"
    looks = {one["body"]["action"]["name"] for one in told if one["kind"] == "intent"}
    assert looks <= {"gate.approvals.read", "gate.health.read"}, "the person's own looks alone"


def test_a_list_that_cannot_be_renewed_stays_and_says_so_and_goes_on_when_it_can(there: Chrome, lived: LivedIn) -> None:
    with there.window(lived) as window:
        window.page.clock.install()
        sign_in(window, "oncall")
        page = window.page
        page.goto("/console/inbox")
        page.evaluate("document.activeElement.blur()")
        before, busy = page.locator("#waiting").inner_text(), page.locator("#busy")
        assert busy.inner_text() == ""
        lived.wire.down = True
        lived.run(lived.wire.cut())
        page.clock.run_for(6_000)
        busy.filter(has_text="may be old").wait_for()
        lived.wire.down = False
        page.clock.run_for(6_000)
        page.wait_for_function("() => document.getElementById('busy').textContent === ''", polling=100)
        # What stands between may answer in the gate's place, with a page of its own.
        page.route("**/console/inbox", lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"))
        page.clock.run_for(6_000)
        busy.filter(has_text="may be old").wait_for()
        assert "Bad Gateway" not in page.locator("main").inner_text()
        page.unroute("**/console/inbox")
        page.clock.run_for(6_000)
        page.wait_for_function("() => document.getElementById('busy').textContent === ''", polling=100)
        assert page.locator("#waiting").inner_text().split()[:3] == before.split()[:3]
        window.look()


def test_a_form_whose_answer_takes_its_time_says_that_it_was_sent(there: Chrome, lived: LivedIn) -> None:
    path = request(lived, id_="storefront")
    with there.window(lived) as window:
        sign_in(window, "oncall", path)
        page = window.page
        # A navigation that does not come to an end stops the test's own questions too: it is not begun.
        page.evaluate("document.addEventListener('submit', (event) => event.preventDefault())")
        page.locator("#deny-reason").fill("not today")
        page.get_by_role("button", name="Deny").click()
        page.locator("#busy").filter(has_text="Loading").wait_for()
        visit(window, path)
        assert page.locator("#busy").inner_text() == ""
