"""The boundary as a whole: configuration to wire, for each adapter, and no second way out of the gate."""

import ast
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.catalog import Catalog
from broker.clock import SeededClock
from broker.connectors.http_template import path
from broker.connectors.registry import build_connector, read_settings
from broker.egress import Egress
from broker.errors import BadRequest, BrokerError
from broker.model import Grant, Resource
from tests.parts import ROOT, corpus
from tests.sim.upstream import UpstreamSim, traps, whole
from tests.unit.connectors.cases import SEAL

Run = Callable[[Coroutine[Any, Any, Any]], Any]
SECRET = "provider-secret-7f3a"
ACTION = "{{title: T, effect: read, reversibility: reversible, idempotent: true, arguments: {arguments}, transport: {transport}}}"
MANIFESTS = [
    {"connector": "tools", "actions": {"tools.thing.read": yaml.safe_load(ACTION.format(arguments="{}", transport="{path: /x}"))}},
    {"connector": "local", "actions": {
        "local.metrics.query": yaml.safe_load(ACTION.format(arguments="{metric: {type: string}}", transport="{}")),
        "local.process.status": yaml.safe_load(ACTION.format(arguments="{}", transport="{}")),
    }},
    {"connector": "llm", "actions": {"llm.models.list": yaml.safe_load(ACTION.format(arguments="{}", transport="{}"))}},
]  # fmt: skip
CASES = [
    ("tools.thing.read", {}),
    ("local.metrics.query", {"metric": "up"}),
    ("local.process.status", {}),
    ("llm.models.list", {}),
]


def tables(url: str, key: Path, networks: list[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        "tools": ("http", {"base_url": url, "credential": "bearer", "credential_file": str(key), "allow_networks": networks}),
        "local": ("local", {"supervisor_url": url, "supervisor_token_file": str(key), "allow_networks": networks, "processes": [{"id": "checkout", "metrics_url": url + "/metrics"}]}),
        "llm": ("llm", {"credential_file": str(key), "allow_networks": networks, "endpoints": [{"region": "eu", "base_url": url}]}),
    }  # fmt: skip


async def act(
    egress: Egress, settings: dict[str, tuple[str, dict[str, Any]]], action: str, arguments: dict[str, Any]
) -> Any:
    catalog, name = Catalog.from_manifests(MANIFESTS), action.partition(".")[0]
    adapter, table = settings[name]
    connector = build_connector(read_settings(adapter, name, table), egress, SeededClock(), SEAL)
    request = catalog.request(
        action_id="act_1",
        tenant="default",
        requester="dev:agent-1",
        session="ses_1",
        action=action,
        resource=Resource(type="process", id="checkout", env="prod"),
        arguments=arguments,
    )
    grant = Grant(id="act_1", request=request, policy_revision="r", expires_at=2**40, arguments=arguments)
    try:
        return await connector.execute(grant, catalog.action(action))
    finally:
        await egress.aclose()


@pytest.mark.parametrize(("action", "arguments"), CASES)
@pytest.mark.parametrize(
    "names", [["127.0.0.1"], ["10.1.1.1", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["0.0.0.0"]]
)
def test_no_connector_reaches_an_address_off_its_list_after_any_lookup(
    run: Run, tmp_path: Path, *, action: str, arguments: dict[str, Any], names: list[str]
) -> None:
    (tmp_path / "key").write_text(SECRET)

    async def resolve(host: str, port: int) -> list[str]:
        return names

    async def main() -> None:
        async with traps() as trap:
            settings = tables(f"http://inside.example:{trap.port}", tmp_path / "key", ["10.0.0.0/8"])
            with pytest.raises(BrokerError) as caught:
                await act(Egress(resolve=resolve), settings, action, arguments)
            assert caught.value.error_code == "egress.forbidden"
            assert trap.caught() == 0

    run(main())


@pytest.mark.parametrize(("action", "arguments"), CASES)
@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.2:{port}/", "http://169.254.169.254/latest/meta-data/", "//127.0.0.2:{port}/", "/elsewhere"],
)
def test_no_connector_follows_a_redirect_or_takes_its_credential_along(
    run: Run, tmp_path: Path, *, action: str, arguments: dict[str, Any], location: str
) -> None:
    (tmp_path / "key").write_text(SECRET)

    async def main() -> None:
        async with traps() as trap, UpstreamSim.fixed(whole(307, b"", location=location.format(port=trap.port))) as sim:
            settings = tables(sim.url, tmp_path / "key", ["127.0.0.1/32"])
            with pytest.raises(BrokerError) as caught:
                await act(Egress(), settings, action, arguments)
            assert caught.value.error_code == "upstream.redirect"
            assert (len(sim.seen), trap.caught()) == (1, 0)

    run(main())


@pytest.mark.parametrize(("action", "arguments"), CASES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 503])
def test_no_body_of_a_refusal_and_no_credential_reaches_the_caller(
    run: Run, tmp_path: Path, *, action: str, arguments: dict[str, Any], status: int
) -> None:
    (tmp_path / "key").write_text(SECRET)
    canary = f"Traceback: token {SECRET} at /srv/app.py"

    async def main() -> None:
        async with UpstreamSim.fixed(
            whole(status, {"error": {"type": canary, "message": canary}, "detail": canary})
        ) as sim:
            settings = tables(sim.url, tmp_path / "key", ["127.0.0.1/32"])
            try:
                said = repr(await act(Egress(), settings, action, arguments))
            except BrokerError as error:
                said = f"{error!r} {error.detail} {error.error_remedy} {error.reasons}"
            assert "Traceback" not in said
            assert SECRET not in said
            if action != "local.metrics.query":
                assert SECRET in repr(sim.seen[0].headers)

    run(main())


def test_nothing_but_egress_opens_a_client() -> None:
    """Each entry is a way that stays on this machine, or a type's name."""
    allowed = {
        ("broker/policy/opa.py", "aiohttp"),  # the policy engine, on a unix socket
        ("broker/policy/opa.py", "opa_client"),
        ("broker/policy/worker.py", "socket"),  # the policy worker, on a socket pair
        ("broker/policy/regorus.py", "socket"),
        ("broker/web/wire.py", "socket"),  # names of options, for connections that came in
        ("broker/connectors/local_supervisor.py", "httpx"),  # the type of an answer
    }
    outward = {
        "aiohttp",
        "httpx",
        "httpx2",
        "httpcore",
        "requests",
        "urllib3",
        "socket",
        "smtplib",
        "ftplib",
        "opa_client",
        "telnetlib",
        "niquests",
    }
    found = set()
    for file in sorted((ROOT / "broker").rglob("*.py")):
        name = file.relative_to(ROOT).as_posix()
        if name.startswith(("broker/egress/", "broker/cli/")):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {(name, module.partition(".")[0]) for module in modules if module.partition(".")[0] in outward}
            found |= {(name, module) for module in modules if module in {"urllib.request", "http.client"}}
            called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            if called in {"open_connection", "open_unix_connection", "create_datagram_endpoint", "sock_connect"}:
                found.add((name, called))
    assert found <= allowed


def test_only_types_of_httpx_are_used_beside_egress() -> None:
    tree = ast.parse((ROOT / "broker/connectors/local_supervisor.py").read_text())
    used = {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "httpx"
    }
    # The client is made by egress and handed in.
    assert used == {"AsyncClient", "Response"}


def test_no_naughty_string_leaves_its_place_in_a_path() -> None:
    import json  # the corpus is plain JSON

    strings = json.loads((corpus("blns") / "blns.json").read_text())
    assert len(strings) > 500
    for text in strings:
        try:
            filled = path("/a/{x}/b", {"x": text})
        except BadRequest:
            assert text in {"", ".", ".."}
            continue
        assert filled.count("/") == 3
        assert filled.isascii()
        assert not set(filled) & set(' \\?#\r\n\t"<>{}')
