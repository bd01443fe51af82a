"""The conformance suite of the Model Context Protocol, both revisions, against the gate itself.

Most scenarios call the tools of the suite's own server by name, or ask for resources and prompts; the gate has neither.
Each check that does not succeed must be one of those, told by its own words (``ELSEWHERE``): a check that fails in any
other way fails here, and so does a scenario of ``WHOLE`` in which anything fails at all. With the suite's reference server behind
the gate they are run by ``python -m tests.drill --campaign conformance``. The suite has no scenario about a server's sign-in.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.parts import ROOT, missing, require
from tests.sim.served import served
from tests.sim.world import world

SUITE = (
    ROOT / ".parts" / "mcp-referees" / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
)
Scope = MutableMapping[str, Any]

WHOLE = {
    "2025-11-25": {
        "dns-rebinding-protection",
        "ping",
        "server-initialize",
        "server-session-lifecycle",
        "server-sse-multiple-streams",
        "tools-list",
    },
    "2026-07-28": {
        "dns-rebinding-protection",
        "http-header-validation",
        "input-required-result-unsupported-methods",
        "input-required-result-validate-input",
        "server-sse-multiple-streams",
        "tools-list",
    },
}
"""Scenarios in which every check must succeed."""

ELSEWHERE = {
    "the suite's own tools": re.compile(
        r"Unknown tool: test_|Not testable: server (does not list the diagnostic tool 'test_|exposes no tool with x-mcp)"
        r"|Tool 'json_schema_2020_12_tool' not found|could not get initial InputRequiredResult|Expected InputRequiredResult"
    ),
    "resources, prompts, completion, logging: not declared": re.compile(
        r"Method not found|got -32601|data.uri is undefined"
    ),
    "resumed streams: advised, not kept": re.compile(r"did not send (priming event|retry field)"),
    "a diagnostic tool that changes the list": re.compile(r"Mutated the tool list but no notifications"),
    "an own tool's round": re.compile(r"Server returned JSON-RPC error instead of re-requesting"),
}
"""Why a check cannot succeed here, and its words. Nothing else may fail."""


@pytest.mark.parametrize("revision", sorted(WHOLE))
def test_nothing_fails_but_what_needs_another_servers_tools(tmp_path: Path, revision: str) -> None:
    suite(), require("node")

    async def main() -> dict[str, list[dict[str, Any]]]:
        (tmp_path / "world").mkdir()
        async with world(tmp_path / "world") as it:
            token = (await it.agent())["Authorization"]
            async with reachable(it.app, token) as port:
                arguments = ["--url", f"http://localhost:{port}/mcp", "--requirements", revision]
                return await judged([*arguments, "--output-dir", str(tmp_path / "judged")], tmp_path / "judged")

    found = asyncio.run(main())
    unexplained = [
        (scenario, check["id"], check.get("errorMessage", ""))
        for scenario, checks in found.items()
        for check in checks
        if check["status"] in {"FAILURE", "WARNING"}
        and not scenario.startswith("tasks-")  # an extension that the gate does not declare
        and (
            scenario in WHOLE[revision] or not any(e.search(check.get("errorMessage", "")) for e in ELSEWHERE.values())
        )
    ]
    assert unexplained == []
    for scenario in WHOLE[revision]:
        assert any(check["status"] == "SUCCESS" for check in found[scenario]), scenario
    succeeded = sum(check["status"] == "SUCCESS" for checks in found.values() for check in checks)
    assert succeeded >= {"2025-11-25": 40, "2026-07-28": 75}[revision]


def suite() -> Path:
    """The suite's program."""
    if not SUITE.exists():
        missing("the conformance suite", "`make parts` installs it")
    return SUITE


async def judged(arguments: list[str], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Run the suite; its checks by scenario."""
    process = await asyncio.create_subprocess_exec(
        require("node"),
        str(suite()),
        "server",
        *arguments,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    results = checks_in(folder)
    assert results, said.decode()
    return results


def checks_in(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What the suite wrote, by scenario."""
    named = re.compile(r"(?:server-)?(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
    results = {}
    for path in sorted(folder.glob("*/checks.json")):
        match = named.fullmatch(path.parent.name)
        assert match, path.parent.name
        results[match[1]] = json.loads(path.read_text())
    return results


@asynccontextmanager
async def reachable(app: Any, token: str) -> AsyncIterator[int]:
    """``app`` on a port of its own, for a program that has no token and cannot be told the gate's own address."""

    async def front(
        scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        address = b"localhost:%d" % scope["server"][1]
        here = {b"host": (address, b"localhost:8480"), b"origin": (b"http://" + address, b"http://localhost:8480")}
        headers = [
            (name, here[name][1] if name in here and value == here[name][0] else value)
            for name, value in scope["headers"]
        ]
        await app({**scope, "headers": [*headers, (b"authorization", token.encode())]}, receive, send)

    async with served(front) as port:
        yield port
