"""The format is pinned: fixed key, clock and random source give the recorded bytes, and they verify."""

import asyncio
import hashlib
import json
import subprocess
from pathlib import Path

from audit import merkle
from audit.canonical import decode
from audit.note import parse_vkey
from audit.record import FIELDS, KINDS, check
from audit.source import Folder
from audit.verify import Verdict, verify, verify_proof
from tests.parts import ROOT, require
from tests.unit.audit.room import chain
from tests.unit.audit.story import VECTORS, write


def files(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name not in {"README.md", "fields.json"}}


def test_the_story_gives_the_recorded_bytes(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path))
    written, recorded = files(tmp_path), files(VECTORS)
    assert sorted(written) == sorted(recorded)
    for name, content in recorded.items():
        assert written[name] == content, f"{name} changed: the format did, or say why in docs/adr"


def test_the_recorded_log_verifies() -> None:
    vkey = parse_vkey((VECTORS / "log.vkey").read_text())
    report = verify(Folder(VECTORS / "log"), vkey)
    assert report.ok, report.as_text()
    payloads = next(one for one in report.checks if one.name == "payloads")
    assert payloads.verdict is Verdict.OK
    assert "2 erased" in payloads.detail
    lines = (VECTORS / "leaves.jsonl").read_bytes().splitlines()
    assert verify_proof((VECTORS / "5.tlog-proof").read_bytes(), lines[5], vkey).ok


def test_the_recorded_leaves_hold_every_kind_and_hash_as_recorded() -> None:
    lines = (VECTORS / "leaves.jsonl").read_bytes().splitlines()
    hashes = [hashlib.sha256(b"\0" + line).hexdigest() for line in lines]
    assert hashes == (VECTORS / "leaf-hashes.txt").read_text().split()
    records = [decode(line) for line in lines]
    assert {str(record["kind"]) for record in records} == set(KINDS)
    for record in records:
        check(record)
    assert [record["prev"] for record in records[1:]] == hashes[:-1]


def test_no_field_of_the_format_was_removed_or_changed_its_class() -> None:
    """Verifiers of old logs need every old field; new ones are added below the old."""
    recorded = json.loads((VECTORS / "fields.json").read_text())
    now = {path: [field.type, field.privacy.value, field.many] for path, field in FIELDS.items()}
    assert {path: now.get(path) for path in recorded} == recorded


def test_roots_of_growing_logs_are_those_recorded() -> None:
    recorded = [line.split() for line in (VECTORS / "roots.txt").read_text().splitlines()]
    leaves = [merkle.leaf_hash(entry) for entry in chain(700)]
    for size, root in recorded:
        assert merkle.root(int(size), merkle.reader_of(leaves)).hex() == root
    assert [int(size) for size, _root in recorded] == [0, 1, 2, 255, 256, 257, 511, 512, 513, 700]


def test_an_auditor_can_follow_the_worked_example_with_sha256sum_and_jq() -> None:
    for tool in ("bash", "jq", "sha256sum", "od"):
        require(tool)
    readme = (ROOT / "audit" / "README.md").read_text()
    script = readme.split("```bash\n", 1)[1].split("```", 1)[0]
    expected = readme.split("```text\n", 1)[1].split("```", 1)[0]
    done = subprocess.run(["bash", "-eu", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == expected, done.stderr
    assert done.returncode == 0


def test_the_readme_names_every_kind_and_every_group_of_fields() -> None:
    readme = (ROOT / "audit" / "README.md").read_text()
    for kind in KINDS:
        assert f"`{kind}`" in readme
    for group in {path.split(".")[0] if not path.startswith("body.") else path.split(".")[1] for path in FIELDS}:
        assert f"`{group}" in readme, group
