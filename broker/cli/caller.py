"""Who calls which gate: the options that every client command has, and the client made from them."""

import asyncio
import functools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from broker.cli import places, signin
from broker.cli.exits import NOT_AUTHENTICATED, Stop

if TYPE_CHECKING:
    from wicketgate import Gate

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE_SECONDS = 2.0
JSON_WANTED = "wicketgate.json"
"""Where the context keeps that answers, failures too, are wanted as JSON."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The gate's address, and which identity to show it."""

    url: str
    persona: str | None
    data: Path | None
    key: Path | None
    as_json: bool
    kept: list[str] = field(default_factory=list, repr=False)
    """The token in use, so that a person is asked for the code once."""

    def token(self) -> str:
        """A bearer token: of ``--as``, else ``WICKETGATE_TOKEN``, else of the stored login."""
        if not self.kept:
            self.kept.append(self._fresh_token())
        return self.kept[0]

    def _fresh_token(self) -> str:
        if self.persona and self.persona in signin.CLIENTS:
            client = signin.CLIENTS[self.persona]
            return signin.agent_token(self.url, self._key(client), client)
        if self.persona:
            return signin.persona_token(self.url, self.persona, _dev_code(self.persona))
        return os.environ.get("WICKETGATE_TOKEN") or stored_login(self.url)

    def run(self, work: "Callable[[Gate], Awaitable[R]]") -> R:
        """Do ``work`` with a client of the gate."""
        from wicketgate import Gate

        self.token()  # may ask the person for a code, which is no work for an event loop
        source = _Source(self)

        async def main() -> R:
            async with Gate(self.url, token=source, patience=PATIENCE_SECONDS) as gate:
                return await work(gate)

        return asyncio.run(main())

    def show(self, value: Any, text: str | Sequence[str]) -> None:
        """Print ``value`` as one JSON object, or ``text`` for people."""
        if self.as_json:
            click.echo(json.dumps(value))
        else:
            click.echo(text if isinstance(text, str) else "\n".join(text))

    def _key(self, client: str) -> Path:
        """The private key of ``client``: ``--key``, else in the keys folder of ``--data`` or of the gate started here."""
        if self.key is not None:
            return self.key
        agent = self.data / "keys" / "agent-1.jwk" if self.data else places.agent_key(self.url)
        if agent is None:
            raise Stop(
                f"no key of {client} is known for {self.url}",
                "give --data the data folder of `wicketgate serve --dev`, or --key the key file",
                NOT_AUTHENTICATED,
            )
        return agent.with_name(f"{client}.jwk")


class _Source:
    """The caller's token for each request; the client library lets it be forgotten after a 401."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def __call__(self) -> str:
        return self._caller.token()

    def forget(self) -> None:
        """Ask for a new one at the next request."""
        self._caller.kept.clear()


def _dev_code(persona: str) -> str:
    """The code that proves that a person sits here, never an agent."""
    given = os.environ.get("WICKETGATE_DEV_CODE")
    if given:
        return given
    if not sys.stdin.isatty():
        raise Stop(
            f"the persona {persona} needs the code that `wicketgate serve --dev` printed",
            "set WICKETGATE_DEV_CODE, or run this in a terminal to be asked",
            NOT_AUTHENTICATED,
        )
    return str(click.prompt(f"development code for {persona}", hide_input=True, err=True))


def stored_login(url: str) -> str:
    """The token that ``wicketgate login`` stored for ``url``, while it is in force."""
    from broker.clock import SystemClock, seconds

    try:
        stored = json.loads(places.token_file(url).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = {}
    if not stored.get("token") or stored.get("expires_at", 0) <= seconds(SystemClock()):
        raise Stop(
            f"{'the sign-in has expired' if stored else 'nobody is signed in'} for {url}",
            "run wicketgate login; in development use --as",
            NOT_AUTHENTICATED,
        )
    return str(stored["token"])


def _remember_json(ctx: click.Context, _: click.Parameter, wanted: bool) -> bool:
    ctx.meta[JSON_WANTED] = wanted or ctx.meta.get(JSON_WANTED, False)
    return wanted


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_remember_json, help="One JSON object, or one a line."
)
url_option = click.option(
    "--url", envvar="WICKETGATE_URL", default=places.DEFAULT_URL, show_default=True, help="The gate's address."
)


def identity_options(command: Callable[P, R]) -> Callable[P, R]:
    """``--as``, ``--data`` and ``--key``: identities of the development provider."""
    for option in (
        click.option("--key", type=click.Path(path_type=Path), help="With --as agent or alerts: its private key."),
        click.option(
            "--data", type=click.Path(path_type=Path), help="With --as agent or alerts: the gate's data folder."
        ),
        click.option(
            "--as", "persona", type=click.Choice(signin.PERSONAS), help="A persona of `serve --dev` instead of a login."
        ),
    ):
        command = option(command)
    return command


def as_client(command: Callable[..., R]) -> Callable[..., R]:
    """Give ``command`` a ``Caller`` first, made from the client options."""

    @url_option
    @identity_options
    @json_option
    @functools.wraps(command)
    def with_caller(
        *args: Any,
        url: str,
        persona: str | None,
        data: Path | None,
        key: Path | None,
        as_json: bool,
        **kwargs: Any,
    ) -> R:
        return command(Caller(url.rstrip("/"), persona, data, key, as_json), *args, **kwargs)

    return with_caller


def read_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """``k=v`` pairs; a value that is JSON is read as JSON, decimals stay exact text, everything else is text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--arg {pair!r}: write name=value")
        if name in found:
            raise click.UsageError(f"--arg {name} is given twice")
        try:
            found[name] = json.loads(text, parse_float=str, parse_constant=str)
        except ValueError:
            found[name] = text
    return found


def dumped(value: Any) -> Any:
    """A client library's answer as plain JSON."""
    return value.model_dump(mode="json", by_alias=True) if hasattr(value, "model_dump") else value


def pretty(value: Any) -> str:
    """A JSON value for people to read."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def when(seconds: int) -> str:
    """Seconds since the epoch as people read them, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cell(name: str, value: Any) -> str:
    return when(value) if name in {"at", "expires_at"} and isinstance(value, int) else str(value)


def columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Rows as aligned text under their names; nothing but a dash where there is none."""
    if not rows:
        return ["-"]
    table = [list(names), *([_cell(name, row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
