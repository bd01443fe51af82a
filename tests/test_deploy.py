"""The deployment files, read as their readers would read them; no container engine is needed."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from broker import config
from broker.background import MARK_SECONDS
from broker.cli import main
from broker.policy import keys
from broker.wiring.watching import SEND_SECONDS
from tests.parts import ROOT, require
from tests.sim import started
from tests.sim.certificate import SERVER, Authority

DEPLOY = ROOT / "deploy"
COMPOSE: Mapping[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
MADE_BY_THE_OPERATOR = ("./policy", "./secrets/")
"""Named in deploy/README.md, ignored by git."""


def test_the_gate_accepts_its_example_configuration(tmp_path: Path) -> None:
    text = (DEPLOY / "wicketgate.toml").read_text()
    for place in ("/etc/wicketgate", "/run/secrets", "/run/opa", "/var/lib/wicketgate"):
        text = text.replace(place, str(tmp_path / place.strip("/")))
    for name in re.findall(rf'"({re.escape(str(tmp_path))}[^"]*)"', text):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
    key = keys.dev_key(_private(tmp_path / "signer"), dev=True)
    (tmp_path / "etc/wicketgate/policy/policy-2026.pub").write_text(key.public_pem())
    (tmp_path / "run/secrets/model_key").write_text("made-up\n")
    (tmp_path / "wicketgate.toml").write_text(text)
    done = CliRunner().invoke(main, ["config", "check", "--config", str(tmp_path / "wicketgate.toml")])
    assert done.exit_code == 0, done.output
    assert "https://gate.example" in done.output


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def test_an_unknown_key_in_the_configuration_is_refused_by_name(tmp_path: Path) -> None:
    text = (DEPLOY / "wicketgate.toml").read_text().replace("[gate]", "[gate]\nallow_everything = true")
    (tmp_path / "wicketgate.toml").write_text(text)
    done = CliRunner().invoke(main, ["config", "check", "--config", str(tmp_path / "wicketgate.toml")])
    assert done.exit_code == 1
    assert "allow_everything" in done.output


def test_every_file_that_compose_mounts_is_here_or_is_named_as_the_operators() -> None:
    readme = (DEPLOY / "README.md").read_text()
    for name, service in SERVICES.items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if not source.startswith("."):
                assert source in COMPOSE["volumes"], f"{name}: {source}"
            elif source.startswith(MADE_BY_THE_OPERATOR):
                assert source.removeprefix("./") in readme
            else:
                assert (DEPLOY / source).exists(), f"{name}: {source}"
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"].removeprefix("./") in readme, name


def test_every_secret_network_and_volume_is_declared_and_used() -> None:
    for kind in ("secrets", "networks"):
        used = {one for service in SERVICES.values() for one in service.get(kind, ())}
        assert used == set(COMPOSE[kind]), kind
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())}
    assert {one for one in mounted if not one.startswith(".")} == set(COMPOSE["volumes"])


def test_the_outside_reaches_the_proxy_alone_and_only_the_gate_reaches_the_outside() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if service.get("ports")}
    assert published == {"gate": ["127.0.0.1:8480:8480"], "proxy": ["443:8443"]}
    assert COMPOSE["networks"]["inside"]["internal"] is True
    reached = {net: [n for n, one in SERVICES.items() if net in one["networks"]] for net in COMPOSE["networks"]}
    assert reached == {"inside": ["gate", "opa", "postgres"], "front": ["proxy", "gate"], "outside": ["gate"]}


def test_the_real_haproxy_takes_its_file_with_the_environment_of_compose(tmp_path: Path) -> None:
    proxy = SERVICES["proxy"]
    assert proxy["volumes"] == ["./proxy/haproxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro"]
    issued = Authority("front").issue("gate", use=SERVER).save(tmp_path / "proxy_certificate")
    environment = dict(proxy["environment"], GATE_ADDRESS="127.0.0.1:8480", PROXY_CERTIFICATE=str(issued))
    done = subprocess.run(
        [require("haproxy"), "-c", "-f", str(DEPLOY / "proxy" / "haproxy.cfg")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (
        proxy["environment"]["GATE_HOST"]
        in tomllib.loads((DEPLOY / "wicketgate.toml").read_text())["gate"]["allowed_hosts"]
    )
    assert proxy["environment"]["GATE_ADDRESS"] == "gate:8480"


def test_a_container_that_is_told_to_end_has_time_to_finish() -> None:
    told = config.load(DEPLOY / "wicketgate.toml", {}).gate
    grace = float(SERVICES["gate"]["stop_grace_period"].removesuffix("s"))
    assert grace >= told.stop_notice_seconds + told.stop_seconds_max + MARK_SECONDS + SEND_SECONDS


def test_every_container_has_a_read_only_root_and_gains_no_rights() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(service), name
    for name in ("gate", "opa", "proxy"):
        assert SERVICES[name]["cap_drop"] == ["ALL"], name
        assert not SERVICES[name]["user"].startswith("0"), name


def test_no_secret_stands_in_the_files() -> None:
    for path in (*DEPLOY.glob("*"), *DEPLOY.glob("opa/*")):
        if path.is_file():
            assert not re.search(
                r"(?i)(password|token|api[_-]?key|secret)\s*[:=]\s*[\"']?[A-Za-z0-9+/]{16,}", path.read_text()
            ), path
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASS|TOKEN|SECRET", key):
                assert value.startswith("/run/secrets/"), f"{name}: {key}"


def test_the_image_is_built_by_hash_and_runs_as_nobody_special() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    froms = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert len(froms) == 2
    assert all(re.fullmatch(r"[a-z/]+:\d[\w.-]+", one) for one in froms), "a named version, never latest"
    installs = [line for line in lines if "pip install" in line]
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation" in line for line in installs)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001:10001"] == [SERVICES["gate"]["user"]]
    assert lines.index("USER 10001:10001") < next(i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT"))
    assert not any(line.startswith("ADD ") for line in lines)
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / name).exists() for name in line.split()[1:-1]), line


def test_what_the_image_copies_is_let_through_by_the_ignore_file() -> None:
    let = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for name in line.split()[:-1]}
    assert copied == let


def test_the_image_ships_no_tool_of_development_and_all_that_the_gate_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = {
        group: {re.split(r"[^a-z0-9-]", one.lower())[0] for one in lines}
        for group, lines in (("dev", project["dependency-groups"]["dev"]), ("own", project["project"]["dependencies"]))
    }
    command = [sys.executable, str(DEPLOY / "unneeded.py"), "wicketgate"]
    leaves = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    installed = {one.metadata["Name"].lower().replace("_", "-") for one in distributions()}
    assert (named["dev"] & installed) - leaves == set()
    assert leaves & (named["own"] | {"wicketgate", "pydantic-core", "starlette", "cffi"}) == set()
    assert "pip" in leaves
    assert (
        "pip uninstall -y $(/opt/wicketgate/bin/python unneeded.py wicketgate)" in (DEPLOY / "Dockerfile").read_text()
    )


def test_what_the_image_copies_is_enough_to_build_the_gate(tmp_path: Path) -> None:
    """The build's own command in a plain folder that holds what the file copies, and nothing else."""
    text = (DEPLOY / "Dockerfile").read_text()
    for names in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *sources, _ = names.split()
        for name in sources:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, tmp_path / Path(name).name)
    assert "pip install --no-deps --no-build-isolation ./sdk ." in text
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", "out"]
    done = subprocess.run([*command, "./sdk", "."], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "out").glob("wicketgate-*.whl")
    with zipfile.ZipFile(wheel) as built:
        inside = {name for name in built.namelist() if not name.startswith("wicketgate-")}
    tracked = subprocess.run(
        ["git", "ls-files", "broker", "audit", "agents", "demo"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(tracked.stdout.split()) - inside == set(), "templates, words and migrations come along"


def test_the_real_opa_starts_with_the_flags_of_compose(tmp_path: Path) -> None:
    """Paths are mapped; the socket's mode is the one asked for."""
    opa = require("opa")
    with tempfile.TemporaryDirectory(prefix="wgopa", dir="/tmp") as short:
        command = " ".join(SERVICES["opa"]["command"])
        for inside, outside in {
            "/run/opa": short,
            "/etc/opa": str(DEPLOY / "opa"),
            "/run/secrets/bundle_token": str(tmp_path / "token"),
        }.items():
            command = command.replace(inside, outside)
        (tmp_path / "token").write_text("made-up")
        key = keys.dev_key(_private(tmp_path / "signer"), dev=True)
        environment = {
            "PATH": os.environ["PATH"],
            "WICKETGATE_URL": "http://127.0.0.1:9",
            "OPA_DATA": str(tmp_path / "data"),
            "POLICY_KEY_ID": "policy-2026",
            "POLICY_PUBLIC_KEY": key.opa_public_pem().replace("\n", "\\n"),
        }
        assert set(SERVICES["opa"]["environment"]) == set(environment) - {"PATH"}
        socket = Path(short) / "opa.sock"
        with subprocess.Popen(
            [opa, *command.split()], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) as running:
            try:
                started.until(lambda: socket.exists() and socket.stat().st_mode & 0o777 == 0o660, running)
            finally:
                running.kill()


def test_opa_writes_no_decision_down_and_asks_nobody_but_the_gate() -> None:
    """The gate's log is the record: OPA's decision log would hold inputs in clear, and lose some."""
    told = yaml.safe_load(re.sub(r"\$\{[A-Z_]+\}", "x", (DEPLOY / "opa" / "opa.yaml").read_text()))
    assert set(told) == {"services", "keys", "bundles", "persistence_directory"}
    assert set(told["services"]) == {"gate"}
    assert [one["service"] for one in told["bundles"].values()] == ["gate"]
    assert all(one["signing"]["scope"] == "broker" for one in told["bundles"].values())
    command = SERVICES["opa"]["command"]
    assert [one for one in command if one.startswith(("--addr", "--diagnostic-addr"))] == [
        "--addr=unix:///run/opa/opa.sock"
    ]
    assert {"--authorization=basic", "--unix-socket-perm=660", "--skip-version-check", "--log-level=error"} <= set(
        command
    )


def test_the_rules_for_the_opa_server_pass_their_own_tests() -> None:
    command = [require("opa"), "test", str(DEPLOY / "opa" / "authz"), str(DEPLOY / "opa" / "authz_test.rego")]
    assert subprocess.run(command, check=False).returncode == 0
