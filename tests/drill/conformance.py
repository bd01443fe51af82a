"""The conformance suite of the Model Context Protocol, both revisions, three times: against the SDK's reference server
alone, against the gate, and against the gate with that server behind it.

Behind the gate every call of the suite is an action: signed in, decided, pinned, redacted, on record. The suite calls the
reference server's tools by their own names and reads their own results, so ``tests/sim/conformance_front.py`` stands
between the two and translates. ``BEHIND`` names the scenarios in which everything must succeed there; all others must be
in ``NOT_THERE``, with the reason why the gate cannot or will not do it. A scenario in neither is a violation.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner

from broker.cli.policy import policy as command
from demo.wire import free_port
from tests.e2e.test_mcp_conformance import SUITE, WHOLE, judged, reachable
from tests.parts import ROOT
from tests.sim.conformance_front import Front
from tests.sim.mcp_client import Mcp
from tests.sim.policies import folder_of
from tests.sim.served import served
from tests.sim.started import until
from tests.sim.world import World, world

PART = ROOT / ".parts" / "mcp-everything"
REVISIONS = ("2025-11-25", "2026-07-28")
SHOP = {"type": "project", "id": "shop", "env": "prod"}
GRANTED = "  tickets.ticket.read: {environments: [prod], resource_types: [project]}\n"
CALLED = ("test_simple_text", "test_image_content", "test_embedded_resource", "test_error_handling")
"""Tools of which a call behind the gate must be on its record, in both revisions."""
Checks = Mapping[str, list[dict[str, Any]]]


def run() -> dict[str, Any]:
    """All runs, judged."""
    subprocess.run(["sh", str(ROOT / "tests" / "sim" / "mcp_everything" / "install.sh")], check=True)
    subprocess.run(["sh", str(ROOT / "tests" / "sim" / "npm_part.sh"), "mcp_referees"], check=True)
    row: dict[str, Any] = {"campaign": "conformance", "store": "sqlite", **versions(), "violations": []}
    with tempfile.TemporaryDirectory(prefix="wgconform") as name, reference() as port:
        for revision in REVISIONS:
            folder = Path(name) / revision
            for place, found in asyncio.run(_places(folder, revision, port)).items():
                counts = counted(found)
                row[f"{revision} {place}"] = total(counts)
                row.setdefault("scenarios", {})[f"{revision} {place}"] = counts
                row["violations"] += [f"{revision} {place}: {fault}" for fault in faults(place, revision, counts)]
    return row


def versions() -> dict[str, str]:
    """What was judged by what."""
    suite = json.loads((SUITE.parent.parent / "package.json").read_text())
    return {"suite": suite["version"], "sdk": version("mcp"), "reference": f"everything-server of mcp {version('mcp')}"}


def counted(found: Checks) -> dict[str, dict[str, int]]:
    """Checks by scenario and status."""
    told = {scenario: Counter(str(one["status"]) for one in found[scenario]) for scenario in sorted(found)}
    return {scenario: dict(sorted(counts.items())) for scenario, counts in told.items()}


def total(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Checks of all scenarios, and scenarios in which nothing failed and something succeeded."""
    added: dict[str, int] = {"scenarios": len(counts), "whole": sum(whole(each) for each in counts.values())}
    for each in counts.values():
        for status, number in each.items():
            added[status] = added.get(status, 0) + number
    return added


def whole(counts: Mapping[str, int]) -> bool:
    """Whether everything in a scenario succeeded."""
    return bool(counts.get("SUCCESS")) and not counts.get("FAILURE") and not counts.get("WARNING")


def faults(place: str, revision: str, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What is not as the lists have it."""
    if place == "reference":
        return []
    if place == "on record":
        return [f"{act} is not on record" for act in CALLED if f"everything.tool.{act}" not in counts]
    wanted = WHOLE[revision] if place == "gate" else BEHIND[revision]
    found = [f"{scenario} is not whole: {counts.get(scenario)}" for scenario in sorted(wanted) if not whole(counts.get(scenario, {}))]  # fmt: skip
    if place == "behind":
        listed = wanted | NOT_THERE.keys()
        found += [f"{scenario} is in no list" for scenario in sorted(counts.keys() - listed)]
        found += [f"{scenario} is whole, and listed as not there" for scenario in sorted(counts) if scenario not in wanted and whole(counts[scenario])]  # fmt: skip
    return found


async def _places(folder: Path, revision: str, port: int) -> dict[str, Checks]:
    """The suite's checks, by place."""
    asked = ["--requirements", revision]
    found: dict[str, Checks] = {}
    found["reference"] = await judged(["--url", f"http://localhost:{port}/mcp", *asked, "--output-dir", str(folder / "a")], folder / "a")  # fmt: skip
    for place in ("gate", "behind"):
        await asyncio.to_thread((folder / place).mkdir, parents=True)
    async with world(folder / "gate") as it, reachable(it.app, (await it.agent())["Authorization"]) as own:
        found["gate"] = await judged(["--url", f"http://localhost:{own}/mcp", *asked, "--output-dir", str(folder / "b")], folder / "b")  # fmt: skip
    async with behind(folder / "behind", port) as (own, it):
        found["behind"] = await judged(["--url", f"http://localhost:{own}/mcp", *asked, "--output-dir", str(folder / "c")], folder / "c")  # fmt: skip
        acts = [one["body"]["action"]["name"] for one in await it.records() if one["kind"] == "intent"]
        done = sorted({act for act in acts if act.startswith("everything.tool.")})
        found["on record"] = {act: [{"status": "SUCCESS"}] * acts.count(act) for act in done}
    return found


@contextlib.contextmanager
def reference() -> Iterator[int]:
    """The reference server, running."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "mcp_everything_server", "--port", str(port), "--log-level", "ERROR"],
        env={**os.environ, "PYTHONPATH": str(PART)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(port), process)
        yield port
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://localhost:{port}/mcp").status_code < 500
    except httpx.TransportError:
        return False


@contextlib.asynccontextmanager
async def behind(folder: Path, port: int) -> AsyncIterator[tuple[int, World]]:
    """A gate before the reference server, and the checker's adapter before the gate: its port, and the gate's world."""
    settings = f"""
[[inventory]]
type = "project"
id = "shop"
env = "prod"
region = "eu-west-1"

[[connectors]]
name = "everything"
adapter = "mcp"
[connectors.settings]
base_url = "http://127.0.0.1:{port}/mcp"
allow_networks = ["127.0.0.1/32"]
region = "eu-west-1"
"""
    policies, names = await asyncio.to_thread(pinned, folder, settings)
    async with world(folder, extra=settings, policies=policies) as it:
        agent = Mcp(it, await it.agent())
        front = Front(it.app, token=agent.who["Authorization"], prefix="everything.tool", resource=SHOP, names=names)
        front.learn((await agent.ask("tools/list"))["result"]["tools"])
        async with served(front) as own:
            yield own, it


def pinned(folder: Path, settings: str) -> tuple[Path, list[str]]:
    """A policy with the reference server's tools pinned, reviewed as reads and granted to the agent; and their names."""
    manifest = folder / "policies" / "manifests" / "everything.yaml"
    folder_of(folder / "policies", {})
    (folder / "pin.toml").write_text(settings)
    done = CliRunner().invoke(command, ["mcp-pin", "everything", "--config", str(folder / "pin.toml"), "--manifest", str(manifest), "--write"])  # fmt: skip
    assert done.exit_code == 0, done.output
    text = manifest.read_text()
    for old, new in (("effect: write", "effect: read"), ("irreversible", "reversible"), ("[unreviewed]", "[project]")):
        text = text.replace(old, new)
    manifest.write_text(text)
    names = [line.split(".tool.")[1].rstrip(":") for line in text.splitlines() if ".tool." in line and line.endswith(":")]  # fmt: skip
    grants = "".join(f"  everything.tool.{name}: {{environments: [prod], resource_types: [project]}}\n" for name in names)  # fmt: skip
    file = folder / "policies" / "config" / "grants" / "data.yaml"
    told = file.read_text()
    assert GRANTED in told
    file.write_text(told.replace(GRANTED, grants + GRANTED, 1))
    return folder / "policies", names


BEHIND: Mapping[str, frozenset[str]] = {
    "2025-11-25": frozenset({
        "dns-rebinding-protection", "ping", "server-initialize", "server-session-lifecycle", "server-sse-multiple-streams",
        "tools-call-embedded-resource", "tools-call-error", "tools-call-simple-text", "tools-list",
    }),
    "2026-07-28": frozenset({
        "dns-rebinding-protection", "http-header-validation", "input-required-result-ignore-extra-params",
        "input-required-result-unsupported-methods", "server-sse-multiple-streams", "tools-call-embedded-resource",
        "tools-call-error", "tools-call-simple-text", "tools-list",
    }),
}  # fmt: skip
"""Scenarios in which every check succeeds behind the gate."""
_REASONS: Mapping[str, frozenset[str]] = {
    "resources, prompts, completion and logging are not declared, and not passed on from upstream servers": frozenset({
        "caching", "completion-complete", "logging-set-level", "prompts-get-embedded-resource", "prompts-get-simple",
        "prompts-get-with-args", "prompts-get-with-image", "prompts-list", "resources-list", "resources-read-binary",
        "resources-read-text", "resources-subscribe", "resources-templates-read", "resources-unsubscribe",
        "sep-2164-resource-not-found", "tools-call-with-logging",
    }),
    "no upstream server asks the client's model or its person": frozenset({
        "elicitation-sep1034-defaults", "elicitation-sep1330-enums", "tools-call-elicitation", "tools-call-sampling",
        "input-required-result-basic-elicitation", "input-required-result-basic-list-roots",
        "input-required-result-basic-sampling", "input-required-result-capability-check",
        "input-required-result-missing-input-response", "input-required-result-multi-round",
        "input-required-result-multiple-input-requests", "input-required-result-non-tool-request",
        "input-required-result-request-state", "input-required-result-result-type", "input-required-result-tampered-state",
        "input-required-result-validate-input", "server-stateless",
    }),
    "binary content cannot be redacted, so it is named and withheld": frozenset({
        "tools-call-audio", "tools-call-image", "tools-call-mixed-content",
    }),
    "an upstream server's progress is dropped": frozenset({"tools-call-with-progress"}),
    "schemas are the gate's own: keywords that are not pinned, and annotations of headers, are not passed on": frozenset({
        "http-custom-header-server-validation", "json-schema-2020-12",
    }),
    "streams are not resumed": frozenset({"server-sse-polling"}),
    "the extension is not declared": frozenset({
        "tasks-capability-negotiation", "tasks-dispatch-and-envelope", "tasks-lifecycle", "tasks-mrtr-composition",
        "tasks-mrtr-input", "tasks-request-headers", "tasks-request-state-removal", "tasks-required-task-error",
        "tasks-status-notifications", "tasks-wire-fields",
    }),
}  # fmt: skip
NOT_THERE: Mapping[str, str] = {scenario: reason for reason, scenarios in _REASONS.items() for scenario in scenarios}
"""Why the others cannot."""
