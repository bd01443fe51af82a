"""Commands that need no gate: redact, policy check|test|build, config, migrate, doctor, audit verify."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.cli import main

TINY = Path(__file__).parent.parent / "policy" / "fixtures" / "tiny"


def wicketgate(*arguments: str, text: str | bytes | None = None, **environment: str) -> Result:
    """Run the command in this process, without the settings of whoever runs the tests."""
    env = {"WICKETGATE_CONFIG": None, "WICKETGATE_URL": None, "WICKETGATE_TOKEN": None, **environment}
    return CliRunner().invoke(main, list(arguments), input=text, env=env)


def test_redact_hides_from_standard_input_to_standard_output() -> None:
    done = wicketgate("redact", text="mail alice.miller@example.org, please\nno newline")
    assert done.exit_code == 0
    assert "alice.miller" not in done.stdout
    assert done.stdout.startswith("mail EMAIL_")
    assert done.stdout.endswith(", please\nno newline")


def test_findings_are_one_object_a_line_with_offsets_in_characters(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("größe 🙂 alice@example.org", encoding="utf-8")
    done = wicketgate("redact", str(file), "--findings")
    (finding,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert set(finding) == {"entity", "start", "end", "rule", "score"}
    assert file.read_text(encoding="utf-8")[finding["start"] : finding["end"]] == "alice@example.org"


def test_text_that_is_not_utf8_is_withheld_whole() -> None:
    done = wicketgate("redact", text=b"alice@example.org \xff")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "byte 18" in done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "policies"
    shutil.copytree(TINY, copy)
    return copy


def key(path: Path) -> Path:
    private = Ed25519PrivateKey.generate()
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


def test_a_clean_policy_folder_passes_check_and_test(folder: Path) -> None:
    checked = wicketgate("policy", "check", str(folder), "--json")
    assert (checked.exit_code, json.loads(checked.stdout)["findings"]) == (0, [])
    tested = wicketgate("policy", "test", str(folder), "--json")
    report = json.loads(tested.stdout)
    assert (tested.exit_code, report["failures"]) == (0, [])
    assert report["goldens"] > 0


def test_a_rego_form_that_engines_read_differently_fails_check(folder: Path) -> None:
    rego = folder / "broker" / "main" / "main.rego"
    rego.write_text(rego.read_text() + "\nodd := 1.5\n")
    done = wicketgate("policy", "check", str(folder))
    assert done.exit_code == 1
    assert "main.rego:" in done.stdout


def test_a_golden_that_the_policy_does_not_answer_fails_test(folder: Path) -> None:
    golden = folder / "golden" / "main.yaml"
    golden.write_text(golden.read_text().replace("permit", "deny", 1))
    done = wicketgate("policy", "test", str(folder))
    assert done.exit_code == 1
    assert "a role that has the action may read: effect is" in done.stdout


def test_build_signs_a_bundle_that_the_signers_public_key_opens(folder: Path, tmp_path: Path) -> None:
    from broker.policy.bundle import open_bundle
    from broker.policy.keys import read_signers

    signer, out = key(tmp_path / "team.pem"), tmp_path / "bundle.tar.gz"
    options = ("--key", str(signer), "--out", str(out), "--revision", "3", "--json")
    done = wicketgate("policy", "build", str(folder), *options)
    assert done.exit_code == 0, done.stderr
    built = json.loads(done.stdout)
    signature = Path(built["signature"]).read_text().strip()
    public = read_signers({"team": Path(built["public_key"]).read_text()})
    bundle = open_bundle(out.read_bytes(), signature, public)
    assert (bundle.digest, bundle.revision) == (built["digest"], "3")


def test_simulate_decides_a_golden_input_on_a_folder_and_names_the_rules(folder: Path, tmp_path: Path) -> None:
    from broker.policy.content import parse, read_folder
    from broker.policy.golden import read_goldens

    golden = read_goldens(parse(read_folder(folder, "0-x")).goldens)[0]
    file = tmp_path / "input.json"
    file.write_text(json.dumps(golden.input))
    done = wicketgate("policy", "simulate", "--input", str(file), "--folder", str(folder), "--json")
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["decision"]["effect"] in {"permit", "deny"}
    assert "data.broker.main.decision" in [rule["rule"] for rule in answer["rules"]]


def test_a_policy_input_is_read_as_strictly_as_a_request(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"schema": "a", "schema": "b"}')
    done = wicketgate("policy", "simulate", "--input", str(file), "--folder", str(folder))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")


def test_config_check_names_the_wrong_key_and_print_hides_the_password(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text("[gate]\nprot = 1\n")
    wrong = wicketgate("config", "check", "--config", str(file))
    assert wrong.exit_code == 1
    assert "gate.prot" in wrong.stderr
    file.write_text('[store]\nurl = "postgresql+psycopg://gate:hunter2@db/gate"\n')
    shown = wicketgate("config", "print", "--config", str(file), "--json", WICKETGATE_GATE_PORT="9999")
    assert "hunter2" not in shown.stdout
    assert json.loads(shown.stdout)["gate"]["port"] == 9999
    file.write_text('[[connectors]]\nname = "local"\nadapter = "local"\n[connectors.settings]\nnonsense = 1\n')
    connector = wicketgate("config", "check", "--config", str(file))
    assert connector.exit_code == 1
    assert "nonsense" in connector.stderr
    server = '[[connectors]]\nname = "prometheus"\nadapter = "prometheus"\n[connectors.settings]\nbase_url = "http://10.0.0.1:9090"\n'
    file.write_text(server)
    address = wicketgate("config", "check", "--config", str(file))
    assert address.exit_code == 1
    assert "in clear" in address.stderr
    file.write_text(server + 'allow_networks = ["10.0.0.0/8"]\n')
    assert wicketgate("config", "check", "--config", str(file)).exit_code == 0


def test_migrate_makes_the_database_and_may_run_again(tmp_path: Path) -> None:
    for _ in range(2):
        done = wicketgate("migrate", "--data", str(tmp_path / "data"))
        assert done.exit_code == 0, done.stderr
    assert (tmp_path / "data" / "gate.db").exists()


def test_the_doctor_skips_what_is_not_there_yet_and_fails_what_is_wrong(tmp_path: Path) -> None:
    fresh = wicketgate("doctor", "--data", str(tmp_path / "data"), "--json")
    states = {line["part"]: line["state"] for line in map(json.loads, fresh.stdout.splitlines())}
    assert fresh.exit_code == 0
    later = ("keys", "secrets", "tls", "store", "clock", "policy", "opa", "log", "issuers", "targets", "tools")
    assert {part for part, state in states.items() if state == "skip"} == set(later)
    assert (states["config"], states["signing"], states["disk"]) == ("ok", "ok", "ok")
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True, mode=0o700)
    (keys / "log.key").write_bytes(b"x" * 32)
    (keys / "log.key").chmod(0o644)
    open_to_all = wicketgate("doctor", "--data", str(tmp_path / "data"))
    assert open_to_all.exit_code == 1
    assert "FAIL  keys" in open_to_all.stdout
    assert "chmod 600" in open_to_all.stdout


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://10.2.0.5:8480", "a bare IP address"),
        ("https://[2001:db8::5]", "a bare IP address"),
        ("http://gate.example:8480", "not https"),
    ],
)
def test_the_doctor_and_config_check_say_that_nobody_can_sign_at_this_address(
    tmp_path: Path, url: str, why: str
) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(f'[gate]\nurl = "{url}"\n')
    asked = ("--config", str(file), "--data", str(tmp_path / "data"))
    doctor, check = wicketgate("doctor", *asked), wicketgate("config", "check", *asked)
    assert check.exit_code == 0, "the gate runs; only signatures are missing"
    failed = [line for line in doctor.stdout.splitlines() if line.startswith("FAIL")]
    assert all(line.startswith("FAIL  front") for line in failed), "what answers at a made-up name is the network's"
    assert "warn  signing" in doctor.stdout
    for said in (doctor.stdout, check.stdout):
        assert why in said
        assert "give gate.url as https:// and a domain name" in said
    assert json.loads(wicketgate("config", "check", *asked, "--json").stdout)["warnings"]
    file.write_text('[gate]\nurl = "https://gate.example"\n')
    assert "warning" not in wicketgate("config", "check", *asked).stdout


def test_the_doctor_names_an_opa_that_does_not_answer(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(f'[policy]\nengine = "opa"\nopa_socket = "{tmp_path}/opa.sock"\n')
    done = wicketgate("doctor", "--config", str(file), "--data", str(tmp_path / "data"))
    assert done.exit_code == 1
    assert "FAIL  opa" in done.stdout
    assert "do: start OPA" in done.stdout


@pytest.mark.parametrize("missing", ["log", "vkey", "known"])
def test_a_file_that_is_not_there_is_a_failed_verification(tmp_path: Path, missing: str) -> None:
    options = {
        "log": (),
        "vkey": ("--vkey", str(tmp_path / "no")),
        "known": ("--known-checkpoint", str(tmp_path / "no")),
    }
    done = wicketgate("audit", "verify", str(tmp_path), *options[missing])
    assert done.exit_code == 7


def test_a_proof_without_its_record_is_a_usage_error(tmp_path: Path) -> None:
    assert wicketgate("audit", "verify", str(tmp_path / "a.tlog-proof")).exit_code == 2


def test_offline_rollback_refuses_a_folder_that_is_no_gates(tmp_path: Path) -> None:
    done = wicketgate("policy", "rollback", "--offline", "0" * 64, "--data", str(tmp_path))
    assert done.exit_code == 1
    assert "is no gate's data folder" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_dev_listens_on_loopback_only(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('[gate]\nhost = "0.0.0.0"\n')
    done = wicketgate("serve", "--dev", "--config", str(file), "--data", str(tmp_path / "data"))
    assert done.exit_code == 1
    assert "does not listen on 0.0.0.0" in done.stderr
    assert not (tmp_path / "data").exists()


def test_demo_is_another_program_with_the_same_arguments() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "wicketgate", "demo", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--fault" in done.stdout
    wrong = subprocess.run(
        [Path(sys.executable).parent / "wicketgate", "demo", "--nonsense"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert wrong.returncode == 2
