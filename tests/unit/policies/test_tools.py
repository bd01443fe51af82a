"""OPA's own tools accept the folder as it lies there: check, test with coverage, format, lint."""

import json
import subprocess
from pathlib import Path

from tests.parts import require
from tests.unit.policies.engines import POLICIES

CAPABILITIES = "capabilities/portable-v1.json"


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=POLICIES, capture_output=True, text=True, check=False)


def test_opa_checks_it_strictly_with_the_portable_builtins_only() -> None:
    done = _run(require("opa"), "check", "--strict", "--capabilities", CAPABILITIES, "--bundle", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_opa_refuses_a_builtin_that_is_not_portable(tmp_path: Path) -> None:
    (tmp_path / "clock.rego").write_text("package broker.clock\n\nnow := time.now_ns()\n")
    done = _run(require("opa"), "check", "--strict", "--capabilities", CAPABILITIES, str(tmp_path))
    assert done.returncode == 1
    assert "undefined function time.now_ns" in done.stdout + done.stderr


def test_the_portable_builtins_are_opas_own_and_pure() -> None:
    current = {
        builtin["name"]: builtin
        for builtin in json.loads(_run(require("opa"), "capabilities", "--current").stdout)["builtins"]
    }
    portable = json.loads((POLICIES / CAPABILITIES).read_text())
    assert portable["features"] == ["rego_v1"]
    assert portable["future_keywords"] == []
    assert portable["allow_net"] == []
    for builtin in portable["builtins"]:
        assert builtin["decl"] == current[builtin["name"]]["decl"], builtin["name"]
        assert not current[builtin["name"]].get("nondeterministic"), builtin["name"]


def test_the_unit_tests_in_rego_pass_and_cover_the_rules() -> None:
    done = _run(require("opa"), "test", "--bundle", ".", "--coverage", "--threshold", "99")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_formatted() -> None:
    done = _run(require("opa"), "fmt", "--list", "broker")
    assert done.stdout == ""
    assert done.returncode == 0


def test_regal_finds_nothing() -> None:
    done = _run(require("regal"), "lint", ".")
    assert done.returncode == 0, done.stdout + done.stderr
