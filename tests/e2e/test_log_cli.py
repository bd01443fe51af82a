"""`python -m audit`, as an auditor runs it, on a log that the gate's code published."""

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audit import export
from audit.payload import Opened
from audit.sqlite import SqliteStore
from tests.parts import ROOT
from tests.unit.audit.room import START_NS, TENANT, chain, erasure, forge, intent, open_log, outcome, publisher


def audit(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "audit", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a published log and a payload file."""
    folder = tmp_path_factory.mktemp("data")

    async def main() -> None:
        store = SqliteStore(folder / "audit.db")
        log = open_log(store, folder)
        await log.start()
        await log.append(TENANT, intent("ev-0", payload=b"the question", payload_key="ses_1"))
        await log.append(TENANT, outcome("out-0", "ev-0", payload=b"the answer", payload_key="ses_1"))
        await asyncio.to_thread(publisher(store, folder).publish_all)
        shutil.copy(folder / "log" / "checkpoint", folder / "kept")
        await log.append(
            TENANT, intent("ev-1", stream="ses_2", payload=b"gone", payload_key="ses_2", time_ns=START_NS + 9)
        )
        await log.erase(TENANT, "ses_2", erasure("er-0", "ses_2"))
        await asyncio.to_thread(publisher(store, folder).publish_all)
        with (folder / "payloads.jsonl").open("wb") as out:
            for entry in await log.read(TENANT, limit=9):
                opened = await log.opened(TENANT, entry)
                if isinstance(opened, Opened):
                    export.write_payload(entry.id, opened, out)
        await log.aclose()

    asyncio.run(main())
    return folder


def test_verify_names_each_property_and_says_ok(data: Path) -> None:
    known, payloads = data / "kept", data / "payloads.jsonl"
    done = audit(
        "verify", data / "log", "--vkey", data / "log.vkey", "--known-checkpoint", known, "--payloads", payloads
    )
    assert done.returncode == 0, done.stderr
    for line in (
        "integrity: ok",
        "signer: ok",
        "append-only: ok - contains 1 known checkpoints, the largest of 2 records",
        "canonical: ok",
        "chain: ok",
        "streams: ok",
        "intents: attention - 1 without an outcome, the first is ev-1 in record 2",
        "payloads: ok - 2 of 3 fit their commitments; 1 erased (data keys destroyed by records [3])",
        "verdict: ok",
    ):
        assert line in done.stdout


def test_verify_without_outside_input_says_what_it_did_not_check(data: Path) -> None:
    done = audit("verify", data / "log")
    assert done.returncode == 0
    assert "signer: not checked" in done.stdout
    assert "append-only: NOT CHECKED" in done.stdout
    assert "payloads: NOT CHECKED" in done.stdout
    found = json.loads(audit("verify", data / "log", "--json").stdout)
    verdicts = {check["property"]: check["verdict"] for check in found["checks"]}
    assert (found["verdict"], found["size"]) == ("ok", 4)
    assert (verdicts["signer"], verdicts["append-only"]) == ("not checked", "not checked")


def test_a_changed_byte_or_a_missing_file_ends_with_code_7(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "log", tmp_path / "log")
    bundle = next((tmp_path / "log" / "tile" / "entries").rglob("4"))
    content = bundle.read_bytes()
    bundle.write_bytes(content.replace(b"permit", b"permid", 1))
    done = audit("verify", tmp_path / "log", "--vkey", data / "log.vkey", "--json")
    assert done.returncode == 7
    assert json.loads(done.stdout)["checks"][0]["record"] == 0
    bundle.unlink()
    assert audit("verify", tmp_path / "log").returncode == 7
    assert audit("verify", tmp_path / "nothing").returncode == 7
    assert audit("verify", data / "log", "--vkey", tmp_path / "nothing").returncode == 7
    assert audit("verify", data / "log", "--known-checkpoint", tmp_path / "nothing").returncode == 7


def test_a_log_that_was_rolled_back_ends_with_code_7(data: Path, tmp_path: Path) -> None:
    cut = forge(tmp_path / "log", chain(1))
    done = audit("verify", cut, "--vkey", data / "log.vkey", "--known-checkpoint", data / "kept")
    assert done.returncode == 7
    assert "append-only: failed - rolled back: 2 records were signed before, 1 are left" in done.stdout


def test_a_wrong_command_ends_with_code_2() -> None:
    assert audit("verify").returncode == 2
    assert audit("nonsense").returncode == 2
    assert audit("verify", "some.tlog-proof").returncode == 2


def test_export_gives_exact_leaf_bytes_that_prove_themselves(data: Path, tmp_path: Path) -> None:
    lines = audit("export", data / "log").stdout.splitlines()
    assert len(lines) == 4
    for number, line in enumerate(lines[:-1]):
        leaf = hashlib.sha256(b"\0" + line.encode()).hexdigest()
        assert json.loads(lines[number + 1])["prev"] == leaf
    proof = tmp_path / "2.tlog-proof"
    proof.write_text(audit("prove", data / "log", 2).stdout)
    entry = tmp_path / "entry"
    entry.write_text(lines[2] + "\n")
    assert audit("verify", proof, "--entry", entry, "--vkey", data / "log.vkey").returncode == 0
    entry.write_text(lines[1] + "\n")
    assert audit("verify", proof, "--entry", entry).returncode == 7
    assert audit("prove", data / "log", 4).returncode == 1


def test_export_and_tail_choose_records(data: Path) -> None:
    def ids(*arguments: object) -> list[str]:
        done = audit(*arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["id"] for line in done.stdout.splitlines()]

    log = data / "log"
    assert ids("export", log, "--kind", "intent") == ["ev-0", "ev-1"]
    assert ids("export", log, "--kind", "intent", "--kind", "erasure") == ["ev-0", "ev-1", "er-0"]
    assert ids("export", log, "--session", "ses_1") == ["ev-0", "out-0"]
    assert ids("export", log, "--since-ns", START_NS + 1, "--until-ns", START_NS + 9) == ["out-0", "er-0"]
    assert ids("tail", log, "-n", 2) == ["ev-1", "er-0"]
    assert ids("tail", log) == ["ev-0", "out-0", "ev-1", "er-0"]
