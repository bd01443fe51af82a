"""The verifier against logs that were changed in every structural way, by somebody with or without the key."""

import functools
import http.server
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from audit import merkle, tiles
from audit.errors import Malformed
from audit.note import Verifier, parse_vkey
from audit.payload import Opened, commitment
from audit.source import Folder, open_source
from audit.verify import Check, Known, Report, Verdict, verify, verify_proof
from tests.unit.audit.room import ACTOR, DIGEST, chain, forge, put

BODY = {"config": {"digest": DIGEST}}


def key_of(folder: Path) -> Verifier:
    return parse_vkey(folder.with_name(folder.name + ".vkey").read_text())


def checked(folder: Path, *known: bytes, **more: Any) -> Report:
    kept = [Known(f"kept-{number}", one) for number, one in enumerate(known)]
    return verify(Folder(folder), key_of(folder), kept, **more)


def of(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def failed(report: Report) -> dict[str, int | None]:
    return {check.name: check.record for check in report.checks if check.verdict is Verdict.FAILED}


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 600])
def test_an_honest_log_is_verified(tmp_path: Path, size: int) -> None:
    report = checked(forge(tmp_path / "log", chain(size)))
    assert report.ok
    assert report.checkpoint is not None
    assert report.checkpoint.size == size
    assert {check.name: check.verdict for check in report.checks} == {
        "integrity": Verdict.OK,
        "signer": Verdict.OK,
        "append-only": Verdict.NOT_CHECKED,
        "canonical": Verdict.OK,
        "chain": Verdict.OK,
        "streams": Verdict.OK,
        "intents": Verdict.OK,
        "signatures": Verdict.OK,
        "payloads": Verdict.OK,
    }


def test_without_a_key_the_signer_is_not_checked(tmp_path: Path) -> None:
    report = verify(Folder(forge(tmp_path / "log", chain(3))))
    assert report.ok
    assert "signer: not checked" in report.as_text()
    assert "append-only: NOT CHECKED" in report.as_text()


def test_the_key_of_another_log_or_another_key_does_not_serve(tmp_path: Path) -> None:
    log = forge(tmp_path / "log", chain(3))
    other = forge(tmp_path / "other", chain(3), key=bytes(32))
    elsewhere = forge(tmp_path / "elsewhere", [], origin="example.org/audit/acme")
    assert failed(verify(Folder(log), key_of(other))) == {"signer": None}
    assert failed(verify(Folder(log), key_of(elsewhere))) == {"signer": None}
    assert "the key of example.org/audit/acme" in of(verify(Folder(log), key_of(elsewhere)), "signer").detail


Damage = Callable[[Path], object]
BUNDLE_0, BUNDLE_1 = tiles.bundle_path(0), tiles.bundle_path(1, 44)
TILE_0, TILE_1, TOP = tiles.tile_path(0, 0), tiles.tile_path(0, 1, 44), tiles.tile_path(1, 0, 1)


def edit(path: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda log: put(log / path, change((log / path).read_bytes()))


def swap(one: str, two: str) -> Damage:
    def damage(log: Path) -> None:
        first, second = (log / one).read_bytes(), (log / two).read_bytes()
        put(log / one, second)
        put(log / two, first)

    return damage


@pytest.mark.parametrize(
    ("damage", "record"),
    [
        (lambda log: (log / "checkpoint").unlink(), None),
        (lambda log: (log / BUNDLE_0).unlink(), 0),
        (lambda log: (log / BUNDLE_1).unlink(), 256),
        (lambda log: (log / TILE_0).unlink(), 0),
        (lambda log: (log / TILE_1).unlink(), 256),
        (lambda log: (log / TOP).unlink(), 300),
        (lambda log: shutil.rmtree(log / "tile"), 0),
        (edit(BUNDLE_1, lambda old: old + b"\0"), 256),
        (edit(BUNDLE_1, lambda old: old + b"\0\1x"), 256),
        (edit(BUNDLE_1, lambda old: old[:-1]), 256),
        (edit(BUNDLE_1, lambda _old: b""), 256),
        (edit(TILE_1, lambda old: old + bytes(32)), 256),
        (edit(TILE_1, lambda old: old[:-32]), 256),
        (edit(TOP, lambda old: old[:31] + bytes([old[31] ^ 1])), 0),
        (edit(TOP, lambda old: old + b"x"), 300),
        (edit(BUNDLE_1, lambda old: old.replace(b'"ev-270"', b'"ev-999"')), 270),
        (edit(TILE_0, lambda old: old[:320] + bytes(32) + old[352:]), 10),
        (swap(TILE_1, TOP), 256),
        (swap(BUNDLE_0, BUNDLE_1), 0),
        (edit("checkpoint", lambda old: old.replace(b"\n300\n", b"\n299\n")), 256),
        (edit("checkpoint", lambda old: old.replace(b"\n300\n", b"\n301\n")), 256),
        (edit("checkpoint", lambda old: old.replace(b"\n300\n", b"\n999999999999999\n")), 256),
        (edit("checkpoint", lambda old: old.replace(b"\n300\n", b"\n0\n")), None),
        (edit("checkpoint", lambda old: old + b"\n"), None),
        (edit("checkpoint", lambda _old: b"\xff" * 100), None),
        (edit("checkpoint", lambda _old: b"a" * 20_000_000), None),
    ],
)
def test_damage_by_somebody_without_the_key_is_found_and_named(tmp_path: Path, damage: Damage, record: int) -> None:
    log = forge(tmp_path / "log", chain(300))
    damage(log)
    report = checked(log)
    assert not report.ok
    assert of(report, "integrity").verdict is Verdict.FAILED
    assert of(report, "integrity").record == record


def dropped(entries: Sequence[bytes], at: int) -> list[bytes]:
    return [*entries[:at], *entries[at + 1 :]]


E300 = chain(300)


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        (dropped(E300, 7), {"chain": 7, "streams": 7}),
        (E300[1:], {"chain": 0, "streams": 0}),
        ([*E300[:7], E300[6], *E300[7:]], {"chain": 7, "streams": 7}),
        ([*E300[:5], E300[6], E300[5], *E300[7:]], {"chain": 5, "streams": 5}),
        ([*E300[:9], b'{"a":1}', *E300[9:]], {"canonical": 9, "chain": 9}),
        ([*E300, b""], {"canonical": 300, "chain": 300}),
        ([*E300, b"\xff"], {"canonical": 300, "chain": 300}),
        ([*E300[:299], E300[299] + b" "], {"canonical": 299, "chain": 299}),
        ([*E300[:299], E300[299].replace(b'"kind":', b'"kind":"config","kind":')], {"canonical": 299, "chain": 299}),
        (chain(9, change={4: {"id": "ev-1"}}), {"chain": 4}),
        (chain(9, change={4: {"seq": 5}}), {"chain": 4}),
        (chain(9, change={4: {"log": "example.org/audit/acme"}}), {"chain": 4}),
        (chain(9, change={4: {"tenant": "acme"}}), {"chain": 4}),
        (chain(9, change={4: {"prev": "0" * 64}}), {"chain": 4}),
        (chain(9, change={4: {"streams": [{"id": "boot", "seq": 5, "prev": "0" * 64}]}}), {"streams": 4}),
        (chain(9, change={4: {"body": {**BODY, "note": "x"}}}), {"canonical": 4, "chain": 4}),
        (chain(9, change={4: {"kind": "whatever"}}), {"canonical": 4, "chain": 4}),
        (chain(9, change={4: {"v": "audit-record/2"}}), {"canonical": 4, "chain": 4}),
    ],
)
def test_records_that_do_not_fit_are_named_even_under_a_good_signature(
    tmp_path: Path, entries: list[bytes], names: dict[str, int]
) -> None:
    found = failed(checked(forge(tmp_path / "log", entries)))
    assert {name: found.get(name) for name in names} == names
    assert "integrity" not in found
    assert "signer" not in found


def test_a_log_cut_at_its_end_and_signed_again_needs_a_known_checkpoint(tmp_path: Path) -> None:
    kept = (forge(tmp_path / "before", E300) / "checkpoint").read_bytes()
    for size in (299, 256, 1, 0):
        log = forge(tmp_path / f"cut-{size}", E300[:size])
        assert checked(log).ok
        report = checked(log, kept)
        assert failed(report) == {"append-only": size}
        assert "rolled back: 300" in of(report, "append-only").detail


def test_a_rewritten_history_needs_a_known_checkpoint(tmp_path: Path) -> None:
    kept = (forge(tmp_path / "before", E300[:280]) / "checkpoint").read_bytes()
    grown = forge(tmp_path / "grown", E300)
    assert of(checked(grown, kept), "append-only").verdict is Verdict.OK
    for at in (0, 100, 279):
        rewritten = forge(tmp_path / f"rewritten-{at}", chain(300, change={at: {"time_ns": "1"}}))
        assert checked(rewritten).ok
        assert failed(checked(rewritten, kept)) == {"append-only": None}
        assert "forked" in of(checked(rewritten, kept), "append-only").detail
    after = forge(tmp_path / "after", chain(300, change={280: {"time_ns": "1"}}))
    assert checked(after, kept).ok


def test_a_known_checkpoint_counts_only_when_it_can_be_trusted(tmp_path: Path) -> None:
    log = forge(tmp_path / "log", E300)
    empty = (forge(tmp_path / "empty", []) / "checkpoint").read_bytes()
    assert checked(log, empty, (log / "checkpoint").read_bytes()).ok
    for folder, word in (
        (forge(tmp_path / "other-key", E300[:9], key=bytes(32)), "no signature"),
        (forge(tmp_path / "other-log", E300[:9], origin="example.org/audit/acme"), "is of example.org/audit/acme"),
    ):
        report = checked(log, empty, (folder / "checkpoint").read_bytes())
        assert failed(report) == {"append-only": None}
        assert word in of(report, "append-only").detail
    assert failed(checked(log, b"nonsense")) == {"append-only": None}
    stranger = (forge(tmp_path / "stranger", [], origin="example.org/audit/acme") / "checkpoint").read_bytes()
    assert failed(verify(Folder(log), None, [Known("stranger", stranger)])) == {"append-only": None}


def test_intents_without_an_outcome_are_pointed_out(tmp_path: Path) -> None:
    body = {"actor": ACTOR, "action": {"name": "a.b.c"}, "request_digest": DIGEST, "decision": {"effect": "permit"}}
    done = {"kind": "outcome", "about": "ev-2", "body": {"outcome": {"status": "done"}}}
    intents = {1: {"kind": "intent", "body": body}, 2: {"kind": "intent", "body": body}, 3: done}
    check = of(checked(forge(tmp_path / "log", chain(5, change=intents))), "intents")
    assert (check.verdict, check.record) == (Verdict.ATTENTION, 1)
    stray = {3: {**done, "about": "ev-4"}}
    check = of(checked(forge(tmp_path / "stray", chain(5, change=stray))), "intents")
    assert (check.verdict, check.record) == (Verdict.ATTENTION, 3)


def test_payloads_are_checked_when_given_and_erased_ones_are_named(tmp_path: Path) -> None:
    opened = {f"ev-{n}": Opened(bytes([n]) * 32, b"text %d" % n) for n in (1, 2, 3)}
    change: dict[int, dict[str, Any]] = {
        n: {"payload": {"key": f"ses_{n}", "bytes": 6, "commit": commitment(one.salt, one.plaintext)}}
        for n, one in zip((1, 2, 3), opened.values(), strict=True)
    }
    change[4] = {"kind": "erasure", "body": {"erasure": {"key": "ses_3"}}}
    log = forge(tmp_path / "log", chain(6, change=change))
    check = of(checked(log), "payloads")
    assert check.verdict is Verdict.NOT_CHECKED
    assert "2 of 3 payloads were not given" in check.detail
    assert "1 erased (data keys destroyed by records [4])" in check.detail
    kept = {name: one for name, one in opened.items() if name != "ev-3"}
    assert of(checked(log, payloads=kept), "payloads").verdict is Verdict.OK
    wrong = {**kept, "ev-2": Opened(opened["ev-2"].salt, b"text 9")}
    assert failed(checked(log, payloads=wrong)) == {"payloads": 2}


def test_a_reader_with_an_older_checkpoint_is_served_by_full_tiles(tmp_path: Path) -> None:
    old = forge(tmp_path / "old", E300[:200])
    new = forge(tmp_path / "new", E300)
    put(new / "checkpoint", (old / "checkpoint").read_bytes())
    report = checked(new)
    assert report.ok
    assert report.checkpoint is not None
    assert report.checkpoint.size == 200


def test_a_log_is_verified_over_http(tmp_path: Path) -> None:
    log = forge(tmp_path / "log", E300)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert verify(open_source(f"{url}/log/"), key_of(log)).ok
        missing = verify(open_source(f"{url}/nothing"), key_of(log))
        server.shutdown()
    assert failed(missing) == {"integrity": None}
    unreachable = verify(open_source(url), key_of(log))
    assert failed(unreachable) == {"integrity": None}


def test_a_proof_is_verified_with_its_record(tmp_path: Path) -> None:
    from audit.checkpoint import prove

    log = forge(tmp_path / "log", E300)
    read = merkle.reader_of([merkle.leaf_hash(entry) for entry in E300])
    proof = str(prove(7, read, (log / "checkpoint").read_bytes())).encode()
    assert verify_proof(proof, E300[7], key_of(log)).ok
    assert failed(verify_proof(proof, E300[8], key_of(log))) == {"inclusion": 7}
    assert failed(verify_proof(proof.replace(b"index 7", b"index 8"), E300[7], key_of(log))) == {"inclusion": 8}
    other = key_of(forge(tmp_path / "other", [], key=bytes(32)))
    assert failed(verify_proof(proof, E300[7], other)) == {"signer": None}
    assert failed(verify_proof(b"", E300[7])) == {"inclusion": None}


def test_a_file_that_no_log_can_have_is_not_read_whole(tmp_path: Path) -> None:
    put(tmp_path / "checkpoint", b"x" * 17_000_000)
    with pytest.raises(Malformed, match="longer than"):
        Folder(tmp_path).read("checkpoint")
