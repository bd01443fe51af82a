"""Every page that can be reached, with a day's work on it and an agent's attacks in every field."""

import re
from dataclasses import dataclass

import pytest

from broker.web.routes import ROUTES
from tests.browser.chrome import NARROW, Chrome, Visited, dangers, sign_in, violations
from tests.browser.lived_in import LivedIn

FORMS = {
    route.path: re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path) + r"\Z")
    for route in ROUTES
    if route.access == "console" and route.method == "GET" and not route.stream and route.path != "/console"
}
"""Pages and files of the console, by the form of their address."""
FILES = re.compile(r"/(?:file|leaf|proof)\Z|/fragments/")
UNLINKED = {"/console/policies/{digest}/difference"}
"""What has a link only where there are two of something."""
EACH = {"/console/inbox/{id}": 6, "/console/incidents/{id}": 6, "/console/observations/{id}": 3}
"""How many of one kind are visited; one, where nothing is said."""

"""The walk belongs to the first test, and a busy machine takes its time over it."""


@dataclass
class Looked:
    """What one page was like."""

    path: str
    status: int
    problems: list[str]
    light: list[str]
    dark: list[str]
    wide: int
    dangers: list[str]
    text: str


@pytest.fixture(scope="module")
def pages(there: Chrome, lived: LivedIn) -> dict[str, list[Looked]]:
    """Every kind of page that links lead the security engineer to, by form."""
    with there.window(lived) as window:
        sign_in(window, "security")
        return _walk(window, lived)


def _walk(window: Visited, lived: LivedIn) -> dict[str, list[Looked]]:
    stop = "/console/agents/stop?scope=agent&target=dev%3Aagent-1"
    found: dict[str, list[Looked]] = {}
    queue = [
        "/console/health",
        stop,
        "/console/agents/one?agent=dev%3Aagent-1",
        *(f"/console/inbox/{lived.kept[name]}" for name in ("written", "own", "evidence")),
    ]
    queue.append(f"/console/observations/{lived.kept['observation']}")
    queue += [f"/console/incidents/{lived.kept[name]}" for name in ("hostile", "closed", "awaiting", "linked")]
    known = set(queue)
    while queue:
        path = queue.pop(0)
        form = _form(path)
        if not form or len(found.get(form, [])) >= EACH.get(form, 1):
            continue
        lived.later()
        found.setdefault(form, []).append(_look(window, path))
        links = window.page.eval_on_selector_all("a[href]", "all => all.map((one) => one.getAttribute('href'))")
        addresses = dict.fromkeys(one.partition("#")[0] for one in links)
        fresh = [one for one in addresses if one not in known and one.startswith("/console")]
        known.update(fresh)
        queue += fresh
    return found


def _form(address: str) -> str:
    path = address.partition("?")[0]
    forms = [form for form, pattern in FORMS.items() if pattern.match(path) and not FILES.search(form)]
    return min(forms, key=lambda one: one.count("{"), default="")


def _look(window: Visited, path: str) -> Looked:
    """Open a page once, and look at it in both colours and on a telephone."""
    page = window.page
    answer = page.goto(path)
    assert answer is not None
    page.wait_for_load_state("load")
    light = violations(page)
    page.emulate_media(color_scheme="dark")
    dark = violations(page, ["color-contrast", "link-in-text-block"])
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": NARROW, "height": 800})
    wide = page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")
    page.set_viewport_size({"width": 1280, "height": 900})
    unsound = dangers(window)
    return Looked(
        path, answer.status, window.look(), light, dark, wide, unsound, page.locator("main").text_content() or ""
    )


def test_links_lead_to_every_page_of_the_route_table(pages: dict[str, list[Looked]]) -> None:
    wanted = {form for form in FORMS if not FILES.search(form)}
    assert wanted - set(pages) - UNLINKED == set()
    assert {one.path: one.status for all_ in pages.values() for one in all_ if one.status != 200} == {}


def test_no_page_breaks_its_policy_or_writes_an_error(pages: dict[str, list[Looked]]) -> None:
    assert {one.path: one.problems for all_ in pages.values() for one in all_ if one.problems} == {}


def test_every_page_is_accessible_in_both_colours(pages: dict[str, list[Looked]]) -> None:
    found = [f"{one.path}: {said}" for all_ in pages.values() for one in all_ for said in (*one.light, *one.dark)]
    assert found == [], "\n".join(found)


def test_every_page_fits_a_telephone_whatever_stands_on_it(pages: dict[str, list[Looked]]) -> None:
    assert {one.path: one.wide for all_ in pages.values() for one in all_ if one.wide > 0} == {}


def test_nothing_that_an_agent_wrote_runs_asks_leads_away_or_hides(pages: dict[str, list[Looked]]) -> None:
    assert {one.path: one.dangers for all_ in pages.values() for one in all_ if one.dangers} == {}


@pytest.mark.parametrize(
    "form",
    ["/console/inbox", "/console/inbox/{id}", "/console/incidents", "/console/incidents/{id}",
     "/console/incidents/{id}/postmortem", "/console/observations/{id}", "/console/agents/one",
     "/console/agents/breakglass", "/console/policies"],
)  # fmt: skip
def test_what_an_agent_wrote_is_there_as_it_wrote_it(pages: dict[str, list[Looked]], form: str) -> None:
    """The pages on which agents and reporters are read: the attack is on them, to be read, marks and all."""
    shown = "".join(one.text for one in pages[form])
    assert "<script>" in shown
    assert "onerror=alert(1)" in shown
