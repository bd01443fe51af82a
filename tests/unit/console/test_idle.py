"""What an open page asks for while nobody touches it: by its own timers at most one request a second, and one stream."""

import re
from pathlib import Path

import pytest

from broker.web.console.render import TEMPLATES
from broker.web.console.static import FOLDER

PAGES = sorted(TEMPLATES.glob("*.html"))
REFRESH = re.compile(r'data-refresh="([^"]*)"')
PARTS = re.compile(r'{% (?:extends|include) "([^"]+)"')


def markup(path: Path) -> str:
    """A page with everything that it is put together of."""
    text = path.read_text(encoding="utf-8")
    return text + "".join(markup(TEMPLATES / part) for part in PARTS.findall(text))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_an_open_page_asks_at_most_once_a_second_and_holds_one_stream(path: Path) -> None:
    page = markup(path)
    every = [int(seconds) for seconds in REFRESH.findall(page)]
    assert sum(1 / seconds for seconds in every) <= 1, every
    assert set(re.findall(r'hx-trigger="([^"]*)"', page)) <= {"refresh"}, "what asks by itself is counted above"
    assert not re.search(r"http-equiv=.?refresh|hx-poll|<iframe|<img", page, re.IGNORECASE)
    assert len(re.findall(r"hx-sse:connect=", page)) <= (path.stem == "live")


def test_pages_that_renew_themselves_are_there_and_counted() -> None:
    assert {path.stem for path in PAGES if REFRESH.search(markup(path))} == {"approval", "inbox"}


def test_the_consoles_script_has_no_other_timer_and_asks_for_nothing_itself() -> None:
    script = (FOLDER / "console.js").read_text(encoding="utf-8")
    named = re.findall(r"setInterval\((\w+)", script)
    assert named == ["tick", "listen"], "relative times, and whether the stream still speaks: neither asks for anything"
    assert script.count("setInterval(") == 3
    assert "1000 * Math.max(1, Number(dataset.refresh))" in script, "the third: never more often than once a second"
    assert re.findall(r"setTimeout\(.*", script) == [
        "setTimeout(() => { if (form.dataset.sent) busy.textContent = busy.dataset.loading; }, 500);"
    ]
    assert not re.search(r"\bfetch\(|XMLHttpRequest|EventSource|sendBeacon|htmx\.ajax", script)
