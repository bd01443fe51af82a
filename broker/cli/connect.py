"""``wicketgate connect CLIENT``: a coding agent, or another MCP client, comes through the gate."""

import json
import shutil
import sys
from pathlib import Path

import click

from broker.cli import clients, places
from broker.cli.caller import identity_options, json_option, url_option


@click.command()
@click.argument("client", type=click.Choice(sorted(clients.CLIENTS)))
@url_option
@identity_options
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=".", help="The project's folder.")
@click.option("--model/--no-model", default=True, help="Model calls through the gate, too, where the client can.")
@click.option("--resource", default="local", show_default=True, help="This machine's id in the gate's inventory.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--undo", is_flag=True, help="Take out again what this command put in.")
@json_option
def connect(  # noqa: PLR0913, PLR0917 - one argument an option
    client: str,
    url: str,
    persona: str | None,
    data: Path | None,
    key: Path | None,
    folder: Path,
    model: bool,
    resource: str,
    dry_run: bool,
    undo: bool,
    as_json: bool,
) -> None:
    """Write CLIENT's configuration so that its tools, and where it can its model calls, go through the gate.

    Whatever else stands in its files stays. No token is written: it comes from `wicketgate token`.
    """
    chosen = {"--as": persona, "--data": data and data.absolute(), "--key": key and key.absolute()}
    given = [part for name, value in chosen.items() if value for part in (name, str(value))]
    wanted = clients.Wanted(
        url=url.rstrip("/"),
        token=(_program(), "token", "--url", url.rstrip("/"), *given),
        folder=folder.absolute(),
        home=Path.home(),
        model=model,
        waiting=places.config_folder() / "waiting",
        resource=resource,
    )
    changes = clients.CLIENTS[client](wanted)
    texts = {path: path.read_text(encoding="utf-8") if path.exists() else "" for path in changes}
    # All of them first: where one cannot be changed, none is.
    made = {path: change(texts[path], undo) for path, change in changes.items()}
    files = []
    for path, text in made.items():
        state = "unchanged" if text == texts[path] else "would change" if dry_run else "written" if text else "removed"
        if state in {"written", "removed"}:
            _write(path.resolve(), text)
        difference = "\n".join(clients.difference(path, texts[path], text)) if state == "would change" else ""
        files.append({"path": str(path), "state": state, "difference": difference})
    by_hand = not undo and client in clients.BY_ENVIRONMENT
    export = f'export {clients.EXPORTED}="$({" ".join(wanted.token)})"' if by_hand else ""
    if as_json:
        click.echo(json.dumps({"client": client, "files": files, "next": export}))
        return
    for one in files:
        click.echo(one["difference"] or f"{one['state']}: {one['path']}")
    if client == "claude-code" and model and not undo:
        click.echo(
            "next: policy can take its tool calls from its model's turns alone: list its party in config/guardrails, turns"
        )
    if export:
        click.echo(f"next: start it where the token is: {export}")


def _program() -> str:
    """This command, as another program starts it: the one beside the interpreter that runs it."""
    beside = Path(sys.executable).with_name("wicketgate")
    return str(beside) if beside.exists() else shutil.which("wicketgate") or "wicketgate"


def _write(path: Path, text: str) -> None:
    """The whole file or nothing of it, with the mode that it has; an empty one goes."""
    from audit.keyfile import replace

    if not text:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    replace(path, text.encode(), mode=mode)
