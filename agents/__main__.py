"""``python -m agents first|limits|worker|replay``: agents as processes of their own.

The token comes from a file or a command, never from the environment or an argument: other processes can read those.
"""

import argparse
import asyncio
import json
import shlex
import signal
import sys
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path

from wicketgate import Gate, GateError, TokenSource, token_command, token_file

from agents.asking import TOKENS, TURNS, Budget, Price
from agents.events import Teller
from agents.first import Task, work
from agents.limits import Tried, overreach, review_own
from agents.replay import Replay
from agents.worker import HOLD_SECONDS, Setup, Worker


def main(arguments: list[str] | None = None) -> int:
    """Exit codes of ``first``: 0 a restart was carried out, 1 none was; of ``worker``: 0. Of both: 2 usage, 3 a refusal ended it."""
    options = argparse.ArgumentParser(prog="python -m agents", description=__doc__)
    which = options.add_subparsers(dest="which", required=True)
    _first_options(which.add_parser("first", help="look at services and propose one restart"))
    _limits_options(which.add_parser("limits", help="run into each kind of limit, on purpose"))
    worker = which.add_parser("worker", help="claim incidents that are due, and take them a step on")
    _worker_options(worker)
    _replay_options(which.add_parser("replay", help="investigate one recorded incident, and print what came of it"))
    given = options.parse_args(arguments)
    token = token_file(given.token_file) if given.token_file else token_command(*shlex.split(given.token_command))
    try:
        if given.which == "limits":
            return asyncio.run(_limits(given, token))
        if given.which == "worker":
            return asyncio.run(_work(given, token, _budget(worker, given)))
        if given.which == "replay":
            return asyncio.run(_replay(given, token))
        task = Task(given.gate, token, given.service, given.alert, model=given.model, far_model=given.far_model)
        return 0 if asyncio.run(work(task, Teller())) else 1
    except GateError as error:
        sys.stderr.write(f"{error}\nnext: {error.remedy}\n")
        return 3


def _common(options: argparse.ArgumentParser) -> None:
    options.add_argument("--gate", required=True, help="the gate's address")
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument("--token-file", help="a file that holds the bearer token")
    source.add_argument("--token-command", help="a command that prints it, split as a shell would")


def _first_options(options: argparse.ArgumentParser) -> None:
    _common(options)
    options.add_argument("--service", action="append", required=True, help="a service to look at; repeat it")
    options.add_argument("--alert", required=True, help="what is wrong, in words")
    options.add_argument("--model", default="", help="the model to ask; without it the agent works by rule")
    options.add_argument("--far-model", default="", help="a model in a forbidden region, to be refused")


def _limits_options(options: argparse.ArgumentParser) -> None:
    _common(options)
    options.add_argument("--service", required=True, help="a service to ask about")
    options.add_argument("--far-model", default="", help="a model in a forbidden region, to be refused")
    options.add_argument(
        "--review", nargs=2, metavar=("APPROVAL", "DIGEST"), help="only try to approve this proposal of its own"
    )


async def _limits(given: argparse.Namespace, token: TokenSource) -> int:
    """Be refused; that is a success."""
    tried = Tried(given.gate, token, given.service, given.far_model)
    if given.review:
        await review_own(tried, Teller(), *given.review)
    else:
        await overreach(tried, Teller())
    return 0


def _worker_options(options: argparse.ArgumentParser) -> None:
    _common(options)
    options.add_argument("--once", action="store_true", help="end when nothing is due")
    model = options.add_mutually_exclusive_group()
    model.add_argument("--model", default="", help="the model to ask where the rules do not recognise a fault")
    model.add_argument("--no-model", action="store_true", help="work by the rules alone (the default)")
    options.add_argument("--hold", type=int, default=HOLD_SECONDS, help="seconds that a claim is held, 5 to 600")
    options.add_argument("--turns", type=int, default=TURNS, help="answers of the model in one step")
    options.add_argument("--tokens", type=int, default=TOKENS, help="tokens in and out in one step")
    options.add_argument("--dollars", help="US dollars in one step; needs a price")
    options.add_argument(
        "--prices", type=Path, help='JSON: {"MODEL": {"in": "3.00", "out": "15.00"}}, a million tokens'
    )


def _replay_options(options: argparse.ArgumentParser) -> None:
    _common(options)
    options.add_argument("--incident", required=True, help="the incident that the case was reported as")
    options.add_argument("--model", default="", help="the model to ask; without it the rules work alone")


async def _replay(given: argparse.Namespace, token: TokenSource) -> int:
    """One JSON object on standard output."""
    async with Gate(given.gate, token) as gate:
        found = await Replay(gate, given.gate, token, given.incident, given.model).run()
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _budget(options: argparse.ArgumentParser, given: argparse.Namespace) -> Budget:
    """What one step may spend; a limit in money without a price is a mistake, not a limit."""
    try:
        table = json.loads(given.prices.read_bytes()) if given.prices else {}
        known = table.get(given.model)
        price = Price(Decimal(known["in"]), Decimal(known["out"])) if known else None
        dollars = Decimal(given.dollars) if given.dollars else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
        options.error(f"--prices or --dollars cannot be read ({type(error).__name__})")
    if dollars is not None and price is None:
        options.error(f"--dollars needs a price of `{given.model}` in --prices")
    return Budget(turns=given.turns, tokens=given.tokens, dollars=dollars, price=price)


async def _work(given: argparse.Namespace, token: TokenSource, budget: Budget) -> int:
    """Work until there is nothing to do (``--once``), or until SIGTERM or SIGINT: what was begun is done again by the next."""
    teller = Teller()
    setup = Setup(given.gate, token, given.model, budget, given.hold)
    async with Gate(given.gate, token, observer=teller.told) as gate:
        working = asyncio.create_task(Worker(gate, setup, tell=teller.tell).run(once=given.once))
        for one in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(one, working.cancel)
        with suppress(asyncio.CancelledError):
            await working
    teller.tell("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
