"""The hook of Claude Code against a gate: it lets through what was permitted, and blocks in every other case."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from broker.cli import claude_code_hook
from tests.sim.policies import folder_of
from tests.sim.running_gate import RunningGate, running_gate, wicketgate

HOOK = [sys.executable, "-I", "-S", claude_code_hook.__file__]
TOML = """
[[connectors]]
name = "workstation"
adapter = "elsewhere"
[[inventory]]
type = "workstation"
id = "local"
env = "dev"
region = "eu-west-1"
"""
APPROVED = {"config/risk/data.yaml": ("workstation.file.write: 1", "workstation.file.write: 2")}
"""Changing a file waits for a person here."""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    folder = tmp_path_factory.mktemp("hook")
    policies = folder_of(folder / "policies", APPROVED)
    with running_gate(folder, TOML, options=["--policies", str(policies)]) as running:
        yield running


@pytest.fixture(scope="module")
def token(gate: RunningGate) -> str:
    return gate.token("agent")


def use(tool: str = "Bash", given: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What Claude Code says of one use of a tool."""
    said = {"command": "git status"} if given is None else dict(given)
    event = {"hook_event_name": "PreToolUse", "session_id": "run", "tool_use_id": "toolu_1", "cwd": "project"}
    return {**event, "tool_name": tool, "tool_input": said, **more}


def ask(
    folder: Path, url: str, event: object, *more: str, command: str = "echo none"
) -> subprocess.CompletedProcess[str]:
    text = event if isinstance(event, str) else json.dumps(event)
    arguments = ["--url", url, "--token-command", command, "--waiting", str(folder / "waiting"), *more]
    return subprocess.run([*HOOK, *arguments], input=text, capture_output=True, text=True, check=False, timeout=90)


def test_what_policy_permits_goes_on_and_is_on_record(tmp_path: Path, gate: RunningGate, token: str) -> None:
    for number, (tool, given) in enumerate([("Bash", {"command": "git status"}), ("Read", {"file_path": "project/a"})]):
        done = ask(tmp_path, gate.url, use(tool, given, tool_use_id=f"toolu_{number}"), command=f"echo {token}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), tool
    with gate.client("auditor") as client:
        entries = client.get("/v1/audit/entries", params={"kinds": "intent,outcome", "limit": 400}).json()["entries"]
    acts = [one["record"]["body"]["action"]["name"] for one in entries]
    assert acts.count("workstation.command.run") == 2
    assert acts.count("workstation.file.read") == 2


def test_what_policy_does_not_grant_is_blocked_with_its_reason(tmp_path: Path, gate: RunningGate, token: str) -> None:
    for tool, given in (("WebFetch", {"url": "https://x.example"}), ("Task", {"prompt": "x"}), ("mcp__other__x", {})):
        done = ask(tmp_path, gate.url, use(tool, given, tool_use_id=f"of-{tool}"), command=f"echo {token}")
        assert done.returncode == 2, tool
        assert "allowlist.action_not_granted" in done.stderr


def test_an_approval_counts_for_the_same_use_once(tmp_path: Path, gate: RunningGate, token: str) -> None:
    def write(number: int, text: str = "x", wait: str = "0") -> subprocess.CompletedProcess[str]:
        event = use("Write", {"file_path": "project/a", "content": text}, tool_use_id=f"toolu_w{number}")
        return ask(tmp_path, gate.url, event, "--wait", wait, "--seconds", "80", command=f"echo {token}")

    waits = write(1)
    assert waits.returncode == 2
    assert "a person has to approve this first: apr_" in waits.stderr
    assert write(2).returncode == 2
    [approval] = re.findall(r"apr_[a-z0-9]+", waits.stderr)
    done = gate.command("approvals", "approve", approval, "--as", "security", "--reason", "seen")
    assert done.returncode == 0, done.stderr
    assert write(3, "other").returncode == 2  # another content is another use
    waited = write(4, wait="60")  # until the gate came back to what was approved
    assert waited.returncode == 0, waited.stderr
    assert write(5).returncode == 2  # used up: this is a new request


def test_the_gates_own_tools_are_left_to_the_gate(tmp_path: Path) -> None:
    own = use("mcp__wicketgate__local_process_status", {})
    assert ask(tmp_path, "http://127.0.0.1:1", own).returncode == 0
    for other in ("files__x", "_files__x", "_x", "x" * 47, ""):
        done = ask(tmp_path, "http://127.0.0.1:1", use(f"mcp__wicketgate__{other}", {}))
        assert done.returncode == 2, f"a server whose name begins like ours: {other}"


def test_what_else_a_command_is_given_is_another_use_and_its_description_is_not() -> None:
    def options(**given: Any) -> str:
        _, arguments = claude_code_hook.asked(use(given={"command": "make", **given}), b"k")
        assert set(arguments) == {"tool", "command", "cwd", "options"}
        return str(arguments["options"])

    assert options(description="build it") == options(description="build it again") == options() == "{}"
    assert options(timeout=1, dangerouslyDisableSandbox=True) == '{"dangerouslyDisableSandbox":true,"timeout":1}'
    assert claude_code_hook.asked(use("PowerShell", {"command": "make"}), b"k")[1]["tool"] == "PowerShell"


def test_what_would_be_written_leaves_as_a_digest_that_nobody_elsewhere_can_try(tmp_path: Path) -> None:
    key, other = claude_code_hook.key_of(tmp_path / "here"), claude_code_hook.key_of(tmp_path / "there")
    assert len({key, other}) == 2
    assert claude_code_hook.key_of(tmp_path / "here") == key
    assert [one.name for one in (tmp_path / "here").iterdir()] == ["key"]
    assert (tmp_path / "here" / "key").stat().st_mode & 0o777 == 0o600
    for tool in ("Write", "Task"):
        event = use(tool, {"file_path": "/x", "content": "born 1980-01-01"})
        first, again, elsewhere = (claude_code_hook.asked(event, one)[1]["digest"] for one in (key, key, other))
        assert first == again != elsewhere


@pytest.mark.parametrize(("tool", "named", "rest"), [
    ("Read", {"file_path": "/x"}, {"limit": 2}), ("Grep", {"path": "/x"}, {"pattern": "p"}), ("WebFetch", {"url": "u"}, {"prompt": "é"}),
])  # fmt: skip
def test_what_else_a_read_is_given_is_shown_and_has_no_digest(
    tool: str, named: dict[str, Any], rest: dict[str, Any]
) -> None:
    _, arguments = claude_code_hook.asked(use(tool, named | rest), b"k")
    assert set(arguments) == {"tool", "options", "url" if tool == "WebFetch" else "path"}
    assert json.loads(arguments["options"]) == rest


def test_a_run_whose_session_has_ended_goes_on_in_another(tmp_path: Path, gate: RunningGate, token: str) -> None:
    def command(number: int) -> int:
        event = use(tool_use_id=f"toolu_e{number}", session_id="long")
        return ask(tmp_path, gate.url, event, command=f"echo {token}").returncode

    ended: list[str] = []
    for number in range(3):
        assert command(number) == 0
        with gate.client("auditor") as client:
            entries = client.get("/v1/audit/entries", params={"kinds": "intent", "limit": 400}).json()["entries"]
        bodies = [one["record"]["body"] for one in entries]
        session = [one["session"] for one in bodies if one["action"]["name"] == "workstation.command.run"][-1]
        assert session not in ended
        ended.append(session)
        with gate.client("agent") as client:
            closed = client.delete(f"/v1/sessions/{session}", headers={"Idempotency-Key": f"close-{number}"})
            assert closed.status_code == 200, closed.text
    refused = []
    for number in (3, 4):
        assert command(number) == 0
        with gate.client("auditor") as client:
            entries = client.get("/v1/audit/entries", params={"kinds": "refusal", "limit": 400}).json()["entries"]
        refused.append(sum("session.not_found" in json.dumps(one["record"]) for one in entries))
    assert refused == [3, 3], "each session that has ended was tried once"


def test_nobody_there_no_token_or_a_foreign_one_blocks(tmp_path: Path, gate: RunningGate) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = ask(tmp_path, f"http://127.0.0.1:{free.getsockname()[1]}", use())
    assert nobody.returncode == 2
    assert "cannot be reached" in nobody.stderr
    for command in ("false", "no-such-command-here", "echo forged", f"{wicketgate()} token --url http://127.0.0.1:1"):
        done = ask(tmp_path, gate.url, use(), command=command)
        assert done.returncode == 2, command
        assert done.stderr.startswith("wicketgate: ")


def test_whatever_is_unclear_blocks(tmp_path: Path, gate: RunningGate, token: str) -> None:
    command = f"echo {token}"
    without = [{name: one for name, one in use().items() if name != lost} for lost in ("tool_name", "tool_input")]
    for event in (
        "",
        "{",
        "[]",
        "null",
        *without,
        use(given={}),
        use("Write", {}),
        use(given={"command": "x" * 40_000}),
    ):
        done = ask(tmp_path, gate.url, event, command=command)
        assert done.returncode == 2, event
        assert done.stderr.startswith("wicketgate: ")
    assert subprocess.run([*HOOK, "--url"], input="{}", text=True, capture_output=True, check=False).returncode == 2


class _Odd(BaseHTTPRequestHandler):
    """Says yes to everything, in forms that no gate has."""

    bodies: Iterator[tuple[int, bytes]] = iter(())

    def do_POST(self) -> None:
        body = next(type(self).bodies)
        self.send_response(body[0])
        self.end_headers()
        self.wfile.write(body[1])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
        """Nothing."""


def test_a_server_that_is_no_gate_or_never_answers_blocks(tmp_path: Path) -> None:
    yes, opened = (200, b'{"status": "done"}'), (201, b'{"session": "ses_x"}')
    odd = [
        [yes],
        [opened, (200, b"yes")],
        [opened, (200, b"[]")],
        [opened, (200, b'{"status": "planned"}')],
        [(201, b"{}")],
    ]
    server = HTTPServer(("127.0.0.1", 0), _Odd)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        for bodies in odd:
            _Odd.bodies = iter(bodies)
            done = ask(tmp_path, f"http://127.0.0.1:{server.server_port}", use())
            assert done.returncode == 2, bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        done = ask(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}", use(), "--seconds", "1")
    assert (done.returncode, "took too long" in done.stderr) == (2, True)


def test_the_command_that_connect_writes_blocks_when_the_hook_itself_is_gone(tmp_path: Path) -> None:
    home = {**os.environ, "HOME": str(tmp_path)}
    made = [wicketgate(), "connect", "claude-code", "--url", "http://127.0.0.1:1", "--folder", str(tmp_path)]
    subprocess.run(made, check=True, capture_output=True, env=home)
    settings = json.loads((tmp_path / ".claude/settings.local.json").read_text())
    command = settings["hooks"]["PreToolUse"][0]["hooks"][0]["command"]
    for broken in (
        command,
        command.replace(claude_code_hook.__file__, "/nowhere.py"),
        command.replace(sys.executable, "/no"),
    ):
        done = subprocess.run(
            ["sh", "-c", broken], input=json.dumps(use()), text=True, capture_output=True, check=False
        )
        assert done.returncode == 2
