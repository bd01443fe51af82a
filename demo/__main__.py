"""``python -m demo`` (``wicketgate demo``): a small real shop, a fault in it, and an agent that works through the gate.

Exit codes: 0 all promises of the run hold, 1 one does not, or something failed, 2 usage. With ``--json`` standard output
is one object (README.md) and the story goes to standard error.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from demo.children import ChildEnded, Children
from demo.faults import FAULTS
from demo.layout import Layout
from demo.stage import Stage
from demo.story import Options, Story


class Ended(BaseException):
    """A signal asked the demo to end; everything is cleaned up on the way out."""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; its exit code."""
    given = _options().parse_args(arguments)
    stage = Stage(to_stderr=given.json)
    if shutil.which("git") is None:
        stage.bad(
            "git is missing: install it with `apt-get install git` (Debian, Ubuntu) or `xcode-select --install` (macOS)"
        )
        return 1
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    data = Path(given.keep) if given.keep else Path(tempfile.mkdtemp(prefix="wicketgate-"))
    layout = Layout(data)
    children = Children(layout.out, remove=None if given.keep else layout.data)
    options = Options(given.yes, not given.no_browser, given.fault, given.seed, not given.no_model)
    try:
        figures, broken = Story(options, layout, children, stage).run()
    except (ChildEnded, TimeoutError, OSError) as error:
        stage.bad(str(error))
        return 1
    except Ended:
        stage.bad("ended by a signal")
        return 130
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # cleaning up is not interrupted
        children.close(keep=bool(given.keep))
    return _report(stage, figures, broken, as_json=given.json, kept=given.keep)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="wicketgate demo", description="The main job on this machine alone.")
    options.add_argument("--yes", action="store_true", help="approve as the security persona, without asking")
    options.add_argument("--no-browser", action="store_true", help="open no browser")
    options.add_argument("--fault", choices=FAULTS, default="bad-config", help="what breaks")
    options.add_argument("--seed", type=int, default=1, help="decides customers, secrets and orders")
    options.add_argument("--no-model", action="store_true", help="no model server: the agent decides by rule")
    options.add_argument("--json", action="store_true", help="one final object on standard output")
    options.add_argument("--keep", metavar="DIR", help="use DIR as the data folder and leave it there")
    return options


def _end(*_: object) -> None:
    raise Ended


def _report(stage: Stage, figures: dict[str, object], broken: list[str], *, as_json: bool, kept: str | None) -> int:
    """The last lines."""
    for what in broken:
        stage.bad(f"does not hold: {what}")
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        stage.title("Counted from the log and the files")
        for name, value in figures.items():
            stage.line(f"{name:16} {_shown(value)}")
    stage.line(f"kept: {kept}" if kept else "everything of this run is gone; --keep DIR leaves it for you to look at")
    return 1 if broken else 0


def _shown(value: object) -> str:
    """A figure for people; refusals in groups, and of an object what says which it is and how it stands (``--json`` has all)."""
    if isinstance(value, dict):
        return " ".join(str(value[key]) for key in ("id", "name", "verdict", "status", "state") if value.get(key))
    if not isinstance(value, list):
        return str(value)
    codes = [f"{one['action']} {one['code']}" for one in value]
    return ", ".join(
        f"{code} ({codes.count(code)})" if codes.count(code) > 1 else code for code in dict.fromkeys(codes)
    )


if __name__ == "__main__":
    sys.exit(main())
