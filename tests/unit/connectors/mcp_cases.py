"""A connector to an MCP server, and actions that pin its tools."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from broker.catalog import Action, Catalog
from broker.clock import SystemClock
from broker.connectors.mcp import McpConnector
from broker.connectors.mcp_pins import Definition
from broker.connectors.registry import read_settings
from broker.egress import Egress
from broker.errors import UpstreamFailed
from broker.model import Grant, Resource
from tests.parts import ROOT
from tests.sim import mcp_raw, mcp_tools

RAW = str(ROOT / "tests" / "sim" / "mcp_raw.py")
TOOLS = str(ROOT / "tests" / "sim" / "mcp_tools.py")
TICKETS = Resource(type="project", id="shop", env="prod")


def spec(tool: Mapping[str, Any], takes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One action of a manifest that pins ``tool``; ``more`` are keys of the transport, or of the action in ``action``."""
    definition = Definition.of(tool)
    base = {
        "title": "T",
        "effect": "write",
        "reversibility": "irreversible",
        "idempotent": False,
        "resource_types": ["project"],
        "arguments": dict(takes),
        "result": {"attacker_writable": ["$"]},
    }
    transport = {"tool": definition.name, "digest": definition.digest, "definition": definition.canonical.decode()}
    return {**base, **more.pop("action", {}), "transport": {**transport, **more}}


STATUS = {
    **spec(mcp_tools.STATUS, {})["transport"],
    "arguments": {"key": "{action_id}"},
    "field": "state",
    "done": ["done"],
    "not_done": ["open"],
}
ACTIONS = {
    "tickets.tool.read_ticket": spec(
        mcp_tools.READ,
        {"ticket_id": {"type": "integer", "required": True}},
        arguments={"ticketId": "{ticket_id}", "project": "{resource.id}"},
        action={"effect": "read", "reversibility": "reversible"},
    ),
    "tickets.tool.give_credit": spec(
        mcp_tools.CREDIT,
        {"customer": {"type": "string", "required": True}, "amount": {"type": "decimal", "required": True}},
        arguments={"customer": "{customer}", "amount": "{amount}", "key": "{action_id}"},
        numbers=["amount"],
        status_of=STATUS,
    ),
    "tickets.tool.act": spec(mcp_tools.ACT, {"what": {"type": "string", "required": True}}),
    "tickets.tool.do": spec(mcp_raw.TOOL, {"n": {"type": "integer"}}),
}


def actions(changed: Mapping[str, Any] | None = None) -> dict[str, Action]:
    """The actions above, with some of them changed."""
    document = {"connector": "tickets", "actions": {**ACTIONS, **(changed or {})}}
    return {one.name: one for one in Catalog.from_manifests([document]).actions()}


def grant(action: str, arguments: Mapping[str, Any], action_id: str = "act_1") -> Grant:
    """As the pipeline mints it."""
    document = {"connector": "tickets", "actions": ACTIONS}
    request = Catalog.from_manifests([document]).request(
        action_id=action_id,
        tenant="default",
        requester="dev:agent-1",
        session="ses_1",
        action=action,
        resource=TICKETS,
        arguments=arguments,
    )
    return Grant(id=action_id, request=request, policy_revision="r", expires_at=2**40, arguments=arguments)


@asynccontextmanager
async def connector(table: Mapping[str, Any], egress: Egress | None = None) -> AsyncIterator[McpConnector]:
    """A connector of ``settings``, ended at the end."""
    way_out = egress or Egress()
    settings: Any = read_settings("mcp", "tickets", table)
    made = McpConnector(settings, way_out, SystemClock())
    try:
        yield made
    finally:
        await made.aclose()
        await way_out.aclose()


def raw(folder: Path, behaviour: str, **more: Any) -> dict[str, Any]:
    """Settings of the server without a library."""
    environment = {"MCP_SEEN": str(folder / "seen"), **more.pop("environment", {})}
    return {
        "command": [sys.executable, "-I", RAW, behaviour],
        "environment": environment,
        "protocol": "2025-11-25",
        "again_seconds": 0.05,
        **more,
    }


def seen(folder: Path) -> list[str]:
    """What that server wrote down."""
    file = folder / "seen"
    return file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []


PATIENT: Mapping[str, Any] = {"timeout_seconds": 60, "fresh_seconds": 3600}
"""A server may take its time to start, and its list is read once."""


async def listed(server: McpConnector) -> None:
    """Wait until the server has started and its tools are known; until then every use is refused. A minute and more are a hang."""
    for _ in range(2_000):
        try:
            await server.tools()
        except UpstreamFailed as error:
            refused = error
            await asyncio.sleep(0.05)
        else:
            return
    raise refused


async def hurried(server: McpConnector, seconds: float = 2) -> None:
    """Once the server is there, a bound of ``seconds`` for calls alone."""
    await listed(server)
    server._link._bounds = replace(server._link._bounds, seconds=seconds)


async def come_true(condition: Callable[[], Any]) -> None:
    """Wait until ``condition`` holds; two minutes are a hang."""
    for _ in range(6_000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came")


async def until(folder: Path, word: str) -> list[str]:
    """Wait until that server has written ``word``."""
    await come_true(lambda: any(line.startswith(word) for line in seen(folder)))
    return seen(folder)


def alive(process: int) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != b"Z"


def text(value: Any) -> str:
    """All that a result or an error says."""
    return orjson.dumps(value, default=repr).decode()
