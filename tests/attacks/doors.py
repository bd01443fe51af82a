"""Every part of the gate that asks another system something, asked once: its real code, over an egress that a test gives it."""

import base64
import functools
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from joserfc.jwk import ECKey

from broker import config
from broker.catalog import Catalog
from broker.clock import SeededClock
from broker.connectors.exchange import Exchange, ExchangeSettings
from broker.connectors.registry import build_connector, read_settings
from broker.egress import Egress
from broker.model import Grant, Resource
from broker.wiring.foundations import Foundations
from tests.parts import ROOT
from tests.unit.connectors.cases import SEAL
from tests.unit.connectors.mcp_cases import ACTIONS, TICKETS

Door = Callable[[Egress, str, tuple[str, ...], Path], Awaitable[object]]
"""(egress, origin, networks that it may reach, a folder): asks once, and raises what it was refused with."""
START_S = 1_767_225_600
BARE: Mapping[str, Any] = {
    "title": "T", "effect": "read", "reversibility": "reversible", "idempotent": True, "arguments": {},
}  # fmt: skip


def _bundled(name: str) -> Any:
    return yaml.safe_load((ROOT / f"policies/manifests/{name}.yaml").read_text())


def _connector(  # noqa: PLR0917 - one argument a part of the call
    adapter: str, manifest: Callable[[], Any], action: str, resource: Resource, arguments: Mapping[str, Any],
    table: Callable[[str, list[str], Path], Mapping[str, Any]],
) -> Door:  # fmt: skip
    """Execute ``action`` by a connector with the settings that ``table`` makes of (origin, networks, folder)."""

    declared = functools.cache(lambda: Catalog.from_manifests([manifest()]))

    async def door(egress: Egress, origin: str, networks: tuple[str, ...], folder: Path) -> object:
        (folder / "key").write_text("made-up-credential")
        (folder / "hook").write_text("whsec_" + base64.b64encode(b"k" * 32).decode())
        catalog, name = declared(), action.partition(".")[0]
        settings = read_settings(adapter, name, table(origin, list(networks), folder))
        connector = build_connector(settings, egress, SeededClock(START_S * 10**9), SEAL)
        request = catalog.request(
            action_id="act_1", tenant="default", requester="dev:agent-1", session="ses_1", action=action, resource=resource,
            arguments=catalog.complete(action, resource, arguments),
        )  # fmt: skip
        grant = Grant(id="act_1", request=request, policy_revision="r", expires_at=2**40, arguments=request.arguments)
        try:
            return await connector.execute(grant, catalog.action(action))
        finally:
            await connector.aclose()

    return door


def _process(name: str = "checkout") -> Resource:
    return Resource(type="process", id=name, env="prod", region="eu-west-1")


def _own(connector: str, action: str, **more: Any) -> Callable[[], Any]:
    return lambda: {"connector": connector, "actions": {action: {**BARE, **more}}}


def _local(origin: str, networks: list[str], folder: Path) -> Mapping[str, Any]:
    processes = [{"id": "checkout", "metrics_url": f"{origin}/metrics"}]
    return {"supervisor_url": origin, "allow_networks": networks, "processes": processes}


async def _exchange(egress: Egress, origin: str, networks: tuple[str, ...], folder: Path) -> object:
    """A token for a connector's system."""
    key = ECKey.generate_key("P-256", {"kid": "gate-1", "use": "sig", "alg": "ES256"})
    (folder / "key.jwk").write_text(json.dumps(key.as_dict(private=True)))
    settings = ExchangeSettings(
        token_url=f"{origin}/token",
        issuer="https://gate.example",
        key_file=str(folder / "key.jwk"),
        client_id="wicketgate",
        allow_networks=networks,
    )
    return await Exchange("crm", settings, egress, SeededClock()).headers(None)


def _wired(egress: Egress, origin: str, networks: tuple[str, ...], folder: Path) -> Foundations:
    """The wiring's own calls to an issuer whose keys are at ``origin``."""
    (folder / "gate.toml").write_text(f"""
[gate]
data = {json.dumps(str(folder / "data"))}
[[identity.issuers]]
name = "corp"
issuer = "https://id.example"
audiences = ["wicketgate"]
jwks_uri = "{origin}/keys"
allow_networks = {json.dumps(list(networks))}
""")
    made = Foundations(config.load(folder / "gate.toml", environment={}), clock=SeededClock())
    made.egress = egress
    return made


async def _keys(egress: Egress, origin: str, networks: tuple[str, ...], folder: Path) -> object:
    """An issuer's key set."""
    return await _wired(egress, origin, networks, folder)._fetch(f"{origin}/keys")


WINDOW = {"start_s": START_S - 3600, "end_s": START_S, "step_s": 600}
HISTORY = {"since_s": START_S - 3600, "until_s": START_S}
DOORS: dict[str, Door] = {
    "http connector": _connector(
        "http", _own("tools", "tools.thing.read", transport={"path": "/x"}), "tools.thing.read", _process(), {},
        lambda origin, networks, folder: {
            "base_url": origin, "credential": "bearer", "credential_file": str(folder / "key"), "allow_networks": networks,
        },
    ),
    "local connector, supervisor": _connector(
        "local", _own("local", "local.process.status", transport={}), "local.process.status", _process(), {}, _local
    ),
    "local connector, metrics": _connector(
        "local", _own("local", "local.metrics.query", arguments={"metric": {"type": "string"}}, transport={}),
        "local.metrics.query", _process(), {"metric": "up"}, _local,
    ),
    "model provider": _connector(
        "llm", _own("llm", "llm.models.list", transport={}), "llm.models.list", _process(), {},
        lambda origin, networks, folder: {
            "credential_file": str(folder / "key"), "allow_networks": networks, "endpoints": [{"region": "eu-west-1", "base_url": origin}],
        },
    ),
    "Prometheus": _connector(
        "prometheus", lambda: _bundled("prometheus"), "prometheus.query.range",
        Resource(type="prometheus", id="metrics", env="prod", region="eu-west-1"), {"query": "up", **WINDOW},
        lambda origin, networks, _: {"base_url": origin, "allow_networks": networks},
    ),
    "notifications": _connector(
        "notify", lambda: _bundled("notify"), "notify.incident.send",
        Resource(type="webhook", id="pager", env="prod", region="eu-west-1"), {"incident": "inc_1", "kind": "waiting"},
        lambda origin, networks, folder: {
            "hooks": {"pager": {"url": f"{origin}/h", "secret_file": str(folder / "hook"), "region": "eu-west-1", "allow_networks": networks}},
        },
    ),
    "MCP server": _connector(
        "mcp", lambda: {"connector": "tickets", "actions": ACTIONS}, "tickets.tool.do", TICKETS, {},
        lambda origin, networks, _: {"base_url": f"{origin}/mcp", "allow_networks": networks},
    ),
    "git repository": _connector(
        "git", lambda: _bundled("git"), "git.history.list",
        Resource(type="repository", id="shop", env="prod", region="eu-west-1"), HISTORY,
        lambda origin, networks, _: {"repositories": [{"id": "shop", "url": f"{origin}/shop.git", "allow_networks": networks}]},
    ),
    "token exchange": _exchange,
    "identity provider": _keys,
}  # fmt: skip
