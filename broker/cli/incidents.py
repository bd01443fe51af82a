"""``wicketgate incidents``: what is wrong, what was found, and taking part in it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.cli.caller import Caller, as_client, columns, dumped, pretty, when

if TYPE_CHECKING:
    from wicketgate import Gate, IncidentDetail

BRIEF = ("id", "state", "severity", "service", "env", "opened_at", "title")
PARTS = ("timeline", "postmortem", "impact", "experts")
ACTS = ("note", "rule_out", "correct", "take_over", "hand_back", "outside_change", "close")


@click.group()
def incidents() -> None:
    """Incidents: list, look into, take part."""


@incidents.command("list")
@click.option("--state", default="", help="Only those in this state.")
@as_client
def list_incidents(caller: Caller, state: str) -> None:
    """The newest incidents."""
    page = caller.run(lambda gate: gate.incidents.page(state))
    rows = [dumped(one) for one in page.incidents]
    caller.show({"incidents": rows, "after": page.after}, columns(rows, BRIEF))


@incidents.command("show")
@click.argument("incident")
@click.option("--part", type=click.Choice(PARTS), help="One view of it instead of all that is known.")
@click.option(
    "--before", default="", help="With --part timeline: what is before this place, which an earlier answer named."
)
@as_client
def show(caller: Caller, incident: str, part: str | None, before: str) -> None:
    """One incident: state, diagnosis with its claims, events; or one view of it."""
    if before and part != "timeline":
        raise click.UsageError("--before goes with --part timeline")
    if part is not None:
        where = {"before": before} if before else {}
        found = caller.run(lambda gate: getattr(gate.incidents, part)(incident, **where))
        more = [f"earlier: --part timeline --before {found['before']}"] if found.get("before") else []
        caller.show(found, [*more, str(found["markdown"])] if "markdown" in found else pretty(found))
        return
    whole = caller.run(lambda gate: gate.incidents.get(incident))
    caller.show(dumped(whole), _sheet(whole))


@incidents.command("act")
@click.argument("incident")
@click.argument("kind", type=click.Choice(ACTS))
@click.option("--text", default="", help="In your own words.")
@click.option("--component", default="", help="With rule_out and correct: what is meant.")
@click.option("--fault", default="", help="With rule_out and correct: which fault is meant.")
@as_client
def act_in(caller: Caller, incident: str, kind: str, text: str, component: str, fault: str) -> None:  # noqa: PLR0913, PLR0917 - one argument an option
    """Take part in an incident: the agent's next step sees what you say."""
    done = caller.run(lambda gate: gate.incidents.event(incident, kind, text, component=component, fault=fault))
    caller.show(done, f"{incident}: {kind}; the incident is {done.get('state', '')}")


@incidents.command("record")
@click.argument("incident")
@click.argument("folder", type=click.Path(path_type=Path))
@as_client
def record(caller: Caller, incident: str, folder: Path) -> None:
    """Write what was asked and answered in an incident to FOLDER, for `wicketgate investigate --replay`."""

    async def gather(gate: "Gate") -> tuple[Any, list[tuple[dict[str, Any], tuple[str, Any]]], dict[str, str]]:
        whole = await gate.incidents.get(incident)
        signals = {str(one["name"]): str(one["signal"]) for one in await gate.actions.catalog()}
        acts: list[dict[str, Any]] = []
        before, parts = "", 0
        while before or not parts:
            told = await gate.incidents.timeline(incident, before=before)
            acts, before, parts = [*told["actions"], *acts], str(told["before"]), parts + 1
        looked = [one for one in acts if one["effect"] == "read" and one["status"] != "open"]
        return whole, [(one, await answer(gate, one)) for one in looked], signals

    async def answer(gate: "Gate", action: dict[str, Any]) -> tuple[str, Any]:
        if action["status"] != "done":
            return "error", None
        kept = await gate.observations.get(action["observation"])
        return kept.status, kept.value

    from broker.cli.recording import write_case

    whole, observed, signals = caller.run(gather)
    count = write_case(folder, dumped(whole), observed, signals)
    caller.show({"folder": str(folder), "observations": count}, f"{count} observations in {folder}")


def _sheet(whole: "IncidentDetail") -> list[str]:
    """One incident, for people."""
    one = whole.incident
    lines = [
        f"incident   {one.id}  ({one.state}, severity {one.severity})",
        f"title      {one.title}",
        f"service    {one.service}@{one.env}",
        f"since      {when(one.since)}" + (f" until {when(one.until)}" if one.until else ""),
        f"held by    {one.holder or '-'}",
    ]
    for diagnosis in whole.diagnoses:
        cause = diagnosis["cause"]
        lines.append(
            f"diagnosis  {diagnosis['verdict']}: {cause.get('component')} {cause.get('fault')}"
            f" (confidence {diagnosis['confidence_milli']}/1000)"
        )
        lines += [f"  {claim['verdict']:<13} {claim.get('text') or claim['selector']}" for claim in diagnosis["claims"]]
    more = len(whole.diagnoses) < whole.diagnoses_part.total
    lines += [f"diagnoses  {len(whole.diagnoses)} of {whole.diagnoses_part.total} are shown"] * more
    earlier = whole.events_part.total - len(whole.events)
    lines += [f"events     the last {len(whole.events)} of {whole.events_part.total}; all: --part timeline"] * (
        earlier > 0
    )
    lines += [f"{when(event['at'])}  {event['kind']:<14} {event['actor']}" for event in whole.events]
    return lines
