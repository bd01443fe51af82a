"""``wicketgate connect``: what is ours goes in and comes out, and nothing else in a file changes."""

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli import main
from broker.cli.clients import CLIENTS

URL = "https://gate.example"
FILES = {
    "claude-code": (".mcp.json", ".claude/settings.local.json"),
    "cursor": (".cursor/mcp.json",),
    "vscode": (".vscode/mcp.json",),
    "inspector": ("mcp-inspector.json",),
    "codex": ("home/.codex/config.toml",),
}
OTHERS = {
    ".mcp.json": '{\n    "mcpServers": {"mine": {"command": "true"}}\n}\n',
    ".claude/settings.local.json": json.dumps(
        {
            "hooks": {"PreToolUse": [None, {"matcher": "Bash", "hooks": [{"type": "command", "command": "true"}]}]},
            "é": 1,
        }
    ),
    ".cursor/mcp.json": '{"mcpServers": {"mine": {"url": "https://mine.example"}}}',
    ".vscode/mcp.json": '{\n\t"inputs": [{"id": "mine", "type": "promptString"}],\n\t"servers": {"mine": {}}\n}\n',
    "mcp-inspector.json": "{}",
    "home/.codex/config.toml": '# mine\nmodel = "x"\n\n[mcp_servers.mine]\ncommand = "true"\n',
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CODEX_HOME", "XDG_CONFIG_HOME", "WICKETGATE_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def connect(folder: Path, client: str, *more: str) -> Result:
    return CliRunner().invoke(main, ["connect", client, "--url", URL, "--folder", str(folder), "--as", "agent", *more])


@pytest.mark.parametrize("client", sorted(CLIENTS))
@pytest.mark.parametrize("kept", [False, True])
def test_what_is_there_stays_and_undoing_leaves_what_was_there(tmp_path: Path, client: str, *, kept: bool) -> None:
    files = [tmp_path / name for name in FILES[client]]
    for name in FILES[client] if kept else ():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(OTHERS[name])
    before = [_read(path) for path in files]

    dry = connect(tmp_path, client, "--dry-run")
    assert dry.exit_code == 0
    assert URL in dry.output
    assert [_read(path) for path in files] == before

    assert connect(tmp_path, client).exit_code == 0
    written = [path.read_bytes() for path in files]
    assert all(_holds(_read(path), old) for path, old in zip(files, before, strict=True))
    assert URL.encode() in b"".join(written)

    again = connect(tmp_path, client)
    assert again.output.count("unchanged: ") == len(files)
    assert [path.read_bytes() for path in files] == written

    assert connect(tmp_path, client, "--undo").exit_code == 0
    assert [_read(path) or None for path in files] == [old or None for old in before]


@pytest.mark.parametrize("client", sorted(CLIENTS))
def test_no_token_is_ever_written(tmp_path: Path, client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WICKETGATE_TOKEN", "eyJhbGciOiJFUzI1NiJ9.a.b")
    assert connect(tmp_path, client).exit_code == 0
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"eyJ" not in everything
    said = {"claude-code": b"wicketgate token", "inspector": b"/mcp", "vscode": b"${input:"}
    assert said.get(client, b"WICKETGATE_TOKEN") in everything


def test_claude_code_gets_server_model_and_a_hook_that_blocks_however_it_ends(tmp_path: Path) -> None:
    made = connect(tmp_path, "claude-code")
    assert made.exit_code == 0
    assert "config/guardrails, turns" in made.output
    server = json.loads((tmp_path / ".mcp.json").read_text())["mcpServers"]["wicketgate"]
    assert (server["type"], server["url"]) == ("http", f"{URL}/mcp")
    assert server["headersHelper"].endswith("--headers")
    settings = json.loads((tmp_path / ".claude/settings.local.json").read_text())
    assert settings["env"]["ANTHROPIC_BASE_URL"] == f"{URL}/llm/anthropic"
    [matcher] = settings["hooks"]["PreToolUse"]
    [hook] = matcher["hooks"]
    assert (matcher["matcher"], hook["type"]) == ("*", "command")
    assert hook["command"].endswith("|| exit 2")
    assert connect(tmp_path, "claude-code", "--undo").exit_code == 0
    bare = connect(tmp_path, "claude-code", "--no-model")
    assert bare.exit_code == 0
    assert "turns" not in bare.output, "nothing of it could be called"
    assert "env" not in json.loads((tmp_path / ".claude/settings.local.json").read_text())


def test_somebody_elses_value_is_not_overwritten_and_nothing_is_written_then(tmp_path: Path) -> None:
    (tmp_path / ".claude").mkdir()
    for text in ('{"apiKeyHelper": "mine"}', '{"hooks": []}', "[]", "{ // a comment\n}"):
        (tmp_path / ".claude/settings.local.json").write_text(text)
        refused = connect(tmp_path, "claude-code")
        assert refused.exit_code == 1, text
        assert "remedy: " in refused.output
        assert not (tmp_path / ".mcp.json").exists()
        assert (tmp_path / ".claude/settings.local.json").read_text() == text
    (tmp_path / "home/.codex").mkdir()
    (tmp_path / "home/.codex/config.toml").write_text('[mcp_servers.wicketgate]\nurl = "https://mine.example"\n')
    assert connect(tmp_path, "codex").exit_code == 1


def test_hooks_of_others_beside_ours_stay(tmp_path: Path) -> None:
    settings = tmp_path / ".claude/settings.local.json"
    assert connect(tmp_path, "claude-code").exit_code == 0
    said = json.loads(settings.read_text())
    [matcher] = said["hooks"]["PreToolUse"]
    [ours], mine = matcher["hooks"], {"type": "command", "command": "mine"}
    matcher["hooks"] = [mine, ours]
    said["hooks"]["PreToolUse"] = [matcher, {"matcher": "Bash", "hooks": [mine]}]
    settings.write_text(json.dumps(said))
    for _ in range(2):
        assert connect(tmp_path, "claude-code", "--resource", "other").exit_code == 0
        now = json.loads(settings.read_text())["hooks"]["PreToolUse"]
        hooks = [(one["matcher"], each["command"]) for one in now for each in one["hooks"]]
        assert [one for one in hooks if "mine" in one] == [("*", "mine"), ("Bash", "mine")]
        assert [("other" in command, matcher) for matcher, command in hooks if command != "mine"] == [(True, "*")]
    assert connect(tmp_path, "claude-code", "--undo").exit_code == 0
    kept = [{"matcher": "*", "hooks": [mine]}, {"matcher": "Bash", "hooks": [mine]}]
    assert json.loads(settings.read_text())["hooks"] == {"PreToolUse": kept}


def test_a_link_stays_a_link_and_a_file_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    real = tmp_path / "kept" / "mcp.json"
    real.write_text("{}")
    real.chmod(0o600)
    (tmp_path / ".cursor").mkdir()
    (tmp_path / ".cursor/mcp.json").symlink_to(real)
    assert connect(tmp_path, "cursor").exit_code == 0
    assert (tmp_path / ".cursor/mcp.json").is_symlink()
    assert (json.loads(real.read_text())["mcpServers"]["wicketgate"]["url"], real.stat().st_mode & 0o777) == (
        f"{URL}/mcp",
        0o600,
    )


def _read(path: Path) -> object:
    """What a file says; None where there is none."""
    if not path.exists():
        return None
    text = path.read_text()
    return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)


def _holds(new: object, old: object) -> bool:
    """Whether everything of ``old`` is in ``new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(name in new and _holds(new[name], one) for name, one in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return all(one in new for one in old)
    return old is None or new == old


def test_with_json_it_says_what_became_of_each_file(tmp_path: Path) -> None:
    asked = ["connect", "cursor", "--url", URL, "--folder", str(tmp_path), "--json"]
    states = []
    for more in (["--dry-run"], [], [], ["--undo"]):
        done = CliRunner().invoke(main, [*asked, *more], env={"HOME": str(tmp_path)})
        assert done.exit_code == 0, done.output
        told = json.loads(done.output)
        assert told["client"] == "cursor"
        states.append({one["state"] for one in told["files"]})
        assert any(one["difference"] for one in told["files"]) == (more == ["--dry-run"])
    assert states == [{"would change"}, {"written"}, {"unchanged"}, {"removed"}]
