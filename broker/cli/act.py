"""``wicketgate act``, ``approvals`` and ``agents``: the gate's API through the client library."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from broker.cli.caller import Caller, as_client, columns, dumped, pretty, read_arguments, when

if TYPE_CHECKING:
    from wicketgate import ApprovalDetail, Done, Gate

WAIT_SECONDS = 900
BRIEF = ("id", "state", "tier", "action", "requester", "ends")


@click.command()
@click.argument("action")
@click.option("--type", "kind", default="process", show_default=True, help="Type of the target.")
@click.option("--id", "name", required=True, help="Name of the target.")
@click.option("--env", default="prod", show_default=True, help="Environment of the target.")
@click.option("--arg", "arguments", multiple=True, metavar="NAME=VALUE", help="An argument; JSON values are read so.")
@click.option("--reason", default="", help="Why; people who approve read it.")
@click.option("--session", default="", help="An open session; without it a new one is opened.")
@click.option("--wait", is_flag=True, help="Wait for the person who has to approve.")
@click.option("--timeout", default=WAIT_SECONDS, show_default=True, help="With --wait: seconds.")
@click.option("--idempotency-key", "again", default="", help="Idempotency key, to ask for the same thing again.")
@as_client
def act(  # noqa: PLR0913, PLR0917 - one argument an option
    caller: Caller,
    action: str,
    kind: str,
    name: str,
    env: str,
    arguments: tuple[str, ...],
    reason: str,
    session: str,
    wait: bool,
    timeout: int,
    again: str,
) -> None:
    """Ask the gate for ACTION on one target, and print its result."""
    from wicketgate import Intent, Resource

    given = read_arguments(arguments)

    async def ask(gate: "Gate") -> "Done":
        intent = [Intent(text=reason or action, source="wicketgate act")]
        opened = session or (await gate.sessions.open(intent, key=again and f"{again}.session")).id
        return await gate.act(
            action,
            Resource(kind, name, env),
            given,
            reason=reason,
            session=opened,
            wait=timeout if wait else 0,
            key=again,
        )

    done = caller.run(ask)
    receipt = f"recorded as no. {done.receipt.seq} of {done.receipt.log}" if done.receipt else ""
    caller.show(dumped(done), [pretty(done.result), *([receipt] if receipt else [])])


@click.group()
def approvals() -> None:
    """What waits for people."""


@approvals.command("list")
@click.option("--state", default="waiting", show_default=True, help="waiting, open, approved, denied, expired, …")
@as_client
def list_approvals(caller: Caller, state: str) -> None:
    """Requests that wait, one a line."""
    found = [dumped(one) for one in caller.run(lambda gate: gate.approvals.list(state))]
    if caller.as_json:
        for one in found:
            caller.show({name: value for name, value in one.items() if name not in _ONLY_SHOWN}, "")
        return
    caller.show(None, columns([{**one, "ends": _ends(one["time_box"], one["expires_at"])} for one in found], BRIEF))


_ONLY_SHOWN = ("arguments", "reason", "plan", "roles", "separation", "policy_revision", "reviews", "signature")
"""Fields that a list leaves out, so that nobody reads an absent plan as an empty one."""


@approvals.command("show")
@click.argument("approval")
@as_client
def show_approval(caller: Caller, approval: str) -> None:
    """Everything a reviewer must see: the exact arguments, the plan, the digest, who answered what."""
    found = caller.run(lambda gate: gate.approvals.show(approval))
    caller.show(dumped(found), _sheet(found))


@approvals.command("approve")
@click.argument("approval")
@click.option("--digest", default="", help="Digest of the request that you mean; default: what is shown now.")
@click.option("--reason", default="")
@click.option("--narrow", multiple=True, metavar="NAME=VALUE", help="Approve with smaller arguments only.")
@as_client
def approve(caller: Caller, approval: str, digest: str, reason: str, narrow: tuple[str, ...]) -> None:
    """Approve exactly the request that is shown."""
    _review(caller, approval, "approve", digest=digest, reason=reason, narrow=read_arguments(narrow))


@approvals.command("deny")
@click.argument("approval")
@click.option("--digest", default="", help="Digest of the request that you mean; default: what is shown now.")
@click.option("--reason", default="")
@as_client
def deny(caller: Caller, approval: str, digest: str, reason: str) -> None:
    """Deny the request."""
    _review(caller, approval, "deny", digest=digest, reason=reason, narrow={})


@approvals.command("acknowledge")
@click.argument("approval")
@click.option("--digest", default="", help="Digest of the request that you mean; default: what is shown now.")
@click.option("--reason", default="")
@as_client
def acknowledge(caller: Caller, approval: str, digest: str, reason: str) -> None:
    """Say that you have seen that the request runs by itself unless somebody denies it; you may still deny it."""
    if not digest:
        shown = caller.run(lambda gate: gate.approvals.show(approval))
        digest = shown.digest
        click.echo("\n".join(_sheet(shown)), err=True)
    said = caller.run(lambda gate: gate.approvals.acknowledge(approval, digest=digest, reason=reason))
    answer = {"id": approval, "verdict": "acknowledge", "digest": digest, "state": said.approval.state}
    caller.show({**answer, "receipt": dumped(said.receipt)}, f"{approval}: acknowledged")


def _ends(time_box: Mapping[str, Any] | None, expires_at: int) -> str:
    """What happens where nobody answers, and when."""
    if time_box and time_box["ends"] == "runs":
        return f"runs by itself at {when(time_box['due'])}"
    return f"expires at {when(expires_at)}"


def _review(  # noqa: PLR0913 - one argument an option
    caller: Caller, approval: str, verdict: str, *, digest: str, reason: str, narrow: dict[str, Any]
) -> None:
    """Show, ask where a person sits here, and answer for the digest that was shown."""
    shown = None if digest else caller.run(lambda gate: gate.approvals.show(approval))
    if shown is not None:
        digest = shown.digest
        click.echo("\n".join(_sheet(shown)), err=True)
        if sys.stdin.isatty():
            click.confirm(f"{verdict} this request?", abort=True, err=True)
    review = caller.run(
        lambda gate: gate.approvals.review(approval, verdict, digest=digest, reason=reason, narrow=narrow or None)
    )
    state = review.approval.state
    answer = {"id": approval, "verdict": verdict, "digest": digest, "state": state, "receipt": dumped(review.receipt)}
    caller.show(answer, f"{approval}: {verdict}; the request is now {state}")


def _sheet(found: "ApprovalDetail") -> list[str]:
    """One waiting request, for people."""
    target = found.resource
    return [
        f"approval   {found.id}  ({found.state}, tier {found.tier})",
        f"action     {found.action}",
        f"on         {target.get('type')}:{target.get('id')}@{target.get('env')}",
        f"arguments  {pretty(dict(found.arguments))}",
        f"asked by   {found.requester}",
        f"reason     {found.reason or '-'}  (the requester's own words)",
        f"plan       {pretty(dict(found.plan))}",
        f"needs      {found.quorum} of {', '.join(found.roles) or '-'}; until {when(found.expires_at)}",
        f"unanswered {_ends(found.time_box, found.expires_at)}",
        *(["signature  wanted: sign it in the console, /console/inbox/" + found.id] if found.signature else []),
        *(f"review     {one.get('verdict')} by {one.get('reviewer')}" for one in found.reviews),
        f"digest     {found.digest}",
    ]


@click.group()
def agents() -> None:
    """Who and what is stopped, and the kill switch."""


_SCOPES = click.Choice(("agent", "connector", "tenant", "all"))


@agents.command("list")
@as_client
def list_agents(caller: Caller) -> None:
    """What is stopped now."""
    stopped = [dict(one) for one in caller.run(lambda gate: gate.agents.stopped())]
    caller.show({"stopped": stopped}, columns(stopped, ("scope", "target", "at")))


@agents.command("kill")
@click.argument("target", default="")
@click.option("--scope", type=_SCOPES, default="agent", show_default=True)
@click.option("--reason", required=True)
@as_client
def kill(caller: Caller, target: str, scope: str, reason: str) -> None:
    """Stop TARGET at once (an agent's party id such as dev:agent-1; no target for tenant and all)."""
    _needs_target(scope, target)
    done = caller.run(lambda gate: gate.agents.kill(scope, target, reason=reason))
    caller.show(done, f"stopped: {scope} {target}".rstrip())


@agents.command("resume")
@click.argument("target", default="")
@click.option("--scope", type=_SCOPES, default="agent", show_default=True)
@click.option("--reason", required=True)
@as_client
def resume(caller: Caller, target: str, scope: str, reason: str) -> None:
    """Let TARGET work again."""
    _needs_target(scope, target)
    done = caller.run(lambda gate: gate.agents.resume(scope, target, reason=reason))
    caller.show(done, f"resumed: {scope} {target}".rstrip() if done.get("changed", True) else "nothing was stopped")


def _needs_target(scope: str, target: str) -> None:
    if bool(target) != (scope in {"agent", "connector"}):
        raise click.UsageError(f"--scope {scope} {'needs a TARGET' if not target else 'takes no TARGET'}")
