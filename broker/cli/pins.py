"""``wicketgate policy mcp-pin``: what an MCP server offers, as a manifest to review, and what has changed since."""

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.cli import local, places
from broker.cli.exits import ERROR, Stop
from broker.cli.looks import Skipped, wired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.catalog import Action
    from broker.config import Settings
    from broker.connectors.base import Drift
    from broker.connectors.mcp import McpConnector
    from broker.connectors.mcp_link import Tools
    from broker.wiring import Wiring

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("mcp-pin")
@click.argument("connector")
@click.option("--config", type=_FILE, envvar="WICKETGATE_CONFIG", help="The configuration that names the connector.")
@click.option("--manifest", "file", type=_FILE, help="Default: manifests/CONNECTOR.yaml of the policy folder.")
@click.option(
    "--write", is_flag=True, help="Write the manifest: a new one, or the changed tools pinned as they are now."
)
@click.option("--json", "as_json", is_flag=True, help="One object: tools with their state and lines.")
def pin(connector: str, config: Path | None, file: Path | None, write: bool, as_json: bool) -> None:
    """Read the tools of the MCP server CONNECTOR and compare them with its manifest.

    Without a manifest, one is printed (or written) in which every tool is denied until a person has reviewed it. Ends with
    1 where the server is not what the manifest pinned.
    """
    from broker.connectors import mcp_manifest as manifests
    from broker.policy.plainyaml import read_yaml

    target = file or places.policies() / "manifests" / f"{connector}.yaml"
    tools = asyncio.run(_tools(local.settings(config, None), connector))
    if not target.exists():
        text = manifests.manifest(connector, tools.by_name.values())
        if write:
            target.write_text(text, encoding="ascii")
        click.echo(
            json.dumps({"manifest": str(target), "written": write, "text": text}) if as_json else text, nl=as_json
        )
        return
    text = target.read_text(encoding="utf-8")
    document: Any = read_yaml(text.encode(), target.name)
    found = manifests.compare(document, tools.by_name, tools.twice)
    if write:
        target.write_text(manifests.pinned_again(text, document, tools.by_name), encoding="utf-8")
    if as_json:
        shown = [{"tool": one.tool, "state": one.state, "lines": list(one.lines)} for one in found]
        click.echo(json.dumps({"manifest": str(target), "written": write, "tools": shown}))
    for one in [] if as_json else found:
        click.echo("\n".join([f"{one.state:8} {json.dumps(one.tool)}", *(f"    {line}" for line in one.lines)]))
    differs = any(one.state in {"changed", "absent", "twice"} for one in found)
    click.get_current_context().exit(ERROR if differs and not write else 0)


async def _tools(chosen: "Settings", connector: str) -> "Tools":
    """What the server offers now."""
    async with _server(chosen, connector) as server:
        return await server.tools()


def pinned(chosen: "Settings") -> str:
    """Each MCP server offers what the manifests of the newest activation pinned."""
    servers = [one.name for one in chosen.connectors if one.adapter == "mcp"]
    if not servers:
        raise Skipped("no MCP server is configured")

    async def newest(parts: "Wiring") -> tuple[bytes, str]:
        latest = await parts.bundles.latest()
        if latest is None:
            raise Skipped("no policy was activated yet")
        return await parts.bundles.bundle(latest.digest)

    from broker.catalog import Catalog
    from broker.policy.bundle import open_bundle

    bundle = open_bundle(*wired(chosen, lambda parts: asyncio.run(newest(parts))), local.signers(chosen))
    actions = Catalog.from_manifests(bundle.content.manifests).actions()
    found = [one for name in servers for one in asyncio.run(_drift(chosen, name, actions))]
    if found:
        shown = "; ".join(f"{one.action}: {one.code}" for one in found)
        raise Stop(shown, f"read what changed: wicketgate policy mcp-pin {found[0].connector}")
    return f"{sum(one.connector in servers for one in actions)} tools are as they were pinned"


async def _drift(chosen: "Settings", connector: str, actions: "Sequence[Action]") -> "Sequence[Drift]":
    async with _server(chosen, connector) as server:
        await server.tools()
        return server.drift([one for one in actions if one.connector == connector])


@asynccontextmanager
async def _server(chosen: "Settings", connector: str) -> "AsyncIterator[McpConnector]":
    """The server as the gate would use it: the same address or command, credential and bounds."""
    from broker.clock import SystemClock
    from broker.connectors.mcp import McpConnector
    from broker.connectors.registry import read_settings
    from broker.egress import Egress

    named = [one for one in chosen.connectors if one.name == connector and one.adapter == "mcp"]
    if not named:
        raise Stop(f"no connector `{connector}` with the adapter `mcp` is configured", "see docs/settings.md")
    egress = Egress()
    settings: Any = read_settings("mcp", connector, named[0].settings)
    server = McpConnector(settings, egress, SystemClock())
    try:
        yield server
    finally:
        await server.aclose()
        await egress.aclose()
