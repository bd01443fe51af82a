"""What the person in front of the terminal sees: each step as it happens, in colour where there is a terminal."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

Json = Any

_VERDICTS = {"permit": "[green]permitted[/]", "refuse": "[red]refused[/]", "wait": "[yellow]waits for a person[/]"}
_CLAIMS = {
    "verified": "[green]verified[/]",
    "refuted": "[bold red]refuted[/]",
    "unverifiable": "[yellow]unverifiable[/]",
}
WIDTH = 160


class Stage:
    """Prints to standard error where standard output is kept for JSON."""

    def __init__(self, *, to_stderr: bool) -> None:
        """Colour only on a terminal; plain lines otherwise, and where ``NO_COLOR`` is set."""
        self._console = Console(file=sys.stderr if to_stderr else sys.stdout, highlight=False, soft_wrap=True)

    def title(self, text: str) -> None:
        """A new act of the story."""
        self._console.print(f"\n[bold]{escape(text)}[/]")

    def line(self, text: str) -> None:
        """Something the demo itself does."""
        self._console.print(f"  {escape(text)}")

    def command(self, text: str) -> None:
        """A command for the person to run."""
        self._console.print(f"\n    [bold cyan]{escape(text)}[/]\n")

    def good(self, text: str) -> None:
        """Something that holds."""
        self._console.print(f"  [green]✓[/] {escape(text)}")

    def bad(self, text: str) -> None:
        """Something that does not hold."""
        self._console.print(f"  [red]✗[/] {escape(text)}")

    def state(self, incident: Mapping[str, Json]) -> None:
        """An incident went on."""
        self._console.print(f"  gate      incident {incident['id']} is [bold]{escape(incident['state'])}[/]")

    def notice(self, told: Mapping[str, Json]) -> None:
        """The pager was told something, and the signature verified."""
        counts = ", ".join(f"{count} {verdict}" for verdict, count in told["evidence"].items()) or "no claim"
        self._console.print(f"  [green]✓[/] pager     told of {told['incident']} ({told['kind']}), signature verified")
        self._console.print(f"            [dim]{escape(_cut(told['summary']))}; claims: {escape(counts)}[/]")
        for one in told["tried"]:
            why = f" ({one['code']})" if one.get("code") else ""
            self._console.print(f"            tried {escape(one['action'])}: {escape(one['status'] + why)}")

    def event(self, event: Mapping[str, Json]) -> None:
        """One event of an agent (``agents/events.py`` lists them)."""
        for text in _EVENTS.get(str(event.get("event")), _other)(event):
            self._console.print(text)


def _step(event: Mapping[str, Json]) -> list[str]:
    return [f"\n[bold]agent: {escape(event['title'])}[/]"]


def _asked(event: Mapping[str, Json]) -> list[str]:
    arguments = " ".join(f"{key}={value}" for key, value in event["arguments"].items())
    return [f"  asked     {event['action']} [dim]{escape(_cut(event['resource'] + ' ' + arguments))}[/]"]


def _decided(event: Mapping[str, Json]) -> list[str]:
    verdict = _VERDICTS[event["verdict"]]
    tier = f" [dim](tier {event['tier']})[/]" if event.get("tier") is not None else ""
    why = f": {escape(event['code'])} [dim]{escape(event['remedy'])}[/]" if event.get("code") else ""
    return [f"  decided   {verdict}{tier}{why}"]


def _redacted(event: Mapping[str, Json]) -> list[str]:
    counts = ", ".join(f"{count} {entity}" for entity, count in sorted(event["counts"].items()))
    return [f"  redacted  [magenta]{escape(counts)}[/]"]


def _recorded(event: Mapping[str, Json]) -> list[str]:
    return [f"  recorded  [dim]no. {event['seq']} {event['leaf'][:16]}…[/]"]


def _approval(event: Mapping[str, Json]) -> list[str]:
    return [f"  approval  {escape(event['id'])} [dim]for the request {event['digest'][:16]}…[/]"]


def _said(event: Mapping[str, Json]) -> list[str]:
    uses = f" [dim]uses {escape(', '.join(event['uses']))}[/]" if event.get("uses") else ""
    return [f"  model     [italic]{escape(event['text'])}[/]{uses}"]


def _claimed(event: Mapping[str, Json]) -> list[str]:
    return [f"\n[bold]responder: incident {escape(event['incident'])} is {escape(event['state'])}[/]"]


def _found(event: Mapping[str, Json]) -> list[str]:
    leader = event.get("leader")
    named = f"{leader['fault']} at {leader['component']}" if leader else "nothing"
    return [
        f"  rules     [bold]{escape(event['rules'])}[/]: {escape(named)} [dim]{len(event['checked'])} reads; {escape(_cut(event['why']))}[/]"
    ]


def _hypotheses(event: Mapping[str, Json]) -> list[str]:
    return [
        f"  model     {escape(one['id'])} {escape(one['fault'])} at {escape(one['component'])}: [italic]{escape(_cut(one['statement']))}[/]"
        for one in event["hypotheses"]
    ]


def _judged(event: Mapping[str, Json]) -> list[str]:
    cause = event["cause"]
    told = [
        f"  gate      judges {escape(str(cause.get('fault')))} at {escape(str(cause.get('component')))}: [bold]{escape(event['verdict'])}[/]"
    ]
    for one in event["claims"]:
        really = f", really {_cut(str(one['actual']), 60)}" if one["verdict"] == "refuted" else ""
        said = _cut(f"{one.get('text', '')}: {one['selector']} {one['op']} {one.get('value', '')}")
        told.append(f"    {_CLAIMS.get(one['verdict'], '')}{escape(really)} [dim]{escape(said)}[/]")
    return told


def _remedy(event: Mapping[str, Json]) -> list[str]:
    target = event["resource"]
    where = f"{target['type']}:{target['id']}@{target['env']}"
    return [f"  remedy    [bold]{escape(event['remedy'])}[/] [dim]{escape(where)} {escape(str(event['arguments']))}[/]"]


def _finished(event: Mapping[str, Json]) -> list[str]:
    reason = f" [dim]{escape(str(event['body'].get('reason', '')))}[/]" if event["body"].get("reason") else ""
    return [f"  responder says: [bold]{escape(event['to'])}[/]{reason}"]


def _failed(event: Mapping[str, Json]) -> list[str]:
    return [f"  [yellow]failed[/]    {escape(str(event.get('code')))} [dim]{escape(str(event.get('detail', '')))}[/]"]


def _nothing(_: Mapping[str, Json]) -> list[str]:
    return []


def _other(event: Mapping[str, Json]) -> list[str]:
    return [f"  [dim]{escape(str(event.get('text', event)))}[/]"]


def _cut(text: str, width: int = WIDTH) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


_EVENTS = {
    "step": _step,
    "asked": _asked,
    "decided": _decided,
    "redacted": _redacted,
    "recorded": _recorded,
    "approval": _approval,
    "said": _said,
    "claimed": _claimed,
    "found": _found,
    "hypotheses": _hypotheses,
    "judged": _judged,
    "remedy": _remedy,
    "finished": _finished,
    "failed": _failed,
    "model_failed": _failed,
    "stopped": _nothing,
    "lost": _nothing,
}
