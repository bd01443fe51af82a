"""The import rules of pyproject.toml hold, and each of them would fail if its rule were broken."""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.parts import ROOT

BREAKS = {
    "audit/canonical.py": "import broker.model",
    "sdk/wicketgate/words.py": "import broker.model",
    "agents/events.py": "import audit.record",
    "demo/layout.py": "import agents.events",
    "broker/catalog.py": "import agents.events; import demo.layout; import wicketgate.words",
    "broker/model.py": "import broker.pipeline",
    "broker/acts.py": "import audit.log",
    "audit/verify.py": "import audit.store",
    "broker/limits.py": "import sqlalchemy, opa_client, regorus, anthropic, fastapi, presidio_anonymizer, authlib, webauthn, mcp, opentelemetry",
    "broker/leases.py": "import broker.limits",
}
"""File -> a line that breaks a rule there; together they break every contract."""


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    path = {"PYTHONPATH": f"{root}:{root / 'sdk'}", "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-P", "-c", code, "--no-cache"],
        cwd=root,
        env=path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_import_rule_holds_and_each_one_bites(tmp_path: Path) -> None:
    names = [
        one["name"] for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    ]
    for part in ("audit", "broker", "agents", "demo", "sdk"):
        for source in (ROOT / part).rglob("*.py"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())

    whole = _lint(tmp_path)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert [name for name in names if f"{name} KEPT" not in whole.stdout] == []

    for file, line in BREAKS.items():
        with (tmp_path / file).open("a") as end:
            end.write(f"\n{line}\n")
    (tmp_path / "broker/stray.py").write_text('"""A file that no layer names."""\n')
    broken = _lint(tmp_path)
    assert [name for name in names if f"{name} BROKEN" not in broken.stdout] == [], broken.stdout
    assert "broker.stray" in broken.stdout
