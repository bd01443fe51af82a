"""``wicketgate doctor``: every part that the gate needs, one line each, with what to do."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli import local, looks, pins, reaches
from broker.cli.caller import json_option
from broker.cli.exits import ERROR
from broker.cli.looks import Doubtful, Skipped

if TYPE_CHECKING:
    from broker.config import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, how it is, and what to do about it."""

    part: str
    state: str
    text: str
    remedy: str = ""


PARTS: Mapping[str, Callable[["Settings"], str]] = {
    "signing": looks.signing,
    "files": looks.open_files,
    "disk": looks.disk,
    "keys": looks.keys,
    "secrets": looks.secrets,
    "tls": looks.certificate,
    "store": looks.store,
    "clock": looks.clock,
    "policy": looks.policy,
    "opa": looks.opa,
    "log": looks.log,
    "issuers": reaches.issuers,
    "targets": reaches.targets,
    "tools": pins.pinned,
    "front": reaches.front,
}


@click.command()
@click.option("--config", type=click.Path(path_type=Path), envvar="WICKETGATE_CONFIG", help="TOML file.")
@click.option("--data", type=click.Path(path_type=Path), help="Data folder.")
@json_option
def doctor(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Look at every part that the gate needs; each line says what to do."""
    chosen: list[Settings] = []

    def read() -> str:
        chosen.append(local.settings(config, data))
        looks.check(chosen[0])
        return chosen[0].url

    found = [_look("config", read)]
    for part, look in PARTS.items() if chosen else ():
        found.append(_look(part, partial(look, chosen[0])))
    for one in found:
        line = f"{one.state:4}  {one.part:8}  {one.text}" + (f"\n      do: {one.remedy}" if one.remedy else "")
        shown = {"part": one.part, "state": one.state, "detail": one.text, "remedy": one.remedy}
        click.echo(json.dumps(shown) if as_json else line)
    click.get_current_context().exit(ERROR if any(one.state == "FAIL" for one in found) else 0)


def _look(part: str, look: Callable[[], str]) -> Finding:
    """The finding of one check; every failure that has words becomes a line."""
    from broker.cli import exits

    try:
        return Finding(part, "ok", look())
    except Skipped as skipped:
        return Finding(part, "skip", str(skipped))
    except Doubtful as doubtful:
        return Finding(part, "warn", *doubtful.args)
    except Exception as error:
        failure = exits.read(error)
        if failure is None:
            raise
        return Finding(part, "FAIL", failure.text, failure.remedy or "mend it and run wicketgate doctor again")
