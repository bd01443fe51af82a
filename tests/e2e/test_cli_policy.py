"""The security engineer's and the operator's commands against a running gate."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.running_gate import RunningGate, process_toml, running_gate, supervised

ROOT = Path(__file__).resolve().parent.parent.parent
TOML = process_toml("http://127.0.0.1:1", "checkout")
SECURITY = ("--as", "security")
LOOKS = 200


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    with supervised("checkout") as (_, toml), running_gate(tmp_path_factory.mktemp("gate"), toml) as started:
        yield started


def test_simulate_answers_the_decision_and_its_rules_and_executes_nothing(gate: RunningGate) -> None:
    asked = ("--action", "local.process.restart", "--id", "checkout", "--reason", "r")
    done = gate.command("policy", "simulate", *asked, *SECURITY, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["decision"]["effect"] == "deny"  # the security role itself may restart nothing
    assert answer["decision"]["tier"] == 2
    assert "data.broker.allowlist.deny" in [rule["rule"] for rule in answer["rules"]]
    said = gate.command("policy", "simulate", *asked, *SECURITY)
    assert "deny, tier 2" in said.stdout
    assert gate.command("policy", "simulate", *asked, "--as", "agent").returncode == 5


def test_simulate_answers_a_whole_input_with_a_kept_bundle_as_the_gate_would(gate: RunningGate, tmp_path: Path) -> None:
    from broker.policy.content import parse, read_folder
    from broker.policy.golden import read_goldens

    goldens = read_goldens(parse(read_folder(ROOT / "policies", "0-x")).goldens)
    active = json.loads(gate.command("policy", "history", *SECURITY, "--json").stdout)["active"]["digest"]
    for effect in ("permit", "deny"):
        golden = next(one for one in goldens if one.expect["effect"] == effect)
        file = tmp_path / f"{effect}.json"
        file.write_text(json.dumps(golden.input))
        asked = ("policy", "simulate", "--input", str(file), "--digest", active, *SECURITY, "--json")
        done = gate.command(*asked)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["decision"]["effect"] == effect
    unknown = gate.command("policy", "simulate", "--input", str(file), "--digest", "0" * 64, *SECURITY)
    assert unknown.returncode == 1
    assert "policy.unknown_digest" in unknown.stderr


def test_an_activation_waits_for_a_second_person(gate: RunningGate, tmp_path: Path) -> None:
    out, key = tmp_path / "b.tar.gz", gate.data / "keys" / "policy-dev.key"
    built = gate.command("policy", "build", "--key", str(key), "--out", str(out), "--revision", "1000")
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "policy-dev.opa.pub").read_text().startswith("-----BEGIN PUBLIC KEY-----")
    asked = gate.command("policy", "activate", str(out), "--reason", "new limits", *SECURITY, "--json")
    assert asked.returncode == 6, asked.stderr
    approval = json.loads(asked.stdout)["approval"]["id"]
    own = gate.command("approvals", "approve", approval, *SECURITY)
    assert own.returncode == 5
    assert "approval.own" in own.stderr
    denied = gate.command("approvals", "deny", approval, "--as", "oncall")
    assert denied.returncode == 5  # policy asks for the role security


def test_a_bundle_of_an_unknown_signer_is_refused(gate: RunningGate, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key, out = tmp_path / "mallory.pem", tmp_path / "b.tar.gz"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    assert gate.command("policy", "build", "--key", str(key), "--out", str(out), "--revision", "1000").returncode == 0
    done = gate.command("policy", "activate", str(out), "--reason", "r", *SECURITY)
    assert done.returncode == 1
    assert "policy.untrusted" in done.stderr


def test_an_offline_rollback_is_recorded_first_and_followed_by_the_running_gate(tmp_path: Path) -> None:
    changed = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", changed)
    main = changed / "broker" / "main" / "main.rego"
    main.write_text(main.read_text(encoding="utf-8") + "\n# another revision\n", encoding="utf-8")
    with running_gate(tmp_path / "g", TOML) as first:
        before = json.loads(first.command("policy", "history", *SECURITY, "--json").stdout)["active"]["digest"]
    with running_gate(tmp_path / "g", TOML, options=("--policies", str(changed))) as gate:
        locked = json.loads(gate.command("policy", "history", *SECURITY, "--json").stdout)
        assert locked["active"]["digest"] != before
        rollback = ("policy", "rollback", "--offline", before, "--data", str(gate.data), "--json")
        done = gate.command(*rollback, environment={"WICKETGATE_DEV_CODE": "", "WICKETGATE_URL": ""})
        assert done.returncode == 0, done.stderr
        record = json.loads(done.stdout)["record"]
        now = _followed(gate, before)
        assert now["history"][-1]["kind"] == "offline"
        entries = gate.command("audit", "export", "--as", "auditor").stdout.splitlines()
        written = next(one for one in map(json.loads, entries) if one["seq"] == record["seq"])
        assert (written["kind"], written["body"]["policy"]["digest"]) == ("policy", before)
        never = gate.command("policy", "rollback", "--offline", "0" * 64, "--data", str(gate.data))
        assert never.returncode == 1
        assert "never active" in never.stderr


def _followed(gate: RunningGate, digest: str) -> dict[str, object]:
    """The gate's word on its policy once it follows; it looks every second."""
    found: dict[str, object] = {}
    for _ in range(LOOKS):
        found = json.loads(gate.command("policy", "history", *SECURITY, "--json").stdout)
        active = found["active"]
        assert isinstance(active, dict)
        if active["digest"] == digest:
            return found
        time.sleep(0.2)
    pytest.fail(f"the gate does not follow: {found}")


def test_the_doctor_finds_a_running_gate_well_and_a_tampered_bundle_not(gate: RunningGate) -> None:
    options = ("--config", str(gate.folder / "gate.toml"), "--data", str(gate.data), "--json")
    well = gate.command("doctor", *options)
    assert well.returncode == 0, well.stdout
    states = {line["part"]: line["state"] for line in map(json.loads, well.stdout.splitlines())}
    assert set(states.values()) <= {"ok", "skip", "warn"}
    found = ["config", "keys", "policy", "store", "log", "signing", "files", "disk", "clock", "targets"]
    assert {part: states[part] for part in found} == dict.fromkeys(found, "ok")
    assert states["opa"] == "skip"
    active = (gate.data / "policy" / "active").read_text(encoding="ascii").strip()
    bundle = gate.data / "policy" / f"{active}.tar.gz"
    kept = bundle.read_bytes()
    try:
        bundle.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        ill = gate.command("doctor", *options)
    finally:
        bundle.write_bytes(kept)
    assert ill.returncode == 1
    failed = [line for line in map(json.loads, ill.stdout.splitlines()) if line["state"] == "FAIL"]
    assert [line["part"] for line in failed] == ["policy"]
    assert failed[0]["remedy"]
