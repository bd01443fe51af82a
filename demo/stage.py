"""What the person in front of the terminal sees: each step as it happens, in colour where there is a terminal."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

Json = Any

_VERDICTS = {"permit": "[green]permitted[/]", "refuse": "[red]refused[/]", "wait": "[yellow]waits for a person[/]"}


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

    def event(self, event: Mapping[str, Json]) -> None:
        """One event of the agent (``agents/events.py`` lists them)."""
        text = _EVENTS.get(str(event.get("event")), _other)(event)
        self._console.print(text)


def _step(event: Mapping[str, Json]) -> str:
    return f"\n[bold]agent: {escape(event['title'])}[/]"


def _asked(event: Mapping[str, Json]) -> str:
    arguments = " ".join(f"{key}={value}" for key, value in event["arguments"].items())
    return f"  asked     {event['action']} [dim]{escape(event['resource'])} {escape(arguments)}[/]"


def _decided(event: Mapping[str, Json]) -> str:
    verdict = _VERDICTS[event["verdict"]]
    tier = f" [dim](tier {event['tier']})[/]" if event.get("tier") is not None else ""
    why = f": {escape(event['code'])} [dim]{escape(event['remedy'])}[/]" if event.get("code") else ""
    return f"  decided   {verdict}{tier}{why}"


def _redacted(event: Mapping[str, Json]) -> str:
    counts = ", ".join(f"{count} {entity}" for entity, count in sorted(event["counts"].items()))
    return f"  redacted  [magenta]{escape(counts)}[/]"


def _recorded(event: Mapping[str, Json]) -> str:
    return f"  recorded  [dim]no. {event['seq']} {event['leaf'][:16]}…[/]"


def _approval(event: Mapping[str, Json]) -> str:
    return f"  approval  {escape(event['id'])} [dim]for the request {event['digest'][:16]}…[/]"


def _said(event: Mapping[str, Json]) -> str:
    return f"  model     [italic]{escape(event['text'])}[/]"


def _other(event: Mapping[str, Json]) -> str:
    return f"  [dim]{escape(str(event.get('text', event)))}[/]"


_EVENTS = {
    "step": _step,
    "asked": _asked,
    "decided": _decided,
    "redacted": _redacted,
    "recorded": _recorded,
    "approval": _approval,
    "said": _said,
}
