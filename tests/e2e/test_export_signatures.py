"""A bundle's own verifier checks the checkpoint's and the approvals' signatures, with nothing of ours and no library.

To be the thief of the log's key, the test writes the tree anew over changed records: only the signatures can tell.
"""

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import canonical, merkle
from audit.checkpoint import Checkpoint
from audit.log import Entry, Log
from audit.note import Note, Signature, verifier
from audit.record import read
from audit.signed import Signatures
from broker.cli import main as wicketgate
from broker.logbook import bundle, exports
from broker.work import Work
from tests.e2e.test_exports import _file, _made, _verify
from tests.e2e.test_signed_approvals import asked, critical, ready, waiting
from tests.sim.authenticator import SoftwareKey, raw, text
from tests.sim.world import World

Change = Callable[[Any], None]
ACTIONS = "actions"
"""Beside the bundle: one of the same actions' intents alone."""
Made = tuple[Path, str, list[bytes]]
"""The unpacked bundle, the log's key, and every leaf of the log."""


async def _approved(it: World, name: str, kind: Any) -> None:
    """One restart of the critical process, approved with a key of this kind."""
    key = SoftwareKey(kind)
    await ready(it, name, key)
    wants, person = await waiting(it), await it.person(name)
    options = await asked(it, person, wants["approval"])
    done = await it.review(person, wants["approval"], assertion=key.get(options))
    assert done.status_code == 200, done.text
    assert (await it.outcome(await it.person("oncall"), wants["action_id"])).json()["status"] == "done"


@contextlib.contextmanager
def watched() -> Iterator[dict[str, int]]:
    """What making an export costs, with two records a page: renewals of its hold, payloads of proposals opened, approvals kept."""
    cost, gathered = {"renewals": 0, "payloads": 0}, []
    renew, opened, new = Work.renew, Log.payload, exports._Made

    def renewed(*given: Any, **named: Any) -> Any:
        cost["renewals"] += 1
        return renew(*given, **named)

    def payload(log: Log, tenant: str, entry: Entry) -> Any:
        cost["payloads"] += entry.kind == "proposal"  # others are opened for the names in the index, at any time
        return opened(log, tenant, entry)

    def begun() -> Any:
        gathered.append(new())
        return gathered[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Work, "renew", renewed)
        patch.setattr(Log, "payload", payload)
        patch.setattr(exports, "_Made", begun)
        patch.setattr(exports, "PAGE", 2)
        yield cost
    cost["approvals"] = sum(len(one.approvals) for one in gathered)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A bundle of one action's records, with an approval signed by ES256 and one by EdDSA."""
    folder = tmp_path_factory.mktemp("export")

    async def main() -> tuple[Mapping[str, bytes], list[bytes]]:
        async with critical(folder) as it:
            await _approved(it, "security", "ES256")
            await _approved(it, "deputy", "EdDSA")
            auditor = await it.person("auditor")
            found = {}
            for name, form, kinds in (
                (ACTIONS, "bundle", ["intent"]),
                ("lines", "jsonl", []),
                ("bundle", "bundle", []),
            ):
                with watched() as cost:
                    export = await _made(it, auditor, form=form, action="local.process.restart", kinds=kinds)
                (folder / f"{name}.cost").write_text(json.dumps(cost))
                found[name] = await _file(it, auditor, export["export"])
            assert found.pop("lines")
            leaves = [entry.encoded for entry in await it.gate.log.read("default", after=-1, limit=500)]
            return found, leaves

    found, leaves = asyncio.run(main())
    for name, content in found.items():
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(folder / name, filter="data")
    return folder / "bundle", (folder / "data" / "log.vkey").read_text().strip(), leaves


def test_an_export_keeps_ids_alone_opens_no_payload_and_holds_its_work_page_by_page(made: Made) -> None:
    cost = {name: json.loads(made[0].with_name(f"{name}.cost").read_text()) for name in ("lines", ACTIONS, "bundle")}
    assert (cost["lines"]["approvals"], cost[ACTIONS]["approvals"]) == (0, 2)
    pages = len(lines(made[0] / bundle.SIGNING)) // 2
    assert cost["bundle"]["renewals"] >= pages > 2, cost
    assert cost["bundle"]["payloads"] == 0, cost


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def rewritten(made: Made, folder: Path, change: Change) -> subprocess.CompletedProcess[str]:
    """Verify a bundle whose log had these changes from the beginning, under a new key of the log."""
    source, _, leaves = made
    changed = []
    for leaf in leaves:
        record = json.loads(leaf)
        change(record)
        changed.append(canonical.encode(record))
    hashes = merkle.reader_of([merkle.leaf_hash(leaf) for leaf in changed])
    private, name = Ed25519PrivateKey.generate(), json.loads(leaves[0])["log"]
    key = verifier(name, private.public_key().public_bytes_raw())

    def note_of(size: int) -> str:
        body = Checkpoint(name, size, merkle.root(size, hashes)).text()
        return str(Note(body, (Signature(name, key.key_id, private.sign(body.encode())),)))

    folder.mkdir()
    (folder.parent / "older").write_text(note_of(len(changed) - 1))
    for records, proofs in ((bundle.ENTRIES, bundle.PROOFS), (bundle.SIGNING, bundle.SIGNING_PROOFS)):
        numbers = [record["seq"] for record in lines(source / records)]
        (folder / records).write_bytes(b"".join(changed[seq] + b"\n" for seq in numbers))
        paths = [bundle.proof_line(seq, merkle.inclusion(seq, len(changed), hashes)) for seq in numbers]
        (folder / proofs).write_bytes(b"".join(paths))
    bundle.finish(folder, note_of(len(changed)), str(key), {}, len(lines(folder / bundle.ENTRIES)))
    return _verify(folder, "--vkey", str(key))


def actions(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Change the bodies of actions that rest on an approval."""

    def of(record: Any) -> None:
        if record["kind"] == "intent" and "approval" in record["body"]:
            change(record["body"])

    return of


def reviews(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Change the bodies of signed reviews."""

    def of(record: Any) -> None:
        if record["kind"] == "review" and "signature" in record["body"]:
            change(record["body"])

    return of


def test_the_verifier_checks_every_signed_approval_of_the_bundle(made: Made) -> None:
    folder, key, _ = made
    assert "authenticator" not in {record["kind"] for record in lines(folder / bundle.ENTRIES)}
    done = _verify(folder, "--vkey", key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "signatures: ok - 2 signed approvals hold" in done.stdout
    assert "keys removed: NOT CHECKED" in done.stdout


def test_the_same_verifier_over_a_rewritten_log_says_yes_where_nothing_was_changed(made: Made, tmp_path: Path) -> None:
    done = rewritten(made, tmp_path / "b", lambda record: None)
    assert (done.returncode, "2 signed approvals hold" in done.stdout) == (0, True), done.stdout


def flipped(encoded: str) -> str:
    """The same text with one bit of its last byte changed."""
    content = raw(encoded)
    return text(content[:-1] + bytes([content[-1] ^ 1]))


FORGED: Mapping[str, tuple[Change, str]] = {
    "another value": (
        reviews(lambda body: body["signature"].update(value=flipped(body["signature"]["value"]))),
        "its signature does not hold",
    ),
    "another counter": (
        reviews(
            lambda body: body["signature"].update(authenticator_data=flipped(body["signature"]["authenticator_data"]))
        ),
        "its signature does not hold",
    ),
    "another request": (
        reviews(lambda body: body["approval"].update(digest="0" * 64)),
        "what was signed is another decision",
    ),
    "another plan": (
        reviews(lambda body: body["plan"].update(fingerprint="0" * 64)),
        "what was signed is another decision",
    ),
    "another policy": (
        reviews(lambda body: body["policy"].update(digest="0" * 64)),
        "what was signed is another decision",
    ),
    "another person": (
        reviews(lambda body: body["approval"].update(reviewers=["per_" + "0" * 32])),
        "its security key is another person's",
    ),
    "another action": (
        actions(lambda body: body["approval"].update(digest="0" * 64)),
        "begins with 0 of 1 signed approvals that policy wants",
    ),
    "no signature": (
        reviews(lambda body: body.pop("signature")),
        "approves without the signature that policy wants",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_approval_is_found_even_under_a_tree_that_fits_it(made: Made, tmp_path: Path, name: str) -> None:
    change, reason = FORGED[name]
    done = rewritten(made, tmp_path / "b", change)
    assert done.returncode == 7, done.stdout
    assert "signatures: FAILED - record " in done.stdout
    assert reason in done.stdout


def test_another_decisions_signature_approves_nothing(made: Made, tmp_path: Path) -> None:
    """What was signed for one approval stands in the other's record."""
    _, _, leaves = made
    signed = [one for one in map(json.loads, leaves) if one["kind"] == "review" and "signature" in one["body"]]
    given = {one["seq"]: one["body"]["signature"] for one in signed}
    first, second = sorted(given)

    def swap(record: Any) -> None:
        if record["seq"] == first:
            record["body"]["signature"] = given[second] | {"credential": given[first]["credential"]}

    done = rewritten(made, tmp_path / "b", swap)
    assert (done.returncode, "what was signed is another decision" in done.stdout) == (7, True), done.stdout


def unconfirmed(record: Any) -> None:
    if record["kind"] == "authenticator" and record["body"]["authenticator"]["verb"] == "confirmed":
        record["body"]["authenticator"]["verb"] = "removed"


def test_a_key_that_nobody_confirmed_signs_nothing(made: Made, tmp_path: Path) -> None:
    done = rewritten(made, tmp_path / "b", unconfirmed)
    assert (done.returncode, "its security key was not in force" in done.stdout) == (7, True), done.stdout


def test_what_an_approval_rests_on_cannot_be_left_out(made: Made, tmp_path: Path) -> None:
    _, key, _ = made
    folder = copied(made, tmp_path / "b")
    for name in (bundle.SIGNING, bundle.SIGNING_PROOFS):
        (folder / name).write_bytes(b"")
    resealed(folder)
    done = _verify(folder, "--vkey", key)
    assert (done.returncode, "its security key was not in force" in done.stdout) == (7, True), done.stdout


def without(made: Made, folder: Path, *kinds: str) -> subprocess.CompletedProcess[str]:
    """Verify the bundle without its records of these kinds, as one who leaves them out makes it."""
    copied(made, folder)
    for records, proofs in ((bundle.ENTRIES, bundle.PROOFS), (bundle.SIGNING, bundle.SIGNING_PROOFS)):
        keep = [record["kind"] not in kinds for record in lines(folder / records)]
        for name in (records, proofs):
            content = (folder / name).read_bytes().splitlines(keepends=True)
            (folder / name).write_bytes(b"".join(line for line, kept in zip(content, keep, strict=True) if kept))
    resealed(folder, entries=len(lines(folder / bundle.ENTRIES)))
    return _verify(folder, "--vkey", made[1])


def test_actions_alone_bring_the_approvals_that_they_rest_on(made: Made) -> None:
    folder = made[0].with_name(ACTIONS)
    assert {record["kind"] for record in lines(folder / bundle.ENTRIES)} == {"intent"}
    assert {record["kind"] for record in lines(folder / bundle.SIGNING)} == {"proposal", "review", "authenticator"}
    done = _verify(folder, "--vkey", made[1])
    assert (done.returncode, "signatures: ok - 2 signed approvals hold" in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize("name", ["bundle", ACTIONS])
def test_an_action_whose_signed_approval_is_missing_is_found(made: Made, tmp_path: Path, name: str) -> None:
    of = (made[0].with_name(name), made[1], made[2])
    done = without(of, tmp_path / "b", "review")
    assert (done.returncode, "begins with 0 of 1 signed approvals" in done.stdout) == (7, True), done.stdout
    done = without(of, tmp_path / "c", "review", "proposal")
    assert (done.returncode, "what was proposed is not here" in done.stdout) == (7, True), done.stdout
    assert "no approval here had to be signed" not in done.stdout


def test_outcomes_of_actions_that_are_not_here_are_counted_as_unchecked(made: Made, tmp_path: Path) -> None:
    done = without(made, tmp_path / "b", "intent", "review")
    assert (done.returncode, "actions: NOT CHECKED - 2 outcomes" in done.stdout) == (0, True), done.stdout


def spared(body: Any) -> None:
    body["approval"]["digest"] = "0" * 64
    body["breakglass"] = {"id": "bgl_1", "verb": "used"}


def test_an_action_that_break_glass_spared_its_approval_is_told(made: Made, tmp_path: Path) -> None:
    done = rewritten(made, tmp_path / "b", actions(spared))
    assert (done.returncode, "approvals: attention - 2 actions" in done.stdout) == (0, True), done.stdout


def test_the_whole_logs_verifier_finds_an_action_without_its_signed_approval(made: Made) -> None:
    def found(*kinds: str) -> Signatures:
        signed = Signatures()
        for index, leaf in enumerate(made[2]):
            record = read(leaf)
            if record["kind"] not in kinds:
                signed.take(index, record)
        return signed

    whole = found()
    assert (whole.wrong, whole.count, whole.unproposed, whole.spared) == (None, 2, 0, 0)
    wrong = found("review").wrong
    assert wrong is not None
    assert wrong[1] == "begins with 0 of 1 signed approvals that policy wants"
    assert found("proposal").unproposed == 2


def copied(made: Made, folder: Path) -> Path:
    """The bundle again, to be changed."""
    folder.mkdir()
    for path in made[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def resealed(folder: Path, **told: Any) -> None:
    """Write the digests of the manifest anew, as a forger would."""
    manifest = json.loads((folder / "manifest.json").read_text()) | told
    manifest["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", [bundle.ENTRIES, bundle.PROOFS, bundle.SIGNING, bundle.SIGNING_PROOFS])
def test_nothing_that_is_not_verified_stands_behind_the_last_line(made: Made, tmp_path: Path, name: str) -> None:
    folder = copied(made, tmp_path / "b")
    kept = (folder / name).read_bytes()
    for added in (kept.splitlines()[-1], b" ", b"\n"):
        (folder / name).write_bytes(kept + added)
        resealed(folder)
        done = _verify(folder, "--vkey", made[1])
        assert (done.returncode, "verdict: ok" in done.stdout) == (7, False), done.stdout


def signatures(note: str) -> Iterator[str]:
    """The checkpoint with another signature, another key's line, and none."""
    body, _, line = note.partition("\n\n")
    mark, name, value = line.strip("\n").split(" ")
    blob = base64.b64decode(value)
    for changed in (
        blob[:-1] + bytes([blob[-1] ^ 1]),
        blob[:4] + bytes([blob[4] ^ 1]) + blob[5:],
        bytes(4) + blob[4:],
        blob[:4] + bytes(64),
        blob[:20],
    ):
        yield f"{body}\n\n{mark} {name} {base64.b64encode(changed).decode()}\n"
    yield f"{body}\n\n"


def test_a_checkpoint_with_another_signature_fails_with_the_reason(made: Made, tmp_path: Path) -> None:
    source, key, _ = made
    folder = copied(made, tmp_path / "b")
    for note in signatures((source / "checkpoint").read_text()):
        (folder / "checkpoint").write_text(note)
        resealed(folder)
        done = _verify(folder, "--vkey", key)
        assert done.returncode == 7, done.stdout
        assert "signer: FAILED" in done.stdout or "bundle: FAILED - it cannot be read" in done.stdout
    kept = folder / "kept"
    kept.write_text(note)
    (folder / "checkpoint").write_bytes((source / "checkpoint").read_bytes())
    resealed(folder)
    done = _verify(folder, "--vkey", key, "--known-checkpoint", str(kept))
    assert done.returncode == 7, done.stdout


def test_the_command_line_verifies_a_bundle_packed_and_unpacked(made: Made, tmp_path: Path) -> None:
    folder, key, _ = made
    (tmp_path / "log.vkey").write_text(key + "\n")
    packed = tmp_path / "export.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(folder, ".")

    def verify(place: Path) -> Any:
        command = ["audit", "verify", str(place), "--vkey", str(tmp_path / "log.vkey"), "--json"]
        done = CliRunner().invoke(wicketgate, command)
        return done.exit_code, json.loads(done.output)

    for place in (folder, packed):
        code, told = verify(place)
        assert (code, told["verdict"]) == (0, "ok"), told
        words = {check["property"]: check["verdict"] for check in told["checks"]}
        assert (words["inclusion"], words["signatures"], words["append-only"]) == ("ok", "ok", "not checked")
    packed.write_bytes(packed.read_bytes().replace(b"local.process.restart", b"local.process.restarT", 1))
    code, told = verify(packed)
    assert (code, told["verdict"], told["checks"][-1]["verdict"]) == (7, "failed", "failed")
    packed.write_bytes(b"no tar")
    assert verify(packed)[0] == 7


def told_by_command(place: Path, *arguments: str | Path) -> tuple[int, Any]:
    done = CliRunner().invoke(wicketgate, ["audit", "verify", str(place), *map(str, arguments), "--json"])
    return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else done.output


def test_a_published_log_that_holds_an_exports_manifest_is_refused(made: Made, tmp_path: Path) -> None:
    """Whoever is audited does not choose the verifier: as an export, nothing of the log would be read."""
    folder = copied(made, tmp_path / "log")
    assert told_by_command(folder)[0] == 0
    (folder / "tile").mkdir()
    code, told = told_by_command(folder)
    assert (code, told["ok"]) == (7, False), told


def test_a_checkpoint_of_another_size_is_no_yes(made: Made, tmp_path: Path) -> None:
    rewritten(made, tmp_path / "b", lambda record: None)
    done = _verify(tmp_path / "b", "--known-checkpoint", str(tmp_path / "older"))
    assert (done.returncode, "append-only: FAILED" in done.stdout) == (7, True), done.stdout
    assert "verdict: ok" not in done.stdout
    code, told = told_by_command(tmp_path / "b", "--known-checkpoint", tmp_path / "older")
    assert (code, told["verdict"]) == (7, "failed"), told


def test_an_option_that_was_given_and_is_empty_is_never_as_if_it_were_not(made: Made, tmp_path: Path) -> None:
    folder, _, _ = made
    (tmp_path / "empty").write_text("\n")
    code, told = told_by_command(folder, "--vkey", tmp_path / "empty")
    assert code == 2, told
    for arguments in (
        ("--vkey", ""),
        ("--vkey", " "),
        ("--vkey",),
        ("--known-checkpoint", ""),
        ("--known-checkpoint",),
    ):
        done = _verify(folder, *arguments)
        assert (done.returncode, "verdict" in done.stdout) == (2, False), done.stdout
    code, told = told_by_command(folder)
    words = {check["property"]: check["verdict"] for check in told["checks"]}
    assert (code, words["signer"]) == (0, "not checked"), told


def test_it_runs_without_any_library(made: Made) -> None:
    """Isolated, without site packages: nothing that was installed is in reach."""
    folder, key, _ = made
    command = [sys.executable, "-I", "-S", str(folder / "verify.py"), str(folder), "--vkey", key]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "2 signed approvals hold" in done.stdout) == (0, True), done.stdout + done.stderr
