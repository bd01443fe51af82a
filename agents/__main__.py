"""``python -m agents first``: run the first agent against a gate.

The token comes from a file or a command, never from the environment or an argument: other processes can read those.
"""

import argparse
import asyncio
import shlex
import sys

from wicketgate import GateError, token_command, token_file

from agents.events import Teller
from agents.first import Task, work


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 a restart was carried out, 1 none was, 3 not authenticated or another refusal ended the run."""
    options = argparse.ArgumentParser(prog="python -m agents", description=__doc__)
    options.add_argument("which", choices=["first"])
    options.add_argument("--gate", required=True, help="the gate's address")
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument("--token-file", help="a file that holds the bearer token")
    source.add_argument("--token-command", help="a command that prints it, split as a shell would")
    options.add_argument("--service", action="append", required=True, help="a service to look at; repeat it")
    options.add_argument("--alert", required=True, help="what is wrong, in words")
    options.add_argument("--model", default="", help="the model to ask; without it the agent works by rule")
    options.add_argument("--far-model", default="", help="a model in a forbidden region, to be refused")
    given = options.parse_args(arguments)
    token = token_file(given.token_file) if given.token_file else token_command(*shlex.split(given.token_command))
    task = Task(given.gate, token, given.service, given.alert, model=given.model, far_model=given.far_model)
    try:
        return 0 if asyncio.run(work(task, Teller())) else 1
    except GateError as error:
        sys.stderr.write(f"{error}\nnext: {error.remedy}\n")
        return 3


if __name__ == "__main__":
    sys.exit(main())
