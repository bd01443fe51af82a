"""Every page of the route table, as a person with a browser meets it."""

import pytest

from broker.web.routes import ROUTES
from tests.browser.chrome import NARROW, THEMES, Chrome, Theme, fill_provider, visit
from tests.sim.running_gate import RunningGate

PAGES = [
    route.path
    for route in ROUTES
    if route.access == "console"
    and route.method == "GET"
    and not route.stream
    and "{" not in route.path
    and route.path not in {"/console/agents/stop", "/console/agents/one"}  # of what the query names
    and "/fragments/" not in route.path
]


@pytest.mark.parametrize("theme", THEMES)
def test_every_page_keeps_the_policy_and_is_accessible_in_both_colours(
    chrome: Chrome, gate: RunningGate, theme: Theme
) -> None:
    with chrome.window(gate, "security", theme=theme) as window:
        for path in PAGES:
            visit(window, path)
        visit(window, "/console/nothing-here", status=404)
        window.page.locator("details.account > summary").click()
        visit(window)


def test_every_page_fits_a_telephone(chrome: Chrome, gate: RunningGate) -> None:
    with chrome.window(gate, "oncall", width=NARROW) as window:
        for path in PAGES:
            answer = window.page.goto(path)
            assert answer is not None
            window.look()
            visit(window, axe=False)


def test_every_page_is_read_without_scripts_too(chrome: Chrome, gate: RunningGate) -> None:
    with chrome.window(gate, "auditor", scripts=False) as window:
        for path in PAGES:
            answer = window.page.goto(path)
            assert answer is not None
            assert window.page.locator("main h1").count() == 1, path
            if answer.status == 200:
                assert window.look() == [], path
        window.page.goto("/console/health")
        assert "Policy bundle" in window.page.locator("main").inner_text()


def test_the_keyboard_reaches_the_content_first_and_sees_where_it_is(chrome: Chrome, gate: RunningGate) -> None:
    with chrome.window(gate, "oncall") as window:
        page = visit(window, "/console/health")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_signing_out_is_one_button_and_leaves_nothing(chrome: Chrome, gate: RunningGate) -> None:
    with chrome.window(gate, "oncall") as window:
        visit(window, "/console/health")
        window.page.locator("details.account > summary").click()
        window.page.get_by_role("button", name="Sign out").click()
        window.page.wait_for_url("**/console/signedout")
        visit(window)
        window.page.go_back(wait_until="load")
        assert "/dev-idp/authorize" in window.page.url, "the page of before is not kept: it is asked for anew"
        window.page.goto("/console/health")
        assert "/dev-idp/authorize" in window.page.url


def test_a_step_up_leads_back_to_the_page(chrome: Chrome, gate: RunningGate) -> None:
    with chrome.window(gate, "oncall") as window:
        visit(window, "/console/health")
        window.page.goto("/console/signin?again=1&to=/console/health")
        assert "prompt=login" in window.page.url
        assert "max_age=0" in window.page.url
        fill_provider(window, "oncall")
        window.page.wait_for_url("**/console/health")
        visit(window)


INJECTED = """
const place = document.createElement('div');
place.setAttributeNode(Object.assign(document.createAttribute('hx-get'), {value: '/console/health?stolen=1'}));
place.setAttribute('hx-trigger', 'load');
document.querySelector('main').append(place);
htmx.process(place);
"""


def test_markup_that_gets_into_a_page_can_neither_run_nor_ask(chrome: Chrome, gate: RunningGate) -> None:
    """The second line behind escaping: scripts, handlers, htmx attributes and frames without the nonce do nothing."""
    with chrome.window(gate, "oncall") as window:
        page = visit(window, "/console/health")
        page.evaluate(INJECTED)
        page.wait_for_function("!document.querySelector('[hx-get]')")
        refused = page.evaluate(
            "(() => { try { document.querySelector('main').innerHTML = '<img src=x onerror=alert(1)>'; return ''; }"
            " catch (error) { return error.name; } })()"
        )
        assert refused == "TypeError"
        page.evaluate(
            "const one = document.createElement('iframe'); one.src = '/console/health'; document.body.append(one)"
        )
        page.wait_for_function("true")
        assert not any("stolen" in url for url in window.requests)
        said = " ".join(window.look())
        assert "hx-csp" in said
        assert "TrustedHTML" in said
        assert "frame-src" in said


def test_no_page_can_be_framed_not_even_by_the_gates_own_origin(chrome: Chrome, gate: RunningGate) -> None:
    with chrome.window(gate, "oncall") as window:
        around = f'<iframe src="{gate.url}/console/health"></iframe>'
        window.page.route("**/frame", lambda route: route.fulfill(body=around, content_type="text/html"))
        window.page.goto("/frame")
        window.page.wait_for_load_state("networkidle")
        assert f"{gate.url}/console/health" in window.requests
        assert window.page.frames[1].url.startswith("chrome-error:")
