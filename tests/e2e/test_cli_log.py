"""The auditor's commands, and signing in from a terminal."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.sim.running_gate import CODE, RunningGate, process_toml, running_gate, wicketgate

AUDITOR = ("--as", "auditor")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    with running_gate(tmp_path_factory.mktemp("gate"), process_toml("http://127.0.0.1:1", "checkout")) as started:
        for _ in range(3):
            started.command("act", "local.nonsense.do", "--id", "checkout", "--as", "agent")
        yield started


@pytest.fixture(scope="module")
def log(gate: RunningGate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the published log: the gate goes on publishing into its own."""
    assert gate.command("audit", "export", *AUDITOR).returncode == 0
    copy = tmp_path_factory.mktemp("copy") / "log"
    shutil.copytree(gate.data / "log", copy)
    return copy


def test_a_published_log_verifies_and_says_so_as_the_bare_verifier_does(gate: RunningGate, log: Path) -> None:
    options = ("verify", str(log), "--vkey", str(gate.data / "log.vkey"), "--json")
    done = gate.command("audit", *options)
    bare = subprocess.run(
        [sys.executable, "-m", "audit", *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, bare.returncode) == (0, 0)
    assert json.loads(done.stdout) == json.loads(bare.stdout)


def test_without_the_key_the_signer_is_said_to_be_unchecked(gate: RunningGate, log: Path) -> None:
    done = gate.command("audit", "verify", str(log))
    assert done.returncode == 0
    assert "signer: not checked" in done.stdout.lower()


def test_one_flipped_byte_ends_with_seven(gate: RunningGate, log: Path, tmp_path: Path) -> None:
    copy = tmp_path / "log"
    shutil.copytree(log, copy)
    bundles = [path for path in (copy / "tile" / "entries").rglob("*") if path.is_file()]
    bundle = max(bundles, key=lambda path: path.stat().st_size)  # the one that the checkpoint covers
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(bytes(content))
    done = gate.command("audit", "verify", str(copy), "--vkey", str(gate.data / "log.vkey"))
    assert done.returncode == 7
    assert "verdict: failed" in done.stdout


def test_an_export_is_the_exact_leaves_from_the_first_and_ends(gate: RunningGate) -> None:
    done = gate.command("audit", "export", "--format", "jsonl", *AUDITOR)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["seq"] for record in records] == list(range(len(records)))
    assert "refusal" in {record["kind"] for record in records}


def test_a_proof_of_a_record_verifies_with_its_exact_bytes(gate: RunningGate, tmp_path: Path) -> None:
    proof, entry = tmp_path / "one.tlog-proof", tmp_path / "entry.jsonl"
    proof.write_text(gate.command("audit", "prove", "2", *AUDITOR).stdout)
    entry.write_text(gate.command("audit", "export", *AUDITOR).stdout.splitlines()[2] + "\n")
    options = ("--entry", str(entry), "--vkey", str(gate.data / "log.vkey"))
    assert gate.command("audit", "verify", str(proof), *options).returncode == 0
    entry.write_text(entry.read_text().replace("refusal", "refusaL"))
    entry.write_text(entry.read_text().replace('"seq":2', '"seq":3'))
    assert gate.command("audit", "verify", str(proof), *options).returncode == 7


def test_tail_shows_the_newest_records_of_the_gate_and_of_a_published_log(gate: RunningGate, log: Path) -> None:
    shown = gate.command("audit", "tail", "-n", "4", *AUDITOR, "--json")
    assert [set(json.loads(line)) for line in shown.stdout.splitlines()] == [{"seq", "leaf", "record"}] * 4
    published = gate.command("audit", "tail", "-n", "2", "--log", str(log))
    assert len(published.stdout.splitlines()) == 2


def _act_until(gate: RunningGate, following: subprocess.Popen[str]) -> None:
    """Something happens again and again: the follower may not have found its start yet."""
    while following.poll() is None:
        gate.command("act", "local.nonsense.do", "--id", "checkout", "--as", "agent")


def test_follow_shows_new_records_and_none_of_its_own_reading(gate: RunningGate) -> None:
    command = [wicketgate(), "audit", "tail", "-f", "-n", "0", *AUDITOR, "--json"]
    with subprocess.Popen(command, env=dict(gate.environment), stdout=subprocess.PIPE, text=True) as following:
        stop = threading.Timer(60, following.kill)
        stop.start()
        try:
            assert following.stdout is not None
            actions: list[str] = []
            acting = threading.Thread(target=_act_until, args=(gate, following), daemon=True)
            acting.start()
            while len(actions) < 2:
                line = following.stdout.readline()
                assert line, "the following ended by itself"
                actions.append(json.loads(line)["record"]["body"].get("action", {}).get("name", ""))
        finally:
            following.kill()
            stop.cancel()
    assert "gate.audit.read" not in actions


def test_an_agent_may_not_read_the_log(gate: RunningGate) -> None:
    assert gate.command("audit", "tail", "--as", "agent").returncode == 5


def test_a_person_signs_in_through_the_device_flow_and_acts_with_the_stored_login(gate: RunningGate) -> None:
    environment = {**gate.environment, "WICKETGATE_DEV_CODE": ""}
    command = [wicketgate(), "login", "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        stop = threading.Timer(90, waiting.kill)
        stop.start()
        try:
            assert waiting.stderr is not None
            assert waiting.stdout is not None
            place = re.search(r"https?://\S+", waiting.stderr.readline())
            code = waiting.stderr.readline().split()[-1]
            assert place is not None
            form = {"user_code": code, "persona": "auditor", "code": CODE, "verdict": "allow"}
            answer = httpx.post(f"{gate.url}/dev-idp/device", data=form, trust_env=False, timeout=90)
            assert answer.status_code == 200, answer.text
            signed_in = json.loads(waiting.stdout.read())
            assert waiting.wait(90) == 0
        finally:
            stop.cancel()
            if waiting.poll() is None:
                waiting.kill()
    assert signed_in["subject"] == "auditor"
    assert gate.command("audit", "tail", "-n", "1").returncode == 0
    Path(signed_in["file"]).unlink()
    assert gate.command("audit", "tail", "-n", "1").returncode == 3
