"""``wicketgate investigate``: an investigation over recorded tool outputs, through a temporary gate on this machine.

The agent is a program of its own (``python -m agents replay``), as everywhere: this command knows only the gate.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.cli.caller import json_option
from broker.cli.exits import Stop

if TYPE_CHECKING:
    from broker.cli.recorded import Address
    from broker.connectors.replay_case import Case

NAME = "case"
AGENT_SECONDS = 600
_MARKS = {True: "accepted", False: "not accepted"}


@click.command()
@click.option("--replay", "folder", type=click.Path(path_type=Path), required=True, help="Folder of a recorded case.")
@json_option
def investigate(folder: Path, as_json: bool) -> None:
    """Investigate a recorded case: case.json and observations.jsonl. The deterministic tier alone; no model is asked."""
    from broker.cli import recorded
    from broker.connectors.replay_case import read_case

    case = read_case(folder)
    with tempfile.TemporaryDirectory(prefix="wicketgate-") as made:
        recorded.prepare(Path(made), {NAME: folder})
        with recorded.TemporaryGate(Path(made)) as gate:
            found = _found(gate.address, case)
    click.echo(json.dumps(found) if as_json else "\n".join(_lines(found)))


def _found(address: "Address", case: "Case") -> dict[str, Any]:
    """Report the case as an incident, and let the agent work on it."""
    from wicketgate import Gate

    from broker.cli import recorded

    token = address.reporter()

    async def report() -> str:
        async with Gate(address.url, token) as gate:
            return await gate.incidents.report(recorded.alert_of(NAME, case))

    incident = asyncio.run(report())
    command = [sys.executable, "-m", "agents", "replay", "--gate", address.url, "--incident", incident]
    command += ["--token-file", str(address.agent_token_file())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=AGENT_SECONDS)  # noqa: S603 - our own program
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["(nothing)"]
        raise Stop(f"the agent ended with {done.returncode}: {said[0]}", "look at the recorded case")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _lines(found: dict[str, Any]) -> list[str]:
    """For people: the verdict, the causes, and each claim with what the gate found of it."""
    lines = [f"{found['verdict']}: {found['why']}"]
    for place, one in enumerate(found["ranked"], 1):
        mark = _MARKS[one["accepted"]]
        lines.append(f"{place}. {one['fault']} at {one['component']}  confidence {one['confidence']:.3f} ({mark})")
        lines += [f"     {claim['verdict']:12} {claim['text']}" for claim in one["claims"]]
    lines += [f"ruled out: {one['fault']} at {one['component']}, {one['why']}" for one in found["ruled_out"]]
    return [*lines, f"{found['observations_read']} observations read, {found['model_calls']} model calls"]
