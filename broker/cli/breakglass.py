"""``wicketgate breakglass``: two people open what would wait for an approval, for a while."""

import re
from typing import Any

import click

from broker.cli.caller import Caller, as_client, columns, pretty, when

_TARGET = re.compile(r"([^:\s]{1,64}):(.{1,256})@([^@\s]{1,64})\Z")


@click.group()
def breakglass() -> None:
    """What two people open for a while, so that named people need not wait for an approval."""


@breakglass.command("list")
@as_client
def list_breakglass(caller: Caller) -> None:
    """The newest, and what somebody must still look back at."""
    found = [dict(one) for one in caller.run(lambda gate: gate.breakglass.list())]
    caller.show({"breakglass": found}, columns(found, ("id", "state", "overdue", "opened_by", "confirmed_by", "until")))


@breakglass.command("open")
@click.option("--action", "actions", multiple=True, required=True, help="An action, such as local.process.restart.")
@click.option("--target", "targets", multiple=True, required=True, metavar="TYPE:ID@ENV", help="process:checkout@prod")
@click.option("--person", "people", multiple=True, help="A party id that may act; default: you alone.")
@click.option("--minutes", default=0, help="How long; default: as long as the gate lets it.")
@click.option("--reason", required=True)
@as_client
def open_breakglass(  # noqa: PLR0913, PLR0917 - one argument an option
    caller: Caller,
    actions: tuple[str, ...],
    targets: tuple[str, ...],
    people: tuple[str, ...],
    minutes: int,
    reason: str,
) -> None:
    """Ask for it; nothing is open until another person confirms."""
    read = [_target(one) for one in targets]
    made = caller.run(
        lambda gate: gate.breakglass.open(list(actions), read, people=list(people), minutes=minutes, reason=reason)
    )
    caller.show(
        made, [*_sheet(made), f"another person opens it: wicketgate breakglass confirm {made['id']} --reason …"]
    )


@breakglass.command("confirm")
@click.argument("breakglass_id", metavar="ID")
@click.option("--reason", required=True, help="How you know that it is needed.")
@as_client
def confirm(caller: Caller, breakglass_id: str, reason: str) -> None:
    """Open what somebody else asked for."""
    made = caller.run(lambda gate: gate.breakglass.confirm(breakglass_id, reason=reason))
    caller.show(made, _sheet(made))


@breakglass.command("end")
@click.argument("breakglass_id", metavar="ID")
@click.option("--reason", required=True)
@as_client
def end(caller: Caller, breakglass_id: str, reason: str) -> None:
    """End it before its time."""
    made = caller.run(lambda gate: gate.breakglass.end(breakglass_id, reason=reason))
    caller.show(made, _sheet(made))


@breakglass.command("review")
@click.argument("breakglass_id", metavar="ID")
@click.option("--reason", required=True, help="What was done, and whether it was right.")
@as_client
def review(caller: Caller, breakglass_id: str, reason: str) -> None:
    """Look back at one that is over; not by whoever asked for it."""
    made = caller.run(lambda gate: gate.breakglass.review(breakglass_id, reason=reason))
    caller.show(made, _sheet(made))


def _target(text: str) -> dict[str, str]:
    found = _TARGET.match(text)
    if found is None:
        raise click.UsageError(f"--target {text} is not TYPE:ID@ENV")
    return {"type": found[1], "id": found[2], "env": found[3]}


def _sheet(one: Any) -> list[str]:
    """One break-glass, for people."""
    targets = ", ".join(f"{target['type']}:{target['id']}@{target['env']}" for target in one["targets"])
    until = one["until"] or one["confirm_until"]
    return [
        f"breakglass {one['id']}  ({one['state']}{', review overdue' if one['overdue'] else ''})",
        f"actions    {', '.join(one['actions'])}",
        f"on         {targets}",
        f"who        {', '.join(one['people'])}",
        f"asked by   {one['opened_by']}; opened by {one['confirmed_by'] or '-'}",
        f"until      {when(until)}",
        f"reason     {pretty(one['reason'])}",
    ]
