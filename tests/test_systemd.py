"""The systemd units, as systemd reads them: they verify, they are shut, and they name what is there."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker import config
from broker.background import MARK_SECONDS
from broker.cli import main
from broker.wiring.watching import SEND_SECONDS
from tests.parts import ROOT, require

UNITS = ROOT / "deploy" / "systemd"
NAMES = ("wicketgate", "wicketgate-opa")
EXPOSED_MAX = "15"
"""Tenths, as ``systemd-analyze security`` counts: 0 is shut, 100 is open."""


def lines(name: str, key: str) -> list[str]:
    """Values of one key of a unit, in order."""
    return re.findall(rf"^{key}=(.*)$", (UNITS / f"{name}.service").read_text(), re.MULTILINE)


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = require("systemd-analyze")
    programs = {"/opt/wicketgate/bin/wicketgate": "/bin/true", "/usr/local/bin/opa": "/bin/true"}
    for name in NAMES:
        text = (UNITS / f"{name}.service").read_text()
        for inside, outside in programs.items():
            text = text.replace(inside, outside)
        (tmp_path / f"{name}.service").write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(str(tmp_path / f"{name}.service") for name in NAMES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, [one for one in done.stderr.splitlines() if str(tmp_path) in one]) == (0, [])
    (tmp_path / "wicketgate.service").write_text("[Service]\nExecStart=/bin/true\nProtectSystm=strict\n")
    wrong = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / "wicketgate.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ProtectSystm" in wrong.stderr, "an unknown key is told"


@pytest.mark.parametrize("name", NAMES)
def test_the_units_are_shut(name: str) -> None:
    command = [require("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSED_MAX}"]
    done = subprocess.run([*command, str(UNITS / f"{name}.service")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert lines(name, "IPAddressDeny") == ["any"]
    assert lines(name, "IPAddressAllow") == ["localhost"], "whom it may reach is the operator's word"


def test_every_secret_of_the_example_is_a_credential_of_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "wicketgate.toml").read_text()
    given = {one.split(":")[0]: one.split(":")[1] for one in lines("wicketgate", "LoadCredential")}
    assert all(path == f"/etc/wicketgate/secrets/{name}" for name, path in given.items())
    named = set(re.findall(r'"/run/secrets/([a-z_]+)"', text))
    assert named
    assert named | {"pgpass"} == set(given)
    (tmp_path / "gate.toml").write_text(text)
    environment = dict(one.split("=", 1) for one in lines("wicketgate", "Environment"))
    read = config.load(tmp_path / "gate.toml", environment)
    assert str(read.gate.data) == "/var/lib/" + lines("wicketgate", "StateDirectory")[0]
    stops = float(lines("wicketgate", "TimeoutStopSec")[0])
    assert stops >= read.gate.stop_notice_seconds + read.gate.stop_seconds_max + MARK_SECONDS + SEND_SECONDS


def test_the_commands_of_the_unit_are_the_gates_own() -> None:
    for line in (*lines("wicketgate", "ExecStartPre"), *lines("wicketgate", "ExecStart")):
        words = line.split()[1:]
        command: Any = main
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        options = {name for one in command.params for name in one.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_opa_runs_as_compose_runs_it() -> None:
    compose: Mapping[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    (line,) = lines("wicketgate-opa", "ExecStart")
    for here, there in {
        "/run/wicketgate-opa": "/run/opa",
        "/etc/wicketgate/opa": "/etc/opa",
        "%d/bundle_token": "/run/secrets/bundle_token",
    }.items():
        line = line.replace(here, there)
    assert line.split()[1:] == compose["services"]["opa"]["command"]
    given = {one.split("=")[0] for one in lines("wicketgate-opa", "Environment")}
    given |= set(re.findall(r"([A-Z_]+)=", re.findall(r"printf '(.*)'", (UNITS / "README.md").read_text())[0]))
    assert given == set(compose["services"]["opa"]["environment"])
