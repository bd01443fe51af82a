"""``make screenshots``: every page of the console in both colours, from the data of a real demo run.

Runs the demo into a folder (or takes a kept one by ``--data``), serves that folder again, and visits each page of the
route table as the security engineer; a page with an id is found by the first link that leads to it.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

from broker.web.routes import ROUTES
from tests.browser.chrome import THEMES, Visited, chromium
from tests.browser.palette import small
from tests.parts import ROOT
from tests.sim.running_gate import RunningGate, running_gate, wicketgate

FOLDER = ROOT / "docs" / "screenshots"
PERSONA = "security"
LOOKED_AT = 4
TALLEST = 1_200
"""Pixels of a picture's height; what stands below is cut."""
SKIPPED = re.compile(r"/(?:static|stream|leaf|proof|file|fragments)(?:/|$)")
"""Files, streams and parts of pages."""


def main() -> None:
    """Write the pictures; those of pages that are no more stay until somebody deletes them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, help="data folder that `wicketgate demo --keep` left")
    options.add_argument("--out", type=Path, default=FOLDER)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="wicketgate-screens-") as scratch:
        data = given.data or _demo(Path(scratch) / "data")
        folder = Path(scratch) / "gate"
        folder.mkdir()
        (folder / "data").symlink_to(data.resolve())
        config = next(iter(sorted(data.glob("**/gate.toml"))), None)
        toml = config.read_text(encoding="utf-8") if config else ""
        with running_gate(folder, toml) as gate, chromium() as chrome:
            known = _decided(gate)
            for theme in THEMES:
                with chrome.window(gate, PERSONA, theme=theme) as window:
                    _pictures(window, given.out, theme, known)


def _demo(data: Path) -> Path:
    """One run of the demo, its folder kept."""
    command = [wicketgate(), "demo", "--yes", "--no-browser", "--seed", "7", "--keep", str(data)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    return data


def _decided(gate: RunningGate) -> list[str]:
    """Pages of requests that were decided: nothing leads to them once nothing waits."""
    with gate.client(PERSONA) as api:
        found = api.get("/v1/approvals", params={"state": "done"})
        found.raise_for_status()
        return [f"/console/inbox/{one['id']}" for one in found.json()["approvals"]]


def _pictures(window: Visited, out: Path, theme: str, known: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    blank = window.context.new_page()
    paths = [
        one.path
        for one in ROUTES
        if one.method == "GET" and one.access == "console" and not one.stream and not SKIPPED.search(one.path)
    ]
    links = set(known)
    for path in sorted(paths, key=lambda one: one.count("{")):
        address = path if "{" not in path else _known(window, path, links)
        if not address or path == "/console":
            continue
        answer = window.page.goto(address)
        named = next((one for one in sorted(links) if one.startswith(f"{path}?")), "")
        if answer is not None and answer.status == 400 and named:  # a page of what its query names
            answer = window.page.goto(named)
        if answer is None or answer.status != 200:
            print(f"no picture of {address}: status {answer.status if answer else 'none'}")
            continue
        window.page.wait_for_load_state("load")
        links |= set(window.page.eval_on_selector_all("a[href]", "all => all.map(one => one.getAttribute('href'))"))
        name = re.sub(r"\{\w+\}", "one", path.removeprefix("/console/")).replace("/", "-")
        height = window.page.evaluate("document.scrollingElement.scrollHeight")
        window.page.set_viewport_size({"width": 1280, "height": min(max(height, 600), TALLEST)})
        picture = window.page.screenshot()
        (out / f"{name}-{theme}.png").write_bytes(small(blank, picture))
        window.page.set_viewport_size({"width": 1280, "height": 900})


def _known(window: Visited, path: str, links: set[str]) -> str:
    """Of the first links that have the form of ``path``, the one with the most to see; or empty."""
    form = re.compile(re.sub(r"\\\{\w+\\\}", "[^/?#]+", re.escape(path)) + r"\Z")
    fitting = [one for one in sorted(links) if form.match(one)][:LOOKED_AT]
    heights: dict[str, int] = {}
    for one in fitting if len(fitting) > 1 and "results" not in path else []:
        window.page.goto(one)
        heights[one] = window.page.evaluate("document.scrollingElement.scrollHeight")
    return max(fitting, key=lambda one: heights.get(one, 0), default="")


if __name__ == "__main__":
    main()
