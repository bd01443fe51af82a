"""``wicketgate config`` and ``migrate``: for whoever runs the gate."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli import local, looks
from broker.cli.caller import json_option

if TYPE_CHECKING:
    from broker.config import Settings

_config = click.option("--config", type=click.Path(path_type=Path), envvar="WICKETGATE_CONFIG", help="TOML file.")
_data = click.option("--data", type=click.Path(path_type=Path), help="Data folder.")


@click.group("config")
def configuration() -> None:
    """The gate's configuration."""


@configuration.command()
@_config
@_data
@json_option
def check(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Read the configuration as the gate would, and stop at the first thing it would refuse."""
    chosen = local.settings(config, data)
    looks.check(chosen)
    warnings = _warnings(chosen)
    shown = {"ok": True, "url": chosen.url, "connectors": [one.name for one in chosen.connectors], "warnings": warnings}
    lines = [f"ok: {chosen.url}, {len(chosen.connectors)} connectors", *(f"warning: {one}" for one in warnings)]
    click.echo(json.dumps(shown) if as_json else "\n".join(lines))


@configuration.command("print")
@_config
@_data
@json_option
def print_settings(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Every setting with its value in force, environment included; secrets are hidden."""
    from broker.config import hidden

    shown = hidden(local.settings(config, data).model_dump(mode="json"))
    click.echo(json.dumps(shown, indent=None if as_json else 2))


@click.command()
@_config
@_data
@json_option
def migrate(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Make or renew the database's tables; the gate does it at its start, too."""
    from broker.store import Store

    chosen = local.settings(config, data)
    chosen.gate.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(local.database(chosen))
    try:
        store.migrate()
    finally:
        store.close()
    click.echo(json.dumps({"ok": True, "database": store.dialect}) if as_json else f"ok: {store.dialect} is current")


def _warnings(chosen: "Settings") -> list[str]:
    """What the gate takes at its start and cannot live up to."""
    try:
        looks.signing(chosen)
    except looks.Doubtful as doubtful:
        return ["; ".join(doubtful.args)]
    return []
