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
from tests.parts import ROOT
from tests.sim.running_gate import running_gate, wicketgate

FOLDER = ROOT / "docs" / "screenshots"
PERSONA = "security"
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
            for theme in THEMES:
                with chrome.window(gate, PERSONA, theme=theme) as window:
                    _pictures(window, given.out, theme)


def _demo(data: Path) -> Path:
    """One run of the demo, its folder kept."""
    command = [wicketgate(), "demo", "--yes", "--no-browser", "--seed", "7", "--keep", str(data)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    return data


def _pictures(window: Visited, out: Path, theme: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    paths = [
        one.path
        for one in ROUTES
        if one.method == "GET" and one.access == "console" and not one.stream and not SKIPPED.search(one.path)
    ]
    links: set[str] = set()
    for path in sorted(paths, key=lambda one: one.count("{")):
        address = path if "{" not in path else _known(path, links)
        if not address or path == "/console":
            continue
        answer = window.page.goto(address)
        if answer is None or answer.status != 200:
            print(f"no picture of {address}: status {answer.status if answer else 'none'}")
            continue
        window.page.wait_for_load_state("load")
        links |= set(window.page.eval_on_selector_all("a[href]", "all => all.map(one => one.getAttribute('href'))"))
        name = re.sub(r"\{\w+\}", "one", path.removeprefix("/console/")).replace("/", "-")
        window.page.screenshot(path=out / f"{name}-{theme}.png", full_page=True)


def _known(path: str, links: set[str]) -> str:
    """The first link that has the form of ``path``, or empty."""
    form = re.compile(re.sub(r"\\\{\w+\\\}", "[^/?#]+", re.escape(path)) + r"\Z")
    return next((one for one in sorted(links) if form.match(one)), "")


if __name__ == "__main__":
    main()
