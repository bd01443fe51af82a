"""A bad day of a page that is open: an approval expires under the cursor."""

import re
from typing import Any

from tests.browser.chrome import Chrome, sign_in, visit
from tests.browser.lived_in import LivedIn
from tests.e2e.console.test_reviewing import proposed


def request(lived: LivedIn, **more: Any) -> str:
    """A request of an agent that waits; the path of its page."""

    async def ask() -> dict[str, Any]:
        lived.it.clock.advance(1)
        return await proposed(lived.it, **more)

    return f"/console/inbox/{lived.run(ask())['approval']['id']}"


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
