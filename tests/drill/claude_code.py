"""Claude Code, unmodified, with the gate as its MCP server and its model endpoint at once, and with our hook.

A scripted model lets it run a command, find and call one of the gate's tools, write a file, and try to fetch a page, which
policy does not grant. The client's own configuration is what ``wicketgate connect claude-code`` writes, and policy takes its
tool calls only from model turns that the gate relayed (``config/guardrails``, ``turns``).
"""

import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.parts import ROOT
from tests.sim.model_server import ModelServer, Turn, in_thread
from tests.sim.policies import folder_of
from tests.sim.running_gate import RunningGate, running_gate, supervised

PART = ROOT / ".parts" / "claude-code" / "node_modules" / "@anthropic-ai"
MODEL = "claude-sonnet-5-5"
STATUS = "mcp__wicketgate__local_process_status"
TARGET = {"type": "process", "id": "checkout", "env": "prod"}
LOOK = "local.process.status"
HELD = {"config/guardrails/data.yaml": ('parties: ["dev:coding-agent"]', 'parties: ["dev:agent-1"]')}
"""Only calls that a relayed turn asked for."""
WANTED = ("local.process.status", "workstation.command.run", "workstation.file.write")
"""What must have been done, and is on record with its intent and its outcome."""


def run() -> dict[str, Any]:
    """One run, judged."""
    subprocess.run(["sh", str(ROOT / "tests" / "sim" / "npm_part.sh"), "claude_code"], check=True)
    with tempfile.TemporaryDirectory(prefix="wgclaude") as name:
        folder = Path(name)
        project = folder / "project"
        project.mkdir()
        script = _script(project)
        with supervised("checkout") as (_, toml), in_thread(ModelServer(script=script, key="provider-key")) as models:
            (folder / "model.key").write_text("provider-key")
            (folder / "model.key").chmod(0o600)
            policies = folder_of(folder / "policies", HELD)
            with running_gate(folder, toml + _toml(folder, models.url), options=("--policies", str(policies))) as gate:
                made = gate.command(
                    "connect", "claude-code", "--as", "agent", "--data", str(gate.data), "--folder", str(project)
                )
                began = time.monotonic()
                ended = _claude(gate, project)
                seconds = time.monotonic() - began
                acts, turns = _acts(gate)
        said = json.loads(ended.stdout) if ended.returncode == 0 else {}
        counts = {
            act: acts.count(act) for act in sorted(set(acts)) if act.split(".")[0] in {"llm", "local", "workstation"}
        }
        violations = [f"connect: {made.stderr}"] if made.returncode else []
        violations += [f"{act} has no intent and outcome" for act in WANTED if counts.get(act) != 2]
        violations += (
            [] if turns == [{"relayed": True, "matches": True}] else [f"the tool's call had the turns {turns}"]
        )
        violations += ["the page was fetched"] if counts.get("workstation.web.read") != 1 else []
        violations += [] if (project / "made.txt").exists() else ["the file was not written"]
        violations += (
            []
            if said.get("result") == "all done"
            else [f"it did not end well: {ended.stdout[-300:]}{ended.stderr[-300:]}"]
        )
        return {
            "campaign": "claude-code",
            "store": "sqlite",
            "version": "2.1.329",
            "model calls": len(models.seen),
            "records": counts,
            "seconds": round(seconds, 1),
            "violations": violations,
        }


def _script(project: Path) -> Any:
    """The model's turns, by how many there were in the conversation; side questions get a word."""
    turns = [
        Turn("run", tools=(("Bash", {"command": "echo gated", "description": "say it"}),)),
        Turn("find", tools=(("ToolSearch", {"query": f"select:{STATUS}", "max_results": 5}),)),
        Turn("look", tools=((STATUS, {"resource": TARGET, "reason": "look"}),)),
        Turn("write", tools=(("Write", {"file_path": str(project / "made.txt"), "content": "made"}),)),
        Turn("fetch", tools=(("WebFetch", {"url": "http://127.0.0.1:1/", "prompt": "x"}),)),
        Turn("all done"),
    ]

    def choose(body: Any) -> Turn:
        if not body.get("tools"):
            return Turn("a title")
        done = sum(1 for message in body["messages"] if message["role"] == "assistant")
        return turns[min(done, len(turns) - 1)]

    return choose


def _toml(folder: Path, url: str) -> str:
    """Model, workstation, and what there is of both."""
    known = [("workstation", "local", "dev"), ("model", MODEL, "prod"), ("model", "any", "prod")]
    inventory = "".join(
        f'[[inventory]]\ntype = "{type_}"\nid = "{id_}"\nenv = "{env}"\nregion = "eu-west-1"\n'
        for type_, id_, env in known
    )
    return f"""
[[connectors]]
name = "llm"
adapter = "llm"
[connectors.settings]
provider = "anthropic"
credential_file = {json.dumps(str(folder / "model.key"))}
allow_networks = ["127.0.0.1/32"]
endpoints = [{{region = "eu-west-1", base_url = {json.dumps(url)}, models = [{json.dumps(MODEL)}]}}]
[[connectors]]
name = "workstation"
adapter = "elsewhere"
{inventory}"""


def _claude(gate: RunningGate, project: Path) -> subprocess.CompletedProcess[str]:
    """Run it without a terminal, in a project that its person trusts."""
    trusted = {"projects": {str(project): {"hasTrustDialogAccepted": True}}}
    (gate.folder / "home" / ".claude.json").write_text(json.dumps(trusted))
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    program = PART / f"claude-code-{platform.system().lower()}-{machine}" / "claude"
    environment = {name: value for name, value in gate.environment.items() if name != "WICKETGATE_DEV_CODE"}
    environment |= {"PATH": os.environ["PATH"], "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "IS_SANDBOX": "1"}
    asked = [
        "-p",
        "look after checkout",
        "--model",
        MODEL,
        "--output-format",
        "json",
        "--permission-mode",
        "acceptEdits",
    ]
    return subprocess.run(
        [str(program), *asked, "--allowedTools", "Bash", "Write", "WebFetch", "mcp__wicketgate"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=600,
    )


def _acts(gate: RunningGate) -> tuple[list[str], list[Any]]:
    """The action of each record, and of the tool's intents the model turn."""
    with gate.client("auditor") as client:
        entries = client.get("/v1/audit/entries", params={"limit": 500}).json()["entries"]
    told = [(one["record"]["kind"], one["record"]["body"]) for one in entries]
    acts = [body.get("action", {}).get("name", "") for _, body in told]
    looked = [body.get("turn") for (kind, body), act in zip(told, acts, strict=True) if (kind, act) == ("intent", LOOK)]
    return acts, looked
