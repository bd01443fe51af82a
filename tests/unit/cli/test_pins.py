"""``wicketgate policy mcp-pin``: a manifest that waits for people, and what has changed since."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from broker.cli.exits import Stop
from broker.cli.policy import policy
from tests.unit.connectors.mcp_cases import raw, seen


def pin(folder: Path, behaviour: str, *more: str, connector: str = "raw") -> Result:
    table = raw(folder, behaviour)
    told = ", ".join(f"{name} = {json.dumps(value)}" for name, value in table.pop("environment").items())
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    (folder / "gate.toml").write_text(
        "\n".join(
            [
                '[[connectors]]\nname = "raw"\nadapter = "mcp"\n[connectors.settings]',
                *lines,
                f"environment = {{ {told} }}",
            ]
        )
    )
    place = ["--config", str(folder / "gate.toml"), "--manifest", str(folder / "raw.yaml")]
    return CliRunner().invoke(policy, ["mcp-pin", connector, *place, *more])


def test_a_server_that_is_as_it_was_pinned_ends_with_0_and_nothing_is_written_unasked(tmp_path: Path) -> None:
    shown = pin(tmp_path, "hang")
    assert shown.exit_code == 0
    assert "raw.tool.do:" in shown.output
    assert not (tmp_path / "raw.yaml").exists()
    written = json.loads(pin(tmp_path, "hang", "--write", "--json").output)
    assert written["text"] == (tmp_path / "raw.yaml").read_text()
    assert pin(tmp_path, "hang").exit_code == 0
    assert "called" not in seen(tmp_path)


def test_what_changed_is_shown_and_pinned_again_only_when_asked(tmp_path: Path) -> None:
    pin(tmp_path, "hang", "--write")
    before = (tmp_path / "raw.yaml").read_text()
    other: Any = json.loads(pin(tmp_path, "other_text", "--json").output)
    changed = pin(tmp_path, "other_text")
    assert changed.exit_code == 1
    assert [one["state"] for one in other["tools"]] == ["changed"]
    assert any("It does something else." in line for line in other["tools"][0]["lines"])
    assert (tmp_path / "raw.yaml").read_text() == before
    assert pin(tmp_path, "other_text", "--write").exit_code == 0
    assert pin(tmp_path, "other_text").exit_code == 0
    assert pin(tmp_path, "hang").exit_code == 1


def test_a_connector_that_is_no_mcp_server_is_named(tmp_path: Path) -> None:
    result = pin(tmp_path, "hang", connector="absent")
    assert isinstance(result.exception, Stop)
    assert "absent" in str(result.exception)
